package megaserver

import (
	"encoding/json"
	"strconv"
	"strings"
)

const maxMembers = 200

// runShare is s2: a folder is shared with somebody, with everybody who has its link, or no more.
func runShare(c *call, raw []byte) (result, error) {
	var f struct {
		Node string `json:"n"`
		With []struct {
			User  string     `json:"u"`
			Level shareLevel `json:"r"`
			Key   string     `json:"k"`
		} `json:"s"`
		Key  string          `json:"ok"`
		Auth string          `json:"ha"`
		Keys json.RawMessage `json:"cr"`
	}
	if err := args(raw, &f); err != nil {
		return result{}, err
	}
	if len(f.With) == 0 || len(f.With) > maxMembers || len(f.Key) > 64 || len(f.Auth) > 64 || !isB64(f.Key) || !isB64(f.Auth) {
		return result{}, BadArgs
	}
	n, err := c.reach(f.Node, owns)
	if err != nil {
		return result{}, err
	}
	if !n.isFolder() || n.kind == rubbishRoot {
		return result{}, NoAccess
	}
	keys, err := c.shareKeys(f.Keys, c.account.User)
	if err != nil {
		return result{}, err
	}
	users := make([]*account, len(f.With))
	for i, m := range f.With {
		if len(m.Key) > maxKey || !isB64(m.Key) {
			return result{}, BadArgs
		}
		if m.User == export {
			continue
		}
		a, err := c.t.who(m.User)
		if err != nil {
			return result{}, err
		}
		if a == nil || a.User == c.account.User {
			return result{}, NoEntry
		}
		users[i] = a
	}
	o := outShare{Made: c.t.now.Unix()}
	had, err := c.t.load(outShareKey(c.account.User, n.h), &o)
	if err != nil {
		return result{}, err
	}
	if f.Key != "" {
		o.Key, o.Auth = f.Key, f.Auth
	}
	if len(o.With)+len(f.With) > maxMembers {
		return result{}, TooMany
	}
	if err := c.putKeys(keys); err != nil {
		return result{}, err
	}
	var codes, others []string
	type told struct {
		user  userID
		level *int
	}
	var tell []told
	for i, m := range f.With {
		who := export
		if users[i] != nil {
			who = users[i].User
			others = append(others, `{"u":"`+who+`","m":`+quote(users[i].Email)+`}`)
		}
		o.set(who, m.Level.int, c.t.now.Unix())
		if users[i] != nil {
			if m.Level.int == nil {
				err = c.t.remove(inShareKey(who, n.h))
			} else {
				err = c.t.store(inShareKey(who, n.h), inShare{Owner: n.owner, Level: *m.Level.int, Key: m.Key, Made: c.t.now.Unix()})
			}
			if err != nil {
				return result{}, err
			}
		}
		tell = append(tell, told{who, m.Level.int})
		codes = append(codes, "0")
	}
	if err := c.t.storeShare(n, &o, had); err != nil {
		return result{}, err
	}
	if !o.public() && n.link != "" { // the link goes with the share
		ph := n.link
		if n, err = c.t.node(n.h); err != nil || n == nil {
			return result{}, errNode
		}
		if err := c.t.unlink(n); err != nil {
			return result{}, err
		}
		if err := c.t.putNode(n); err != nil {
			return result{}, err
		}
		if err := c.linkEvent(n, ph, "d"); err != nil {
			return result{}, err
		}
	}
	for _, x := range tell {
		if err := c.shareEvents(n, &o, x.user, x.level); err != nil {
			return result{}, err
		}
	}
	return text(`{"r":[` + strings.Join(codes, ",") + `],"u":[` + strings.Join(others, ",") + `]}`)
}

// shareLevel is what somebody may do with what is shared. Clients send nothing, or an empty text, to share no more.
type shareLevel struct{ *int }

func (l *shareLevel) UnmarshalJSON(b []byte) error {
	s := strings.Trim(string(b), `"`)
	if s == "" || s == "null" {
		return nil
	}
	n, err := strconv.Atoi(s)
	if err != nil || n < 0 || n > 2 {
		return BadArgs
	}
	l.int = &n
	return nil
}

func (o *outShare) public() bool {
	for _, m := range o.With {
		if m.User == export {
			return true
		}
	}
	return false
}

// set notes with whom a folder is shared, or no more.
func (o *outShare) set(who userID, level *int, now int64) {
	for i := range o.With {
		if o.With[i].User == who {
			o.With = append(o.With[:i], o.With[i+1:]...)
			break
		}
	}
	if level != nil {
		o.With = append(o.With, shareMember{User: who, Level: *level, Made: now})
	}
}

func (t *tx) storeShare(n *node, o *outShare, had bool) error {
	key := outShareKey(n.owner, n.h)
	k, err := t.counters(n.owner)
	if err != nil {
		return err
	}
	switch {
	case len(o.With) == 0:
		if !had {
			return nil
		}
		k.Shares--
		err = t.remove(key)
	case had:
		return t.store(key, o)
	default:
		k.Shares++
		err = t.store(key, o)
	}
	if err != nil {
		return err
	}
	return t.putCounters(n.owner, k)
}

// shareEvents tells the owner and, if it is an account, the other side.
func (c *call) shareEvents(n *node, o *outShare, who userID, level *int) error {
	head, err := c.head("s2")
	if err != nil {
		return err
	}
	body := `"n":"` + n.h + `","o":"` + n.owner + `","u":"` + who + `"`
	if level != nil {
		body += `,"r":` + strconv.Itoa(*level) + `,"ok":"` + o.Key + `","ha":"` + o.Auth + `"`
	}
	body += `,"ts":` + strconv.FormatInt(c.t.now.Unix(), 10) + `,"ou":"` + n.owner + `"`
	if err := c.t.event([]userID{n.owner}, head, []byte(body)); err != nil || who == export {
		return err
	}
	head.Tag = ""
	var in inShare
	if _, err := c.t.load(inShareKey(who, n.h), &in); err != nil {
		return err
	}
	body = `"n":"` + n.h + `","o":"` + n.owner + `","u":"` + who + `"`
	if level != nil {
		body += `,"r":` + strconv.Itoa(*level) + `,"k":"` + in.Key + `"`
	}
	body += `,"ts":` + strconv.FormatInt(c.t.now.Unix(), 10) + `,"ou":"` + n.owner + `"`
	if err := c.t.event([]userID{who}, head, []byte(body)); err != nil {
		return err
	}
	if level == nil {
		head.Name = "d"
		return c.t.event([]userID{who}, head, []byte(`"n":"`+n.h+`","ou":"`+n.owner+`"`))
	}
	return c.t.deliver([]userID{who}, packet{packetHead: packetHead{Name: "t", Echo: c.echo}, Tree: n.h, Body: []byte(`"ou":"` + n.owner + `"`)})
}

// incoming says whether n is the topmost folder of what somebody else shares with the asking account.
func (c *call) incoming(n *node) (in inShare, top bool, err error) {
	if n.owner == c.account.User {
		return in, false, nil
	}
	top, err = c.t.load(inShareKey(c.account.User, n.h), &in)
	return in, top, err
}

// leave ends a share on the side of the one who got it. To delete a folder of somebody else's is this, and never harms the folder.
func (c *call) leave(n *node, in inShare) error {
	var o outShare
	had, err := c.t.load(outShareKey(in.Owner, n.h), &o)
	if err != nil {
		return err
	}
	o.set(c.account.User, nil, c.t.now.Unix())
	if err := c.t.storeShare(n, &o, had); err != nil {
		return err
	}
	if err := c.t.remove(inShareKey(c.account.User, n.h)); err != nil {
		return err
	}
	h, err := c.head("d")
	if err != nil {
		return err
	}
	if err := c.t.event([]userID{c.account.User}, h, []byte(`"n":"`+n.h+`","ou":"`+c.account.User+`"`)); err != nil {
		return err
	}
	body := `"n":"` + n.h + `","o":"` + n.owner + `","u":"` + c.account.User + `","ts":` + strconv.FormatInt(c.t.now.Unix(), 10) + `,"ou":"` + c.account.User + `"`
	return c.t.event([]userID{n.owner}, packetHead{Name: "s2", Echo: c.echo}, []byte(body))
}

// runLink is l: the public link of a node.
func runLink(c *call, raw []byte) (result, error) {
	var f struct {
		Node    string `json:"n"`
		Remove  int    `json:"d"`
		Expiry  *int64 `json:"ets"`
		Writing any    `json:"w"`
	}
	if err := args(raw, &f); err != nil {
		return result{}, err
	}
	n, err := c.reach(f.Node, owns)
	if err != nil {
		return result{}, err
	}
	switch {
	case n.parent == "" || f.Writing != nil && f.Writing != "0" && f.Writing != float64(0):
		return result{}, NoAccess
	case f.Remove != 0:
		if n.link == "" {
			return result{}, NoEntry
		}
		ph := n.link
		if err := c.t.unlink(n); err != nil {
			return result{}, err
		}
		if err := c.t.putNode(n); err != nil {
			return result{}, err
		}
		return done, c.linkEvent(n, ph, "d")
	}
	if n.isFolder() {
		var o outShare
		if _, err := c.t.load(outShareKey(n.owner, n.h), &o); err != nil {
			return result{}, err
		}
		if !o.public() {
			return result{}, NoAccess
		}
	}
	kind := "u"
	if n.link == "" {
		kind = "n"
		n.link, err = newHandle(6, func(h string) (bool, error) {
			v, err := c.t.value(linkKey(h))
			return v != nil, err
		})
		if err != nil {
			return result{}, err
		}
		n.linked = c.t.now.Unix()
		if err := c.t.put(linkKey(n.link), []byte(n.h)); err != nil {
			return result{}, err
		}
		if err := c.t.put(linksKey(n.owner, n.h), []byte(n.link)); err != nil {
			return result{}, err
		}
	} else if f.Expiry == nil {
		return text(`"` + n.link + `"`)
	}
	if f.Expiry != nil {
		n.expiry = max(*f.Expiry, 0)
	}
	if err := c.t.putNode(n); err != nil {
		return result{}, err
	}
	return result{text: `"` + n.link + `"`}, c.linkEvent(n, n.link, kind)
}

// unlink takes a node's public link away. The node is yet to be stored.
func (t *tx) unlink(n *node) error {
	if n.link == "" {
		return nil
	}
	if err := t.remove(linkKey(n.link)); err != nil {
		return err
	}
	n.link, n.linked, n.expiry = "", 0, 0
	return t.remove(linksKey(n.owner, n.h))
}

func (c *call) linkEvent(n *node, ph handle, kind string) error {
	h, err := c.head("ph")
	if err != nil {
		return err
	}
	body := `"h":"` + n.h + `","ph":"` + ph + `","` + kind + `":1`
	if n.expiry != 0 {
		body += `,"ets":` + strconv.FormatInt(n.expiry, 10)
	}
	return c.t.event([]userID{n.owner}, h, []byte(body+`,"ts":`+strconv.FormatInt(c.t.now.Unix(), 10)))
}

// byLink returns the node under a public handle, nil if there is none or no more.
func (t *tx) byLink(ph string) (*node, error) {
	if !isHandle(ph) {
		return nil, nil
	}
	h, err := t.value(linkKey(ph))
	if err != nil || h == nil {
		return nil, err
	}
	n, err := t.live(string(h))
	if err != nil || n == nil || n.expiry != 0 && n.expiry < t.now.Unix() {
		return nil, err
	}
	return n, nil
}

// publicSource returns a file under a public handle, or one that lies in a public folder.
func (t *tx) publicSource(h string) (*node, error) {
	if n, err := t.byLink(h); err != nil || n != nil {
		return n, err
	}
	n, err := t.live(h)
	if err != nil || n == nil {
		return nil, err
	}
	for up := n; up != nil && up.parent != ""; {
		if up.link != "" && up.isFolder() && (up.expiry == 0 || up.expiry >= t.now.Unix()) {
			return n, nil
		}
		if up, err = t.node(up.parent); err != nil {
			return nil, err
		}
	}
	return nil, nil
}
