package fs

import (
	"testing"
	"time"

	"megafs/crypto"
	"megafs/fs/journal"
	"megafs/fs/volume"
	"megafs/remote/blob"
	"megafs/remote/vault"
)

// TestOverVault is the whole way: programs, the kernel, the volume, sealed objects in a folder; and back on a machine that
// has nothing but the store and the passphrase.
func TestOverVault(t *testing.T) {
	needFUSE(t)
	crypto.CheapKDFForTests(t)
	store, err := blob.Dir(t.TempDir(), blob.DirOptions{})
	must(t, err)
	state := t.TempDir()
	ring, _, err := vault.Create(ctx, store, state, crypto.NewSecret([]byte("correct horse battery staple nine")), "", crypto.DefaultKDF)
	must(t, err)
	// session mounts, runs a script, and ends when the store has everything.
	session := func(state, cache, script string) (out string) {
		t.Helper()
		va, err := vault.Open(ctx, store, vault.Options{StateDir: state, Keyring: ring, TrustFirstUse: true, Log: testLog(t)})
		must(t, err)
		defer va.Close()
		v, err := volume.Open(ctx, volume.Options{
			Remote: va, Register: va.Register, StateDir: state, CacheDir: cache, JournalSize: 64 << 20, Log: testLog(t),
			Settle: time.Millisecond, MaxAge: 10 * time.Millisecond, Poll: -1,
			JournalOptions: func(o *journal.Options) { o.SegmentSize = 4 << 20 },
		})
		must(t, err)
		defer v.Close(ctx)
		m := &machine{t: t, vol: v, dir: t.TempDir()}
		m.Server, err = Mount(Options{Volume: Of(v), MountPoint: m.dir, Log: testLog(t)})
		must(t, err)
		out = sh(t, m.dir, 0, script)
		m.drain()
		must(t, m.Unmount())
		return out
	}
	cache := t.TempDir()
	want := session(state, cache, `
		mkdir -p a/b && for i in $(seq 300); do echo "file $i" >a/b/f$i; done
		head -c 9000000 /dev/urandom >large; truncate -s 20M sparse; printf x | dd of=sparse bs=1 seek=15000000 conv=notrunc status=none
		ln -s a/b link; ln large hard; mkfifo fifo; chmod 4711 large; chown 12:34 a/b/f7; touch -d 1999-01-01 a/b/f8
		rm a/b/f1; mv a/b/f2 a/b/f1; printf tail >>large
		`+tree)
	for _, x := range []struct{ when, state, cache string }{
		{"remounted", state, cache},
		{"without its cache", state, t.TempDir()},
		{"on another machine", t.TempDir(), t.TempDir()},
	} {
		if got := session(x.state, x.cache, tree); got != want {
			t.Errorf("%s:\n%s\nwant:\n%s", x.when, got, want)
		}
	}
}
