package volume

import (
	"cmp"
	"encoding/binary"
	"errors"
	"maps"
	"slices"

	"megafs/fs/journal"
	"megafs/fs/tree"
	"megafs/remote"
	"megafs/remote/wire"
)

// The kinds of journal records.
const (
	recOps   journal.Kind = 1 // Ops that hold together
	recWrite journal.Kind = 2 // bytes of a file: a writeHead, then the bytes
	recPlain journal.Kind = 3 // what the remote has, as it was told once: without the records from which on it is not so
	recMerge journal.Kind = 4 // where the base is from here on, and what that made of the records before
	recNote  journal.Kind = 5 // what the remote has
	recSent  journal.Kind = 6 // what was stored for files and is about to be committed; see sent.go
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

// note is what a recNote says: the remote has, at a position, all records up to one but what was held back, from some record on;
// and which inode number of this device was the last.
type note struct {
	pos  remote.Position
	upto uint64
	next uint64
	held tree.Held
}

func (n note) append(b []byte) []byte {
	u64 := binary.BigEndian.AppendUint64
	b = append(u64(b, n.pos.Seq), n.pos.Hash[:]...)
	b = u64(u64(b, n.upto), n.next)
	b = binary.BigEndian.AppendUint32(b, uint32(len(n.held.Inodes)))
	for _, i := range slices.Sorted(maps.Keys(n.held.Inodes)) {
		b = u64(u64(b, uint64(i)), n.held.Inodes[i])
	}
	for _, h := range slices.SortedFunc(maps.Keys(n.held.Names), func(a, b tree.HeldName) int {
		return cmp.Or(cmp.Compare(a.Parent, b.Parent), cmp.Compare(a.Name, b.Name))
	}) {
		b = u64(u64(b, uint64(h.Parent)), n.held.Names[h])
		b = append(append(b, byte(len(h.Name))), h.Name...)
	}
	return b
}

// decodeNote decodes a note, or, plain, a recPlain.
func decodeNote(b []byte, plain bool) (note, error) {
	if len(b) < 60 {
		return note{}, errRecord
	}
	u := binary.BigEndian.Uint64
	n := note{upto: u(b[40:]), next: u(b[48:]), held: tree.Held{Inodes: map[remote.Ino]uint64{}, Names: map[tree.HeldName]uint64{}}}
	n.pos.Seq = u(b)
	copy(n.pos.Hash[:], b[8:])
	count, size := int(binary.BigEndian.Uint32(b[56:])), 16
	if b = b[60:]; plain {
		size = 8
	}
	since := func() (seq uint64) {
		if !plain {
			seq = u(b[8:])
		}
		return seq
	}
	if count > len(b)/size {
		return note{}, errRecord
	}
	for range count {
		n.held.Inodes[remote.Ino(u(b))] = since()
		b = b[size:]
	}
	for len(b) > 0 {
		if len(b) < size+1 || len(b) < size+1+int(b[size]) {
			return note{}, errRecord
		}
		end := size + 1 + int(b[size])
		n.held.Names[tree.HeldName{Parent: remote.Ino(u(b)), Name: string(b[size+1 : end])}] = since()
		b = b[end:]
	}
	return n, nil
}

// log is what a replay collects before it is applied: notes come after what they are about.
type log struct {
	pos     remote.Position // the base's, when the last record was written
	last    note
	noted   bool
	seq     journal.Seq // of the last note
	records []replayed
	sent    map[remote.ObjectID]tree.Sent // since the last note
	joining []byte                        // of a merge in several records, what came so far
	parts   int                           // how many records that was
	first   journal.Seq
}

type replayed struct {
	seq   journal.Seq
	merge *tree.Merge // not nil: this
	ops   []remote.Op
	write writeRecord
	loc   journal.Loc
	len   uint64
}

// unsent reports whether there are records that the remote does not have, as far as is known.
func (l *log) unsent() bool {
	n := len(l.records)
	return n > 0 && (!l.noted || uint64(l.records[n-1].seq) > l.last.upto || len(l.last.held.Inodes)+len(l.last.held.Names) > 0)
}

// take is journal.Open's callback.
func (l *log) take(r journal.Record) error {
	if r.Kind != recMerge {
		l.parts, l.joining = 0, nil // a merge that was broken off never was
	}
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
	case recNote, recPlain:
		n, err := decodeNote(r.Payload, r.Kind == recPlain)
		if err != nil {
			return err
		}
		l.last, l.noted, l.seq, l.pos, l.sent = n, true, r.Seq, n.pos, nil
	case recSent:
		all, err := decodeSent(r.Payload)
		if err != nil {
			return err
		}
		l.sent = addSent(l.sent, all)
	case recMerge:
		return l.takeMerge(r)
	default:
		return errRecord
	}
	return nil
}

// mergePiece is how much of a merge goes to one record.
const mergePiece = 512 << 10

// mergeHead begins the payload of a recMerge: u32 which part this is, from 0, and u32 of how many.
func mergeHead(part, parts int) []byte {
	return binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(nil, uint32(part)), uint32(parts))
}

// appendMerge encodes a merge: u64 number and 32 hash of the position, u32 number of rebased inodes, each with u64 inode, u64 body, u32 number of
// spans, each with u64 from and u64 to; a counted list of Ops.
func appendMerge(b []byte, m *tree.Merge) []byte {
	u64 := binary.BigEndian.AppendUint64
	b = append(u64(b, m.Pos.Seq), m.Pos.Hash[:]...)
	b = binary.BigEndian.AppendUint32(b, uint32(len(m.Rebased)))
	for _, r := range m.Rebased {
		b = u64(u64(b, uint64(r.Ino)), uint64(r.Body))
		b = binary.BigEndian.AppendUint32(b, uint32(len(r.Spans)))
		for _, s := range r.Spans {
			b = u64(u64(b, s.Off), s.End)
		}
	}
	return wire.AppendOps(b, m.Ops)
}

func decodeMerge(b []byte) (*tree.Merge, error) {
	left := func(n, size int) bool { return n <= len(b)/size }
	if len(b) < 44 {
		return nil, errRecord
	}
	m := &tree.Merge{}
	u64 := func() uint64 { x := binary.BigEndian.Uint64(b); b = b[8:]; return x }
	u32 := func() int { x := binary.BigEndian.Uint32(b); b = b[4:]; return int(x) }
	m.Pos.Seq = u64()
	b = b[copy(m.Pos.Hash[:], b):]
	n := u32()
	if !left(n, 20) {
		return nil, errRecord
	}
	for range n {
		if len(b) < 20 {
			return nil, errRecord
		}
		r := tree.Rebased{Ino: remote.Ino(u64()), Body: remote.Ino(u64())}
		spans := u32()
		if !left(spans, 16) {
			return nil, errRecord
		}
		for range spans {
			s := tree.Span{Off: u64(), End: u64()}
			if s.Off >= s.End || s.End > remote.MaxSize {
				return nil, errRecord
			}
			r.Spans = append(r.Spans, s)
		}
		m.Rebased = append(m.Rebased, r)
	}
	var err error
	if m.Ops, err = wire.DecodeOps(b); err != nil {
		return nil, errRecord
	}
	return m, nil
}

// takeMerge joins the records of a merge.
func (l *log) takeMerge(r journal.Record) error {
	if len(r.Payload) < 8 {
		return errRecord
	}
	part, parts := int(binary.BigEndian.Uint32(r.Payload)), int(binary.BigEndian.Uint32(r.Payload[4:]))
	if part == 0 {
		l.joining, l.parts, l.first = nil, 0, r.Seq
	}
	if part != l.parts {
		return nil // the rest of one that was trimmed or broken off
	}
	l.parts++
	l.joining = append(l.joining, r.Payload[8:]...)
	if l.parts < parts {
		return nil
	}
	m, err := decodeMerge(l.joining)
	if err != nil {
		return err
	}
	l.joining, l.parts, l.pos = nil, 0, m.Pos
	l.records = append(l.records, replayed{seq: l.first, merge: m})
	return nil
}
