package vault

import (
	"bytes"
	"context"
	"log/slog"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"go.uber.org/goleak"

	"megafs/crypto"
	"megafs/remote"
	"megafs/remote/blob"
	"megafs/remote/blob/blobtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var ctx = context.Background()

const passphrase = "lantern gravel ointment velvet crumb"

type (
	place    = blobtest.Place
	dirPlace = blobtest.DirPlace
)

// kind makes stores.
type kind func(t testing.TB) place

func mem(testing.TB) place   { return blobtest.NewMemPlace() }
func dir(t testing.TB) place { return blobtest.NewDirPlace(t) }

// both runs a test over each kind of store, with a clock of its own: waiting for what a store may be slow to show takes no time.
func both(t *testing.T, f func(t *testing.T, on kind)) {
	t.Parallel()
	for name, on := range map[string]kind{"mem": mem, "dir": dir} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) { f(t, on) })
		})
	}
}

// named runs one case of a test, and says which it was that failed: there are no subtests under a clock of one's own.
func named(t *testing.T, name string, f func()) {
	t.Helper()
	failed := t.Failed()
	defer func() {
		if t.Failed() && !failed {
			t.Log("that was", name)
		}
	}()
	f()
}

// quickDir returns a folder in memory where there is one: for thousands of state folders whose fsyncs prove nothing.
func quickDir(t testing.TB) string {
	t.Helper()
	d, err := os.MkdirTemp("/dev/shm", "megafs-vault-test")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { os.RemoveAll(d) })
	return d
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func bytesOf(t testing.TB, s blob.Store, name string) []byte {
	t.Helper()
	b, err := s.Get(ctx, name, 1<<30)
	must(t, err)
	return b
}

// world is a store with a vault, the state folder of the machine that made it, and what honest machines did there.
type world struct {
	t     testing.TB
	store place
	ring  *crypto.Keyring
	state string

	mu    sync.Mutex
	made  map[[32]byte]*entry // by their hashes, the entries that a holder of the keys put into the log
	snaps map[[32]byte][]byte // by their place's hash, the Ops of snapshots
	logs  bytes.Buffer        // of all machines
}

func newWorld(t testing.TB, on kind) *world {
	t.Helper()
	crypto.CheapKDFForTests(t)
	w := &world{t: t, store: on(t), state: t.TempDir(), made: map[[32]byte]*entry{}, snaps: map[[32]byte][]byte{}}
	var err error
	w.ring, _, err = Create(ctx, w.store, w.state, crypto.NewSecret([]byte(passphrase)), "", crypto.DefaultKDF)
	must(t, err)
	w.entered(1, bytesOf(t, w.store, logName(1)))
	t.Cleanup(w.noSecrets)
	return w
}

// Write takes the machines' logs.
func (w *world) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.logs.Write(b)
}

// noSecrets looks through the logs for what is nobody's business.
func (w *world) noSecrets() {
	w.mu.Lock()
	defer w.mu.Unlock()
	krk := w.ring.KRK()
	defer krk.Wipe()
	for _, s := range []string{passphrase, string(krk.Bytes()), canary} {
		if strings.Contains(w.logs.String(), s) {
			w.t.Errorf("a secret of %d bytes in the log", len(s))
		}
	}
}

// entered notes an entry that a holder of the keys put into the log.
func (w *world) entered(seq uint64, sealed []byte) {
	if e, err := openEntry(w.ring.Keys(), seq, sealed); err == nil {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.made[e.hash] = e
	}
}

func (w *world) options(state string) Options {
	return Options{StateDir: state, Keyring: w.ring, TrustFirstUse: true, Log: slog.New(slog.NewTextHandler(w, nil))}
}

func (w *world) open(s blob.Store, state string) *Vault {
	w.t.Helper()
	v, err := Open(ctx, s, w.options(state))
	must(w.t, err)
	w.give(v, s)
	return v
}

// give makes s a machine's store from now on, behind a guard.
func (w *world) give(v *Vault, s blob.Store) { v.store = &guard{Store: s, w: w, v: v} }

// begun returns a world, its first machine loaded, and the head.
func begun(t testing.TB, on kind) (*world, *Vault, remote.Position) {
	t.Helper()
	w := newWorld(t, on)
	v := w.open(w.store, w.state)
	_, pos := w.load(v, remote.Position{})
	return w, v, pos
}

// second opens the vault on another machine, with a number of its own.
func (w *world) second() (*Vault, remote.Position, string) {
	w.t.Helper()
	state := w.t.TempDir()
	v := w.open(w.store, state)
	_, pos := w.load(v, remote.Position{})
	pos, err := v.Register(ctx, pos, 2)
	must(w.t, err)
	return v, pos, state
}

func (w *world) load(v *Vault, from remote.Position) (*memory, remote.Position) {
	w.t.Helper()
	m := w.sink()
	pos, err := v.Load(ctx, from, m)
	must(w.t, err)
	return m, pos
}

// snapshot snapshots what a machine that loads anew is told.
func (w *world) snapshot(v *Vault, pos remote.Position) remote.Position {
	w.t.Helper()
	m, got := w.load(v, remote.Position{})
	if got != pos {
		w.t.Fatal(got, pos)
	}
	w.snaps[pos.Hash] = encoded(m.ops)
	pos, err := v.Snapshot(ctx, pos, func(yield func(remote.Op) error) error {
		for _, op := range m.ops {
			if err := yield(op); err != nil {
				return err
			}
		}
		return nil
	})
	must(w.t, err)
	return pos
}

// commits makes n commits of one node each, the first of them node number from.
func commits(t testing.TB, v *Vault, pos remote.Position, from, n int) remote.Position {
	t.Helper()
	for i := range n {
		var err error
		pos, err = v.Commit(ctx, pos, []remote.Op{node(from + i)})
		must(t, err)
	}
	return pos
}

func node(i int) remote.Op {
	return remote.Op{Kind: remote.OpNode, Ino: remote.Ino(1<<remote.InoBits + i), Attr: remote.Attr{Type: remote.File, Mode: 0o644}}
}

// canary is part of all content and of some names.
const canary = "canary-in-the-coal-mine"

// piece returns a piece of content and its bytes.
func piece(n, seed int) (remote.Piece, []byte) {
	p := make([]byte, n)
	for k := range p {
		p[k] = byte(k*seed + n)
	}
	copy(p, canary)
	return remote.Piece{Len: n, Read: func(_ context.Context, off int, dst []byte) error { copy(dst, p[off:]); return nil }}, p
}
