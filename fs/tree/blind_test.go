package tree

import (
	"strings"
	"testing"

	"megafs/remote"
)

// TestBlindGone: the base is begun anew while files are changed here, and has none of them any more. What was written to them comes back under a name of its own, however it was written; but not
// what was removed here.
func TestBlindGone(t *testing.T) {
	const f = 10
	for name, c := range map[string]struct {
		cut, removed, made, open, unnamed bool
		kept                              bool
	}{
		"written":              {kept: true},
		"cut and written":      {cut: true, kept: true},
		"removed":              {cut: true, removed: true},
		"made here":            {made: true, kept: true},
		"made here, and gone":  {made: true, removed: true},
		"open":                 {cut: true, open: true, kept: true},
		"open, and removed":    {cut: true, open: true, removed: true},
		"open, without a name": {made: true, open: true, unnamed: true},
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
			if c.open {
				tr.Pin(f, 1)
			}
			if c.unnamed {
				local(fileOp(f, 0))
			} else if c.made {
				local(fileOp(f, 0), link(1, "f", f))
			} else if err := tr.Apply(remote.Batch{Pos: remote.Position{Seq: 2}, Ops: []remote.Op{fileOp(f, 100), link(1, "f", f)}}); err != nil {
				t.Fatal(err)
			}
			if c.cut {
				local(fileOp(f, 0))
			}
			seq++
			if err := tr.Written(seq, 1, Write{Ino: f, Len: 60, Place: Place{Segment: 1, Len: 60}}); err != nil {
				t.Fatal(err)
			}
			if c.removed {
				local(unlink(1, "f", f))
			}
			if err := tr.Reset(); err != nil {
				t.Fatal(err)
			}
			pos := remote.Position{Seq: 3}
			for _, b := range []remote.Batch{{Ops: []remote.Op{dirOp(1)}}, {Pos: pos}} {
				if err := tr.Apply(b); err != nil {
					t.Fatal(err)
				}
			}
			if err := tr.Begin(); err != nil {
				t.Fatal(err)
			}
			b := remote.Batch{Pos: pos}
			m, err := tr.Merge(b, MergeOptions{Label: "conflict", NewIno: func() (remote.Ino, error) { return 99, nil }, Blind: true})
			if err == nil && m != nil {
				err = tr.Adopt(b, m, seq+1, 1)
			}
			if err != nil {
				t.Fatal(err)
			}
			l, err := tr.List(1)
			if err != nil {
				t.Fatal(err)
			}
			kept := false
			for _, e := range l {
				n, err := tr.Node(f)
				kept = kept || e.Ino == f && err == nil && n.Size >= 60 && (e.Name == "f" || strings.HasPrefix(e.Name, "lost file"))
			}
			if kept != c.kept {
				t.Errorf("%v", l)
			}
		})
	}
}
