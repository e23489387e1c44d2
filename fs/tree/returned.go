package tree

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"maps"
	"slices"

	"megafs/remote"
)

// Print tells a file's local content from any other that it ever had or will have: which bytes of which journal records lie where over the base, and how long it is.
type Print [16]byte

// Sent is content that was stored as a whole, and is to become a file's.
type Sent struct {
	Ino    remote.Ino
	Object remote.ObjectID // of its first piece
	Size   uint64
	Print  Print
}

// print returns the print of content in a file of some size.
func (c *content) print(size uint64) (p Print) {
	h := sha256.New()
	var b []byte
	u64 := binary.BigEndian.AppendUint64
	b = u64(u64(b, size), min(c.cut, size))
	var last Run
	for _, r := range c.runs.All() {
		if last.Len > 0 && last.Off+last.Len == r.Off && last.Place.local() && r.V.local() && last.Place.Seq == r.V.Seq && uint64(last.Place.Skip)+last.Len == uint64(r.V.Skip) {
			last.Len += r.Len // a part of the same record, however it came to be told apart
			continue
		}
		b = u64(b, last.Len)
		h.Write(b)
		last, b = Run{r.Off, r.Len, r.V}, u64(u64(b[:0], r.Off), r.V.Seq)
		switch e := r.V.Shared; {
		case r.V.Hole:
			b = append(b, 'h')
		case e != nil:
			b = u64(append(append(append(b, 's'), e.Ref.Object[:]...), e.Inline...), uint64(e.Ref.Off))
		default:
			b = u64(append(b, 'j'), uint64(r.V.Skip))
		}
	}
	h.Write(u64(b, last.Len))
	copy(p[:], h.Sum(nil))
	return p
}

// FrozenPrint returns the print of a file's content in the generation that is being committed; false if that does not change it.
func (t *Tree) FrozenPrint(ino remote.Ino, size uint64) (p Print, ok bool) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	if t.frozen == nil || t.frozen.inodes[ino] == nil || t.frozen.inodes[ino].body == nil {
		return p, false
	}
	return t.frozen.inodes[ino].body.print(size), true
}

// Returned looks what becomes of local changes when the base takes a batch of this machine's own, of which nobody here knew that the remote took it; nil when they just
// stay. Content that lies here as it was sent is what the batch brings, and void: it is not sent once more. All else was changed later, or not sent, and lies over
// the batch. sent is what was stored for files, by its object.
// label is for OneName trees, as with a Merge; see names.
func (t *Tree) Returned(b remote.Batch, sent map[remote.ObjectID]Sent, oneName bool, label string) (*Merge, error) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	if t.live.empty() {
		return nil, nil
	}
	s, err := t.preview(b)
	if err != nil {
		return nil, err
	}
	m := &Merge{Pos: b.Pos}
	if err := t.arrived(m, s, sent); err != nil {
		return nil, err
	}
	if oneName {
		names, err := t.cameOut(s, b, label)
		if err != nil {
			return nil, err
		}
		m.Ops = append(m.Ops, names...)
	}
	if len(m.Rebased)+len(m.Ops) == 0 {
		return nil, nil
	}
	return m, nil
}

// arrived makes void the content that a batch brings.
func (t *Tree) arrived(m *Merge, s *state, sent map[remote.ObjectID]Sent) error {
	if len(sent) == 0 {
		return nil
	}
	here := t.current()
	for _, ino := range slices.Sorted(maps.Keys(s.top.inodes)) {
		d := t.live.inodes[ino]
		if d == nil || d.body == nil || s.top.inodes[ino].body == nil {
			continue
		}
		mine, _, err := here.node(ino)
		if err != nil {
			return err
		}
		theirs, ok, err := s.view.node(ino)
		if err != nil {
			return err
		}
		if !ok || theirs.Size != mine.Size || mine.Size == 0 || d.node != nil && d.node.Links == 0 { // who has it open reads what is here
			continue
		}
		var x Sent
		err = s.view.content(ino, 0, 1, func(p Piece) error {
			if p.Ext != nil {
				x = sent[p.Ext.Ref.Object]
			}
			return nil
		})
		if err != nil {
			return err
		}
		if x.Ino != ino || x.Size != mine.Size || x.Print != d.body.print(mine.Size) {
			continue
		}
		m.Rebased = append(m.Rebased, Rebased{Ino: ino})
		if mine.Attr != theirs.Attr {
			m.Ops = append(m.Ops, remote.Op{Kind: remote.OpNode, Ino: ino, Attr: mine.Attr})
		}
		for _, n := range slices.Sorted(maps.Keys(d.xattrs)) {
			v := d.xattrs[n].value
			now, err := s.view.xattr(ino, n)
			switch {
			case err != nil:
				return err
			case v == nil && now != nil:
				m.Ops = append(m.Ops, remote.Op{Kind: remote.OpNoXattr, Ino: ino, Name: n})
			case v != nil && (now == nil || !bytes.Equal(v, now)):
				m.Ops = append(m.Ops, remote.Op{Kind: remote.OpXattr, Ino: ino, Name: n, Value: bytes.Clone(v)})
			}
		}
	}
	return nil
}
