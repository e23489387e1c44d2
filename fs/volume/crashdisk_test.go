package volume

import (
	"context"
	"encoding/binary"
	"errors"
	"hash/maphash"
	"io"
	"io/fs"
	"maps"
	"math/rand/v2"
	"path"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"megafs/remote"
	"megafs/remote/blob"
)

// blockSize is what a disk writes at once: a block is there as it was or as it is.
const blockSize = 4096

// inodeOf is a file of a crashDisk. Blocks never change, so an image of a disk costs next to nothing.
type inodeOf struct {
	now, safe []string // blocks as they are, and as the last sync left them; all but the last are whole
}

func size(b []string) int64 {
	if len(b) == 0 {
		return 0
	}
	return int64(len(b)-1)*blockSize + int64(len(b[len(b)-1]))
}

// dirOp is a change of the folder: a file appears under to (from == ""), moves, or goes (to == "").
type dirOp struct {
	from, to string
	file     *inodeOf
}

// tapFunc is called before a call, and what it returns afterwards. torn, if not nil, makes the call take place in part.
type tapFunc func(call, name string, torn func(*rand.Rand)) (after func())

// crashDisk is the journal's disk: one folder, of which power cuts can be imagined at any call. Unlike vfs.MemFS it tells what a power cut
// leaves in an order of its own, so that a seed repeats it, and it can lose a removal or a renaming that was not synced.
type crashDisk struct {
	vfs.FS // nil: for what the journal does not call
	mu     sync.Mutex
	names  map[string]*inodeOf
	safe   map[string]*inodeOf
	undone []dirOp                 // since the folder was synced
	tap    atomic.Pointer[tapFunc] // around each call that changes anything; nil: none
}

func newCrashDisk() *crashDisk {
	return &crashDisk{names: map[string]*inodeOf{}, safe: map[string]*inodeOf{}}
}

// after returns the disk as it is after a power cut: each block and each change of the folder that was not synced is there with a chance of
// percent in 100. With 100 it is the disk as it is when the process alone dies.
func (d *crashDisk) after(rng *rand.Rand, percent int) *crashDisk {
	d.mu.Lock()
	defer d.mu.Unlock()
	lucky := func() bool { return percent == 100 || percent > 0 && rng.IntN(100) < percent }
	names := maps.Clone(d.safe)
	for _, op := range d.undone {
		if !lucky() {
			continue
		}
		if op.from != "" {
			if names[op.from] != op.file {
				continue // it is not there, since an earlier change was lost
			}
			delete(names, op.from)
		}
		if op.to != "" {
			names[op.to] = op.file
		}
	}
	c := newCrashDisk()
	made := map[*inodeOf]*inodeOf{}
	for _, name := range slices.Sorted(maps.Keys(names)) {
		f := names[name]
		if made[f] == nil {
			b := slices.Clone(f.safe)
			for i, block := range f.now {
				if i < len(f.safe) && f.safe[i] == block || !lucky() {
					continue
				}
				for len(b) <= i {
					b = append(b, zeroBlock)
				}
				b[i] = block
			}
			// What lies before a block that came through is whole.
			for i := range len(b) - 1 {
				if len(b[i]) < blockSize {
					b[i] += zeroBlock[len(b[i]):]
				}
			}
			made[f] = &inodeOf{now: b, safe: b}
		}
		c.names[name], c.safe[name] = made[f], made[f]
	}
	return c
}

var zeroBlock = string(make([]byte, blockSize))

// fingerprint goes over all that is on the disk.
func (d *crashDisk) fingerprint(h *maphash.Hash) {
	for _, name := range slices.Sorted(maps.Keys(d.names)) {
		h.WriteString(name)
		h.Write(binary.BigEndian.AppendUint64(nil, uint64(size(d.names[name].now))))
		for _, b := range d.names[name].now {
			h.WriteString(b)
		}
	}
}

func (d *crashDisk) call(call, name string, torn func(*rand.Rand), do func()) {
	after := func() {}
	if tap := d.tap.Load(); tap != nil {
		after = (*tap)(call, name, torn)
	}
	d.mu.Lock()
	do()
	d.mu.Unlock()
	after()
}

func (d *crashDisk) Create(name string, _ vfs.DiskWriteCategory) (vfs.File, error) {
	name = path.Base(name)
	f := &inodeOf{}
	d.call("create", name, nil, func() {
		d.names[name] = f
		d.undone = append(d.undone, dirOp{"", name, f})
	})
	return &crashFile{d: d, n: f, name: name}, nil
}

func (d *crashDisk) OpenReadWrite(name string, _ vfs.DiskWriteCategory, _ ...vfs.OpenOption) (vfs.File, error) {
	name = path.Base(name)
	d.mu.Lock()
	defer d.mu.Unlock()
	f := d.names[name]
	if f == nil {
		return nil, fs.ErrNotExist
	}
	return &crashFile{d: d, n: f, name: name}, nil
}

func (d *crashDisk) OpenDir(name string) (vfs.File, error) {
	return &crashFile{d: d, name: "folder"}, nil
}

func (d *crashDisk) Rename(from, to string) error {
	from, to = path.Base(from), path.Base(to)
	var err error
	d.call("rename", from, nil, func() {
		f := d.names[from]
		if f == nil {
			err = fs.ErrNotExist
			return
		}
		delete(d.names, from)
		d.names[to] = f
		d.undone = append(d.undone, dirOp{from, to, f})
	})
	return err
}

func (d *crashDisk) Remove(name string) error {
	name = path.Base(name)
	var err error
	d.call("remove", name, nil, func() {
		f := d.names[name]
		if f == nil {
			err = fs.ErrNotExist
			return
		}
		delete(d.names, name)
		d.undone = append(d.undone, dirOp{name, "", f})
	})
	return err
}

func (d *crashDisk) List(string) ([]string, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Sorted(maps.Keys(d.names)), nil
}

// Stat finds every folder there: that they are made durably is the journal's own test.
func (d *crashDisk) Stat(name string) (vfs.FileInfo, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if f := d.names[path.Base(name)]; f != nil {
		return fileInfo{size: size(f.now)}, nil
	}
	return fileInfo{dir: true}, nil
}

func (d *crashDisk) MkdirAll(string, fs.FileMode) error { return nil }
func (d *crashDisk) PathJoin(p ...string) string        { return path.Join(p...) }
func (d *crashDisk) PathDir(p string) string            { return path.Dir(p) }
func (d *crashDisk) PathBase(p string) string           { return path.Base(p) }

type fileInfo struct {
	vfs.FileInfo // nil
	size         int64
	dir          bool
}

func (i fileInfo) Size() int64 { return i.size }
func (i fileInfo) IsDir() bool { return i.dir }
func (i fileInfo) Mode() fs.FileMode {
	if i.dir {
		return fs.ModeDir | 0o700
	}
	return 0o600
}
func (i fileInfo) ModTime() time.Time { return time.Time{} }
func (i fileInfo) Sys() any           { return nil }

// crashFile is an open file, or the open folder when n is nil.
type crashFile struct {
	vfs.File // nil
	d        *crashDisk
	n        *inodeOf
	name     string
}

func (f *crashFile) WriteAt(p []byte, off int64) (int, error) {
	torn := func(rng *rand.Rand) { f.write(p[:rng.IntN(len(p))], off) }
	f.d.call("write", f.name, torn, func() { f.set(p, off) })
	return len(p), nil
}

func (f *crashFile) write(p []byte, off int64) {
	f.d.mu.Lock()
	defer f.d.mu.Unlock()
	f.set(p, off)
}

// set writes with the disk's lock held. A block that is changed is a new one.
func (f *crashFile) set(p []byte, off int64) {
	b := slices.Clone(f.n.now)
	for len(p) > 0 {
		i, at := int(off/blockSize), int(off%blockSize)
		for len(b) <= i {
			if n := len(b); n > 0 {
				b[n-1] += zeroBlock[len(b[n-1]):]
			}
			b = append(b, "")
		}
		n := min(len(p), blockSize-at)
		old := b[i]
		if at > len(old) {
			old += zeroBlock[:at-len(old)]
		}
		tail := ""
		if at+n < len(old) {
			tail = old[at+n:]
		}
		b[i] = old[:at] + string(p[:n]) + tail
		p, off = p[n:], off+int64(n)
	}
	f.n.now = b
}

func (f *crashFile) ReadAt(p []byte, off int64) (int, error) {
	f.d.mu.Lock()
	b := f.n.now
	f.d.mu.Unlock()
	done := 0
	for done < len(p) {
		i, at := int((off+int64(done))/blockSize), int((off+int64(done))%blockSize)
		if i >= len(b) || at >= len(b[i]) {
			return done, io.EOF
		}
		done += copy(p[done:], b[i][at:])
	}
	return done, nil
}

func (f *crashFile) Sync() error {
	f.d.call("sync", f.name, nil, func() {
		if f.n == nil {
			f.d.safe, f.d.undone = maps.Clone(f.d.names), nil
			return
		}
		f.n.safe = f.n.now
	})
	return nil
}

func (f *crashFile) SyncData() error { return f.Sync() }
func (f *crashFile) Close() error    { return nil }
func (f *crashFile) Fd() uintptr     { return vfs.InvalidFd }

func (f *crashFile) Stat() (vfs.FileInfo, error) { return nil, errors.ErrUnsupported }

// tapStore calls tap before each call, and what that returns afterwards.
type tapStore struct {
	*blob.MemStore
	tap atomic.Pointer[tapFunc]
	off atomic.Bool // nobody answers
}

func (s *tapStore) around(call, name string, do func() error) error {
	if s.off.Load() {
		return remote.E(call, name, remote.Unreachable, errors.New("on purpose"))
	}
	tap := s.tap.Load()
	if tap == nil {
		return do()
	}
	if h, _, ok := strings.Cut(name, "/"); ok && (h == "o" || h == "s") {
		name = h // the rest is drawn by chance
	}
	defer (*tap)(call, name, nil)()
	return do()
}

func (s *tapStore) Put(ctx context.Context, name string, data []byte) error {
	return s.around("put", name, func() error { return s.MemStore.Put(ctx, name, data) })
}

func (s *tapStore) Get(ctx context.Context, name string, limit int64) (b []byte, err error) {
	err = s.around("get", name, func() error { b, err = s.MemStore.Get(ctx, name, limit); return err })
	return b, err
}

func (s *tapStore) GetRange(ctx context.Context, name string, off int64, dst []byte) error {
	return s.around("range", name, func() error { return s.MemStore.GetRange(ctx, name, off, dst) })
}

func (s *tapStore) List(ctx context.Context, prefix, after string, fn func(blob.Info) error) error {
	return s.around("list", prefix, func() error { return s.MemStore.List(ctx, prefix, after, fn) })
}

func (s *tapStore) Delete(ctx context.Context, name string) error {
	return s.around("delete", name, func() error { return s.MemStore.Delete(ctx, name) })
}
