package tree

import (
	"testing"

	"megafs/remote"
)

// TestReturned: content that comes back from the remote as it was sent is void here, and nothing else is.
func TestReturned(t *testing.T) {
	const f = 10
	object, other := remote.ObjectID{2, 1}, remote.ObjectID{2, 2}
	extent := func(n uint64, o remote.ObjectID) remote.Op {
		return remote.Op{Kind: remote.OpExtent, Ino: f, Extent: remote.Extent{Len: n, Ref: remote.Ref{Object: o, Chunks: 1}}}
	}
	xattr := remote.Op{Kind: remote.OpXattr, Ino: f, Name: "user.a", Value: []byte("v")}
	mode := fileOp(f, 100)
	mode.Attr.Mode = 0o600
	for name, c := range map[string]struct {
		then  []remote.Op // here, each in a record of its own
		also  bool        // bytes are written, too
		comes []remote.Op
		void  bool
		ops   int // that are to be stated
	}{
		"as it was sent":                {void: true},
		"with other attributes":         {then: []remote.Op{mode, xattr}, void: true, ops: 2},
		"renamed":                       {then: []remote.Op{link(1, "new", f), unlink(1, "f", f)}, void: true, ops: 0},
		"written since":                 {also: true},
		"cut and made as long again":    {then: []remote.Op{fileOp(f, 50), fileOp(f, 100)}},
		"shorter":                       {then: []remote.Op{fileOp(f, 50)}},
		"longer":                        {then: []remote.Op{fileOp(f, 200)}},
		"removed":                       {then: []remote.Op{unlink(1, "f", f)}},
		"what another object has":       {comes: []remote.Op{fileOp(f, 100), extent(100, other), link(1, "f", f)}},
		"less than was sent":            {comes: []remote.Op{fileOp(f, 50), extent(50, object), link(1, "f", f)}},
		"without content":               {comes: []remote.Op{fileOp(f, 100), link(1, "f", f)}},
		"to another inode":              {comes: []remote.Op{fileOp(f+1, 100), link(1, "g", f+1)}},
		"with xattrs that are not here": {comes: []remote.Op{fileOp(f, 100), extent(100, object), link(1, "f", f), xattr}, void: true},
	} {
		t.Run(name, func(t *testing.T) {
			tr := openTree(t, "")
			defer tr.Close()
			batches(t, tr, []remote.Op{dirOp(1)})
			seq := uint64(0)
			local := func(ops ...remote.Op) {
				t.Helper()
				seq++
				if err := tr.Local(seq, 1, ops); err != nil {
					t.Fatal(err)
				}
			}
			write := func(off uint64) {
				t.Helper()
				seq++
				if err := tr.Written(seq, 1, Write{Ino: f, Off: off, Len: 60, Place: Place{Segment: 1, Len: 60, Off: uint32(seq)}}); err != nil {
					t.Fatal(err)
				}
			}
			local(fileOp(f, 0), link(1, "f", f))
			write(0)
			write(40)
			if _, err := tr.Freeze(nil); err != nil {
				t.Fatal(err)
			}
			p, ok := tr.FrozenPrint(f, 100)
			if !ok {
				t.Fatal("no content")
			}
			sent := map[remote.ObjectID]Sent{object: {Ino: f, Object: object, Size: 100, Print: p}}
			for _, op := range c.then {
				local(op)
			}
			if c.also {
				write(10)
			}
			tr.Thaw()
			b := remote.Batch{Pos: remote.Position{Seq: 2}, Ops: c.comes}
			if b.Ops == nil {
				n, _, err := tr.current().node(f)
				if err != nil {
					t.Fatal(err)
				}
				a := n.Attr
				a.Size, a.Mode = 100, 0
				b.Ops = []remote.Op{{Kind: remote.OpNode, Ino: f, Attr: a}, extent(100, object), link(1, "f", f)}
			}
			m, err := tr.Returned(b, sent, false, "")
			if err != nil {
				t.Fatal(err)
			}
			if m == nil {
				m = &Merge{Pos: b.Pos}
			}
			if void := len(m.Rebased) > 0; void != c.void || void && len(m.Ops) != c.ops {
				t.Fatalf("%+v", m)
			}
			want, err := tr.Node(f)
			gone := err != nil
			if err := tr.Adopt(b, m, seq+1, 1); err != nil {
				t.Fatal(err)
			}
			got, err := tr.Node(f)
			if gone != (err != nil) || got.Attr != want.Attr || got.Links != want.Links {
				t.Errorf("%+v, %v, was %+v", got, err, want)
			}
			if d := tr.live.inodes[f]; c.void != (d == nil || d.body == nil) && !gone {
				t.Errorf("content: %+v", d)
			}
		})
	}
}
