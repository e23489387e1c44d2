package megaserver

// runDelete is d: a node goes with all below it, or, of a file, one version.
func runDelete(c *call, raw []byte) (result, error) {
	var f struct {
		Node    string `json:"n"`
		Version int    `json:"v"`
	}
	if err := args(raw, &f); err != nil {
		return result{}, err
	}
	n, err := c.reach(f.Node, mayRead)
	if err != nil {
		return result{}, err
	}
	if in, top, err := c.incoming(n); err != nil || top {
		if err == nil {
			err = c.leave(n, in)
		}
		return done, err
	}
	if n, err = c.reach(f.Node, mayAll); err != nil {
		return result{}, err
	}
	if n.parent == "" {
		return result{}, NoAccess
	}
	to, err := c.t.audience(c.account.User, n)
	if err != nil {
		return result{}, err
	}
	if n.kind == fileNode && f.Version == 1 {
		return done, c.deleteVersion(n, to)
	}
	if err := c.t.doom(n); err != nil {
		return result{}, err
	}
	return done, c.deleteEvent(n.h, to)
}

func (c *call) deleteEvent(h handle, to []userID) error {
	head, err := c.head("d")
	if err != nil {
		return err
	}
	return c.t.event(to, head, []byte(`"n":"`+h+`","ou":"`+c.account.User+`"`))
}

// doom takes a node out of the tree with all below it. What that was is taken apart later (sweep), a piece at a time, since it may be any amount.
func (t *tx) doom(n *node) error {
	root, err := t.rootOf(n)
	if err != nil {
		return err
	}
	sum, err := t.usage(n)
	if err != nil {
		return err
	}
	k, err := t.counters(n.owner)
	if err != nil {
		return err
	}
	k.Roots[root].sum(sum, -1)
	if err := t.putCounters(n.owner, k); err != nil {
		return err
	}
	up := n.parent
	if err := t.takeNode(n); err != nil {
		return err
	}
	n.parent = doomed
	if err := t.putNode(n); err != nil {
		return err
	}
	return t.fixVersions(up)
}

// fixVersions notes in a file whether it still has an older version.
func (t *tx) fixVersions(h handle) error {
	up, err := t.node(h)
	if err != nil || up == nil || up.kind != fileNode {
		return err
	}
	any := false
	err = t.children(h, func(*node) error { any = true; return errStop })
	if err != nil && err != errStop {
		return err
	}
	up.versions = any
	return t.putNode(up)
}

// deleteVersion deletes one version of a file. The next older one takes its place.
func (c *call) deleteVersion(n *node, to []userID) error {
	var older *node
	err := c.t.children(n.h, func(o *node) error { older = o; return errStop })
	if err != nil && err != errStop {
		return err
	}
	if older == nil {
		if err := c.t.doom(n); err != nil {
			return err
		}
		return c.deleteEvent(n.h, to)
	}
	root, err := c.t.rootOf(n)
	if err != nil {
		return err
	}
	up, err := c.t.node(n.parent)
	if err != nil || up == nil {
		return errNode
	}
	k, err := c.t.counters(n.owner)
	if err != nil {
		return err
	}
	k.Roots[root].add(n, !up.isFolder(), -1)
	k.Roots[root].add(older, true, -1)
	k.Roots[root].add(older, !up.isFolder(), 1)
	if err := c.t.putCounters(n.owner, k); err != nil {
		return err
	}
	if err := c.t.takeNode(older); err != nil {
		return err
	}
	if err := c.t.takeNode(n); err != nil {
		return err
	}
	older.parent = n.parent
	if err := c.t.putNode(older); err != nil {
		return err
	}
	n.parent, n.versions = doomed, false
	if err := c.t.putNode(n); err != nil {
		return err
	}
	// The older one is told of first, or it would go with the newer one where that is taken to be above it.
	h, err := c.head("t")
	if err != nil {
		return err
	}
	if err := c.t.deliver(to, packet{packetHead: h, Tree: older.h, Body: []byte(`"ou":"` + c.account.User + `"`)}); err != nil {
		return err
	}
	return c.deleteEvent(n.h, to)
}

// runDeleteVersions is dv: all old versions in the account go.
func runDeleteVersions(c *call, _ []byte) (result, error) {
	var old []*node
	for _, h := range []handle{c.account.Drive, c.account.Vault, c.account.Rubbish} {
		r, err := c.t.node(h)
		if err != nil || r == nil {
			return result{}, errNode
		}
		err = c.t.walkNewest(r, func(n *node) error {
			if !n.versions {
				return nil
			}
			if len(old) >= maxNodes {
				return TooMany
			}
			return c.t.children(n.h, func(o *node) error { old = append(old, o); return nil })
		})
		if err != nil {
			return result{}, err
		}
	}
	for _, n := range old {
		to, err := c.t.audience(c.account.User, n)
		if err != nil {
			return result{}, err
		}
		if err := c.t.doom(n); err != nil {
			return result{}, err
		}
		if err := c.deleteEvent(n.h, to); err != nil {
			return result{}, err
		}
	}
	return done, nil
}
