package volume

import (
	"bytes"
	"log/slog"
	"testing"
	"time"

	"megafs/crypto"
	"megafs/fs/journal"
	"megafs/remote"
	"megafs/remote/blob"
	"megafs/remote/vault"
)

// TestOverVault is the way from a write to sealed objects and back, over remounts, lost caches and fresh state.
func TestOverVault(t *testing.T) {
	crypto.CheapKDFForTests(t)
	dir := t.TempDir()
	store, err := blob.Dir(dir, blob.DirOptions{})
	if err != nil {
		t.Fatal(err)
	}
	state := t.TempDir()
	ring, _, err := vault.Create(ctx, store, state, crypto.NewSecret([]byte("correct horse battery staple nine")), "", crypto.DefaultKDF)
	if err != nil {
		t.Fatal(err)
	}
	open := func(state, cache string, trust bool) (*Volume, *vault.Vault) {
		t.Helper()
		va, err := vault.Open(ctx, store, vault.Options{StateDir: state, Keyring: ring, TrustFirstUse: trust, Log: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		v, err := Open(ctx, Options{
			Remote: va, Register: va.Register, StateDir: state, CacheDir: cache, JournalSize: 64 << 20, LocalStore: true,
			Settle: time.Millisecond, MaxAge: 10 * time.Millisecond, Poll: -1, Log: slog.New(slog.DiscardHandler),
			JournalOptions: func(o *journal.Options) { o.SegmentSize = 4 << 20 },
		})
		if err != nil {
			t.Fatal(err)
		}
		return v, va
	}
	cache := t.TempDir()
	v, va := open(state, cache, false)
	b := &bench{t: t, Volume: v}
	d := b.mk(remote.Root, "dir", remote.Dir)
	want := map[string][]byte{"a": pattern(10, 1), "b": pattern(5000, 2), "c": pattern(9<<20, 3)}
	for n, p := range want {
		b.write(b.mk(d, n, remote.File), 0, p)
	}
	b.drain()
	check := func(when string) {
		t.Helper()
		for n, p := range want {
			if !bytes.Equal(b.read(b.ino(b.ino(remote.Root, "dir"), n)), p) {
				t.Fatal(when, n)
			}
		}
	}
	check("at once")
	for _, fresh := range []bool{false, true} {
		if err := v.Close(ctx); err != nil {
			t.Fatal(err)
		}
		va.Close()
		if fresh {
			state, cache = t.TempDir(), t.TempDir()
		}
		v, va = open(state, cache, fresh)
		b.Volume = v
		check("remounted")
		b.mk(remote.Root, map[bool]string{false: "x", true: "y"}[fresh], remote.File)
		b.drain()
	}
	sum, err := va.Verify(ctx, v.tree.Referenced, func(d vault.Damage) { t.Error(d) })
	if err != nil || sum.Objects == 0 {
		t.Fatal(sum, err)
	}
	v.Close(ctx)
	va.Close()
}
