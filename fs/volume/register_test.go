package volume

import (
	"context"
	"log/slog"
	"os"
	"testing"
	"time"

	"megafs/crypto"
	"megafs/remote"
	"megafs/remote/blob"
	"megafs/remote/vault"
)

// vaults opens machines on one vault in memory.
type vaults struct {
	t     *testing.T
	store blob.Store
	ring  *crypto.Keyring
	first string // the state folder of who made it
	vault map[*bench]*vault.Vault
}

func newVaults(t *testing.T) *vaults {
	crypto.CheapKDFForTests(t)
	w := &vaults{t: t, store: blob.Mem(), first: t.TempDir(), vault: map[*bench]*vault.Vault{}}
	var err error
	w.ring, _, err = vault.Create(ctx, w.store, w.first, crypto.NewSecret([]byte("correct horse battery staple nine")), "", crypto.DefaultKDF)
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// open opens a machine, which forgets its tree with each life; before is called before each try to register it.
func (w *vaults) open(state string, before func()) *bench {
	w.t.Helper()
	return w.settling(state, time.Millisecond, before)
}

func (w *vaults) settling(state string, settle time.Duration, before func()) *bench {
	w.t.Helper()
	va, err := vault.Open(ctx, w.store, vault.Options{StateDir: state, Keyring: w.ring, TrustFirstUse: true, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		w.t.Fatal(err)
	}
	v, err := Open(ctx, Options{
		Remote: va, StateDir: state, JournalSize: 64 << 20, LocalStore: true, Settle: settle, MaxAge: 10 * settle,
		Poll: time.Millisecond, Log: slog.New(slog.DiscardHandler),
		Register: func(ctx context.Context, base remote.Position, next uint32) (remote.Position, error) {
			before()
			return va.Register(ctx, base, next)
		},
	})
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { v.Close(ctx); va.Close() })
	b := &bench{t: w.t, Volume: v}
	w.vault[b] = va
	return b
}

// TestRegisterRace: another machine commits, and registers, whenever a new one is about to. The new one tries again, and all numbers differ.
func TestRegisterRace(t *testing.T) {
	w := newVaults(t)
	a := w.open(w.first, func() {})
	n := 0
	var third *bench
	b := w.open(t.TempDir(), func() {
		if n++; n == 1 {
			a.mk(remote.Root, "a", remote.File)
			a.drain()
		} else if n == 2 {
			third = w.open(t.TempDir(), func() {})
		}
	})
	if n != 3 {
		t.Fatal(n, "tries")
	}
	seen := map[uint32]bool{}
	for i, m := range []*bench{a, b, third} {
		ino := m.mk(remote.Root, string(rune('x'+i)), remote.File)
		if seen[ino.Device()] {
			t.Error("a number twice:", ino.Device())
		}
		seen[ino.Device()] = true
		m.drain()
	}
}

// TestClonedWhileOpen copies a machine's state folder and lets the copy commit: the original notices, takes a new number, and goes on.
func TestClonedWhileOpen(t *testing.T) {
	w := newVaults(t)
	a := w.open(w.first, func() {})
	a.mk(remote.Root, "before", remote.File)
	a.drain()
	twin := t.TempDir()
	if err := os.CopyFS(twin, os.DirFS(w.first)); err != nil {
		t.Fatal(err)
	}
	b := w.open(twin, func() {})
	copied := b.mk(remote.Root, "copied", remote.File)
	b.drain()
	// Until it hears of that, the original makes numbers that the copy makes too: one is sent by neither.
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		if _, err := a.tree.Lookup(remote.Root, "copied"); err == nil {
			break
		} else if time.Now().After(end) {
			t.Fatal(err)
		}
	}
	var s Stat
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		var err error
		if s, err = a.Make(ctx, remote.Root, "after", remote.File, 0o644, 0, "", Caller{}); err == nil {
			break
		} else if time.Now().After(end) {
			t.Fatal("no number any more:", err)
		}
	}
	a.drain()
	if s.Ino.Device() == copied.Device() {
		t.Error("goes on with numbers that are the copy's:", s.Ino, copied)
	}
}

// TestP2BehindSnapshot: a machine with changes that are not sent loses its tree, while another changes the same file and stores a snapshot. What
// the changes were made over is in the log still, so both sides survive, and what was removed stays removed.
func TestP2BehindSnapshot(t *testing.T) {
	w := newVaults(t)
	a := w.open(w.first, func() {})
	f := a.mk(remote.Root, "f.txt", remote.File)
	a.write(f, 0, []byte("0123456789"))
	d := a.mk(remote.Root, "d", remote.Dir)
	a.mk(remote.Root, "removed", remote.File)
	a.drain()
	state := t.TempDir()
	b := w.settling(state, time.Hour, func() {})
	b.write(f, 4, []byte("BB"))
	b.write(b.mk(d, "new", remote.File), 0, []byte("new"))
	if err := b.Unlink(ctx, remote.Root, "removed"); err != nil {
		t.Fatal(err)
	}
	b.Close(ctx)
	w.vault[b].Close()
	a.write(f, 0, []byte("AA"))
	a.drain()
	pos, err := w.vault[a].Snapshot(ctx, a.tree.Position(), a.tree.Ops)
	if err != nil {
		t.Fatal(err)
	}
	if err := a.tree.Apply(remote.Batch{Pos: pos}); err != nil {
		t.Fatal(err)
	}
	b = w.settling(state, time.Hour, func() {})
	b.drain()
	for _, m := range []*bench{b, w.open(t.TempDir(), func() {})} {
		list, err := m.List(ctx, remote.Root)
		if err != nil || len(list) != 3 {
			t.Fatal(list, err)
		}
		if got := string(m.read(m.ino(remote.Root, "f.txt"))); got != "AA23456789" {
			t.Errorf("theirs: %q", got)
		}
		for _, e := range list {
			if e.Ino != f && e.Ino != d {
				if got := string(m.read(e.Ino)); got[4:6] != "BB" {
					t.Errorf("%q: %q", e.Name, got)
				}
			}
		}
		if got := string(m.read(m.ino(d, "new"))); got != "new" {
			t.Errorf("%q", got)
		}
	}
}

// TestClonedConflict has a machine and a copy of it change one file. The first that hears of the other has no number any more, without which it can't
// make a conflict copy: it takes one first.
func TestClonedConflict(t *testing.T) {
	w := newVaults(t)
	a := w.open(w.first, func() {})
	f := a.mk(remote.Root, "f", remote.File)
	a.write(f, 0, []byte("old"))
	a.drain()
	a.Close(ctx)
	w.vault[a].Close()
	twin := t.TempDir()
	if err := os.CopyFS(twin, os.DirFS(w.first)); err != nil {
		t.Fatal(err)
	}
	a = w.settling(w.first, time.Hour, func() {})
	b := w.open(twin, func() {})
	a.write(f, 0, []byte("here"))
	b.write(f, 0, []byte("there"))
	b.drain()
	for end := time.Now().Add(20 * time.Second); a.Drain(ctx) != nil; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("never sent:", a.Status().LastError)
		}
	}
	got := map[string]bool{}
	for _, m := range []*bench{a, w.open(t.TempDir(), func() {})} {
		clear(got)
		list, err := m.List(ctx, remote.Root)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range list {
			got[string(m.read(e.Ino))] = true
		}
		if len(list) != 2 || !got["here"] || !got["there"] {
			t.Error(list, got)
		}
	}
}
