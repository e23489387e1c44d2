package fs

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"megafs/crypto"
	"megafs/fs/volume"
	"megafs/remote"
	"megafs/remote/vault"
)

// TestP4_V26HostileMountRefused refuses each commit for ever. What was written stays, over a remount too, and is sent when the store gives in.
func TestP4_V26HostileMountRefused(t *testing.T) {
	for kind, on := range places {
		t.Run(kind, func(t *testing.T) {
			r := newRig(t, on(t))
			state, cache := copyState(t, r.state), t.TempDir()
			m := r.mount(t, state, cache, nil)
			refuse := func(name string, data []byte) error {
				if strings.HasPrefix(name, "l/") {
					return remote.E("put", name, remote.Exist, nil)
				}
				return r.store.Store.Put(ctx, name, data)
			}
			r.store.put.Store(&refuse)
			r.files["d/new"] = bytes.Repeat([]byte("new"), 20_000)
			must(t, os.WriteFile(m.path("d/new"), r.files["d/new"], 0o640))
			for _, again := range []bool{false, true} {
				if again {
					m.end()
					m = r.mount(t, state, cache, nil)
				}
				c, cancel := context.WithTimeout(ctx, 300*time.Millisecond)
				if err := m.vol.Drain(c); err == nil || !errors.Is(err, vault.ErrStoreContract) {
					t.Errorf("sent to a store that takes nothing: %v", err)
				}
				cancel()
				r.stands(m)
			}
			r.store.put.Store(nil)
			m.drain()
			r.stands(r.mount(t, t.TempDir(), t.TempDir(), nil))
		})
	}
}

// TestP4_V64HostileMountBait commits links that lead out of the mount. They are shown as they are, and only as links.
func TestP4_V64HostileMountBait(t *testing.T) {
	r := newRig(t, places["mem"](t))
	outside := filepath.Join(t.TempDir(), "secret")
	must(t, os.WriteFile(outside, []byte("of the owner"), 0o600))
	a := r.another(t, 50)
	baits := map[string]string{"abs": outside, "up": "../../../../../../../.." + outside, "loop": "loop", "long": strings.Repeat("t/", 2047) + "t", "proc": "/proc/self/mem"}
	i := 1
	for name, target := range baits {
		a.commit(t, makes(remote.Symlink, i, remote.Root, name, target)...)
		i++
	}
	m := r.mount(t, t.TempDir(), t.TempDir(), nil)
	for name, target := range baits {
		st, err := os.Lstat(m.path(name))
		if got, lerr := os.Readlink(m.path(name)); err != nil || lerr != nil || got != target || st.Mode()&os.ModeSymlink == 0 {
			t.Errorf("%s: %q, %v, %v", name, got, err, lerr)
		}
		if err := os.Remove(m.path(name)); err != nil {
			t.Error(err)
		}
	}
	m.drain()
	if b, err := os.ReadFile(outside); err != nil || string(b) != "of the owner" {
		t.Error("outside:", err)
	}
	r.stands(m)
}

// TestP4_V68HostileMountCache spoils every block that a machine cached. What is spoiled is fetched again, and while the store does not have it, EIO.
func TestP4_V68HostileMountCache(t *testing.T) {
	r := newRig(t, places["dir"](t))
	state, cache := copyState(t, r.state), t.TempDir()
	far := func(o *volume.Options) { o.LocalStore = false }
	m := r.mount(t, state, cache, far)
	r.stands(m)
	m.end()
	spoiled := 0
	must(t, filepath.WalkDir(filepath.Join(cache, "blocks"), func(p string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return err
		}
		b, err := os.ReadFile(p)
		if err != nil {
			return err
		}
		for i := 100; i < len(b); i += 1000 {
			b[i] ^= 0x10
			spoiled++
		}
		return os.WriteFile(p, b, 0o600)
	}))
	if spoiled < 100 {
		t.Fatal("nothing was cached:", spoiled)
	}
	m = r.mount(t, state, cache, far)
	r.stands(m)
}

// TestP4_V71HostileMountLaundering changes a part of a chunk that does not verify. It is not sealed anew as if it did; when the store is what it was,
// the change is sent, over the true bytes.
func TestP4_V71HostileMountLaundering(t *testing.T) {
	for kind, on := range places {
		t.Run(kind, func(t *testing.T) {
			r := newRig(t, on(t))
			name := r.object["d/big"]
			good := r.bytesOf(name)
			bad := bytes.Clone(good)
			for i := range 5 {
				bad[crypto.HeaderLen+i*remote.SealedChunk+500] ^= 1
			}
			state, cache := copyState(t, r.state), t.TempDir()
			m := r.mount(t, state, cache, nil)
			r.place.Poke(name, bad)
			before := r.place.Names()
			f, err := os.OpenFile(m.path("d/big"), os.O_WRONLY, 0)
			must(t, err)
			at := int64(2*remote.ChunkSize + 7)
			_, err = f.WriteAt([]byte("hello"), at)
			must(t, errors.Join(err, f.Close()))
			f, err = os.OpenFile(m.path("d/big"), os.O_WRONLY|os.O_APPEND, 0)
			must(t, err)
			_, err = f.Write([]byte("and more"))
			must(t, errors.Join(err, f.Close()))
			c, cancel := context.WithTimeout(ctx, 20*time.Second)
			defer cancel()
			if err := m.vol.Drain(c); err == nil || c.Err() != nil {
				t.Errorf("sent: %v", err)
			}
			for _, n := range r.place.Names() {
				if strings.HasPrefix(n, "o/") && !slices.Contains(before, n) {
					t.Error("content was sealed again:", n)
				}
			}
			if got := r.bytesOf(name); !bytes.Equal(got, bad) {
				t.Error("what was in the store was changed")
			}
			m.end()
			r.place.Poke(name, good)
			want := append(bytes.Clone(r.files["d/big"]), "and more"...)
			copy(want[at:], "hello")
			r.files["d/big"] = want
			m = r.mount(t, state, cache, nil)
			r.stands(m)
			m.drain()
			r.stands(r.mount(t, t.TempDir(), t.TempDir(), nil))
		})
	}
}
