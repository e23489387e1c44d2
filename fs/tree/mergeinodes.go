package tree

import (
	"bytes"
	"maps"
	"slices"

	"megafs/remote"
)

// inodes merges attributes, xattrs and content of what both sides changed, and states what is kept against a removal.
func (m *merger) inodes() {
	for _, ino := range slices.Sorted(maps.Keys(m.live.inodes)) {
		if m.err != nil {
			return
		}
		was, before := m.node(m.was, ino)
		theirs, there := m.node(m.theirs, ino)
		if m.batch.inodes[ino] == nil && !m.o.Blind && !m.revived[ino] {
			continue
		}
		switch c := m.renumbered[ino]; {
		case c != 0:
			m.out.Rebased = append(m.out.Rebased, m.copy(ino, c))
			m.out.Copied = append(m.out.Copied, Copied{Ino: ino, Copy: c})
		case m.revived[ino]:
			m.revive(ino, was)
		case before && there && m.buried(ino):
			m.out.Rebased = append(m.out.Rebased, Rebased{Ino: ino})
		case before && there:
			m.both(ino, was, theirs)
		case there: // made on both sides, and with the same bytes: theirs is as good
			m.out.Rebased = append(m.out.Rebased, Rebased{Ino: ino})
		}
	}
	// What is kept without having been changed here, such as a directory for what is in it.
	for _, ino := range slices.Sorted(maps.Keys(m.revived)) {
		if was, _ := m.node(m.was, ino); m.live.inodes[ino] == nil {
			m.revive(ino, was)
		}
	}
}

// buried reports whether an inode was removed here and comes back. Of what was changed in it before, nothing counts, and its bytes may be gone from here; but
// who has it open goes on with it.
func (m *merger) buried(ino remote.Ino) bool {
	d := m.live.inodes[ino]
	return d.node != nil && d.node.Links == 0 && m.links(ino) > 0 && !m.open(ino)
}

func (m *merger) op(o remote.Op) { m.out.Ops = append(m.out.Ops, o) }

// here returns an inode as it is on this machine; its number is 0 when there is none.
func (m *merger) here(ino remote.Ino) Node {
	n, ok, err := m.mine.node(ino)
	if err != nil {
		m.fail(err)
	}
	if !ok {
		n = m.strays[ino]
	}
	return n
}

// revive states all of an inode that the batch removed.
func (m *merger) revive(ino remote.Ino, was Node) {
	n := m.here(ino)
	if n.Ino == 0 {
		n = was
	}
	m.out.Rebased = append(m.out.Rebased, Rebased{Ino: ino, Body: ino})
	m.op(remote.Op{Kind: remote.OpNode, Ino: ino, Attr: n.Attr})
	m.xattrs(ino, ino)
	if n.Type == remote.File {
		ops, _ := m.body(ino, ino)
		m.out.Ops = append(m.out.Ops, ops...)
	}
}

// copy makes another inode of what an inode is here.
func (m *merger) copy(ino, c remote.Ino) Rebased {
	n := m.here(ino)
	r := Rebased{Ino: ino, Body: c}
	m.op(remote.Op{Kind: remote.OpNode, Ino: c, Attr: n.Attr})
	m.xattrs(ino, c)
	if n.Type == remote.File {
		var ops []remote.Op
		ops, r.Spans = m.body(ino, c)
		m.out.Ops = append(m.out.Ops, ops...)
	}
	return r
}

// both merges what both sides changed.
func (m *merger) both(ino remote.Ino, was, theirs Node) {
	d := m.live.inodes[ino]
	mine := theirs // what was not stated here
	if d.node != nil {
		mine = *d.node
	}
	ours, others := changed(d, was), m.theyChanged(ino) || m.o.Blind
	attr := mergeAttr(was.Attr, theirs.Attr, mine.Attr)
	r := Rebased{Ino: ino, Body: ino}
	switch {
	case ours && others && !m.same(ino):
		if r = m.conflict(ino, d); m.err != nil {
			return
		}
		fallthrough
	case others && was.Type == remote.File && !m.o.Blind, others && ours:
		if r.Body == ino {
			r.Body = 0
		}
		attr.Size, attr.Mtime, attr.Ctime = theirs.Size, theirs.Mtime, theirs.Ctime
	case ours:
		attr.Size, attr.Mtime, attr.Ctime = mine.Size, mine.Mtime, mine.Ctime
	}
	needed := r.Body != ino || d.node != nil && differ(attr, mine.Attr)
	var ops []remote.Op
	if attr != theirs.Attr {
		ops = append(ops, remote.Op{Kind: remote.OpNode, Ino: ino, Attr: attr})
	}
	for _, n := range slices.Sorted(maps.Keys(d.xattrs)) {
		v := d.xattrs[n].value
		old, err := m.was.xattr(ino, n)
		if err != nil {
			m.fail(err)
		}
		now, err := m.theirs.xattr(ino, n)
		if err != nil {
			m.fail(err)
		}
		switch unchanged := bytes.Equal(v, old) && (v == nil) == (old == nil); {
		case unchanged:
			needed = needed || !bytes.Equal(now, v) || (now == nil) != (v == nil)
		case v == nil:
			ops = append(ops, remote.Op{Kind: remote.OpNoXattr, Ino: ino, Name: n})
		default:
			ops = append(ops, remote.Op{Kind: remote.OpXattr, Ino: ino, Name: n, Value: bytes.Clone(v)})
		}
	}
	if needed {
		m.out.Rebased = append(m.out.Rebased, r)
		m.out.Ops = append(m.out.Ops, ops...)
	}
}

// conflict makes a copy of a file as it is here, and a name for it beside the file's.
func (m *merger) conflict(ino remote.Ino, d *delta) Rebased {
	c, err := m.o.NewIno()
	if err != nil {
		m.fail(err)
		return Rebased{}
	}
	r := m.copy(ino, c)
	out := Copied{Ino: ino, Copy: c, Links: uint32(max(0, m.links(ino)))}
	defer func() { m.out.Copied = append(m.out.Copied, out) }()
	if d.node != nil && d.node.Links == 0 {
		return r // it has no name here either; who has it open goes on with the copy
	}
	k, err := m.nameOf(ino)
	if err != nil {
		m.fail(err)
		return r
	}
	out.Parent, out.Name = k.parent, k.name
	m.set(m.free(k), c)
	return r
}

// nameOf returns a name of an inode.
func (m *merger) nameOf(ino remote.Ino) (nameKey, error) {
	for _, k := range sortedNames(m.spots) {
		if m.spots[k].now == ino {
			return k, nil
		}
	}
	n, _ := m.node(m.theirs, ino)
	list, err := m.theirs.list(n.Parent)
	if err != nil {
		return nameKey{}, err
	}
	for _, e := range list {
		if k := (nameKey{n.Parent, e.Name}); e.Ino == ino && m.at(k).now == ino {
			return k, nil
		}
	}
	// The parent is where it was linked last, and may have lost the name since.
	var found nameKey
	err = m.was.base.scan([]byte{keyName}, func(key, v []byte) error {
		d, err := decodeName(v)
		if err != nil || d.ino != ino {
			return err
		}
		if k := keyOfName(key); m.at(k).now == ino {
			found = k
			return errStop
		}
		return nil
	})
	if err == errStop {
		return found, nil
	}
	if err == nil {
		err = lostInode(ino)
	}
	return found, err
}

// differ reports whether attributes differ in what is worth stating: times of a directory, and the time of a change of attributes, go on.
func differ(a, b remote.Attr) bool {
	a.Ctime = b.Ctime
	if a.Type == remote.Dir {
		a.Mtime = b.Mtime
	}
	return a != b
}

// mergeAttr takes of each attribute what was changed; the local one when both were.
func mergeAttr(was, theirs, mine remote.Attr) remote.Attr {
	out := theirs
	if mine.Mode != was.Mode {
		out.Mode = mine.Mode
	}
	if mine.UID != was.UID {
		out.UID = mine.UID
	}
	if mine.GID != was.GID {
		out.GID = mine.GID
	}
	if mine.Atime != was.Atime {
		out.Atime = mine.Atime
	}
	if mine.Mtime != was.Mtime {
		out.Mtime = mine.Mtime
	}
	if mine.Ctime != was.Ctime {
		out.Ctime = max(mine.Ctime, theirs.Ctime)
	}
	return out
}

// body tells the local content of a file: OpExtents for what is stored, for another inode or for the same, and the spans that are in the journal.
func (m *merger) body(from, to remote.Ino) (ops []remote.Op, spans []Span) {
	n := m.here(from)
	data, err := m.mine.data(from, 0, n.Size)
	if err != nil {
		m.fail(err)
	}
	at := uint64(0)
	gap := func(end uint64) {
		if from == to && at < end {
			ops = append(ops, remote.Op{Kind: remote.OpExtent, Ino: to, Extent: remote.Extent{Off: at, Len: end - at, Hole: true}})
		}
	}
	for _, s := range data {
		gap(s.Off)
		at = s.End
		err := m.mine.content(from, s.Off, s.End, func(p Piece) error {
			switch n := len(spans); {
			case p.Ext != nil:
				ops = append(ops, remote.Op{Kind: remote.OpExtent, Ino: to, Extent: *p.Ext})
			case n > 0 && spans[n-1].End == p.Off:
				spans[n-1].End += p.Len
			default:
				spans = append(spans, Span{p.Off, p.Off + p.Len})
			}
			return nil
		})
		if err != nil {
			m.fail(err)
		}
	}
	gap(n.Size)
	return ops, spans
}

// xattrs states all xattrs that an inode has here, for the same or another inode.
func (m *merger) xattrs(from, to remote.Ino) {
	names, err := m.mine.xattrs(from)
	if err != nil {
		m.fail(err)
	}
	for _, n := range names {
		v, err := m.mine.xattr(from, n)
		if err != nil {
			m.fail(err)
		}
		m.out.Ops = append(m.out.Ops, remote.Op{Kind: remote.OpXattr, Ino: to, Name: n, Value: bytes.Clone(v)})
	}
}
