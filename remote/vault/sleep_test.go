package vault

import (
	"math/rand/v2"
	"testing"
	"time"
	"unsafe"
)

// slept is the clock of a machine that slept for some time: the time of day is right, and the reading that only goes forward stood still.
// Package time has no way to make such a time.
func slept(d *time.Duration) func() time.Time {
	return func() time.Time {
		now := time.Now().Add(*d)
		wall := uint64(now.Unix()-time.Date(1885, 1, 1, 0, 0, 0, 0, time.UTC).Unix())<<30 | uint64(now.Nanosecond())
		*(*struct {
			wall uint64
			ext  int64
		})(unsafe.Pointer(&now)) = struct {
			wall uint64
			ext  int64
		}{1<<63 | wall, 1}
		return now
	}
}

// TestGCAsleep: a machine sleeps while the log is shortened to beyond what it has seen, before it commits, between looking where the log ends and putting
// an entry there, and right after that. What it commits then is seen by all, and nobody takes anything for an attack.
func TestGCAsleep(t *testing.T) {
	both(t, func(t *testing.T, on kind) {
		for _, when := range []string{"before", "between", "after"} {
			w, a := collecting(t, on)
			must(t, a.write())
			var asleep time.Duration
			o := w.options(t.TempDir())
			o.Clock = slept(&asleep)
			s := &evil{Store: w.store}
			v, err := Open(ctx, s, o)
			must(t, err)
			w.give(v, s)
			b := newActor(w, v, 2, rand.New(rand.NewPCG(3, 4)))
			must(t, b.load())
			must(t, b.write())
			must(t, b.load()) // and the end of the log was looked at a moment ago
			must(t, a.load())
			next := logName(b.s.pos.Seq + 1)
			sleep := func() {
				must(t, a.load())
				for range 3 {
					must(t, a.remove())
					must(t, a.write())
					must(t, a.snapshot())
				}
				for range 2 {
					_, err := a.collect()
					must(t, err)
				}
				if w.present(next) {
					t.Fatal("the log was not shortened:", w.store.Names())
				}
				asleep = 40 * 24 * time.Hour
			}
			if when == "before" {
				sleep()
			} else {
				s.put = func(name string, data []byte) (bool, error) {
					if name != next || asleep > 0 {
						return false, nil
					}
					if when == "after" {
						must(t, w.store.Put(ctx, name, data))
					}
					sleep()
					return when == "after", nil
				}
			}
			must(t, b.write())
			must(t, b.load())
			must(t, a.load())
			must(t, b.v.State())
			_, x := sound(w, t.TempDir())
			if len(x.s.nodes) != len(b.s.nodes) || len(a.s.nodes) != len(b.s.nodes) || w.present(next) {
				t.Errorf("asleep %s: a new machine sees %d inodes, the other %d, and who slept %d", when, len(x.s.nodes), len(a.s.nodes), len(b.s.nodes))
			}
		}
	})
}
