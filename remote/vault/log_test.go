package vault

import (
	"strings"
	"testing"
	"time"

	"megafs/remote"
	"megafs/remote/blob"
)

// TestP4_V16V17V18V19HostileLog does to the log what a hostile store could, before a machine that knows the vault.
func TestP4_V16V17V18V19HostileLog(t *testing.T) {
	both(t, func(t *testing.T, on kind) {
		cut := func(s place, f func(b []byte) []byte) {
			b, _ := s.Get(ctx, logName(4), maxEntry)
			s.Poke(logName(4), f(b))
		}
		for name, c := range map[string]struct {
			do   func(s place, old place)
			want error
		}{
			"V16 flip":      {func(s, _ place) { flip(s, logName(4), 200) }, ErrTampered},
			"V17 moved":     {func(s, _ place) { b, _ := s.Get(ctx, logName(3), maxEntry); s.Poke(logName(4), b) }, ErrTampered},
			"V18 gap":       {func(s, _ place) { s.Poke(logName(4), nil) }, ErrGap},
			"V19 rollback":  {func(s, old place) { s.Become(old) }, ErrRollback},
			"V07 emptied":   {func(s, _ place) { s.Poke(logName(4), []byte{}) }, ErrTampered},
			"V51 size bomb": {func(s, _ place) { s.Poke(logName(4), make([]byte, maxEntry+1)) }, ErrTampered},
			"V06 truncated": {func(s, _ place) { cut(s, func(b []byte) []byte { return b[:len(b)-1] }) }, ErrTampered},
			"V08 extended":  {func(s, _ place) { cut(s, func(b []byte) []byte { return append(b, 0) }) }, ErrTampered},
			"V12 all gone": {func(s, _ place) {
				for _, n := range s.Names() {
					s.Poke(n, nil)
				}
			}, ErrRollback},
		} {
			named(t, name, func() {
				w := newWorld(t, on)
				a := w.open(w.store, w.state)
				_, pos := w.load(a, remote.Position{})
				old := w.store.Copy()
				var mid remote.Position
				for i := range 5 {
					var err error
					if pos, err = a.Commit(ctx, pos, []remote.Op{node(i + 1)}); err != nil {
						t.Fatal(err)
					}
					if pos.Seq == 3 {
						mid = pos
					}
				}
				a.Close()
				c.do(w.store, old)
				b := w.open(w.store, w.state)
				_, err := b.Load(ctx, mid, w.sink())
				wantErr(t, err, c.want)
				if _, err := b.Commit(ctx, pos, []remote.Op{node(9)}); !remote.Is(err, remote.ReadOnly) {
					t.Fatal("a commit after a violation:", err)
				}
				b.Close()
				if _, err := w.open(w.store, w.state).Load(ctx, mid, w.sink()); !remote.Is(err, remote.ReadOnly) {
					t.Fatal("the violation was forgotten:", err)
				}
			})
		}
	})
}

// TestP4_V22Fork shows two machines different successors of one entry, and then one machine the other's.
func TestP4_V22Fork(t *testing.T) {
	both(t, func(t *testing.T, on kind) {
		w := newWorld(t, on)
		a := w.open(w.store, w.state)
		_, pos := w.load(a, remote.Position{})
		bstate := t.TempDir()
		b := w.open(w.store, bstate)
		w.load(b, remote.Position{})
		pos, err := b.Register(ctx, pos, 2)
		if err != nil {
			t.Fatal(err)
		}
		w.load(a, remote.Position{})
		fork := w.store.Copy()
		w.give(a, fork)
		if _, err := a.Commit(ctx, pos, []remote.Op{node(1)}); err != nil {
			t.Fatal(err)
		}
		bpos, err := b.Commit(ctx, pos, []remote.Op{node(2)})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := b.Commit(ctx, bpos, []remote.Op{node(3)}); err != nil {
			t.Fatal(err)
		}
		// The store lets a's machine see b's branch.
		w.give(a, w.store)
		_, err = a.Load(ctx, pos, w.sink())
		wantErr(t, err, ErrFork)
	})
}

// TestP4_V18NoGapInARace: an entry that comes between the look at the log's end and the look behind it is no gap.
func TestP4_V18NoGapInARace(t *testing.T) {
	both(t, func(t *testing.T, on kind) {
		w, a, pos := begun(t, on)
		b, bpos, _ := w.second()
		raced := false
		s := &evil{Store: w.store}
		s.list = func(prefix string, fn func(blob.Info) error) (bool, error) {
			if prefix == "l/" && !raced {
				raced = true
				commits(t, b, bpos, 1, 3)
			}
			return false, nil
		}
		a.Close()
		a = w.open(s, w.state)
		m, got := w.load(a, pos)
		if !raced || got.Seq != bpos.Seq+3 || len(m.ops) != 4 {
			t.Fatal(raced, got, len(m.ops))
		}
	})
}

// TestP4_V18VerifyAfterLoad: an audit after a load finds a gap at the end, and blames nobody.
func TestP4_V18VerifyAfterLoad(t *testing.T) {
	both(t, func(t *testing.T, on kind) {
		w, a, pos := begun(t, on)
		whole := w.store.Copy()
		end := commits(t, a, pos, 1, 3)
		last, _ := w.store.Get(ctx, logName(end.Seq), maxEntry)
		w.store.Become(whole)
		b := w.open(w.store, t.TempDir())
		w.load(b, remote.Position{})
		w.store.Poke(logName(end.Seq), last)
		var found []Damage
		if _, err := b.Verify(ctx, func(func(remote.Extent) error) error { return nil }, func(d Damage) { found = append(found, d) }); err != nil || len(found) != 1 || found[0].Object != logName(pos.Seq+1) {
			t.Fatal(found, err)
		}
		if b.Info().Violation != "" {
			t.Fatal("an audit changed the vault's state")
		}
	})
}

// TestP4_V19RollbackAtRest: the store goes back to before the very position that is asked from; nothing new has to come for that to be seen.
func TestP4_V19RollbackAtRest(t *testing.T) {
	both(t, func(t *testing.T, on kind) {
		w, a, pos := begun(t, on)
		old := w.store.Copy()
		pos = commits(t, a, pos, 1, 3)
		a.Close()
		w.store.Become(old)
		b := w.open(w.store, w.state)
		_, err := b.Load(ctx, pos, w.sink())
		wantErr(t, err, ErrRollback)
	})
}

// TestP4_V19RollbackFreshTree: the tree is lost and must be loaded anew from a store that went back: the sink sees nothing of the old state.
func TestP4_V19RollbackFreshTree(t *testing.T) {
	both(t, func(t *testing.T, on kind) {
		w, a, pos := begun(t, on)
		old := w.store.Copy()
		commits(t, a, pos, 1, 3)
		a.Close()
		w.store.Become(old)
		m := w.sink()
		_, err := w.open(w.store, w.state).Load(ctx, remote.Position{}, m)
		wantErr(t, err, ErrRollback)
		if m.resets != 0 || len(m.batches) != 0 {
			t.Fatal("the sink was told an old state")
		}
	})
}

// TestP4_V19RollbackWhileRunning: the store goes back under a machine that is running and hears nothing new.
func TestP4_V19RollbackWhileRunning(t *testing.T) {
	both(t, func(t *testing.T, on kind) {
		for _, commit := range []bool{false, true} {
			w, a, pos := begun(t, on)
			c := &clock{t: time.Unix(1e9, 0)}
			a.o.Clock = c.now
			old := w.store.Copy()
			pos = commits(t, a, pos, 1, 3)
			w.load(a, pos)
			w.store.Become(old)
			c.move(2 * standing)
			var err error
			if commit {
				_, err = a.Commit(ctx, pos, []remote.Op{node(9)})
			} else {
				_, err = a.Load(ctx, pos, w.sink())
			}
			wantErr(t, err, ErrRollback)
			if a.State() == nil {
				t.Fatal("not read-only")
			}
			for _, n := range w.store.Names() {
				if n > logName(1) && strings.HasPrefix(n, "l/") {
					t.Fatal("built on what is not there:", n)
				}
			}
		}
	})
}

// TestP4_V58StaleReads: the store forgets for some reads what it has; that passes without a mark.
func TestP4_V58StaleReads(t *testing.T) {
	both(t, func(t *testing.T, on kind) {
		w, a, pos := begun(t, on)
		pos = commits(t, a, pos, 1, 3)
		a.Close()
		misses := 2
		s := &evil{Store: w.store}
		s.get = func(name string) ([]byte, bool, error) {
			if name == logName(pos.Seq) && misses > 0 {
				misses--
				return nil, true, gone(name)
			}
			return nil, false, nil
		}
		b := w.open(s, w.state)
		if _, err := b.Load(ctx, pos, w.sink()); err != nil || b.Info().Violation != "" {
			t.Fatal(err)
		}
		// And one that the chain leads to, not only the head.
		misses = 2
		s.get = func(name string) ([]byte, bool, error) {
			if name == logName(pos.Seq-1) && misses > 0 {
				misses--
				return nil, true, gone(name)
			}
			return nil, false, nil
		}
		if _, err := b.Load(ctx, remote.Position{}, w.sink()); err != nil || b.Info().Violation != "" {
			t.Fatal(err)
		}
	})
}
