package vault

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"megafs/remote"
)

// trustFiles returns the names of a state folder's trust files, the newest first, and what is in them.
func trustFiles(t testing.TB, w *world) (names []string, contents [][]byte) {
	t.Helper()
	names, _ = filepath.Glob(filepath.Join(w.state, "trust-*"))
	if len(names) != 2 {
		t.Fatal(names)
	}
	for _, n := range names {
		b, err := os.ReadFile(n)
		must(t, err)
		contents = append(contents, b)
	}
	k := w.ring.Keys()
	if decodeTrust(contents[0], k).Counter < decodeTrust(contents[1], k).Counter {
		names[0], names[1], contents[0], contents[1] = names[1], names[0], contents[1], contents[0]
	}
	return names, contents
}

// TestP4_V67TrustFiles tears, edits, exchanges and loses what a machine remembers. One file that is whole is enough, and none at all is no
// first use until somebody says so.
func TestP4_V67TrustFiles(t *testing.T) {
	both(t, func(t *testing.T, on kind) {
		w, a, pos := begun(t, on)
		commits(t, a, pos, 1, 3)
		must(t, a.Close())
		names, good := trustFiles(t, w)
		older := decodeTrust(good[1], w.ring.Keys())
		o := w.options(w.state)
		o.TrustFirstUse = false
		edit := func(b []byte) []byte { b = bytes.Clone(b); b[30] ^= 1; return b }
		for what, c := range map[string]struct {
			newest, other []byte // nil: lost
			ok            bool
		}{
			"whole":                     {good[0], good[1], true},
			"newest torn":               {good[0][:len(good[0])/2], good[1], true},
			"newest emptied":            {[]byte{}, good[1], true},
			"newest edited":             {edit(good[0]), good[1], true},
			"newest lost":               {nil, good[1], true},
			"newest longer":             {append(bytes.Clone(good[0]), 0), good[1], true},
			"other torn":                {good[0], good[1][:50], true},
			"other lost":                {good[0], nil, true},
			"exchanged":                 {good[1], good[0], true},
			"the newest twice":          {good[0], good[0], true},
			"both torn":                 {good[0][:50], good[1][:50], false},
			"both edited":               {edit(good[0]), edit(good[1]), false},
			"both emptied":              {[]byte{}, []byte{}, false},
			"both lost":                 {nil, nil, false},
			"newest edited, other lost": {edit(good[0]), nil, false},
		} {
			for i, b := range [][]byte{c.newest, c.other} {
				os.Remove(names[i])
				if b != nil {
					must(t, os.WriteFile(names[i], b, 0o600))
				}
			}
			v, err := Open(ctx, w.store, o)
			if c.ok {
				must(t, err)
				if v.trust.Head.Seq < older.Head.Seq || v.trust.Device != older.Device {
					t.Errorf("%s: remembers entry %d", what, v.trust.Head.Seq)
				}
				w.give(v, w.store)
				w.load(v, remote.Position{})
				must(t, v.Close())
			} else if !errors.Is(err, ErrNotTrusted) || !remote.Is(err, remote.Permission) {
				t.Errorf("%s: %v", what, err)
			}
		}
		for _, n := range names {
			os.Remove(n)
		}
		o.TrustFirstUse = true
		v, err := Open(ctx, w.store, o)
		must(t, err)
		w.give(v, w.store)
		w.load(v, remote.Position{})
	})
}

// TestP4_V67EveryByte changes each byte of the newest trust file, and cuts it everywhere: it is taken for none, and the other one counts.
func TestP4_V67EveryByte(t *testing.T) {
	both(t, func(t *testing.T, on kind) {
		w, a, pos := begun(t, on)
		commits(t, a, pos, 1, 3)
		must(t, a.Close())
		names, good := trustFiles(t, w)
		older := decodeTrust(good[1], w.ring.Keys())
		spoiled(good[0], 1, true, func(what string, bad []byte) {
			if decodeTrust(bad, w.ring.Keys()) != nil {
				t.Errorf("%s: taken", what)
			}
		})
		spoiled(good[0], 37, false, func(what string, bad []byte) {
			must(t, os.WriteFile(names[0], bad, 0o600))
			got, err := readTrust(w.state, w.ring.Keys())
			if err != nil || got.Counter != older.Counter || got.Head != older.Head {
				t.Errorf("%s: %v", what, err)
			}
		})
	})
}

// TestP4_V67LostAndRolledBack: with the newest file gone, the other one still catches a store that went back further than that.
func TestP4_V67LostAndRolledBack(t *testing.T) {
	both(t, func(t *testing.T, on kind) {
		w, a, pos := begun(t, on)
		old := w.store.Copy()
		commits(t, a, pos, 1, 5)
		must(t, a.Close())
		names, _ := trustFiles(t, w)
		must(t, os.Remove(names[0]))
		w.store.Become(old)
		_, err := w.open(w.store, w.state).Load(ctx, remote.Position{}, w.sink())
		wantErr(t, err, ErrRollback)
	})
}

// TestTrustDiskFull: while the disk is full nothing is sent, and however often that is tried, what was remembered last stays whole. So does the copy of the keyring.
func TestTrustDiskFull(t *testing.T) {
	if _, err := os.Stat("/dev/full"); err != nil {
		t.Skip("there is no /dev/full")
	}
	both(t, func(t *testing.T, on kind) {
		w, a, pos := begun(t, on)
		pos = commits(t, a, pos, 1, 3)
		names, good := trustFiles(t, w)
		must(t, os.Remove(names[1]))
		must(t, os.Symlink("/dev/full", names[1]))
		for range 3 {
			if _, err := a.Commit(ctx, pos, []remote.Op{node(9)}); !errors.Is(err, syscall.ENOSPC) {
				t.Fatal(err)
			}
			if b, err := os.ReadFile(names[0]); err != nil || !bytes.Equal(b, good[0]) {
				t.Fatal("what is whole was written over:", err)
			}
		}
		must(t, os.Remove(names[1]))
		o1, _, err := ReadKeyring(ctx, w.store, "")
		must(t, err)
		o2, _ := repassed(t, w.ring)
		fresh := keyringCopy(w.state) + ".new"
		must(t, os.Mkdir(fresh, 0o700))
		must(t, os.WriteFile(filepath.Join(fresh, "x"), nil, 0o600)) // nothing can be written there
		if KeepKeyring(w.state, o2) == nil {
			t.Error("kept")
		}
		if kept, err := KeptKeyring(w.state); err != nil || !bytes.Equal(kept, o1) {
			t.Error("the keyring's copy is gone:", err)
		}
		must(t, os.RemoveAll(fresh))
		commits(t, a, pos, 9, 2)
		must(t, a.Close())
		_, got := w.load(w.open(w.store, w.state), pos)
		if got.Seq != pos.Seq+2 {
			t.Error(got)
		}
	})
}
