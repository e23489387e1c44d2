package megaserver

import (
	"bytes"
	"encoding/json"
	"strconv"
)

const (
	maxNodes      = 2000 // of one command
	maxNodeAttr   = 88 << 10
	maxThumbsText = 512
)

// putElement is one of the nodes that p makes.
type putElement struct {
	Source string          `json:"h"` // a label, a node, or an upload's token
	Public string          `json:"ph"`
	Kind   int             `json:"t"`
	Attrs  string          `json:"a"`
	Key    string          `json:"k"`
	Parent string          `json:"p"` // the label of another element
	Over   string          `json:"ov"`
	Thumbs *string         `json:"fa"`
	Rest   json.RawMessage `json:"cr"`

	made   *node
	over   *node // the file that it replaces
	source *node // that it copies
	upload *contentID
}

type putArgs struct {
	Target   string          `json:"t"`
	Nodes    []putElement    `json:"n"`
	Versions *int            `json:"vb"`
	Keys     json.RawMessage `json:"cr"`
}

// runPut is p: new folders, uploads that get their nodes, copies, imports. It is all or nothing.
func runPut(c *call, raw []byte) (result, error) {
	var f putArgs
	if err := args(raw, &f); err != nil {
		return result{}, err
	}
	if len(f.Nodes) == 0 || len(f.Nodes) > maxNodes {
		return result{}, BadArgs
	}
	target, err := c.reach(f.Target, mayWrite)
	if err != nil {
		return result{}, err
	}
	if !target.isFolder() {
		return result{}, NoAccess
	}
	if err := c.t.shallow(target); err != nil {
		return result{}, err
	}
	owner := target.owner
	if err := c.checkPut(&f, target, owner); err != nil {
		return result{}, err
	}
	return c.put(&f, target, owner)
}

// checkPut checks everything and fills in what the elements are to become.
func (c *call) checkPut(f *putArgs, target *node, owner userID) error {
	labels := map[string]*putElement{}
	tokens := map[string]bool{}
	replaced := map[handle]bool{}
	total := int64(0)
	for i := range f.Nodes {
		e := &f.Nodes[i]
		if e.Attrs == "" || len(e.Attrs) > maxNodeAttr || !isB64(e.Attrs) || len(e.Key) > maxKey || !isB64(e.Key) {
			return BadArgs
		}
		n := &node{owner: owner, parent: target.h, attrs: e.Attrs, made: c.t.now.Unix()}
		e.made = n
		if owner == c.account.User {
			if n.key = e.Key; e.Key == "" {
				return BadArgs
			}
		}
		if e.Parent != "" {
			up := labels[e.Parent]
			if up == nil || up.made.kind != folderNode {
				return BadArgs // parents come first
			}
		}
		switch e.Kind {
		case folderNode:
			n.kind = folderNode
			if e.Public == "" && len(e.Source) != handleLen || e.Over != "" {
				return BadArgs
			}
		case fileNode:
			if err := c.checkSource(e, tokens); err != nil {
				return err
			}
			if e.Over != "" {
				if err := c.checkOver(e, target, replaced); err != nil {
					return err
				}
			}
			total += n.size
		default:
			return BadArgs
		}
		if e.Thumbs != nil && *e.Thumbs != "" {
			fa, err := c.checkThumbs(*e.Thumbs)
			if err != nil {
				return err
			}
			n.thumbs = fa
		}
		label := e.Source
		if label == "" {
			label = e.Public
		}
		labels[label] = e
	}
	keys, err := c.parseKeys(f.Keys, len(f.Nodes))
	if err != nil {
		return err
	}
	for _, k := range keys {
		if k.index < 0 {
			return BadArgs
		}
		f.Nodes[k.index].made.setShareKey(k.share, k.key)
	}
	if owner != c.account.User {
		o, err := c.t.account(owner)
		if err != nil {
			return err
		}
		if o == nil {
			return NoEntry
		}
		n, err := c.t.counters(owner)
		if err != nil {
			return err
		}
		if max := c.s.quota(o); total > max || n.used() > max-total {
			return OverQuota
		}
		return nil
	}
	if total == 0 {
		return nil
	}
	return c.fits(total)
}

// checkSource finds the bytes of a file.
func (c *call) checkSource(e *putElement, tokens map[string]bool) error {
	n := e.made
	var from *node
	switch {
	case e.Public != "":
		p, err := c.t.publicSource(e.Public)
		if err != nil {
			return err
		}
		from = p
	case len(e.Source) == 36 || len(e.Source) == 48:
		if tokens[e.Source] {
			return Expired
		}
		tokens[e.Source] = true
		id, u, err := c.t.byToken(e.Source)
		if err != nil {
			return err
		}
		if u == nil || u.User != c.account.User {
			return Expired
		}
		if !u.Whole {
			return Incomplete
		}
		e.upload, n.content, n.size = &id, id, u.Size
		return nil
	case len(e.Source) == handleLen:
		p, err := c.reach(e.Source, mayRead)
		if err != nil {
			return err
		}
		from = p
	default:
		return BadArgs
	}
	if from == nil || from.kind != fileNode {
		return NoEntry
	}
	e.source = from
	n.content, n.size, n.thumbs = from.content, from.size, from.thumbs
	return nil
}

func (c *call) checkOver(e *putElement, target *node, replaced map[handle]bool) error {
	old, err := c.reach(e.Over, mayWrite)
	if err != nil {
		return err
	}
	if old.kind != fileNode || old.parent != target.h || e.Parent != "" || replaced[old.h] {
		return BadArgs
	}
	replaced[old.h] = true
	e.over = old
	return nil
}

// put makes the nodes that checkPut has checked.
func (c *call) put(f *putArgs, target *node, owner userID) (result, error) {
	root, err := c.t.rootOf(target)
	if err != nil {
		return result{}, err
	}
	keep, err := c.keepsVersions(f.Versions)
	if err != nil {
		return result{}, err
	}
	n, err := c.t.counters(owner)
	if err != nil {
		return result{}, err
	}
	labels := map[string]handle{}
	var made, old, gone []byte
	for i := range f.Nodes {
		e := &f.Nodes[i]
		x := e.made
		if x.h, err = c.t.newNode(); err != nil {
			return result{}, err
		}
		if e.Parent != "" {
			x.parent = labels[e.Parent]
		}
		label := e.Source
		if label == "" {
			label = e.Public
		}
		labels[label] = x.h
		if e.upload != nil {
			size, err := c.t.useUpload(*e.upload)
			if err != nil {
				return result{}, err
			}
			if owner == c.account.User {
				n.Pending -= size
				n.Uploads--
			} else if err := c.t.pending(c.account.User, -size, -1); err != nil {
				return result{}, err
			}
			id := *e.upload
			c.t.after = append(c.t.after, func() { c.s.open.forget(id) })
		} else if x.kind == fileNode {
			if err := c.t.refContent(x.content, 1); err != nil {
				return result{}, err
			}
		}
		if err := c.t.refThumbs(x.thumbs, 1); err != nil {
			return result{}, err
		}
		if e.over != nil {
			changed, lost, err := c.replace(e.over, x, keep, &n.Roots[root])
			if err != nil {
				return result{}, err
			}
			for _, o := range changed {
				old = o.appendJSON(comma(old), ownFace)
			}
			for _, h := range lost {
				gone = append(append(comma(gone), h...), ""...)
			}
		}
		n.Roots[root].add(x, false, 1)
		if err := c.t.putNode(x); err != nil {
			return result{}, err
		}
		made = x.appendJSON(comma(made), face{inner: i})
	}
	if err := c.t.putCounters(owner, n); err != nil {
		return result{}, err
	}
	if err := c.putEvents(target, made, old, gone); err != nil {
		return result{}, err
	}
	if c.version >= 3 {
		return text(`{"e":[],"fh":[` + fileIDs(f.Nodes) + `]}`)
	}
	var plainNodes []byte
	for i := range f.Nodes {
		plainNodes = f.Nodes[i].made.appendJSON(comma(plainNodes), ownFace)
	}
	return text(`{"f":[` + string(plainNodes) + `]}`)
}

func comma(b []byte) []byte {
	if len(b) > 0 {
		return append(b, ',')
	}
	return b
}

func fileIDs(nodes []putElement) string {
	var b []byte
	for i := range nodes {
		if n := nodes[i].made; n.kind == fileNode {
			b = append(comma(b), strconv.Quote(n.h+":"+b64.EncodeToString(n.content[:8]))...)
		}
	}
	return string(b)
}

// putEvents tells of new nodes, of those that became old versions, and of those that went.
func (c *call) putEvents(target *node, made, old, gone []byte) error {
	to, err := c.t.audience(c.account.User, target)
	if err != nil {
		return err
	}
	h, err := c.head("t")
	if err != nil {
		return err
	}
	body := append([]byte(`"t":{"f":[`), made...)
	body = append(body, ']')
	if len(old) > 0 {
		body = append(append(append(body, `,"f2":[`...), old...), ']')
	}
	body = append(body, `},"ou":"`+c.account.User+`"`...)
	if err := c.t.event(to, h, body); err != nil {
		return err
	}
	for _, g := range bytes.Split(gone, []byte{','}) {
		if len(g) == 0 {
			continue
		}
		h := packetHead{Name: "d", Echo: c.echo}
		if err := c.t.event(to, h, []byte(`"n":"`+string(g)+`","ou":"`+c.account.User+`"`)); err != nil {
			return err
		}
	}
	return nil
}

// keepsVersions says whether a replaced file stays as an older version.
func (c *call) keepsVersions(vb *int) (bool, error) {
	if vb != nil && *vb == 0 {
		return false, nil
	}
	var v attribute
	ok, err := c.t.load(attributeKey(c.account.User, "^!dv"), &v)
	if err != nil || !ok {
		return err == nil, err
	}
	b, _ := unb64(v.Value)
	return v.Value != "1" && string(b) != "1", nil
}

// replace puts x in the place of old, which stays below it as an older version, or goes and leaves x its own older versions. The
// public link of old, if there is one, stays with old and goes with it.
func (c *call) replace(old, x *node, keep bool, u *usage) (changed []*node, lost []handle, err error) {
	if err := c.t.takeNode(old); err != nil {
		return nil, nil, err
	}
	u.add(old, false, -1)
	if keep {
		x.versions = true
		old.parent = x.h
		u.add(old, true, 1)
		return []*node{old}, nil, c.t.putNode(old)
	}
	err = c.t.children(old.h, func(n *node) error { changed = append(changed, n); return nil })
	if err != nil {
		return nil, nil, err
	}
	for _, n := range changed {
		if err := c.t.takeNode(n); err != nil {
			return nil, nil, err
		}
		n.parent = x.h
		x.versions = true
		if err := c.t.putNode(n); err != nil {
			return nil, nil, err
		}
	}
	return changed, []handle{old.h}, c.t.dropNode(old)
}
