package mega

import (
	"context"
	"encoding/json"
	"errors"
	"slices"

	"megafs/crypto/megacrypt"
	"megafs/remote"
)

// What others share with the account hangs, with Options.Shared, in a folder that this machine makes. Each share is there by the name of its topmost folder, also one
// that lies in another share. Nothing of it can be changed: the keys of new nodes would have to be wrapped under keys that others chose.
//
// A share's key comes out of the account's key set; only when the account has none, out of what the server says, sealed for the account's RSA key or wrapped under the
// master key. What is known stays: a share has one key as long as it is shared. It opens nothing but what is in shares, and is never sent.

const (
	// sharedRoot is the handle of the folder of shares. No node can have it; it comes after all that can.
	sharedRoot = "{shared}"
	sharedName = "Shared with me"
	// sharedDevice numbers the inode of that folder, which is the same for all accounts.
	sharedDevice = 3
	sharedIno    = remote.Ino(sharedDevice<<remote.InoBits | 1)

	maxShares = 2000 // of an account, and half of what is opened with its RSA key in the life of a process
)

var errShared = errors.New("it is shared by somebody else, and is shown read-only; copy it out to change it")

func sharedFolder(root string) *node {
	return &node{handle: sharedRoot, parent: root, folder: true, shared: true, object: nodeObject(sharedRoot)}
}

// shares are the folders that others share with the account, and their keys: the zero key where it is unknown.
type shares map[string]megacrypt.Key

// value is a share as the index has it.
func (s shares) value(handle string) []byte {
	if k := s[handle]; k != (megacrypt.Key{}) {
		return k[:]
	}
	return []byte{}
}

// loadShares takes what the index knows of shares. When it knows of none where it has one's folder, as after an earlier version that forgot them, the tree is read again.
func (r *Remote) loadShares() error {
	r.shares = shares{}
	n, err := r.x.node(sharedRoot)
	if err != nil {
		return err
	}
	r.lends = r.o.Shared || n != nil // until the server is asked
	err = r.x.scan([]byte{keyShare}, func(h, v []byte) error {
		if len(h) != megacrypt.NodeHandleLen {
			return nil // an earlier version had keyUndo here
		}
		var k megacrypt.Key
		if len(v) == len(k) {
			k = megacrypt.Key(v)
			r.keys[string(h)] = k.Unwrapper()
		}
		r.shares[string(h)] = k
		return nil
	})
	if err != nil || !r.o.Shared {
		return err
	}
	tops, err := r.x.children(sharedRoot)
	for _, h := range tops {
		if _, known := r.shares[h]; !known {
			r.x.meta.sn = ""
		}
	}
	return err
}

// matchShares makes the index have shares, or none, as it is wanted. whole says that the tree must be read for that, or for other reasons.
func (r *Remote) matchShares() (whole bool, err error) {
	if r.x.meta.sn == "" || r.linked() {
		return r.x.meta.sn == "", nil
	}
	n, err := r.x.node(sharedRoot)
	if err != nil || (n != nil) == r.o.Shared {
		return false, err
	}
	if r.o.Shared {
		return true, nil
	}
	c := r.begin()
	if err := c.remove(sharedRoot); err != nil {
		return false, err
	}
	for _, h := range sorted(r.shares) {
		c.forget(h)
	}
	return false, r.commitChange(c)
}

// incoming reports whether a node is the topmost folder of what somebody else shares.
func (r *Remote) incoming(j *jsonNode) bool {
	return r.o.Shared && j.SU != "" && j.SU != r.o.Session.User && megacrypt.ValidHandle(j.H) && j.T != nil && *j.T == typeFolder
}

// shareEvent is what an event says of a share, or of attributes of the account's.
type shareEvent struct {
	Node  string          `json:"n"`
	User  string          `json:"u"`
	Owner string          `json:"o"`
	Level json.RawMessage `json:"r"` // absent: no longer shared
	Key   string          `json:"k"`
	Attrs []string        `json:"ua"`
}

// expectShares gets what it takes to open the shares that events tell of.
func (r *Remote) expectShares(ctx context.Context, all []packet) error {
	if !r.o.Shared {
		return nil
	}
	own := r.o.Session.User
	keys, seals := false, false
	for i := range all {
		p := &all[i]
		keys = keys || p.A == "ua" && p.share.User == own && slices.Contains(p.share.Attrs, keySetAttr)
		seals = seals || (p.A == "s" || p.A == "s2") && p.share.User == own || slices.ContainsFunc(p.T.F, func(j jsonNode) bool { return r.incoming(&j) })
	}
	if keys {
		r.admitted = false
		if err := r.admit(ctx); err != nil {
			return err
		}
		for _, h := range sorted(r.shares) {
			r.learn(h, "")
		}
	}
	if !seals {
		return nil
	}
	return r.openPrivate(ctx)
}

// home returns the folder that a node is in: that of shares for a share.
func (c *change) home(j *jsonNode) (string, error) {
	_, known := c.r.shares[j.H]
	old, err := c.node(j.H)
	if err != nil {
		return "", err
	}
	switch own := old != nil && !old.shared; {
	case !own && c.r.incoming(j):
		if !c.r.learn(j.H, j.SK) {
			return "", nil
		}
		c.shares[j.H] = true
		return sharedRoot, nil
	case !own && c.r.o.Shared && known:
		return sharedRoot, nil
	case !megacrypt.ValidHandle(j.P):
		return "", nil
	}
	return j.P, nil
}

// share takes the event that something is shared with the account, or no more.
func (c *change) share(p *packet) error {
	s, own := &p.share, c.r.o.Session.User
	if !c.r.o.Shared || s.User != own || s.Owner == own {
		return nil
	}
	n, err := c.node(s.Node)
	if err != nil || n != nil && n.parent != sharedRoot && !n.shared {
		return err // one's own
	}
	if len(s.Level) > 0 && string(s.Level) != "null" {
		if c.r.learn(s.Node, s.Key) {
			c.shares[s.Node] = true
		}
		return nil
	}
	c.forget(s.Node)
	if n == nil || n.parent != sharedRoot {
		return nil
	}
	return c.remove(s.Node)
}

// forget drops a share's key.
func (c *change) forget(handle string) {
	if _, known := c.r.shares[handle]; known {
		delete(c.r.shares, handle)
		delete(c.r.keys, handle)
		c.shares[handle] = true
	}
}

// writeShares writes what may be another of shares; those whose folder went are forgotten.
func (c *change) writeShares(olds map[string]*node) {
	for h, old := range olds {
		if old != nil && old.parent == sharedRoot && c.nodes[h] == nil {
			c.forget(h)
		}
	}
	for h := range c.shares {
		if _, known := c.r.shares[h]; known {
			c.w.put(kstr(keyShare, h), c.r.shares.value(h))
		} else {
			c.w.del(kstr(keyShare, h))
		}
	}
}
