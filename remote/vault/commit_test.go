package vault

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"strings"
	"testing"
	"time"

	"megafs/remote"
	"megafs/remote/blob"
)

// TestP4_V25DoubleWinner: create-if-absent succeeds for two machines.
func TestP4_V25DoubleWinner(t *testing.T) {
	both(t, func(t *testing.T, on kind) {
		w, a, _ := begun(t, on)
		b, pos, _ := w.second()
		w.load(a, remote.Position{})
		commits(t, a, pos, 1, 1)
		w.give(b, &evil{Store: w.store, put: func(string, []byte) (bool, error) { return true, nil }})
		got := commits(t, b, pos, 2, 1)
		_, err := b.Load(ctx, got, w.sink())
		wantErr(t, err, ErrFork)
	})
}

// TestP4_V28NotStored: acknowledged and not stored.
func TestP4_V28NotStored(t *testing.T) {
	both(t, func(t *testing.T, on kind) {
		for _, verify := range []bool{true, false} {
			w, a, pos := begun(t, on)
			a.o.VerifyCommits = verify
			s := &evil{Store: w.store, put: func(string, []byte) (bool, error) { return true, nil }}
			w.give(a, s)
			got, err := a.Commit(ctx, pos, []remote.Op{node(1)})
			if verify {
				if !errors.Is(err, ErrStoreContract) {
					t.Fatal(err)
				}
				continue
			}
			if err != nil {
				t.Fatal(err)
			}
			_, err = a.Load(ctx, got, w.sink())
			wantErr(t, err, ErrRollback)
		}
	})
}

// TestP4_V29OtherBytes: the store keeps other bytes than it took. With reading back the commit fails; without, the next one refuses to build on it.
func TestP4_V29OtherBytes(t *testing.T) {
	both(t, func(t *testing.T, on kind) {
		for _, verify := range []bool{true, false} {
			w, a, pos := begun(t, on)
			a.o.VerifyCommits = verify
			s := &evil{Store: w.store}
			s.put = func(name string, data []byte) (bool, error) {
				data = bytes.Clone(data)
				data[90] ^= 1
				return true, w.store.Put(ctx, name, data)
			}
			w.give(a, s)
			got, err := a.Commit(ctx, pos, []remote.Op{node(1)})
			if !verify {
				if err != nil {
					t.Fatal(err)
				}
				s.put = nil
				_, err = a.Commit(ctx, got, []remote.Op{node(2)})
			}
			wantErr(t, err, ErrTampered)
			if a.Info().Violation == "" {
				t.Fatal("not remembered")
			}
		}
	})
}

// TestP4_V30LoserShown: the entry that lost a race is shown to the machine that saw the winner.
func TestP4_V30LoserShown(t *testing.T) {
	both(t, func(t *testing.T, on kind) {
		w, a, _ := begun(t, on)
		b, pos, _ := w.second()
		w.load(a, remote.Position{})
		loser := w.store.Copy()
		w.give(b, loser)
		commits(t, b, pos, 1, 1)
		pos = commits(t, a, pos, 2, 1)
		lost, _ := loser.Get(ctx, logName(pos.Seq), maxEntry)
		w.store.Poke(logName(pos.Seq), lost)
		a.Close()
		c := w.open(w.store, w.state)
		_, err := c.Load(ctx, pos, w.sink())
		wantErr(t, err, ErrFork)
	})
}

// TestP4_V31ListHides: a listing without the newest entries does no harm.
func TestP4_V31ListHides(t *testing.T) {
	both(t, func(t *testing.T, on kind) {
		w, a, pos := begun(t, on)
		pos = commits(t, a, pos, 1, 40)
		s := &evil{Store: w.store, list: func(string, func(blob.Info) error) (bool, error) { return true, nil }}
		for _, from := range []remote.Position{{}, pos} {
			_, got := w.load(w.open(s, t.TempDir()), from)
			if got != pos {
				t.Fatal(got, pos)
			}
		}
	})
}

// TestP4_V32ListFloods: names that no honest store has.
func TestP4_V32ListFloods(t *testing.T) {
	both(t, func(t *testing.T, on kind) {
		w, a, pos := begun(t, on)
		pos = commits(t, a, pos, 1, 3)
		s := &evil{Store: w.store}
		s.list = func(prefix string, fn func(blob.Info) error) (bool, error) {
			for _, n := range []string{"../x", "\x00", strings.Repeat("l", 64<<10), "l/zz", "l/ffffffffffffffff", "s/r/ffffffffffffffff-" + strings.Repeat("ab", 32), "s/r/-", "k/ffffffffffffffff"} {
				for range 300 {
					if err := fn(blob.Info{Name: n}); err != nil {
						return true, err
					}
				}
			}
			return false, nil
		}
		_, got := w.load(w.open(s, t.TempDir()), remote.Position{})
		if got != pos {
			t.Fatal(got, pos)
		}
		object, _, err := ReadKeyring(ctx, s, t.TempDir())
		if err != nil || sha256.Sum256(object) != w.ring.Hash() {
			t.Fatal("a listed name that nothing stands behind hid the keyring:", err)
		}
	})
}

// TestP4_V33FutureEntry: copies of entries at later places are no entries.
func TestP4_V33FutureEntry(t *testing.T) {
	both(t, func(t *testing.T, on kind) {
		w, a, pos := begun(t, on)
		pos = commits(t, a, pos, 1, 3)
		last, _ := w.store.Get(ctx, logName(pos.Seq), maxEntry)
		w.store.Poke(logName(pos.Seq+5), last)
		a.Close()
		_, got := w.load(w.open(w.store, w.state), pos)
		if got != pos {
			t.Fatal(got, pos)
		}
	})
}

// TestLongRequests: a commit of many entries and a load of many may take any time, as long as they get on; who stands still is given up.
func TestLongRequests(t *testing.T) {
	both(t, func(t *testing.T, on kind) {
		w, a, pos := begun(t, on)
		var under context.Context
		slow := time.Minute
		wait := func() error {
			time.Sleep(slow)
			if under.Err() != nil {
				return remote.E("ask", "", remote.Canceled, under.Err())
			}
			return nil
		}
		w.give(a, &dragging{w.store, wait})
		do := func(fn func(ctx context.Context) error) error {
			var cancel context.CancelFunc
			under, cancel = remote.Watched(ctx, 150*time.Second)
			defer cancel()
			return remote.Stalled(under, "test", fn(under))
		}
		var ops []remote.Op
		for i := range 12_000 {
			op := node(i)
			op.Attr.Type, op.Attr.Target, op.Attr.Size = remote.Symlink, strings.Repeat("t", 200), 200
			ops = append(ops, op)
		}
		first := pos
		must(t, do(func(ctx context.Context) (err error) { pos, err = a.Commit(ctx, pos, ops); return err }))
		if pos.Seq < first.Seq+3 {
			t.Fatal("no long commit:", pos.Seq)
		}
		slow = 0
		under = ctx
		pos = commits(t, a, pos, 70_000, 3)
		slow = time.Minute
		must(t, do(func(ctx context.Context) error { _, err := a.Load(ctx, first, w.sink()); return err }))
		slow = time.Hour
		err := do(func(ctx context.Context) error { _, err := a.Load(ctx, first, w.sink()); return err })
		if !remote.Is(err, remote.Timeout) {
			t.Error(err)
		}
	})
}

// dragging is a store that takes its time.
type dragging struct {
	blob.Store
	wait func() error
}

func (d *dragging) Put(ctx context.Context, name string, data []byte) error {
	if err := d.wait(); err != nil {
		return err
	}
	return d.Store.Put(ctx, name, data)
}

func (d *dragging) Get(ctx context.Context, name string, limit int64) ([]byte, error) {
	if err := d.wait(); err != nil {
		return nil, err
	}
	return d.Store.Get(ctx, name, limit)
}
