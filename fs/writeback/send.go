package writeback

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"golang.org/x/sync/errgroup"

	"megafs/fs/journal"
	"megafs/fs/tree"
	"megafs/remote"
)

// pieceError is a file whose bytes can't be had: local damage, or stored content that does not verify.
type pieceError struct {
	ino remote.Ino
	err error
}

func (e *pieceError) Error() string { return fmt.Sprintf("inode %d: %v", e.ino, e.err) }
func (e *pieceError) Unwrap() error { return e.err }

// slice is how many bytes, or pieces, go to one call of Remote.Store.
const (
	sliceBytes  = 64 << 20
	slicePieces = 8192
)

// send brings a generation to the remote and lets the tree take it.
func (e *Engine) send(ctx context.Context, g *tree.Generation) error {
	if err := e.lookAlone(); err != nil {
		return err
	}
	whole, _ := e.o.Remote.(remote.WholeFiles)
	var p *Planned
	if whole != nil {
		p = PlanWhole(g)
	} else {
		p = Plan(g, e.alone)
	}
	var total int64
	for _, w := range append(p.Stored[:len(p.Stored):len(p.Stored)], p.Whole...) {
		total += int64(w.Len)
	}
	e.set(func() { e.state.Uploading = total })
	defer e.set(func() { e.state.Uploading = 0 })
	// Whether the names fit is known before anything is uploaded for them.
	if err := e.o.Tree.Check(append(p.Ops[:len(p.Ops):len(p.Ops)], p.Names...)); err != nil {
		return remote.E("send changes", "", remote.Invalid, fmt.Errorf("what another machine changed contradicts what was changed here: %w", err))
	}
	ops := p.Ops
	for _, w := range p.Inline {
		b := make([]byte, w.Len)
		if err := e.read(ctx, w, 0, b); err != nil {
			return e.blame(ctx, w.Ino, err)
		}
		ops = append(ops, remote.Op{Kind: remote.OpExtent, Ino: w.Ino, Extent: remote.Extent{Len: w.Len, Inline: b}})
	}
	for rest := p.Stored; len(rest) > 0; {
		n, bytes := 0, uint64(0)
		for n < len(rest) && n < slicePieces && (n == 0 || bytes+rest[n].Len <= sliceBytes) {
			bytes += rest[n].Len
			n++
		}
		refs, err := e.store(ctx, rest[:n])
		if err != nil {
			return err
		}
		for i, r := range refs {
			w := rest[i]
			ops = append(ops, remote.Op{Kind: remote.OpExtent, Ino: w.Ino, Extent: remote.Extent{Off: w.Off, Len: w.Len, Ref: r}})
		}
		e.set(func() { e.state.Sent += int64(bytes) })
		rest = rest[n:]
	}
	durable := journal.Seq(g.Upto)
	if len(p.Whole) > 0 {
		stored, err := e.storeFiles(ctx, whole, p.Whole)
		if err != nil {
			return err
		}
		ops = append(ops, stored...)
		if durable, err = e.note(g, stored); err != nil {
			return err
		}
	}
	ops = append(ops, p.Names...)
	base := e.o.Tree.Position()
	b, news := remote.Batch{Pos: base, Ops: ops}, false
	if len(ops) > 0 {
		cctx, cancel := remote.Watched(ctx, e.o.Timeout)
		defer cancel()
		if err := e.o.Journal.Sync(cctx, durable); err != nil {
			return err
		}
		done := e.ask()
		pos, err := e.o.Remote.Commit(cctx, base, ops)
		err = remote.Stalled(cctx, "commit", err)
		done()
		var gone *remote.GoneError
		if errors.As(err, &gone) {
			for _, id := range gone.Objects {
				e.alone[id] = true
			}
			return remote.E("commit", "", remote.Conflict, err) // at once again, with that content stored anew
		}
		var other *remote.CameOutError
		if errors.As(err, &other) {
			pos, b.Ops, err = other.Pos, other.Ops, nil
		}
		if err != nil {
			return err
		}
		b.Pos = pos
		news = other != nil
		// Before anybody who waits is told that it is sent: what was wrong before is over then.
		e.set(func() { e.state.Uploading = 0 })
		e.report(nil)
	}
	take := e.o.Tree.Commit
	if news && e.o.Landed != nil {
		take = e.o.Landed
	}
	if err := take(b); err != nil {
		return err
	}
	if news {
		e.o.Tree.Note(b.Ops)
		if e.o.Changed != nil {
			e.o.Changed()
		}
	}
	e.set(func() {
		e.state.Commits++
		e.taken++
		e.kept = e.taken
		for _, i := range g.Inodes {
			delete(e.failed, i.Ino)
		}
	})
	if err := e.settle(ctx, g, b.Pos); err != nil {
		return err
	}
	e.since += len(ops)
	e.commits++
	return e.snapshot(ctx)
}

// lookAlone finds what copies share that the base does not refer to: another machine removed its last file, and may have collected it. While the base
// follows the remote step by step, the remote itself says what was collected. After a start, or when the base was begun anew, it must be looked for.
func (e *Engine) lookAlone() error {
	n := e.o.Tree.Resets()
	if e.alone != nil && n == e.resets {
		return nil
	}
	alone, err := e.o.Tree.Strays()
	if err != nil {
		return err
	}
	e.alone, e.resets = alone, n
	return nil
}

// filesAtOnce is how many whole files are on their way at a time. Small ones take the time of round trips, and no memory to speak of; how many large ones are, the
// Remote says.
const filesAtOnce = 32

// storeFiles uploads whole files, but those that the remote copies, and says where their content is. One that can't be read does not stop the others that are under way.
func (e *Engine) storeFiles(ctx context.Context, r remote.WholeFiles, wants []Want) ([]remote.Op, error) {
	defer e.ask()()
	refs := make([][]remote.Ref, len(wants))
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(filesAtOnce)
	for i, w := range wants {
		g.Go(func() error {
			if w.Stored != nil {
				got, err := r.CopyFile(gctx, w.Len, w.Stored)
				if err != nil || got != nil {
					refs[i] = got
					return err
				}
			}
			var blamed error
			var mu sync.Mutex
			got, err := r.StoreFile(gctx, w.Ino, w.Len, func(ctx context.Context, off uint64, dst []byte) error {
				e.pulse.Add(1)
				err := e.read(ctx, w, off, dst)
				if err != nil {
					mu.Lock()
					blamed = e.blame(ctx, w.Ino, err)
					mu.Unlock()
				}
				return err
			}, func(ref remote.Ref, sealed []byte) {
				e.pulse.Add(1)
				e.set(func() { e.taken++ })
				if e.o.Stored != nil {
					e.o.Stored(ref, sealed)
				}
			})
			mu.Lock()
			defer mu.Unlock()
			if err != nil && blamed != nil {
				return blamed
			}
			if err == nil {
				e.set(func() { e.state.Sent += int64(w.Len) })
			}
			refs[i] = got
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	var ops []remote.Op
	for i, w := range wants {
		off := uint64(0)
		for _, ref := range refs[i] {
			n := min(w.Len-off, remote.MaxContent)
			ops = append(ops, remote.Op{Kind: remote.OpExtent, Ino: w.Ino, Extent: remote.Extent{Off: off, Len: n, Ref: ref}})
			off += n
		}
		if off != w.Len {
			return nil, remote.E("store", fmt.Sprintf("inode %d", w.Ino), remote.Other, errors.New("not all of the file was stored"))
		}
	}
	return ops, nil
}

// note puts into the journal which content was stored for which files of a generation, before the remote is asked to take it: when it took it and nobody here
// learned of that, the content is known again. It returns the record up to which the journal must be durable before that.
func (e *Engine) note(g *tree.Generation, stored []remote.Op) (journal.Seq, error) {
	upto := journal.Seq(g.Upto)
	if e.o.Sent == nil {
		return upto, nil
	}
	sizes := map[remote.Ino]uint64{}
	for i := range g.Inodes {
		sizes[g.Inodes[i].Ino] = g.Inodes[i].Size()
	}
	var all []tree.Sent
	for _, op := range stored {
		if op.Extent.Off != 0 {
			continue
		}
		if p, ok := e.o.Tree.FrozenPrint(op.Ino, sizes[op.Ino]); ok {
			all = append(all, tree.Sent{Ino: op.Ino, Object: op.Extent.Ref.Object, Size: sizes[op.Ino], Print: p})
		}
	}
	last, err := e.o.Sent(all)
	return max(upto, last), err
}

// store uploads content that a plan wants.
func (e *Engine) store(ctx context.Context, wants []Want) ([]remote.Ref, error) {
	pieces := make([]remote.Piece, len(wants))
	var blamed *pieceError
	for i, w := range wants {
		pieces[i] = remote.Piece{Len: int(w.Len), Read: func(ctx context.Context, off int, dst []byte) error {
			e.pulse.Add(1)
			err := e.read(ctx, w, uint64(off), dst)
			if err != nil {
				err = e.blame(ctx, w.Ino, err)
				e.mu.Lock()
				if pe, ok := err.(*pieceError); ok && blamed == nil {
					blamed = pe
				}
				e.mu.Unlock()
			}
			return err
		}}
	}
	defer e.ask()()
	refs, err := e.o.Remote.Store(ctx, pieces, func(ref remote.Ref, sealed []byte) {
		e.pulse.Add(1)
		e.set(func() { e.taken++ })
		if e.o.Stored != nil {
			e.o.Stored(ref, sealed)
		}
	})
	e.mu.Lock()
	defer e.mu.Unlock()
	if err != nil && blamed != nil {
		return nil, blamed
	}
	return refs, err
}

// blame says that a file's own bytes are the trouble, unless the store just does not answer.
func (e *Engine) blame(ctx context.Context, ino remote.Ino, err error) error {
	if ctx.Err() != nil || remote.Is(err, remote.Unreachable) || remote.Is(err, remote.Timeout) || remote.Is(err, remote.Canceled) {
		return err
	}
	return &pieceError{ino, err}
}

// read reads bytes of the frozen generation.
func (e *Engine) read(ctx context.Context, w Want, off uint64, dst []byte) error {
	from := w.Off + off
	pieces, err := e.o.Tree.Frozen(w.Ino, from, from+uint64(len(dst)))
	if err != nil {
		return err
	}
	return Fill(ctx, e.o.Journal, e.o.Read, from, dst, pieces)
}

// Fill reads pieces of a file, which begin at from, into dst.
func Fill(ctx context.Context, j *journal.Journal, read func(context.Context, remote.Ref, []byte) error, from uint64, dst []byte, pieces []tree.Piece) error {
	for _, p := range pieces {
		d := dst[p.Off-from:][:p.Len]
		var err error
		switch {
		case p.Ext == nil:
			err = j.ReadAt(journal.Loc{Segment: p.Place.Segment, Off: p.Place.Off, Len: p.Place.Len}, int(p.Place.Skip), d)
		case p.Ext.Hole:
			clear(d)
		case p.Ext.Inline != nil:
			copy(d, p.Ext.Inline)
		default:
			err = read(ctx, p.Ext.Ref, d)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// settle notes in the journal what is committed, and trims it.
func (e *Engine) settle(ctx context.Context, g *tree.Generation, pos remote.Position) error {
	seq, _, err := e.o.Journal.AppendFreeing(e.o.NoteKind, e.o.Note(pos, g.Upto, g.Held))
	if err != nil {
		return err
	}
	e.noted, e.upto = seq, journal.Seq(g.Upto)
	if err := e.trim(ctx, seq); err != nil {
		return err
	}
	return e.forward(ctx)
}

// When a snapshot is due: so many Ops or commits after the last.
const (
	snapshotOps     = 100_000
	snapshotCommits = 1000
)

// due reports whether a snapshot is. A large vault's costs as much to store as it saves whoever opens the vault anew only after more changes: about 100 bytes an inode, against
// some milliseconds for each entry that is read instead.
func due(commits, ops int, inodes uint64) bool {
	return uint64(commits) >= max(snapshotCommits, inodes/500) || uint64(ops) >= max(snapshotOps, inodes/4)
}

// snapshot stores the whole state when enough has changed since the last one, so that opening the vault anew stays quick.
func (e *Engine) snapshot(ctx context.Context) error {
	want := e.want.Load()
	inodes := e.o.Tree.Numbers()
	if !due(e.commits, e.since, inodes) && !want {
		return nil
	}
	if p := e.o.Tree.Stat(); p.Bytes > sliceBytes {
		return nil // not while there is work
	}
	done := e.ask()
	pos, err := e.o.Remote.Snapshot(ctx, e.o.Tree.Position(), func(yield func(remote.Op) error) error {
		return e.o.Tree.Ops(func(op remote.Op) error {
			e.pulse.Add(1)
			return yield(op)
		})
	})
	done()
	e.want.Store(false)
	if err != nil {
		e.o.Log.Warn("no snapshot could be stored; it is tried again", "reason", err)
		e.commits, e.since = e.commits/2, e.since/2
		return nil
	}
	e.commits, e.since = 0, 0
	return e.o.Tree.Apply(remote.Batch{Pos: pos})
}
