package tree

import (
	"bytes"
	"reflect"
	"testing"

	"megafs/remote"
	"megafs/remote/wire"
)

// FuzzIndex reads foreign values of the tree index: what is taken is written so that the same is read again.
func FuzzIndex(f *testing.F) {
	f.Add(encodeNode(Node{Attr: remote.Attr{Type: remote.Dir, Mode: 0o755}, Links: 1, Subdirs: 3, Parent: 1, Version: 9}))
	f.Add(encodeNode(Node{Attr: remote.Attr{Type: remote.File, Size: 1 << 40, Mtime: -1}, Links: 2, Xattrs: 1, orphan: true}))
	f.Add([]byte{0, 0, 1, 0, 0, 0, 0, 0, 7, 2})
	f.Add(bytes.Repeat([]byte{0xff}, 12))
	f.Fuzz(func(t *testing.T, b []byte) {
		if n, err := decodeNode(7, b); err == nil {
			if again, err := decodeNode(7, encodeNode(n)); err != nil || !reflect.DeepEqual(again, n) {
				t.Errorf("%+v becomes %+v: %v", n, again, err)
			}
		}
		if _, err := decodeName(b); (err == nil) != (len(b) == 9) {
			t.Error(len(b), err)
		}
	})
}

// FuzzApply gives the state machine Ops that somebody with the keys made up: it takes a batch or refuses it, and the tree stays one that can be walked.
func FuzzApply(f *testing.F) {
	op := func(ops ...remote.Op) (b []byte) {
		for i := range ops {
			b = wire.AppendOp(b, &ops[i])
		}
		return b
	}
	dir := func(ino remote.Ino) remote.Op {
		return remote.Op{Kind: remote.OpNode, Ino: ino, Attr: remote.Attr{Type: remote.Dir, Mode: 0o755}}
	}
	file := func(ino remote.Ino, size uint64) remote.Op {
		return remote.Op{Kind: remote.OpNode, Ino: ino, Attr: remote.Attr{Type: remote.File, Size: size}}
	}
	link := func(parent, ino remote.Ino, name string) remote.Op {
		return remote.Op{Kind: remote.OpLink, Parent: parent, Ino: ino, Name: name}
	}
	f.Add(op(dir(2), link(1, 2, "a"), dir(3), link(2, 3, "b")), op(link(3, 2, "c"), remote.Op{Kind: remote.OpUnlink, Parent: 1, Ino: 2, Name: "a"}))
	f.Add(op(file(4, 1<<40), link(1, 4, "f"), remote.Op{Kind: remote.OpExtent, Ino: 4, Extent: remote.Extent{Off: 1 << 39, Len: 3, Inline: []byte("abc")}}),
		op(file(4, 5), remote.Op{Kind: remote.OpCut, Ino: 4, Cut: 2}, remote.Op{Kind: remote.OpExtent, Ino: 4, Extent: remote.Extent{Off: 0, Len: 1 << 62, Hole: true}}))
	f.Add(op(remote.Op{Kind: remote.OpUnlink, Parent: 1, Ino: 1, Name: "x"}, dir(1), file(1, 0)), op(link(1, 1, "root"), link(9, 1, "x")))
	f.Add(op(remote.Op{Kind: remote.OpXattr, Ino: 1, Name: "user.a", Value: []byte("v")}), op(remote.Op{Kind: remote.OpNoXattr, Ino: 1, Name: "user.a"}))
	f.Fuzz(func(t *testing.T, first, second []byte) {
		tr, err := Open(Options{Memory: 8 << 20})
		if err != nil {
			t.Fatal(err)
		}
		defer tr.Close()
		seq := uint64(0)
		apply := func(ops []remote.Op) error {
			seq++
			return tr.Apply(remote.Batch{Pos: remote.Position{Seq: seq, Hash: [32]byte{byte(seq)}}, Ops: ops})
		}
		if err := apply([]remote.Op{dir(remote.Root)}); err != nil {
			t.Fatal(err)
		}
		for _, b := range [][]byte{first, second} {
			var ops []remote.Op
			wire.EachOp(b, func(op *remote.Op) error { ops = append(ops, *op); return nil })
			if err := apply(ops); err != nil {
				return // an invalid batch makes the vault read-only
			}
		}
		// What was taken can be told, and what is told can be taken.
		again, err := Open(Options{Memory: 8 << 20})
		if err != nil {
			t.Fatal(err)
		}
		defer again.Close()
		var told []remote.Op
		if err := tr.Ops(func(op remote.Op) error { told = append(told, op); return wire.Check(&op) }); err != nil {
			t.Fatal("told what can't be:", err)
		}
		if err := again.Reset(); err != nil {
			t.Fatal(err)
		}
		if err := again.Apply(remote.Batch{Ops: told}); err != nil {
			t.Fatal("a snapshot of it can't be taken:", err)
		}
		if err := again.Apply(remote.Batch{Pos: remote.Position{Seq: seq}}); err != nil {
			t.Fatal(err)
		}
		var same []remote.Op
		if err := again.Ops(func(op remote.Op) error { same = append(same, op); return nil }); err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(same, told) {
			t.Errorf("told\n%v\nand again\n%v", told, same)
		}
	})
}
