package mega

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"iter"
	"maps"
	"slices"

	"megafs/remote"
)

// finish gives all nodes the names they are shown by, writes the changes, and returns them as Ops.
func (c *change) finish() (ops []remote.Op, err error) {
	for _, h := range sorted(c.moved) {
		if err := c.remove(h); err != nil {
			return nil, err
		}
	}
	if err := c.retype(); err != nil {
		return nil, err
	}
	type pair struct{ old, now *node }
	inodes := map[remote.Ino]*pair{}
	at := func(ino remote.Ino) *pair {
		if inodes[ino] == nil {
			inodes[ino] = &pair{}
		}
		return inodes[ino]
	}
	olds := map[string]*node{}
	for h, n := range c.nodes {
		var old *node
		if !c.first {
			if old, err = c.r.x.node(h); err != nil {
				return nil, err
			}
		}
		olds[h] = old
		if old != nil && n != nil && n.ino == old.ino {
			at(old.ino).old, at(n.ino).now = old, n
			continue
		}
		if old != nil && at(old.ino).old == nil {
			at(old.ino).old = old
		}
		if n != nil {
			at(n.ino).now = n
		}
	}
	names := &naming{c: c, to: map[[2]string]string{}}
	// First the names that are given up, then those that stay, then new ones in the order of their nodes' age.
	var wanting []*node
	for h, old := range olds {
		n := c.nodes[h]
		if n != nil {
			m := *n
			if h == c.meta.root {
				continue
			}
			var a remote.Attr
			a, _, m.want = m.attr(c.r.o.Owner)
			m.born = int64(a.Btime)
			c.nodes[h] = &m
			at(m.ino).now = &m
			n = &m
		}
		if old != nil {
			if n != nil && n.parent == old.parent && n.want == old.want && n.born == old.born {
				n.shown = old.shown
				continue
			}
			names.free(old)
		}
		if n != nil {
			n.shown = ""
			wanting = append(wanting, n)
		}
	}
	slices.SortFunc(wanting, older)
	for _, n := range wanting {
		if err := names.give(n); err != nil {
			return nil, err
		}
	}
	if err := names.promote(); err != nil {
		return nil, err
	}
	for _, p := range names.moved {
		old, err := c.r.x.node(p.handle)
		if err != nil {
			return nil, err
		}
		olds[p.handle] = old
		if old != nil && old.ino != p.ino { // it went and came back, or is of another type: nothing was said of this inode
			old = nil
		}
		at(p.ino).old, at(p.ino).now = cmp.Or(at(p.ino).old, old), p
	}
	if c.first { // which is told as a whole
		c.write(olds)
		return nil, nil
	}
	var unlink, link []remote.Op
	for _, ino := range slices.Sorted(maps.Keys(inodes)) {
		p := inodes[ino]
		if p.now != nil {
			ops = append(ops, c.r.differ(p.old, p.now)...)
		}
		if p.old != nil && (p.now == nil || c.r.place(p.old) != c.r.place(p.now)) {
			dir, err := c.oldIno(p.old.parent)
			if err != nil {
				return nil, err
			}
			unlink = append(unlink, remote.Op{Kind: remote.OpUnlink, Parent: dir, Name: p.old.shown, Ino: ino})
		}
		if p.now != nil && p.now.handle != c.meta.root && (p.old == nil || c.r.place(p.old) != c.r.place(p.now)) {
			dir, err := c.node(p.now.parent)
			if err != nil {
				return nil, err
			}
			link = append(link, remote.Op{Kind: remote.OpLink, Parent: dir.ino, Name: p.now.shown, Ino: ino})
		}
	}
	c.write(olds)
	// A name that is given up and taken in one change must be stated once: the last word counts, and that is the taking.
	return append(append(ops, unlink...), link...), nil
}

// retype gives nodes another inode that are of another type than what had theirs: an inode never changes its type. Another machine can put a symbolic link in the place of a file, as its new
// version, and a client that writes attributes anew, without ours, makes a file of a link.
func (c *change) retype() error {
	if c.first {
		return nil
	}
	for h, n := range c.nodes {
		if n == nil {
			continue
		}
		old, err := c.r.x.nodeOf(n.ino)
		if err != nil {
			return err
		}
		if old == nil || old.handle == h && old.attrs == n.attrs && bytes.Equal(old.key, n.key) {
			continue
		}
		was, _, _ := old.attr(c.r.o.Owner)
		if now, _, _ := n.attr(c.r.o.Owner); now.Type != was.Type {
			next := *n
			c.number(&next)
			c.nodes[h] = &next
		}
	}
	return nil
}

// oldIno returns the inode of a folder as it was before.
func (c *change) oldIno(handle string) (remote.Ino, error) {
	n, err := c.r.x.node(handle)
	if err != nil {
		return 0, err
	}
	if n == nil {
		return 0, errIndex
	}
	return n.ino, nil
}

func (r *Remote) place(n *node) [2]string { return [2]string{n.parent, n.shown} }

// write writes the records of all nodes that changed.
func (c *change) write(olds map[string]*node) {
	for h, old := range olds {
		if old != nil {
			c.w.del(kstr(keyChild, old.parent, old.shown))
			if old.shown != old.want {
				c.w.del(kstr(keyTwin, old.parent, old.want, "\x00", h))
			}
		}
	}
	c.writeShares(olds)
	for h, old := range olds {
		n := c.nodes[h]
		if n == nil {
			if old != nil {
				c.w.del(kstr(keyNode, h))
				if v, ok := c.w.set[string(kino(old.ino))]; !ok || v == nil {
					c.w.del(kino(old.ino))
				}
				if !old.folder && old.readable() { // somebody may still have it open, or changes over it
					c.w.put(kstr(keyContent, h), append(binary.BigEndian.AppendUint64(nil, old.size), old.key...))
				}
			}
			continue
		}
		if old != nil && old.ino != n.ino && c.w.set[string(kino(old.ino))] == nil {
			c.w.del(kino(old.ino))
		}
		c.w.put(kstr(keyNode, h), inoValue(n.ino))
		c.w.put(kino(n.ino), encodeInodeNode(n))
		if h == c.meta.root {
			continue
		}
		c.w.put(kstr(keyChild, n.parent, n.shown), encodeChild(n))
		if n.shown != n.want {
			c.w.put(kstr(keyTwin, n.parent, n.want, "\x00", h), nil)
		}
		if n.object.handle() == "" && !n.folder {
			c.w.put(kstr(keyUpload, string(n.object[:])), []byte(h))
		}
	}
}

// differ tells what of an inode is not as it was, but for its name.
func (r *Remote) differ(old, now *node) []remote.Op {
	ops, content := r.described(old, now)
	if content {
		for op := range extents(now.ino, now.object, now.size) {
			ops = append(ops, op)
		}
	}
	return ops
}

// described is differ without content; it reports whether that differs too.
func (r *Remote) described(old, now *node) (ops []remote.Op, content bool) {
	a, x, _ := now.attr(r.o.Owner)
	var oa remote.Attr
	var ox map[string][]byte
	if old != nil {
		oa, ox, _ = old.attr(r.o.Owner)
	}
	if now.ino == remote.Root && !r.linked() {
		return nil, false
	}
	if old == nil || a != oa {
		ops = append(ops, remote.Op{Kind: remote.OpNode, Ino: now.ino, Attr: a})
	}
	for _, k := range sorted(ox) {
		if _, ok := x[k]; !ok {
			ops = append(ops, remote.Op{Kind: remote.OpNoXattr, Ino: now.ino, Name: k})
		}
	}
	for _, k := range sorted(x) {
		if v, ok := ox[k]; !ok || !bytes.Equal(v, x[k]) {
			ops = append(ops, remote.Op{Kind: remote.OpXattr, Ino: now.ino, Name: k, Value: x[k]})
		}
	}
	return ops, a.Type == remote.File && (old == nil || old.object != now.object)
}

// extents tells where a file's content is.
func extents(ino remote.Ino, o object, size uint64) iter.Seq[remote.Op] {
	return func(yield func(remote.Op) bool) {
		for off := uint64(0); off < size; off += remote.MaxContent {
			n := min(size-off, remote.MaxContent)
			if !yield(remote.Op{Kind: remote.OpExtent, Ino: ino, Extent: remote.Extent{Off: off, Len: n, Ref: pieceRef(o, off/remote.MaxContent, n)}}) {
				return
			}
		}
	}
}

// pieceRef refers to a whole piece of n bytes.
func pieceRef(o object, i, n uint64) remote.Ref {
	return remote.Ref{Object: o.piece(i), Chunks: uint16((n + remote.ChunkSize - 1) / remote.ChunkSize)}
}
