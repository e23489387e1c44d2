package blob

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"sort"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"megafs/remote"
)

// DirOptions are the options of Dir.
type DirOptions struct {
	Create bool // make the folder when it is missing
}

// tmpDir is where an object lies until it is whole.
const tmpDir = "tmp"

// staleTemp is how old what is left there must be to be the rest of a crash.
const staleTemp = 24 * time.Hour

// dirStore keeps objects as files. An object is written to a temporary file, synced, linked to its name, and the folder is
// synced: a name that is there has all its bytes, and one that was acknowledged stays.
//
// root is opened once; os.Root sees to it that no symbolic link leads out. When the folder is taken away, its path leads elsewhere or
// nowhere, and every call fails with Unreachable until it is back.
type dirStore struct {
	path string

	mu      sync.Mutex
	root    *os.Root
	checked time.Time
	made    map[string]bool     // folders that exist and are synced
	files   map[string]*os.File // open for reading, by name
}

// Dir returns a store in a folder.
func Dir(p string, o DirOptions) (Store, error) {
	if o.Create {
		if err := os.MkdirAll(p, 0o700); err != nil {
			return nil, mapErr("make the vault's folder", p, err)
		}
	}
	s := &dirStore{path: p, made: map[string]bool{}, files: map[string]*os.File{}}
	if fi, err := os.Stat(p); err != nil {
		return nil, mapErr("open the vault's folder", p, err)
	} else if !fi.IsDir() {
		return nil, remote.E("open the vault's folder", p, remote.NotDir, nil)
	}
	if _, err := s.open(); err != nil {
		return nil, err
	}
	s.sweep()
	return s, nil
}

// mapErr gives an error of the disk its kind.
func mapErr(op, object string, err error) error {
	if err == nil {
		return nil
	}
	kind := remote.IO
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ESTALE):
		kind = remote.NotExist
	case errors.Is(err, fs.ErrExist):
		kind = remote.Exist
	case errors.Is(err, syscall.ENOSPC):
		kind = remote.NoSpace
		err = fmt.Errorf("the disk of the vault's folder is full, make room there: %w", err)
	case errors.Is(err, syscall.EDQUOT):
		kind = remote.Quota
	case errors.Is(err, syscall.EROFS):
		kind = remote.ReadOnly
		err = fmt.Errorf("the vault's folder is on a read-only file system, mount it writable: %w", err)
	case errors.Is(err, fs.ErrPermission):
		kind = remote.Permission
		err = fmt.Errorf("the vault's folder can't be used by this user, check its owner and mode: %w", err)
	}
	return remote.E(op, object, kind, err)
}

// open returns the root, looking once a second whether the path still leads there.
func (s *dirStore) open() (*os.Root, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.root != nil && time.Since(s.checked) < time.Second {
		return s.root, nil
	}
	gone := func(err error) (*os.Root, error) {
		s.drop()
		return nil, remote.E("reach the vault's folder", s.path, remote.Unreachable, err)
	}
	now, err := os.Stat(s.path)
	if err != nil {
		return gone(err)
	}
	if s.root != nil {
		if was, err := s.root.Stat("."); err == nil && os.SameFile(was, now) {
			s.checked = time.Now()
			return s.root, nil
		}
		s.drop()
	}
	r, err := os.OpenRoot(s.path)
	if err != nil {
		return gone(err)
	}
	s.root, s.checked = r, time.Now()
	return r, nil
}

// drop closes everything that is open below the root. Called with mu held.
func (s *dirStore) drop() {
	for _, f := range s.files {
		f.Close()
	}
	clear(s.files)
	clear(s.made)
	if s.root != nil {
		s.root.Close()
		s.root = nil
	}
}

// sweep removes what crashes left.
func (s *dirStore) sweep() {
	r, err := s.open()
	if err != nil {
		return
	}
	d, err := r.Open(tmpDir)
	if err != nil {
		return
	}
	defer d.Close()
	list, _ := d.ReadDir(-1)
	for _, e := range list {
		if fi, err := e.Info(); err == nil && time.Since(fi.ModTime()) > staleTemp {
			r.Remove(tmpDir + "/" + e.Name())
		}
	}
}

// folder makes a folder and those above it, durably.
func (s *dirStore) folder(r *os.Root, dir string) error {
	s.mu.Lock()
	ok := s.made[dir]
	s.mu.Unlock()
	if ok {
		return nil
	}
	if dir != "." {
		if err := s.folder(r, path.Dir(dir)); err != nil {
			return err
		}
		err := r.Mkdir(dir, 0o700)
		if err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
		if err := syncDir(r, path.Dir(dir)); err != nil {
			return err
		}
	}
	s.mu.Lock()
	s.made[dir] = true
	s.mu.Unlock()
	return nil
}

func syncDir(r *os.Root, dir string) error {
	d, err := r.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

// Put implements Store.
func (s *dirStore) Put(ctx context.Context, name string, data []byte) error {
	if err := errors.Join(checkName("put", name), checkCtx(ctx, "put", name)); err != nil {
		return err
	}
	r, err := s.open()
	if err != nil {
		return err
	}
	if _, err := r.Lstat(name); err == nil {
		return remote.E("put", name, remote.Exist, nil)
	}
	return s.gone(mapErr("put", name, s.put(r, name, data)))
}

// gone says Unreachable for an error that comes of the folder having been taken away.
func (s *dirStore) gone(err error) error {
	if err == nil || !remote.Is(err, remote.NotExist) {
		return err
	}
	s.mu.Lock()
	s.checked = time.Time{}
	s.mu.Unlock()
	if _, e := s.open(); e != nil {
		return e
	}
	return err
}

func (s *dirStore) put(r *os.Root, name string, data []byte) (err error) {
	if err := s.folder(r, tmpDir); err != nil {
		return err
	}
	dir := path.Dir(name)
	if err := s.folder(r, dir); err != nil {
		return err
	}
	var random [16]byte
	rand.Read(random[:])
	tmp := tmpDir + "/" + hex.EncodeToString(random[:])
	f, err := r.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer r.Remove(tmp)
	if _, err = f.Write(data); err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return err
	}
	if err := r.Link(tmp, name); err != nil {
		return err
	}
	return syncDir(r, dir)
}

// maxOpen bounds the files kept open for ranges.
const maxOpen = 128

// file returns an object's open file. The caller holds it only while it reads; release gives it back.
func (s *dirStore) file(name string) (f *os.File, release func(), err error) {
	r, err := s.open()
	if err != nil {
		return nil, nil, err
	}
	s.mu.Lock()
	if f := s.files[name]; f != nil {
		delete(s.files, name) // nobody else closes it meanwhile
		s.mu.Unlock()
		return f, func() { s.keep(name, f) }, nil
	}
	s.mu.Unlock()
	f, err = r.OpenFile(name, os.O_RDONLY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return nil, nil, s.gone(mapErr("get", name, err))
	}
	return f, func() { s.keep(name, f) }, nil
}

// keep puts a file back for the next range.
func (s *dirStore) keep(name string, f *os.File) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.files[name] != nil || s.root == nil {
		f.Close()
		return
	}
	if len(s.files) >= maxOpen {
		for n, old := range s.files {
			old.Close()
			delete(s.files, n)
			break
		}
	}
	s.files[name] = f
}

// Get implements Store.
func (s *dirStore) Get(ctx context.Context, name string, limit int64) ([]byte, error) {
	if err := errors.Join(checkName("get", name), checkCtx(ctx, "get", name)); err != nil {
		return nil, err
	}
	r, err := s.open()
	if err != nil {
		return nil, err
	}
	f, err := r.OpenFile(name, os.O_RDONLY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return nil, s.gone(mapErr("get", name, err))
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil {
		return nil, mapErr("get", name, err)
	}
	if fi.Size() > limit {
		return nil, remote.E("get", name, remote.TooLarge, fmt.Errorf("%d bytes, at most %d make sense", fi.Size(), limit))
	}
	b, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(b)) > limit {
		return nil, remote.E("get", name, remote.TooLarge, nil)
	}
	return b, mapErr("get", name, err)
}

// GetRange implements Store.
func (s *dirStore) GetRange(ctx context.Context, name string, off int64, dst []byte) error {
	if err := errors.Join(checkName("get", name), checkCtx(ctx, "get", name)); err != nil {
		return err
	}
	f, release, err := s.file(name)
	if err != nil {
		return err
	}
	defer release()
	_, err = f.ReadAt(dst, off)
	if err == io.EOF {
		return remote.E("get", name, remote.Integrity, errors.New("object too short"))
	}
	return mapErr("get", name, err)
}

// Size implements Store.
func (s *dirStore) Size(ctx context.Context, name string) (int64, error) {
	if err := errors.Join(checkName("size", name), checkCtx(ctx, "size", name)); err != nil {
		return 0, err
	}
	r, err := s.open()
	if err != nil {
		return 0, err
	}
	fi, err := r.Lstat(name)
	if err != nil {
		return 0, s.gone(mapErr("size", name, err))
	}
	return fi.Size(), nil
}

// maxKeys is how many names one listing goes through.
const maxKeys = 50_000_000

// List implements Store. Names that no object can have are passed over.
func (s *dirStore) List(ctx context.Context, prefix, after string, fn func(Info) error) error {
	r, err := s.open()
	if err != nil {
		return err
	}
	n := 0
	dir := "."
	if i := strings.LastIndexByte(prefix, '/'); i >= 0 {
		dir = prefix[:i]
		if !ValidName(dir) {
			return nil
		}
	}
	return s.gone(s.walk(ctx, r, dir, prefix, after, fn, &n))
}

func (s *dirStore) walk(ctx context.Context, r *os.Root, dir, prefix, after string, fn func(Info) error, n *int) error {
	d, err := r.Open(dir)
	if errors.Is(err, fs.ErrNotExist) && dir != "." {
		return nil
	}
	if err != nil {
		return mapErr("list", dir, err)
	}
	list, err := d.ReadDir(-1)
	d.Close()
	if err != nil {
		return mapErr("list", dir, err)
	}
	// A folder sorts as its name with the slash that follows it.
	key := func(e fs.DirEntry) string {
		if e.IsDir() {
			return e.Name() + "/"
		}
		return e.Name()
	}
	sort.Slice(list, func(i, j int) bool { return key(list[i]) < key(list[j]) })
	for _, e := range list {
		if err := checkCtx(ctx, "list", prefix); err != nil {
			return err
		}
		if *n++; *n > maxKeys {
			return remote.E("list", prefix, remote.TooLarge, nil)
		}
		name := e.Name()
		if dir != "." {
			name = dir + "/" + name
		}
		if !ValidName(name) || dir == "." && e.Name() == tmpDir {
			continue
		}
		switch {
		case e.IsDir():
			if !strings.HasPrefix(name+"/", prefix) && !strings.HasPrefix(prefix, name+"/") || after > name+"0" && !strings.HasPrefix(after, name+"/") {
				continue
			}
			if err := s.walk(ctx, r, name, prefix, after, fn, n); err != nil {
				return err
			}
		case e.Type().IsRegular() && strings.HasPrefix(name, prefix) && name > after:
			fi, err := e.Info()
			if err != nil {
				continue // it went meanwhile
			}
			if err := fn(Info{name, fi.Size()}); err != nil {
				return err
			}
		}
	}
	return nil
}

// Delete implements Store.
func (s *dirStore) Delete(ctx context.Context, name string) error {
	if err := errors.Join(checkName("delete", name), checkCtx(ctx, "delete", name)); err != nil {
		return err
	}
	r, err := s.open()
	if err != nil {
		return err
	}
	s.mu.Lock()
	if f := s.files[name]; f != nil {
		f.Close()
		delete(s.files, name)
	}
	s.mu.Unlock()
	err = s.gone(mapErr("delete", name, r.Remove(name)))
	if remote.Is(err, remote.NotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return mapErr("delete", name, syncDir(r, path.Dir(name)))
}

// Usage implements Store: the disk's, for the vault shares it.
func (s *dirStore) Usage(ctx context.Context) (remote.Usage, error) {
	if err := checkCtx(ctx, "usage", ""); err != nil {
		return remote.Usage{}, err
	}
	if _, err := s.open(); err != nil {
		return remote.Usage{}, err
	}
	var st unix.Statfs_t
	if err := unix.Statfs(s.path, &st); err != nil {
		return remote.Usage{}, s.gone(mapErr("usage", s.path, err))
	}
	b := uint64(st.Bsize)
	return remote.Usage{Used: (st.Blocks - st.Bfree) * b, Total: st.Blocks * b, Free: st.Bavail * b}, nil
}

// Close implements Store.
func (s *dirStore) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.drop()
	return nil
}
