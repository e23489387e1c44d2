package volume

import (
	"testing"

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
