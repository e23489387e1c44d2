package tree

import (
	"encoding/binary"

	"megafs/remote"
	"megafs/remote/wire"
)

// Node is an inode as the tree keeps it.
type Node struct {
	Ino remote.Ino
	remote.Attr
	Links   uint32     // names that lead here; 0: the last one is gone
	Subdirs uint32     // of a directory
	Parent  remote.Ino // of a directory, the root being its own; of others where the latest name was made, which may be gone
	Xattrs  uint32     // how many extended attributes
	Version uint64     // the commit that changed the content last
	orphan  bool
}

// Nlink is what stat(2) calls the number of links: a directory's own name, its "." and each child's "..".
func (n Node) Nlink() uint32 {
	if n.Type == remote.Dir && n.Links > 0 {
		return 2 + n.Subdirs
	}
	return n.Links
}

func encodeNode(n Node) []byte {
	b := make([]byte, 0, 96)
	b = binary.AppendUvarint(b, uint64(n.Links))
	b = binary.AppendUvarint(b, uint64(n.Subdirs))
	b = binary.AppendUvarint(b, uint64(n.Parent))
	b = binary.AppendUvarint(b, uint64(n.Xattrs))
	b = binary.AppendUvarint(b, n.Version)
	o := byte(0)
	if n.orphan {
		o = 1
	}
	return wire.AppendAttr(append(b, o), &n.Attr)
}

func decodeNode(ino remote.Ino, v []byte) (Node, error) {
	n := Node{Ino: ino}
	bad := func() (Node, error) {
		return Node{}, remote.E("read the tree index", "", remote.IO, errDoubt)
	}
	var f [5]uint64
	for i := range f {
		x, m := binary.Uvarint(v)
		if m <= 0 {
			return bad()
		}
		f[i], v = x, v[m:]
	}
	if len(v) == 0 {
		return bad()
	}
	n.Links, n.Subdirs, n.Parent, n.Xattrs, n.Version = uint32(f[0]), uint32(f[1]), remote.Ino(f[2]), uint32(f[3]), f[4]
	n.orphan = v[0] == 1
	a, rest, err := wire.DecodeAttr(v[1:])
	if err != nil || len(rest) != 0 {
		return bad()
	}
	n.Attr = a
	return n, nil
}
