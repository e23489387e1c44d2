package volume

import (
	"context"
	"sync/atomic"
	"testing"

	"megafs/remote"
)

// shortened is a remote whose log begins after some entry: who has seen less is told a snapshot, part by part.
type shortened struct {
	remote.Remote
	floor   *atomic.Uint64
	between func(part int) error
}

func (r *shortened) Load(ctx context.Context, from remote.Position, s remote.Sink) (remote.Position, error) {
	if from.Seq == 0 || from.Seq >= r.floor.Load() {
		return r.Remote.Load(ctx, from, s)
	}
	return condensed{r.Remote}.Load(ctx, remote.Position{}, &inParts{Sink: s, between: r.between})
}

type inParts struct {
	remote.Sink
	between func(part int) error
	n       int
}

func (s *inParts) Apply(b remote.Batch) error {
	err := s.between(s.n)
	if s.n++; err != nil {
		return err
	}
	return s.Sink.Apply(b)
}

// TestP2Slept: a machine that slept while the log was shortened has its tree begun anew while it runs. Until the snapshot is whole it shows what it knew, with what was changed here
// and through open files; it is not empty when the store goes away meanwhile, and then merges as if nothing had been begun when the log is whole after all.
func TestP2Slept(t *testing.T) {
	for _, breaks := range []bool{false, true} {
		f := newFleet(t, 1, 2)
		a, b := f.all[0], f.all[1]
		must := func(err error) {
			t.Helper()
			if err != nil {
				t.Fatal(err)
			}
		}
		var r *shortened
		b.over = func(o *Options) { r = &shortened{Remote: o.Remote, floor: new(atomic.Uint64)}; o.Remote = r }
		must(b.Volume.Close(ctx))
		b.start()
		a.do("mkdir d; write d/kept old; write f old; write gone 1; write theirs 1")
		a.drain()
		b.pull()
		b.mem.SetAway(true)
		h, err := b.Open(ctx, b.find(b.find(remote.Root, "d"), "kept"), true, false)
		must(err)
		_, err = h.WriteAt(ctx, []byte("BB"), 1, false)
		must(err)
		b.do("write mine B; rm gone")
		a.do("rm f; write n A; mv theirs d/theirs")
		a.drain()
		all := f.store.Batches()
		r.floor.Store(all[len(all)-1].Pos.Seq)
		parts := 0
		r.between = func(part int) error {
			parts++
			for _, name := range []string{"d", "f", "theirs", "mine"} {
				if s, err := b.Lookup(ctx, remote.Root, name); err != nil {
					t.Errorf("breaks %v, part %d: %s: %v", breaks, part, name, err)
				} else {
					b.Forget(s.Ino, 1)
				}
			}
			if l, err := b.List(ctx, remote.Root); len(l) != 4 || err != nil {
				t.Errorf("breaks %v, part %d: %v %v", breaks, part, l, err)
			}
			got := make([]byte, 9)
			if n, err := h.ReadAt(ctx, got, 0); string(got[:n]) != "oBB" || err != nil {
				t.Errorf("breaks %v, part %d: %q %v", breaks, part, got[:n], err)
			}
			if breaks && part == 4 {
				r.floor.Store(0)
				return errCut
			}
			return nil
		}
		b.mem.SetAway(false)
		b.drain()
		if got := make([]byte, 9); parts < 5 {
			t.Error("nothing was begun anew")
		} else if n, err := h.ReadAt(ctx, got, 0); string(got[:n]) != "oBB" || err != nil {
			t.Errorf("breaks %v: %q %v", breaks, got[:n], err)
		}
		h.Close()
		b.fsck()
		f.settle()
		want := "d; d/kept=oBB; d/theirs=1; mine=B; n=A"
		if !breaks {
			want = "d; d/kept=old; d/kept (conflict B DATE)=oBB; d/theirs=1; gone=1; mine=B; n=A" // nobody knows what A changed
		}
		if got := a.paths(); got != want {
			t.Errorf("breaks %v: %s\nwant %s", breaks, got, want)
		}
	}
}

// TestP2SleptOff: a machine that was off while the log was shortened mounts with what it knew when the snapshot takes longer than it waits for news, and merges once it has it all,
// also when it was unmounted meanwhile.
func TestP2SleptOff(t *testing.T) {
	for _, again := range []bool{false, true} {
		f := newFleet(t, 1, 2)
		a, b := f.all[0], f.all[1]
		a.do("mkdir d; write d/kept old; write f old; write gone 1; write theirs 1")
		a.drain()
		b.pull()
		b.mem.SetAway(true)
		b.do("write mine B; rm gone; write d/kept BB")
		b.Volume.Close(ctx) // not all is sent
		a.do("rm f; write n A; mv theirs d/theirs")
		a.drain()
		all := f.store.Batches()
		var r *shortened
		slow := true
		b.over = func(o *Options) {
			r = &shortened{Remote: o.Remote, floor: new(atomic.Uint64), between: func(part int) error {
				if slow && part == 4 {
					return remote.E("read a snapshot", "", remote.Timeout, context.DeadlineExceeded)
				}
				return nil
			}}
			r.floor.Store(all[len(all)-1].Pos.Seq)
			o.Remote = r
		}
		b.mem.SetAway(false)
		b.start()
		known := "d; d/kept=BBd; f=old; mine=B; theirs=1"
		if got := b.paths(); got != known {
			t.Errorf("again %v: %s\nwant %s", again, got, known)
		}
		if again {
			b.Volume.Close(ctx) // not all is sent
			b.start()
			if got := b.paths(); got != known {
				t.Errorf("mounted again: %s\nwant %s", got, known)
			}
		}
		slow = false
		b.drain()
		b.fsck()
		f.settle()
		want := "d; d/kept=old; d/kept (conflict B DATE)=BBd; d/theirs=1; gone=1; mine=B; n=A"
		if got := a.paths(); got != want {
			t.Errorf("again %v: %s\nwant %s", again, got, want)
		}
	}
}
