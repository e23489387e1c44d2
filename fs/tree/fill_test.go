package tree

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"megafs/remote"
)

// snapshotOf is a random tree as a snapshot tells it.
func snapshotOf(r *rand.Rand) (ops []remote.Op) {
	for d := range uint32(1 + r.IntN(4)) {
		ops = append(ops, remote.Op{Kind: remote.OpDevice, Device: remote.DeviceID{byte(d)}, Number: 2*d + 1})
	}
	type inode struct {
		ino remote.Ino
		typ remote.Type
	}
	all := []inode{{remote.Root, remote.Dir}}
	for d := range remote.Ino(1 + r.IntN(4)) {
		at := (d + 1) << remote.InoBits
		for range r.IntN(300) {
			at++
			if r.IntN(3) == 0 {
				at += remote.Ino(r.IntN(1000))
			}
			all = append(all, inode{at, []remote.Type{remote.File, remote.File, remote.Dir, remote.Symlink, remote.Fifo}[r.IntN(5)]})
		}
	}
	for _, i := range all {
		a := remote.Attr{Type: i.typ, Mode: uint16(r.IntN(0o1000)), UID: r.Uint32(), Mtime: remote.Time(r.Int64())}
		if i.typ == remote.Symlink {
			a.Target, a.Size = "to", 2
		}
		var content []remote.Op
		if i.typ == remote.File {
			off := uint64(0)
			for range r.IntN(4) {
				off += uint64(r.IntN(2)) * r.Uint64N(1<<segmentBits*3/2)
				e := remote.Extent{Off: off, Len: 1 + r.Uint64N(remote.MaxContent), Ref: remote.Ref{Object: remote.ObjectID{byte(r.IntN(256))}, Epoch: 1, Chunks: 256}}
				if r.IntN(4) == 0 {
					e.Len, e.Inline, e.Ref = 3, []byte("abc"), remote.Ref{}
				}
				off = e.End()
				content = append(content, remote.Op{Kind: remote.OpExtent, Ino: i.ino, Extent: e})
			}
			a.Size = off
		}
		ops = append(ops, remote.Op{Kind: remote.OpNode, Ino: i.ino, Attr: a})
		for x := range r.IntN(3) {
			ops = append(ops, remote.Op{Kind: remote.OpXattr, Ino: i.ino, Name: fmt.Sprint("user.", x), Value: make([]byte, x)})
		}
		ops = append(ops, content...)
	}
	names := map[remote.Ino][]remote.Op{}
	for n, i := range all[1:] {
		for range 1 + max(0, r.IntN(8)-6) {
			p := all[r.IntN(n+1)]
			if p.typ != remote.Dir {
				p = all[0]
			}
			names[p.ino] = append(names[p.ino], remote.Op{Kind: remote.OpLink, Parent: p.ino, Ino: i.ino, Name: fmt.Sprintf("%04d", len(names[p.ino]))})
			if i.typ == remote.Dir {
				break
			}
		}
	}
	for _, i := range all {
		ops = append(ops, names[i.ino]...)
	}
	return ops
}

// tell tells Ops as a load does, in parts.
func tell(t *testing.T, to *Tree, ops []remote.Op, part int) {
	t.Helper()
	must(t, to.Reset())
	for len(ops) > 0 {
		n := min(part, len(ops))
		must(t, to.Apply(remote.Batch{Ops: ops[:n]}))
		ops = ops[n:]
	}
	must(t, to.Apply(remote.Batch{Pos: remote.Position{Seq: 7, Hash: [32]byte{9}}}))
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// dump is all that a base has.
func dump(t *testing.T, x *Tree) string {
	t.Helper()
	var b strings.Builder
	must(t, x.base.scan(nil, func(key, v []byte) error {
		fmt.Fprintf(&b, "%q: %x\n", key, v)
		return nil
	}))
	return b.String()
}

// TestFill: a base that is filled with a snapshot is the same, key by key, as one to which it is applied; also when it turns out that it can't be filled, in the
// middle, since the snapshot is not in order or memory is short. It is still there after it was closed, and takes changes.
func TestFill(t *testing.T) {
	for n := range uint64(12) {
		seed := rand.Uint64()
		r := rand.New(rand.NewPCG(seed, 1))
		ops := snapshotOf(r)
		if n%4 == 1 { // not in order: two names change places
			last := len(ops) - 1
			i := last - r.IntN(max(1, len(ops)/8))
			ops[i], ops[last] = ops[last], ops[i]
			if i == last && last > 0 {
				ops[last-1], ops[last] = ops[last], ops[last-1]
			}
		}
		slow, err := Open(Options{})
		must(t, err)
		tell(t, slow, ops, 1+r.IntN(500))
		want := dump(t, slow)
		must(t, slow.Close())
		dir := t.TempDir()
		x, err := Open(Options{Dir: dir})
		must(t, err)
		if n%4 == 2 {
			x.memory = 0
		}
		tell(t, x, ops, 1+r.IntN(500))
		if filled := x.base.filled; filled != (n%4 != 2) && n%4 != 1 {
			t.Errorf("seed %d: filled %v", seed, filled)
		}
		if got := dump(t, x); got != want {
			t.Fatalf("seed %d, case %d: the base is another:\n%.2000s\nwanted:\n%.2000s", seed, n%4, got, want)
		}
		must(t, x.Close())
		x, err = Open(Options{Dir: dir})
		must(t, err)
		if got := dump(t, x); got != want {
			t.Fatalf("seed %d: after it was closed the base is another", seed)
		}
		if p := x.Position(); p.Seq != 7 {
			t.Fatal(p)
		}
		more := remote.Op{Kind: remote.OpNode, Ino: 9<<remote.InoBits + 1, Attr: remote.Attr{Type: remote.File}}
		link := remote.Op{Kind: remote.OpLink, Parent: remote.Root, Ino: more.Ino, Name: "more"}
		must(t, x.Apply(remote.Batch{Pos: remote.Position{Seq: 8}, Ops: []remote.Op{more, link}}))
		if ino, err := x.Lookup(remote.Root, "more"); err != nil || ino != more.Ino {
			t.Fatal(ino, err)
		}
		must(t, x.Close())
		if left, _ := filepath.Glob(filepath.Join(dir, "spool*")); len(left) > 0 {
			t.Fatal(left)
		}
	}
}

// TestFillBrokenOff: a fill that a crash ends, before all was told or while the base was written, leaves a base that is begun anew; so does one that was ended by an error.
func TestFillBrokenOff(t *testing.T) {
	ops := snapshotOf(rand.New(rand.NewPCG(3, 4)))
	dir := t.TempDir()
	x, err := Open(Options{Dir: dir})
	must(t, err)
	must(t, x.Reset())
	must(t, x.Apply(remote.Batch{Ops: ops[:10]}))
	must(t, x.Close())
	x, err = Open(Options{Dir: dir})
	must(t, err)
	if d := dump(t, x); strings.Count(d, "\n") != 1 || x.Position() != (remote.Position{}) {
		t.Fatal("not begun anew:", d)
	}
	tell(t, x, ops, 100)
	want := dump(t, x)
	must(t, x.Close())
	must(t, os.WriteFile(filepath.Join(dir, fillMark), nil, 0o600))
	x, err = Open(Options{Dir: dir})
	must(t, err)
	if d := dump(t, x); strings.Count(d, "\n") != 1 {
		t.Fatal("not begun anew:", d)
	}
	// No room for the mark: an error, and the next try is as good as any.
	must(t, x.Reset())
	must(t, x.Apply(remote.Batch{Ops: ops}))
	must(t, os.Mkdir(filepath.Join(dir, fillMark), 0o700))
	if err := x.Apply(remote.Batch{Pos: remote.Position{Seq: 7}}); !remote.Is(err, remote.IO) {
		t.Fatal(err)
	}
	must(t, os.Remove(filepath.Join(dir, fillMark)))
	tell(t, x, ops, 100)
	if dump(t, x) != want {
		t.Fatal("the base is another")
	}
	must(t, x.Close())
}

// TestFillOnlyUnused: a base that is in use already is never filled, since others read it meanwhile.
func TestFillOnlyUnused(t *testing.T) {
	ops := snapshotOf(rand.New(rand.NewPCG(5, 6)))
	x, err := Open(Options{Dir: t.TempDir()})
	must(t, err)
	defer x.Close()
	tell(t, x, ops, 100)
	if !x.base.filled {
		t.Fatal("not filled")
	}
	want := dump(t, x)
	x.base.filled = false
	tell(t, x, ops, 100)
	if x.base.filled || x.fill != nil || dump(t, x) != want {
		t.Fatal("filled while in use")
	}
}
