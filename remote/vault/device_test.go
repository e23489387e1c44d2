package vault

import (
	"os"
	"testing"

	"megafs/remote"
)

// TestP4_V65StateRestored: the state folder comes back from a backup, while the tree, which lies elsewhere, is of today. What was done in the
// device's name since then lies before the position that is asked from, and shows all the same.
func TestP4_V65StateRestored(t *testing.T) {
	both(t, func(t *testing.T, on kind) {
		for _, snapshot := range []bool{false, true} {
			w, a, pos := begun(t, on)
			backup := t.TempDir()
			if err := os.CopyFS(backup, os.DirFS(w.state)); err != nil {
				t.Fatal(err)
			}
			pos = commits(t, a, pos, 1, 3)
			from := pos
			if snapshot {
				// The tree is lost, too, and comes from a snapshot behind those commits.
				pos, from = w.snapshot(a, pos), remote.Position{}
			}
			a.Close()
			b := w.open(w.store, backup)
			id, _ := b.Device()
			_, got := w.load(b, from)
			if id2, no := b.Device(); id2 == id || no != 0 {
				t.Fatal("goes on as the device whose commits it does not remember; snapshot:", snapshot)
			}
			got, err := b.Register(ctx, got, 2)
			if err != nil {
				t.Fatal(err)
			}
			commits(t, b, got, 5, 1)
			// Nobody who knew the device finds its chain broken.
			w.load(w.open(w.store, w.state), pos)
		}
	})
}

// TestP4_V65CloneWhileRunning: a copy of the state folder commits while the original runs: the original must not go on making inode
// numbers that the copy makes too.
func TestP4_V65CloneWhileRunning(t *testing.T) {
	both(t, func(t *testing.T, on kind) {
		w, a, pos := begun(t, on)
		twin := t.TempDir()
		if err := os.CopyFS(twin, os.DirFS(w.state)); err != nil {
			t.Fatal(err)
		}
		b := w.open(w.store, twin)
		_, bpos := w.load(b, remote.Position{})
		commits(t, b, bpos, 1, 1)
		id, _ := a.Device()
		_, got := w.load(a, pos)
		if id2, no := a.Device(); id2 == id || no != 0 {
			t.Fatal("not noticed")
		}
		if _, err := a.Commit(ctx, got, []remote.Op{node(1)}); !remote.Is(err, remote.Stale) {
			t.Fatal("goes on under a number that is not its own:", err)
		}
		got, err := a.Register(ctx, got, 2)
		if err != nil {
			t.Fatal(err)
		}
		commits(t, a, got, 2, 1)
	})
}

// TestDeviceClone copies a state folder and lets both go on: the second takes a new name.
func TestDeviceClone(t *testing.T) {
	both(t, func(t *testing.T, on kind) {
		w := newWorld(t, on)
		a := w.open(w.store, w.state)
		_, pos := w.load(a, remote.Position{})
		twin := t.TempDir()
		if err := os.CopyFS(twin, os.DirFS(w.state)); err != nil {
			t.Fatal(err)
		}
		if _, err := a.Commit(ctx, pos, []remote.Op{node(1)}); err != nil {
			t.Fatal(err)
		}
		b := w.open(w.store, twin)
		id, n := b.Device()
		w.load(b, remote.Position{})
		if id2, n2 := b.Device(); id2 == id || n == 0 || n2 != 0 {
			t.Fatal("still the same device:", n, n2)
		}
	})
}

// TestOwnCrash dies between the store's taking a commit and remembering it: that is no clone.
func TestOwnCrash(t *testing.T) {
	both(t, func(t *testing.T, on kind) {
		w := newWorld(t, on)
		a := w.open(w.store, w.state)
		_, pos := w.load(a, remote.Position{})
		saved := t.TempDir()
		w.give(a, &hookStore{Store: w.store, after: func() { os.CopyFS(saved, os.DirFS(w.state)) }})
		if _, err := a.Commit(ctx, pos, []remote.Op{node(1)}); err != nil {
			t.Fatal(err)
		}
		b := w.open(w.store, saved)
		id, _ := b.Device()
		w.load(b, remote.Position{})
		if id2, n2 := b.Device(); id2 != id || n2 == 0 {
			t.Fatal("took its own commit for a clone's")
		}
	})
}

// TestOwnCrashUnderSnapshot: a commit whose answer was lost in a crash lies under another machine's snapshot when this machine comes back
// without its tree. It goes on as the same device, behind that commit.
func TestOwnCrashUnderSnapshot(t *testing.T) {
	both(t, func(t *testing.T, on kind) {
		w, a, _ := begun(t, on)
		b, pos, _ := w.second()
		w.load(a, remote.Position{})
		saved := t.TempDir()
		w.give(a, &hookStore{Store: w.store, after: func() { os.CopyFS(saved, os.DirFS(w.state)) }})
		commits(t, a, pos, 1, 1)
		_, bpos := w.load(b, pos)
		w.snapshot(b, bpos)
		c := w.open(w.store, saved)
		id, _ := c.Device()
		_, got := w.load(c, remote.Position{})
		if id2, no := c.Device(); id2 != id || no == 0 {
			t.Fatal("took its own commit for a clone's")
		}
		commits(t, c, got, 2, 1)
		w.load(b, bpos)
		if b.Info().Violation != "" {
			t.Fatal(b.Info().Violation)
		}
	})
}

// TestOfflineTries: the first try of a commit took place, and then the store is away for ever so many tries.
func TestOfflineTries(t *testing.T) {
	both(t, func(t *testing.T, on kind) {
		w, a, pos := begun(t, on)
		id, _ := a.Device()
		s := &evil{Store: w.store}
		lost := remote.E("put", "", remote.Unreachable, nil)
		n := 0
		s.put = func(name string, data []byte) (bool, error) {
			if n++; n == 1 {
				w.store.Put(ctx, name, data)
			}
			return true, lost
		}
		s.get = func(string) ([]byte, bool, error) { return nil, true, lost }
		w.give(a, s)
		for range 2 * maxPending {
			if _, err := a.Commit(ctx, pos, []remote.Op{node(1)}); !remote.Is(err, remote.Unreachable) {
				t.Fatal(err)
			}
		}
		if n != 1 {
			t.Fatal("sent again before it was known what became of the first:", n)
		}
		w.give(a, w.store)
		if _, err := a.Commit(ctx, pos, []remote.Op{node(1)}); !remote.Is(err, remote.Conflict) {
			t.Fatal(err)
		}
		_, got := w.load(a, pos)
		if id2, no := a.Device(); id2 != id || no == 0 {
			t.Fatal("took its own commit for a clone's")
		}
		commits(t, a, got, 5, 1)
	})
}

// TestLostAnswers: every answer to two attempts at one commit is lost, and the first one did take place. The machine knows it for its own.
func TestLostAnswers(t *testing.T) {
	both(t, func(t *testing.T, on kind) {
		w, a, pos := begun(t, on)
		id, _ := a.Device()
		n := 0
		s := &evil{Store: w.store}
		lost := remote.E("put", "", remote.Unreachable, nil)
		s.put = func(name string, data []byte) (bool, error) {
			if n++; n == 1 {
				w.store.Put(ctx, name, data)
			}
			return true, lost
		}
		s.get = func(string) ([]byte, bool, error) { return nil, true, lost }
		w.give(a, s)
		for i := range 3 {
			if _, err := a.Commit(ctx, pos, []remote.Op{node(i)}); !remote.Is(err, remote.Unreachable) {
				t.Fatal(err)
			}
		}
		w.give(a, w.store)
		m, got := w.load(a, pos)
		if len(m.ops) != 1 || got.Seq != pos.Seq+1 {
			t.Fatal(len(m.ops), got)
		}
		if id2, no := a.Device(); id2 != id || no == 0 {
			t.Fatal("took its own commit for a clone's")
		}
		commits(t, a, got, 5, 1)
	})
}

// TestAcceptThenLoad: after a fork was accepted, a load from the position of the history that was given up begins anew.
func TestAcceptThenLoad(t *testing.T) {
	both(t, func(t *testing.T, on kind) {
		w, a, pos := begun(t, on)
		b, bpos, _ := w.second()
		w.load(a, pos)
		fork := w.store.Copy()
		pos = commits(t, a, bpos, 1, 1)
		w.give(b, fork)
		commits(t, b, bpos, 2, 2)
		w.store.Become(fork)
		_, err := a.Load(ctx, pos, w.sink())
		wantErr(t, err, ErrFork)
		if err := a.Accept(); err != nil {
			t.Fatal(err)
		}
		m := w.sink()
		got, err := a.Load(ctx, pos, m)
		if err != nil || m.resets != 1 || got.Seq != bpos.Seq+2 {
			t.Fatal(got, m.resets, err)
		}
		if _, err := a.Commit(ctx, got, []remote.Op{node(7)}); err == nil {
			t.Fatal("a device without a number committed")
		}
		if got, err = a.Register(ctx, got, 3); err != nil {
			t.Fatal(err)
		}
		commits(t, a, got, 7, 1)
	})
}
