package fs

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"megafs/crypto"
	"megafs/fs/journal"
	"megafs/fs/volume"
	"megafs/remote"
	"megafs/remote/blob"
	"megafs/remote/blob/blobtest"
	"megafs/remote/vault"
)

// hooked is a store that answers as it likes while a hook is set.
type hooked struct {
	blob.Store
	getRange atomic.Pointer[func(off int64, dst []byte)]          // changes what was read
	put      atomic.Pointer[func(name string, data []byte) error] // instead of keeping it
}

func (h *hooked) GetRange(ctx context.Context, name string, off int64, dst []byte) error {
	err := h.Store.GetRange(ctx, name, off, dst)
	if f := h.getRange.Load(); f != nil {
		(*f)(off, dst)
	}
	return err
}

func (h *hooked) Put(ctx context.Context, name string, data []byte) error {
	if f := h.put.Load(); f != nil {
		return (*f)(name, data)
	}
	return h.Store.Put(ctx, name, data)
}

var quiet = slog.New(slog.DiscardHandler)

// mounted is a machine over a vault. end unmounts and closes all of it; the test's end does so too.
type mounted struct {
	*machine
	va  *vault.Vault
	end func()
}

// rig is a vault in a store that the test owns, and what its files hold.
type rig struct {
	t      *testing.T
	place  blobtest.Place
	store  *hooked
	ring   *crypto.Keyring
	state  string // of the machine that made the vault and its files
	files  map[string][]byte
	object map[string]string // by file, the name of the object with its content; small files have none
}

// places are the kinds of stores that these tests go through.
var places = map[string]func(t testing.TB) blobtest.Place{
	"mem": func(testing.TB) blobtest.Place { return blobtest.NewMemPlace() },
	"dir": func(t testing.TB) blobtest.Place { return blobtest.NewDirPlace(t) },
}

func newRig(t *testing.T, p blobtest.Place) *rig {
	t.Helper()
	needFUSE(t)
	crypto.CheapKDFForTests(t)
	r := &rig{t: t, place: p, store: &hooked{Store: p}, state: t.TempDir(), files: map[string][]byte{}, object: map[string]string{}}
	var err error
	r.ring, _, err = vault.Create(ctx, r.store, r.state, crypto.NewSecret([]byte("correct horse battery staple nine")), "", crypto.DefaultKDF)
	must(t, err)
	m := r.mount(t, r.state, t.TempDir(), nil)
	defer m.end()
	must(t, os.Mkdir(m.path("d"), 0o755))
	for i, f := range []struct {
		name string
		size int
	}{{"d/inline", 100}, {"d/one", 10_000}, {"d/other", 5*remote.ChunkSize - 100}, {"d/big", 5*remote.ChunkSize - 100}} {
		b := make([]byte, f.size)
		for k := range b {
			b[k] = byte(k*(2*i+3) + k/251 + i)
		}
		before := p.Names()
		must(t, os.WriteFile(m.path(f.name), b, 0o640))
		m.drain()
		r.files[f.name] = b
		for _, n := range p.Names() {
			if strings.HasPrefix(n, "o/") && !slices.Contains(before, n) {
				r.object[f.name] = n
			}
		}
	}
	if len(r.object) != 3 {
		t.Fatal(r.object)
	}
	return r
}

// mount mounts the vault for a machine.
func (r *rig) mount(t *testing.T, state, cache string, change func(*volume.Options)) *mounted {
	t.Helper()
	m := &mounted{machine: &machine{t: t, dir: t.TempDir()}}
	m.end = sync.OnceFunc(func() { m.close(t) })
	t.Cleanup(m.end)
	var err error
	m.va, err = vault.Open(ctx, r.store, vault.Options{StateDir: state, Keyring: r.ring, TrustFirstUse: true, Log: quiet})
	must(t, err)
	ready := make(chan struct{})
	defer close(ready)
	o := volume.Options{
		Remote: m.va, Register: m.va.Register, StateDir: state, CacheDir: cache, JournalSize: 64 << 20, LocalStore: true, Log: quiet,
		Settle: time.Millisecond, MaxAge: 10 * time.Millisecond, Poll: -1, Changed: func(ch []volume.Change) {
			<-ready
			if m.Server != nil {
				m.Changed(ch)
			}
		},
		JournalOptions: func(o *journal.Options) { o.SegmentSize = 4 << 20 },
	}
	if change != nil {
		change(&o)
	}
	v, err := volume.Open(ctx, o)
	must(t, err)
	m.vol = v
	m.Server, err = Mount(Options{Volume: Of(m.vol), MountPoint: m.dir, Log: quiet})
	must(t, err)
	return m
}

// close takes apart as much as there is.
func (m *mounted) close(t *testing.T) {
	if m.Server != nil {
		if err := m.Unmount(); err != nil {
			t.Errorf("unmount: %v", err)
			m.Lazy()
		}
		if s := m.Stats(); s.Panics > 0 || s.InFlight > 0 {
			t.Errorf("%d requests panicked, %d are in flight", s.Panics, s.InFlight)
		}
	}
	if m.vol != nil {
		m.vol.Close(ctx)
	}
	if m.va != nil {
		m.va.Close()
	}
}

// reads reads a file in pieces of a chunk, and says which of them can't be read. Those that can are right, and each that can't is EIO: not a
// short file, not one that does not exist.
func (r *rig) reads(m *mounted, name string) (bad []int) {
	m.t.Helper()
	want := r.files[name]
	f, err := os.Open(m.path(name))
	must(m.t, err)
	defer f.Close()
	b := make([]byte, remote.ChunkSize)
	for off := 0; off < len(want); off += len(b) {
		n, err := f.ReadAt(b, int64(off))
		piece := want[off:min(off+len(b), len(want))]
		switch {
		case err == nil || err == io.EOF && off+n == len(want):
			if !bytes.Equal(b[:n], piece) {
				m.t.Errorf("%s: wrong bytes at %d", name, off)
			}
		case errors.Is(err, syscall.EIO):
			if !bytes.HasPrefix(piece, b[:n]) {
				m.t.Errorf("%s: wrong bytes before an error at %d", name, off)
			}
			bad = append(bad, off/remote.ChunkSize)
		default:
			m.t.Errorf("%s at %d: %d, %v", name, off, n, err)
		}
	}
	return bad
}

// stands looks whether all names are there with their sizes and modes, and whether all files but some read right.
func (r *rig) stands(m *mounted, but ...string) {
	m.t.Helper()
	list, err := os.ReadDir(m.path("d"))
	if err != nil || len(list) < len(r.files) {
		m.t.Errorf("ls: %v, %v", list, err)
	}
	for name, want := range r.files {
		st, err := os.Stat(m.path(name))
		if err != nil || st.Size() != int64(len(want)) || st.Mode() != 0o640 {
			m.t.Errorf("stat %s: %+v, %v", name, st, err)
			continue
		}
		if slices.Contains(but, name) {
			continue
		}
		if got, err := os.ReadFile(m.path(name)); err != nil || !bytes.Equal(got, want) {
			m.t.Errorf("%s: %d bytes, %v", name, len(got), err)
		}
	}
}

// bytesOf returns an object.
func (r *rig) bytesOf(name string) []byte {
	r.t.Helper()
	b, err := r.place.Get(ctx, name, 1<<30)
	must(r.t, err)
	return b
}

// TestP4HostileMount spoils a file's content in the store below a mount. What is bad is EIO and nothing else, the rest reads right, names
// and attributes are untouched; and as soon as the store is what it was, so is the file.
func TestP4HostileMount(t *testing.T) {
	for kind, on := range places {
		t.Run(kind, func(t *testing.T) {
			r := newRig(t, on(t))
			name := r.object["d/big"]
			good, other := r.bytesOf(name), r.bytesOf(r.object["d/other"])
			chunk := func(o []byte, i int) []byte { return o[crypto.HeaderLen+i*remote.SealedChunk:][:remote.SealedChunk] }
			for _, x := range []struct {
				row string
				do  func(o []byte) []byte
				bad []int
			}{
				{"V01 a bit", func(o []byte) []byte { chunk(o, 2)[99] ^= 4; return o }, []int{2}},
				{"V02 the header", func(o []byte) []byte { clear(o[:crypto.HeaderLen]); return o }, nil},
				{"V03 another object", func([]byte) []byte { return other }, []int{0, 1, 2, 3, 4}},
				{"V04 chunks exchanged", func(o []byte) []byte {
					x := bytes.Clone(chunk(o, 1))
					copy(chunk(o, 1), chunk(o, 4))
					copy(chunk(o, 4), x)
					return o
				}, []int{1, 4}},
				{"V05 another's chunk", func(o []byte) []byte { copy(chunk(o, 3), chunk(other, 3)); return o }, []int{3}},
				{"V06 cut", func(o []byte) []byte { return o[:len(o)-2*remote.SealedChunk] }, []int{3, 4}},
				{"V07 emptied", func([]byte) []byte { return []byte{} }, []int{0, 1, 2, 3, 4}},
				{"V08 longer", func(o []byte) []byte { return append(o, chunk(o, 0)...) }, nil},
				{"V10 zeros", func(o []byte) []byte { clear(chunk(o, 0)); return o }, []int{0}},
				{"V11 beheaded", func(o []byte) []byte { return append(o[:crypto.HeaderLen:crypto.HeaderLen], chunk(o, 1)...) }, []int{0, 1, 2, 3, 4}},
				{"V12 gone", func([]byte) []byte { return nil }, []int{0, 1, 2, 3, 4}},
				{"V15 an entry of the log", func([]byte) []byte { return r.bytesOf("l/0000000000000001") }, []int{0, 1, 2, 3, 4}},
			} {
				t.Run(x.row, func(t *testing.T) {
					m := r.mount(t, t.TempDir(), t.TempDir(), nil)
					r.place.Poke(name, x.do(bytes.Clone(good)))
					defer r.place.Poke(name, good)
					if bad := r.reads(m, "d/big"); !slices.Equal(bad, x.bad) {
						t.Errorf("chunks %v can't be read, want %v", bad, x.bad)
					}
					if b, err := os.ReadFile(m.path("d/big")); x.bad != nil && !errors.Is(err, syscall.EIO) {
						t.Errorf("read whole: %d bytes, %v", len(b), err)
					}
					r.stands(m, "d/big")
					r.place.Poke(name, good)
					r.stands(m)
				})
			}
			t.Run("V13 wrong ranges", func(t *testing.T) {
				for _, wrong := range []func(off int64, dst []byte){
					func(off int64, dst []byte) { copy(dst, good) },
					func(off int64, dst []byte) { copy(dst, dst[1:]) },
					func(off int64, dst []byte) { copy(dst, good[min(int(off)+remote.SealedChunk, len(good)):]) },
					func(off int64, dst []byte) { clear(dst) },
				} {
					m := r.mount(t, t.TempDir(), t.TempDir(), nil)
					r.store.getRange.Store(&wrong)
					if bad := r.reads(m, "d/big"); len(bad) == 0 {
						t.Error("nothing was wrong")
					}
					r.stands(m, "d/big", "d/one", "d/other")
					r.store.getRange.Store(nil)
					r.stands(m)
				}
			})
		})
	}
}

// unmountable returns what the volume says of a store that a machine is not to be shown.
func (r *rig) unmountable(t *testing.T, state, cache string) error {
	t.Helper()
	va, err := vault.Open(ctx, r.store, vault.Options{StateDir: state, Keyring: r.ring, TrustFirstUse: true, Log: quiet})
	if err != nil {
		return err
	}
	defer va.Close()
	v, err := volume.Open(ctx, volume.Options{Remote: va, Register: va.Register, StateDir: state, CacheDir: cache, JournalSize: 64 << 20, LocalStore: true, Log: quiet, Poll: -1})
	if err == nil {
		v.Close(ctx)
	}
	return err
}

// copyState copies a folder of a machine, so that what is done with one leaves the other as it is.
func copyState(t *testing.T, from string) string {
	t.Helper()
	to := filepath.Join(t.TempDir(), "copy")
	must(t, os.CopyFS(to, os.DirFS(from)))
	return to
}
