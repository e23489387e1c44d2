package volume

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"megafs/fs/tree"
	"megafs/remote"
)

// catchUp replays the journal over the base as it was when the journal was written, as far as that can be had, and brings the base to the remote's
// head. Without an answer, which loaded tells, it is content with a base that has been there once, and is no older than the journal: the records before may be gone.
func (v *Volume) catchUp(ctx context.Context, l *log) (loaded bool, err error) {
	_, v.device = v.o.Remote.Device()
	from := v.tree.Position()
	partial, err := v.tree.Partial()
	if err != nil {
		return false, err
	}
	known, s := l.pos, v.sink
	s.log, s.ctx = l, ctx
	if from.Seq > 0 && from.Seq >= known.Seq {
		// A base that was begun anew, and was ended by a crash beyond where the journal is, may not have been merged.
		s.blind = partial && known.Seq > 0 && from.Seq > known.Seq
		if err := s.replay(); err != nil {
			return false, err
		}
		if err := s.mend(); err != nil {
			return false, err
		}
	}
	if from.Seq > 0 && from.Seq >= known.Seq && !partial { // it can do without
		var cancel context.CancelFunc
		s.ctx, cancel = context.WithTimeout(ctx, v.o.News)
		defer cancel()
	}
	_, err = v.tree.Load(s.ctx, v.o.Remote, s)
	to := v.tree.Position()
	partial, perr := v.tree.Partial() // a load may have begun anew
	if perr != nil {
		return false, perr
	}
	offline := remote.Is(err, remote.Unreachable) || remote.Is(err, remote.Timeout)
	violated := remote.Is(err, remote.Integrity) || remote.Is(err, remote.ReadOnly)
	switch {
	case err == nil:
		loaded = true
	case to == (remote.Position{}):
		return false, err
	case offline && partial:
		return false, remote.E("open the volume", "", remote.Unreachable, fmt.Errorf("the store stopped answering before all of the tree was read; try again when it does: %w", err))
	case offline && to.Seq < known.Seq:
		return false, remote.E("open the volume", "", remote.Unreachable, fmt.Errorf("the local tree is older than the journal, and the store does not answer; try again when it does: %w", err))
	case offline, violated:
		v.o.Log.Warn("the store can't be asked for news; going on with what is known", "reason", err)
	default:
		return false, err
	}
	return loaded, s.replay()
}

// registerTries is how often a number is asked for while other machines commit.
const registerTries = 20

// register sees to it that this device has a number, the first part of the inode numbers it makes. It may lose the one it had, when the log
// shows that a copy of its folders uses it.
func (v *Volume) register(ctx context.Context) error {
	for try := 0; ; try++ {
		_, number := v.o.Remote.Device()
		v.mu.Lock()
		settled := number != 0 && number == v.device && v.counted
		v.mu.Unlock()
		if settled {
			return nil
		}
		if number != 0 || v.o.ReadOnly || v.o.Register == nil {
			return v.number(number)
		}
		// What others did meanwhile can't be merged without a number, so it is only looked at.
		r := registry{}
		head, err := v.o.Remote.Load(ctx, v.tree.Position(), &r)
		if err != nil {
			return err
		}
		ids, _, err := v.tree.Devices()
		if err != nil {
			return err
		}
		for n := range ids {
			r.last = max(r.last, n)
		}
		_, err = v.o.Register(ctx, head, r.last+1)
		if err == nil {
			continue
		}
		if !remote.Is(err, remote.Conflict) || try >= registerTries {
			return err
		}
		select {
		case <-ctx.Done():
			return remote.E("register this machine", "", remote.Timeout, ctx.Err())
		case <-time.After(time.Duration(rand.IntN(10*(try+1))) * time.Millisecond):
		}
	}
}

// registry is a Sink that looks for the numbers of machines, and takes nothing.
type registry struct{ last uint32 }

func (r *registry) Reset() error { return nil }

func (r *registry) Apply(b remote.Batch) error {
	for i := range b.Ops {
		if op := &b.Ops[i]; op.Kind == remote.OpDevice {
			r.last = max(r.last, op.Number)
		}
	}
	return nil
}

// number takes note of the device's number.
func (v *Volume) number(number uint32) error {
	_, largest, err := v.tree.Devices()
	if err != nil {
		return err
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if number != v.device {
		v.nextNo = 0
	}
	v.device, v.counted = number, true
	v.nextNo = max(v.nextNo, uint64(largest[number])&(1<<remote.InoBits-1))
	return nil
}

// replay applies the journal over the base. What a note says the remote has is left out.
func (v *Volume) replay(l *log) error {
	if err := v.number(v.device); err != nil {
		return err
	}
	v.nextNo = max(v.nextNo, l.last.next)
	v.marked, v.sent = l.pos, l.sent
	// final returns whose the content was, when the note was made, that a record gave to an inode. What became of it later comes later.
	type move struct {
		at       int
		from, to remote.Ino
	}
	var moves []move
	for i, r := range l.records {
		if r.merge == nil || uint64(r.seq) > l.last.upto {
			continue
		}
		for _, x := range r.merge.Rebased {
			if x.Body != 0 && x.Body != x.Ino {
				moves = append(moves, move{i, x.Ino, x.Body})
			}
		}
	}
	final := func(at int, ino remote.Ino) remote.Ino {
		for _, m := range moves {
			if m.at > at && m.from == ino {
				ino = m.to
			}
		}
		return ino
	}
	// known reports whether the base has what an Op says, or what came of it since.
	known := func(at int, op *remote.Op) bool {
		seq := uint64(l.records[at].seq)
		if !l.noted || seq > l.last.upto {
			return false
		}
		var since uint64
		var held bool
		switch op.Kind {
		case remote.OpLink, remote.OpUnlink:
			since, held = l.last.held.Names[tree.HeldName{Parent: op.Parent, Name: op.Name}]
		case remote.OpExtent, remote.OpCut:
			since, held = l.last.held.Inodes[final(at, op.Ino)]
		default:
			since, held = l.last.held.Inodes[op.Ino]
		}
		return !held || seq < since
	}
	now := v.o.Clock().UnixNano()
	for i := range l.records {
		r := &l.records[i]
		v.lastSeq.Store(uint64(r.seq))
		if r.ops == nil && r.merge == nil {
			if known(i, &remote.Op{Kind: remote.OpExtent, Ino: r.write.ino}) {
				continue
			}
			err := v.tree.Written(uint64(r.seq), now, tree.Write{
				Ino: r.write.ino, Off: r.write.off, Len: r.len, Time: r.write.time, Mode: r.write.mode, Place: place(r.loc),
			})
			if err != nil {
				return err
			}
			continue
		}
		all := r.ops
		if r.merge != nil {
			all = r.merge.Ops
		}
		var ops []remote.Op
		for _, op := range all {
			if op.Kind == remote.OpNode && op.Ino.Device() == v.device {
				v.nextNo = max(v.nextNo, uint64(op.Ino)&(1<<remote.InoBits-1))
			}
			if !known(i, &op) {
				ops = append(ops, op)
			}
		}
		var err error
		if r.merge != nil {
			r.merge.Ops = ops
			err = v.tree.Merged(uint64(r.seq), now, r.merge)
		} else {
			err = v.tree.Local(uint64(r.seq), now, ops)
		}
		if err != nil {
			return err
		}
	}
	l.records = nil
	return nil
}
