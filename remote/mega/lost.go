package mega

import "bytes"

// hangs reports whether a node that was read hangs in the tree: the rubbish bin is listed, too. in has the folders that were looked at, and the root.
func (s *staging) hangs(handle string, in map[string]bool) (ok bool, err error) {
	n, _, err := s.raw(handle)
	if err != nil || n == nil {
		return false, err
	}
	var path []string
	for d := n.parent; ; {
		var known bool
		if ok, known = in[d]; known {
			break
		}
		if n, _, err = s.raw(d); err != nil {
			return false, err
		}
		path = append(path, d)
		if n == nil || !n.folder || len(path) > maxWalk {
			break
		}
		d = n.parent
	}
	for _, d := range path {
		in[d] = ok
	}
	return ok, nil
}

// lose removes the nodes that are not in the tree any more.
func (s *staging) lose(c *change) error {
	var gone []string
	known := 0
	in := map[string]bool{c.meta.root: true}
	err := s.r.x.scan([]byte{keyNode}, func(key, _ []byte) error {
		h := string(key)
		known++
		if h == c.meta.root {
			return nil
		}
		ok, err := s.hangs(h, in)
		if err == nil && !ok {
			gone = append(gone, h)
		}
		return err
	})
	if err != nil {
		return err
	}
	for _, h := range gone {
		if n, err := c.node(h); err != nil {
			return err
		} else if n != nil {
			c.nodes[h] = nil
		}
	}
	// What a change left that was cut short.
	err = s.r.x.scan([]byte{keyIno}, func(key, v []byte) error {
		n, err := decodeInodeNode(v)
		if err != nil {
			return err
		}
		if b, err := s.r.x.get(kstr(keyNode, n.handle)); err != nil || bytes.Equal(b, key) {
			return err
		}
		c.w.del(append([]byte{keyIno}, key...))
		return nil
	})
	if err != nil {
		return err
	}
	// What is listed but hangs below something that went.
	err = s.r.x.scan([]byte{keyNode}, func(key, _ []byte) error {
		n, err := c.node(string(key))
		if n == nil || err != nil || n.handle == c.meta.root {
			return err
		}
		if p, err := c.node(n.parent); err != nil || p != nil && p.folder {
			return err
		}
		return c.remove(n.handle)
	})
	if err != nil {
		return err
	}
	lost := 0
	for _, n := range c.nodes {
		if n == nil {
			lost++
		}
	}
	if lost >= manyLost && lost >= known/2 {
		s.r.o.Log.Warn("much of the tree is not at the server any more: another client removed it, or the server hides it; what is not sent yet is kept", "gone", lost, "known", known)
	}
	return nil
}

// manyLost is how many files and folders must be gone at once for a warning, if they are half of all.
const manyLost = 10
