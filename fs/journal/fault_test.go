package journal

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// tapFS calls tap before each call that changes the disk, one at a time; an error of tap is the call's result.
type tapFS struct {
	vfs.FS
	mu  sync.Mutex
	tap func(op, name string) error
}

func (t *tapFS) call(op, name string) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.tap == nil {
		return nil
	}
	return t.tap(op, t.FS.PathBase(name))
}

func (t *tapFS) set(tap func(op, name string) error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.tap = tap
}

func (t *tapFS) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	if err := t.call("create", name); err != nil {
		return nil, err
	}
	f, err := t.FS.Create(name, c)
	return t.wrap(f, name, err)
}

func (t *tapFS) OpenReadWrite(name string, c vfs.DiskWriteCategory, o ...vfs.OpenOption) (vfs.File, error) {
	f, err := t.FS.OpenReadWrite(name, c, o...)
	return t.wrap(f, name, err)
}

func (t *tapFS) OpenDir(name string) (vfs.File, error) {
	f, err := t.FS.OpenDir(name)
	return t.wrap(f, name, err)
}

func (t *tapFS) Rename(from, to string) error {
	if err := t.call("rename", from); err != nil {
		return err
	}
	return t.FS.Rename(from, to)
}

func (t *tapFS) Remove(name string) error {
	if err := t.call("remove", name); err != nil {
		return err
	}
	return t.FS.Remove(name)
}

func (t *tapFS) wrap(f vfs.File, name string, err error) (vfs.File, error) {
	if err != nil {
		return nil, err
	}
	return &tapFile{f, t, name}, nil
}

// lateError is returned after the call was done.
type lateError struct{ error }

type tapFile struct {
	vfs.File
	t    *tapFS
	name string
}

func (f *tapFile) WriteAt(p []byte, off int64) (int, error) {
	err := f.t.call("write", f.name)
	if late, ok := err.(lateError); ok {
		f.File.WriteAt(p, off)
		return 0, late.error
	}
	if err != nil {
		return 0, err
	}
	return f.File.WriteAt(p, off)
}

func (f *tapFile) Sync() error {
	if err := f.t.call("sync", f.name); err != nil {
		return err
	}
	return f.File.Sync()
}

func (f *tapFile) SyncData() error {
	if err := f.t.call("syncdata", f.name); err != nil {
		return err
	}
	return f.File.SyncData()
}

// small are the options that tests use: segments of 24 KiB in steps of 8.
func small(fs vfs.FS) Options {
	return Options{FS: fs, Dir: "state/journal", Key: [32]byte{1, 2, 3}, SegmentSize: 24 << 10, Limit: 7 * 24 << 10}
}

// whole copies a crashable file system as it is, without a crash.
func whole(m *vfs.MemFS) *vfs.MemFS {
	return m.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 100, RNG: rand.New(rand.NewPCG(1, 1))})
}

type rec struct {
	seq     Seq
	kind    Kind
	loc     Loc
	payload string
}

// reopen opens a journal and returns what it replays.
func reopen(o Options) (*Journal, []rec, error) {
	var got []rec
	j, err := Open(o, func(r Record) error {
		got = append(got, rec{r.Seq, r.Kind, r.Loc, string(r.Payload)})
		return nil
	})
	return j, got, err
}

func mustOpen(t testing.TB, o Options) (*Journal, []rec) {
	t.Helper()
	j, got, err := reopen(o)
	if err != nil {
		t.Fatal(err)
	}
	return j, got
}

// payload makes what record seq of a life holds.
func payload(life int, seq Seq, size int) []byte {
	p := make([]byte, size)
	r := rand.New(rand.NewPCG(uint64(life), uint64(seq)))
	for i := range p {
		p[i] = byte(r.Uint32())
	}
	return append(p, fmt.Sprintf("life %d record %d", life, seq)...)
}
