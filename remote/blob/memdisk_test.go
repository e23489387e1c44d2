package blob

import (
	"io"
	"io/fs"
	"path"

	"github.com/cockroachdb/pebble/v2/vfs"

	"megafs/remote"
)

// memPlace is where a memDisk is.
type memPlace struct{ fs *vfs.MemFS }

func (p memPlace) look() (fileID, error) { return memDisk(p).id() }
func (p memPlace) open() (disk, error)   { return memDisk(p), nil }

// memDisk is a disk in memory that can lose power: pebble's file system keeps what was synced and any part of the rest.
type memDisk struct{ fs *vfs.MemFS }

func (p memDisk) id() (fileID, error) { return fileID{1, 1}, nil }
func (p memDisk) close() error        { return nil }
func (p memDisk) usage() (remote.Usage, error) {
	return remote.Usage{}, nil
}

func (p memDisk) create(name string) (fileWriter, error) {
	if _, err := p.fs.Stat(name); err == nil {
		return nil, fs.ErrExist
	}
	return p.fs.Create(name, vfs.WriteCategoryUnspecified)
}

func (p memDisk) open(name string) (fileReader, error) {
	f, err := p.fs.Open(name)
	if err != nil {
		return nil, err
	}
	return memFile{f}, nil
}

func (p memDisk) openFolder(name string) (folder, error) {
	f, err := p.fs.OpenDir(name)
	if err != nil {
		return nil, err
	}
	return &memFolder{disk: p, name: name, f: f}, nil
}

func (p memDisk) stat(name string) (fileStat, error) {
	fi, err := p.fs.Stat(name)
	if err != nil {
		return fileStat{}, err
	}
	return memStat(fi), nil
}

func memStat(fi vfs.FileInfo) fileStat {
	st := fileStat{typ: plainFile, size: fi.Size(), links: 1, mtime: fi.ModTime()}
	if fi.IsDir() {
		st.typ = folderFile
	}
	return st
}

func (p memDisk) link(from, to string) error { return p.fs.Link(from, to) }
func (p memDisk) remove(name string) error   { return p.fs.Remove(name) }
func (p memDisk) mkdir(name string) error {
	if _, err := p.fs.Stat(name); err == nil {
		return fs.ErrExist
	}
	if _, err := p.fs.Stat(path.Dir(name)); err != nil {
		return err
	}
	return p.fs.MkdirAll(name, 0o700)
}

type memFile struct{ vfs.File }

func (f memFile) stat() (fileStat, error) {
	fi, err := f.Stat()
	if err != nil {
		return fileStat{}, err
	}
	return memStat(fi), nil
}

type memFolder struct {
	disk memDisk
	name string
	f    vfs.File
	read bool
}

func (d *memFolder) close() error { return d.f.Close() }
func (d *memFolder) sync() error  { return d.f.Sync() }
func (d *memFolder) stat(name string) (fileStat, error) {
	return d.disk.stat(path.Join(d.name, name))
}

func (d *memFolder) next() (es []entry, err error) {
	if d.read {
		return nil, io.EOF
	}
	d.read = true
	names, err := d.disk.fs.List(d.name)
	for _, n := range names {
		if st, err := d.stat(n); err == nil {
			es = append(es, entry{n, st.typ})
		}
	}
	return es, err
}

// tap makes a place whose disks ask before each call, and fail with the answer.
func tap(at place, before func(op, name string) error) place { return tappedPlace{at, before} }

type tappedPlace struct {
	place
	before func(op, name string) error
}

func (p tappedPlace) open() (disk, error) {
	d, err := p.place.open()
	if err != nil {
		return nil, err
	}
	return &tapped{d, p.before}, nil
}

type tapped struct {
	disk
	before func(op, name string) error
}

func (t *tapped) create(name string) (fileWriter, error) {
	if err := t.before("create", name); err != nil {
		return nil, err
	}
	f, err := t.disk.create(name)
	if err != nil {
		return nil, err
	}
	return tappedFile{f, t, name}, nil
}

func (t *tapped) open(name string) (fileReader, error) {
	if err := t.before("open", name); err != nil {
		return nil, err
	}
	return t.disk.open(name)
}

func (t *tapped) openFolder(name string) (folder, error) {
	if err := t.before("open folder", name); err != nil {
		return nil, err
	}
	f, err := t.disk.openFolder(name)
	if err != nil {
		return nil, err
	}
	return tappedFolder{f, t, name}, nil
}

func (t *tapped) stat(name string) (fileStat, error) {
	if err := t.before("stat", name); err != nil {
		return fileStat{}, err
	}
	return t.disk.stat(name)
}

func (t *tapped) link(from, to string) error {
	if err := t.before("link", to); err != nil {
		return err
	}
	return t.disk.link(from, to)
}

func (t *tapped) remove(name string) error {
	if err := t.before("remove", name); err != nil {
		return err
	}
	return t.disk.remove(name)
}

func (t *tapped) mkdir(name string) error {
	if err := t.before("mkdir", name); err != nil {
		return err
	}
	return t.disk.mkdir(name)
}

type tappedFile struct {
	fileWriter
	t    *tapped
	name string
}

func (f tappedFile) Write(b []byte) (int, error) {
	if err := f.t.before("write", f.name); err != nil {
		n, _ := f.fileWriter.Write(b[:len(b)/2]) // a disk that fills up takes a part
		return n, err
	}
	return f.fileWriter.Write(b)
}

func (f tappedFile) Sync() error {
	if err := f.t.before("sync", f.name); err != nil {
		return err
	}
	return f.fileWriter.Sync()
}

func (f tappedFile) Close() error {
	err := f.fileWriter.Close()
	if e := f.t.before("close", f.name); e != nil {
		return e
	}
	return err
}

type tappedFolder struct {
	folder
	t    *tapped
	name string
}

func (f tappedFolder) sync() error {
	if err := f.t.before("sync folder", f.name); err != nil {
		return err
	}
	return f.folder.sync()
}
