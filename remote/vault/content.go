package vault

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"

	"golang.org/x/sync/errgroup"

	"megafs/crypto"
	"megafs/remote"
)

// uploads is how many content objects are sealed and sent at once; each takes twice 4 MiB of memory.
const uploads = 4

// PieceError says which piece could not be had.
type PieceError struct {
	Index int
	Err   error
}

func (e *PieceError) Error() string { return fmt.Sprintf("piece %d: %v", e.Index, e.Err) }
func (e *PieceError) Unwrap() error { return e.Err }

func contentName(id remote.ObjectID) string {
	h := hex.EncodeToString(id[:])
	return "o/" + h[:2] + "/" + h
}

// pack is what goes into one object.
type pack struct {
	pieces []placed
	size   int // bytes of plaintext so far
}

type placed struct {
	index int
	off   int
}

// packs divides pieces over objects. A piece of a chunk or more begins at a chunk's start; smaller ones share chunks and do not straddle two, so
// that any read opens as few chunks as can be.
func packs(pieces []remote.Piece) []pack {
	var out []pack
	var p, small pack
	add := func(to *pack, i, align int) {
		n := pieces[i].Len
		at := (to.size + align - 1) / align * align
		if n < remote.ChunkSize && at/remote.ChunkSize != (at+n-1)/remote.ChunkSize {
			at = (at + remote.ChunkSize - 1) / remote.ChunkSize * remote.ChunkSize
		}
		if at+n > remote.MaxContent {
			out = append(out, *to)
			*to, at = pack{}, 0
		}
		to.pieces = append(to.pieces, placed{i, at})
		to.size = at + n
	}
	for i := range pieces {
		if pieces[i].Len >= remote.ChunkSize {
			add(&p, i, remote.ChunkSize)
		} else {
			add(&small, i, 8)
		}
	}
	// The small ones go behind the large ones if they fit.
	base := (p.size + remote.ChunkSize - 1) / remote.ChunkSize * remote.ChunkSize
	if len(p.pieces) > 0 && len(small.pieces) > 0 && base+small.size <= remote.MaxContent {
		for _, s := range small.pieces {
			p.pieces = append(p.pieces, placed{s.index, base + s.off})
		}
		p.size, small = base+small.size, pack{}
	}
	for _, x := range []pack{p, small} {
		if len(x.pieces) > 0 {
			out = append(out, x)
		}
	}
	return out
}

// Store implements remote.Remote.
func (v *Vault) Store(ctx context.Context, pieces []remote.Piece, stored func(ref remote.Ref, sealed []byte)) ([]remote.Ref, error) {
	for i, p := range pieces {
		if p.Len < 1 || p.Len > remote.MaxContent {
			return nil, remote.E("store", fmt.Sprintf("piece %d", i), remote.Invalid, nil)
		}
	}
	if err := v.writable("store"); err != nil {
		return nil, err
	}
	refs := make([]remote.Ref, len(pieces))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(uploads)
	for _, p := range packs(pieces) {
		g.Go(func() error {
			plain := make([]byte, p.size)
			for _, x := range p.pieces {
				if err := ctx.Err(); err != nil {
					return remote.E("store", "", remote.Canceled, err)
				}
				if err := pieces[x.index].Read(ctx, 0, plain[x.off:][:pieces[x.index].Len]); err != nil {
					return &PieceError{x.index, err}
				}
			}
			sealed, id := v.keys.Seal(crypto.ClassContent, nil, plain)
			ref := remote.Ref{Object: remote.ObjectID(id), Epoch: v.keys.Epoch(), Chunks: uint16((p.size + remote.ChunkSize - 1) / remote.ChunkSize)}
			// The name is drawn for these bytes alone: should it be taken, they are there already, by a try whose answer was lost.
			name := contentName(ref.Object)
			if err := v.store.Put(ctx, name, sealed); remote.Is(err, remote.Exist) {
				if there, err := v.store.Get(ctx, name, int64(len(sealed))); err != nil || !bytes.Equal(there, sealed) {
					return remote.E("store", name, remote.Other, errors.Join(ErrStoreContract, err))
				}
			} else if err != nil {
				return err
			}
			if stored != nil {
				stored(ref, sealed)
			}
			for _, x := range p.pieces {
				r := ref
				r.Off = uint32(x.off)
				refs[x.index] = r
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	return refs, nil
}

// Fetch implements remote.Remote.
func (v *Vault) Fetch(ctx context.Context, ref remote.Ref, first, n int, dst []byte) error {
	if first < 0 || n < 1 || first+n > int(ref.Chunks) || len(dst) != n*remote.SealedChunk {
		return remote.E("fetch", "", remote.Invalid, errors.New("chunks that the object does not have"))
	}
	name := contentName(ref.Object)
	get := func() error {
		return v.store.GetRange(ctx, name, int64(crypto.HeaderLen+first*remote.SealedChunk), dst)
	}
	err := get()
	if remote.Is(err, remote.NotExist) {
		err = again(ctx, get)
	}
	switch {
	case remote.Is(err, remote.NotExist):
		return bad("fetch", name, ErrMissing, nil)
	case remote.Is(err, remote.Integrity):
		return bad("fetch", name, ErrTampered, err)
	}
	return err
}

// Open implements remote.Remote.
func (v *Vault) Open(ref remote.Ref, i int, sealed, dst []byte) error {
	return opened("open", contentName(ref.Object), v.keys.OpenChunk(crypto.ID(ref.Object), ref.Epoch, ref.Chunks, i, sealed, dst))
}
