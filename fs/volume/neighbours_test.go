package volume

import (
	"fmt"
	"strings"
	"testing"

	"megafs/fs/tree"
	"megafs/remote"
)

// TestNeighbours: few files of an object fetch nothing beside them, some the object, and who goes on to the next objects is expected there.
func TestNeighbours(t *testing.T) {
	var n neighbours
	id := func(i int) remote.ObjectID { return remote.ObjectID{byte(i), byte(i >> 8)} }
	ino := remote.Ino(0)
	read := func(obj int) (bool, int) {
		ino++
		return n.read(ino, id(obj))
	}
	for range packReaders - 1 {
		if whole, next := read(1); whole || next > 0 {
			t.Fatal("fetched too soon")
		}
	}
	for range 10 {
		if whole, next := n.read(ino, id(1)); whole || next > 0 {
			t.Fatal("one file counted twice")
		}
	}
	if whole, next := read(1); !whole || next > 0 {
		t.Fatal("the object was not fetched", whole, next)
	}
	asked, next := 0, 0
	for range 20 * packReaders {
		whole, k := read(1)
		if whole {
			t.Fatal("fetched twice")
		}
		if k > 0 {
			asked, next = asked+1, k
		}
	}
	if asked != 1 || next != 1 {
		t.Fatalf("%d times %d objects behind it were asked for", asked, next)
	}
	if !n.follows(id(2), id(1)) || n.follows(id(2), id(1)) {
		t.Fatal("the next is to be fetched once")
	}
	if whole, next := read(2); whole || next != 2 {
		t.Fatal("who arrives at the next object is to go on", whole, next)
	}
	// Files here and there fetch nothing, however many, and little is remembered.
	for i := range 10 * maxPacks {
		if whole, next := read(100 + i); whole || next > 0 {
			t.Fatal("fetched for one file")
		}
	}
	if len(n.packs) != maxPacks || len(n.order) != maxPacks {
		t.Fatal(len(n.packs), len(n.order))
	}
}

// TestBeyond: from a file on, what is looked at is what a reader of the whole tree comes to, in the order of listings, whatever the inode numbers; where a listing would be
// too large, the inodes that follow.
func TestBeyond(t *testing.T) {
	b := newBench(t)
	var dirs []remote.Ino
	for _, d := range []string{"c", "a", "b"} { // which is not their order
		dirs = append(dirs, b.mk(remote.Root, d, remote.Dir))
	}
	b.mk(dirs[2], "z", remote.File)
	sub := b.mk(dirs[1], "sub", remote.Dir)
	from := b.mk(dirs[1], "m", remote.File)
	b.mk(dirs[0], "last", remote.File)
	b.mk(sub, "deep", remote.File)
	b.mk(dirs[1], "z", remote.File)
	b.mk(dirs[1], "early", remote.File)
	name := func(n tree.Node) string {
		list, err := b.tree.List(n.Parent)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range list {
			if d.Ino == n.Ino {
				return d.Name
			}
		}
		return ""
	}
	n, err := b.tree.Node(from)
	if err != nil {
		t.Fatal(err)
	}
	var seen []string
	if !b.walkFrom(n, func(n tree.Node) bool { seen = append(seen, name(n)); return true }) {
		t.Fatal("not begun")
	}
	if got := strings.Join(seen, " "); got != "sub deep z b z c last" {
		t.Fatal(got)
	}
	seen = nil
	b.walkFrom(n, func(n tree.Node) bool { seen = append(seen, name(n)); return len(seen) < 4 })
	if len(seen) != 4 {
		t.Fatal(seen)
	}
	for i := range maxListing {
		b.mk(dirs[1], fmt.Sprint("n", i), remote.File)
	}
	if b.walkFrom(n, func(tree.Node) bool { t.Fatal("told"); return false }) {
		t.Fatal("a large directory was listed")
	}
}
