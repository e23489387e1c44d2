package tree

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"megafs/remote"
)

// TestCameOut sends a new file over another, of which the name is wanted by a directory of somebody else's: that is shown under it now, and the file under another. What
// was done here meanwhile is done to the file, and nothing to the directory.
func TestCameOut(t *testing.T) {
	const old, dir, f, g = 20, 30, 40, 50
	for name, c := range map[string]struct {
		then []remote.Op
		want string // names apart by two blanks, each with the inode and its links; what differs with how it comes after a |
	}{
		"nothing":                 {nil, "n(2)=40/1  n=30/1"},
		"attributes":              {[]remote.Op{fileOp(f, 7)}, "n(2)=40/1  n=30/1"},
		"removed":                 {[]remote.Op{unlink(1, "n", f)}, "n=30/1"},
		"renamed":                 {[]remote.Op{unlink(1, "n", f), link(1, "z", f)}, "n=30/1  z=40/1"},
		"replaced":                {[]remote.Op{fileOp(g, 1), link(1, "n", g)}, "n (C)=50/1  n=30/1"},
		"renamed, and a new one":  {[]remote.Op{unlink(1, "n", f), link(1, "z", f), fileOp(g, 1), link(1, "n", g)}, "n (C)=50/1  n=30/1  z=40/1"},
		"moved into it":           {[]remote.Op{unlink(1, "n", f), link(dir, "x", f)}, "n/x=40/1  n=30/1"},
		"the directory is moved":  {[]remote.Op{unlink(1, "n(1)", dir), link(1, "d", dir)}, "d=30/1  n=40/1|d=30/1  n(2)=40/1"},
		"the directory goes":      {[]remote.Op{unlink(1, "n(1)", dir)}, "n=40/1|n(2)=40/1"},
		"both change their names": {[]remote.Op{link(1, "n", dir), link(1, "n(1)", f)}, "n(1)=40/1  n=30/1"},
	} {
		for _, how := range []string{"returned", "landed"} {
			t.Run(name+", "+how, func(t *testing.T) {
				tr := openTree(t, "")
				defer tr.Close()
				batches(t, tr, []remote.Op{dirOp(1), fileOp(old, 1), link(1, "n", old), dirOp(dir), link(1, "n(1)", dir)})
				local := func(seq uint64, ops ...remote.Op) {
					t.Helper()
					if err := tr.Local(seq, 1, ops); err != nil {
						t.Fatal(err)
					}
				}
				local(1, fileOp(f, 0), link(1, "n", f))
				if _, err := tr.Freeze(nil); err != nil {
					t.Fatal(err)
				}
				if len(c.then) > 0 {
					local(2, c.then...)
				}
				b := remote.Batch{Pos: remote.Position{Seq: 2}, Ops: []remote.Op{
					fileOp(f, 0), unlink(1, "n", old), unlink(1, "n(1)", dir), link(1, "n", dir), link(1, "n(2)", f),
				}}
				var err error
				if how == "landed" {
					var m *Merge
					if m, err = tr.CameOut(b, "C"); err == nil && m == nil {
						err = tr.Commit(b)
					} else if err == nil {
						err = tr.Landed(b, m, 3, 1)
					}
				} else {
					tr.Thaw()
					var m *Merge
					if m, err = tr.Returned(b, nil, true, "C"); err == nil {
						err = tr.Adopt(b, m, 3, 1)
					}
				}
				if err != nil {
					t.Fatal(err)
				}
				var got []string
				var walk func(dir remote.Ino, at string)
				walk = func(dir remote.Ino, at string) {
					list, err := tr.List(dir)
					if err != nil {
						t.Fatal(err)
					}
					for _, e := range list {
						n, err := tr.Node(e.Ino)
						if err != nil {
							t.Fatal(err)
						}
						got = append(got, fmt.Sprintf("%s%s=%d/%d", at, e.Name, e.Ino, n.Links))
						if n.Type == remote.Dir {
							walk(e.Ino, at+e.Name+"/")
						}
					}
				}
				walk(1, "")
				slices.Sort(got)
				want, other, differs := strings.Cut(c.want, "|")
				if differs && how == "landed" {
					want = other
				}
				if got := strings.Join(got, "  "); got != want {
					t.Errorf("%q, want %q", got, want)
				}
				dirs := uint32(strings.Count("  "+strings.Join(got, "  "), fmt.Sprintf("=%d/", dir)))
				if n, _, _ := tr.current().node(1); n.Subdirs != dirs {
					t.Errorf("%d subdirectories", n.Subdirs)
				}
			})
		}
	}
}
