package vault

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"

	"megafs/crypto"
	"megafs/remote"
	"megafs/remote/wire"
)

// partsAhead is how many parts are fetched and opened beside the next one: enough that the line is busy while one is told. Each takes twice its 4 MiB at most.
const partsAhead = 1

// parts fetches a snapshot's parts, some at once, and hands out their records in order. stop ends it.
func (v *Vault) parts(ctx context.Context, r *root) (next func() ([]byte, error), stop func()) {
	type fetched struct {
		records []byte
		err     error
	}
	ctx, cancel := context.WithCancel(ctx)
	var queue []chan fetched
	asked := 0
	ask := func() {
		c, i := make(chan fetched, 1), asked
		queue, asked = append(queue, c), asked+1
		go func() {
			b, err := v.part(ctx, r, i)
			c <- fetched{b, err}
		}()
	}
	next = func() ([]byte, error) {
		for len(queue) <= partsAhead && asked < len(r.parts) {
			ask()
		}
		f := <-queue[0]
		queue = queue[1:]
		return f.records, f.err
	}
	return next, func() {
		cancel()
		for _, c := range queue {
			<-c
		}
	}
}

// tell delivers a snapshot's parts.
func (v *Vault) tell(ctx context.Context, r *root, sink remote.Sink) error {
	digest := sha256.New()
	next, stop := v.parts(ctx, r)
	defer stop()
	for _, p := range r.parts {
		records, err := next()
		if err != nil {
			return err
		}
		digest.Write(records)
		var ops []remote.Op
		var n uint32
		for len(records) > 0 {
			op, rest, err := wire.DecodeOp(records)
			if err != nil {
				return bad("read snapshot", partName(p.id), ErrTampered, err)
			}
			ops, records = append(ops, op), rest
			n++
			if len(ops) == 10_000 || len(records) == 0 {
				if err := sink.Apply(remote.Batch{Ops: ops}); err != nil {
					return err
				}
				remote.Progress(ctx)
				ops = make([]remote.Op, 0, len(ops))
			}
		}
		if n != p.n {
			return bad("read snapshot", partName(p.id), ErrTampered, errors.New("not as many records as it says"))
		}
	}
	if [32]byte(digest.Sum(nil)) != r.digest {
		return bad("read snapshot", fmt.Sprint(r.at.Seq), ErrSnapshotDivergence, nil)
	}
	return nil
}

// part returns the records of one part of a snapshot.
func (v *Vault) part(ctx context.Context, r *root, i int) ([]byte, error) {
	p := r.parts[i]
	name := partName(p.id)
	sealed, err := v.store.Get(ctx, name, int64(partLimit))
	if remote.Is(err, remote.NotExist) {
		return nil, bad("read snapshot", name, ErrMissing, nil)
	}
	if err != nil {
		return nil, err
	}
	if sha256.Sum256(sealed) != p.hash {
		return nil, bad("read snapshot", name, ErrTampered, nil)
	}
	b, _, err := v.keys.Open(crypto.ClassSnapshotPart, partCtx(r.at.Seq, i), sealed)
	if err != nil {
		return nil, opened("open snapshot", name, err)
	}
	if len(b) < 4 {
		return nil, bad("read snapshot", name, ErrTampered, nil)
	}
	n := binary.BigEndian.Uint32(b[len(b)-4:])
	if int(n) > len(b)-4 {
		return nil, bad("read snapshot", name, ErrTampered, nil)
	}
	return b[:n], nil
}

// eachOp reads a snapshot whole, and holds it against its digest.
func (v *Vault) eachOp(ctx context.Context, r *root, fn func(*remote.Op) error) error {
	all := sha256.New()
	next, stop := v.parts(ctx, r)
	defer stop()
	for _, p := range r.parts {
		records, err := next()
		if err != nil {
			return err
		}
		all.Write(records)
		n := uint32(0)
		err = wire.EachOp(records, func(op *remote.Op) error { n++; return fn(op) })
		if err == nil && n != p.n {
			err = errors.New("not as many records as it says")
		}
		if err != nil {
			return bad("read snapshot", partName(p.id), ErrTampered, err)
		}
	}
	if [32]byte(all.Sum(nil)) != r.digest {
		return bad("read snapshot", fmt.Sprint(r.at.Seq), ErrSnapshotDivergence, nil)
	}
	return nil
}
