package vault

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"megafs/remote"
)

// invited opens the vault on a machine that never saw it, with what another one knows.
func (w *world) invited(t Token) (*Vault, error) {
	w.t.Helper()
	o := w.options(w.t.TempDir())
	o.TrustFirstUse, o.Invite = false, &t
	v, err := Open(ctx, w.store, o)
	if err == nil {
		w.give(v, w.store)
	}
	return v, err
}

// TestP4_V20Invited: the whole store goes back. A machine that never saw the vault and was given a token does not take it, nor another history that is as
// long; without the going back it does, and remembers what the token says.
func TestP4_V20Invited(t *testing.T) {
	both(t, func(t *testing.T, on kind) {
		w, a, pos := begun(t, on)
		pos = commits(t, a, pos, 1, 3)
		old := w.store.Copy()
		pos = commits(t, a, pos, 4, 3)
		token := a.Token()
		if token.Seq != pos.Seq {
			t.Fatal(token)
		}
		now := w.store.Copy()
		w.store.Become(old)
		_, err := w.invited(token)
		wantErr(t, err, ErrRollback)
		b := w.open(w.store, t.TempDir())
		_, bpos := w.load(b, remote.Position{})
		bpos, err = b.Register(ctx, bpos, 2)
		must(t, err)
		commits(t, b, bpos, 10, 4)
		_, err = w.invited(token)
		wantErr(t, err, ErrFork)
		// An entry missing, with later ones there, is a gap.
		w.store.Become(now)
		commits(t, a, pos, 7, 2)
		good := bytesOf(t, w.store, logName(token.Seq))
		w.store.Poke(logName(token.Seq), nil)
		_, err = w.invited(token)
		wantErr(t, err, ErrGap)
		w.store.Poke(logName(token.Seq), good)
		c, err := w.invited(token)
		must(t, err)
		if i := c.Info(); i.Head != token.Seq {
			t.Fatal(i.Head)
		}
		if _, got := w.load(c, remote.Position{}); got.Seq != pos.Seq+2 {
			t.Fatal(got)
		}
		// From there on it is a machine that knows: no second invitation, no first use.
		must(t, c.Close())
		o := w.options(c.o.StateDir)
		o.TrustFirstUse = false
		w.store.Become(old)
		d, err := Open(ctx, w.store, o)
		must(t, err)
		w.give(d, w.store)
		_, err = d.Load(ctx, remote.Position{}, w.sink())
		wantErr(t, err, ErrRollback)
	})
}

// TestP4_V20OtherVault: a token of another vault, or of a newer keyring than the store shows, lets nobody in.
func TestP4_V20OtherVault(t *testing.T) {
	both(t, func(t *testing.T, on kind) {
		w, a, pos := begun(t, on)
		_, other, _ := begun(t, on)
		_, err := w.invited(other.Token())
		wantErr(t, err, ErrVaultReplaced)
		object, next := repassed(t, w.ring)
		_, err = a.AddKeyring(ctx, pos, object, next)
		must(t, err)
		_, err = w.invited(a.Token()) // with the keyring of before
		wantErr(t, err, ErrKeyringRollback)
		w.ring = next
		_, err = w.invited(a.Token())
		must(t, err)
	})
}

// TestP4_V20InvitedLongAgo: the token's entry was removed since, with the log before it. The history has it.
func TestP4_V20InvitedLongAgo(t *testing.T) {
	both(t, func(t *testing.T, on kind) {
		w, a := collecting(t, on)
		must(t, a.write())
		token := a.v.Token()
		for range 4 {
			must(t, a.write())
			must(t, a.snapshot())
		}
		_, err := a.collect()
		must(t, err)
		if w.present(logName(token.Seq)) {
			t.Fatal("the entry is still there")
		}
		b, err := w.invited(token)
		must(t, err)
		_, got := w.load(b, remote.Position{})
		if got.Seq < a.s.pos.Seq {
			t.Fatal(got, a.s.pos)
		}
		if r, err := b.Compare(ctx, token); err != nil || r != Ancestor {
			t.Fatal(r, err)
		}
		token.Hash[3]++
		_, err = w.invited(token)
		wantErr(t, err, ErrFork)
		if r, err := b.Compare(ctx, token); err != nil || r != Fork {
			t.Fatal(r, err)
		}
	})
}

// TestP4_V21FirstUse documents a limit: a machine without memory or token takes any whole state of the past, but only when it is told to take what is there, and
// it says how old that is.
func TestP4_V21FirstUse(t *testing.T) {
	both(t, func(t *testing.T, on kind) {
		w, a, pos := begun(t, on)
		c := &clock{t: time.Unix(1e9, 0)}
		a.o.Clock = c.now
		pos = commits(t, a, pos, 1, 1)
		old := w.store.Copy()
		c.move(1000 * time.Hour)
		commits(t, a, pos, 2, 3)
		w.store.Become(old)
		o := w.options(t.TempDir())
		o.TrustFirstUse = false
		if _, err := Open(ctx, w.store, o); !errors.Is(err, ErrNotTrusted) || !remote.Is(err, remote.Permission) {
			t.Fatal(err)
		}
		b := w.open(w.store, t.TempDir())
		_, got := w.load(b, remote.Position{})
		if i := b.Info(); got != pos || !i.HeadTime.Equal(time.Unix(1e9, 0)) {
			t.Fatal(got, i.HeadTime)
		}
		// What is shown stays known without the store.
		must(t, b.Close())
		if i := w.open(w.store, b.o.StateDir).Info(); !i.HeadTime.Equal(time.Unix(1e9, 0)) {
			t.Fatal(i.HeadTime)
		}
	})
}

// TestP4_V23EternalFork: a store that shows two machines different histories for ever, and never crosses them, is caught by holding their heads against each other,
// by token or by words. Until then nobody can know.
func TestP4_V23EternalFork(t *testing.T) {
	both(t, func(t *testing.T, on kind) {
		w, a, _ := begun(t, on)
		b, pos, _ := w.second()
		w.load(a, remote.Position{})
		must(t, a.Follow(ctx))
		same := func(x, y *Vault, want Relation) {
			t.Helper()
			if r, err := x.Compare(ctx, y.Token()); err != nil || r != want {
				t.Fatalf("%s, not %s: %v", r, want, err)
			}
			if (x.Words() == y.Words()) != (want == Same) {
				t.Fatal(want, x.Words(), y.Words())
			}
		}
		same(a, b, Same)
		fork := w.store.Copy()
		bpos := commits(t, b, pos, 1, 1)
		same(a, b, Newer) // as it looks also when a is just behind
		same(b, a, Ancestor)
		must(t, a.Follow(ctx))
		same(a, b, Same)
		// Now a is shown another branch.
		c := w.open(fork, t.TempDir())
		_, cpos := w.load(c, remote.Position{})
		cpos, err := c.Register(ctx, cpos, 3)
		must(t, err)
		same(c, b, Fork)
		same(b, c, Fork)
		commits(t, c, cpos, 5, 3)
		commits(t, b, bpos, 9, 1)
		must(t, c.Follow(ctx))
		same(c, b, Fork)
		same(b, c, Newer) // until it is as far
		for _, v := range []*Vault{a, b, c} {
			if i := v.Info(); i.Violation != "" {
				t.Fatal("a comparison left a mark:", i.Violation)
			}
		}
		// A store that shows the other branch's entry where it is asked for does not make it an ancestor.
		token := b.Token()
		fork.Poke(logName(token.Seq), bytesOf(t, w.store, logName(token.Seq)))
		if r, err := c.Compare(ctx, token); r != "" || !errors.Is(err, ErrFork) {
			t.Fatal(r, err)
		}
	})
}

// TestP4_V24PartialRollback: the store shows the newest log with content of before, or leaves one file's commits out. No file is old: it is missing, or
// the log has a gap.
func TestP4_V24PartialRollback(t *testing.T) {
	both(t, func(t *testing.T, on kind) {
		w, a, pos := begun(t, on)
		c := w.storeContent(a, 1, 3)
		pos = commits(t, a, pos, 1, 1)
		old := w.store.Copy()
		d := w.storeContent(a, 2, 3)
		one := commits(t, a, pos, 1, 1)
		end := commits(t, a, one, 2, 1)
		for _, n := range w.store.Names() {
			if _, err := old.Size(ctx, n); strings.HasPrefix(n, "o/") && remote.Is(err, remote.NotExist) {
				w.store.Poke(n, nil)
			}
		}
		b := w.open(w.store, t.TempDir())
		if _, got := w.load(b, remote.Position{}); got != end {
			t.Fatal(got)
		}
		must(t, c.read(t, b, 0, 1, 0))
		wantErr(t, d.read(t, b, 0, 1, 0), ErrMissing)
		w.store.Poke(logName(one.Seq), nil)
		for _, state := range []string{t.TempDir(), w.state} {
			m := w.sink()
			_, err := w.open(w.store, state).Load(ctx, remote.Position{}, m)
			wantErr(t, err, ErrGap)
		}
	})
}

// TestTokens: what is written is read again, with capital letters and space around too, and no letter can be another.
func TestTokens(t *testing.T) {
	var token Token
	for i := range token.Vault {
		token.Vault[i] = byte(i * 7)
	}
	copy(token.Hash[:], "0123456789abcdef")
	token.Seq, token.Keyring = 1<<40+5, 3
	s := token.String()
	for _, x := range []string{s, " " + strings.ToUpper(s) + "\n"} {
		if got, err := ParseToken(x); err != nil || got != token {
			t.Fatal(got, err)
		}
	}
	for i := range s {
		for _, c := range "a2z7-" {
			if x := s[:i] + string(c) + s[i+1:]; x != s {
				if got, err := ParseToken(x); !remote.Is(err, remote.Invalid) || got != (Token{}) {
					t.Fatal(x, got, err)
				}
			}
		}
	}
	for _, x := range []string{"", "mgh1-", s[:len(s)-1], s + "a", fmt.Sprint(strings.Repeat("a", 1<<16))} {
		if _, err := ParseToken(x); !remote.Is(err, remote.Invalid) {
			t.Fatal(x, err)
		}
	}
}
