package vault

import (
	"testing"
	"time"

	"megafs/remote"
)

// TestPast: each state that the log leads to can be had again, by its entry and by its time, with the log whole and after it was shortened.
func TestPast(t *testing.T) {
	both(t, func(t *testing.T, on kind) {
		w, a := collecting(t, on)
		type moment struct {
			at    time.Time
			seq   uint64
			files int
		}
		var moments []moment
		note := func() {
			must(t, a.load())
			moments = append(moments, moment{time.Now(), a.s.pos.Seq, len(a.s.extents)})
			time.Sleep(24 * time.Hour)
		}
		for i := range 12 {
			must(t, a.write())
			note()
			if i%3 == 1 {
				must(t, a.remove())
				note()
			}
			if i%4 == 3 {
				must(t, a.snapshot())
			}
		}
		look := func(least int) {
			t.Helper()
			m := w.sink()
			p, err := a.v.Past(ctx, m)
			must(t, err)
			if len(m.batches) == 0 || p.Ends() != a.v.Info().Head {
				t.Error(len(m.batches), p.Ends())
			}
			seen := 0
			for _, x := range moments {
				seq, err := p.At(x.at)
				if remote.Is(err, remote.NotExist) && x.seq <= p.Begins() {
					continue
				}
				must(t, err)
				var s state
				s.Reset()
				pos, err := p.Remote(seq).Load(ctx, remote.Position{}, &s)
				must(t, err)
				if len(s.extents) != x.files || pos.Seq > seq || seq < x.seq {
					t.Errorf("entry %d, then %d: %d files, want %d", x.seq, seq, len(s.extents), x.files)
				}
				for _, op := range s.extents {
					if err := p.Remote(seq).Fetch(ctx, op.Extent.Ref, 0, 1, make([]byte, remote.SealedChunk)); err != nil {
						t.Error(err)
					}
				}
				seen++
			}
			if seen < least {
				t.Error("only", seen, "of", len(moments))
			}
			if _, err := p.At(moments[0].at.Add(-48 * time.Hour)); !remote.Is(err, remote.NotExist) {
				t.Error(err)
			}
			if _, err := p.Load(ctx, p.Ends()+1, m); !remote.Is(err, remote.NotExist) {
				t.Error(err)
			}
			r := p.Remote(p.Ends())
			if _, err := r.Commit(ctx, remote.Position{}, nil); !remote.Is(err, remote.ReadOnly) {
				t.Error(err)
			}
			if _, err := r.Store(ctx, nil, nil); !remote.Is(err, remote.ReadOnly) {
				t.Error(err)
			}
		}
		look(len(moments))
		a.keep = GCOptions{Keep: 6 * 24 * time.Hour}
		for range 3 {
			_, err := a.collect()
			must(t, err)
		}
		if w.present(logName(1)) {
			t.Fatal("the log was not shortened")
		}
		look(6)
	})
}
