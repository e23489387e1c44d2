package vault

import (
	"context"
	"errors"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"megafs/crypto"
	"megafs/remote"
	"megafs/remote/blob"
)

// TestP4_V65StateRestored: the state folder comes back from a backup, while the tree, which lies elsewhere, is of today. What was done in the
// device's name since then lies before the position that is asked from, and shows all the same.
func TestP4_V65StateRestored(t *testing.T) {
	for _, snapshot := range []bool{false, true} {
		w, a, pos := begun(t)
		backup := t.TempDir()
		if err := os.CopyFS(backup, os.DirFS(w.state)); err != nil {
			t.Fatal(err)
		}
		pos = commits(t, a, pos, 1, 3)
		from := pos
		if snapshot {
			// The tree is lost, too, and comes from a snapshot behind those commits.
			pos, from = snapshotOf(t, a, pos), remote.Position{}
		}
		a.Close()
		b := w.open(w.store, backup)
		id, _ := b.Device()
		_, got := load(t, b, from)
		if id2, no := b.Device(); id2 == id || no != 0 {
			t.Fatal("goes on as the device whose commits it does not remember; snapshot:", snapshot)
		}
		got, err := b.Register(ctx, got, 2)
		if err != nil {
			t.Fatal(err)
		}
		commits(t, b, got, 5, 1)
		// Nobody who knew the device finds its chain broken.
		load(t, w.open(w.store, w.state), pos)
	}
}

// TestOwnCrashUnderSnapshot: a commit whose answer was lost in a crash lies under another machine's snapshot when this machine comes back
// without its tree. It goes on as the same device, behind that commit.
func TestOwnCrashUnderSnapshot(t *testing.T) {
	w, a, _ := begun(t)
	b, pos, _ := w.second(t)
	load(t, a, remote.Position{})
	saved := t.TempDir()
	a.store = &hookStore{MemStore: w.store, after: func() { os.CopyFS(saved, os.DirFS(w.state)) }}
	commits(t, a, pos, 1, 1)
	_, bpos := load(t, b, pos)
	snapshotOf(t, b, bpos)
	c := w.open(w.store, saved)
	id, _ := c.Device()
	_, got := load(t, c, remote.Position{})
	if id2, no := c.Device(); id2 != id || no == 0 {
		t.Fatal("took its own commit for a clone's")
	}
	commits(t, c, got, 2, 1)
	load(t, b, bpos)
	if b.Info().Violation != "" {
		t.Fatal(b.Info().Violation)
	}
}

// TestOfflineTries: the first try of a commit took place, and then the store is away for ever so many tries.
func TestOfflineTries(t *testing.T) {
	w, a, pos := begun(t)
	id, _ := a.Device()
	s := &evil{MemStore: w.store}
	lost := remote.E("put", "", remote.Unreachable, nil)
	n := 0
	s.put = func(name string, data []byte) (bool, error) {
		if n++; n == 1 {
			w.store.Put(ctx, name, data)
		}
		return true, lost
	}
	s.get = func(string) ([]byte, bool, error) { return nil, true, lost }
	a.store = s
	for range 2 * maxPending {
		if _, err := a.Commit(ctx, pos, []remote.Op{node(1)}); !remote.Is(err, remote.Unreachable) {
			t.Fatal(err)
		}
	}
	if n != 1 {
		t.Fatal("sent again before it was known what became of the first:", n)
	}
	a.store = w.store
	if _, err := a.Commit(ctx, pos, []remote.Op{node(1)}); !remote.Is(err, remote.Conflict) {
		t.Fatal(err)
	}
	_, got := load(t, a, pos)
	if id2, no := a.Device(); id2 != id || no == 0 {
		t.Fatal("took its own commit for a clone's")
	}
	commits(t, a, got, 5, 1)
}

// clock is a time that tests move.
type clock struct {
	mu sync.Mutex
	t  time.Time
}

func (c *clock) now() time.Time { c.mu.Lock(); defer c.mu.Unlock(); return c.t }
func (c *clock) move(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.t = c.t.Add(d)
}

// TestP4_V19RollbackWhileRunning: the store goes back under a machine that is running and hears nothing new.
func TestP4_V19RollbackWhileRunning(t *testing.T) {
	for _, commit := range []bool{false, true} {
		w, a, pos := begun(t)
		c := &clock{t: time.Unix(1e9, 0)}
		a.o.Clock = c.now
		old := w.store.Clone()
		pos = commits(t, a, pos, 1, 3)
		load(t, a, pos)
		w.store.Restore(old)
		c.move(2 * standing)
		var err error
		if commit {
			_, err = a.Commit(ctx, pos, []remote.Op{node(9)})
		} else {
			_, err = a.Load(ctx, pos, &memory{})
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
}

// TestRekeyedElsewhere: keys were rotated by a machine with a newer megafs. This one can't go on, but nobody attacked it.
func TestRekeyedElsewhere(t *testing.T) {
	w, a, pos := begun(t)
	object, _, next, err := w.ring.Rekey(crypto.NewSecret([]byte("another gravel ointment velvet crumb")), crypto.Secret{}, crypto.DefaultKDF, pos.Seq+1)
	if err != nil {
		t.Fatal(err)
	}
	w.store.Poke(keyringName(2), object)
	e := &entry{seq: pos.Seq + 1, prev: pos.Hash, device: remote.DeviceID{9}, dev: link{Seq: 1}, parts: 1, typ: entryKeyring,
		keyring: link{2, next.Hash()}, about: link{2, next.Hash()}}
	w.store.Poke(logName(e.seq), e.seal(next.Keys()))
	_, err = a.Load(ctx, pos, &memory{})
	if !errors.Is(err, ErrUnsupported) || a.Info().Violation != "" {
		t.Fatal(err, a.Info().Violation)
	}
	// One that says so without a keyring behind it is a forgery.
	w.store.Poke(keyringName(2), nil)
	_, err = a.Load(ctx, pos, &memory{})
	wantErr(t, err, ErrTampered)
	// With the new keys the old entries are read, and entries under the old ones refused from there on (V50).
	w.ring = next
	b := w.open(w.store, t.TempDir())
	_, got := load(t, b, remote.Position{})
	if got.Seq != e.seq {
		t.Fatal(got)
	}
}

// TestP4_V50EpochDowngrade: an entry under withdrawn keys, made by one who knows only those.
func TestP4_V50EpochDowngrade(t *testing.T) {
	w, a, pos := begun(t)
	_, _, next, err := w.ring.Rekey(crypto.NewSecret([]byte("another gravel ointment velvet crumb")), crypto.Secret{}, crypto.DefaultKDF, pos.Seq+1)
	if err != nil {
		t.Fatal(err)
	}
	commits(t, a, pos, 1, 1) // a has not heard of it
	w.ring = next
	_, err = w.open(w.store, t.TempDir()).Load(ctx, remote.Position{}, &memory{})
	wantErr(t, err, ErrEpochDowngrade)
}

// repassed makes the next generation of a keyring.
func repassed(t *testing.T, r *crypto.Keyring) ([]byte, *crypto.Keyring) {
	t.Helper()
	object, next, err := r.Repass(crypto.NewSecret([]byte("another gravel ointment velvet crumb")), crypto.DefaultKDF)
	if err != nil {
		t.Fatal(err)
	}
	return object, next
}

// TestP4_V41Unannounced: keyrings that the log does not name, as a crash leaves them, are good only if they descend from the one it names.
func TestP4_V41Unannounced(t *testing.T) {
	for name, c := range map[string]struct {
		skip bool
		want error
	}{"in a row": {false, nil}, "one missing": {true, ErrKeyringTampered}} {
		t.Run(name, func(t *testing.T) {
			w, _, pos := begun(t)
			o2, k2 := repassed(t, w.ring)
			o3, k3 := repassed(t, k2)
			if !c.skip {
				w.store.Poke(keyringName(2), o2)
			}
			w.store.Poke(keyringName(3), o3)
			w.ring = k3
			for _, state := range []string{t.TempDir(), w.state} {
				from := remote.Position{}
				if state == w.state {
					from = pos
				}
				_, err := w.open(w.store, state).Load(ctx, from, &memory{})
				if c.want == nil && err != nil {
					t.Fatal(err)
				}
				if c.want != nil {
					wantErr(t, err, c.want)
				}
			}
		})
	}
	// One that follows another than the log's.
	w, _, _ := begun(t)
	_, other := repassed(t, w.ring)
	_, k3 := repassed(t, other)
	o2, _ := repassed(t, w.ring)
	w.store.Poke(keyringName(2), o2)
	w.ring = k3
	_, err := w.open(w.store, t.TempDir()).Load(ctx, remote.Position{}, &memory{})
	wantErr(t, err, ErrKeyringTampered)
}

// TestAddKeyring: all older generations go, and nothing is touched when nothing may be written.
func TestAddKeyring(t *testing.T) {
	w, a, pos := begun(t)
	o2, k2 := repassed(t, w.ring)
	w.store.Poke(keyringName(2), o2) // a crash's leftover
	a.Close()
	w.ring = k2
	a = w.open(w.store, w.state)
	_, pos = load(t, a, pos)
	o3, k3 := repassed(t, k2)
	a.o.ReadOnly = true
	if _, err := a.AddKeyring(ctx, pos, o3, k3); !remote.Is(err, remote.ReadOnly) {
		t.Fatal(err)
	}
	if _, err := w.store.Size(ctx, keyringName(3)); err == nil {
		t.Fatal("written by a read-only vault")
	}
	a.o.ReadOnly = false
	if _, err := a.AddKeyring(ctx, pos, o3, k3); err != nil {
		t.Fatal(err)
	}
	for _, n := range w.store.Names() {
		if strings.HasPrefix(n, "k/") && n != keyringName(3) {
			t.Fatal("left behind:", n)
		}
	}
	object, offline, err := ReadKeyring(ctx, blob.Mem(), w.state)
	if !errors.Is(err, ErrVaultMissing) || offline || object != nil {
		t.Fatal("V44:", err)
	}
	away := &evil{MemStore: w.store, list: func(string, func(blob.Info) error) (bool, error) {
		return true, remote.E("list", "", remote.Unreachable, nil)
	}}
	object, offline, err = ReadKeyring(ctx, away, w.state)
	if err != nil || !offline || string(object) != string(o3) {
		t.Fatal(offline, err)
	}
}

// TestReadKeyringNamesNothing: copies of an old keyring under later names do not hide the newest.
func TestReadKeyringNamesNothing(t *testing.T) {
	w, _, _ := begun(t)
	first, _, _ := ReadKeyring(ctx, w.store, "")
	o2, _ := repassed(t, w.ring)
	w.store.Poke(keyringName(2), o2)
	w.store.Poke(keyringName(7), first)
	w.store.Poke(keyringName(8), []byte("nothing"))
	w.store.Poke(keyringName(9), make([]byte, keyringLimit+1))
	object, _, err := ReadKeyring(ctx, w.store, "")
	if err != nil || string(object) != string(o2) {
		t.Fatal(err)
	}
	// One of a newer format is not passed over for an older one.
	newer := append([]byte(nil), o2...)
	newer[5] = 2
	w.store.Poke(keyringName(3), newer)
	if object, _, err = ReadKeyring(ctx, w.store, ""); err != nil || string(object) != string(newer) {
		t.Fatal("went back to an older format:", err)
	}
}

// TestCreateRefuses: nothing is made over anything.
func TestCreateRefuses(t *testing.T) {
	w, _, _ := begun(t)
	make := func(s blob.Store, state string) error {
		_, _, err := Create(ctx, s, state, crypto.NewSecret([]byte("lantern gravel ointment velvet crumb")), "", crypto.DefaultKDF)
		return err
	}
	if err := make(w.store, t.TempDir()); !remote.Is(err, remote.Exist) {
		t.Error("in a store that holds a vault:", err)
	}
	empty := blob.Mem()
	if err := make(empty, w.state); !remote.Is(err, remote.Exist) || len(empty.Names()) != 0 {
		t.Error("V44: with the memory of another vault:", err)
	}
	if err := make(&overwriting{blob.Mem()}, t.TempDir()); !errors.Is(err, blob.ErrStoreContract) {
		t.Error("V27: in a store that overwrites:", err)
	}
}

// overwriting is a store that ignores that a name is taken.
type overwriting struct{ *blob.MemStore }

func (o *overwriting) Put(ctx context.Context, name string, data []byte) error {
	o.Poke(name, append([]byte(nil), data...))
	return nil
}

// TestLoadsAndCommitsAtOnce: while one goroutine commits, others load. Nobody sees a clone, and no commit conflicts.
func TestLoadsAndCommitsAtOnce(t *testing.T) {
	w, a, pos := begun(t)
	id, _ := a.Device()
	done := make(chan struct{})
	var wg sync.WaitGroup
	for _, from := range []remote.Position{{}, pos} {
		wg.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				if _, err := a.Load(ctx, from, &memory{}); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	for i := range 60 {
		var err error
		if pos, err = a.Commit(ctx, pos, []remote.Op{node(i + 1)}); err != nil {
			t.Error(err)
			break
		}
	}
	close(done)
	wg.Wait()
	if id2, _ := a.Device(); id2 != id {
		t.Error("saw a clone")
	}
	if _, got := load(t, w.open(w.store, t.TempDir()), remote.Position{}); got != pos {
		t.Error(got, pos)
	}
}

// TestSinkRefuses: what the sink did not take is not built on, whatever the reason.
func TestSinkRefuses(t *testing.T) {
	for _, kind := range []remote.Kind{remote.IO, remote.Integrity} {
		w, a, _ := begun(t)
		b, pos, _ := w.second(t)
		_, start := load(t, a, remote.Position{})
		pos = commits(t, b, pos, 1, 3)
		s := &refusing{left: 1, err: remote.E("apply", "", kind, nil)}
		got, err := a.Load(ctx, start, s)
		if !remote.Is(err, kind) || got.Seq != start.Seq+1 {
			t.Fatal(got, err)
		}
		if kind == remote.Integrity && !errors.Is(err, ErrInvalidEntry) {
			t.Fatal(err)
		}
		want := remote.Conflict
		if kind == remote.Integrity {
			want = remote.ReadOnly
		}
		for _, base := range []remote.Position{start, got} {
			if _, err := a.Commit(ctx, base, []remote.Op{node(9)}); !remote.Is(err, want) {
				t.Fatal(err)
			}
		}
		if kind == remote.IO {
			if _, got := load(t, a, got); got != pos {
				t.Fatal(got)
			}
		}
	}
}

type refusing struct {
	memory
	left int
	err  error
}

func (r *refusing) Apply(b remote.Batch) error {
	if r.left--; r.left < 0 {
		return r.err
	}
	return r.memory.Apply(b)
}

// TestInterleavedParts: parts that do not lie one after the other, of one device and one batch, are no batch.
func TestInterleavedParts(t *testing.T) {
	w, a, pos := begun(t)
	b, bpos, _ := w.second(t)
	load(t, a, pos)
	var ops []remote.Op
	for i := range 70_000 {
		ops = append(ops, node(i+1))
	}
	s := &evil{MemStore: w.store}
	n := 0
	s.put = func(name string, data []byte) (bool, error) {
		if strings.HasPrefix(name, "l/") {
			if n++; n == 2 {
				// Between the first part and the second another machine commits.
				_, at := load(t, b, bpos)
				commits(t, b, at, 100_000, 1)
			}
		}
		return false, nil
	}
	a.store = s
	if _, err := a.Commit(ctx, bpos, ops); !remote.Is(err, remote.Conflict) {
		t.Fatal(err)
	}
	m, at := load(t, a, bpos)
	if len(m.ops) != 1 || at.Seq != bpos.Seq+2 {
		t.Fatal("half a batch:", len(m.ops), at)
	}
	end, err := a.Commit(ctx, at, ops)
	if err != nil {
		t.Fatal(err)
	}
	if m, got := load(t, b, at); got != end || len(m.batches) != 1 || len(m.ops) != len(ops) {
		t.Fatal(got, end, len(m.batches))
	}
}

// TestP4_V18VerifyAfterLoad: an audit after a load finds a gap at the end, and blames nobody.
func TestP4_V18VerifyAfterLoad(t *testing.T) {
	w, a, pos := begun(t)
	whole := w.store.Clone()
	end := commits(t, a, pos, 1, 3)
	last, _ := w.store.Get(ctx, logName(end.Seq), maxEntry)
	w.store.Restore(whole)
	b := w.open(w.store, t.TempDir())
	load(t, b, remote.Position{})
	w.store.Poke(logName(end.Seq), last)
	var found []Damage
	if _, err := b.Verify(ctx, func(func(remote.Extent) error) error { return nil }, func(d Damage) { found = append(found, d) }); err != nil || len(found) != 1 || found[0].Object != logName(pos.Seq+1) {
		t.Fatal(found, err)
	}
	if b.Info().Violation != "" {
		t.Fatal("an audit changed the vault's state")
	}
}

// TestOverFolder goes the whole way over a folder.
func TestOverFolder(t *testing.T) {
	crypto.CheapKDFForTests(t)
	s, err := blob.Dir(t.TempDir(), blob.DirOptions{Create: true})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	w := &world{t: t, state: t.TempDir()}
	if w.ring, _, err = Create(ctx, s, w.state, crypto.NewSecret([]byte("lantern gravel ointment velvet crumb")), "", crypto.DefaultKDF); err != nil {
		t.Fatal(err)
	}
	a := w.open(s, w.state)
	_, pos := load(t, a, remote.Position{})
	pos = snapshotOf(t, a, commits(t, a, pos, 1, 20))
	pos = commits(t, a, pos, 30, 20)
	if _, got := load(t, w.open(s, t.TempDir()), remote.Position{}); got != pos {
		t.Fatal(got, pos)
	}
}

// TestRootFits: the largest table of a snapshot's parts can be sealed.
func TestRootFits(t *testing.T) {
	r := root{parts: make([]partRef, maxParts)}
	if n := len(r.encode(crypto.VaultID{})); n > crypto.MaxPlain {
		t.Fatal(n)
	}
}
