package fs

import (
	"context"
	"fmt"
	"slices"
	"testing"

	"github.com/hanwen/go-fuse/v2/fuse"

	"megafs/fs/volume"
	"megafs/remote"
)

// oneDir is a volume that has a root with names and counts pins.
type oneDir struct {
	Volume
	names []volume.Dirent
	bad   string // a name that can't be looked up
	pins  map[remote.Ino]int
}

func newOneDir(n int) *oneDir {
	v := &oneDir{pins: map[remote.Ino]int{}}
	for i := range n {
		v.names = append(v.names, volume.Dirent{Name: fmt.Sprintf("name%0*d", i%40, i), Ino: remote.Ino(100 + i), Type: remote.File})
	}
	return v
}

func (v *oneDir) List(context.Context, remote.Ino) ([]volume.Dirent, error) {
	return slices.Clone(v.names), nil
}

func (v *oneDir) Lookup(_ context.Context, _ remote.Ino, name string) (volume.Stat, error) {
	if name == v.bad {
		return volume.Stat{}, remote.E("look up", "", remote.Integrity, nil)
	}
	for _, e := range v.names {
		if e.Name == name {
			v.pins[e.Ino]++
			return volume.Stat{Ino: e.Ino, Attr: remote.Attr{Type: e.Type}}, nil
		}
	}
	return volume.Stat{}, remote.E("look up", "", remote.NotExist, nil)
}

func (v *oneDir) Forget(ino remote.Ino, n uint64) { v.pins[ino] -= int(n) }

func (v *oneDir) remove(i int) { v.names = slices.Delete(v.names, i, i+1) }

// reader reads an open directory as the kernel does.
type reader struct {
	t    *testing.T
	c    *conn
	fh   uint64
	size int
	plus bool
}

func openDir(t *testing.T, v Volume, size int, plus bool) *reader {
	r := &reader{t: t, c: testConn(v), size: size, plus: plus}
	var out fuse.OpenOut
	if s := r.c.OpenDir(nil, &fuse.OpenIn{InHeader: fuse.InHeader{NodeId: uint64(remote.Root)}}, &out); s != fuse.OK {
		t.Fatal(s)
	}
	r.fh = out.Fh
	return r
}

// read answers one request for entries from a place on.
func (r *reader) read(off uint64) ([]fuse.DirEntry, []fuse.EntryOut) {
	r.t.Helper()
	in := &fuse.ReadIn{Fh: r.fh, Offset: off, Size: uint32(r.size)}
	list := fuse.NewDirEntryList(make([]byte, r.size), off)
	var s fuse.Status
	var entries []fuse.DirEntry
	var outs []fuse.EntryOut
	var err error
	if r.plus {
		s = r.c.ReadDirPlus(nil, in, list)
		entries, outs, err = fuse.ParseDirLookupEntries(list.Bytes())
	} else {
		s = r.c.ReadDir(nil, in, list)
		entries, err = fuse.ParseDirEntries(list.Bytes())
	}
	if s != fuse.OK || err != nil {
		r.t.Fatal(s, err)
	}
	return entries, outs
}

// all reads to the end.
func (r *reader) all() (names []string, entries []fuse.DirEntry) {
	r.t.Helper()
	for off := uint64(0); ; {
		got, _ := r.read(off)
		if len(got) == 0 {
			return names, entries
		}
		for _, e := range got {
			names = append(names, e.Name)
			off = e.Off
		}
		entries = append(entries, got...)
	}
}

func both(t *testing.T, f func(t *testing.T, plus bool)) {
	t.Run("readdir", func(t *testing.T) { f(t, false) })
	t.Run("readdirplus", func(t *testing.T) { f(t, true) })
}

func TestListing(t *testing.T) {
	both(t, func(t *testing.T, plus bool) {
		for _, size := range []int{400, 1000, 4096, 1 << 20} {
			v := newOneDir(300)
			r := openDir(t, v, size, plus)
			names, entries := r.all()
			want := []string{".", ".."}
			for _, e := range v.names {
				want = append(want, e.Name)
			}
			if !slices.Equal(names, want) {
				t.Fatalf("with %d bytes a request: %d names, want %d", size, len(names), len(want))
			}
			// Each place leads back to what followed it (telldir, seekdir).
			for i := len(entries) - 1; i > 0; i-- {
				if got, _ := r.read(entries[i-1].Off); got[0] != entries[i] {
					t.Fatalf("place %d leads to %v, want %v", entries[i-1].Off, got[0], entries[i])
				}
			}
		}
	})
}

// TestReferences: READDIRPLUS refers to the entries of its replies, and to nothing else.
func TestReferences(t *testing.T) {
	v := newOneDir(100)
	v.bad = v.names[7].Name
	r := openDir(t, v, 1000, true)
	want := map[uint64]uint64{}
	for off := uint64(0); ; {
		entries, outs := r.read(off)
		if len(entries) == 0 {
			break
		}
		for i, o := range outs {
			off = entries[i].Off
			if o.NodeId != 0 {
				want[o.NodeId]++
			}
			if o.NodeId != 0 && o.NodeId != entries[i].Ino {
				t.Errorf("entry %v is inode %d", entries[i], o.NodeId)
			}
		}
	}
	if len(want) != 99 {
		t.Errorf("%d entries with attributes, want all but the one that can't be looked up", len(want))
	}
	for ino, n := range v.pins {
		if uint64(n) != want[uint64(ino)] {
			t.Errorf("inode %d is pinned %d times, the kernel knows of %d", ino, n, want[uint64(ino)])
		}
	}
	for ino, n := range want {
		r.c.Forget(ino, n)
	}
	if r.c.known.len() != 0 {
		t.Errorf("%d inodes are known after all was forgotten", r.c.known.len())
	}
	for ino, n := range v.pins {
		if n != 0 {
			t.Errorf("inode %d is pinned %d times in the end", ino, n)
		}
	}
}

// TestListingWhileNamesGo: places stay what they are, an entry that vanished is not shown with attributes, and rewinding shows
// what there is.
func TestListingWhileNamesGo(t *testing.T) {
	both(t, func(t *testing.T, plus bool) {
		v := newOneDir(60)
		r := openDir(t, v, 1000, plus)
		first, _ := r.read(0)
		off := first[len(first)-1].Off
		gone, next := v.names[off-2], v.names[off-1] // the first that were not read yet
		v.remove(int(off) - 2)
		v.remove(0)
		rest, _ := r.read(off)
		want := gone.Name
		if plus {
			want = next.Name
		}
		if rest[0].Name != want {
			t.Errorf("reading goes on with %q, want %q", rest[0].Name, want)
		}
		again, _ := r.read(0)
		if again[2].Name != v.names[0].Name {
			t.Errorf("after rewinding the first name is %q, want %q", again[2].Name, v.names[0].Name)
		}
	})
}

func TestListingPastTheEnd(t *testing.T) {
	both(t, func(t *testing.T, plus bool) {
		r := openDir(t, newOneDir(3), 4096, plus)
		for _, off := range []uint64{5, 6, 1 << 40, 1<<64 - 1} {
			if got, _ := r.read(off); len(got) != 0 {
				t.Errorf("at place %d there are %v", off, got)
			}
		}
	})
}

// TestEnd: what the kernel does not give back at the end of a mount is given back.
func TestEnd(t *testing.T) {
	v := newOneDir(3)
	c := testConn(v)
	for range 4 {
		c.Lookup(nil, &fuse.InHeader{NodeId: 1}, v.names[1].Name, new(fuse.EntryOut))
	}
	c.Forget(uint64(v.names[1].Ino), 1)
	c.Forget(uint64(v.names[0].Ino), 1) // never referred to: not ours to give
	if v.pins[v.names[1].Ino] != 3 || v.pins[v.names[0].Ino] != 0 {
		t.Fatal(v.pins)
	}
	c.OnUnmount()
	if v.pins[v.names[1].Ino] != 0 {
		t.Fatal(v.pins)
	}
}
