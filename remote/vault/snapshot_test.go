package vault

import (
	"bytes"
	"os"
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

// TestP4_V34OlderSnapshot damages the newest snapshot in each way. An older one that is whole is told instead, and the log from there on; and
// should none be whole, all of the log.
func TestP4_V34OlderSnapshot(t *testing.T) {
	both(t, func(t *testing.T, on kind) {
		s := newScene(t, on)
		var roots, parts []string
		for _, n := range s.store.Names() {
			switch {
			case strings.HasPrefix(n, rootPrefix):
				roots = append(roots, n)
			case strings.HasPrefix(n, "s/p/"):
				parts = append(parts, n)
			}
		}
		if len(roots) != 2 || len(parts) != 2 {
			t.Fatal(roots, parts)
		}
		// Which part is the newest's?
		if v := s.machine(freshMachine, s.store, t.TempDir()); true {
			c, err := v.candidates(ctx)
			must(t, err)
			r, err := v.root(ctx, c[0])
			must(t, err)
			if partName(r.parts[0].id) == parts[0] {
				parts[0], parts[1] = parts[1], parts[0]
			}
		}
		whole := map[string][]byte{}
		for _, n := range append(roots, parts...) {
			whole[n] = bytesOf(t, s.store, n)
		}
		type damage map[string][]byte
		flipped := func(n string) []byte { b := bytes.Clone(whole[n]); b[len(b)-20] ^= 1; return b }
		oldest, _, _ := strings.Cut(strings.TrimPrefix(roots[0], rootPrefix), "-")
		older, _ := number(oldest, "")
		for what, c := range map[string]struct {
			damage damage
			first  uint64 // the entry after which the log is told
		}{
			"none":                   {damage{}, s.head.Seq - 2},
			"root flipped":           {damage{roots[1]: flipped(roots[1])}, older},
			"root missing":           {damage{roots[1]: nil}, older},
			"root emptied":           {damage{roots[1]: {}}, older},
			"the older's root":       {damage{roots[1]: whole[roots[0]]}, older},
			"part flipped":           {damage{parts[1]: flipped(parts[1])}, older},
			"part missing":           {damage{parts[1]: nil}, older},
			"the older's part":       {damage{parts[1]: whole[parts[0]]}, older},
			"parts exchanged":        {damage{parts[1]: whole[parts[0]], parts[0]: whole[parts[1]]}, 0},
			"roots exchanged":        {damage{roots[1]: whole[roots[0]], roots[0]: whole[roots[1]]}, 0},
			"root and older's part":  {damage{roots[1]: nil, parts[0]: flipped(parts[0])}, 0},
			"all missing":            {damage{roots[0]: nil, roots[1]: nil, parts[0]: nil, parts[1]: nil}, 0},
			"both parts cut by half": {damage{parts[0]: whole[parts[0]][:300], parts[1]: whole[parts[1]][:300]}, 0},
		} {
			for n, b := range c.damage {
				s.store.Poke(n, b)
			}
			first := s.head.Seq
			e := &evil{Store: s.store, get: func(n string) ([]byte, bool, error) {
				if seq, ok := number(n, "l/"); ok {
					first = min(first, seq-1)
				}
				return nil, false, nil
			}}
			if loaded, read := s.meet(t, freshMachine, e, t.TempDir()); loaded != nil || read != nil || first != c.first {
				t.Errorf("%s: the log was read from %d on, want %d; %v, %v", what, first, c.first, loaded, read)
			}
			for _, machine := range machines {
				if loaded, read := s.meet(t, machine, s.store, t.TempDir()); loaded != nil || read != nil {
					t.Errorf("%s: %s: %v, %v", what, machine, loaded, read)
				}
			}
			f := s.audit(t, s.store, t.TempDir())
			for n := range c.damage {
				root := strings.Contains(what, "root") || strings.Contains(what, "all") // a part without its root is garbage
				if !found(f, n) && !(root && strings.HasPrefix(n, "s/p/")) {
					t.Errorf("%s: %s is no damage: %v", what, n, f)
				}
			}
			if len(c.damage) == 0 && len(f) > 0 {
				t.Error("false alarm:", f)
			}
			for n, b := range whole {
				s.store.Poke(n, b)
			}
		}
	})
}

// TestP4_V36BlendsOfTimes shows the snapshots of one moment with the log of another, for all pairs of moments.
func TestP4_V36BlendsOfTimes(t *testing.T) {
	both(t, func(t *testing.T, on kind) {
		w, a, pos := begun(t, on)
		type moment struct {
			s   place
			pos remote.Position
		}
		var moments []moment
		for i := range 4 {
			pos = commits(t, a, pos, 10*i+1, 2)
			pos = w.snapshot(a, pos)
			moments = append(moments, moment{w.store.Copy(), pos})
		}
		known := t.TempDir()
		a.Close()
		for i, log := range moments {
			for j, snap := range moments {
				w.store.Become(log.s)
				for _, n := range w.store.Names() {
					if strings.HasPrefix(n, "s/") {
						w.store.Poke(n, nil)
					}
				}
				for _, n := range snap.s.Names() {
					if strings.HasPrefix(n, "s/") {
						w.store.Poke(n, bytesOf(t, snap.s, n))
					}
				}
				// Who knows nothing is told all of the log, or from a snapshot that the log announces.
				if _, got := w.load(w.open(w.store, t.TempDir()), remote.Position{}); got != log.pos {
					t.Errorf("log of %d, snapshots of %d: %v", i, j, got)
				}
				must(t, os.RemoveAll(known))
				must(t, os.CopyFS(known, os.DirFS(w.state)))
				m := w.sink()
				got, err := w.open(w.store, known).Load(ctx, remote.Position{}, m)
				switch {
				case i == len(moments)-1 && (err != nil || got != pos):
					t.Errorf("snapshots of %d: %v, %v", j, got, err)
				case i < len(moments)-1:
					if wantErr(t, err, ErrRollback); m.resets > 0 {
						t.Errorf("log of %d, snapshots of %d: told an old state", i, j)
					}
				}
			}
		}
	})
}

// by is a sink that asks to be told of a state on the way.
type by struct {
	*memory
	seq uint64
}

func (b by) Via() uint64 { return b.seq }

// TestVia: who has changes made over an earlier state hears of nothing later first, as long as a snapshot or the log reaches back; then the newest
// snapshot does. That some of the log goes meanwhile, or that the store says it does, is no violation.
func TestVia(t *testing.T) {
	both(t, func(t *testing.T, on kind) {
		w, a, pos := begun(t, on)
		pos = commits(t, a, pos, 1, 4)
		first := pos.Seq
		pos = w.snapshot(a, pos)
		pos = commits(t, a, pos, 10, 4)
		second := pos.Seq
		pos = w.snapshot(a, pos)
		pos = commits(t, a, pos, 20, 2)
		begins := func(via uint64) (seq uint64) {
			t.Helper()
			m := w.sink()
			end, err := w.open(w.store, t.TempDir()).Load(ctx, remote.Position{}, by{m, via})
			must(t, err)
			if end != pos {
				t.Fatal(end, pos)
			}
			for _, b := range m.batches {
				if b.Pos.Seq > 0 {
					return b.Pos.Seq
				}
			}
			return 0
		}
		for via, want := range map[uint64]uint64{
			0: second, 1: 1, first - 1: 1, first: first, first + 1: first, second - 1: first, second: second, pos.Seq: second, pos.Seq + 9: second,
		} {
			if got := begins(via); got != want {
				t.Errorf("via %d: begins with %d, want %d", via, got, want)
			}
		}
		all := w.store.Copy()
		for _, n := range w.store.Names() {
			if strings.HasPrefix(n, "s/p/") {
				flip(w.store, n, 100)
				break
			}
		}
		if got := begins(first); got > first {
			t.Error("with a damaged snapshot:", got)
		}
		w.store.Become(all)
		for seq := uint64(1); seq <= first; seq++ {
			w.store.Poke(logName(seq), nil)
		}
		if got := begins(1); got != second {
			t.Error("the log's beginning is gone:", got)
		}
	})
}
