package journal

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
)

var crashSeeds = flag.Int("crash.seeds", 10, "how many scripts TestP1Crash cuts")

// history is what one line of lives did to a journal, as far as a crash may show it.
type history struct {
	mu       sync.Mutex
	records  []rec // by seq, from 1; those of which Append was called
	appended Seq   // Append returned
	acked    Seq   // Sync returned
	trimmed  Seq   // Trim was called with
}

func (h *history) clone() *history {
	h.mu.Lock()
	defer h.mu.Unlock()
	return &history{records: slices.Clone(h.records), appended: h.appended, acked: h.acked, trimmed: h.trimmed}
}

// check compares what a journal replays after a crash with the history. With pure, the process alone died.
func (h *history) check(j *Journal, got []rec, pure bool) error {
	last := j.Stat().Last
	switch {
	case last < h.acked:
		return fmt.Errorf("last is %d but %d was acknowledged", last, h.acked)
	case pure && last < h.appended:
		return fmt.Errorf("last is %d but %d was appended", last, h.appended)
	case last > Seq(len(h.records)):
		return fmt.Errorf("last is %d of %d", last, len(h.records))
	case len(got) > 0 && got[len(got)-1].seq != last:
		return fmt.Errorf("replay ends at %d, last is %d", got[len(got)-1].seq, last)
	case len(got) == 0 && last > 0 && h.trimmed <= last:
		return fmt.Errorf("nothing was replayed, last is %d, trimmed %d", last, h.trimmed)
	case len(got) > 0 && got[0].seq > max(h.trimmed, 1):
		return fmt.Errorf("replay begins at %d, trimmed %d", got[0].seq, h.trimmed)
	}
	for i, r := range got {
		if want := h.records[r.seq-1]; r.seq != got[0].seq+Seq(i) || r.payload != want.payload || r.kind != want.kind {
			return fmt.Errorf("record %d (place %d) is not what was appended", r.seq, i)
		}
		buf := make([]byte, len(r.payload))
		if err := j.ReadAt(r.loc, 0, buf); err != nil || string(buf) != r.payload {
			return fmt.Errorf("reading record %d: %v", r.seq, err)
		}
	}
	return nil
}

// survive makes the history end at the last record that an Open found: the rest must never come back.
func (h *history) survive(last Seq) {
	h.records = h.records[:last]
	h.appended, h.acked = last, last
}

// crasher runs lives of a journal and cuts them at calls.
type crasher struct {
	t      testing.TB
	rng    *rand.Rand
	checks int
}

// live runs a script on a journal over disk, and for each call that changes the disk, with chance cut in 100, takes the disk as
// it would be if power failed before the call, opens it, checks it and lives on.
func (c *crasher) live(life int, disk *vfs.MemFS, h *history, steps, cut int) {
	if life > 3 {
		return
	}
	type image struct {
		disk *vfs.MemFS
		h    *history
		pure bool
		at   string
	}
	var images []image
	fs := &tapFS{FS: disk}
	var mu sync.Mutex // for c.rng and images
	fs.tap = func(op, name string) error {
		mu.Lock()
		defer mu.Unlock()
		if c.rng.IntN(100) < cut {
			h := h.clone()
			percent := []int{0, 20, 50, 80, 95, 100}[c.rng.IntN(6)]
			images = append(images, image{
				disk.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: percent, RNG: c.rng}), h, percent == 100,
				fmt.Sprintf("life %d, before %s %s, %d%%", life, op, name, percent),
			})
		}
		return nil
	}
	j, got, err := reopen(small(fs))
	if err != nil {
		c.t.Fatalf("life %d: %v", life, err)
	}
	if err := h.check(j, got, false); err != nil {
		c.t.Fatalf("life %d: %v", life, err)
	}
	rng := rand.New(rand.NewPCG(c.rng.Uint64(), 0)) // the script's own, as fs.tap runs beside
	for range steps {
		switch x := rng.IntN(100); {
		case x < 10:
			body := payload(life, h.appended, rng.IntN(4000))
			piece := 200 + rng.IntN(2000)
			head := func(off int) []byte { return payload(life, Seq(off), 3) }
			h.mu.Lock()
			want := splits(h.appended+1, 7, body, piece, head)
			h.records = append(h.records, want...)
			h.mu.Unlock()
			got, err := j.AppendSplit(7, body, piece, head)
			if err != nil || len(got) != len(want) {
				c.t.Fatalf("life %d: split: %d of %d, %v", life, len(got), len(want), err)
			}
			h.mu.Lock()
			h.appended += Seq(len(got))
			h.mu.Unlock()
			if j.Room() < 20<<10 {
				h.mu.Lock()
				h.trimmed = max(h.trimmed, h.appended-2)
				h.mu.Unlock()
				if err := j.Trim(h.appended - 2); err != nil {
					c.t.Fatal(err)
				}
			}
		case x < 68:
			seq := h.appended + 1
			r := rec{seq: seq, kind: Kind(1 + rng.IntN(255)), payload: string(payload(life, seq, rng.IntN(rng.IntN(3000)+1)))}
			h.mu.Lock()
			h.records = append(h.records, r)
			h.mu.Unlock()
			got, _, err := j.Append(r.kind, []byte(r.payload))
			if err != nil || got != seq {
				c.t.Fatalf("life %d: append %d: %d, %v", life, seq, got, err)
			}
			h.mu.Lock()
			h.appended = seq
			h.mu.Unlock()
			if j.Room() < 20<<10 {
				x = 99
				h.mu.Lock()
				h.trimmed = max(h.trimmed, seq-2)
				h.mu.Unlock()
				if err := j.Trim(seq - 2); err != nil {
					c.t.Fatal(err)
				}
			}
		case x < 85:
			if err := j.Sync(ctx, h.appended); err != nil {
				c.t.Fatal(err)
			}
			h.mu.Lock()
			h.acked = h.appended
			h.mu.Unlock()
		default:
			before := h.trimmed + Seq(rng.IntN(int(h.appended-min(h.trimmed, h.appended))+2))
			h.mu.Lock()
			h.trimmed = max(h.trimmed, min(before, h.appended+1))
			h.mu.Unlock()
			if err := j.Trim(before); err != nil {
				c.t.Fatal(err)
			}
		}
	}
	if rng.IntN(2) == 0 {
		if err := j.Close(); err != nil {
			c.t.Fatal(err)
		}
	} else {
		j.work.Wait() // the process dies, the machine lives on
	}
	fs.set(nil)
	for _, i := range images {
		// An image is opened twice: as a look at it must not change what it holds.
		for range 2 {
			j, got, err := reopen(small(i.disk))
			if err == nil {
				err = i.h.check(j, got, i.pure)
				c.checks++
				i.h.survive(j.Stat().Last)
				j.Close()
			}
			if err != nil {
				c.t.Fatalf("%s: %v\n%s", i.at, err, i.disk)
			}
		}
		if c.rng.IntN(life*life) == 0 {
			c.live(life+1, i.disk, i.h, 4+c.rng.IntN(12), 12)
		}
	}
	j, got, err = reopen(small(disk))
	if err == nil {
		err = h.check(j, got, true)
	}
	if err != nil {
		c.t.Fatalf("after life %d: %v", life, err)
	}
	h.survive(j.Stat().Last)
	c.live(life+1, disk, h, 4+c.rng.IntN(12), 12)
}

// TestP1Crash cuts the power before every call of scripts that append, sync, change segments, trim, recycle and open again, and
// does the same to the lives that follow.
func TestP1Crash(t *testing.T) {
	for seed := range *crashSeeds {
		t.Run(fmt.Sprint("seed", seed), func(t *testing.T) {
			t.Parallel()
			c := &crasher{t: t, rng: rand.New(rand.NewPCG(uint64(seed), 7))}
			c.live(1, vfs.NewCrashableMem(), &history{}, 80, 100)
			t.Log(c.checks, "crashes checked")
		})
	}
}
