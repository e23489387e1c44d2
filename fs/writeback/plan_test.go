package writeback

import (
	"fmt"
	"testing"

	"megafs/fs/tree"
	"megafs/remote"
)

// TestPlan tells differences of states as Ops.
func TestPlan(t *testing.T) {
	attr := func(size uint64, mode uint16) *tree.Node {
		return &tree.Node{Ino: 7, Links: 1, Attr: remote.Attr{Type: remote.File, Size: size, Mode: mode}}
	}
	none := ^uint64(0)
	written := func(off, n uint64) tree.Run { return tree.Run{Off: off, Len: n} }
	hole := func(off, n uint64) tree.Run { return tree.Run{Off: off, Len: n, Place: tree.Place{Hole: true}} }
	gone := attr(9, 0)
	gone.Links = 0
	for name, c := range map[string]struct {
		inode tree.Inode
		names []tree.Name
		want  string
	}{
		"nothing":               {tree.Inode{Now: attr(5, 1), Was: attr(5, 1)}, []tree.Name{{Parent: 1, Name: "a", Now: 7, Was: 7}, {Parent: 1, Name: "b"}}, ""},
		"mode":                  {tree.Inode{Now: attr(5, 2), Was: attr(5, 1)}, nil, "node "},
		"came and went":         {tree.Inode{Now: gone, Body: &tree.Body{Cut: none, Runs: []tree.Run{written(0, 9)}}}, []tree.Name{{Parent: 1, Name: "a"}}, ""},
		"removed":               {tree.Inode{Now: gone, Was: attr(9, 0)}, []tree.Name{{Parent: 1, Name: "a", Was: 7}}, "unlink:7 "},
		"renamed over":          {tree.Inode{Now: attr(5, 1), Was: attr(5, 1)}, []tree.Name{{Parent: 1, Name: "a", Was: 7}, {Parent: 1, Name: "b", Now: 7, Was: 8}}, "unlink:7 link:7 "},
		"small":                 {tree.Inode{Now: attr(9, 1), Body: &tree.Body{Cut: none, Runs: []tree.Run{written(0, 9)}}}, nil, "node inline:0+9 "},
		"large":                 {tree.Inode{Now: attr(9<<20, 1), Body: &tree.Body{Cut: none, Runs: []tree.Run{written(0, 9<<20)}}}, nil, "node store:0+4194304 store:4194304+4194304 store:8388608+1048576 "},
		"five bytes in a chunk": {tree.Inode{Now: attr(1<<20, 2), Was: attr(1<<20, 1), Body: &tree.Body{Cut: none, Runs: []tree.Run{written(20000, 5)}}}, nil, "node store:16384+16384 "},
		"two in one chunk":      {tree.Inode{Was: attr(1<<20, 1), Body: &tree.Body{Cut: none, Runs: []tree.Run{written(20000, 5), written(30000, 5)}}}, nil, "store:16384+16384 "},
		"the tail":              {tree.Inode{Now: attr(20005, 2), Was: attr(20000, 1), Body: &tree.Body{Cut: none, Runs: []tree.Run{written(20000, 5)}}}, nil, "node store:16384+3621 "},
		"cut and grown":         {tree.Inode{Now: attr(1<<20, 2), Was: attr(1<<20, 1), Body: &tree.Body{Cut: 100}}, nil, "node cut:100 "},
		"cut":                   {tree.Inode{Now: attr(5000, 2), Was: attr(1<<20, 1), Body: &tree.Body{Cut: 5000}}, nil, "node "},
		"written and cut off":   {tree.Inode{Now: attr(5000, 2), Was: attr(5000, 1), Body: &tree.Body{Cut: none, Runs: []tree.Run{written(6000, 5)}}}, nil, "node "},
		"a hole in old content": {tree.Inode{Was: attr(1<<20, 1), Body: &tree.Body{Cut: none, Runs: []tree.Run{hole(100, 1<<19)}}}, nil, "hole:100+524288 "},
		"a hole in nothing":     {tree.Inode{Now: attr(1<<20, 1), Body: &tree.Body{Cut: none, Runs: []tree.Run{hole(100, 1<<19)}}}, nil, "node "},
	} {
		c.inode.Ino = 7
		p := Plan(&tree.Generation{Inodes: []tree.Inode{c.inode}, Names: c.names}, nil)
		got := ""
		for _, op := range append(p.Ops, p.Names...) {
			switch op.Kind {
			case remote.OpNode:
				got += "node "
			case remote.OpCut:
				got += fmt.Sprintf("cut:%d ", op.Cut)
			case remote.OpExtent:
				got += fmt.Sprintf("hole:%d+%d ", op.Extent.Off, op.Extent.Len)
			case remote.OpLink:
				got += fmt.Sprintf("link:%d ", op.Ino)
			case remote.OpUnlink:
				got += fmt.Sprintf("unlink:%d ", op.Ino)
			}
		}
		for _, w := range p.Inline {
			got += fmt.Sprintf("inline:%d+%d ", w.Off, w.Len)
		}
		for _, w := range p.Stored {
			got += fmt.Sprintf("store:%d+%d ", w.Off, w.Len)
		}
		if got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
		if p.Empty() != (c.want == "") {
			t.Errorf("%s: empty %v", name, p.Empty())
		}
	}
}

// TestPlanWholeCopies tells which whole files are copies of stored content: those of which all pieces are there, in order and from their beginning.
func TestPlanWholeCopies(t *testing.T) {
	const piece = remote.MaxContent
	shared := func(off, n uint64, object byte, at uint32) tree.Run {
		return tree.Run{Off: off, Len: n, Place: tree.Place{Shared: &remote.Extent{Len: n, Ref: remote.Ref{Object: remote.ObjectID{object}, Off: at}}}}
	}
	for name, c := range map[string]struct {
		size uint64
		runs []tree.Run
		want string
	}{
		"a piece":            {100, []tree.Run{shared(0, 100, 1, 0)}, "1 "},
		"more than one":      {2*piece + 5, []tree.Run{shared(0, piece, 1, 0), shared(piece, piece, 2, 0), shared(2*piece, 5, 3, 0)}, "1 2 3 "},
		"copied bit by bit":  {piece + 5, []tree.Run{shared(0, 10, 1, 0), shared(10, piece-10, 1, 10), shared(piece, 5, 2, 0)}, "1 2 "},
		"cut":                {50, []tree.Run{shared(0, 100, 1, 0)}, "1 "},
		"the end is missing": {101, []tree.Run{shared(0, 100, 1, 0)}, ""},
		"the beginning is":   {100, []tree.Run{shared(10, 90, 1, 10)}, ""},
		"from the midst":     {100, []tree.Run{shared(0, 100, 1, 7)}, ""},
		"of two":             {100, []tree.Run{shared(0, 50, 1, 0), shared(50, 50, 2, 50)}, ""},
		"a gap":              {100, []tree.Run{shared(0, 50, 1, 0), shared(51, 49, 1, 51)}, ""},
		"written over":       {100, []tree.Run{shared(0, 50, 1, 0), {Off: 50, Len: 50}}, ""},
		"a hole":             {100, []tree.Run{shared(0, 50, 1, 0), {Off: 50, Len: 50, Place: tree.Place{Hole: true}}}, ""},
		"over a border":      {2 * piece, []tree.Run{shared(0, 2*piece, 1, 0)}, ""},
	} {
		i := tree.Inode{Ino: 7, Now: &tree.Node{Ino: 7, Links: 1, Attr: remote.Attr{Type: remote.File, Size: c.size}}, Body: &tree.Body{Cut: ^uint64(0), Runs: c.runs}}
		p := PlanWhole(&tree.Generation{Inodes: []tree.Inode{i}})
		if len(p.Whole) != 1 || p.Whole[0].Len != c.size {
			t.Fatalf("%s: %v", name, p.Whole)
		}
		got := ""
		for _, r := range p.Whole[0].Stored {
			got += fmt.Sprint(r.Object[0], " ")
		}
		if got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}
