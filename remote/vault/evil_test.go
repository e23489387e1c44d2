package vault

import (
	"context"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"megafs/crypto"
	"megafs/remote"
	"megafs/remote/blob"
)

// evil is a store with a will of its own: each hook that is set is asked first, and decides when it says so.
type evil struct {
	blob.Store
	put      func(name string, data []byte) (done bool, err error)
	get      func(name string) (b []byte, done bool, err error)
	getRange func(name string, off int64, dst []byte) (done bool, err error)
	list     func(prefix string, fn func(blob.Info) error) (done bool, err error)
	getMu    sync.Mutex // one call of get at a time, though entries are asked for at once
}

func (e *evil) Put(ctx context.Context, name string, data []byte) error {
	if e.put != nil {
		if done, err := e.put(name, data); done {
			return err
		}
	}
	return e.Store.Put(ctx, name, data)
}

func (e *evil) Get(ctx context.Context, name string, limit int64) ([]byte, error) {
	if e.get != nil {
		e.getMu.Lock()
		b, done, err := e.get(name)
		e.getMu.Unlock()
		if done {
			return b, err
		}
	}
	return e.Store.Get(ctx, name, limit)
}

func (e *evil) GetRange(ctx context.Context, name string, off int64, dst []byte) error {
	if e.getRange != nil {
		if done, err := e.getRange(name, off, dst); done {
			return err
		}
	}
	return e.Store.GetRange(ctx, name, off, dst)
}

func (e *evil) List(ctx context.Context, prefix, after string, fn func(blob.Info) error) error {
	if e.list != nil {
		if done, err := e.list(prefix, fn); done {
			return err
		}
	}
	return e.Store.List(ctx, prefix, after, fn)
}

func gone(name string) error { return remote.E("get", name, remote.NotExist, nil) }

// hookStore calls after each Put.
type hookStore struct {
	blob.Store
	after func()
}

func (h *hookStore) Put(ctx context.Context, name string, data []byte) error {
	err := h.Store.Put(ctx, name, data)
	h.after()
	return err
}

// liar is a store whose Put always says that the name is taken, or whose answers get lost.
type liar struct {
	blob.Store
	exist, lose bool
	puts        int
}

func (l *liar) Put(ctx context.Context, name string, data []byte) error {
	l.puts++
	if l.exist {
		return remote.E("put", name, remote.Exist, nil)
	}
	err := l.Store.Put(ctx, name, data)
	if l.lose {
		return remote.E("put", name, remote.Timeout, err)
	}
	return err
}

// overwriting is a store that ignores that a name is taken.
type overwriting struct{ place }

func (o *overwriting) Put(ctx context.Context, name string, data []byte) error {
	o.Poke(name, append([]byte{}, data...))
	return nil
}

// refusing is a sink that takes some batches only.
type refusing struct {
	memory
	left int
	err  error
}

func (r *refusing) Apply(b remote.Batch) error {
	if r.left--; r.left < 0 {
		return r.err
	}
	return r.memory.Apply(b)
}

// clock is a time that tests move.
type clock struct {
	mu sync.Mutex
	t  time.Time
}

func (c *clock) now() time.Time { c.mu.Lock(); defer c.mu.Unlock(); return c.t }
func (c *clock) move(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.t = c.t.Add(d)
}

// plant puts into a vault's folder what is no object, and a link to something of its owner's beside it. The function it returns looks whether all
// is as it was.
func plant(t testing.TB, d *dirPlace) (untouched func()) {
	t.Helper()
	outside := filepath.Join(t.TempDir(), "secret")
	must(t, os.WriteFile(outside, []byte("of the owner"), 0o600))
	for _, n := range []string{"l/../x ", "l/UPPER", "l/zz.tmp", "k/ 1", "s/r/a\nb", "o/\xff\xfe", "s/p/.hidden", "\x1b[31mred"} {
		p := filepath.Join(d.Path, n)
		must(t, os.MkdirAll(filepath.Dir(p), 0o700))
		must(t, os.WriteFile(p, []byte("planted"), 0o600))
	}
	must(t, os.MkdirAll(d.File("l/0000000000001000"), 0o700)) // a folder in an entry's place
	must(t, os.MkdirAll(d.File("s/r"), 0o700))
	must(t, os.Symlink(outside, d.File(rootName(1<<40, crypto.ID{1}))))
	must(t, os.Symlink("/", d.File("o/zz")))
	must(t, syscall.Mkfifo(d.File("l/0000000000002000"), 0o600))
	before := allNames(t, d.Path)
	return func() {
		t.Helper()
		if after := allNames(t, d.Path); !slices.Equal(before, after) {
			t.Errorf("files came or went:\n%q\n%q", before, after)
		}
		if b, err := os.ReadFile(outside); err != nil || string(b) != "of the owner" {
			t.Error("outside:", err)
		}
	}
}

func allNames(t testing.TB, root string) (names []string) {
	t.Helper()
	must(t, filepath.WalkDir(root, func(p string, _ fs.DirEntry, err error) error {
		names = append(names, p)
		return err
	}))
	return names
}
