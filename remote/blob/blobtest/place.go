package blobtest

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"megafs/remote/blob"
)

// Place is a store together with what only its owner can do to it: for tests of those who do not trust it.
type Place interface {
	blob.Store
	Poke(name string, data []byte) // sets an object's bytes, whatever was there; nil removes it
	Names() []string               // of all objects, in order
	Copy() Place                   // a store of its own with the same objects
	Become(from Place)             // of the same kind
}

// MemPlace is a store in memory.
type MemPlace struct{ *blob.MemStore }

// NewMemPlace returns an empty one.
func NewMemPlace() MemPlace { return MemPlace{blob.Mem()} }

// Copy implements Place.
func (m MemPlace) Copy() Place { return MemPlace{m.Clone()} }

// Become implements Place.
func (m MemPlace) Become(from Place) { m.Restore(from.(MemPlace).MemStore) }

// DirPlace is a folder, and its owner goes past the store that serves it.
type DirPlace struct {
	blob.Store
	Path string
	t    testing.TB
}

// NewDirPlace returns an empty folder, closed and removed when the test ends.
func NewDirPlace(t testing.TB) *DirPlace {
	t.Helper()
	d := &DirPlace{t: t, Path: t.TempDir()}
	d.open()
	return d
}

func (d *DirPlace) open() {
	d.t.Helper()
	var err error
	d.Store, err = blob.Dir(d.Path, blob.DirOptions{})
	d.must(err)
	d.t.Cleanup(func() { d.Close() })
}

func (d *DirPlace) must(err error) {
	d.t.Helper()
	if err != nil {
		d.t.Fatal(err)
	}
}

// File is the path of an object.
func (d *DirPlace) File(name string) string { return filepath.Join(d.Path, filepath.FromSlash(name)) }

// Poke writes into the file itself where the length stays, as a bad disk would, and else puts another in its place.
func (d *DirPlace) Poke(name string, data []byte) {
	d.t.Helper()
	p := d.File(name)
	if data == nil {
		if err := os.Remove(p); err != nil && !os.IsNotExist(err) {
			d.t.Fatal(err)
		}
		return
	}
	if st, err := os.Stat(p); err == nil && st.Size() == int64(len(data)) {
		f, err := os.OpenFile(p, os.O_WRONLY, 0)
		d.must(err)
		_, err = f.Write(data)
		d.must(err)
		d.must(f.Close())
		return
	}
	d.must(os.MkdirAll(filepath.Dir(p), 0o700))
	d.must(os.WriteFile(p+".new", data, 0o600))
	d.must(os.Rename(p+".new", p))
}

// Names implements Place.
func (d *DirPlace) Names() (names []string) {
	d.t.Helper()
	d.must(filepath.WalkDir(d.Path, func(p string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if n, _ := filepath.Rel(d.Path, p); e.Type().IsRegular() && blob.ValidName(n) {
			names = append(names, filepath.ToSlash(n))
		}
		return nil
	}))
	slices.Sort(names)
	return names
}

// Copy implements Place.
func (d *DirPlace) Copy() Place {
	d.t.Helper()
	c := &DirPlace{t: d.t, Path: d.t.TempDir()}
	d.must(os.CopyFS(c.Path, os.DirFS(d.Path)))
	c.open()
	return c
}

// Become leaves the folders there are: one that lacks them all is a disk that was unmounted, and not a store that was emptied.
func (d *DirPlace) Become(from Place) {
	d.t.Helper()
	keep := map[string]bool{}
	for _, n := range from.Names() {
		keep[n] = true
		b, err := os.ReadFile(from.(*DirPlace).File(n))
		d.must(err)
		if old, err := os.ReadFile(d.File(n)); err != nil || !bytes.Equal(old, b) {
			d.Poke(n, b)
		}
	}
	for _, n := range d.Names() {
		if !keep[n] {
			d.Poke(n, nil)
		}
	}
}
