package tree

import (
	"encoding/binary"

	"megafs/remote"
)

// Adopt lets the base take a batch of somebody else's, and the local changes what Merge made of them; the journal has m as record seq. m is nil
// when they just stay.
func (t *Tree) Adopt(b remote.Batch, m *Merge, seq uint64, now int64) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if gathered, err := t.gather(b); gathered || err != nil {
		return err
	}
	if t.live.empty() || t.frozen != nil || b.Pos == (remote.Position{}) {
		if err := t.absorb(b); err != nil {
			return err
		}
		t.note(b.Ops)
		return nil
	}
	s, err := t.preview(b)
	if err != nil {
		return err
	}
	how, err := t.meets(s)
	if err != nil {
		return err
	}
	var move []func()
	recount := map[remote.Ino]bool{}
	switch {
	case how == crossing:
		for ino := range s.top.inodes {
			if t.live.inodes[ino] != nil {
				recount[ino] = true
			}
		}
		for parent, names := range s.top.names {
			for n := range names {
				mine, ok := t.live.names[parent][n]
				if !ok {
					continue
				}
				was, err := t.base.lookup(parent, n)
				if err != nil {
					return err
				}
				recount[parent], recount[was.ino], recount[names[n].ino], recount[mine.ino] = true, true, true, true
			}
		}
	case how == beside:
		// The names differ, so the counts just add up.
		for ino, d := range s.top.inodes {
			l := t.live.inodes[ino]
			if l == nil {
				continue
			}
			was, _, err := t.base.node(ino)
			if err != nil {
				return err
			}
			move = append(move, func() {
				l.node.Links += d.node.Links - was.Links
				l.node.Subdirs += d.node.Subdirs - was.Subdirs
				l.node.Xattrs += d.node.Xattrs - was.Xattrs
				if d.node.Parent != was.Parent {
					l.node.Parent = d.node.Parent
				}
			})
		}
	}
	if err := t.absorb(b); err != nil {
		return err
	}
	t.note(b.Ops)
	for _, f := range move {
		f()
	}
	return t.rebase(m, recount, seq, now)
}

// Begin lets the local changes lie over a base that was begun anew below them.
func (t *Tree) Begin() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	all := map[remote.Ino]bool{}
	for ino, d := range t.live.inodes {
		all[ino] = true
		if d.node == nil || d.node.Links == 0 {
			continue
		}
		if _, known, err := t.base.node(ino); err != nil {
			return err
		} else if !known {
			d.astray = true // it was not removed here, and of the names that it had only those that are changed here are left
		}
	}
	for parent, names := range t.live.names {
		all[parent] = true
		for n, d := range names {
			was, err := t.base.lookup(parent, n)
			if err != nil {
				return err
			}
			all[d.ino], all[was.ino] = true, true
		}
	}
	return t.rebase(nil, all, 0, 0)
}

// Merged applies a Merge that the journal has as record seq, in a replay: the base has the batch already.
func (t *Tree) Merged(seq uint64, now int64, m *Merge) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.rebase(m, map[remote.Ino]bool{}, seq, now)
}

// rebase applies a Merge over the base it is about, after it counted anew the links of inodes that have others below them now.
func (t *Tree) rebase(m *Merge, recount map[remote.Ino]bool, seq uint64, now int64) error {
	attrs := map[remote.Ino]remote.Attr{}
	if m != nil {
		for i := range m.Ops {
			if op := &m.Ops[i]; op.Kind == remote.OpNode {
				attrs[op.Ino] = op.Attr
			}
		}
		for _, r := range m.Rebased {
			recount[r.Ino] = true
			t.forget(r)
		}
	}
	delete(recount, 0)
	if err := t.recount(recount, attrs, seq); err != nil {
		return err
	}
	if m == nil {
		return nil
	}
	t.live.upto = max(t.live.upto, seq)
	s := t.local()
	moved := map[remote.Ino]bool{}
	for i := range m.Ops {
		op := &m.Ops[i]
		if op.Kind == remote.OpLink || op.Kind == remote.OpUnlink {
			old, err := s.lookup(op.Parent, op.Name)
			if err != nil {
				return err
			}
			moved[op.Ino], moved[old] = true, true
		}
		if err := s.apply(op, seq); err != nil {
			return err
		}
		if d := t.live.inodes[op.Ino]; d != nil {
			d.mark(now)
		}
	}
	// A directory whose local move was undone is where the base has it.
	delete(moved, 0)
	if err := t.recount(moved, nil, seq); err != nil {
		return err
	}
	t.note(m.Ops)
	for _, r := range m.Rebased {
		t.note([]remote.Op{{Kind: remote.OpCut, Ino: r.Ino}})
	}
	return nil
}

// forget drops what is void of an inode, and gives its content away.
func (t *Tree) forget(r Rebased) {
	d := t.live.inodes[r.Ino]
	if d == nil {
		return
	}
	d.node, d.xattrs = nil, nil
	if r.Body == r.Ino || d.body == nil {
		return
	}
	for _, s := range r.Spans {
		d.body.runs.Range(s.Off, s.End, func(off, n uint64, p Place, ok bool) bool {
			if ok && !p.Hole && p.Shared == nil {
				c := t.live.delta(r.Body)
				if c.body == nil {
					c.body = newContent()
				}
				c.body.runs.Set(off, n, p)
				t.live.bytes += int64(n)
			}
			return true
		})
	}
	for _, x := range d.body.runs.All() {
		t.live.bytes -= int64(x.Len)
	}
	t.live.bytes = max(0, t.live.bytes)
	d.body = nil
}

// recount sets links, parents, subdirectories and numbers of xattrs of inodes in the live layer to what the base and the live names come to.
func (t *Tree) recount(inos map[remote.Ino]bool, attrs map[remote.Ino]remote.Attr, seq uint64) error {
	if len(inos) == 0 {
		return nil
	}
	links, parents, subdirs := map[remote.Ino]int{}, map[remote.Ino]remote.Ino{}, map[remote.Ino]int{}
	v := t.current()
	dir := func(ino remote.Ino) bool {
		n, ok, _ := v.node(ino)
		if a, stated := attrs[ino]; !ok && stated {
			return a.Type == remote.Dir
		}
		return ok && n.Type == remote.Dir
	}
	for parent, names := range t.live.names {
		for n, d := range names {
			was, err := t.base.lookup(parent, n)
			if err != nil {
				return err
			}
			if was.ino == d.ino {
				continue
			}
			if d.ino != 0 && inos[d.ino] {
				links[d.ino]++
				parents[d.ino] = parent
			}
			if was.ino != 0 && inos[was.ino] {
				links[was.ino]--
			}
			if inos[parent] {
				if d.ino != 0 && dir(d.ino) {
					subdirs[parent]++
				}
				if was.ino != 0 && was.typ == remote.Dir {
					subdirs[parent]--
				}
			}
		}
	}
	for ino := range inos {
		n, ok, err := t.base.node(ino)
		if err != nil {
			return err
		}
		d := t.live.inodes[ino]
		a, stated := attrs[ino]
		switch {
		case d != nil && d.node != nil:
			n.Attr, n.Version = d.node.Attr, max(n.Version, d.node.Version)
			if !ok {
				n.Ino, n.Parent = ino, d.node.Parent
			}
		case ok && (links[ino] != 0 || subdirs[ino] != 0 || parents[ino] != 0), !ok && stated:
			d = t.live.delta(ino)
			if !ok {
				n = Node{Ino: ino, Attr: a}
			}
			d.seq = seq
			if seq == 0 {
				d.seq = t.live.upto
			}
		default:
			if d != nil && d.body == nil && len(d.xattrs) == 0 {
				delete(t.live.inodes, ino)
			}
			continue
		}
		n.Links = uint32(max(0, int(n.Links)+links[ino]))
		n.Subdirs = uint32(max(0, int(n.Subdirs)+subdirs[ino]))
		for name, x := range d.xattrs {
			old, err := t.base.get(kxattr(ino, name))
			if err != nil {
				return err
			}
			switch {
			case old == nil && x.value != nil:
				n.Xattrs++
			case old != nil && x.value == nil && n.Xattrs > 0:
				n.Xattrs--
			}
		}
		if p := parents[ino]; p != 0 {
			n.Parent = p
		}
		n.orphan = n.orphan && n.Links == 0
		d.node = &n
	}
	return nil
}

// comeBack drops files that have no name any more and are kept since they are open here, when a batch states them anew.
func (t *Tree) comeBack(ops []remote.Op) error {
	for i := range ops {
		ino := ops[i].Ino
		if ops[i].Kind != remote.OpNode {
			continue
		}
		n, ok, err := t.base.node(ino)
		if err != nil {
			return err
		}
		if !ok || !n.orphan {
			continue
		}
		w := t.base.writer()
		if err := t.base.drop(w, ino); err != nil {
			return err
		}
		if err := w.flush(false); err != nil {
			return err
		}
	}
	return nil
}

func keyOfName(key []byte) nameKey {
	return nameKey{remote.Ino(binary.BigEndian.Uint64(key[1:])), string(key[9:])}
}
