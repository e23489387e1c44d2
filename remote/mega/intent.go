package mega

import (
	"encoding/binary"

	"megafs/remote"
)

// intent is that a node is about to be made here. It is durable before the server is asked, so that whoever finds the node, in an event or after a crash,
// knows what it is: its wrapped key, which is random, names it.
type intent struct {
	ino      remote.Ino
	object   object // of its content
	replaces string // handle
}

func (i intent) encode() []byte {
	b := binary.BigEndian.AppendUint64(nil, uint64(i.ino))
	b = append(b, i.object[:]...)
	return append(b, i.replaces...)
}

func decodeIntent(b []byte) (i intent, ok bool) {
	if len(b) < 8+len(i.object) {
		return i, false
	}
	i.ino = remote.Ino(binary.BigEndian.Uint64(b))
	i.replaces = string(b[8+copy(i.object[:], b[8:]):])
	return i, true
}
