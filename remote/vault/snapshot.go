package vault

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"sort"
	"strings"

	"megafs/crypto"
	"megafs/remote"
	"megafs/remote/blob"
	"megafs/remote/wire"
)

const (
	rootPrefix  = "s/r/"
	rootVersion = 1
	maxPart     = 4 << 20 // of a part's plaintext
	maxParts    = 32768   // their table fits into one object
	partLimit   = maxPart + crypto.HeaderLen + 17*(maxPart/crypto.ChunkSize+1)
	rootLimit   = 8 << 20
	partRecord  = 32 + 32 + 4
	rootHead    = 2 + 32 + 8 + 32 + 8 + 32 + 32 + 8 + 32 + 4
)

func rootName(seq uint64, id crypto.ID) string {
	return fmt.Sprintf("%s%016x-%x", rootPrefix, seq, id[:])
}
func partName(id crypto.ID) string { return "s/p/" + hex.EncodeToString(id[:]) }

// root is a snapshot's table of contents: the place in the log whose state it is, its parts, and a digest of all records.
type root struct {
	at      link
	keyring link
	digest  [32]byte
	prev    link // the snapshot before
	parts   []partRef
}

type partRef struct {
	id   crypto.ID
	hash [32]byte // of the sealed part
	n    uint32   // records
}

func (r *root) encode(vid crypto.VaultID) []byte {
	b := binary.BigEndian.AppendUint16(nil, rootVersion)
	b = append(b, vid[:]...)
	b = r.at.append(b)
	b = r.keyring.append(b)
	b = append(b, r.digest[:]...)
	b = r.prev.append(b)
	b = binary.BigEndian.AppendUint32(b, uint32(len(r.parts)))
	for _, p := range r.parts {
		b = append(b, p.id[:]...)
		b = append(b, p.hash[:]...)
		b = binary.BigEndian.AppendUint32(b, p.n)
	}
	padded := make([]byte, bucket(len(b)))
	copy(padded, b)
	return padded
}

func decodeRoot(vid crypto.VaultID, seq uint64, b []byte) (*root, error) {
	x := reader{b: b}
	if v := x.u16(); v != rootVersion {
		return nil, fmt.Errorf("version %d", v)
	}
	if x.h32() != [32]byte(vid) {
		return nil, errors.New("of another vault")
	}
	r := &root{at: x.link(), keyring: x.link(), digest: x.h32(), prev: x.link()}
	n := int(x.u32())
	if n > maxParts || n*partRecord > len(x.b) {
		return nil, fmt.Errorf("%d parts", n)
	}
	for range n {
		r.parts = append(r.parts, partRef{crypto.ID(x.h32()), x.h32(), x.u32()})
	}
	if x.short || r.at.Seq != seq || len(b) != bucket(len(b)-len(x.b)) || bytes.Trim(x.b, "\x00") != nil && len(bytes.Trim(x.b, "\x00")) > 0 {
		return nil, errors.New("malformed")
	}
	return r, nil
}

func partCtx(seq uint64, i int) []byte { return binary.BigEndian.AppendUint32(u64(seq), uint32(i)) }

// Snapshot implements remote.Remote.
func (v *Vault) Snapshot(ctx context.Context, pos remote.Position, ops func(yield func(remote.Op) error) error) (remote.Position, error) {
	v.commitMu.Lock()
	defer v.commitMu.Unlock()
	v.mu.Lock()
	r := &root{at: link(pos), keyring: link{v.keyring().Generation(), v.keyring().Hash()}, prev: v.snap}
	current := v.end == link(pos) && v.head == v.end
	v.mu.Unlock()
	if !current {
		return pos, remote.E("snapshot", "", remote.Conflict, nil)
	}
	digest := sha256.New()
	var part []byte
	var n uint32
	flush := func() error {
		if n == 0 {
			return nil
		}
		if len(r.parts) == maxParts {
			return remote.E("snapshot", "", remote.TooLarge, nil)
		}
		padded := make([]byte, bucket(len(part)))
		copy(padded, part)
		sealed, id := v.keys.Seal(crypto.ClassSnapshotPart, partCtx(pos.Seq, len(r.parts)), binary.BigEndian.AppendUint32(padded, uint32(len(part))))
		if err := v.store.Put(ctx, partName(id), sealed); err != nil && !remote.Is(err, remote.Exist) {
			return err
		}
		r.parts = append(r.parts, partRef{id, sha256.Sum256(sealed), n})
		part, n = part[:0], 0
		return nil
	}
	err := ops(func(op remote.Op) error {
		if err := ctx.Err(); err != nil {
			return remote.E("snapshot", "", remote.Canceled, err)
		}
		if err := wire.Check(&op); err != nil {
			return err
		}
		old := len(part)
		part = wire.AppendOp(part, &op)
		if len(part) > maxPart-maxPart/8 && old > 0 {
			one := bytes.Clone(part[old:])
			part = part[:old]
			if err := flush(); err != nil {
				return err
			}
			part = append(part, one...)
			old = 0
		}
		digest.Write(part[old:])
		n++
		return nil
	})
	if err == nil {
		err = flush()
	}
	if err != nil {
		return pos, err
	}
	digest.Sum(r.digest[:0])
	sealed, id := v.keys.Seal(crypto.ClassSnapshotRoot, u64(pos.Seq), r.encode(v.keys.Vault()))
	if err := v.store.Put(ctx, rootName(pos.Seq, id), sealed); err != nil && !remote.Is(err, remote.Exist) {
		return pos, err
	}
	e := &entry{typ: entrySnapshot, parts: 1, about: link{pos.Seq, sha256.Sum256(sealed)}, root: id}
	return v.commit(ctx, pos, []*entry{e})
}

// candidate is a snapshot that a listing shows.
type candidate struct {
	seq uint64
	id  crypto.ID
}

// maxCandidates is how many snapshots are tried before the whole log is read. A store can list any number that are none.
const maxCandidates = 64

// candidates lists the newest snapshots, the newest first. A listing is a hint; only what the log announces counts.
func (v *Vault) candidates(ctx context.Context) ([]candidate, error) {
	var out []candidate
	err := v.store.List(ctx, rootPrefix, "", func(i blob.Info) error {
		s, _ := strings.CutPrefix(i.Name, rootPrefix)
		num, hexid, ok := strings.Cut(s, "-")
		seq, ok2 := number(num, "")
		id, err := hex.DecodeString(hexid)
		if !ok || !ok2 || err != nil || len(id) != 32 {
			return nil
		}
		at := sort.Search(len(out), func(k int) bool { return out[k].seq < seq })
		if at < maxCandidates {
			out = slices.Insert(out, at, candidate{seq, crypto.ID(id)})
			out = out[:min(len(out), maxCandidates)]
		}
		return nil
	})
	return out, err
}

// root returns a snapshot's root if the log's next entry announces it, and that entry's place.
func (v *Vault) root(ctx context.Context, c candidate) (*root, error) {
	name := rootName(c.seq, c.id)
	sealed, err := v.store.Get(ctx, name, rootLimit)
	if err != nil {
		return nil, err
	}
	body, id, err := v.keys.Open(crypto.ClassSnapshotRoot, u64(c.seq), sealed)
	if err != nil {
		return nil, opened("open snapshot", name, err)
	}
	r, err := decodeRoot(v.keys.Vault(), c.seq, body)
	if err != nil || id != c.id {
		return nil, bad("read snapshot", name, ErrTampered, err)
	}
	next, err := v.store.Get(ctx, logName(c.seq+1), maxEntry)
	if err != nil {
		return nil, err
	}
	e, err := openEntry(v.keys, c.seq+1, next)
	if err != nil {
		return nil, err
	}
	if e.typ != entrySnapshot || e.prev != r.at.Hash || e.about != (link{c.seq, sha256.Sum256(sealed)}) || e.root != id {
		return nil, bad("read snapshot", name, ErrSnapshotDivergence, errors.New("the log does not announce it"))
	}
	return r, nil
}
