package tree

import (
	"bytes"
	"errors"
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

// made turns bytes into batches of Ops on a handful of inodes and names, so that they meet often.
func made(b []byte) (batches [][]remote.Op) {
	var ops []remote.Op
	for ; len(b) >= 4; b = b[4:] {
		x, y := uint64(b[2]), uint64(b[3])
		op := remote.Op{Kind: remote.OpKind(b[0]%9 + 1), Ino: remote.Ino(1 + b[1]&7), Parent: remote.Ino(1 + b[1]>>3&7), Name: string('a' + rune(x%4))}
		switch op.Kind {
		case remote.OpNode:
			op.Parent, op.Name = 0, ""
			op.Attr = remote.Attr{Type: remote.Dir, Mode: uint16(y)}
			if op.Ino > 4 {
				op.Attr.Type, op.Attr.Size = remote.File, x<<(y%55)
			}
		case remote.OpCut:
			op.Parent, op.Name, op.Cut = 0, "", x<<(y%55)
		case remote.OpExtent:
			op.Parent, op.Name = 0, ""
			op.Extent = remote.Extent{Off: x << (y % 54), Len: 1 + y}
			switch y % 3 {
			case 0:
				op.Extent.Hole = true
			case 1:
				op.Extent.Inline = bytes.Repeat([]byte{byte(x)}, int(1+y))
			case 2:
				op.Extent.Ref = remote.Ref{Object: remote.ObjectID{byte(x)}, Epoch: 1, Chunks: 256, Off: uint32(x << 8)}
			}
		case remote.OpXattr:
			op.Parent, op.Value = 0, b[:y%4]
		case remote.OpNoXattr:
			op.Parent = 0
		case remote.OpDevice:
			op = remote.Op{Kind: remote.OpDevice, Device: remote.DeviceID{byte(x)}, Number: uint32(1 + y)}
		case remote.OpDevice + 1:
			batches, ops = append(batches, ops), nil
			continue
		}
		ops = append(ops, op)
	}
	return append(batches, ops)
}

// FuzzApply gives the state machine Ops that somebody with the keys made up: it takes a batch or refuses it, what it took can be told as a snapshot, and
// a snapshot that was taken is told the same again.
func FuzzApply(f *testing.F) {
	const node, link, unlink, cut, ext, xattr, end = 0, 1, 2, 3, 4, 5, 8
	f.Add([]byte{node, 1, 0, 1, link, 1, 0, 0, node, 2, 0, 1, link, 1<<3 | 2, 1, 0, end, 0, 0, 0, link, 2<<3 | 1, 2, 0, unlink, 1, 0, 0})
	f.Add([]byte{node, 5, 9, 9, link, 5, 0, 0, ext, 5, 1, 3, ext, 5, 0, 4, ext, 5, 2, 50, end, 0, 0, 0, node, 5, 1, 7, cut, 5, 1, 1, ext, 5, 1, 53})
	f.Add([]byte{unlink, 0, 1, 1, node, 0, 0, 1, end, 0, 0, 0, link, 0, 0, 0, link, 7, 0, 0})
	f.Add([]byte{xattr, 0, 1, 3, node, 6, 200, 0, link, 6, 3, 0, link, 6, 2, 0, xattr, 6, 0, 0, end, 0, 0, 0, xattr + 1, 6, 0, 0, unlink, 6, 3, 0})
	// Two trees for all runs, emptied each time: opening one takes long.
	var trees [2]*Tree
	for i := range trees {
		var err error
		if trees[i], err = Open(Options{Memory: 8 << 20}); err != nil {
			f.Fatal(err)
		}
		f.Cleanup(func() { trees[i].Close() })
	}
	f.Fuzz(func(t *testing.T, program []byte) {
		if len(program) > 400 {
			return
		}
		tr, again := trees[0], trees[1]
		if err := errors.Join(tr.Reset(), again.Reset()); err != nil {
			t.Fatal(err)
		}
		seq := uint64(0)
		root := remote.Op{Kind: remote.OpNode, Ino: remote.Root, Attr: remote.Attr{Type: remote.Dir, Mode: 0o755}}
		for _, ops := range append([][]remote.Op{{root}}, made(program)...) {
			for i := range ops {
				if err := wire.Check(&ops[i]); err != nil {
					t.Skip(err)
				}
			}
			seq++
			if err := tr.Apply(remote.Batch{Pos: remote.Position{Seq: seq, Hash: [32]byte{byte(seq)}}, Ops: ops}); err != nil {
				return // an invalid batch makes the vault read-only
			}
		}
		tell := func(tr *Tree) (out []remote.Op) {
			if err := tr.Ops(func(op remote.Op) error { out = append(out, op); return wire.Check(&op) }); err != nil {
				t.Fatal("told what can't be:", err)
			}
			return out
		}
		told := tell(tr)
		if err := again.Apply(remote.Batch{Ops: told}); err != nil {
			t.Fatal("a snapshot of it can't be taken:", err)
		}
		if err := again.Apply(remote.Batch{Pos: remote.Position{Seq: seq}}); err != nil {
			t.Fatal(err)
		}
		if same := tell(again); !reflect.DeepEqual(same, told) {
			t.Errorf("told\n%+v\nand again\n%+v", told, same)
		}
	})
}
