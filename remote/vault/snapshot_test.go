package vault

import (
	"strings"
	"testing"

	"megafs/remote"
)

// TestP4_V35Unannounced: an authentic snapshot that the log does not announce is ignored, be it a crash's leftover or another history's.
func TestP4_V35Unannounced(t *testing.T) {
	both(t, func(t *testing.T, on kind) {
		w, a, pos := begun(t, on)
		pos = commits(t, a, pos, 1, 3)
		before := w.store.Copy()
		w.snapshot(a, pos)
		after := w.store.Copy()
		w.store.Become(before)
		for _, n := range after.Names() {
			if strings.HasPrefix(n, "s/") {
				b, _ := after.Get(ctx, n, 1<<30)
				w.store.Poke(n, b)
			}
		}
		m, got := w.load(w.open(w.store, t.TempDir()), remote.Position{})
		if got != pos || len(m.batches) != int(pos.Seq) {
			t.Fatal("told from a snapshot that nobody announced:", got, len(m.batches))
		}
	})
}

// TestP4_V36Blends: snapshot and log of two histories, in both directions.
func TestP4_V36Blends(t *testing.T) {
	both(t, func(t *testing.T, on kind) {
		w, a, pos := begun(t, on)
		base := w.store.Copy()
		mine := commits(t, a, pos, 1, 3)
		mine = w.snapshot(a, mine)
		commits(t, a, mine, 10, 3)
		x := w.store.Copy()
		w.store.Become(base)
		b, bpos, _ := w.second()
		bpos = commits(t, b, bpos, 20, 1)
		commits(t, b, bpos, 21, 6)
		y := w.store.Copy()
		for name, c := range map[string]struct{ snap, log place }{"snapshot of x": {x, y}, "log of x": {y, x}} {
			w.store.Become(c.log)
			for _, n := range w.store.Names() {
				if strings.HasPrefix(n, "s/") {
					w.store.Poke(n, nil)
				}
			}
			for _, n := range c.snap.Names() {
				if o, _ := c.snap.Get(ctx, n, 1<<30); strings.HasPrefix(n, "s/") {
					w.store.Poke(n, o)
				}
			}
			m := w.sink()
			if _, err := w.open(w.store, t.TempDir()).Load(ctx, remote.Position{}, m); err == nil {
				for i, p := uint64(1), m.batches; int(i) <= len(p); i++ {
					if p[i-1].Pos.Seq != i {
						t.Fatal(name, ": blended")
					}
				}
			}
			// The announcing entry of x in the log of y.
			w.store.Become(y)
			for _, n := range x.Names() {
				if o, _ := x.Get(ctx, n, 1<<30); strings.HasPrefix(n, "s/") || n == logName(mine.Seq) {
					w.store.Poke(n, o)
				}
			}
			if _, err := w.open(w.store, t.TempDir()).Load(ctx, remote.Position{}, w.sink()); err == nil {
				t.Fatal("a blend was taken")
			} else {
				wantErr(t, err, ErrFork)
			}
		}
	})
}

// TestP4_V38OverPruned: entries behind the newest snapshot, or the announcing one, are gone.
func TestP4_V38OverPruned(t *testing.T) {
	both(t, func(t *testing.T, on kind) {
		w, a, pos := begun(t, on)
		pos = commits(t, a, pos, 1, 3)
		announced := w.snapshot(a, pos)
		end := commits(t, a, announced, 5, 4)
		whole := w.store.Copy()
		for seq := announced.Seq; seq < end.Seq; seq++ {
			w.store.Become(whole)
			w.store.Poke(logName(seq), nil)
			_, err := w.open(w.store, t.TempDir()).Load(ctx, remote.Position{}, w.sink())
			wantErr(t, err, ErrGap)
		}
	})
}
