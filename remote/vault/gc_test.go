package vault

import (
	"context"
	"errors"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"megafs/remote"
)

func collecting(t testing.TB, on kind) (*world, *actor) {
	w := newWorld(t, on)
	return w, newActor(w, w.open(w.store, w.state), 1, rand.New(rand.NewPCG(1, 2)))
}

func count(w *world, prefix string) (n int) {
	for _, name := range w.store.Names() {
		if strings.HasPrefix(name, prefix) {
			n++
		}
	}
	return n
}

// TestGCSpaceComesBack removes files, and with them goes their content, as soon as nothing that is kept refers to it and not before.
func TestGCSpaceComesBack(t *testing.T) {
	both(t, func(t *testing.T, on kind) {
		w, a := collecting(t, on)
		for range 6 {
			must(t, a.write())
		}
		for range 4 {
			must(t, a.remove())
		}
		a.keep = GCOptions{Keep: 30 * 24 * time.Hour, Grace: 24 * time.Hour}
		r, err := a.collect()
		must(t, err)
		if r.Marked+r.Removed > 0 || count(w, "o/") != 6 {
			t.Fatal("what is younger than what is kept was given up:", r)
		}
		for range 10 { // a collection now and then, as mounts do
			time.Sleep(8 * 24 * time.Hour)
			_, err = a.collect()
			must(t, err)
			must(t, a.write())
			must(t, a.remove())
		}
		used, _ := sound(w, t.TempDir())
		if n := count(w, "o/"); n > len(used)+8 {
			t.Error(n, "objects are there, the state refers to", len(used))
		}
		if _, ok := number(w.store.Names()[0], "l/"); ok {
			t.Error(w.store.Names())
		}
		if w.present(logName(1)) || !w.present(logName(a.s.pos.Seq)) {
			t.Error("the log was not shortened")
		}
		// With nothing kept everything goes at once.
		a.keep = GCOptions{}
		dry := a.keep
		dry.DryRun = true
		before := count(w, "")
		a.keep = dry
		plan, err := a.collect()
		must(t, err)
		if count(w, "") != before {
			t.Error("a dry run changed the store")
		}
		a.keep = GCOptions{}
		r, err = a.collect()
		must(t, err)
		if plan.Content != r.Content || r.Content == 0 {
			t.Errorf("announced %+v, done %+v", plan, r)
		}
		_, err = a.collect()
		must(t, err)
		used, x := sound(w, t.TempDir())
		if n := count(w, "o/"); n != len(used) {
			t.Error(n, "objects are there, the state refers to", len(used))
		}
		if n := count(w, rootPrefix); n > 3 {
			t.Error(n, "snapshots are left")
		}
		verified(w, x)
		r, err = a.collect()
		must(t, err)
		if r.Marked+r.Removed > 0 || r.More {
			t.Errorf("there was nothing to do, and: %+v", r)
		}
	})
}

func (w *world) present(name string) bool {
	_, err := w.store.Size(ctx, name)
	return !remote.Is(err, remote.NotExist)
}

// TestGCGrace: what was given up is there until the grace is over, and a machine whose copy refers to it stores it anew.
func TestGCGrace(t *testing.T) {
	both(t, func(t *testing.T, on kind) {
		w, a := collecting(t, on)
		must(t, a.write())
		state := t.TempDir()
		b := newActor(w, w.open(w.store, state), 2, rand.New(rand.NewPCG(3, 4)))
		must(t, b.load())
		a.keep = GCOptions{Grace: 24 * time.Hour}
		must(t, b.copy(func() error {
			if err := a.remove(); err != nil {
				return err
			}
			r, err := a.collect()
			if r.Content != 1 || r.Waiting < 1 || count(w, "o/") != 1 {
				t.Errorf("%+v", r)
			}
			return err
		}))
		if used, _ := sound(w, t.TempDir()); count(w, "o/") != 2 || len(used) != 1 {
			t.Fatal("the copy did not store its content anew")
		}
		time.Sleep(25 * time.Hour)
		r, err := b.collect() // any machine may end what another began
		must(t, err)
		if used, _ := sound(w, t.TempDir()); count(w, "o/") != 1 || len(used) != 1 || r.Removed == 0 {
			t.Errorf("%+v", r)
		}
	})
}

// TestGCWrongClocks: a machine whose clock is ahead makes nothing older than it is, neither what is kept nor what waits to be removed.
func TestGCWrongClocks(t *testing.T) {
	both(t, func(t *testing.T, on kind) {
		w, a := collecting(t, on)
		must(t, a.write())
		state := t.TempDir()
		o := w.options(state)
		o.Clock = func() time.Time { return time.Now().Add(40 * 24 * time.Hour) }
		v, err := Open(ctx, w.store, o)
		must(t, err)
		w.give(v, w.store)
		b := newActor(w, v, 2, rand.New(rand.NewPCG(3, 4)))
		time.Sleep(31 * 24 * time.Hour)
		must(t, b.remove())
		must(t, b.write())
		must(t, b.snapshot())
		a.keep = GCOptions{Keep: 30 * 24 * time.Hour, Grace: 24 * time.Hour}
		r, err := a.collect()
		must(t, err)
		if r.Marked > 0 {
			t.Errorf("a file that was there a moment ago was given up: %+v", r)
		}
		b.keep = GCOptions{Grace: 24 * time.Hour}
		r, err = b.collect()
		must(t, err)
		if r.Content != 1 {
			t.Fatalf("%+v", r)
		}
		r, err = a.collect()
		must(t, err)
		if r.Removed > 0 || count(w, "o/") != 2 {
			t.Errorf("what was given up a moment ago was removed: %+v", r)
		}
		must(t, a.write())
		time.Sleep(25 * time.Hour)
		r, err = a.collect()
		must(t, err)
		if r.Removed == 0 || count(w, "o/") != 2 {
			t.Errorf("what was given up for long was not removed: %+v", r)
		}
	})
}

// TestGCOnItsWay: content that another machine has sent and not committed yet is left alone as long as it is young; when it is given up all the same, the
// commit says so.
func TestGCOnItsWay(t *testing.T) {
	both(t, func(t *testing.T, on kind) {
		w, a := collecting(t, on)
		b := newActor(w, w.open(w.store, t.TempDir()), 2, rand.New(rand.NewPCG(3, 4)))
		must(t, b.load())
		young := true
		for _, given := range []bool{false, true} {
			p, _ := piece(20000, 7)
			refs, err := b.v.Store(ctx, []remote.Piece{p}, nil)
			must(t, err)
			must(t, a.load())
			turns := 0
			r, err := a.v.Collect(ctx, GCOptions{
				Replica: replica, Orphan: func(remote.ObjectID) bool { return !young },
				Turn: func(_ context.Context, commit func() error) error { turns++; return commit() },
			})
			must(t, err)
			if given != (r.Content == 1) || given != (r.Young == 0) || given != (turns > 0) {
				t.Fatalf("%+v, %d turns", r, turns)
			}
			must(t, b.load())
			_, err = b.v.Commit(ctx, b.s.pos, b.file(remote.Extent{Len: 20000, Ref: refs[0]}))
			var gone *remote.GoneError
			if errors.As(err, &gone) != given || !given && err != nil {
				t.Error(given, err)
			}
			sound(w, t.TempDir())
			young = false
			must(t, b.load())
		}
	})
}
