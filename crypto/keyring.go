package crypto

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"slices"
	"time"
)

const (
	maxKeyring = 64 << 10 // bytes, of the whole object
	maxEpochs  = 1024

	keyringMagic  = "MGK1"
	keyringMajor  = 1 // format we write, and the only one we read
	keyringReader = 1 // oldest reader that understands what we write
	keyringClear  = 50
	bodyVersion   = 1

	labelKRK = "megafs-vault/1 krk\x00"
)

// Features are the sets of format features that a vault uses, one bit each. A
// client that does not know one of ReadOnly must not write; one that does not know
// one of Incompatible must not even read. No feature is defined so far.
type Features struct{ Compatible, ReadOnly, Incompatible uint64 }

var knownFeatures Features

// CheckSince fails with ErrFormatDowngrade if a feature that was seen before is gone.
func (f Features) CheckSince(seen Features) error {
	if seen.Compatible&^f.Compatible != 0 || seen.ReadOnly&^f.ReadOnly != 0 || seen.Incompatible&^f.Incompatible != 0 {
		return fmt.Errorf("%w: it lost features that this device has seen it use", ErrFormatDowngrade)
	}
	return nil
}

// Union is the features of both.
func (f Features) Union(o Features) Features {
	return Features{f.Compatible | o.Compatible, f.ReadOnly | o.ReadOnly, f.Incompatible | o.Incompatible}
}

// Writer is the policy of who may write to the vault: every key holder, or, on
// stores that cannot create objects exclusively, a single device.
type Writer struct {
	Single bool
	Device [16]byte // of the single writer
}

// EpochInfo says from which log sequence number on an epoch is in force, until
// the next epoch begins.
type EpochInfo struct {
	Epoch    uint32
	FirstSeq uint64
}

type epoch struct {
	vmk      Secret
	firstSeq uint64
}

// Keyring is one verified generation of a vault's keyring. It does not change; changes
// make a next generation.
type Keyring struct {
	vault      VaultID
	generation uint64
	hash       [32]byte // of the whole object
	prev       [32]byte // of the previous generation's object
	created    time.Time
	features   Features
	epochs     []epoch // epochs 1, 2, ...
	policy     KDF
	writer     Writer
	slots      []*slot
	krk        Secret
	keys       *Keys
}

func (r *Keyring) Keys() *Keys        { return r.keys }
func (r *Keyring) Vault() VaultID     { return r.vault }
func (r *Keyring) Generation() uint64 { return r.generation }
func (r *Keyring) Features() Features { return r.features }
func (r *Keyring) Writer() Writer     { return r.writer }
func (r *Keyring) Created() time.Time { return r.created }
func (r *Keyring) Policy() KDF        { return r.policy }
func (r *Keyring) Slots() []SlotInfo  { return slotInfos(r.slots) }
func (r *Keyring) KRK() Secret        { return r.krk.Clone() } // the caller's to wipe
func (r *Keyring) Hash() [32]byte     { return r.hash }
func (r *Keyring) PrevHash() [32]byte { return r.prev }
func (r *Keyring) Epochs() []EpochInfo {
	out := make([]EpochInfo, len(r.epochs))
	for i, e := range r.epochs {
		out[i] = EpochInfo{uint32(i + 1), e.firstSeq}
	}
	return out
}

// ReadOnly reports that the vault uses features that forbid this version to write.
func (r *Keyring) ReadOnly() bool { return r.features.ReadOnly&^knownFeatures.ReadOnly != 0 }

// Wipe clears the KRK and all epoch keys, those of Keys included.
func (r *Keyring) Wipe() {
	r.krk.Wipe()
	for _, e := range r.epochs {
		e.vmk.Wipe()
	}
	r.keys.Wipe()
}

// KeyringHeader is what a keyring shows without a key, unauthenticated.
type KeyringHeader struct {
	Vault      VaultID
	Generation uint64
	Slots      []SlotInfo
}

// ReadKeyringHeader reads the clear part of a keyring object: enough to see, before asking
// for a passphrase, that it is another vault's or needs a vault secret.
func ReadKeyringHeader(object []byte) (KeyringHeader, error) {
	p, err := parseKeyring(object)
	return KeyringHeader{p.vault, p.generation, slotInfos(p.slots)}, err
}

func slotInfos(slots []*slot) []SlotInfo {
	out := make([]SlotInfo, len(slots))
	for i, s := range slots {
		out[i] = s.SlotInfo
	}
	return out
}

// parsedKeyring is a keyring object before authentication.
type parsedKeyring struct {
	vault      VaultID
	generation uint64
	slots      []*slot
	clear      []byte // fixed clear part
	body       []byte // sealed
}

func parseKeyring(object []byte) (p parsedKeyring, err error) {
	if len(object) > maxKeyring {
		return p, fmt.Errorf("%w: keyring of %d bytes", ErrLimit, len(object))
	}
	if len(object) < keyringClear || string(object[:4]) != keyringMagic {
		return p, fmt.Errorf("%w: not a keyring", ErrKeyringTampered)
	}
	major, reader := binary.BigEndian.Uint16(object[4:]), binary.BigEndian.Uint16(object[6:])
	switch {
	case major > keyringMajor || reader > keyringReader:
		return p, fmt.Errorf("%w: vault format %d; update megafs", ErrUnsupported, max(major, reader))
	case major < keyringMajor || reader < keyringReader:
		return p, fmt.Errorf("%w: vault format %d never existed", ErrFormatDowngrade, min(major, reader))
	}
	p.vault = VaultID(object[8:40])
	p.generation = binary.BigEndian.Uint64(object[40:])
	count := binary.BigEndian.Uint16(object[48:])
	if count > maxSlots {
		return p, fmt.Errorf("%w: keyring with %d slots", ErrLimit, count)
	}
	p.clear, object = object[:keyringClear], object[keyringClear:]
	for range count {
		s, err := parseSlot(object)
		if err != nil {
			return parsedKeyring{}, err
		}
		p.slots = append(p.slots, s)
		object = object[len(s.raw):]
	}
	p.body = object
	return p, nil
}

// OpenKeyring opens a keyring object with the KRK, of which it keeps a copy, and verifies
// all of it: the sealed body, every clear byte, and that exactly the slots that were
// written are there, in their order. That it is the newest generation, and the successor of
// the one before, is for the caller to check by Generation, Hash and PrevHash.
func OpenKeyring(object []byte, krk Secret) (*Keyring, error) {
	p, err := parseKeyring(object)
	if err != nil {
		return nil, err
	}
	h, err := parseHeader(ClassKeyring, p.body)
	if err == nil && h.epoch != 0 {
		err = fmt.Errorf("%w: keyring of an epoch", ErrTampered)
	}
	var body []byte
	if err == nil {
		ctx := binary.BigEndian.AppendUint64(nil, p.generation)
		body, err = krkKeys(p.vault, krk).open(&h, ctx, p.body)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %v", ErrKeyringTampered, err)
	}
	defer clear(body)
	r := &Keyring{
		vault:      p.vault,
		generation: p.generation,
		hash:       sha256.Sum256(object),
		slots:      p.slots,
		krk:        krk.Clone(),
	}
	if err := r.decodeBody(body, p); err != nil {
		return nil, err
	}
	vmks := make([]Secret, len(r.epochs))
	for i, e := range r.epochs {
		vmks[i] = e.vmk
	}
	r.keys = newKeys(r.vault, vmks)
	return r, nil
}

// krkKeys are the keys of the keyring body. They belong to no epoch; 0 stands for it.
func krkKeys(vault VaultID, krk Secret) objectKeys {
	prk := extract(krk.Bytes(), []byte(labelKRK), vault[:])
	defer clear(prk)
	return objectKeys{
		class: expand(prk, 32, classInfo(ClassKeyring, 0)),
		id:    expand(prk, 32, classInfo(classID, 0)),
	}
}

// encode makes the keyring object: clear part, slots, sealed body.
func (r *Keyring) encode() ([]byte, error) {
	if len(r.slots) == 0 || len(r.slots) > maxSlots || len(r.epochs) > maxEpochs {
		return nil, fmt.Errorf("%w: keyring of %d slots and %d epochs", ErrLimit, len(r.slots), len(r.epochs))
	}
	b := []byte(keyringMagic)
	b = binary.BigEndian.AppendUint16(b, keyringMajor)
	b = binary.BigEndian.AppendUint16(b, keyringReader)
	b = append(b, r.vault[:]...)
	b = binary.BigEndian.AppendUint64(b, r.generation)
	b = binary.BigEndian.AppendUint16(b, uint16(len(r.slots)))
	clearHash := sha256.Sum256(b)
	for _, s := range r.slots {
		b = append(b, s.raw...)
	}
	body := r.encodeBody(clearHash)
	defer clear(body)
	ctx := binary.BigEndian.AppendUint64(nil, r.generation)
	sealed, _ := krkKeys(r.vault, r.krk).seal(ClassKeyring, 0, ctx, body)
	return append(b, sealed...), nil
}

func (r *Keyring) encodeBody(clearHash [32]byte) []byte {
	be := binary.BigEndian
	b := make([]byte, 0, 512+len(r.epochs)*44) // enough: growing would leave copies of keys
	b = be.AppendUint16(b, bodyVersion)
	b = append(b, r.vault[:]...)
	b = be.AppendUint64(b, r.generation)
	b = append(b, clearHash[:]...)
	b = append(b, r.prev[:]...)
	b = be.AppendUint64(b, uint64(r.created.UnixNano()))
	b = append(b, suite)
	b = be.AppendUint64(b, r.features.Compatible)
	b = be.AppendUint64(b, r.features.ReadOnly)
	b = be.AppendUint64(b, r.features.Incompatible)
	b = be.AppendUint32(b, uint32(len(r.epochs)))
	b = be.AppendUint16(b, uint16(len(r.epochs)))
	for i, e := range r.epochs {
		b = be.AppendUint32(b, uint32(i+1))
		b = append(b, e.vmk.Bytes()...)
		b = be.AppendUint64(b, e.firstSeq)
	}
	b = append(b, byte(len(r.slots)))
	for _, s := range r.slots {
		sum := s.hash()
		b = append(b, sum[:]...)
	}
	b = r.policy.append(b)
	single := byte(0)
	if r.writer.Single {
		single = 1
	}
	return append(append(b, single), r.writer.Device[:]...)
}

// decodeBody reads the authenticated body and holds the clear part p against it. There
// is one encoding for each content: whatever else is refused.
func (r *Keyring) decodeBody(body []byte, p parsedKeyring) error {
	d := decoder{b: body}
	if d.u16() != bodyVersion {
		return fmt.Errorf("%w: keyring body of another version; update megafs", ErrUnsupported)
	}
	ok := VaultID(d.take(32)) == p.vault
	ok = d.u64() == p.generation && p.generation > 0 && ok
	ok = [32]byte(d.take(32)) == sha256.Sum256(p.clear) && ok
	r.prev = [32]byte(d.take(32))
	ok = (r.prev == [32]byte{}) == (p.generation == 1) && ok
	r.created = time.Unix(0, int64(d.u64()))
	if d.u8() != suite {
		return fmt.Errorf("%w: vault of another cipher suite; update megafs", ErrUnsupported)
	}
	r.features = Features{d.u64(), d.u64(), d.u64()}
	if r.features.Incompatible&^knownFeatures.Incompatible != 0 {
		return fmt.Errorf("%w: vault uses newer features; update megafs", ErrUnsupported)
	}
	current, count := d.u32(), d.u16()
	ok = current == uint32(count) && count >= 1 && count <= maxEpochs && ok
	for i := uint32(1); i <= uint32(count) && len(d.b) > 0; i++ {
		ok = d.u32() == i && ok
		r.epochs = append(r.epochs, epoch{copySecret(d.take(keySize)), d.u64()})
		ok = (i == 1 || r.epochs[i-1].firstSeq >= r.epochs[i-2].firstSeq) && ok
	}
	var sums [][32]byte
	for n := d.u8(); n > 0 && len(d.b) > 0; n-- {
		sums = append(sums, [32]byte(d.take(32)))
	}
	ok = slices.EqualFunc(p.slots, sums, func(s *slot, sum [32]byte) bool { return s.hash() == sum }) && ok
	r.policy = KDF{d.u32(), d.u32(), d.u8()}
	single := d.u8()
	r.writer = Writer{Single: single == 1, Device: [16]byte(d.take(16))}
	ok = single <= 1 && ok
	if !ok || len(d.b) != 0 || d.short {
		return fmt.Errorf("%w: clear part, slots or body disagree", ErrKeyringTampered)
	}
	return r.policy.check()
}

// decoder takes fields off b; past the end of b it gives zeros and remembers it.
type decoder struct {
	b     []byte
	short bool
}

func (d *decoder) take(n int) []byte {
	if len(d.b) < n {
		d.b, d.short = nil, true
		return make([]byte, n)
	}
	var v []byte
	v, d.b = d.b[:n], d.b[n:]
	return v
}

func (d *decoder) u8() byte    { return d.take(1)[0] }
func (d *decoder) u16() uint16 { return binary.BigEndian.Uint16(d.take(2)) }
func (d *decoder) u32() uint32 { return binary.BigEndian.Uint32(d.take(4)) }
func (d *decoder) u64() uint64 { return binary.BigEndian.Uint64(d.take(8)) }
