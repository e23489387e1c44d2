package crypto

import (
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"sync/atomic"
)

const (
	labelEpoch       = "megafs-vault/1 epoch\x00"
	labelClass       = "megafs-vault/1 class\x00"
	labelWords       = "megafs-vault/1 head words\x00"
	labelFingerprint = "megafs-vault/1 fingerprint\x00"
)

// VaultID names a vault for ever. It enters every key derivation.
type VaultID [32]byte

// Class is the use of a key: each class of object has a key of its own in each
// epoch.
type Class byte

// The classes of sealed objects. ClassKeyring is used by the keyring alone.
const (
	ClassKeyring      Class = 0x01
	ClassLog          Class = 0x02
	ClassSnapshotRoot Class = 0x03
	ClassSnapshotPart Class = 0x04
	ClassContent      Class = 0x05
	ClassHistory      Class = 0x06
	ClassGC           Class = 0x07
	ClassHead         Class = 0x13 // head words, witness records

	// Classes of keys that seal no objects.
	classID    Class = 0x10
	classLocal Class = 0x11
	classTrust Class = 0x12

	numClasses = 0x14
)

var classNames = map[Class]string{
	ClassKeyring: "keyring", ClassLog: "log", ClassSnapshotRoot: "snapshot root", ClassSnapshotPart: "snapshot part",
	ClassContent: "content", ClassHistory: "history", ClassGC: "garbage list", ClassHead: "head",
}

func (c Class) String() string {
	if s, ok := classNames[c]; ok {
		return s
	}
	return fmt.Sprintf("class 0x%02x", byte(c))
}

// sealable reports whether Keys seals objects of the class.
func (c Class) sealable() bool { return c >= ClassLog && c <= ClassGC || c == ClassHead }

// Keys are the epoch keys of one vault. They never change after they were made
// and are safe for concurrent use.
type Keys struct{ set *keyBox }

type keyBox struct{ *keySet }

// keySet is behind two pointers for the same reason as the bytes of a Secret.
type keySet struct {
	vault       VaultID
	epochs      []epochKeys // of epochs 1, 2, ...
	fingerprint [32]byte
	recent      [1 << recentBits]atomic.Pointer[recentCipher]
}

type epochKeys struct {
	prk   [32]byte
	class [numClasses][32]byte
}

// recentBits makes the table of recent ciphers 1024 entries, about 1 MiB full.
const recentBits = 10

// recentCipher is a content object's derived cipher, kept because consecutive chunks of
// an object are mostly read together and a derivation costs as much as a chunk.
type recentCipher struct {
	id     ID
	epoch  uint32
	chunks uint16
	cipher *chunkCipher
}

func newKeys(vault VaultID, vmks []Secret) *Keys {
	set := &keySet{vault: vault, epochs: make([]epochKeys, len(vmks))}
	for i, vmk := range vmks {
		e := &set.epochs[i]
		copy(e.prk[:], extract(vmk.Bytes(), []byte(labelEpoch), vault[:]))
		for c := range Class(numClasses) {
			copy(e.class[c][:], expand(e.prk[:], 32, classInfo(c, uint32(i+1))))
		}
	}
	newest := &set.epochs[len(vmks)-1]
	copy(set.fingerprint[:], expand(newest.prk[:], 32, []byte(labelFingerprint)))
	return &Keys{&keyBox{set}}
}

func classInfo(c Class, epoch uint32) []byte {
	return binary.BigEndian.AppendUint32(append([]byte(labelClass), byte(c)), epoch)
}

// extract is HKDF-Extract with the concatenation of salt.
func extract(ikm []byte, salt ...[]byte) []byte {
	prk, err := hkdf.Extract(sha256.New, ikm, concat(salt))
	if err != nil {
		panic(err) // only for hashes that are not approved in FIPS mode
	}
	return prk
}

// expand is HKDF-Expand with the concatenation of info.
func expand(prk []byte, n int, info ...[]byte) []byte {
	okm, err := hkdf.Expand(sha256.New, prk, string(concat(info)), n)
	if err != nil {
		panic(err) // only if n were over 255 hashes
	}
	return okm
}

func concat(parts [][]byte) []byte {
	if len(parts) == 1 {
		return parts[0]
	}
	b := make([]byte, 0, 128)
	for _, p := range parts {
		b = append(b, p...)
	}
	return b
}

// Vault is the id of the vault that the keys belong to.
func (k *Keys) Vault() VaultID { return k.set.vault }

// Epoch is the current epoch, the newest: the one that Seal uses.
func (k *Keys) Epoch() uint32 { return uint32(len(k.set.epochs)) }

// Wipe clears the keys. Afterwards nothing opens, and Seal panics.
func (k *Keys) Wipe() {
	clear(k.set.epochs)
	k.set.epochs = nil
	for i := range k.set.recent {
		k.set.recent[i].Store(nil)
	}
}

func (k *Keys) epoch(e uint32) (*epochKeys, error) {
	if e == 0 || e > k.Epoch() {
		return nil, fmt.Errorf("%w: %w (epoch %d)", ErrTampered, ErrUnknownEpoch, e)
	}
	return &k.set.epochs[e-1], nil
}

func (e *epochKeys) object(c Class) objectKeys {
	return objectKeys{class: e.class[c][:], id: e.class[classID][:]}
}

// Seal seals plaintext as an object of class c in context ctx under a fresh id, in
// the current epoch. Content is padded with zeros to whole chunks; all other classes
// are sealed as they are, and must not be empty. ctx is what the vault format
// lays down for the class, and empty for content.
//
// Seal panics for more than MaxPlain bytes, for nothing, and for a class that
// seals no objects, which are mistakes in the program.
func (k *Keys) Seal(c Class, ctx, plaintext []byte) (object []byte, id ID) {
	switch {
	case !c.sealable():
		panic("crypto: sealing an object of " + c.String())
	case len(plaintext) > MaxPlain:
		panic("crypto: sealing a " + c.String() + " object that is too long")
	case len(plaintext) == 0 && c != ClassContent:
		panic("crypto: sealing an empty " + c.String() + " object")
	}
	e, err := k.epoch(k.Epoch())
	if err != nil {
		panic("crypto: sealing with wiped keys")
	}
	return e.object(c).seal(c, k.Epoch(), ctx, plaintext)
}

// Open opens a whole object of class c in context ctx, of any epoch that the
// keyring has, and returns its plaintext and id. Content comes with its padding.
// It fails with ErrTampered, before a byte is decrypted if the header, the length,
// the class or the context is wrong.
func (k *Keys) Open(c Class, ctx, object []byte) (plaintext []byte, id ID, err error) {
	if !c.sealable() {
		return nil, ID{}, fmt.Errorf("%w: %v is no class of objects", ErrTampered, c)
	}
	h, err := parseHeader(c, object)
	if err != nil {
		return nil, ID{}, err
	}
	e, err := k.epoch(h.epoch)
	if err != nil {
		return nil, ID{}, err
	}
	plaintext, err = e.object(c).open(&h, ctx, object)
	if err != nil {
		return nil, ID{}, err
	}
	return plaintext, h.id, nil
}

// EpochOf reads the epoch that an object claims to be of, without any
// authentication; it may be one that the keyring does not have.
func (k *Keys) EpochOf(object []byte) (uint32, error) {
	if len(object) < HeaderLen || string(object[:4]) != objectMagic {
		return 0, fmt.Errorf("%w: not a sealed object", ErrTampered)
	}
	return binary.BigEndian.Uint32(object[8:]), nil
}

// OpenChunk opens chunk i of the content object with this id, epoch and number of
// chunks, all of which the caller knows from an authenticated reference, so that
// the object's header is not needed. It writes the ChunkSize plaintext bytes to
// dst, which must hold as many and must either be the same memory as sealed or not
// overlap it. If it fails, the contents of dst are undefined but never unverified plaintext.
func (k *Keys) OpenChunk(id ID, epoch uint32, chunks uint16, i int, sealed, dst []byte) error {
	switch {
	case chunks == 0 || chunks > MaxChunks || i < 0 || i >= int(chunks):
		return fmt.Errorf("%w: there is no chunk %d of %d", ErrTampered, i, chunks)
	case len(sealed) != SealedChunk:
		return fmt.Errorf("%w: chunk %d of %d has %d bytes, not %d", ErrTampered, i, chunks, len(sealed), SealedChunk)
	case len(dst) < ChunkSize:
		return fmt.Errorf("%w: a chunk for a buffer of %d bytes", ErrLimit, len(dst))
	}
	c, err := k.contentCipher(id, epoch, chunks)
	if err != nil {
		return err
	}
	_, err = c.open(dst[:0:ChunkSize], sealed, uint32(i))
	return err
}

// contentCipher returns the cipher of a content object. Ids are uniform, so their
// first bits are the hash of a direct-mapped table; a collision costs a derivation.
func (k *Keys) contentCipher(id ID, epoch uint32, chunks uint16) (*chunkCipher, error) {
	e, err := k.epoch(epoch)
	if err != nil {
		return nil, err
	}
	place := &k.set.recent[binary.BigEndian.Uint16(id[:])>>(16-recentBits)]
	if r := place.Load(); r != nil && r.id == id && r.epoch == epoch && r.chunks == chunks {
		return r.cipher, nil
	}
	h := header{class: ClassContent, last: ChunkSize - 1, epoch: epoch, chunks: uint32(chunks), id: id}
	c, _ := newChunkCipher(e.class[ClassContent][:], &h, nil)
	place.Store(&recentCipher{id, epoch, chunks, c})
	return c, nil
}

// Local derives a key for what one device keeps on its own disk. It depends on the
// vault, the purpose and the device, and stays the same when the vault is rekeyed.
func (k *Keys) Local(purpose string, device [16]byte) [32]byte {
	return [32]byte(expand(k.first().prk[:], 32, classInfo(classLocal, 1), device[:], []byte(purpose)))
}

// TrustMAC authenticates a device's own record of what it has seen of the vault. It
// stays the same when the vault is rekeyed.
func (k *Keys) TrustMAC(data []byte) [32]byte {
	mac := hmac.New(sha256.New, k.first().class[classTrust][:])
	mac.Write(data)
	return [32]byte(mac.Sum(nil))
}

// HeadWords returns four made-up words for a place in the vault's log: 2^44 places have words of their own, and nobody without the keys can tell which. They
// stay the same when the vault is rekeyed.
func (k *Keys) HeadWords(place []byte) string {
	mac := hmac.New(sha256.New, k.first().class[ClassHead][:])
	mac.Write([]byte(labelWords))
	mac.Write(place)
	bits := binary.BigEndian.Uint64(mac.Sum(nil))
	var b []byte
	for i := range 4 {
		if i > 0 {
			b = append(b, '-')
		}
		b = appendWord(b, 3*int(bits>>(11*i)&2047))
	}
	return string(b)
}

func (k *Keys) first() *epochKeys {
	e, err := k.epoch(1)
	if err != nil {
		panic("crypto: using wiped keys")
	}
	return e
}

// Fingerprint identifies the newest epoch key without giving anything away.
func (k *Keys) Fingerprint() [32]byte { return k.set.fingerprint }
