package blob

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"megafs/remote"
)

// osPlace is a path of the operating system.
type osPlace string

func (p osPlace) look() (fileID, error) {
	fi, err := os.Stat(string(p))
	if err != nil {
		return fileID{}, err
	}
	if !fi.IsDir() {
		return fileID{}, &fs.PathError{Op: "open", Path: string(p), Err: syscall.ENOTDIR}
	}
	return statOf(fi).fileID, nil
}

func (p osPlace) open() (disk, error) {
	r, err := os.OpenRoot(string(p))
	if err != nil {
		return nil, err
	}
	return osDisk{r}, nil
}

// osDisk is a folder of the operating system.
type osDisk struct{ root *os.Root }

func (d osDisk) id() (fileID, error) {
	st, err := d.stat(".")
	return st.fileID, err
}

func (d osDisk) create(name string) (fileWriter, error) {
	f, err := d.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, err
	}
	return f, nil
}

// open looks before it opens, for os.Root follows links that stay inside, and to open a device may set something off.
func (d osDisk) open(name string) (fileReader, error) {
	st, err := d.stat(name)
	if err != nil {
		return nil, err
	}
	if err := st.plain(name); err != nil {
		return nil, err
	}
	f, err := d.root.OpenFile(name, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	// What is asked for is asked for by name: reading around it only takes the disk's time. An error of this changes nothing.
	if c, err := f.SyscallConn(); err == nil {
		c.Control(func(fd uintptr) { unix.Fadvise(int(fd), 0, 0, unix.FADV_RANDOM) })
	}
	o := osFile{f}
	if st, err = o.stat(); err == nil {
		err = st.plain(name)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return o, nil
}

func (d osDisk) openFolder(name string) (folder, error) {
	f, err := d.root.OpenFile(name, os.O_RDONLY|unix.O_DIRECTORY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	return osFolder{f}, nil
}

func (d osDisk) stat(name string) (fileStat, error) {
	fi, err := d.root.Lstat(name)
	if err != nil {
		return fileStat{}, err
	}
	return statOf(fi), nil
}

func (d osDisk) link(from, to string) error { return d.root.Link(from, to) }
func (d osDisk) remove(name string) error   { return d.root.Remove(name) }
func (d osDisk) mkdir(name string) error    { return d.root.Mkdir(name, 0o700) }
func (d osDisk) close() error               { return d.root.Close() }

func (d osDisk) usage() (u remote.Usage, err error) {
	f, err := d.root.Open(".")
	if err != nil {
		return u, err
	}
	defer f.Close()
	var st unix.Statfs_t
	if err := unix.Fstatfs(int(f.Fd()), &st); err != nil {
		return u, &fs.PathError{Op: "statfs", Path: ".", Err: err}
	}
	unit := uint64(st.Frsize)
	return remote.Usage{Used: (st.Blocks - st.Bfree) * unit, Total: st.Blocks * unit, Free: st.Bavail * unit}, nil
}

type osFile struct{ *os.File }

func (f osFile) stat() (fileStat, error) {
	fi, err := f.Stat()
	if err != nil {
		return fileStat{}, err
	}
	return statOf(fi), nil
}

type osFolder struct{ f *os.File }

func (d osFolder) close() error { return d.f.Close() }
func (d osFolder) sync() error  { return d.f.Sync() }

func (d osFolder) next() ([]entry, error) {
	list, err := d.f.ReadDir(1024)
	if len(list) == 0 {
		return nil, err
	}
	es := make([]entry, len(list))
	for i, e := range list {
		es[i] = entry{e.Name(), typeOf(e.Type())}
	}
	return es, nil
}

func (d osFolder) stat(name string) (fileStat, error) {
	var st unix.Stat_t
	err := unix.Fstatat(int(d.f.Fd()), name, &st, unix.AT_SYMLINK_NOFOLLOW)
	runtime.KeepAlive(d.f)
	if err != nil {
		return fileStat{}, &fs.PathError{Op: "fstatat", Path: name, Err: err}
	}
	typ := otherFile
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		typ = plainFile
	case unix.S_IFDIR:
		typ = folderFile
	}
	return fileStat{fileID{st.Dev, st.Ino}, typ, st.Size, uint64(st.Nlink), time.Unix(st.Mtim.Unix())}, nil
}

func typeOf(m fs.FileMode) fileType {
	switch {
	case m.IsRegular():
		return plainFile
	case m.IsDir():
		return folderFile
	}
	return otherFile
}

func statOf(fi fs.FileInfo) fileStat {
	s := fi.Sys().(*syscall.Stat_t)
	return fileStat{fileID{s.Dev, s.Ino}, typeOf(fi.Mode()), fi.Size(), uint64(s.Nlink), fi.ModTime()}
}

// makeFolder makes the vault's folder and those above it that are missing, and syncs what it is in.
func makeFolder(p string) error {
	if _, err := os.Stat(p); err == nil || !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	parent := filepath.Dir(filepath.Clean(p))
	if err := makeFolder(parent); err != nil {
		return err
	}
	if err := os.Mkdir(p, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	f, err := os.Open(parent)
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Sync()
}
