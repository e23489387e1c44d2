package mega

import (
	"context"
	"crypto/rand"
	"strings"

	"megafs/crypto/megacrypt"
	"megafs/remote"
)

// A request may be carried out long after whoever sent it gave up, or is gone: when what it was to do has been done by another, and something else after that. The server
// has no way to make a request depend on what was done since. But each event names the tag of its command, which is the index's own, and a part that is renewed whenever nobody
// knows what became of the commands that were sent. A command under an earlier tag, of which the server tells after it once said that it has told all, came too late: what it
// was for was planned anew by then. What it renamed or moved is put back to where the index has it, which is where it was put last here. Nodes that come late are another
// matter; see intent.

// retag begins a new part of the tag: what was sent under the one before may still happen, and is no news until the server has told all once.
func (r *Remote) retag() {
	var b [3]byte
	rand.Read(b[:])
	r.tag = r.ownTag() + megacrypt.Encode(b[:])
	r.doubt = true
}

// ownTag is how all tags of this index begin. They have ten characters then, as other clients' have: nobody says that a server takes longer ones.
func (r *Remote) ownTag() string { return megacrypt.Encode(r.id[:])[:6] }

// linkTag is the tag of commands for links, of which no event is waited for.
func (r *Remote) linkTag() string { return r.ownTag() + "link" }

// belated takes out the packets of commands that came too late, and notes in the change what is to be put back.
func (r *Remote) belated(c *change, all []packet) (rest []packet, err error) {
	if r.doubt {
		return all, nil
	}
	late, undone := make([]bool, len(all)), map[string]bool{}
	for i := range all {
		if p := &all[i]; strings.HasPrefix(p.I, r.ownTag()) && p.I != r.tag {
			if late[i], err = c.undone(p); err != nil {
				return nil, err
			}
			undone[p.about()] = undone[p.about()] || late[i]
		}
	}
	for i, p := range all {
		// A node that moved is told of as it is by now. So what was done in time, which is noted, would bring what came late.
		if !late[i] && !(p.I == r.tag && undone[p.about()]) {
			rest = append(rest, p)
		}
	}
	return rest, nil
}

// about returns the handle of the node that a packet is about.
func (p *packet) about() string {
	if p.A == "t" && len(p.T.F) > 0 {
		return p.T.F[0].H
	}
	return p.N
}

// undone notes that what a packet says is to be undone, and reports whether it can be: a node of one's own that is known got other attributes, or went to another folder of the tree.
func (c *change) undone(p *packet) (bool, error) {
	known := func(handle string) (*node, error) {
		n, err := c.r.x.node(handle)
		if n != nil && (n.handle == c.meta.root || n.shared) {
			n = nil
		}
		return n, err
	}
	switch p.A {
	case "u":
		n, err := known(p.N)
		if n == nil || err != nil {
			return false, err
		}
		c.w.put(kstr(keyUndo, "a", n.handle), nil)
		return true, nil
	case "d":
		n, err := known(p.N)
		return n != nil && p.moves(), err // where it went comes next
	case "t":
		for i := range p.T.F {
			if n, err := known(p.T.F[i].H); n == nil || err != nil {
				return false, err
			}
		}
		if len(p.T.F) == 0 {
			return false, nil
		}
		if to, err := c.r.x.node(p.T.F[0].P); to == nil || !to.folder || err != nil {
			return false, err
		}
		c.w.put(kstr(keyUndo, "m", p.T.F[0].H), nil)
		return true, nil
	}
	return false, nil
}

// undo puts back what commands did that came too late.
func (r *Remote) undo(ctx context.Context) error {
	var cs []command
	var keys [][]byte
	w := newWrite()
	err := r.x.scan([]byte{keyUndo}, func(key, _ []byte) error {
		k := append([]byte{keyUndo}, key...)
		n, err := r.x.node(string(key[1:]))
		switch {
		case err != nil:
			return err
		case n == nil || n.shared:
			w.del(k) // it is gone by now
		case len(cs) >= commandsAtOnce:
		case key[0] == 'a':
			cs, keys = append(cs, command{"a": "a", "n": n.handle, "at": n.attrs, "i": r.tag}), append(keys, k)
		default:
			cs, keys = append(cs, command{"a": "m", "n": n.handle, "t": n.parent, "i": r.tag}), append(keys, k)
		}
		return nil
	})
	if err != nil || len(cs)+len(w.set) == 0 {
		return err
	}
	if len(cs) > 0 {
		out, err := r.send(ctx, cs)
		if err != nil {
			r.retag()
			r.news.there.Store(true)
			return err
		}
		for i := range cs {
			if err := failure(cs[i], out[i]); err == nil || !remote.Is(err, remote.Unreachable) {
				w.del(keys[i]) // what is refused for good is as the next events say
			}
		}
	}
	return r.x.commit(w, r.x.meta)
}
