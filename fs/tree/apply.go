package tree

import (
	"encoding/binary"
	"errors"
	"fmt"

	"megafs/remote"
	"megafs/remote/extent"
	"megafs/remote/wire"
)

var errStop = errors.New("stop")

// state is the one state machine: a layer that takes Ops, over what is known below it. Local changes, replayed ones, a
// remote's batches and snapshots all go through it.
type state struct {
	view      // view.layers[0] is top
	top       *layer
	versioned uint64 // content changes get this version; 0 leaves it alone
	bulk      bool   // a snapshot: names may come before inodes have all their names
}

func newState(top *layer, below []*layer, b *base) *state {
	return &state{view: view{append([]*layer{top}, below...), b}, top: top}
}

// edit returns the inode in the top layer, to be changed, or nil when it does not exist. Only a record that states all attributes makes
// earlier ones superfluous; edit is for those that state less.
func (s *state) edit(ino remote.Ino, seq uint64) (*Node, error) {
	d := s.top.delta(ino)
	if d.node != nil {
		return d.node, nil
	}
	n, ok, err := s.node(ino)
	if err != nil {
		return nil, err
	}
	if !ok || n.orphan && s.versioned != 0 { // the remote does not have what is only open here
		if d.xattrs == nil && d.body == nil {
			delete(s.top.inodes, ino)
		}
		return nil, nil
	}
	d.node, d.seq = &n, seq
	return d.node, nil
}

func (s *state) body(ino remote.Ino) *content {
	d := s.top.delta(ino)
	if d.body == nil {
		d.body = newContent()
	}
	return d.body
}

// apply takes one Op. Ops on inodes that do not exist (any more) do nothing: they come from a replay of what is long gone.
func (s *state) apply(op *remote.Op, seq uint64) error {
	s.top.upto = max(s.top.upto, seq)
	switch op.Kind {
	case remote.OpNode:
		return s.setNode(op, seq)
	case remote.OpLink:
		return s.setName(op.Parent, op.Name, op.Ino, seq)
	case remote.OpUnlink:
		return s.setName(op.Parent, op.Name, 0, seq)
	case remote.OpCut:
		n, err := s.edit(op.Ino, seq)
		if n == nil || err != nil {
			return err
		}
		s.body(op.Ino).shorten(op.Cut, seq)
		s.touch(n)
	case remote.OpExtent:
		n, err := s.edit(op.Ino, seq)
		if n == nil || err != nil {
			return err
		}
		e := op.Extent
		s.body(op.Ino).runs.Set(e.Off, e.Len, Place{Shared: &e, Hole: e.Hole, Seq: seq})
		s.touch(n)
	case remote.OpXattr, remote.OpNoXattr:
		return s.setXattr(op, seq)
	case remote.OpDevice:
	default:
		return remote.E("apply", fmt.Sprintf("op %d", op.Kind), remote.NotSupported, nil)
	}
	return nil
}

func (s *state) touch(n *Node) {
	if s.versioned != 0 {
		n.Version = s.versioned
	}
}

func (s *state) setNode(op *remote.Op, seq uint64) error {
	n, err := s.edit(op.Ino, seq)
	if err != nil {
		return err
	}
	if n == nil {
		d := s.top.delta(op.Ino)
		d.node, d.seq = &Node{Ino: op.Ino, Attr: op.Attr, Version: s.versioned}, seq
		if op.Ino == remote.Root {
			d.node.Links, d.node.Parent = 1, remote.Root
		}
		return nil
	}
	s.top.inodes[op.Ino].seq = seq
	if n.Type != op.Attr.Type {
		return remote.E("apply", fmt.Sprintf("inode %d", op.Ino), remote.Integrity, errors.New("an inode can't become another type"))
	}
	if op.Attr.Type == remote.File {
		if op.Attr.Size < n.Size {
			s.body(op.Ino).shorten(op.Attr.Size, seq)
		}
		if op.Attr.Size != n.Size {
			s.touch(n)
		}
	}
	n.Attr = op.Attr
	return nil
}

// setName makes a name lead to ino (0: nowhere) and keeps the counts of links.
func (s *state) setName(parent remote.Ino, name string, ino remote.Ino, seq uint64) error {
	old, err := s.lookup(parent, name)
	if err != nil {
		return err
	}
	if old == ino {
		if ino != 0 || s.top.names[parent] != nil {
			s.top.setName(parent, name, ino, seq)
		}
		return nil
	}
	if ino != 0 {
		n, err := s.edit(ino, seq)
		if err != nil {
			return err
		}
		if n == nil {
			// Replay: the inode was removed for good since; so was this name.
			return s.dangling(ino)
		}
		n.Links++
		n.Parent, n.orphan = parent, false
		if n.Type == remote.Dir {
			if err := s.subdir(parent, 1, seq); err != nil {
				return err
			}
		}
	}
	if old != 0 {
		n, err := s.edit(old, seq)
		if err != nil {
			return err
		}
		if n != nil && n.Links > 0 {
			n.Links--
			if n.Type == remote.Dir {
				if err := s.subdir(parent, -1, seq); err != nil {
					return err
				}
			}
		}
	}
	s.top.setName(parent, name, ino, seq)
	return nil
}

func (s *state) dangling(ino remote.Ino) error {
	if s.versioned == 0 {
		return nil
	}
	return remote.E("apply", fmt.Sprintf("inode %d", ino), remote.Integrity, errors.New("a name for an inode that does not exist"))
}

func (s *state) subdir(dir remote.Ino, by int, seq uint64) error {
	p, err := s.edit(dir, seq)
	if p == nil || err != nil {
		return err
	}
	if by > 0 || p.Subdirs > 0 {
		p.Subdirs = uint32(int(p.Subdirs) + by)
	}
	return nil
}

func (s *state) setXattr(op *remote.Op, seq uint64) error {
	old, err := s.xattr(op.Ino, op.Name)
	if err != nil {
		return err
	}
	n, err := s.edit(op.Ino, seq)
	if n == nil || err != nil {
		return err
	}
	d := s.top.delta(op.Ino)
	if d.xattrs == nil {
		d.xattrs = map[string]xattr{}
	}
	if op.Kind == remote.OpXattr {
		v := op.Value
		if v == nil {
			v = []byte{}
		}
		d.xattrs[op.Name] = xattr{v, seq}
		if old == nil {
			n.Xattrs++
		}
		return nil
	}
	d.xattrs[op.Name] = xattr{nil, seq}
	if old != nil && n.Xattrs > 0 {
		n.Xattrs--
	}
	return nil
}

// check looks whether the layer leaves a tree behind, after a whole batch.
func (s *state) check() error {
	bad := func(ino remote.Ino, why string) error {
		return remote.E("apply a batch", fmt.Sprintf("inode %d", ino), remote.Integrity, errors.New(why))
	}
	for parent, names := range s.top.names {
		p, ok, err := s.node(parent)
		if err != nil {
			return err
		}
		for _, d := range names {
			if d.ino == 0 {
				continue
			}
			if !ok || p.Type != remote.Dir || p.Links == 0 {
				return bad(parent, "a name in what is no directory")
			}
		}
	}
	for ino, d := range s.top.inodes {
		if d.node == nil {
			continue
		}
		n := d.node
		if n.Type != remote.Dir {
			continue
		}
		if n.Links > 1 {
			return bad(ino, "a directory with two names")
		}
		if n.Links == 0 {
			empty, err := s.empty(ino)
			if err != nil {
				return err
			}
			if !empty {
				return bad(ino, "a directory was removed that is not empty")
			}
			continue
		}
		if err := s.rooted(ino); err != nil {
			return err
		}
	}
	return nil
}

// rooted walks up from a directory and fails if it does not come to the root.
func (s *state) rooted(ino remote.Ino) error {
	slow, step := ino, 0
	for at := ino; at != remote.Root; step++ {
		n, ok, err := s.node(at)
		if err != nil {
			return err
		}
		if !ok || n.Links == 0 && at != remote.Root {
			return remote.E("apply a batch", fmt.Sprintf("inode %d", ino), remote.Integrity, errors.New("a directory that does not hang in the tree"))
		}
		at = n.Parent
		// Brent: a walk that meets a place it has been to goes in a circle.
		if at == slow {
			return remote.E("apply a batch", fmt.Sprintf("inode %d", ino), remote.Integrity, errors.New("a directory within itself"))
		}
		if step&(step-1) == 0 {
			slow = at
		}
	}
	return nil
}

// write puts the layer into the base. Inodes without names go, unless pinned says that somebody has them open.
func (s *state) write(w *writer, pinned func(remote.Ino) bool) error {
	b := s.base
	for parent, names := range s.top.names {
		for name, d := range names {
			key := kname(parent, name)
			b.names.Remove(nameKey{parent, name})
			if d.ino == 0 {
				w.del(key)
				continue
			}
			n, ok, err := s.node(d.ino)
			if err != nil {
				return err
			}
			if !ok {
				return remote.E("apply", fmt.Sprintf("inode %d", d.ino), remote.Integrity, errors.New("a name for an inode that does not exist"))
			}
			w.set(key, append(binary.BigEndian.AppendUint64(nil, uint64(d.ino)), byte(n.Type)))
		}
	}
	for ino, d := range s.top.inodes {
		if d.node != nil && d.node.Links == 0 && !s.bulk {
			if pinned != nil && pinned(ino) {
				d.node.orphan = true
				w.set(k(keyOrphan, uint64(ino)), nil)
			} else {
				if err := b.drop(w, ino); err != nil {
					return err
				}
				continue
			}
		}
		if d.node != nil {
			w.setNode(*d.node)
		}
		for name, x := range d.xattrs {
			if x.value == nil {
				w.del(kxattr(ino, name))
			} else {
				w.set(kxattr(ino, name), x.value)
			}
		}
		if d.body != nil {
			if err := b.writeBody(w, ino, d.body); err != nil {
				return err
			}
		}
	}
	return nil
}

// writeBody lays a difference of content over a file's extents.
func (b *base) writeBody(w *writer, ino remote.Ino, c *content) error {
	changed := map[uint64]*extent.Map{}
	segment := func(seg uint64) (*extent.Map, error) {
		if m := changed[seg]; m != nil {
			return m, nil
		}
		old, err := b.body(ino, seg)
		if err != nil {
			return nil, err
		}
		m, err := extent.FromSorted(append([]remote.Extent(nil), old.All()...))
		changed[seg] = m
		return m, err
	}
	if c.cut != noCut {
		first := c.cut >> segmentBits
		if c.cut&(1<<segmentBits-1) != 0 {
			m, err := segment(first)
			if err != nil {
				return err
			}
			m.Cut(c.cut)
			first++
		}
		prefix := k(keyBody, uint64(ino))
		err := b.scan(prefix, func(key, _ []byte) error {
			if seg := binary.BigEndian.Uint64(key[9:]); seg >= first {
				changed[seg] = &extent.Map{}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	for _, r := range c.runs.All() {
		end := r.Off + r.Len
		if r.V.Hole {
			if err := b.clear(ino, r.Off, end, changed, segment); err != nil {
				return err
			}
			continue
		}
		if r.V.Shared == nil {
			return remote.E("write the tree index", fmt.Sprint(ino), remote.Invalid, errors.New("local bytes in the base"))
		}
		e := *r.V.Shared
		e.Off, e.Len = r.Off, r.Len
		for off := r.Off; off < end; {
			seg := off >> segmentBits
			to := min(end, (seg+1)<<segmentBits)
			m, err := segment(seg)
			if err != nil {
				return err
			}
			m.Set(e.Slice(off, to))
			off = to
		}
	}
	for seg, m := range changed {
		b.bodies.Remove(bodyKey{ino, seg})
		key := k(keyBody, uint64(ino), seg)
		if m.Len() == 0 {
			w.del(key)
			continue
		}
		var v []byte
		for _, e := range m.All() {
			v = wire.AppendExtent(v, &e)
		}
		w.set(key, v)
	}
	return nil
}

// clear takes the bytes [from, to) out of the segments that there are: a hole may be far larger than what it swallows.
func (b *base) clear(ino remote.Ino, from, to uint64, changed map[uint64]*extent.Map, segment func(uint64) (*extent.Map, error)) error {
	first, last := from>>segmentBits, (to-1)>>segmentBits
	hit := map[uint64]bool{}
	for seg := range changed {
		hit[seg] = seg >= first && seg <= last
	}
	err := b.scan(k(keyBody, uint64(ino)), func(key, _ []byte) error {
		if seg := binary.BigEndian.Uint64(key[9:]); seg >= first && seg <= last {
			hit[seg] = true
		}
		return nil
	})
	if err != nil {
		return err
	}
	for seg, in := range hit {
		if !in {
			continue
		}
		m, err := segment(seg)
		if err != nil {
			return err
		}
		m.Clear(from, to)
	}
	return nil
}
