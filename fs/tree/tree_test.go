package tree

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"megafs/remote"
)

func openTree(t *testing.T, dir string) *Tree {
	t.Helper()
	tr, err := Open(Options{Dir: dir, Key: [32]byte{1}, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	return tr
}

func dirOp(ino remote.Ino) remote.Op {
	return remote.Op{Kind: remote.OpNode, Ino: ino, Attr: remote.Attr{Type: remote.Dir, Mode: 0o755}}
}

func fileOp(ino remote.Ino, size uint64) remote.Op {
	return remote.Op{Kind: remote.OpNode, Ino: ino, Attr: remote.Attr{Type: remote.File, Size: size}}
}

func link(parent remote.Ino, name string, ino remote.Ino) remote.Op {
	return remote.Op{Kind: remote.OpLink, Parent: parent, Name: name, Ino: ino}
}

func unlink(parent remote.Ino, name string, ino remote.Ino) remote.Op {
	return remote.Op{Kind: remote.OpUnlink, Parent: parent, Name: name, Ino: ino}
}

// batches applies batches at positions 1, 2, ...
func batches(t *testing.T, tr *Tree, list ...[]remote.Op) {
	t.Helper()
	for _, ops := range list {
		b := remote.Batch{Pos: remote.Position{Seq: tr.Position().Seq + 1}, Ops: ops}
		if err := tr.Apply(b); err != nil {
			t.Fatal(err)
		}
	}
}

// TestBatchesLeaveATree applies what must be taken and what must be refused; what is refused changes nothing.
func TestBatchesLeaveATree(t *testing.T) {
	const a, b, f = 10, 11, 12
	for name, c := range map[string]struct {
		ops []remote.Op
		ok  bool
	}{
		"exchange of two directories":      {[]remote.Op{link(1, "a", b), link(1, "b", a)}, true},
		"a directory into another":         {[]remote.Op{unlink(1, "a", a), link(b, "a", a)}, true},
		"removal, bottom up":               {[]remote.Op{unlink(a, "f", f), unlink(1, "a", a)}, true},
		"removal, top down":                {[]remote.Op{unlink(1, "a", a), unlink(a, "f", f)}, true},
		"a new directory over a moved one": {[]remote.Op{unlink(1, "a", a), link(b, "old", a), dirOp(20), link(1, "a", 20)}, true},
		"the same again":                   {[]remote.Op{link(1, "a", a), fileOp(f, 5), link(a, "f", f)}, true},
		"a name for nothing":               {[]remote.Op{link(1, "x", 99)}, false},
		"a name in a file":                 {[]remote.Op{link(f, "x", f)}, false},
		"a name in nothing":                {[]remote.Op{link(99, "x", f)}, false},
		"a second name for a directory":    {[]remote.Op{link(1, "again", a)}, false},
		"removal of a full directory":      {[]remote.Op{unlink(1, "a", a)}, false},
		"a directory in itself":            {[]remote.Op{unlink(1, "a", a), link(a, "self", a)}, false},
		"two directories in each other":    {[]remote.Op{unlink(1, "a", a), link(b, "a", a), unlink(1, "b", b), link(a, "b", b)}, false},
		"another type":                     {[]remote.Op{dirOp(f)}, false},
	} {
		t.Run(name, func(t *testing.T) {
			tr := openTree(t, "")
			defer tr.Close()
			batches(t, tr, []remote.Op{dirOp(1)}, []remote.Op{dirOp(a), link(1, "a", a), dirOp(b), link(1, "b", b), fileOp(f, 5), link(a, "f", f)})
			before := told(t, tr)
			err := tr.Apply(remote.Batch{Pos: remote.Position{Seq: 3}, Ops: c.ops})
			if c.ok != (err == nil) || !c.ok && !remote.Is(err, remote.Integrity) {
				t.Fatal(err)
			}
			if cerr := tr.Check(nil); cerr != nil {
				t.Fatal(cerr)
			}
			if !c.ok && (told(t, tr) != before || tr.Position().Seq != 2) {
				t.Fatal("a refused batch left something behind")
			}
		})
	}
}

// told tells all Ops of the base.
func told(t *testing.T, tr *Tree) string {
	t.Helper()
	var s string
	err := tr.Ops(func(op remote.Op) error {
		s += string(rune('0'+op.Kind)) + op.Name + " " + string(rune(op.Ino)) + "\n"
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestSnapshotIsTheState loads what Ops tells into another tree.
func TestSnapshotIsTheState(t *testing.T) {
	a, b := openTree(t, ""), openTree(t, t.TempDir())
	defer a.Close()
	defer b.Close()
	batches(t, a, []remote.Op{dirOp(1)}, []remote.Op{
		fileOp(7, 1<<30), link(1, "x", 7), link(1, "y", 7), dirOp(8), link(1, "d", 8),
		{Kind: remote.OpXattr, Ino: 7, Name: "user.a", Value: []byte("v")},
		{Kind: remote.OpExtent, Ino: 7, Extent: remote.Extent{Off: 62 << 20, Len: 4 << 20, Ref: remote.Ref{Chunks: 256}}},
		{Kind: remote.OpDevice, Number: 3},
	})
	if err := b.Reset(); err != nil {
		t.Fatal(err)
	}
	if err := a.Ops(func(op remote.Op) error { return b.Apply(remote.Batch{Ops: []remote.Op{op}}) }); err != nil {
		t.Fatal(err)
	}
	if err := b.Apply(remote.Batch{Pos: remote.Position{Seq: 9}}); err != nil {
		t.Fatal(err)
	}
	if told(t, a) != told(t, b) || b.Position().Seq != 9 {
		t.Fatal("differs")
	}
	n, err := b.Node(7)
	if err != nil || n.Nlink() != 2 || n.Xattrs != 1 {
		t.Fatal(n, err)
	}
	if r, _ := b.Node(1); r.Nlink() != 3 {
		t.Fatal("root has", r.Nlink())
	}
}

// TestBaseInDoubt damages the index in many ways: it is begun anew, at position zero.
func TestBaseInDoubt(t *testing.T) {
	for name, spoil := range map[string]func(dir string) error{
		"manifest":            func(dir string) error { return os.WriteFile(filepath.Join(dir, "MANIFEST"), []byte("junk"), 0o600) },
		"key registry":        func(dir string) error { return os.WriteFile(filepath.Join(dir, "KEYREGISTRY"), []byte("junk"), 0o600) },
		"start that was torn": func(dir string) error { return os.WriteFile(filepath.Join(dir, "open"), nil, 0o600) },
		"all gone":            os.RemoveAll,
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "tree")
			tr := openTree(t, dir)
			batches(t, tr, []remote.Op{dirOp(1)}, []remote.Op{fileOp(7, 5), link(1, "x", 7)})
			tr.Close()
			tr = openTree(t, dir)
			if tr.Position().Seq != 2 {
				t.Fatal("not kept over a restart:", tr.Position().Seq)
			}
			tr.Close()
			if err := spoil(dir); err != nil {
				t.Fatal(err)
			}
			tr = openTree(t, dir)
			defer tr.Close()
			if tr.Position() != (remote.Position{}) {
				t.Fatal("not begun anew")
			}
			batches(t, tr, []remote.Op{dirOp(1)})
		})
	}
}

// TestOrphans keeps what is open readable, and sweeps it at the next start.
func TestOrphans(t *testing.T) {
	dir := t.TempDir()
	tr := openTree(t, dir)
	batches(t, tr, []remote.Op{dirOp(1)}, []remote.Op{fileOp(7, 5), link(1, "x", 7), fileOp(8, 5), link(1, "y", 8)})
	tr.Pin(7, 2)
	batches(t, tr, []remote.Op{unlink(1, "x", 7), unlink(1, "y", 8)})
	if _, err := tr.Node(7); err != nil {
		t.Fatal("a pinned inode went:", err)
	}
	if _, err := tr.Node(8); !remote.Is(err, remote.NotExist) {
		t.Fatal("an inode that nobody has stays:", err)
	}
	tr.Unpin(7, 1)
	if _, err := tr.Node(7); err != nil {
		t.Fatal(err)
	}
	tr.Unpin(7, 1)
	if _, err := tr.Node(7); !remote.Is(err, remote.NotExist) {
		t.Fatal(err)
	}
	batches(t, tr, []remote.Op{fileOp(9, 5), link(1, "z", 9)})
	tr.Pin(9, 1)
	batches(t, tr, []remote.Op{unlink(1, "z", 9)})
	tr.Close()
	tr = openTree(t, dir)
	defer tr.Close()
	if v, err := tr.base.get(k(keyNode, 9)); v != nil || err != nil {
		t.Fatal("not swept", err)
	}
}

// TestNeeded says which record is the oldest that replay needs: attributes are stated whole, writes are not.
func TestNeeded(t *testing.T) {
	tr := openTree(t, "")
	defer tr.Close()
	batches(t, tr, []remote.Op{dirOp(1)})
	need := func(want uint64) {
		t.Helper()
		if n, ok := tr.Needed(); n != want || ok != (want != noCut) {
			t.Fatalf("need %d, want %d", n, want)
		}
	}
	need(noCut)
	local := func(seq uint64, ops ...remote.Op) {
		t.Helper()
		if err := tr.Local(seq, 1, ops); err != nil {
			t.Fatal(err)
		}
	}
	local(1, fileOp(7, 0), link(1, "x", 7))
	need(1)
	tr.Written(2, 1, Write{Ino: 7, Len: 100})
	need(1)
	local(3, fileOp(7, 100), unlink(1, "x", 7), link(1, "y", 7))
	need(2) // the bytes
	tr.Written(4, 1, Write{Ino: 7, Len: 100})
	need(3)
	g, err := tr.Freeze(nil)
	if err != nil || g.Upto != 4 {
		t.Fatal(g, err)
	}
	local(5, fileOp(8, 0), link(1, "z", 8))
	need(3)
	tr.Thaw()
	need(3)
	if !tr.Pending(4) || tr.Pending(2) {
		t.Fatal("pending")
	}
	if _, err = tr.Freeze(nil); err != nil {
		t.Fatal(err)
	}
	if err := tr.Commit(remote.Batch{Pos: remote.Position{Seq: 2}, Ops: []remote.Op{fileOp(7, 100), link(1, "y", 7), fileOp(8, 0), link(1, "z", 8)}}); err != nil {
		t.Fatal(err)
	}
	need(noCut)
}

// TestThawOpen has a file removed while what was written in it is being sent, and that fails: who has it open goes on reading it.
func TestThawOpen(t *testing.T) {
	for _, open := range []bool{true, false} {
		tr := openTree(t, "")
		defer tr.Close()
		batches(t, tr, []remote.Op{dirOp(1)}, []remote.Op{fileOp(7, 4), link(1, "x", 7)})
		tr.Pin(7, 1)
		for _, seq := range []uint64{1, 3} {
			if err := tr.Written(seq, 1, Write{Ino: 7, Off: seq * 100, Len: 100}); err != nil {
				t.Fatal(err)
			}
			if seq == 1 {
				if _, err := tr.Freeze(nil); err != nil {
					t.Fatal(err)
				}
			}
		}
		if err := tr.Local(4, 1, []remote.Op{unlink(1, "x", 7)}); err != nil {
			t.Fatal(err)
		}
		if !open {
			if err := tr.Unpin(7, 1); err != nil {
				t.Fatal(err)
			}
		}
		tr.Thaw()
		needed := map[bool]uint64{true: 1, false: 3}[open] // of one that nobody has only that it is gone
		if n, ok := tr.Needed(); !ok || n != needed {
			t.Errorf("open %v: record %d is needed, want %d", open, n, needed)
		}
		list, err := tr.Content(7, 0, 400)
		if open && (err != nil || len(list) != 4 || list[1].Place.Seq != 1 || list[3].Place.Seq != 3) {
			t.Errorf("%+v %v", list, err)
		}
	}
}

var errWant = errors.New("wanted")

// TestOpsStop ends a listing of the base where its reader wants.
func TestOpsStop(t *testing.T) {
	tr := openTree(t, "")
	defer tr.Close()
	batches(t, tr, []remote.Op{dirOp(1)})
	if err := tr.Ops(func(remote.Op) error { return errWant }); !errors.Is(err, errWant) {
		t.Fatal(err)
	}
}
