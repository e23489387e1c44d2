package megaserver

// level is what one may do with a node.
type level int

const (
	none level = iota - 1
	mayRead
	mayWrite
	mayAll
	owns
)

// access says what the asking account, or who looks at a public folder, may do with n.
func (c *call) access(n *node) (level, error) {
	if c.account != nil && n.owner == c.account.User {
		return owns, nil
	}
	for up := n; up != nil; {
		if c.folder != nil && up.h == c.folder.h {
			return mayRead, nil
		}
		if c.account != nil {
			var in inShare
			ok, err := c.t.load(inShareKey(c.account.User, up.h), &in)
			if err != nil {
				return none, err
			}
			if ok {
				return level(min(max(in.Level, 0), 2)), nil
			}
		}
		if up.parent == "" {
			break
		}
		var err error
		if up, err = c.t.node(up.parent); err != nil {
			return none, err
		}
	}
	return none, nil
}

// reach returns a node with which the asking account may do what it wants to. One that it may not even see is not there.
func (c *call) reach(h handle, want level) (*node, error) {
	n, err := c.t.live(h)
	if err != nil {
		return nil, err
	}
	if n == nil {
		return nil, NoEntry
	}
	l, err := c.access(n)
	switch {
	case err != nil:
		return nil, err
	case l == none:
		return nil, NoEntry
	case l < want:
		return nil, NoAccess
	}
	return n, nil
}

// rootOf says under which of its owner's roots n is, as an index of counters.Roots.
func (t *tx) rootOf(n *node) (int, error) {
	r, _, err := t.root(n, "")
	if err != nil {
		return 0, err
	}
	if r == nil || r.kind < driveRoot || r.kind > rubbishRoot {
		return 0, errNode
	}
	return int(r.kind - driveRoot), nil
}
