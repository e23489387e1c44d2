package vault

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"
	"strconv"
	"strings"

	"megafs/crypto"
	"megafs/remote"
	"megafs/remote/wire"
)

// The types of entries.
const (
	entryBatch    = 0 // a part of a batch
	entrySnapshot = 1 // announces a snapshot of the state before it
	entryKeyring  = 2 // names a new keyring generation
	entryMark     = 3 // gives objects up
	entryDone     = 4 // says that what a mark gave up is removed
)

const (
	entryVersion = 1
	entryHead    = 2 + 32 + 8 + 32 + 16 + 8 + 32 + 8 + 8 + 32 + 4 + 8 + 32 + 2 + 2 + 1
	maxBody      = 1 << 20 // of an entry's plaintext
	maxEntry     = 1<<20 + 1<<17
	minBody      = 512
	maxOps       = 1<<16 - 1
	maxEntries   = 4096 // of one batch
)

// link is a place in the hash chain.
type link struct {
	Seq  uint64
	Hash [32]byte
}

// entry is one object of the log, opened.
type entry struct {
	seq     uint64
	prev    [32]byte
	device  remote.DeviceID
	dev     link // this entry's place among the device's own: number, and the hash of the one before
	time    int64
	keyring link // generation and hash in force
	epoch   uint32
	snap    link // the newest snapshot announced before, and its root's hash
	part    uint16
	parts   uint16
	typ     byte
	ops     []byte // of a batch part: Ops, n of them, encoded
	n       int
	list    []remote.Op // the same decoded, when the entry was read
	about   link        // of the other types: what snapshot (its state's number, its root's hash) or keyring
	root    crypto.ID   // of a snapshot
	mark    *mark       // what a mark gives up; of a done one, about has the number
	hash    [32]byte    // of the sealed bytes: what the next entry names
}

// genesis is the hash before the first entry.
func genesis(vid crypto.VaultID) [32]byte {
	return sha256.Sum256(append([]byte("megafs-vault/1 genesis\x00"), vid[:]...))
}

func entryHash(sealed []byte) [32]byte {
	h := sha256.New()
	h.Write([]byte("megafs-vault/1 entry\x00"))
	h.Write(sealed)
	return [32]byte(h.Sum(nil))
}

// bucket is the length a body of n bytes is padded to, so that lengths tell little: at most an eighth more.
func bucket(n int) int {
	if n <= minBody {
		return minBody
	}
	e := bits.Len(uint(n)) - 1
	s := bits.Len(uint(e))
	mask := 1<<(e-s) - 1
	return (n + mask) &^ mask
}

// seal encodes and seals an entry, and sets its hash.
func (e *entry) seal(k *crypto.Keys) []byte {
	vid := k.Vault()
	b := make([]byte, 0, entryHead+len(e.ops)+64)
	b = binary.BigEndian.AppendUint16(b, entryVersion)
	b = append(b, vid[:]...)
	b = binary.BigEndian.AppendUint64(b, e.seq)
	b = append(b, e.prev[:]...)
	b = append(b, e.device[:]...)
	b = e.dev.append(b)
	b = binary.BigEndian.AppendUint64(b, uint64(e.time))
	b = e.keyring.append(b)
	b = binary.BigEndian.AppendUint32(b, k.Epoch())
	b = e.snap.append(b)
	b = binary.BigEndian.AppendUint16(b, e.part)
	b = binary.BigEndian.AppendUint16(b, e.parts)
	b = append(b, e.typ)
	switch e.typ {
	case entryBatch:
		b = binary.BigEndian.AppendUint16(b, uint16(e.n))
		b = append(b, e.ops...)
	case entrySnapshot:
		b = append(e.about.append(b), e.root[:]...)
	case entryKeyring:
		b = e.about.append(b)
	case entryMark:
		b = e.mark.append(b)
	case entryDone:
		b = binary.BigEndian.AppendUint64(b, e.about.Seq)
	}
	padded := make([]byte, bucket(len(b)))
	copy(padded, b)
	sealed, _ := k.Seal(crypto.ClassLog, u64(e.seq), padded)
	e.hash = entryHash(sealed)
	return sealed
}

func (l link) append(b []byte) []byte {
	return append(binary.BigEndian.AppendUint64(b, l.Seq), l.Hash[:]...)
}

func u64(n uint64) []byte { return binary.BigEndian.AppendUint64(nil, n) }

// openEntry opens and decodes entry seq.
func openEntry(k *crypto.Keys, seq uint64, sealed []byte) (*entry, error) {
	name := logName(seq)
	body, _, err := k.Open(crypto.ClassLog, u64(seq), sealed)
	if err != nil {
		return nil, opened("open log entry", name, err)
	}
	e, err := decodeEntry(k.Vault(), seq, body)
	if errors.Is(err, ErrUnsupported) {
		return nil, remote.E("read log entry", name, remote.NotSupported, err)
	}
	if err != nil {
		return nil, bad("read log entry", name, ErrInvalidEntry, err)
	}
	if epoch, err := k.EpochOf(sealed); err != nil || epoch != e.epoch {
		return nil, bad("read log entry", name, ErrEpochDowngrade, err)
	}
	e.hash = entryHash(sealed)
	return e, nil
}

// decodeEntry decodes a body strictly: every byte has one meaning, and what is over is zero.
func decodeEntry(vid crypto.VaultID, seq uint64, b []byte) (*entry, error) {
	if len(b) < minBody || len(b) > maxBody {
		return nil, fmt.Errorf("%d bytes", len(b))
	}
	r := reader{b: b}
	e := &entry{}
	if v := r.u16(); v != entryVersion {
		return nil, fmt.Errorf("%w: version %d", ErrUnsupported, v)
	}
	if r.h32() != [32]byte(vid) {
		return nil, errors.New("of another vault")
	}
	if e.seq = r.u64(); e.seq != seq {
		return nil, errors.New("of another place")
	}
	e.prev = r.h32()
	copy(e.device[:], r.take(16))
	e.dev = r.link()
	e.time = int64(r.u64())
	e.keyring = r.link()
	e.epoch = r.u32()
	e.snap = r.link()
	e.part, e.parts = r.u16(), r.u16()
	e.typ = r.take(1)[0]
	if e.parts == 0 || e.part >= e.parts || e.typ != entryBatch && e.parts != 1 {
		return nil, errors.New("parts do not add up")
	}
	switch e.typ {
	case entryBatch:
		e.n = int(r.u16())
		start := r.b
		for range e.n {
			op, rest, err := wire.DecodeOp(r.b)
			if remote.Is(err, remote.NotSupported) {
				err = errors.Join(ErrUnsupported, err)
			}
			if err != nil {
				return nil, err
			}
			e.list, r.b = append(e.list, op), rest
		}
		e.ops = start[:len(start)-len(r.b)]
	case entrySnapshot:
		e.about, e.root = r.link(), crypto.ID(r.h32())
	case entryKeyring:
		e.about = r.link()
	case entryMark:
		var err error
		if e.mark, err = r.mark(); err != nil {
			return nil, err
		}
	case entryDone:
		e.about.Seq = r.u64()
	default:
		return nil, fmt.Errorf("%w: type %d", ErrUnsupported, e.typ)
	}
	if r.short {
		return nil, errors.New("ends too early")
	}
	if len(b) != bucket(len(b)-len(r.b)) {
		return nil, errors.New("padded wrongly")
	}
	for _, c := range r.b {
		if c != 0 {
			return nil, errors.New("padding that is not zero")
		}
	}
	return e, nil
}

// reader takes fixed fields off a body; short says that it ran out.
type reader struct {
	b     []byte
	short bool
}

func (r *reader) take(n int) []byte {
	if len(r.b) < n {
		r.short, r.b = true, nil
		return make([]byte, n)
	}
	t := r.b[:n]
	r.b = r.b[n:]
	return t
}

func (r *reader) u16() uint16   { return binary.BigEndian.Uint16(r.take(2)) }
func (r *reader) u32() uint32   { return binary.BigEndian.Uint32(r.take(4)) }
func (r *reader) u64() uint64   { return binary.BigEndian.Uint64(r.take(8)) }
func (r *reader) h32() [32]byte { return [32]byte(r.take(32)) }
func (r *reader) link() link    { return link{r.u64(), r.h32()} }

func logName(seq uint64) string { return fmt.Sprintf("l/%016x", seq) }

// number reads the number at the end of an object's name, after its prefix.
func number(name, prefix string) (uint64, bool) {
	s, ok := strings.CutPrefix(name, prefix)
	if !ok || len(s) != 16 {
		return 0, false
	}
	n, err := strconv.ParseUint(s, 16, 64)
	return n, err == nil
}
