package volume

import (
	"encoding/binary"
	"errors"

	"megafs/fs/journal"
	"megafs/fs/tree"
	"megafs/remote"
	"megafs/remote/wire"
)

// The kinds of journal records.
const (
	recOps   journal.Kind = 1 // Ops that hold together
	recWrite journal.Kind = 2 // bytes of a file: a writeHead, then the bytes
	recNote  journal.Kind = 3 // what the remote has
)

// writeHead begins the payload of a recWrite: u64 inode, u64 offset, i64 time, u16 mode.
const writeHead = 26

func appendWrite(b []byte, ino remote.Ino, off uint64, t remote.Time, mode uint16) []byte {
	b = binary.BigEndian.AppendUint64(b, uint64(ino))
	b = binary.BigEndian.AppendUint64(b, off)
	b = binary.BigEndian.AppendUint64(b, uint64(t))
	return binary.BigEndian.AppendUint16(b, mode)
}

type writeRecord struct {
	ino  remote.Ino
	off  uint64
	time remote.Time
	mode uint16
}

var errRecord = remote.E("replay the journal", "", remote.Integrity, errors.New("a record makes no sense; it was written by another version of megafs"))

func decodeWrite(b []byte) (writeRecord, error) {
	if len(b) <= writeHead {
		return writeRecord{}, errRecord
	}
	u := binary.BigEndian.Uint64
	w := writeRecord{remote.Ino(u(b)), u(b[8:]), remote.Time(u(b[16:])), binary.BigEndian.Uint16(b[24:])}
	if w.off+uint64(len(b)-writeHead) < w.off || w.off+uint64(len(b)-writeHead) > remote.MaxSize {
		return writeRecord{}, errRecord
	}
	return w, nil
}

// note is what a recNote says: the remote has, at a position, all records up to one but what was held back;
// and which inode number of this device was the last.
type note struct {
	pos  remote.Position
	upto uint64
	next uint64
	held tree.Held
}

func (n note) append(b []byte) []byte {
	b = binary.BigEndian.AppendUint64(b, n.pos.Seq)
	b = append(b, n.pos.Hash[:]...)
	b = binary.BigEndian.AppendUint64(b, n.upto)
	b = binary.BigEndian.AppendUint64(b, n.next)
	b = binary.BigEndian.AppendUint32(b, uint32(len(n.held.Inodes)))
	for _, i := range n.held.Inodes {
		b = binary.BigEndian.AppendUint64(b, uint64(i))
	}
	for _, h := range n.held.Names {
		b = binary.BigEndian.AppendUint64(b, uint64(h.Parent))
		b = append(append(b, byte(len(h.Name))), h.Name...)
	}
	return b
}

func decodeNote(b []byte) (note, error) {
	if len(b) < 60 {
		return note{}, errRecord
	}
	u := binary.BigEndian.Uint64
	n := note{upto: u(b[40:]), next: u(b[48:])}
	n.pos.Seq = u(b)
	copy(n.pos.Hash[:], b[8:])
	count := int(binary.BigEndian.Uint32(b[56:]))
	b = b[60:]
	if count > len(b)/8 {
		return note{}, errRecord
	}
	for range count {
		n.held.Inodes = append(n.held.Inodes, remote.Ino(u(b)))
		b = b[8:]
	}
	for len(b) > 0 {
		if len(b) < 9 || len(b) < 9+int(b[8]) {
			return note{}, errRecord
		}
		n.held.Names = append(n.held.Names, tree.HeldName{Parent: remote.Ino(u(b)), Name: string(b[9 : 9+int(b[8])])})
		b = b[9+int(b[8]):]
	}
	return n, nil
}

// log is what a replay collects before it is applied: notes come after what they are about.
type log struct {
	last    note
	noted   bool
	seq     journal.Seq // of the last note
	records []replayed
}

type replayed struct {
	seq   journal.Seq
	ops   []remote.Op
	write writeRecord
	loc   journal.Loc
	len   uint64
}

// take is journal.Open's callback.
func (l *log) take(r journal.Record) error {
	switch r.Kind {
	case recOps:
		ops, err := wire.DecodeOps(r.Payload)
		if err != nil {
			return errRecord
		}
		l.records = append(l.records, replayed{seq: r.Seq, ops: ops})
	case recWrite:
		w, err := decodeWrite(r.Payload)
		if err != nil {
			return err
		}
		l.records = append(l.records, replayed{seq: r.Seq, write: w, loc: r.Loc, len: uint64(len(r.Payload) - writeHead)})
	case recNote:
		n, err := decodeNote(r.Payload)
		if err != nil {
			return err
		}
		l.last, l.noted, l.seq = n, true, r.Seq
	default:
		return errRecord
	}
	return nil
}
