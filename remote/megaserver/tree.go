package megaserver

import (
	"bufio"
	"encoding/json"
	"strconv"
)

// runFetch is f: everything that the account, or a public folder, has. The answer is written while it is read, so it may be of any size.
func runFetch(c *call, _ []byte) (result, error) {
	if c.folder != nil {
		top := c.folder.h
		return result{stream: func(t *tx, w *bufio.Writer) error { return fetchPublic(t, w, top) }}, nil
	}
	a := *c.account
	return result{stream: func(t *tx, w *bufio.Writer) error { return fetch(t, w, &a) }}, nil
}

// treeWriter writes nodes as elements of a list.
type treeWriter struct {
	w     *bufio.Writer
	buf   []byte
	comma bool
}

func (x *treeWriter) raw(b []byte) {
	if x.comma {
		x.w.WriteByte(',')
	}
	x.comma = true
	x.w.Write(b)
}

func (x *treeWriter) node(n *node, f face) {
	x.buf = n.appendJSON(x.buf[:0], f)
	x.raw(x.buf)
}

// begin begins a list called name.
func (x *treeWriter) begin(name string) {
	x.w.WriteString(name)
	x.comma = false
}

// below writes all that lies in top and is no old version. It returns the files that have older versions.
func (x *treeWriter) below(t *tx, top *node, f face, versioned []handle) ([]handle, error) {
	err := t.walkNewest(top, func(n *node) error {
		x.node(n, f)
		if n.versions {
			versioned = append(versioned, n.h)
		}
		_, err := x.w.Write(nil)
		return err
	})
	return versioned, err
}

// walkNewest is walk without old versions.
func (t *tx) walkNewest(top *node, fn func(*node) error) error {
	if !top.isFolder() {
		return nil
	}
	open := []handle{top.h}
	for len(open) > 0 {
		h := open[len(open)-1]
		open = open[:len(open)-1]
		err := t.children(h, func(n *node) error {
			if n.isFolder() {
				open = append(open, n.h)
			}
			return fn(n)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// versions writes the old versions of files.
func (x *treeWriter) versions(t *tx, files []handle, f face) error {
	for _, h := range files {
		err := t.walk(&node{h: h, kind: fileNode, versions: true}, func(n *node, _ bool) error {
			x.node(n, f)
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func fetch(t *tx, w *bufio.Writer, a *account) error {
	x := &treeWriter{w: w}
	var versioned []handle
	x.begin(`{"f":[`)
	for _, h := range []handle{a.Drive, a.Vault, a.Rubbish} {
		n, err := t.node(h)
		if err != nil {
			return err
		}
		if n == nil {
			return errNode
		}
		x.node(n, ownFace)
		if versioned, err = x.below(t, n, ownFace, versioned); err != nil {
			return err
		}
	}
	owners := map[userID]struct{}{}
	err := t.scan(inShareKey(a.User, ""), nil, true, func(rest, v []byte) error {
		var in inShare
		if err := json.Unmarshal(v, &in); err != nil {
			return err
		}
		n, err := t.live(string(rest))
		if err != nil || n == nil {
			return err
		}
		owners[in.Owner] = struct{}{}
		x.raw(sharedTop(n, &in))
		versioned, err = x.below(t, n, ownFace, versioned)
		return err
	})
	if err != nil {
		return err
	}
	x.begin(`],"f2":[`)
	if err := x.versions(t, versioned, ownFace); err != nil {
		return err
	}
	keys, shares, err := t.outShares(a.User, owners)
	if err != nil {
		return err
	}
	w.WriteString(`],"ok":[` + keys + `],"ok0":[` + keys + `],"s":[` + shares + `],"ps":[],"u":[`)
	w.WriteString(userJSON(a, 2))
	for u := range owners {
		o, err := t.account(u)
		if err != nil {
			return err
		}
		if o != nil && u != a.User {
			w.WriteString("," + userJSON(o, 1))
		}
	}
	x.begin(`],"ph":[`)
	err = t.scan(linksKey(a.User, ""), nil, false, func(rest, _ []byte) error {
		n, err := t.live(string(rest))
		if err != nil || n == nil {
			return err
		}
		x.raw([]byte(linkJSON(n)))
		return nil
	})
	if err != nil {
		return err
	}
	n, err := t.counters(a.User)
	if err != nil {
		return err
	}
	w.WriteString(`],"opc":[],"ipc":[],"cr":[[],[],[]],"sr":[],"st":"` + tagText(n.Tag) + `","sn":"` + snText(n.Seq) + `"}`)
	return nil
}

func fetchPublic(t *tx, w *bufio.Writer, top handle) error {
	n, err := t.node(top)
	if err != nil {
		return err
	}
	if n == nil {
		return NoEntry
	}
	x := &treeWriter{w: w}
	f := face{link: top, inner: -1}
	x.begin(`{"f":[`)
	x.node(n, f)
	versioned, err := x.below(t, n, f, nil)
	if err != nil {
		return err
	}
	x.begin(`],"f2":[`)
	if err := x.versions(t, versioned, f); err != nil {
		return err
	}
	c, err := t.counters(n.owner)
	if err != nil {
		return err
	}
	w.WriteString(`],"ok":[],"ok0":[],"s":[],"u":[],"noc":1,"st":"` + tagText(c.Tag) + `","sn":"` + snText(c.Seq) + `"}`)
	return nil
}

// sharedTop is the topmost node of what somebody else shares.
func sharedTop(n *node, in *inShare) []byte {
	b := n.appendJSON(nil, ownFace)
	b = append(b[:len(b)-1], `,"r":`+strconv.Itoa(in.Level)+`,"su":"`+in.Owner+`","sts":`+strconv.FormatInt(in.Made, 10)...)
	if in.Key != "" {
		b = append(b, `,"sk":"`+in.Key+`"`...)
	}
	return append(b, '}')
}

// outShares lists what an account shares: keys, and with whom, who are added to users.
func (t *tx) outShares(u userID, users map[userID]struct{}) (keys, shares string, err error) {
	err = t.scan(outShareKey(u, ""), nil, true, func(rest, v []byte) error {
		var o outShare
		if err := json.Unmarshal(v, &o); err != nil {
			return err
		}
		if n, err := t.live(string(rest)); err != nil || n == nil {
			return err
		}
		if keys != "" {
			keys += ","
		}
		keys += `{"h":"` + string(rest) + `","ha":"` + o.Auth + `","k":"` + o.Key + `"}`
		for _, m := range o.With {
			if shares != "" {
				shares += ","
			}
			shares += `{"h":"` + string(rest) + `","u":"` + m.User + `","r":` + strconv.Itoa(m.Level) + `,"ts":` + strconv.FormatInt(m.Made, 10) + "}"
			if m.User != export {
				users[m.User] = struct{}{}
			}
		}
		return nil
	})
	return keys, shares, err
}

func userJSON(a *account, c int) string {
	s := `{"u":"` + a.User + `","c":` + strconv.Itoa(c) + `,"m":` + quote(a.Email) + `,"m2":[` + quote(a.Email) + `],"ts":` + strconv.FormatInt(a.Made, 10)
	if a.Public != "" {
		s += `,"pubk":"` + a.Public + `"`
	}
	return s + "}"
}

func linkJSON(n *node) string {
	s := `{"h":"` + n.h + `","ph":"` + n.link + `","d":0,"ts":` + strconv.FormatInt(n.linked, 10)
	if n.expiry != 0 {
		s += `,"ets":` + strconv.FormatInt(n.expiry, 10)
	}
	return s + "}"
}
