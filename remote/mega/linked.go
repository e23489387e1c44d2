package mega

import (
	"context"
	"encoding/json"
	"errors"
	"strconv"

	"megafs/crypto/megacrypt"
	"megafs/remote"
)

// A public link to a file is shown as a folder with that file in it. The server has no tree, no handle of a node and no events for it: the file goes by the
// link's own handle, and it is asked for once each time it is opened.

const (
	linkRoot = "(linked)" // handle of the folder, which no node has, as long as one
	linkSN   = "AAAAAAAAAAA"
)

// single reports whether this is a public file.
func (r *Remote) single() bool { return r.linked() && !r.o.Link.Folder }

var (
	errLinkGone = errors.New("the link leads to nothing: whoever made it took it back, the service took it down, or it is not whole")
	errLinkKey  = errors.New("the link's key, which is what stands behind the #, is not the right one; copy the whole link")
)

// linkError says what a refusal means for a link.
func (r *Remote) linkError(err error) error {
	if r.linked() && isCode(err, codeNoEntry, codeAccess, codeBlocked) {
		return remote.E("open the link", r.o.Link.Handle, remote.NotExist, errLinkGone)
	}
	return err
}

// readLink makes a tree of a public file.
func (r *Remote) readLink(ctx context.Context) error {
	raw, err := r.api.call(ctx, command{"a": "g", "p": r.o.Link.Handle, "ssl": 2})
	if err != nil {
		return r.linkError(err)
	}
	var g struct {
		S  json.RawMessage `json:"s"`
		AT string          `json:"at"`
	}
	if json.Unmarshal(raw, &g) != nil {
		return remote.E("open the link", r.o.Link.Handle, remote.Integrity, errors.New("the answer has another form"))
	}
	size, err := strconv.ParseUint(string(g.S), 10, 63)
	if err != nil || size > maxFile || len(g.AT) > megacrypt.MaxAttributes*4/3+4 {
		return remote.E("open the link", r.o.Link.Handle, remote.Integrity, errors.New("the file has no size that a file can have, or more attributes"))
	}
	n := &node{handle: r.o.Link.Handle, parent: linkRoot, attrs: g.AT, key: r.o.Link.Key, size: size, object: nodeObject(r.o.Link.Handle)}
	k, err := megacrypt.ParseFileKey(n.key)
	if err == nil {
		_, err = n.attributes()
	}
	if err == nil && size == 0 {
		err = k.Verify(0, nil)
	}
	if err != nil {
		return remote.E("open the link", r.o.Link.Handle, remote.Locked, errLinkKey)
	}
	st := &staging{r: r, meta: r.x.meta}
	if err := st.clear(); err != nil {
		return err
	}
	defer st.clear()
	st.meta.root, st.meta.sn = linkRoot, linkSN
	root := &node{handle: linkRoot, folder: true, ino: remote.Root}
	err = errors.Join(st.put(kstr(keyRaw, linkRoot), encodeRaw(root, "")), st.put(kstr(keyRaw, n.handle), encodeRaw(n, "")), st.put(kstr(keyRawSon, linkRoot, n.handle), nil))
	if err != nil {
		return err
	}
	if err := st.flush(); err != nil {
		return err
	}
	return st.adopt()
}
