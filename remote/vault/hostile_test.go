package vault

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"os"
	"strings"
	"testing"

	"megafs/crypto"
	"megafs/remote"
	"megafs/remote/blob"
)

// evil is a store with a will of its own: each hook that is set is asked first, and decides when it says so.
type evil struct {
	*blob.MemStore
	put  func(name string, data []byte) (done bool, err error)
	get  func(name string) (b []byte, done bool, err error)
	list func(prefix string, fn func(blob.Info) error) (done bool, err error)
}

func (e *evil) Put(ctx context.Context, name string, data []byte) error {
	if e.put != nil {
		if done, err := e.put(name, data); done {
			return err
		}
	}
	return e.MemStore.Put(ctx, name, data)
}

func (e *evil) Get(ctx context.Context, name string, limit int64) ([]byte, error) {
	if e.get != nil {
		if b, done, err := e.get(name); done {
			return b, err
		}
	}
	return e.MemStore.Get(ctx, name, limit)
}

func (e *evil) List(ctx context.Context, prefix, after string, fn func(blob.Info) error) error {
	if e.list != nil {
		if done, err := e.list(prefix, fn); done {
			return err
		}
	}
	return e.MemStore.List(ctx, prefix, after, fn)
}

func gone(name string) error { return remote.E("get", name, remote.NotExist, nil) }

// commits makes n commits of one node each, the first of them node number from.
func commits(t *testing.T, v *Vault, pos remote.Position, from, n int) remote.Position {
	t.Helper()
	for i := range n {
		var err error
		if pos, err = v.Commit(ctx, pos, []remote.Op{node(from + i)}); err != nil {
			t.Fatal(err)
		}
	}
	return pos
}

// begun returns a world, its first machine loaded, and the head.
func begun(t *testing.T) (*world, *Vault, remote.Position) {
	t.Helper()
	w := newWorld(t)
	v := w.open(w.store, w.state)
	_, pos := load(t, v, remote.Position{})
	return w, v, pos
}

// second opens the vault on another machine, with a number of its own.
func (w *world) second(t *testing.T) (*Vault, remote.Position, string) {
	t.Helper()
	state := t.TempDir()
	v := w.open(w.store, state)
	_, pos := load(t, v, remote.Position{})
	pos, err := v.Register(ctx, pos, 2)
	if err != nil {
		t.Fatal(err)
	}
	return v, pos, state
}

// TestP4_V19RollbackAtRest: the store goes back to before the very position that is asked from; nothing new has to come for that to be seen.
func TestP4_V19RollbackAtRest(t *testing.T) {
	w, a, pos := begun(t)
	old := w.store.Clone()
	pos = commits(t, a, pos, 1, 3)
	a.Close()
	w.store.Restore(old)
	b := w.open(w.store, w.state)
	_, err := b.Load(ctx, pos, &memory{})
	wantErr(t, err, ErrRollback)
}

// TestP4_V19RollbackFreshTree: the tree is lost and must be loaded anew from a store that went back: the sink sees nothing of the old state.
func TestP4_V19RollbackFreshTree(t *testing.T) {
	w, a, pos := begun(t)
	old := w.store.Clone()
	commits(t, a, pos, 1, 3)
	a.Close()
	w.store.Restore(old)
	m := &memory{}
	_, err := w.open(w.store, w.state).Load(ctx, remote.Position{}, m)
	wantErr(t, err, ErrRollback)
	if m.resets != 0 || len(m.batches) != 0 {
		t.Fatal("the sink was told an old state")
	}
}

// TestP4_V41KeyringRenewed: another machine changes the passphrase. That is no attack: the keyring is fetched, and work goes on. A store that
// hides the new one is caught.
func TestP4_V41KeyringRenewed(t *testing.T) {
	w, a, _ := begun(t)
	b, pos, _ := w.second(t)
	load(t, a, remote.Position{})
	object, next, err := w.ring.Repass(crypto.NewSecret([]byte("another gravel ointment velvet crumb")), crypto.DefaultKDF)
	if err != nil {
		t.Fatal(err)
	}
	at, err := b.AddKeyring(ctx, pos, object, next)
	if err != nil {
		t.Fatal(err)
	}
	m := &memory{}
	got, err := a.Load(ctx, pos, m)
	if err != nil || got != at {
		t.Fatal("a passphrase changed elsewhere:", err)
	}
	if _, err := a.Commit(ctx, got, []remote.Op{node(1)}); err != nil {
		t.Fatal(err)
	}
	if i := a.Info(); i.Keyring != 2 || i.Violation != "" {
		t.Fatal(i)
	}
}

// TestP4_V18NoGapInARace: an entry that comes between the look at the log's end and the look behind it is no gap.
func TestP4_V18NoGapInARace(t *testing.T) {
	w, a, pos := begun(t)
	b, bpos, _ := w.second(t)
	raced := false
	s := &evil{MemStore: w.store}
	s.list = func(prefix string, fn func(blob.Info) error) (bool, error) {
		if prefix == "l/" && !raced {
			raced = true
			commits(t, b, bpos, 1, 3)
		}
		return false, nil
	}
	a.Close()
	a = w.open(s, w.state)
	m, got := load(t, a, pos)
	if !raced || got.Seq != bpos.Seq+3 || len(m.ops) != 4 {
		t.Fatal(raced, got, len(m.ops))
	}
}

// TestP4_V50EpochForged: an entry sealed with withdrawn keys that says inside to be of the new epoch.
func TestP4_V50EpochForged(t *testing.T) {
	w, a, pos := begun(t)
	old := w.ring.Keys()
	_, _, next, err := w.ring.Rekey(crypto.NewSecret([]byte("another gravel ointment velvet crumb")), crypto.Secret{}, crypto.DefaultKDF, pos.Seq+1)
	if err != nil {
		t.Fatal(err)
	}
	e := &entry{seq: pos.Seq + 1, prev: pos.Hash, device: a.trust.Device, dev: link{a.trust.Own.Seq + 1, a.trust.Own.Hash}, parts: 1,
		keyring: link{next.Generation(), next.Hash()}}
	body := bytes.Clone(bodyOf(t, w.ring.Keys(), e))
	body[2+32+8+32+16+8+32+8+8+32+3] = 2 // the epoch
	sealed, _ := old.Seal(crypto.ClassLog, u64(e.seq), body)
	if _, err := openEntry(next.Keys(), e.seq, sealed); err == nil {
		t.Fatal("taken")
	}
}

// bodyOf returns an entry's plaintext.
func bodyOf(t *testing.T, k *crypto.Keys, e *entry) []byte {
	t.Helper()
	b, _, err := k.Open(crypto.ClassLog, u64(e.seq), e.seal(k))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestLostAnswers: every answer to two attempts at one commit is lost, and the first one did take place. The machine knows it for its own.
func TestLostAnswers(t *testing.T) {
	w, a, pos := begun(t)
	id, _ := a.Device()
	n := 0
	s := &evil{MemStore: w.store}
	lost := remote.E("put", "", remote.Unreachable, nil)
	s.put = func(name string, data []byte) (bool, error) {
		if n++; n == 1 {
			w.store.Put(ctx, name, data)
		}
		return true, lost
	}
	s.get = func(string) ([]byte, bool, error) { return nil, true, lost }
	a.store = s
	for i := range 3 {
		if _, err := a.Commit(ctx, pos, []remote.Op{node(i)}); !remote.Is(err, remote.Unreachable) {
			t.Fatal(err)
		}
	}
	a.store = w.store
	m, got := load(t, a, pos)
	if len(m.ops) != 1 || got.Seq != pos.Seq+1 {
		t.Fatal(len(m.ops), got)
	}
	if id2, no := a.Device(); id2 != id || no == 0 {
		t.Fatal("took its own commit for a clone's")
	}
	commits(t, a, got, 5, 1)
}

// TestAcceptThenLoad: after a fork was accepted, a load from the position of the history that was given up begins anew.
func TestAcceptThenLoad(t *testing.T) {
	w, a, pos := begun(t)
	b, bpos, _ := w.second(t)
	load(t, a, pos)
	fork := w.store.Clone()
	pos = commits(t, a, bpos, 1, 1)
	b.store = fork
	commits(t, b, bpos, 2, 2)
	w.store.Restore(fork)
	_, err := a.Load(ctx, pos, &memory{})
	wantErr(t, err, ErrFork)
	if err := a.Accept(); err != nil {
		t.Fatal(err)
	}
	m := &memory{}
	got, err := a.Load(ctx, pos, m)
	if err != nil || m.resets != 1 || got.Seq != bpos.Seq+2 {
		t.Fatal(got, m.resets, err)
	}
	if _, err := a.Commit(ctx, got, []remote.Op{node(7)}); err == nil {
		t.Fatal("a device without a number committed")
	}
	if got, err = a.Register(ctx, got, 3); err != nil {
		t.Fatal(err)
	}
	commits(t, a, got, 7, 1)
}

// TestP4_V65CloneWhileRunning: a copy of the state folder commits while the original runs: the original must not go on making inode
// numbers that the copy makes too.
func TestP4_V65CloneWhileRunning(t *testing.T) {
	w, a, pos := begun(t)
	twin := t.TempDir()
	if err := os.CopyFS(twin, os.DirFS(w.state)); err != nil {
		t.Fatal(err)
	}
	b := w.open(w.store, twin)
	_, bpos := load(t, b, remote.Position{})
	commits(t, b, bpos, 1, 1)
	id, _ := a.Device()
	_, got := load(t, a, pos)
	if id2, no := a.Device(); id2 == id || no != 0 {
		t.Fatal("not noticed")
	}
	if _, err := a.Commit(ctx, got, []remote.Op{node(1)}); !remote.Is(err, remote.Stale) {
		t.Fatal("goes on under a number that is not its own:", err)
	}
	got, err := a.Register(ctx, got, 2)
	if err != nil {
		t.Fatal(err)
	}
	commits(t, a, got, 2, 1)
}

// TestUnsupportedEntry: an entry of a kind this version does not know is no attack; nothing is recorded against the store.
func TestUnsupportedEntry(t *testing.T) {
	w, a, pos := begun(t)
	e := &entry{seq: pos.Seq + 1, prev: pos.Hash, device: remote.DeviceID{9}, dev: link{1, [32]byte{}}, parts: 1,
		keyring: link{w.ring.Generation(), w.ring.Hash()}}
	body := bodyOf(t, w.ring.Keys(), e)
	body[entryHead-1] = 77
	sealed, _ := w.ring.Keys().Seal(crypto.ClassLog, u64(e.seq), body)
	w.store.Poke(logName(e.seq), sealed)
	_, err := a.Load(ctx, pos, &memory{})
	if !errors.Is(err, ErrUnsupported) || !remote.Is(err, remote.NotSupported) || a.Info().Violation != "" {
		t.Fatal(err, a.Info().Violation)
	}
	if _, err := a.Commit(ctx, pos, []remote.Op{node(1)}); !remote.Is(err, remote.Conflict) {
		t.Fatal("committed past it:", err)
	}
}

// TestP4_V29OtherBytes: the store keeps other bytes than it took. With reading back the commit fails; without, the next one refuses to build on it.
func TestP4_V29OtherBytes(t *testing.T) {
	for _, verify := range []bool{true, false} {
		w, a, pos := begun(t)
		a.o.VerifyCommits = verify
		s := &evil{MemStore: w.store}
		s.put = func(name string, data []byte) (bool, error) {
			data = bytes.Clone(data)
			data[90] ^= 1
			return true, w.store.Put(ctx, name, data)
		}
		a.store = s
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
}

// TestP4_V28NotStored: acknowledged and not stored.
func TestP4_V28NotStored(t *testing.T) {
	for _, verify := range []bool{true, false} {
		w, a, pos := begun(t)
		a.o.VerifyCommits = verify
		s := &evil{MemStore: w.store, put: func(string, []byte) (bool, error) { return true, nil }}
		a.store = s
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
		_, err = a.Load(ctx, got, &memory{})
		wantErr(t, err, ErrRollback)
	}
}

// TestP4_V30LoserShown: the entry that lost a race is shown to the machine that saw the winner.
func TestP4_V30LoserShown(t *testing.T) {
	w, a, _ := begun(t)
	b, pos, _ := w.second(t)
	load(t, a, remote.Position{})
	loser := w.store.Clone()
	b.store = loser
	commits(t, b, pos, 1, 1)
	pos = commits(t, a, pos, 2, 1)
	lost, _ := loser.Get(ctx, logName(pos.Seq), maxEntry)
	w.store.Poke(logName(pos.Seq), lost)
	a.Close()
	c := w.open(w.store, w.state)
	_, err := c.Load(ctx, pos, &memory{})
	wantErr(t, err, ErrFork)
}

// TestP4_V25DoubleWinner: create-if-absent succeeds for two machines.
func TestP4_V25DoubleWinner(t *testing.T) {
	w, a, _ := begun(t)
	b, pos, _ := w.second(t)
	load(t, a, remote.Position{})
	commits(t, a, pos, 1, 1)
	b.store = &evil{MemStore: w.store, put: func(string, []byte) (bool, error) { return true, nil }}
	got := commits(t, b, pos, 2, 1)
	_, err := b.Load(ctx, got, &memory{})
	wantErr(t, err, ErrFork)
}

// TestP4_V31ListHides: a listing without the newest entries does no harm.
func TestP4_V31ListHides(t *testing.T) {
	w, a, pos := begun(t)
	pos = commits(t, a, pos, 1, 40)
	s := &evil{MemStore: w.store, list: func(string, func(blob.Info) error) (bool, error) { return true, nil }}
	for _, from := range []remote.Position{{}, pos} {
		_, got := load(t, w.open(s, t.TempDir()), from)
		if got != pos {
			t.Fatal(got, pos)
		}
	}
}

// TestP4_V32ListFloods: names that no honest store has.
func TestP4_V32ListFloods(t *testing.T) {
	w, a, pos := begun(t)
	pos = commits(t, a, pos, 1, 3)
	s := &evil{MemStore: w.store}
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
	_, got := load(t, w.open(s, t.TempDir()), remote.Position{})
	if got != pos {
		t.Fatal(got, pos)
	}
	object, _, err := ReadKeyring(ctx, s, t.TempDir())
	if err != nil || sha256.Sum256(object) != w.ring.Hash() {
		t.Fatal("a listed name that nothing stands behind hid the keyring:", err)
	}
}

// TestP4_V33FutureEntry: copies of entries at later places are no entries.
func TestP4_V33FutureEntry(t *testing.T) {
	w, a, pos := begun(t)
	pos = commits(t, a, pos, 1, 3)
	last, _ := w.store.Get(ctx, logName(pos.Seq), maxEntry)
	w.store.Poke(logName(pos.Seq+5), last)
	a.Close()
	_, got := load(t, w.open(w.store, w.state), pos)
	if got != pos {
		t.Fatal(got, pos)
	}
}

// snapshotOf snapshots what a machine that loads anew is told.
func snapshotOf(t *testing.T, v *Vault, pos remote.Position) remote.Position {
	t.Helper()
	m, got := load(t, v, remote.Position{})
	if got != pos {
		t.Fatal(got, pos)
	}
	pos, err := v.Snapshot(ctx, pos, func(yield func(remote.Op) error) error {
		for _, op := range m.ops {
			if err := yield(op); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return pos
}

// TestP4_V35Unannounced: an authentic snapshot that the log does not announce is ignored, be it a crash's leftover or another history's.
func TestP4_V35Unannounced(t *testing.T) {
	w, a, pos := begun(t)
	pos = commits(t, a, pos, 1, 3)
	before := w.store.Clone()
	snapshotOf(t, a, pos)
	after := w.store.Clone()
	w.store.Restore(before)
	for _, n := range after.Names() {
		if strings.HasPrefix(n, "s/") {
			b, _ := after.Get(ctx, n, 1<<30)
			w.store.Poke(n, b)
		}
	}
	m, got := load(t, w.open(w.store, t.TempDir()), remote.Position{})
	if got != pos || len(m.batches) != int(pos.Seq) {
		t.Fatal("told from a snapshot that nobody announced:", got, len(m.batches))
	}
}

// TestP4_V36Blends: snapshot and log of two histories, in both directions.
func TestP4_V36Blends(t *testing.T) {
	w, a, pos := begun(t)
	base := w.store.Clone()
	mine := commits(t, a, pos, 1, 3)
	mine = snapshotOf(t, a, mine)
	commits(t, a, mine, 10, 3)
	x := w.store.Clone()
	w.store.Restore(base)
	b, bpos, _ := w.second(t)
	bpos = commits(t, b, bpos, 20, 1)
	commits(t, b, bpos, 21, 6)
	y := w.store.Clone()
	for name, c := range map[string]struct{ snap, log *blob.MemStore }{"snapshot of x": {x, y}, "log of x": {y, x}} {
		w.store.Restore(c.log)
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
		m := &memory{}
		if _, err := w.open(w.store, t.TempDir()).Load(ctx, remote.Position{}, m); err == nil {
			for i, p := uint64(1), m.batches; int(i) <= len(p); i++ {
				if p[i-1].Pos.Seq != i {
					t.Fatal(name, ": blended")
				}
			}
		}
		// The announcing entry of x in the log of y.
		w.store.Restore(y)
		for _, n := range x.Names() {
			if o, _ := x.Get(ctx, n, 1<<30); strings.HasPrefix(n, "s/") || n == logName(mine.Seq) {
				w.store.Poke(n, o)
			}
		}
		if _, err := w.open(w.store, t.TempDir()).Load(ctx, remote.Position{}, &memory{}); err == nil {
			t.Fatal("a blend was taken")
		} else {
			wantErr(t, err, ErrFork)
		}
	}
}

// TestP4_V38OverPruned: entries behind the newest snapshot, or the announcing one, are gone.
func TestP4_V38OverPruned(t *testing.T) {
	w, a, pos := begun(t)
	pos = commits(t, a, pos, 1, 3)
	announced := snapshotOf(t, a, pos)
	end := commits(t, a, announced, 5, 4)
	whole := w.store.Clone()
	for seq := announced.Seq; seq < end.Seq; seq++ {
		w.store.Restore(whole)
		w.store.Poke(logName(seq), nil)
		_, err := w.open(w.store, t.TempDir()).Load(ctx, remote.Position{}, &memory{})
		wantErr(t, err, ErrGap)
	}
}

// TestP4_V14V15Foreign: objects of another vault, and of another class, in each place.
func TestP4_V14V15Foreign(t *testing.T) {
	w, a, pos := begun(t)
	pos = commits(t, a, pos, 1, 2)
	pos = snapshotOf(t, a, pos)
	p, _ := piece(100, 1)
	if _, err := a.Store(ctx, []remote.Piece{p}, nil); err != nil {
		t.Fatal(err)
	}
	other, o, opos := begun(t)
	opos = commits(t, o, opos, 1, 2)
	snapshotOf(t, o, opos)
	k := w.ring.Keys()
	opens := func(name string, b []byte) bool {
		switch {
		case strings.HasPrefix(name, "l/"):
			seq, _ := number(name, "l/")
			_, err := openEntry(k, seq, b)
			return err == nil
		case strings.HasPrefix(name, rootPrefix):
			_, _, err := k.Open(crypto.ClassSnapshotRoot, u64(pos.Seq-1), b)
			return err == nil
		case strings.HasPrefix(name, "s/p/"):
			_, _, err := k.Open(crypto.ClassSnapshotPart, partCtx(pos.Seq-1, 0), b)
			return err == nil
		case strings.HasPrefix(name, "o/"):
			_, _, err := k.Open(crypto.ClassContent, nil, b)
			return err == nil
		}
		return false
	}
	for _, place := range w.store.Names() {
		if strings.HasPrefix(place, "k/") {
			continue
		}
		own, _ := w.store.Get(ctx, place, 1<<30)
		if !opens(place, own) {
			t.Fatal("does not open in its own place:", place)
		}
		for _, s := range []*blob.MemStore{w.store, other.store} {
			for _, n := range s.Names() {
				b, _ := s.Get(ctx, n, 1<<30)
				if !bytes.Equal(b, own) && opens(place, b) {
					t.Errorf("%s is taken in the place of %s", n, place)
				}
			}
		}
	}
}

// TestP4_V42Slots: the keyring's slots are not to be meddled with.
func TestP4_V42Slots(t *testing.T) {
	w, _, _ := begun(t)
	object, _, err := ReadKeyring(ctx, w.store, w.state)
	if err != nil {
		t.Fatal(err)
	}
	for i := range object {
		b := bytes.Clone(object)
		b[i] ^= 1
		if _, err := crypto.OpenKeyring(b, w.ring.KRK()); err == nil {
			t.Fatal("taken with byte", i, "flipped")
		}
	}
}

// TestP4_V58StaleReads: the store forgets for some reads what it has; that passes without a mark.
func TestP4_V58StaleReads(t *testing.T) {
	w, a, pos := begun(t)
	pos = commits(t, a, pos, 1, 3)
	a.Close()
	misses := 2
	s := &evil{MemStore: w.store}
	s.get = func(name string) ([]byte, bool, error) {
		if name == logName(pos.Seq) && misses > 0 {
			misses--
			return nil, true, gone(name)
		}
		return nil, false, nil
	}
	b := w.open(s, w.state)
	if _, err := b.Load(ctx, pos, &memory{}); err != nil || b.Info().Violation != "" {
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
	if _, err := b.Load(ctx, remote.Position{}, &memory{}); err != nil || b.Info().Violation != "" {
		t.Fatal(err)
	}
}

// TestP4_V12ContentTaken: a name that was drawn a moment ago is said to be taken. The bytes are not there, so nothing was stored.
func TestP4_V12ContentTaken(t *testing.T) {
	w, a, _ := begun(t)
	a.store = &liar{MemStore: w.store, exist: true}
	p, _ := piece(100, 1)
	if _, err := a.Store(ctx, []remote.Piece{p}, nil); !errors.Is(err, ErrStoreContract) {
		t.Fatal(err)
	}
}
