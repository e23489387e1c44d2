package vault

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"megafs/remote"
)

// TestP4_V26EternalRefusal: each commit is answered with "taken", and nothing is there. The tries end, nothing is held for committed, and the
// same commit takes place as soon as the store takes it.
func TestP4_V26EternalRefusal(t *testing.T) {
	both(t, func(t *testing.T, on kind) {
		w, a, pos := begun(t, on)
		s := &liar{Store: w.store, exist: true}
		w.give(a, s)
		for range 3 {
			before := s.puts
			if _, err := a.Commit(ctx, pos, []remote.Op{node(1)}); !errors.Is(err, ErrStoreContract) || !remote.Is(err, remote.Other) {
				t.Fatal(err)
			}
			if n := s.puts - before; n < 1 || n > 10 {
				t.Fatal(n, "tries")
			}
		}
		if a.Head() != pos || a.Info().Violation != "" {
			t.Fatal(a.Head(), a.Info().Violation)
		}
		if m, got := w.load(a, pos); got != pos || len(m.ops) != 0 {
			t.Fatal("told of what did not take place:", got)
		}
		s.exist = false
		if end := commits(t, a, pos, 1, 1); end.Seq != pos.Seq+1 {
			t.Fatal(end)
		}
	})
}

// TestP4_V26RefusedByAnother is the same with an entry there that is another's: no contract is broken, and no try is repeated.
func TestP4_V26RefusedByAnother(t *testing.T) {
	both(t, func(t *testing.T, on kind) {
		w, a, _ := begun(t, on)
		b, pos, _ := w.second()
		w.load(a, remote.Position{})
		end := commits(t, b, pos, 1, 1)
		s := &liar{Store: w.store}
		w.give(a, s)
		if _, err := a.Commit(ctx, pos, []remote.Op{node(2)}); !remote.Is(err, remote.Conflict) || s.puts != 1 {
			t.Fatal(s.puts, err)
		}
		if _, got := w.load(a, pos); got != end {
			t.Fatal(got)
		}
	})
}

// TestP4_V28EachKindNotStored: objects of the other kinds, acknowledged and not stored.
func TestP4_V28EachKindNotStored(t *testing.T) {
	both(t, func(t *testing.T, on kind) {
		w, a, pos := begun(t, on)
		drop := ""
		w.give(a, &evil{Store: w.store, put: func(name string, _ []byte) (bool, error) {
			return drop != "" && strings.HasPrefix(name, drop), nil
		}})
		drop = "o/"
		c := w.storeContent(a, 2, 3)
		wantErr(t, c.read(t, a, 0, 1, 0), ErrMissing)
		if f := audit(t, a, c); len(f) != 1 || f[0].Object != contentName(c.ref.Object) {
			t.Error(f)
		}
		for _, drop = range []string{rootPrefix, "s/p/"} {
			pos = w.snapshot(a, pos)
			if f := audit(t, a); len(f) == 0 {
				t.Error(drop, "is missing, and no damage")
			}
			m, got := w.load(w.open(w.store, t.TempDir()), remote.Position{})
			if got != pos || len(m.batches) != int(pos.Seq) {
				t.Error("not from the log:", got, len(m.batches))
			}
		}
		// A keyring is read back before the log names it, and the old one stays.
		drop = keyringPrefix
		object, next := repassed(t, w.ring)
		if _, err := a.AddKeyring(ctx, pos, object, next); err == nil {
			t.Error("a keyring that is not there is in force")
		}
		if _, err := w.store.Size(ctx, keyringName(1)); err != nil || a.Info().Keyring != 1 {
			t.Error("the old one:", err, a.Info().Keyring)
		}
	})
}

// TestP4_V29EachKind: objects of the other kinds, and the store keeps other bytes than it was given.
func TestP4_V29EachKind(t *testing.T) {
	both(t, func(t *testing.T, on kind) {
		w, a, pos := begun(t, on)
		alter := ""
		w.give(a, &evil{Store: w.store, put: func(name string, data []byte) (bool, error) {
			if alter == "" || !strings.HasPrefix(name, alter) {
				return false, nil
			}
			data = bytes.Clone(data)
			data[len(data)-1] ^= 1
			return true, w.store.Put(ctx, name, data)
		}})
		alter = "o/"
		c := w.storeContent(a, 2, 3)
		must(t, c.read(t, a, 0, 1, 0))
		wantErr(t, c.read(t, a, 1, 1, 1), ErrTampered)
		for _, alter = range []string{rootPrefix, "s/p/"} {
			pos = w.snapshot(a, pos)
			if m, got := w.load(w.open(w.store, t.TempDir()), remote.Position{}); got != pos || len(m.batches) != int(pos.Seq) {
				t.Error("not from the log:", got, len(m.batches))
			}
		}
		alter = keyringPrefix
		object, next := repassed(t, w.ring)
		_, err := a.AddKeyring(ctx, pos, object, next)
		wantErr(t, err, ErrTampered)
		if _, err := w.store.Size(ctx, keyringName(1)); err != nil || a.Info().Keyring != 1 {
			t.Error("the old one:", err, a.Info().Keyring)
		}
		if f := audit(t, a, c); len(f) != 4 {
			t.Error("an audit finds", f)
		}
	})
}
