package vault

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"megafs/crypto"
	"megafs/remote"
	"megafs/remote/blob"
)

// repassed makes the next generation of a keyring.
func repassed(t testing.TB, r *crypto.Keyring) ([]byte, *crypto.Keyring) {
	t.Helper()
	object, next, err := r.Repass(crypto.NewSecret([]byte("another gravel ointment velvet crumb")), crypto.DefaultKDF)
	if err != nil {
		t.Fatal(err)
	}
	return object, next
}

// TestP4_V41V43V44Keyring replaces vault and keyring below a machine that knows them.
func TestP4_V41V43V44Keyring(t *testing.T) {
	both(t, func(t *testing.T, on kind) {
		w := newWorld(t, on)
		other := newWorld(t, on)
		if _, err := Open(ctx, other.store, Options{StateDir: w.state, Keyring: other.ring}); !errors.Is(err, ErrVaultReplaced) {
			t.Error("V43:", err)
		}
		if _, _, err := ReadKeyring(ctx, on(t), w.state); !errors.Is(err, ErrVaultMissing) {
			t.Error("V44:", err)
		}
		a := w.open(w.store, w.state)
		_, pos := w.load(a, remote.Position{})
		object, next, err := w.ring.Repass(crypto.NewSecret([]byte("another gravel ointment velvet crumb")), crypto.DefaultKDF)
		if err != nil {
			t.Fatal(err)
		}
		if pos, err = a.AddKeyring(ctx, pos, object, next); err != nil {
			t.Fatal(err)
		}
		if _, err := a.Commit(ctx, pos, []remote.Op{node(1)}); err != nil {
			t.Fatal(err)
		}
		a.Close()
		if _, err := Open(ctx, w.store, Options{StateDir: w.state, Keyring: w.ring}); !errors.Is(err, ErrKeyringRollback) {
			t.Error("V41, known:", err)
		}
		// A machine that knows nothing finds out by the log, when the store hides the new one.
		w.store.Poke(keyringName(2), nil)
		b := w.open(w.store, t.TempDir())
		_, err = b.Load(ctx, remote.Position{}, w.sink())
		wantErr(t, err, ErrKeyringRollback)
		w.store.Poke(keyringName(2), object)
		w.ring = next
		w.load(w.open(w.store, w.state), remote.Position{})
	})
}

// TestP4_V41KeyringRenewed: another machine changes the passphrase. That is no attack: the keyring is fetched, and work goes on. A store that
// hides the new one is caught.
func TestP4_V41KeyringRenewed(t *testing.T) {
	both(t, func(t *testing.T, on kind) {
		w, a, _ := begun(t, on)
		b, pos, _ := w.second()
		w.load(a, remote.Position{})
		object, next, err := w.ring.Repass(crypto.NewSecret([]byte("another gravel ointment velvet crumb")), crypto.DefaultKDF)
		if err != nil {
			t.Fatal(err)
		}
		at, err := b.AddKeyring(ctx, pos, object, next)
		if err != nil {
			t.Fatal(err)
		}
		m := w.sink()
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
	})
}

// TestP4_V41Unannounced: keyrings that the log does not name, as a crash leaves them, are good only if they descend from the one it names.
func TestP4_V41Unannounced(t *testing.T) {
	both(t, func(t *testing.T, on kind) {
		for name, c := range map[string]struct {
			skip bool
			want error
		}{"in a row": {false, nil}, "one missing": {true, ErrKeyringTampered}} {
			named(t, name, func() {
				w, _, pos := begun(t, on)
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
					_, err := w.open(w.store, state).Load(ctx, from, w.sink())
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
		w, _, _ := begun(t, on)
		_, other := repassed(t, w.ring)
		_, k3 := repassed(t, other)
		o2, _ := repassed(t, w.ring)
		w.store.Poke(keyringName(2), o2)
		w.ring = k3
		_, err := w.open(w.store, t.TempDir()).Load(ctx, remote.Position{}, w.sink())
		wantErr(t, err, ErrKeyringTampered)
	})
}

// TestP4_V50EpochDowngrade: an entry under withdrawn keys, made by one who knows only those.
func TestP4_V50EpochDowngrade(t *testing.T) {
	both(t, func(t *testing.T, on kind) {
		w, a, pos := begun(t, on)
		_, _, next, err := w.ring.Rekey(crypto.NewSecret([]byte("another gravel ointment velvet crumb")), crypto.Secret{}, crypto.DefaultKDF, pos.Seq+1)
		if err != nil {
			t.Fatal(err)
		}
		commits(t, a, pos, 1, 1) // a has not heard of it
		w.ring = next
		_, err = w.open(w.store, t.TempDir()).Load(ctx, remote.Position{}, w.sink())
		wantErr(t, err, ErrEpochDowngrade)
	})
}

// TestP4_V50EpochForged: an entry sealed with withdrawn keys that says inside to be of the new epoch.
func TestP4_V50EpochForged(t *testing.T) {
	both(t, func(t *testing.T, on kind) {
		w, a, pos := begun(t, on)
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
	})
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

// TestRekeyedElsewhere: keys were rotated by a machine with a newer megafs. This one can't go on, but nobody attacked it.
func TestRekeyedElsewhere(t *testing.T) {
	both(t, func(t *testing.T, on kind) {
		w, a, pos := begun(t, on)
		object, _, next, err := w.ring.Rekey(crypto.NewSecret([]byte("another gravel ointment velvet crumb")), crypto.Secret{}, crypto.DefaultKDF, pos.Seq+1)
		if err != nil {
			t.Fatal(err)
		}
		w.store.Poke(keyringName(2), object)
		e := &entry{seq: pos.Seq + 1, prev: pos.Hash, device: remote.DeviceID{9}, dev: link{Seq: 1}, parts: 1, typ: entryKeyring,
			keyring: link{2, next.Hash()}, about: link{2, next.Hash()}}
		w.store.Poke(logName(e.seq), e.seal(next.Keys()))
		_, err = a.Load(ctx, pos, w.sink())
		if !errors.Is(err, ErrUnsupported) || a.Info().Violation != "" {
			t.Fatal(err, a.Info().Violation)
		}
		// One that says so without a keyring behind it is a forgery.
		w.store.Poke(keyringName(2), nil)
		_, err = a.Load(ctx, pos, w.sink())
		wantErr(t, err, ErrTampered)
		// With the new keys the old entries are read, and entries under the old ones refused from there on (V50).
		w.ring = next
		w.entered(e.seq, bytesOf(t, w.store, logName(e.seq)))
		b := w.open(w.store, t.TempDir())
		_, got := w.load(b, remote.Position{})
		if got.Seq != e.seq {
			t.Fatal(got)
		}
	})
}

// TestAddKeyring: all older generations go, and nothing is touched when nothing may be written.
func TestAddKeyring(t *testing.T) {
	both(t, func(t *testing.T, on kind) {
		w, a, pos := begun(t, on)
		o2, k2 := repassed(t, w.ring)
		w.store.Poke(keyringName(2), o2) // a crash's leftover
		a.Close()
		w.ring = k2
		a = w.open(w.store, w.state)
		_, pos = w.load(a, pos)
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
		object, offline, err := ReadKeyring(ctx, on(t), w.state)
		if !errors.Is(err, ErrVaultMissing) || offline || object != nil {
			t.Fatal("V44:", err)
		}
		away := &evil{Store: w.store, list: func(string, func(blob.Info) error) (bool, error) {
			return true, remote.E("list", "", remote.Unreachable, nil)
		}}
		object, offline, err = ReadKeyring(ctx, away, w.state)
		if err != nil || !offline || string(object) != string(o3) {
			t.Fatal(offline, err)
		}
	})
}

// TestReadKeyringNamesNothing: copies of an old keyring under later names do not hide the newest.
func TestReadKeyringNamesNothing(t *testing.T) {
	both(t, func(t *testing.T, on kind) {
		w, _, _ := begun(t, on)
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
	})
}

// TestCreateRefuses: nothing is made over anything.
func TestCreateRefuses(t *testing.T) {
	both(t, func(t *testing.T, on kind) {
		w, _, _ := begun(t, on)
		make := func(s blob.Store, state string) error {
			_, _, err := Create(ctx, s, state, crypto.NewSecret([]byte(passphrase)), "", crypto.DefaultKDF)
			return err
		}
		if err := make(w.store, t.TempDir()); !remote.Is(err, remote.Exist) {
			t.Error("in a store that holds a vault:", err)
		}
		empty := on(t)
		if err := make(empty, w.state); !remote.Is(err, remote.Exist) || len(empty.Names()) != 0 {
			t.Error("V44: with the memory of another vault:", err)
		}
		if err := make(&overwriting{on(t)}, t.TempDir()); !errors.Is(err, blob.ErrStoreContract) {
			t.Error("V27: in a store that overwrites:", err)
		}
	})
}

// TestP4_V16EpochChanged changes the epoch in an entry's header before a machine that has not seen the newest keyring. That keyring has the
// same keys, so nothing was rotated: it is tampering, and not a newer megafs.
func TestP4_V16EpochChanged(t *testing.T) {
	both(t, func(t *testing.T, on kind) {
		w, a, start := begun(t, on)
		b, pos, _ := w.second()
		object, next := repassed(t, w.ring)
		pos, err := b.AddKeyring(ctx, pos, object, next)
		must(t, err)
		flip(w.store, logName(pos.Seq), 11)
		_, err = a.Load(ctx, start, w.sink())
		wantErr(t, err, ErrTampered)
		if a.Info().Violation == "" {
			t.Fatal("not remembered")
		}
	})
}

// TestAddKeyringBusy: others commit while a passphrase is changed, right before the log is to name the keyring, and answers are lost. The keyring that was stored
// is the one that who unlocks finds, so it is also the one that the log names.
func TestAddKeyringBusy(t *testing.T) {
	both(t, func(t *testing.T, on kind) {
		w, a, _ := begun(t, on)
		b, at, _ := w.second()
		busy, lost := 3, 1
		_, from := w.load(a, remote.Position{})
		b.store.(*guard).Store = &evil{Store: w.store, put: func(name string, data []byte) (bool, error) {
			switch {
			case strings.HasPrefix(name, keyringPrefix) && lost > 0:
				lost--
				must(t, w.store.Put(ctx, name, data))
				return true, remote.E("put", name, remote.Unreachable, nil)
			case strings.HasPrefix(name, "l/") && busy > 0:
				busy--
				from = commits(t, a, from, 10+busy, 1)
			}
			return false, nil
		}}
		object, next := repassed(t, w.ring)
		at, err := b.AddKeyring(ctx, at, object, next)
		if err != nil || busy > 0 || lost > 0 {
			t.Fatal(err, busy, lost)
		}
		newest, _, err := ReadKeyring(ctx, w.store, "")
		if err != nil || !bytes.Equal(newest, object) {
			t.Error("another keyring is the newest:", err)
		}
		if got, err := a.Load(ctx, from, w.sink()); err != nil || got != at || a.Info().Keyring != 2 {
			t.Error(got, at, err, a.Info().Keyring)
		}
	})
}
