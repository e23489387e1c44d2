package cache

import (
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"megafs/remote"
)

// Names in the folder.
const (
	lockName  = "lock"
	indexName = "index"
	cleanName = "clean"
	slabName  = "slab-"
)

// minLimit is the least Options.Limit with which there is a cache on disk.
const minLimit = 16 << 20

// layout divides the limit.
type layout struct {
	slots    uint32
	memtable int64 // of badger
	index    int64 // bytes for badger's files
}

// layoutFor gives badger room for what it needs whatever it holds (the value log and its statistics, which stay empty: 3 MiB; two memtables' logs of
// twice their size; tables of level 0), and 200 bytes for each slot, whose record has 60 in a table.
func layoutFor(limit int64) (l layout, ok bool) {
	if limit < minLimit {
		return l, false
	}
	l.memtable = min(max(limit/512, 128<<10), 8<<20)
	l.index = 4<<20 + 12*l.memtable + limit/slotSize*200
	l.slots = uint32(min((limit-l.index)/slotSize, 1<<31))
	return l, true
}

// folder is the cache's folder.
type folder struct {
	path string
	root *os.Root
	lock *os.File
	key  []byte // of the MAC
	db   []byte // badger's key
}

// openFolder makes the folder if need be and takes its lock.
func openFolder(path string, key [32]byte) (_ *folder, err error) {
	fail := func(kind remote.Kind, err error) (*folder, error) {
		return nil, remote.E("open cache", path, kind, err)
	}
	if err := os.MkdirAll(path, 0o700); err != nil {
		return fail(diskKind(err), err)
	}
	d := &folder{path: path}
	if d.root, err = os.OpenRoot(path); err != nil {
		return fail(diskKind(err), err)
	}
	defer func() {
		if err != nil {
			d.close()
		}
	}()
	fi, err := d.root.Stat(".")
	if err != nil {
		return fail(diskKind(err), err)
	}
	if st, ok := fi.Sys().(*syscall.Stat_t); ok && int(st.Uid) != os.Geteuid() {
		return fail(remote.Permission, errors.New("the folder belongs to another user; choose another with --cache"))
	}
	if fi.Mode().Perm()&0o077 != 0 {
		if err := d.root.Chmod(".", 0o700); err != nil {
			return fail(diskKind(err), err)
		}
	}
	if d.lock, err = d.root.OpenFile(lockName, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600); err != nil {
		return fail(diskKind(err), err)
	}
	if err := unix.Flock(int(d.lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		if errors.Is(err, unix.EWOULDBLOCK) {
			return fail(remote.Busy, errors.New("another megafs uses the folder"))
		}
		return fail(remote.IO, err)
	}
	if d.key, err = hkdf.Expand(sha256.New, key[:], "megafs cache 1 index mac", 32); err != nil {
		return fail(remote.Other, err)
	}
	if d.db, err = hkdf.Expand(sha256.New, key[:], "megafs cache 1 badger", 32); err != nil {
		return fail(remote.Other, err)
	}
	return d, nil
}

// diskKind is the kind of an error of the local disk.
func diskKind(err error) remote.Kind {
	switch {
	case errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT):
		return remote.NoSpace
	case errors.Is(err, fs.ErrPermission) || errors.Is(err, unix.EROFS):
		return remote.Permission
	}
	return remote.IO
}

func (d *folder) close() error {
	var errs []error
	if d.lock != nil {
		errs = append(errs, d.lock.Close())
	}
	return errors.Join(append(errs, d.root.Close())...)
}

// verify reports whether the index is as a clean Close left it, and takes the mark of that away.
func (d *folder) verify() bool {
	mark, err := d.read(cleanName)
	if err != nil || len(mark) != sha256.Size {
		return false
	}
	mac, err := d.mac()
	return err == nil && hmac.Equal(mark, mac) && d.root.Remove(cleanName) == nil
}

// seal marks the index as cleanly closed.
func (d *folder) seal() error {
	mac, err := d.mac()
	if err != nil {
		return err
	}
	f, err := d.root.OpenFile(cleanName, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(mac)
	return errors.Join(err, f.Close())
}

// mac is computed over the names, lengths and contents of all of badger's files.
func (d *folder) mac() ([]byte, error) {
	entries, err := d.list(indexName)
	if err != nil {
		return nil, err
	}
	sort.Slice(entries, func(i, j int) bool { return entries[i].Name() < entries[j].Name() })
	h := hmac.New(sha256.New, d.key)
	for _, e := range entries {
		if !e.Type().IsRegular() {
			return nil, errors.New("the index has something that is no file")
		}
		f, err := d.root.OpenFile(filepath.Join(indexName, e.Name()), os.O_RDONLY|unix.O_NOFOLLOW, 0)
		if err != nil {
			return nil, err
		}
		h.Write(binary.LittleEndian.AppendUint64(nil, uint64(len(e.Name()))))
		h.Write([]byte(e.Name()))
		n, err := io.Copy(h, f)
		f.Close()
		if err != nil {
			return nil, err
		}
		h.Write(binary.LittleEndian.AppendUint64(nil, uint64(n)))
	}
	return h.Sum(nil), nil
}

// read returns a small file's content.
func (d *folder) read(name string) ([]byte, error) {
	f, err := d.root.OpenFile(name, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, 4096))
}

// list returns a folder's entries; name "." is the folder itself.
func (d *folder) list(name string) ([]os.DirEntry, error) {
	if fi, err := d.root.Lstat(name); err != nil {
		return nil, err
	} else if !fi.IsDir() {
		return nil, errors.New("the index is no folder")
	}
	f, err := d.root.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return f.ReadDir(-1)
}

// wipe removes all of the cache but its lock.
func (d *folder) wipe() error {
	entries, err := d.list(".")
	for _, e := range entries {
		// "slab" and "open" were names of an earlier form.
		if n := e.Name(); n == cleanName || n == indexName || n == "slab" || n == "open" || strings.HasPrefix(n, slabName) {
			err = errors.Join(err, d.root.RemoveAll(n))
		}
	}
	if err != nil {
		return remote.E("empty the cache", d.path, diskKind(err), err)
	}
	return nil
}

// indexBytes returns how long badger's files are together.
func (d *folder) indexBytes() (n int64) {
	entries, _ := d.list(indexName)
	for _, e := range entries {
		if fi, err := e.Info(); err == nil {
			n += fi.Size()
		}
	}
	return n
}

// roomFor reports whether the disk can take n more bytes and still has some left for others, the journal first of all.
func (d *folder) roomFor(n int64) bool {
	var st unix.Statfs_t
	if unix.Fstatfs(int(d.lock.Fd()), &st) != nil {
		return true
	}
	free, total := int64(st.Bavail)*st.Bsize, int64(st.Blocks)*st.Bsize
	return free-n >= min(128<<20, total/20)
}
