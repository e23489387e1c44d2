package vault

import (
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"megafs/crypto"
	"megafs/remote"
	"megafs/remote/blob"
)

// cut is a world whose log was shortened: a file is left of several, and a machine that knew the log's beginning is away.
func cut(t testing.TB, on kind) (w *world, a *actor, away string, before place) {
	w, a = collecting(t, on)
	for range 3 {
		must(t, a.write())
	}
	away = t.TempDir()
	b := newActor(w, w.open(w.store, away), 0, nil)
	must(t, b.load())
	must(t, b.v.Close())
	before = w.store.Copy()
	for range 3 {
		must(t, a.remove())
		must(t, a.write())
		must(t, a.snapshot())
	}
	for range 2 {
		_, err := a.collect()
		must(t, err)
	}
	if w.present(logName(1)) || count(w, historyPrefix) != 1 {
		t.Fatal("the log was not shortened:", w.store.Names())
	}
	return w, a, away, before
}

// TestP4_V37Divergence: a snapshot that is not the state that the log leads to, which a mistake in the program made, replaces nothing: the log stays, and
// content that only the log refers to.
func TestP4_V37Divergence(t *testing.T) {
	both(t, func(t *testing.T, on kind) {
		w, a := collecting(t, on)
		must(t, a.write())
		must(t, a.write())
		for range 3 {
			lost := a.s.extents
			a.s.extents = map[remote.Ino]remote.Op{}
			must(t, a.snapshot())
			a.s.extents = lost
			must(t, a.write())
		}
		n := count(w, "o/")
		hold := func(func(remote.ObjectID)) error { return nil } // nor is it this machine's tree that keeps it
		r, err := a.v.Collect(ctx, GCOptions{Replica: replica, Hold: hold, Pos: a.s.pos})
		must(t, err)
		if count(w, "o/") != n || r.Content > 0 || r.LogPruned > 0 || !w.present(logName(1)) {
			t.Errorf("%+v", r)
		}
		if !strings.Contains(w.logs.String(), ErrSnapshotDivergence.Error()) {
			t.Error("nobody was told")
		}
	})
}

// TestP4_V38NotGivenUp: entries that no mark let go, or the one that announces the snapshot at the beginning, are missing, and so is the snapshot. Nobody
// is told a state, the machine that remembers more is not taken for a fresh one, an audit says it, and nothing is collected.
func TestP4_V38NotGivenUp(t *testing.T) {
	both(t, func(t *testing.T, on kind) {
		w, a, away, _ := cut(t, on)
		first, err := a.v.firstEntry(ctx)
		must(t, err)
		states := [2]string{t.TempDir(), away}
		for _, missing := range []string{logName(first), logName(first + 1), "s/p/", rootPrefix} {
			store := w.store.Copy()
			for _, n := range store.Names() {
				if strings.HasPrefix(n, missing) {
					store.Poke(n, nil)
				}
			}
			for i, s := range states {
				s := copied(t, s)
				v := w.open(store, s)
				m := newActor(w, v, 0, nil)
				// The newest snapshot may be all that is needed; what lies before the missing entry is not told.
				if err := m.load(); err == nil && len(m.s.nodes) != len(a.s.nodes) || err != nil && !damaged(err) && !errors.Is(err, ErrViolation) {
					t.Errorf("without %s, machine %d: %v, %d files", missing, i, err, len(m.s.nodes))
				}
				var found []Damage
				_, err := w.open(store, copied(t, states[i])).Verify(ctx, func(func(remote.Extent) error) error { return nil }, func(d Damage) { found = append(found, d) })
				must(t, err)
				if len(found) == 0 {
					t.Errorf("without %s, machine %d: the audit finds nothing", missing, i)
				}
			}
			objects := len(store.Names())
			v := w.open(store, copied(t, states[0]))
			if _, err := v.Collect(ctx, GCOptions{Replica: replica}); err == nil && missing != rootPrefix && missing != "s/p/" {
				t.Errorf("collected without %s", missing)
			}
			if n := len(store.Names()); n < objects {
				t.Errorf("without %s %d objects were removed", missing, objects-n)
			}
		}
	})
}

func copied(t testing.TB, state string) string {
	t.Helper()
	dir := t.TempDir()
	must(t, os.CopyFS(dir, os.DirFS(state)))
	return dir
}

// TestP4_V40ForkBelow: the log's beginning is removed, and what a machine that comes back remembers of it is not in the history.
func TestP4_V40ForkBelow(t *testing.T) {
	both(t, func(t *testing.T, on kind) {
		w, _, away, before := cut(t, on)
		// Another history of the same vault: it parts at the entry that the machine would have seen next.
		other := &world{t: t, store: before, ring: w.ring, state: away, made: w.made, snaps: w.snaps}
		fork := newActor(other, other.open(before, t.TempDir()), 7, rand.New(rand.NewPCG(5, 6)))
		must(t, fork.write())
		state := copied(t, away)
		m := newActor(other, other.open(before, state), 0, nil)
		must(t, m.load())
		must(t, m.v.Close())
		v := w.open(w.store, state)
		_, err := v.Load(ctx, remote.Position{}, w.sink())
		wantErr(t, err, ErrFork)
		if v.State() == nil {
			t.Error("not read-only")
		}
	})
}

// TestP4_V55HostileLists: whatever a listing shows or leaves out, in whatever order and how often, nothing that is referred to is given up or removed, and no
// name of others'. An honest listing later finds the rest.
func TestP4_V55HostileLists(t *testing.T) {
	both(t, func(t *testing.T, on kind) {
		seeds := uint64(6)
		if testing.Short() {
			seeds = 1
		}
		for seed := range seeds {
			r := rand.New(rand.NewPCG(seed, 55))
			w, a := collecting(t, on)
			for range 4 {
				must(t, a.write())
				must(t, a.snapshot())
				must(t, a.remove())
				must(t, a.write())
			}
			foreign := "o/ab/not-ours"
			w.store.Poke(foreign, []byte("something else"))
			e := &evil{Store: w.store}
			e.list = func(prefix string, fn func(blob.Info) error) (bool, error) {
				var all []blob.Info
				for _, n := range w.store.Names() {
					if r.IntN(4) > 0 {
						all = append(all, blob.Info{Name: n, Size: int64(r.IntN(1 << 20))}) // of other prefixes too
					}
				}
				var id crypto.ID
				id[0] = byte(r.Uint32())
				all = append(all, blob.Info{Name: contentName(remote.ObjectID(id)), Size: -1}, blob.Info{Name: foreign}, blob.Info{Name: "../" + foreign},
					blob.Info{Name: historyName(1<<60, id)}, blob.Info{Name: rootName(1, id)}, blob.Info{Name: logName(1 << 60)})
				all = append(all, all...)
				r.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
				for _, i := range all {
					if err := fn(i); err != nil {
						return true, err
					}
				}
				return true, nil
			}
			hostile := a.v.store
			a.v.store = &guard{Store: e, w: w, v: a.v}
			for range 4 {
				if _, err := a.collect(); err != nil && !damaged(err) {
					t.Fatal(seed, err)
				}
			}
			sound(w, t.TempDir())
			a.v.store = hostile
			if err := a.v.State(); err != nil {
				// Entry 2^60 opens nowhere: a list alone proves nothing against a store.
				t.Fatal(seed, err)
			}
			for range 3 {
				_, err := a.collect()
				must(t, err)
			}
			used, x := sound(w, t.TempDir())
			if n := count(w, "o/"); n != len(used)+1 || !w.present(foreign) {
				t.Errorf("seed %d: %d objects, %d used", seed, n, len(used))
			}
			verified(w, x)
		}
	})
}

// TestP4_V56RolledBack: a machine is shown an older state of the store, in which content that is used by now has no file yet. It gives up nothing.
func TestP4_V56RolledBack(t *testing.T) {
	both(t, func(t *testing.T, on kind) {
		w, a := collecting(t, on)
		must(t, a.write())
		must(t, a.snapshot())
		head := a.s.pos.Seq
		must(t, a.write())
		e := &evil{Store: w.store}
		e.get = func(name string) ([]byte, bool, error) {
			if n, ok := number(name, "l/"); ok && n > head {
				return nil, true, gone(name)
			}
			return nil, false, nil
		}
		v := w.open(e, copied(t, w.state))
		before := w.store.Names()
		_, err := v.Collect(ctx, GCOptions{Replica: replica})
		wantErr(t, err, ErrRollback)
		if !slices.Equal(before, w.store.Names()) {
			t.Error("the store was changed")
		}
		// One that never saw the vault can't know: it must not collect at all.
		v = w.open(e, t.TempDir())
		if _, err := v.Collect(ctx, GCOptions{Replica: replica}); err == nil {
			t.Error("a machine that never saw the vault collected")
		}
		if !slices.Equal(before, w.store.Names()) {
			t.Error("the store was changed")
		}
	})
}

// TestP4_V57Resurrection: what was removed comes back, all of it or some. Everybody is told the same state as before, and the next collections remove it again.
func TestP4_V57Resurrection(t *testing.T) {
	both(t, func(t *testing.T, on kind) {
		for _, some := range []int{1, 2, 3} {
			w, a, away, before := cut(t, on)
			now := w.store.Names()
			for i, n := range before.Names() {
				if i%some == 0 && !w.present(n) {
					w.store.Poke(n, bytesOf(t, before, n))
				}
			}
			for _, state := range []string{t.TempDir(), copied(t, away), copied(t, w.state)} {
				m := newActor(w, w.open(w.store, state), 0, nil)
				must(t, m.load())
				if len(m.s.nodes) != len(a.s.nodes) {
					t.Errorf("every %d. back: another state", some)
				}
			}
			for range 3 {
				_, err := a.collect()
				must(t, err)
			}
			for _, n := range before.Names() {
				if w.present(n) && !slices.Contains(now, n) {
					t.Errorf("every %d. back: %s is still there", some, n)
				}
			}
			_, x := sound(w, t.TempDir())
			verified(w, x)
		}
	})
}

// TestP4_V58StaleWhileCollecting: a store that is slow to show what it has, for a moment or for longer. What is there and can't be read just now is not given up.
func TestP4_V58StaleWhileCollecting(t *testing.T) {
	both(t, func(t *testing.T, on kind) {
		for _, times := range []int{1, 2, 5, 6, 7, 12} {
			w, a, _, _ := cut(t, on)
			must(t, a.remove())
			must(t, a.snapshot())
			left := map[string]int{}
			e := &evil{Store: w.store}
			e.get = func(name string) ([]byte, bool, error) {
				if _, seen := left[name]; !seen {
					left[name] = times
				}
				if left[name]--; left[name] >= 0 {
					return nil, true, gone(name)
				}
				return nil, false, nil
			}
			honest := a.v.store
			a.v.store = &guard{Store: e, w: w, v: a.v}
			o := GCOptions{Replica: replica, State: a.s.Ops, Pos: a.s.pos}
			if r, err := a.v.Collect(ctx, o); err != nil && !damaged(err) {
				t.Errorf("%d times: %+v, %v", times, r, err)
			}
			if err := a.v.State(); err != nil {
				t.Errorf("%d times: a store that was slow was taken for one that lies: %v", times, err)
			}
			a.v.store = honest
			_, x := sound(w, t.TempDir())
			verified(w, x)
			for range 3 {
				_, err := a.collect()
				must(t, err)
			}
			if used, _ := sound(w, t.TempDir()); count(w, "o/") != len(used) {
				t.Errorf("%d times: %d objects, %d used", times, count(w, "o/"), len(used))
			}
		}
	})
}

// TestP4_V52GCHangs: a store that stops answering ends a run when its caller gives up, at whatever request.
func TestP4_V52GCHangs(t *testing.T) {
	both(t, func(t *testing.T, on kind) {
		for at := 1; at < 200; at += 7 {
			w, a := collecting(t, on)
			for range 3 {
				must(t, a.write())
				must(t, a.remove())
				must(t, a.snapshot())
			}
			must(t, a.load())
			var n atomic.Int64
			honest := a.v.store
			a.v.store = &hanging{Store: honest, hangs: func() bool { return n.Add(1) > int64(at) }}
			c, cancel := context.WithTimeout(ctx, time.Minute)
			start := time.Now()
			_, err := a.v.Collect(c, GCOptions{Replica: replica, State: a.s.Ops, Pos: a.s.pos})
			cancel()
			if err == nil && n.Load() > int64(at) || time.Since(start) > 2*time.Minute {
				t.Error(at, err, time.Since(start))
			}
			a.v.store = honest
			sound(w, t.TempDir())
			if n.Load() <= int64(at) {
				break
			}
		}
	})
}

// hanging is a store that does not answer until its caller gives up.
type hanging struct {
	blob.Store
	hangs func() bool
}

func (h *hanging) wait(ctx context.Context) error {
	if !h.hangs() {
		return nil
	}
	<-ctx.Done()
	return remote.E("ask", "", remote.Timeout, ctx.Err())
}

func (h *hanging) Put(ctx context.Context, name string, data []byte) error {
	if err := h.wait(ctx); err != nil {
		return err
	}
	return h.Store.Put(ctx, name, data)
}

func (h *hanging) Delete(ctx context.Context, name string) error {
	if err := h.wait(ctx); err != nil {
		return err
	}
	return h.Store.Delete(ctx, name)
}

func (h *hanging) List(ctx context.Context, prefix, after string, fn func(blob.Info) error) error {
	if err := h.wait(ctx); err != nil {
		return err
	}
	return h.Store.List(ctx, prefix, after, fn)
}
