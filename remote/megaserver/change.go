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
