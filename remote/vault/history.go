package vault

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"megafs/crypto"
	"megafs/remote"
	"megafs/remote/blob"
)

// The hashes of entries that are removed stay: a machine that comes back after them proves with these that what it remembers and what the store
// shows are one history.

const (
	historyPrefix  = "h/i/"
	segmentPrefix  = "h/s/"
	historyVersion = 1
	segmentHashes  = 4096
	historyLimit   = 8 << 20
	maxHistories   = 16 // how many are tried; a store can list any number that are none
)

func historyName(floor uint64, id crypto.ID) string {
	return fmt.Sprintf("%s%016x-%x", historyPrefix, floor, id[:])
}
func segmentName(n uint64, id crypto.ID) string {
	return fmt.Sprintf("%s%016x-%x", segmentPrefix, n, id[:])
}

// The contexts of the two differ, so that none is taken for the other.
func historyCtx(floor uint64) []byte { return append(u64(floor), 0) }

// chain is the log up to an entry: hashes has those of the entries 1..floor.
type chain struct {
	floor    uint64
	hashes   [][32]byte
	segments []sealedRef
	self     sealedRef
}

// sealedRef names a sealed object and its bytes.
type sealedRef struct {
	id   crypto.ID
	hash [32]byte
}

// at is the place in the chain of an entry, which must not be after floor.
func (h *chain) at(seq uint64, vid crypto.VaultID) link {
	if seq == 0 {
		return link{0, genesis(vid)}
	}
	return link{seq, h.hashes[seq-1]}
}

// writeHistory stores the hashes of the entries 1..n. Segments that before has are not stored again.
func (v *Vault) writeHistory(ctx context.Context, hashes [][32]byte, before *chain) (*chain, error) {
	h := &chain{floor: uint64(len(hashes)), hashes: hashes}
	if before != nil {
		h.segments = slices.Clone(before.segments)
	}
	for n := len(h.segments); (n+1)*segmentHashes <= len(hashes); n++ {
		var b []byte
		for _, x := range hashes[n*segmentHashes:][:segmentHashes] {
			b = append(b, x[:]...)
		}
		sealed, id := v.keys.Seal(crypto.ClassHistory, u64(uint64(n)), b)
		if err := v.store.Put(ctx, segmentName(uint64(n), id), sealed); err != nil && !remote.Is(err, remote.Exist) {
			return nil, err
		}
		h.segments = append(h.segments, sealedRef{id, sha256.Sum256(sealed)})
	}
	vid := v.keys.Vault()
	b := binary.BigEndian.AppendUint16(nil, historyVersion)
	b = append(b, vid[:]...)
	b = binary.BigEndian.AppendUint64(b, h.floor)
	for _, s := range h.segments {
		b = append(append(b, s.id[:]...), s.hash[:]...)
	}
	for _, x := range hashes[len(h.segments)*segmentHashes:] {
		b = append(b, x[:]...)
	}
	padded := make([]byte, bucket(len(b)))
	copy(padded, b)
	sealed, id := v.keys.Seal(crypto.ClassHistory, historyCtx(h.floor), padded)
	if err := v.store.Put(ctx, historyName(h.floor, id), sealed); err != nil && !remote.Is(err, remote.Exist) {
		return nil, err
	}
	h.self = sealedRef{id, sha256.Sum256(sealed)}
	return h, nil
}

// readHistory reads a history with all its segments.
func (v *Vault) readHistory(ctx context.Context, floor uint64, id crypto.ID) (*chain, error) {
	name := historyName(floor, id)
	sealed, err := v.store.Get(ctx, name, historyLimit)
	if err != nil {
		return nil, missing("read history", name, err)
	}
	b, got, err := v.keys.Open(crypto.ClassHistory, historyCtx(floor), sealed)
	if err != nil {
		return nil, opened("open history", name, err)
	}
	malformed := func() error { return bad("read history", name, ErrTampered, errors.New("malformed")) }
	r := reader{b: b}
	if n := r.u16(); n != historyVersion {
		return nil, remote.E("read history", name, remote.NotSupported, ErrUnsupported)
	}
	h := &chain{floor: floor, self: sealedRef{id, sha256.Sum256(sealed)}}
	full, rest := floor/segmentHashes, floor%segmentHashes
	if r.h32() != [32]byte(v.keys.Vault()) || r.u64() != floor || got != id || full > historyLimit/64 || full*64+rest*32 > uint64(len(r.b)) {
		return nil, malformed()
	}
	for range full {
		h.segments = append(h.segments, sealedRef{crypto.ID(r.h32()), r.h32()})
	}
	var tail [][32]byte
	for range rest {
		tail = append(tail, r.h32())
	}
	if r.short || len(b) != bucket(len(b)-len(r.b)) || len(bytes.Trim(r.b, "\x00")) > 0 {
		return nil, malformed()
	}
	for n, s := range h.segments {
		name := segmentName(uint64(n), s.id)
		sealed, err := v.store.Get(ctx, name, historyLimit)
		if err != nil {
			return nil, missing("read history", name, err)
		}
		b, _, err := v.keys.Open(crypto.ClassHistory, u64(uint64(n)), sealed)
		if err != nil {
			return nil, opened("open history", name, err)
		}
		if sha256.Sum256(sealed) != s.hash || len(b) != segmentHashes*32 {
			return nil, bad("read history", name, ErrTampered, errors.New("another segment"))
		}
		for r := (reader{b: b}); len(r.b) > 0; {
			h.hashes = append(h.hashes, r.h32())
		}
	}
	h.hashes = append(h.hashes, tail...)
	return h, nil
}

// missing says of an object that must be there that it is not.
func missing(op, name string, err error) error {
	if remote.Is(err, remote.NotExist) {
		return bad(op, name, ErrMissing, nil)
	}
	return err
}

// histories lists the newest histories that reach up to an entry, the newest first.
func (v *Vault) histories(ctx context.Context, seq uint64) ([]item, error) {
	var out []item
	err := v.store.List(ctx, historyPrefix, "", func(i blob.Info) error {
		if x, ok := itemOf(i.Name); ok && x.kind == itemHistory && x.n >= seq {
			out = append(out, x)
			slices.SortStableFunc(out, func(a, b item) int { return -cmpSeq(a.n, b.n) })
			out = out[:min(len(out), maxHistories)]
		}
		return nil
	})
	return out, err
}

func cmpSeq(a, b uint64) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

// errPruned says that the log after a place is removed, and that this is right so: a history has the place. The state is to be loaded anew.
var errPruned = errors.New("the log there was removed long ago")

// pruned looks whether entry seq was removed for good, by a history up to it or further that has the place at, which this machine knows. Else
// why is returned; a history with another hash there is a fork, and one that can't be read is told with why.
//
// Whoever holds the keys and wrote a history had followed the chain up to its end. So it is true also if nothing in the log names it.
func (v *Vault) pruned(ctx context.Context, at link, seq uint64, why error) (*chain, error) {
	var list []item
	look := func() (err error) {
		if list, err = v.histories(ctx, seq); err == nil && len(list) == 0 {
			err = remote.E("look for histories", "", remote.NotExist, nil)
		}
		return err
	}
	err := look()
	if remote.Is(err, remote.NotExist) {
		err = again(ctx, look) // a listing may be behind, too
	}
	if err != nil && !remote.Is(err, remote.NotExist) {
		return nil, err
	}
	for _, i := range list {
		h, err := v.readHistory(ctx, i.n, i.id)
		switch {
		case err == nil && h.at(at.Seq, v.keys.Vault()) == at:
			return h, nil
		case err == nil:
			return nil, bad("load", logName(at.Seq), ErrFork, errors.New("the history of what was removed has another entry there"))
		case !damaged(err):
			return nil, err
		}
		why = errors.Join(why, err)
	}
	return nil, why
}
