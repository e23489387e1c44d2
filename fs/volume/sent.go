package volume

import (
	"encoding/binary"

	"megafs/fs/journal"
	"megafs/fs/tree"
	"megafs/remote"
)

// What a remote of whole files took of a batch is not all or nothing, and nobody may hear of it: a request in the middle fails, or this process ends. Then the
// batch comes back with the news, and what it has of files is compared with what the journal says was stored for them (tree.Returned), so that no content is sent twice.

// sentSize is what a recSent has of a file: u64 inode, 32 object, u64 size, 16 print.
const sentSize = 8 + 32 + 8 + 16

// sentMost is how many files of rounds that failed are remembered; an older one's content is sent again.
const sentMost = 1 << 20

// stand puts into the journal what was stored for files and is about to be committed. A full disk does not stop it from being committed: that gives room.
func (v *Volume) stand(all []tree.Sent) (last journal.Seq, err error) {
	for rest := all; len(rest) > 0; {
		n := min(len(rest), mergePiece/sentSize)
		if last, _, err = v.jour.Append(recSent, appendSent(nil, rest[:n])); remote.Is(err, remote.NoSpace) {
			break
		} else if err != nil {
			return last, err
		}
		rest = rest[n:]
	}
	v.mu.Lock()
	v.sent = addSent(v.sent, all)
	v.mu.Unlock()
	return last, nil
}

func addSent(m map[remote.ObjectID]tree.Sent, all []tree.Sent) map[remote.ObjectID]tree.Sent {
	if m == nil || len(m)+len(all) > sentMost {
		m = map[remote.ObjectID]tree.Sent{}
	}
	for _, x := range all {
		m[x.Object] = x
	}
	return m
}

func appendSent(b []byte, all []tree.Sent) []byte {
	for _, x := range all {
		b = binary.BigEndian.AppendUint64(b, uint64(x.Ino))
		b = append(b, x.Object[:]...)
		b = binary.BigEndian.AppendUint64(b, x.Size)
		b = append(b, x.Print[:]...)
	}
	return b
}

func decodeSent(b []byte) (all []tree.Sent, err error) {
	if len(b)%sentSize != 0 {
		return nil, errRecord
	}
	for ; len(b) > 0; b = b[sentSize:] {
		x := tree.Sent{Ino: remote.Ino(binary.BigEndian.Uint64(b)), Size: binary.BigEndian.Uint64(b[40:])}
		copy(x.Object[:], b[8:])
		copy(x.Print[:], b[48:])
		all = append(all, x)
	}
	return all, nil
}
