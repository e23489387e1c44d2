package mega

import (
	"encoding/binary"

	"megafs/crypto/megacrypt"
	"megafs/remote"
)

// node returns a node, nil if there is none.
func (x *index) node(handle string) (*node, error) {
	b, err := x.get(kstr(keyNode, handle))
	if b == nil || err != nil {
		return nil, err
	}
	if len(b) != 8 {
		return nil, errIndex
	}
	n, err := x.nodeOf(remote.Ino(binary.BigEndian.Uint64(b)))
	if n == nil || err != nil || n.handle != handle { // another: a change was cut short
		return nil, err
	}
	return n, nil
}

// nodeOf returns the node of an inode, nil if there is none.
func (x *index) nodeOf(ino remote.Ino) (*node, error) {
	b, err := x.get(kino(ino))
	if b == nil || err != nil {
		return nil, err
	}
	return decodeInodeNode(b)
}

// encodeInodeNode is the record of an inode: its node, after the handle.
func encodeInodeNode(n *node) []byte { return append([]byte(n.handle), n.encode()...) }

func decodeInodeNode(b []byte) (*node, error) {
	if len(b) < megacrypt.NodeHandleLen {
		return nil, errIndex
	}
	return decodeNode(string(b[:megacrypt.NodeHandleLen]), b[megacrypt.NodeHandleLen:])
}

// encodeChild is what a name leads to.
func encodeChild(n *node) []byte {
	return binary.BigEndian.AppendUint64([]byte(n.handle), uint64(n.ino))
}

// decodeChild is the reverse of encodeChild.
func decodeChild(b []byte) (handle string, ino remote.Ino, err error) {
	if len(b) != megacrypt.NodeHandleLen+8 {
		return "", 0, errIndex
	}
	return string(b[:megacrypt.NodeHandleLen]), remote.Ino(binary.BigEndian.Uint64(b[megacrypt.NodeHandleLen:])), nil
}

// child returns the handle of what has a name, "" if nothing has.
func (x *index) child(folder, name string) (string, error) {
	b, err := x.get(kstr(keyChild, folder, name))
	if b == nil || err != nil {
		return "", err
	}
	h, _, err := decodeChild(b)
	return h, err
}

// handleOf returns the node of an inode, "" if there is none.
func (x *index) handleOf(ino remote.Ino) (string, error) {
	n, err := x.nodeOf(ino)
	if n == nil || err != nil {
		return "", err
	}
	return n.handle, nil
}

// children returns the handles of what a folder holds.
func (x *index) children(handle string) (out []string, err error) {
	err = x.scan(kstr(keyChild, handle), func(_, v []byte) error {
		h, _, err := decodeChild(v)
		out = append(out, h)
		return err
	})
	return out, err
}
