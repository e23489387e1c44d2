package mega

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"maps"
	"slices"

	"megafs/remote"
)

// foreignDevice is the device number of inodes that were not made on this machine. This machine's own is localDevice.
const (
	localDevice   = 1
	foreignDevice = 2
)

// maxWalk is how deep a tree may be.
const maxWalk = 4096

// change is what happens to the tree, over what the index has: nodes that came, went, moved, changed. When all is known, finish tells it as Ops.
type change struct {
	r     *Remote
	nodes map[string]*node // as it will be; nil: gone
	sons  map[string]map[string]bool
	meta  meta
	w     *write
	moved map[string]bool // said to be on the move, and not there yet
	own   bool            // nodes were made here
}

func (r *Remote) begin() *change {
	return &change{r: r, nodes: map[string]*node{}, sons: map[string]map[string]bool{}, meta: r.x.meta, w: newWrite(), moved: map[string]bool{}}
}

// node returns a node as it will be. It must not be changed; see set.
func (c *change) node(handle string) (*node, error) {
	if n, ok := c.nodes[handle]; ok {
		return n, nil
	}
	return c.r.x.node(handle)
}

// set makes a node as it will be.
func (c *change) set(n *node) {
	c.nodes[n.handle] = n
	if c.sons[n.parent] == nil {
		c.sons[n.parent] = map[string]bool{}
	}
	c.sons[n.parent][n.handle] = true
	delete(c.moved, n.handle)
}

// children returns the nodes of a folder as they will be.
func (c *change) children(handle string) ([]*node, error) {
	all := maps.Clone(c.sons[handle])
	if all == nil {
		all = map[string]bool{}
	}
	known, err := c.r.x.children(handle)
	if err != nil {
		return nil, err
	}
	for _, h := range known {
		all[h] = true
	}
	var out []*node
	for _, h := range sorted(all) {
		n, err := c.node(h)
		if err != nil {
			return nil, err
		}
		if n != nil && n.parent == handle {
			out = append(out, n)
		}
	}
	return out, nil
}

// remove takes a node away, with all that is in it. The root stays.
func (c *change) remove(handle string) error {
	rest := []string{handle}
	for len(rest) > 0 {
		h := rest[len(rest)-1]
		rest = rest[:len(rest)-1]
		n, err := c.node(h)
		if err != nil {
			return err
		}
		if n == nil || h == c.meta.root {
			continue
		}
		if n.folder {
			sons, err := c.children(h)
			if err != nil {
				return err
			}
			for _, s := range sons {
				rest = append(rest, s.handle)
			}
		}
		c.nodes[h] = nil
	}
	return nil
}

// take makes of a node what the server says of it now. It reports whether that makes sense by what is known so far.
func (c *change) take(j *jsonNode) (bool, error) {
	if j.H == c.meta.root {
		return true, nil
	}
	old, err := c.node(j.H)
	if err != nil {
		return false, err
	}
	if j.T != nil && *j.T > typeFolder {
		return true, nil // another root
	}
	parent, err := c.node(j.P)
	if err != nil {
		return false, err
	}
	if parent == nil || !parent.folder {
		if old != nil && parent == nil {
			return false, c.remove(j.H) // it left the part of the account that is shown
		}
		return false, nil
	}
	n := c.r.keys.node(j, c.r.o.Session.User)
	if n == nil {
		return true, nil
	}
	if old != nil {
		moved := *old
		moved.parent = n.parent
		if n.folder == old.folder && n.size == old.size && (!n.readable() || !old.readable() || bytes.Equal(n.key, old.key)) {
			if n.readable() {
				moved.attrs, moved.key = n.attrs, n.key
			}
		} // else it is another thing under the same handle: what is known stays
		if inside, err := c.inside(n.parent, n.handle); err != nil || inside {
			return true, err
		}
		c.set(&moved)
		return true, nil
	}
	if err := c.bind(n, j.K); err != nil {
		return false, err
	}
	c.set(n)
	return true, nil
}

// bind gives a new node its inode: the one it was made for here, or a new one.
func (c *change) bind(n *node, wrapped string) error {
	b, err := c.r.x.get(kstr(keyIntent, c.r.ownPart(wrapped)))
	if err != nil {
		return err
	}
	if i, ok := decodeIntent(b); ok {
		c.own = true
		n.ino, n.object = i.ino, i.object
		if n.object == (object{}) {
			n.object = nodeObject(n.handle)
		}
		c.w.del(kstr(keyIntent, c.r.ownPart(wrapped)))
		if i.replaces != "" {
			if o, err := c.node(i.replaces); err != nil {
				return err
			} else if o != nil && o.ino == i.ino {
				c.nodes[i.replaces] = nil
			}
		}
		return nil
	}
	c.meta.foreign++
	n.ino = remote.Ino(foreignDevice<<remote.InoBits | c.meta.foreign)
	return nil
}

// succeed makes a node a new version of another: it has the other's inode.
func (c *change) succeed(old, handle string) error {
	o, err := c.node(old)
	if err != nil || o == nil || o.folder {
		return err
	}
	n, err := c.node(handle)
	if err != nil || n == nil || n.folder || n.handle == o.handle {
		return err
	}
	c.nodes[old] = nil
	if was, err := c.r.x.node(handle); err != nil || was != nil {
		return err // it had a life of its own before
	}
	next := *n
	if next.ino.Device() == foreignDevice {
		next.ino = o.ino
	}
	c.set(&next)
	return nil
}

// inside reports whether a folder is, or is in, the node.
func (c *change) inside(folder, handle string) (bool, error) {
	for range maxWalk {
		if folder == handle {
			return true, nil
		}
		if folder == c.meta.root {
			return false, nil
		}
		n, err := c.node(folder)
		if n == nil || err != nil {
			return false, err
		}
		folder = n.parent
	}
	return true, nil
}

// apply takes events in their order.
func (c *change) apply(ps []packet) error {
	for i := range ps {
		p := &ps[i]
		switch p.A {
		case "t":
			if err := c.arrive(p); err != nil {
				return err
			}
		case "u":
			n, err := c.node(p.N)
			if err != nil {
				return err
			}
			if n == nil || p.AT == "" || n.handle == c.meta.root {
				continue
			}
			next := *n
			next.attrs = p.AT
			if _, err := next.attributes(); !n.readable() || err != nil {
				continue // what is known stays
			}
			c.set(&next)
		case "d":
			if p.moves() {
				c.moved[p.N] = true
			} else if err := c.remove(p.N); err != nil {
				return err
			}
		}
	}
	return nil
}

// arrive takes nodes that came or moved. Parents may come after their children.
func (c *change) arrive(p *packet) error {
	rest := p.T.F
	for len(rest) > 0 {
		var later []jsonNode
		for i := range rest {
			ok, err := c.take(&rest[i])
			if err != nil {
				return err
			}
			if !ok {
				later = append(later, rest[i])
			}
		}
		if len(later) == len(rest) {
			break
		}
		rest = later
	}
	for _, versions := range [][]jsonNode{p.T.F2, rest} {
		for i := range versions {
			if v := &versions[i]; v.T != nil && *v.T == typeFile {
				if err := c.succeed(v.H, v.P); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// finish gives all nodes the names they are shown by, writes the changes, and returns them as Ops.
func (c *change) finish() (ops []remote.Op, err error) {
	for _, h := range sorted(c.moved) {
		if err := c.remove(h); err != nil {
			return nil, err
		}
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
		old, err := c.r.x.node(h)
		if err != nil {
			return nil, err
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
			if n != nil && n.parent == old.parent && n.want == old.want {
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
		at(p.ino).old, at(p.ino).now = cmp.Or(at(p.ino).old, old), p
		olds[p.handle] = old
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
		c.w.put(kstr(keyNode, h), n.encode())
		c.w.put(kino(n.ino), []byte(h))
		if h == c.meta.root {
			continue
		}
		c.w.put(kstr(keyChild, n.parent, n.shown), []byte(h))
		if n.shown != n.want {
			c.w.put(kstr(keyTwin, n.parent, n.want, "\x00", h), nil)
		}
		if n.object.handle() == "" && !n.folder {
			c.w.put(kstr(keyUpload, string(n.object[:])), []byte(h))
		}
	}
}

// differ tells what of an inode is not as it was, but for its name.
func (r *Remote) differ(old, now *node) (ops []remote.Op) {
	a, x, _ := now.attr(r.o.Owner)
	var oa remote.Attr
	var ox map[string][]byte
	if old != nil {
		oa, ox, _ = old.attr(r.o.Owner)
	}
	if now.ino == remote.Root && !r.linked() {
		return nil
	}
	if old == nil || a != oa {
		if old != nil && a.Type != oa.Type {
			a.Type = oa.Type // an inode never changes its type; only a client that writes our attributes wrongly brings that about
			a.Target, a.Rdev = oa.Target, oa.Rdev
			if a.Type == remote.Symlink {
				a.Size = oa.Size
			} else if a.Type != remote.File {
				a.Size = 0
			} else {
				a.Size, a.Target, a.Rdev = now.size, "", 0
			}
		}
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
	if a.Type == remote.File && (old == nil || old.object != now.object) {
		ops = append(ops, extents(now.ino, now.object, now.size)...)
	}
	return ops
}

// extents tells where a file's content is.
func extents(ino remote.Ino, o object, size uint64) (ops []remote.Op) {
	for off := uint64(0); off < size; off += remote.MaxContent {
		n := min(size-off, remote.MaxContent)
		ops = append(ops, remote.Op{Kind: remote.OpExtent, Ino: ino, Extent: remote.Extent{Off: off, Len: n, Ref: pieceRef(o, off/remote.MaxContent, n)}})
	}
	return ops
}

// pieceRef refers to a whole piece of n bytes.
func pieceRef(o object, i, n uint64) remote.Ref {
	return remote.Ref{Object: o.piece(i), Chunks: uint16((n + remote.ChunkSize - 1) / remote.ChunkSize)}
}

// naming gives nodes the names they are shown by.
type naming struct {
	c     *change
	to    map[[2]string]string // names that changed hands: the node, or "" for nobody
	freed [][2]string
	moved []*node // that gave a name to an older one, or got one that became free
}

// holder returns the node that has a name.
func (s *naming) holder(parent, name string) (string, error) {
	if h, ok := s.to[[2]string{parent, name}]; ok {
		return h, nil
	}
	b, err := s.c.r.x.get(kstr(keyChild, parent, name))
	return string(b), err
}

func (s *naming) free(old *node) {
	s.to[[2]string{old.parent, old.shown}] = ""
	s.freed = append(s.freed, [2]string{old.parent, old.shown})
}

// older is the order in which nodes have a right to a name. It is the same on all machines.
func older(a, b *node) int {
	return cmp.Or(cmp.Compare(a.born, b.born), cmp.Compare(a.handle, b.handle))
}

// give gives a node the name it wants. Of several that want it the oldest has it, and the others have one like it.
func (s *naming) give(n *node) error {
	for try := 0; ; try++ {
		name := n.want
		if try > 0 {
			name = twin(n.want, n.born, try)
		}
		h, err := s.holder(n.parent, name)
		if err != nil {
			return err
		}
		take := func() {
			n.shown = name
			s.to[[2]string{n.parent, name}] = n.handle
		}
		if h == "" || h == n.handle {
			take()
			return nil
		}
		other, err := s.c.node(h)
		if err != nil {
			return err
		}
		if try > 0 || other == nil || other.want != name || older(n, other) > 0 {
			continue
		}
		take()
		if s.c.nodes[h] == nil {
			o := *other
			other = &o
			s.c.nodes[h] = other
		}
		s.moved = append(s.moved, other)
		return s.give(other)
	}
}

// promote gives names that became free to nodes that wanted them.
func (s *naming) promote() error {
	for len(s.freed) > 0 {
		f := s.freed[0]
		s.freed = s.freed[1:]
		var heirs []*node
		err := s.c.r.x.scan(kstr(keyTwin, f[0], f[1], "\x00"), func(key, _ []byte) error {
			n, err := s.c.node(string(key))
			if err == nil && n != nil && n.parent == f[0] && n.want == f[1] && n.shown != n.want {
				heirs = append(heirs, n)
			}
			return err
		})
		if err != nil {
			return err
		}
		if len(heirs) == 0 {
			continue
		}
		slices.SortFunc(heirs, older)
		if h, err := s.holder(f[0], f[1]); err != nil {
			return err
		} else if h != "" {
			if now, err := s.c.node(h); err != nil {
				return err
			} else if now != nil && now.want == f[1] && older(now, heirs[0]) < 0 {
				continue
			}
		}
		n := *heirs[0]
		s.free(&n)
		s.c.nodes[n.handle] = &n
		s.moved = append(s.moved, &n)
		if err := s.give(&n); err != nil {
			return err
		}
	}
	return nil
}
