package mega

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"megafs/crypto/megacrypt"
	"megafs/remote"
)

// place says whether a node is in a share. The key of a share opens nothing else. It reports whether the node can be read there.
func (n *node) place(r *Remote, shared bool) bool {
	if n.shared = shared; n.lent && !shared && !r.linked() {
		n.key, n.lent = nil, false
	}
	return n.readable()
}

// borrow makes what somebody else says of a node what it is here: owned by whoever mounts, without the right to change it, and nothing but a file, a folder or a link.
func (o Owner) borrow(n *node, a *remote.Attr, xattrs map[string][]byte) map[string][]byte {
	a.UID, a.GID = o.UID, o.GID
	switch {
	case !n.readable():
	case a.Type == remote.Dir:
		a.Mode = o.Dir &^ 0o7222
	case a.Type == remote.Symlink:
	default:
		if a.Type != remote.File {
			a.Type, a.Rdev, a.Size = remote.File, 0, n.size
		}
		run := a.Mode & 0o100
		if a.Mode = o.File &^ 0o7222; run != 0 {
			a.Mode |= a.Mode >> 2 & 0o111
		}
	}
	var out map[string][]byte
	for k, v := range xattrs {
		if strings.HasPrefix(k, "user.") {
			if out == nil {
				out = map[string][]byte{}
			}
			out[k] = v
		}
	}
	return out
}

// Guard implements remote.Guarded.
func (r *Remote) Guard(ino remote.Ino) error {
	if !r.lends {
		return nil
	}
	n, err := r.x.nodeOf(ino)
	if err != nil || n == nil || !n.shared {
		return err
	}
	return remote.E("change", fmt.Sprintf("inode %d", ino), remote.Permission, errShared)
}

// yield takes out of a commit what would change what others share, which a merge may ask for: when a folder was made here by the name of the one of shares before
// that was there, the two became one. What is new in it goes into the root. It returns how things are instead.
func (t *commit) yield() (instead []remote.Op, err error) {
	fixed := func(ino remote.Ino) (*node, error) {
		n, err := t.nodeOf(ino)
		if n == nil || err != nil || !n.shared {
			return nil, err
		}
		return n, nil
	}
	for name := range t.names {
		if n, err := fixed(name.dir); err != nil {
			return nil, err
		} else if n != nil {
			delete(t.names, name)
		}
	}
	order := t.order
	t.order = nil
	for _, ino := range order {
		x := t.targets[ino]
		n, err := fixed(ino)
		if err != nil {
			return nil, err
		}
		if n != nil {
			delete(t.targets, ino)
			dir, err := t.inoOf(n.parent)
			if err != nil {
				return nil, err
			}
			if x.name != "" && (x.name != n.shown || x.parent != dir) {
				instead = append(instead, remote.Op{Kind: remote.OpUnlink, Ino: ino, Parent: x.parent, Name: x.name})
			}
			for _, k := range sorted(x.xattrs) {
				instead = append(instead, remote.Op{Kind: remote.OpNoXattr, Ino: ino, Name: k})
			}
			instead = append(append(instead, t.r.differ(nil, n)...), remote.Op{Kind: remote.OpLink, Ino: ino, Parent: dir, Name: n.shown})
			continue
		}
		t.order = append(t.order, ino)
		if x.name == "" {
			continue
		}
		if n, err = fixed(x.parent); err != nil {
			return nil, err
		} else if n != nil {
			instead = append(instead, remote.Op{Kind: remote.OpUnlink, Ino: ino, Parent: x.parent, Name: x.name})
			x.parent = remote.Root
		}
	}
	return instead, nil
}

// send sends commands that change the account. None goes out that names what others share: whoever makes commands leaves that out, and this is the last look.
func (r *Remote) send(ctx context.Context, cs []command) ([]json.RawMessage, error) {
	theirs := func(handle any) (bool, error) {
		h, ok := handle.(string)
		if !ok || len(h) != megacrypt.NodeHandleLen {
			return false, nil
		}
		n, err := r.x.node(h)
		return n != nil && n.shared, err
	}
	for _, c := range cs {
		names := []any{c["n"], c["t"]}
		if made, ok := c["n"].([]any); ok {
			for _, x := range made {
				if body, ok := x.(map[string]any); ok {
					names = append(names, body["h"], body["ov"])
				}
			}
		}
		for _, h := range names {
			if is, err := theirs(h); err != nil {
				return nil, err
			} else if is {
				return nil, remote.E("change the account", "", remote.Permission, errShared)
			}
		}
	}
	return r.api.batch(ctx, cs)
}
