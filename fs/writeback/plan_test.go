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
