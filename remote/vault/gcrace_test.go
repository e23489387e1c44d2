package vault

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"megafs/remote"
	"megafs/remote/blob"
)

// turn is a store where each request waits until a scheduler lets it pass. A machine can die there: its request is made or not, and it hears
// nothing and asks for nothing any more.
type turn struct {
	blob.Store
	s *scheduler
	m int

	mu    sync.Mutex
	hides *rand.Rand // what a listing leaves out; nil: nothing
}

type asking struct {
	m    int
	what string
	go_  chan bool // whether the request is made
	back chan bool // whether the answer arrives
}

type scheduler struct {
	mu      sync.Mutex
	waiting []asking
	dead    map[int]bool
}

var errKilled = errors.New("the machine is dead")

// pass waits for its turn, makes the request, and returns an error when the machine has died.
func (t *turn) pass(what string, do func() error) error {
	a := asking{t.m, what, make(chan bool, 1), make(chan bool, 1)}
	t.s.mu.Lock()
	if t.s.dead[t.m] {
		t.s.mu.Unlock()
		return remote.E("ask", "", remote.Unreachable, errKilled)
	}
	t.s.waiting = append(t.s.waiting, a)
	t.s.mu.Unlock()
	var err error
	if <-a.go_ {
		err = do()
	}
	if !<-a.back {
		return remote.E("ask", "", remote.Unreachable, errKilled)
	}
	return err
}

func (t *turn) Put(ctx context.Context, name string, data []byte) error {
	return t.pass("put "+name, func() error { return t.Store.Put(ctx, name, data) })
}

func (t *turn) Delete(ctx context.Context, name string) error {
	return t.pass("delete "+name, func() error { return t.Store.Delete(ctx, name) })
}

func (t *turn) Get(ctx context.Context, name string, limit int64) (b []byte, err error) {
	err = t.pass("get "+name, func() error { b, err = t.Store.Get(ctx, name, limit); return err })
	return b, err
}

func (t *turn) List(ctx context.Context, prefix, after string, fn func(blob.Info) error) error {
	if err := t.pass("list "+prefix, func() error { return nil }); err != nil {
		return err
	}
	return t.Store.List(ctx, prefix, after, func(i blob.Info) error {
		t.mu.Lock()
		hidden := t.hides != nil && t.hides.IntN(5) == 0
		t.mu.Unlock()
		if hidden {
			return nil
		}
		return fn(i)
	})
}

// run lets requests pass, one at a time in an order drawn from r, until done. At request kill of machine m that one dies.
func (s *scheduler) run(r *rand.Rand, done func() bool, killed, kill int, made bool) {
	n := 0
	for {
		synctest.Wait()
		s.mu.Lock()
		if len(s.waiting) == 0 {
			s.mu.Unlock()
			if done() {
				return
			}
			time.Sleep(time.Millisecond) // somebody waits for the clock
			continue
		}
		slices.SortFunc(s.waiting, func(a, b asking) int { return strings.Compare(fmt.Sprint(a.m, a.what), fmt.Sprint(b.m, b.what)) })
		i := r.IntN(len(s.waiting))
		a := s.waiting[i]
		s.waiting = slices.Delete(s.waiting, i, i+1)
		dies := false
		if a.m == killed {
			n++
			dies = n == kill
		}
		if dies {
			s.dead[a.m] = true
			rest := s.waiting[:0]
			for _, b := range s.waiting {
				if b.m == a.m {
					b.go_ <- false
					b.back <- false
				} else {
					rest = append(rest, b)
				}
			}
			s.waiting = rest
		}
		s.mu.Unlock()
		a.go_ <- !dies || made
		a.back <- !dies
	}
}

// raceBase is a vault with some files, one of them removed, and two snapshots, and the state folders of two machines that know it.
type raceBase struct {
	w      *world
	store  place
	states [2]string
	made   map[[32]byte]*entry
}

func newRaceBase(t *testing.T) *raceBase {
	w, a := collecting(t, mem)
	for range 4 {
		must(t, a.write())
	}
	must(t, a.snapshot())
	must(t, a.remove())
	state := quickDir(t)
	b := newActor(w, w.open(w.store, state), 2, rand.New(rand.NewPCG(3, 4)))
	must(t, b.load())
	must(t, b.write())
	must(t, b.snapshot())
	must(t, a.load())
	must(t, a.write())
	must(t, a.remove())
	must(t, b.load())
	must(t, a.v.Close())
	must(t, b.v.Close())
	return &raceBase{w, w.store, [2]string{w.state, state}, w.made}
}

// interleave lets two machines write, remove, copy, snapshot and collect at once, in an order that a seed gives, with one dying at some request and
// coming back. At the end nothing that the state refers to is missing, and after quiet collections nothing else is left.
func (b *raceBase) interleave(t *testing.T, seed uint64) (steps int) {
	r := rand.New(rand.NewPCG(seed, 53))
	w := &world{t: t, store: b.store.Copy(), ring: b.w.ring, made: map[[32]byte]*entry{}, snaps: map[[32]byte][]byte{}}
	for k, e := range b.made {
		w.made[k] = e
	}
	s := &scheduler{dead: map[int]bool{}}
	var states [2]string
	dir := quickDir(t)
	for i := range states {
		states[i] = filepath.Join(dir, strconv.Itoa(i))
		must(t, os.CopyFS(states[i], os.DirFS(b.states[i])))
	}
	keep := GCOptions{serial: true}
	if r.IntN(3) == 0 {
		keep.Grace = time.Hour
	}
	// Clocks that are right, behind, or ahead; listings that are whole or not.
	skews := [2]time.Duration{}
	if r.IntN(2) == 0 {
		skews[r.IntN(2)] = time.Duration(r.IntN(200)-100) * time.Hour
	}
	hiding := r.IntN(4) == 0
	var running sync.WaitGroup
	var mu sync.Mutex
	left := 2
	machine := func(i int, seed uint64) {
		defer func() { mu.Lock(); left--; mu.Unlock(); running.Done() }()
		r := rand.New(rand.NewPCG(seed, uint64(i)))
		var a *actor
		next := 1000 * i
		for step, steps := 0, 2+r.IntN(3); step < steps; {
			var err error
			if a == nil {
				var v *Vault
				o := w.options(states[i])
				o.Clock = func() time.Time { return time.Now().Add(skews[i]) }
				store := &turn{Store: w.store, s: s, m: i}
				if hiding {
					store.hides = rand.New(rand.NewPCG(seed, uint64(i)))
				}
				if v, err = Open(ctx, store, o); err == nil {
					w.give(v, v.store)
					a = newActor(w, v, uint32(i+1), r)
					a.next, a.keep = next+1000, keep
					err = a.load()
				}
			}
			if err == nil {
				next = a.next
				err = a.step()
			}
			switch {
			case errors.Is(err, errKilled):
				s.mu.Lock()
				delete(s.dead, i)
				s.mu.Unlock()
				a, next = nil, next+1000
			case err != nil && hiding && damaged(err) && a != nil && a.v.State() == nil:
				step++ // what was not shown is tried again later
			case err != nil:
				t.Errorf("machine %d: %v", i, err)
				return
			default:
				step++
			}
		}
		if err := a.v.Close(); err != nil {
			t.Error(err)
		}
	}
	for i := range states {
		running.Add(1)
		seed := r.Uint64()
		go machine(i, seed)
	}
	s.run(r, func() bool { mu.Lock(); defer mu.Unlock(); return left == 0 }, r.IntN(2), 1+r.IntN(80), r.IntN(2) == 0)
	running.Wait()
	sound(w, filepath.Join(dir, "early"))
	// A quiet time: whoever is left collects.
	a := newActor(w, w.open(w.store, states[0]), 1, r)
	var last GCReport
	var err error
	for range 4 {
		time.Sleep(2 * time.Hour)
		last, err = a.collect()
		must(t, err)
	}
	used, x := sound(w, filepath.Join(dir, "late"))
	if n := count(w, "o/"); n != len(used) {
		t.Errorf("%d objects are there, the state refers to %d; the last collection: %+v", n, len(used), last)
	}
	verified(w, x)
	// The other machine comes back: it goes on from what it remembers.
	c := newActor(w, w.open(w.store, states[1]), 2, r)
	must(t, c.load())
	if len(c.s.nodes) != len(x.s.nodes) {
		t.Error("the other machine is told another state")
	}
	os.RemoveAll(dir)
	return len(w.made)
}

func (a *actor) step() (err error) {
	switch a.r.IntN(6) {
	case 0:
		return a.write()
	case 1:
		return a.remove()
	case 2:
		return a.copy(func() error {
			if a.r.IntN(2) == 0 {
				return a.remove()
			}
			return nil
		})
	case 3:
		return a.snapshot()
	}
	_, err = a.collect()
	return err
}

// TestP4_V53V54Interleavings: MEGAFS_GC_SEEDS says how many orders are tried, MEGAFS_GC_SEED one.
func TestP4_V53V54Interleavings(t *testing.T) {
	n, first := 120, rand.Uint64N(1<<40)
	if s := os.Getenv("MEGAFS_GC_SEEDS"); s != "" {
		n, _ = strconv.Atoi(s)
	}
	if s := os.Getenv("MEGAFS_GC_SEED"); s != "" {
		first, _ = strconv.ParseUint(s, 10, 64)
		n = 1
	}
	t.Logf("%d interleavings from seed %d", n, first)
	var base *raceBase
	synctest.Test(t, func(*testing.T) { base = newRaceBase(t) })
	for i := range uint64(n) {
		synctest.Test(t, func(t *testing.T) {
			failed := t.Failed()
			defer func() {
				if t.Failed() && !failed {
					t.Logf("that was seed %d", first+i)
				}
			}()
			base.interleave(t, first+i)
		})
		if t.Failed() {
			t.FailNow()
		}
	}
}
