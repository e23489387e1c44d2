package vault

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"megafs/crypto"
	"megafs/remote"
	"megafs/remote/blob"
)

// What a hostile store can do to the one object that is read before anything is known: the keyring.

// takes unlocks and opens the vault that a store shows with the passphrase, as mounting does, and returns the first error.
func takes(t testing.TB, s blob.Store, pass, state string, trustFirstUse bool) error {
	t.Helper()
	object, _, err := ReadKeyring(ctx, s, state)
	if err != nil {
		return err
	}
	krk, err := crypto.Unlock(object, crypto.Credential{Passphrase: crypto.NewSecret([]byte(pass))})
	if err != nil {
		return err
	}
	defer krk.Wipe()
	ring, err := crypto.OpenKeyring(object, krk)
	if err != nil {
		return err
	}
	if err := KeepKeyring(state, object); err != nil {
		return err
	}
	v, err := Open(ctx, s, Options{StateDir: state, Keyring: ring, TrustFirstUse: trustFirstUse})
	if err != nil {
		return err
	}
	defer v.Close()
	_, err = v.Load(ctx, remote.Position{}, &memory{})
	return err
}

// slotsOf cuts a keyring object into its clear head, its slots, each with its length, and its sealed body.
func slotsOf(object []byte) (head []byte, slots [][]byte, body []byte) {
	head, body = object[:50], object[50:]
	for range binary.BigEndian.Uint16(head[48:]) {
		n := 2 + int(binary.BigEndian.Uint16(body))
		slots, body = append(slots, body[:n:n]), body[n:]
	}
	return head, slots, body
}

func withSlots(head, body []byte, slots ...[]byte) []byte {
	b := bytes.Clone(head)
	binary.BigEndian.PutUint16(b[48:], uint16(len(slots)))
	return append(append(b, bytes.Join(slots, nil)...), body...)
}

// TestP4_V42SlotSurgery adds, removes, exchanges and edits slots of the keyring in the store.
func TestP4_V42SlotSurgery(t *testing.T) {
	both(t, func(t *testing.T, on kind) {
		w, other := newWorld(t, on), newWorld(t, on)
		good := bytesOf(t, w.store, keyringName(1))
		head, slots, body := slotsOf(good)
		_, theirs, _ := slotsOf(bytesOf(t, other.store, keyringName(1)))
		next, _ := repassed(t, w.ring)
		_, later, _ := slotsOf(next)
		if !bytes.Equal(withSlots(head, body, slots...), good) || len(slots) != 2 {
			t.Fatal("cut wrongly")
		}
		edited := func(at int) []byte { e := bytes.Clone(slots[0]); e[at] ^= 1; return e }
		must(t, takes(t, w.store, passphrase, t.TempDir(), true))
		for name, bad := range map[string][]byte{
			"removed":            withSlots(head, body, slots[0]),
			"the other removed":  withSlots(head, body, slots[1]),
			"all removed":        withSlots(head, body),
			"added":              withSlots(head, body, slots[0], slots[1], later[0]),
			"doubled":            withSlots(head, body, slots[0], slots[1], slots[1]),
			"exchanged":          withSlots(head, body, slots[1], slots[0]),
			"of another vault":   withSlots(head, body, theirs[0], theirs[1]),
			"one of another":     withSlots(head, body, slots[0], theirs[1]),
			"of a later keyring": withSlots(head, body, later[0], later[1]),
			"id edited":          withSlots(head, body, edited(4), slots[1]),
			"salt edited":        withSlots(head, body, edited(20), slots[1]),
			"commitment edited":  withSlots(head, body, edited(len(slots[0])-80), slots[1]),
			"key edited":         withSlots(head, body, edited(len(slots[0])-1), slots[1]),
			"fewer counted":      append(append(bytes.Clone(head[:48]), 0, 1), good[50:]...),
			"more counted":       append(append(bytes.Clone(head[:48]), 0, 3), good[50:]...),
		} {
			w.store.Poke(keyringName(1), bad)
			for _, state := range []string{t.TempDir(), w.state} {
				err := takes(t, w.store, passphrase, state, true)
				if !errors.Is(err, crypto.ErrKeyringTampered) && !errors.Is(err, crypto.ErrUnlock) && !errors.Is(err, crypto.ErrUnsupported) {
					t.Errorf("slots %s: %v", name, err)
				}
			}
			if f := audit(t, w.open(w.store, t.TempDir())); !found(f, keyringName(1)) {
				t.Errorf("slots %s: no damage: %v", name, f)
			}
		}
		w.store.Poke(keyringName(1), good)
		must(t, takes(t, w.store, passphrase, w.state, false))
	})
}

// TestP4_V43VaultReplaced puts another vault, that the same passphrase opens, in the place of one that a machine knows. However it is
// asked to trust, it does not take it for that one, and forgets nothing of it.
func TestP4_V43VaultReplaced(t *testing.T) {
	both(t, func(t *testing.T, on kind) {
		for _, lose := range []string{"nothing", "trust-0", "trust-*"} {
			w, other := newWorld(t, on), newWorld(t, on)
			files, _ := filepath.Glob(filepath.Join(w.state, lose))
			for _, f := range files {
				must(t, os.Remove(f))
			}
			mine := w.store.Copy()
			w.store.Become(other.store)
			for _, first := range []bool{false, true} {
				wantErr(t, takes(t, w.store, passphrase, w.state, first), ErrVaultReplaced)
				if _, err := Open(ctx, w.store, Options{StateDir: w.state, Keyring: other.ring, TrustFirstUse: first}); true {
					wantErr(t, err, ErrVaultReplaced)
				}
			}
			w.store.Become(mine)
			must(t, takes(t, w.store, passphrase, w.state, lose == "trust-*"))
		}
	})
}

// TestP4_V44EmptyStore shows an empty store, before and after a machine knew the vault. It is never an empty vault, and never an offer to make one.
func TestP4_V44EmptyStore(t *testing.T) {
	both(t, func(t *testing.T, on kind) {
		w, a, pos := begun(t, on)
		pos = commits(t, a, pos, 1, 2)
		full := w.store.Copy()
		for _, n := range w.store.Names() {
			w.store.Poke(n, nil)
		}
		for _, state := range []string{w.state, t.TempDir()} {
			if err := takes(t, w.store, passphrase, state, true); !errors.Is(err, ErrVaultMissing) || !remote.Is(err, remote.NotExist) {
				t.Error(err)
			}
		}
		if _, _, err := Create(ctx, w.store, w.state, crypto.NewSecret([]byte(passphrase)), "", crypto.DefaultKDF); !remote.Is(err, remote.Exist) || len(w.store.Names()) > 0 {
			t.Error("made over what is remembered:", err)
		}
		// One whose keyring is left, or is in memory already.
		w.store.Poke(keyringName(1), bytesOf(t, full, keyringName(1)))
		for _, from := range []remote.Position{{}, pos} {
			m := w.sink()
			_, err := w.open(w.store, w.state).Load(ctx, from, m)
			if m.resets+len(m.batches) > 0 || err == nil {
				t.Fatal("told of an empty vault:", err)
			}
			if from.Seq == 0 {
				wantErr(t, err, ErrRollback)
			}
		}
		m := w.sink()
		if _, err := w.open(w.store, t.TempDir()).Load(ctx, remote.Position{}, m); !errors.Is(err, ErrVaultMissing) || len(m.batches) > 0 {
			t.Error("a fresh machine:", err)
		}
	})
}

// TestP4_V45V46Costs writes other costs of key derivation into the slots. None of the absurd, and none of the cheap, is ever tried; and what is in the
// store is no model for a new slot.
func TestP4_V45V46Costs(t *testing.T) {
	for name, on := range map[string]kind{"mem": mem, "dir": dir} {
		t.Run(name, func(t *testing.T) { // not beside others: what is measured is all of the process
			w := newWorld(t, on)
			good := bytesOf(t, w.store, keyringName(1))
			head, slots, body := slotsOf(good)
			const cost = 2 + 1 + 1 + 16 + 32
			for _, k := range []crypto.KDF{
				{T: 3, MKiB: 1<<32 - 1, P: 4}, {T: 1 << 31, MKiB: 256 << 10, P: 4}, {T: 3, MKiB: 256 << 10, P: 255}, {T: 1<<32 - 1, MKiB: 1<<32 - 1, P: 255},
				{T: 3, MKiB: 8, P: 4}, {T: 1, MKiB: 256 << 10, P: 4}, {T: 0, MKiB: 0, P: 0}, {T: 3, MKiB: 256 << 10, P: 0},
			} {
				s := bytes.Clone(slots[0])
				binary.BigEndian.PutUint32(s[cost:], k.T)
				binary.BigEndian.PutUint32(s[cost+4:], k.MKiB)
				s[cost+8] = k.P
				w.store.Poke(keyringName(1), withSlots(head, body, s, slots[1]))
				var before, after runtime.MemStats
				runtime.ReadMemStats(&before)
				err := takes(t, w.store, passphrase, t.TempDir(), true)
				runtime.ReadMemStats(&after)
				if !errors.Is(err, crypto.ErrKDFLimits) || after.TotalAlloc-before.TotalAlloc > 4<<20 {
					t.Errorf("%+v: %v, %d bytes allocated", k, err, after.TotalAlloc-before.TotalAlloc)
				}
			}
			// A cost that is allowed and not the one that was chosen: it opens nothing, and the next keyring has the cost that is asked for.
			s := bytes.Clone(slots[0])
			binary.BigEndian.PutUint32(s[cost+4:], 64<<10)
			w.store.Poke(keyringName(1), withSlots(head, body, s, slots[1]))
			if err := takes(t, w.store, passphrase, t.TempDir(), true); !errors.Is(err, crypto.ErrUnlock) {
				t.Error(err)
			}
			object, _ := repassed(t, w.ring)
			h, err := crypto.ReadKeyringHeader(object)
			must(t, err)
			if k := h.Slots[0].KDF; k != crypto.DefaultKDF {
				t.Errorf("a new slot with %+v", k)
			}
		})
	}
}

// TestP4_V47SlotFlood: more slots than there can be, and a keyring of a gigabyte.
func TestP4_V47SlotFlood(t *testing.T) {
	for name, on := range map[string]kind{"mem": mem, "dir": dir} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, on)
			head, slots, body := slotsOf(bytesOf(t, w.store, keyringName(1)))
			var many [][]byte
			for range 200 {
				many = append(many, slots[0])
			}
			claimed := withSlots(head, body, slots...)
			binary.BigEndian.PutUint16(claimed[48:], 1<<16-1)
			for what, bad := range map[string][]byte{
				"200 slots":       withSlots(head, body, many...),
				"9 slots":         withSlots(head, body, many[:9]...),
				"65535 claimed":   claimed,
				"a byte too long": append(withSlots(head, body, slots...), make([]byte, keyringLimit)...),
				"a gigabyte":      nil,
			} {
				var s blob.Store = w.store
				if bad != nil {
					w.store.Poke(keyringName(1), bad)
				} else {
					s = enormous(t, w.store, keyringName(1), 1<<30)
				}
				var before, after runtime.MemStats
				runtime.ReadMemStats(&before)
				err := takes(t, s, passphrase, t.TempDir(), true)
				runtime.ReadMemStats(&after)
				if !errors.Is(err, crypto.ErrLimit) && !errors.Is(err, crypto.ErrKeyringTampered) && !(errors.Is(err, ErrLimit) && remote.Is(err, remote.Integrity)) {
					t.Errorf("%s: %v", what, err)
				}
				if n := after.TotalAlloc - before.TotalAlloc; n > 1<<20 {
					t.Errorf("%s: %d bytes allocated", what, n)
				}
			}
		})
	}
}

// enormous makes an object as long as no memory is: in a folder a file of which nothing is written, in memory a store that says so.
func enormous(t testing.TB, p place, name string, size int64) blob.Store {
	t.Helper()
	if d, ok := p.(*dirPlace); ok {
		must(t, os.MkdirAll(filepath.Dir(d.File(name)), 0o700))
		f, err := os.OpenFile(d.File(name), os.O_CREATE|os.O_WRONLY, 0o600)
		must(t, err)
		must(t, f.Truncate(size))
		must(t, f.Close())
		return p
	}
	return &bigObject{Store: p, name: name, size: size}
}

// bigObject is a store of which one object has any length: it says so before a byte of it is sent.
type bigObject struct {
	blob.Store
	name string
	size int64
}

func (b *bigObject) Get(ctx context.Context, name string, limit int64) ([]byte, error) {
	if name == b.name && b.size > limit {
		return nil, remote.E("get", name, remote.TooLarge, nil)
	}
	return b.Store.Get(ctx, name, limit)
}
