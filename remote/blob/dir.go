package blob

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"
	"sync"
	"syscall"
	"time"

	"megafs/remote"
)

// DirOptions are the options of Dir.
type DirOptions struct {
	Create bool // make the folder, and those above, if it is missing
}

const (
	staleTemp = 24 * time.Hour // an unfinished object that old is what a crash left
	tempStart = "put-"         // begins the names of unfinished objects
	maxFiles  = 64             // files kept open for ranges
)

// dirStore is a Store in a folder. mu owns which folder is open and what is known of it.
type dirStore struct {
	path    string
	place   place
	now     func() time.Time
	maxKeys int // a listing goes through
	room    int // names that a listing keeps in memory
	files   fileCache

	mu      sync.Mutex
	disk    disk // nil while the folder is gone
	id      fileID
	checked time.Time
	closed  bool
	folders map[string]folderState
	known   map[string]bool // first segments of names that were there
}

// Dir returns a store in a folder. A folder that isn't there is NotExist; one that goes later makes every call fail with
// Unreachable until it is back.
func Dir(path string, opts DirOptions) (Store, error) {
	if opts.Create {
		if err := makeFolder(path); err != nil {
			return nil, diskErr("make the vault's folder", path, err)
		}
	}
	s, err := openDir(path, osPlace(path))
	if err != nil {
		return nil, err
	}
	return s, nil
}

func openDir(path string, at place) (*dirStore, error) {
	const op = "open the vault's folder"
	s := &dirStore{path: path, place: at, now: time.Now, maxKeys: 50_000_000, room: 1 << 18, files: fileCache{max: maxFiles},
		folders: map[string]folderState{}, known: map[string]bool{}}
	s.mu.Lock()
	_, err := at.look()
	if err == nil {
		err = s.open()
	}
	s.mu.Unlock()
	switch {
	case err == nil:
		s.learn()
		s.sweep()
		return s, nil
	case errors.Is(err, fs.ErrNotExist):
		return nil, remote.E(op, path, remote.NotExist, fmt.Errorf("vault folder %s not there: check the path, mount its disk, or make a vault there first", path))
	case errors.Is(err, syscall.ENOTDIR):
		return nil, remote.E(op, path, remote.NotDir, err)
	}
	return nil, diskErr(op, path, err)
}

// learn notes what is in the folder, to know it again.
func (s *dirStore) learn() {
	s.eachEntry(".", func(_ folder, e entry) {
		if e.name != tmpDir && validPath(e.name) {
			s.seen(e.name)
		}
	})
}

// sweep removes what crashes left. What can't be removed stays: it is in nobody's way.
func (s *dirStore) sweep() {
	s.eachEntry(tmpDir, func(f folder, e entry) {
		if e.typ != plainFile || !strings.HasPrefix(e.name, tempStart) {
			return
		}
		if st, err := f.stat(e.name); err == nil && s.now().Sub(st.mtime) > staleTemp {
			s.disk.remove(tmpDir + "/" + e.name)
		}
	})
}

// eachEntry is for the time before the store is anybody's.
func (s *dirStore) eachEntry(name string, fn func(folder, entry)) {
	if st, err := s.disk.stat(name); err != nil || st.typ != folderFile {
		return
	}
	f, err := s.disk.openFolder(name)
	if err != nil {
		return
	}
	defer f.close()
	for es, err := f.next(); err == nil; es, err = f.next() {
		for _, e := range es {
			fn(f, e)
		}
	}
}

// Put implements Store.
func (s *dirStore) Put(ctx context.Context, name string, data []byte) error {
	if err := check(ctx, "put", name); err != nil {
		return err
	}
	d, err := s.enter("put")
	if err != nil {
		return err
	}
	for attempt := 0; ; attempt++ {
		err = s.put(ctx, d, name, data)
		if attempt > 0 || !errors.Is(err, fs.ErrNotExist) {
			break
		}
		// Somebody removed a folder that was there before.
		s.mu.Lock()
		s.forgetFolders()
		s.mu.Unlock()
	}
	if errors.Is(err, fs.ErrNotExist) {
		err = fmt.Errorf("folders come and go: %w (%v)", syscall.ESTALE, err)
	}
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return s.fail(d, "put", name, err)
	}
	if gone := s.still(d, "put", name); gone != nil {
		return gone // and with it what was written
	}
	s.seen(name)
	if err != nil {
		return remote.E("put", name, remote.Exist, nil)
	}
	return nil
}

// put makes the object, or returns fs.ErrExist once the one that is there is durable.
func (s *dirStore) put(ctx context.Context, d disk, name string, data []byte) error {
	dir := path.Dir(name)
	if err := s.makeFolders(d, dir); err != nil {
		return err
	}
	f, err := d.openFolder(dir)
	if err != nil {
		return err
	}
	defer f.close()
	taken := func() error {
		if err := s.syncFolder(d, dir, f); err != nil {
			return err
		}
		return fs.ErrExist
	}
	if s.folder(d, dir) == folderBroken {
		return errNotSound
	}
	if st, err := d.stat(name); err == nil && st.typ == folderFile {
		return remote.E("put", name, remote.Invalid, errors.New("the name is also the folder of other objects"))
	} else if err == nil {
		return taken()
	} else if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := s.makeFolders(d, tmpDir); err != nil {
		return err
	}
	temp, err := writeTemp(d, data)
	if err != nil {
		return err
	}
	defer d.remove(temp)
	if err := checkCtx(ctx, "put", name); err != nil {
		return err
	}
	if err := d.link(temp, name); errors.Is(err, fs.ErrExist) {
		if !same(d, temp, name) {
			return taken()
		}
		// A server did it, and its answer was lost: the second asking found the first one's work.
	} else if errors.Is(err, syscall.EPERM) {
		return fmt.Errorf("%w (%w)", syscall.ENOTSUP, err) // so says FAT; the temporary file shows that we may write
	} else if err != nil {
		return err
	}
	return s.syncFolder(d, dir, f)
}

// same says whether two names are one file.
func same(d disk, a, b string) bool {
	x, errX := d.stat(a)
	y, errY := d.stat(b)
	return errX == nil && errY == nil && x.fileID == y.fileID && x.fileID != fileID{}
}

// writeTemp writes a file that has all its bytes on the disk when it returns.
func writeTemp(d disk, data []byte) (name string, err error) {
	var random [16]byte
	rand.Read(random[:])
	name = tmpDir + "/" + tempStart + hex.EncodeToString(random[:])
	f, err := d.create(name)
	if errors.Is(err, fs.ErrExist) {
		return "", fmt.Errorf("random name %s is taken: %v", name, err)
	}
	if err != nil {
		return "", err
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		d.remove(name)
	}
	return name, err
}

// openObject opens a file for reading. The caller closes it.
func (s *dirStore) openObject(d disk, name string) (fileReader, error) {
	if err := s.plainFolder(d, path.Dir(name)); err != nil {
		return nil, err
	}
	return d.open(name)
}

// Get implements Store.
func (s *dirStore) Get(ctx context.Context, name string, limit int64) ([]byte, error) {
	if err := check(ctx, "get", name); err != nil {
		return nil, err
	}
	d, err := s.enter("get")
	if err != nil {
		return nil, err
	}
	f, err := s.openObject(d, name)
	if err != nil {
		return nil, s.fail(d, "get", name, err)
	}
	defer f.Close()
	st, err := f.stat()
	if err != nil {
		return nil, s.fail(d, "get", name, err)
	}
	if st.size > limit {
		return nil, tooLarge(name)
	}
	b := make([]byte, st.size)
	if err := readFull(f, b, 0); err == io.EOF {
		return nil, tooShort("get", name)
	} else if err != nil {
		return nil, s.fail(d, "get", name, err)
	}
	return b, nil
}

// readFull is ReadAt with io.EOF only for a file that is too short.
func readFull(f io.ReaderAt, b []byte, off int64) error {
	n, err := f.ReadAt(b, off)
	if n == len(b) {
		return nil
	}
	return err
}

// GetRange implements Store.
func (s *dirStore) GetRange(ctx context.Context, name string, off int64, dst []byte) error {
	const op = "get range"
	if err := check(ctx, op, name); err != nil {
		return err
	}
	d, err := s.enter(op)
	if err != nil {
		return err
	}
	f, st, err := s.openCached(d, name)
	if err != nil {
		return s.fail(d, op, name, err)
	}
	defer s.files.put(f)
	if err := checkRange(name, off, len(dst), st.size); err != nil {
		return err
	}
	if err := readFull(f, dst, off); err == io.EOF {
		return tooShort(op, name)
	} else if err != nil {
		return s.fail(d, op, name, err)
	}
	return nil
}

// openCached is openObject for a file that may be open already. It is given back with files.put.
func (s *dirStore) openCached(d disk, name string) (*openFile, fileStat, error) {
	f, gen := s.files.get(name)
	for ; f != nil; f, gen = s.files.get(name) {
		st, err := f.stat()
		if err == nil && st.links > 0 {
			return f, st, nil
		}
		s.files.put(f)
		s.files.remove(name)
	}
	r, err := s.openObject(d, name)
	if err != nil {
		return nil, fileStat{}, err
	}
	st, err := r.stat()
	if err != nil {
		r.Close()
		return nil, fileStat{}, err
	}
	return s.files.add(name, r, gen), st, nil
}

// Size implements Store.
func (s *dirStore) Size(ctx context.Context, name string) (int64, error) {
	if err := check(ctx, "size", name); err != nil {
		return 0, err
	}
	d, err := s.enter("size")
	if err != nil {
		return 0, err
	}
	st, err := s.statObject(d, name)
	if err == nil {
		err = st.plain(name)
	}
	if err != nil {
		return 0, s.fail(d, "size", name, err)
	}
	return st.size, nil
}

// Delete implements Store.
func (s *dirStore) Delete(ctx context.Context, name string) error {
	if err := check(ctx, "delete", name); err != nil {
		return err
	}
	d, err := s.enter("delete")
	if err != nil {
		return err
	}
	st, err := s.statObject(d, name)
	if err == nil && st.typ == folderFile {
		err = fs.ErrNotExist // remove would take an empty one
	}
	if err == nil {
		err = d.remove(name)
		s.files.remove(name) // after the name is gone, so that nobody opens it again
		s.unseen(name)
	}
	if err != nil {
		err = s.fail(d, "delete", name, err)
	}
	if remote.Is(err, remote.NotExist) {
		return nil
	}
	return err
}

func (s *dirStore) statObject(d disk, name string) (fileStat, error) {
	if err := s.plainFolder(d, path.Dir(name)); err != nil {
		return fileStat{}, err
	}
	return d.stat(name)
}

// Usage implements Store. It speaks of the whole disk, for the vault may use all that is free there.
func (s *dirStore) Usage(ctx context.Context) (u remote.Usage, err error) {
	if err := checkCtx(ctx, "usage", ""); err != nil {
		return u, err
	}
	d, err := s.enter("usage")
	if err != nil {
		return u, err
	}
	if u, err = d.usage(); err != nil {
		return u, s.fail(d, "usage", s.path, err)
	}
	return u, nil
}

// Close implements Store.
func (s *dirStore) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	s.drop()
	return nil
}
