package mega

import (
	"bytes"
	"maps"

	"megafs/crypto/megacrypt"
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
	r      *Remote
	nodes  map[string]*node // as it will be; nil: gone
	sons   map[string]map[string]bool
	meta   meta
	w      *write
	moved  map[string]bool // said to be on the move, and not there yet
	shares map[string]bool // of which something may be another
	own    bool            // nodes were made here
	ours   bool            // what others may have done is left out; see applyOurs
	left   map[string]bool // then: the nodes that went elsewhere, or are gone, and stay as they are
	first  bool            // the index knows none of the nodes: it takes its first tree
}

func (r *Remote) begin() *change {
	return &change{r: r, nodes: map[string]*node{}, sons: map[string]map[string]bool{}, meta: r.x.meta, w: newWrite(), moved: map[string]bool{}, shares: map[string]bool{}}
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
	if j.H == c.meta.root || !megacrypt.ValidHandle(j.H) {
		return true, nil
	}
	old, err := c.node(j.H)
	if err != nil {
		return false, err
	}
	if j.T != nil && *j.T > typeFolder {
		return true, nil // another root
	}
	if c.left[j.H] {
		return true, nil
	}
	in, err := c.home(j)
	if err != nil {
		return false, err
	}
	parent, err := c.node(in)
	if err != nil {
		return false, err
	}
	if parent == nil || !parent.folder {
		if c.ours && old != nil {
			c.left[j.H] = true
			return true, nil
		}
		if old != nil && parent == nil {
			return false, c.remove(j.H) // it left the part of the account that is shown
		}
		return false, nil
	}
	n := c.r.keys.node(j, c.r.o.Session.User)
	if n == nil || old != nil && old.shared != parent.shared { // nothing goes from one account to another
		return true, nil
	}
	n.parent = in
	n.place(c.r, parent.shared)
	if old != nil {
		moved := *old
		moved.parent = n.parent
		if n.folder == old.folder && n.size == old.size && (!n.readable() || !old.readable() || bytes.Equal(n.key, old.key)) {
			if n.readable() {
				moved.attrs, moved.key, moved.lent = n.attrs, n.key, n.lent
			}
		} // else it is another thing under the same handle: what is known stays
		if inside, err := c.inside(n.parent, n.handle); err != nil || inside {
			return true, err
		}
		c.set(&moved)
		return true, nil
	}
	if stray, err := c.bind(n, j.K); err != nil || stray {
		return true, err
	}
	c.set(n)
	return true, nil
}

// bind gives a new node its inode: the one it was made for here, or a new one, as all that others share has. A stray was made for one here, but too late: it is noted as one that is to go.
func (c *change) bind(n *node, wrapped string) (stray bool, err error) {
	if c.first || n.shared {
		c.number(n)
		return false, nil
	}
	if old, err := c.node(n.handle); err != nil || old != nil && old.shared {
		return true, err
	}
	if b, err := c.r.x.get(kstr(keyStray, n.handle)); err != nil || b != nil {
		return true, err
	}
	i, key, late, err := c.r.intent(n, wrapped)
	if err != nil {
		return false, err
	}
	if key != nil {
		c.w.del(key)
		if stray, err = c.stray(i, late); err != nil {
			return false, err
		} else if stray {
			c.w.put(kstr(keyStray, n.handle), nil)
			return true, nil
		}
		c.own = true
		n.ino, n.object = i.ino, i.object
		if n.object == (object{}) {
			n.object = nodeObject(n.handle)
		}
		if i.replaces != "" {
			if o, err := c.node(i.replaces); err != nil {
				return false, err
			} else if o != nil && o.ino == i.ino {
				c.nodes[i.replaces] = nil
			}
		}
		return false, nil
	}
	if c.ours {
		return true, nil
	}
	c.number(n)
	return false, nil
}

// number gives a node that somebody else made a new inode.
func (c *change) number(n *node) {
	if n.handle == sharedRoot {
		n.ino = sharedIno
		return
	}
	c.meta.foreign++
	n.ino = remote.Ino(foreignDevice<<remote.InoBits | c.meta.foreign)
}

// succeed makes a node a new version of another: it has the other's inode; but see retype.
func (c *change) succeed(old, handle string) error {
	o, err := c.node(old)
	if err != nil || o == nil || o.folder {
		return err
	}
	n, err := c.node(handle)
	if err != nil || n == nil || n.folder || n.handle == o.handle || n.shared != o.shared {
		return err
	}
	was, err := c.r.x.node(handle)
	if err != nil || was != nil && c.ours {
		return err
	}
	c.nodes[old] = nil
	if was != nil {
		return nil // it had a life of its own before
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
		if p.A != "t" && !megacrypt.ValidHandle(p.N) {
			continue
		}
		switch p.A {
		case "s", "s2":
			if err := c.share(p); err != nil {
				return err
			}
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
			if c.ours {
				continue
			}
			if p.moves() {
				c.moved[p.N] = true
			} else if err := c.remove(p.N); err != nil {
				return err
			} else {
				c.forget(p.N)
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
