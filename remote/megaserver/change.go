package megaserver

import "encoding/json"

// runAttrs is a: a node's new attributes.
func runAttrs(c *call, raw []byte) (result, error) {
	var f struct {
		Node string `json:"n"`
		At   string `json:"at"`
		Attr string `json:"attr"`
	}
	if err := args(raw, &f); err != nil {
		return result{}, err
	}
	if f.At == "" {
		f.At = f.Attr
	}
	if f.At == "" || len(f.At) > maxNodeAttr || !isB64(f.At) {
		return result{}, BadArgs
	}
	n, err := c.reach(f.Node, mayWrite)
	if err != nil {
		return result{}, err
	}
	if n.parent == "" {
		return result{}, NoAccess
	}
	n.attrs = f.At
	if err := c.t.putNode(n); err != nil {
		return result{}, err
	}
	return done, c.attrsEvent(n)
}

func (c *call) attrsEvent(n *node) error {
	to, err := c.t.audience(c.account.User, n)
	if err != nil {
		return err
	}
	h, err := c.head("u")
	if err != nil {
		return err
	}
	return c.t.event(to, h, n.updateJSON())
}

// runMove is m.
func runMove(c *call, raw []byte) (result, error) {
	var f struct {
		Node   string          `json:"n"`
		Target string          `json:"t"`
		Keys   json.RawMessage `json:"cr"`
	}
	if err := args(raw, &f); err != nil {
		return result{}, err
	}
	n, err := c.reach(f.Node, mayAll)
	if err != nil {
		return result{}, err
	}
	target, err := c.reach(f.Target, mayWrite)
	if err != nil {
		return result{}, err
	}
	if n.parent == "" || !target.isFolder() || target.owner != n.owner {
		return result{}, NoAccess
	}
	if up, err := c.t.node(n.parent); err != nil || up == nil || !up.isFolder() {
		return result{}, NoAccess // an old version
	}
	if err := c.t.shallow(target); err != nil {
		return result{}, err
	}
	if _, top, err := c.incoming(n); err != nil || top {
		if err == nil {
			err = NoAccess
		}
		return result{}, err
	}
	to, inside, err := c.t.root(target, n.h)
	if err != nil {
		return result{}, err
	}
	if inside {
		return result{}, Circular
	}
	keys, err := c.shareKeys(f.Keys, n.owner)
	if err != nil {
		return result{}, err
	}
	from, err := c.t.rootOf(n)
	if err != nil {
		return result{}, err
	}
	if err := c.moveUsage(n, from, int(to.kind-driveRoot)); err != nil {
		return result{}, err
	}
	before, err := c.t.audience(c.account.User, n)
	if err != nil {
		return result{}, err
	}
	if err := c.t.takeNode(n); err != nil {
		return result{}, err
	}
	n.parent = target.h
	if err := c.t.putNode(n); err != nil {
		return result{}, err
	}
	if err := c.putKeys(keys); err != nil {
		return result{}, err
	}
	return done, c.moveEvents(n, before)
}

// moveUsage counts what is below n under another root.
func (c *call) moveUsage(n *node, from, to int) error {
	if from == to {
		return nil
	}
	sum, err := c.t.usage(n)
	if err != nil {
		return err
	}
	k, err := c.t.counters(n.owner)
	if err != nil {
		return err
	}
	k.Roots[from].sum(sum, -1)
	k.Roots[to].sum(sum, 1)
	return c.t.putCounters(n.owner, k)
}

// usage counts n and all below it.
func (t *tx) usage(n *node) (usage, error) {
	var u usage
	version := false
	if n.kind == fileNode {
		up, err := t.node(n.parent)
		if err != nil {
			return u, err
		}
		version = up != nil && up.kind == fileNode
	}
	u.add(n, version, 1)
	return u, t.walk(n, func(n *node, version bool) error {
		u.add(n, version, 1)
		return nil
	})
}

func (c *call) moveEvents(n *node, before []userID) error {
	h, err := c.head("d")
	if err != nil {
		return err
	}
	body := []byte(`"n":"` + n.h + `","m":1,"ou":"` + c.account.User + `"`)
	if err := c.t.event(before, h, body); err != nil {
		return err
	}
	after, err := c.t.audience(c.account.User, n)
	if err != nil {
		return err
	}
	return c.t.deliver(after, packet{packetHead: packetHead{Name: "t", Echo: c.echo}, Tree: n.h, Body: []byte(`"ou":"` + c.account.User + `"`)})
}

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

// runKeys is k: keys of nodes under the master key, or under those of shares.
func runKeys(c *call, raw []byte) (result, error) {
	var f struct {
		Nodes []string        `json:"nk"`
		Keys  json.RawMessage `json:"cr"`
	}
	if err := args(raw, &f); err != nil {
		return result{}, err
	}
	if len(f.Nodes)%2 != 0 || len(f.Nodes) > 2*maxNodes {
		return result{}, BadArgs
	}
	keys, err := c.shareKeys(f.Keys, c.account.User)
	if err != nil {
		return result{}, err
	}
	var nodes []*node
	for i := 0; i < len(f.Nodes); i += 2 {
		n, err := c.reach(f.Nodes[i], owns)
		if err != nil {
			return result{}, err
		}
		if n.parent == "" || len(f.Nodes[i+1]) > maxKey || !isB64(f.Nodes[i+1]) {
			return result{}, BadArgs
		}
		n.key = f.Nodes[i+1]
		nodes = append(nodes, n)
	}
	for _, n := range nodes {
		if err := c.t.putNode(n); err != nil {
			return result{}, err
		}
	}
	return done, c.putKeys(keys)
}

// shareKeys reads a cr element about nodes that exist, all of which must be the owner's.
func (c *call) shareKeys(raw json.RawMessage, owner userID) ([]keyPart, error) {
	keys, err := c.parseKeys(raw, 0)
	if err != nil {
		return nil, err
	}
	for _, k := range keys {
		n, err := c.reach(k.node, mayWrite)
		if err != nil {
			return nil, err
		}
		if n.owner != owner {
			return nil, NoAccess
		}
	}
	return keys, nil
}

// putKeys stores what shareKeys has checked.
func (c *call) putKeys(keys []keyPart) error {
	for _, k := range keys {
		n, err := c.t.node(k.node)
		if err != nil || n == nil {
			return errNode
		}
		n.setShareKey(k.share, k.key)
		if err := c.t.putNode(n); err != nil {
			return err
		}
	}
	return nil
}
