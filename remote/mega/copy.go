package mega

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"megafs/crypto/megacrypt"
	"megafs/remote"
)

// A copy is a node with the content of another, made by the server: nothing is sent but its name and attributes. The stored bytes are bound to the key under which they
// were encrypted, so both nodes have that key, and so the same wrapped key. What tells a copy from the others is its mark, which is in its attributes.

// attrCopy is the attribute with a copy's mark: the random number of its object.
const attrCopy = "mfc"

// deniedMost is how many nodes are remembered of which the server gave no copy.
const deniedMost = 10_000

// CopyFile implements remote.WholeFiles. Nothing is asked of the server before the commit.
func (r *Remote) CopyFile(_ context.Context, size uint64, refs []remote.Ref) ([]remote.Ref, error) {
	o, ok := oneObject(size, refs)
	if !ok {
		return nil, nil
	}
	src, err := r.source(o)
	if err != nil || src == nil || src.size != size || r.up.isDenied(src.handle) {
		return nil, err
	}
	r.down.mu.Lock()
	bad := r.down.poison[o]
	r.down.mu.Unlock()
	key, err := megacrypt.ParseFileKey(src.key)
	if err != nil || bad {
		return nil, nil // it is read, and that says what is wrong
	}
	x := &uploaded{key: key, token: src.handle, size: size, at: time.Now(), from: src.handle, unsampled: true}
	x.object[0] = 2
	rand.Read(x.object[1:])
	at, err := src.attributes()
	if err != nil {
		return nil, nil
	}
	if f, err := megacrypt.DecodeFingerprint(at[attrPrint]); err == nil {
		x.sample, x.unsampled = f.Sample, false
	}
	r.up.keep(x)
	return objectRefs(x.object, size), nil
}

// oneObject returns the object of which refs are all pieces, in order.
func oneObject(size uint64, refs []remote.Ref) (o object, ok bool) {
	if size == 0 || uint64(len(refs)) != (size+remote.MaxContent-1)/remote.MaxContent {
		return o, false
	}
	for i, ref := range refs {
		p, n := split(ref.Object)
		if i == 0 {
			o = p
		}
		if p != o || n != uint64(i) || ref.Off != 0 {
			return o, false
		}
	}
	return o, true
}

// source returns the node that has content now, nil if none has: an older version, or what is in the rubbish bin, may go at any time. The key of what others share they chose: it is not
// wrapped under the master key, so that is read and sent.
func (r *Remote) source(o object) (*node, error) {
	handle := o.handle()
	if handle == "" {
		b, err := r.x.get(kstr(keyUpload, string(o[:])))
		if err != nil || b == nil {
			return nil, err
		}
		handle = string(b)
	}
	n, err := r.x.node(handle)
	if err != nil || n == nil || n.folder || n.shared || !n.readable() || n.object != o {
		return nil, err
	}
	return n, nil
}

// mark returns what tells a copy from all nodes with the same key; "" if the node is none that was made by megafs.
func (n *node) mark() string {
	if n.folder || !n.readable() {
		return ""
	}
	at, err := n.attributes()
	if err != nil {
		return ""
	}
	if b, err := megacrypt.Decode(at[attrCopy], 64); err != nil || len(b) != len(object{})-1 {
		return ""
	}
	return at[attrCopy]
}

// mark is the mark of the copy to be made, "" for what was sent.
func (x *uploaded) mark() string {
	if x == nil || x.from == "" {
		return ""
	}
	return megacrypt.Encode(x.object[1:])
}

// deny notes that the server gives no copy of a node: its content is sent from here then.
func (u *uploads) deny(handle string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if len(u.denied) >= deniedMost {
		clear(u.denied)
	}
	u.denied[handle] = true
}

func (u *uploads) isDenied(handle string) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.denied[handle]
}

// errNoCopy is why a commit that copies is planned anew.
var errNoCopy = errors.New("the server has not what is copied any more, or does not copy it; the content is sent instead")

// copies makes files of copies, before anything else gets content: each before what it is a copy of is replaced. all is what remains.
func (t *commit) copies(ctx context.Context, all []*target) (rest []*target, err error) {
	var todo []*target
	for _, x := range all {
		if up := t.r.up.get(x.object); x.full() && x.fresh && up != nil && up.from != "" {
			todo = append(todo, x)
		} else {
			rest = append(rest, x)
		}
	}
	for len(todo) > 0 {
		users := map[string]int{} // copies of a node
		for _, x := range todo {
			users[t.r.up.from(x.object)]++
		}
		var now, later []*target
		for _, x := range todo {
			old, err := t.replaced(x)
			if err != nil {
				return nil, err
			}
			n := 0
			if old != nil {
				if n = users[old.handle]; t.r.up.from(x.object) == old.handle {
					n-- // in its own place
				}
			}
			if n > 0 {
				later = append(later, x)
			} else {
				now = append(now, x)
			}
		}
		if len(now) == 0 { // they change places
			for _, x := range later {
				t.r.up.deny(t.r.up.from(x.object))
				t.r.up.forget(x.object)
			}
			return nil, remote.E("commit", fmt.Sprintf("inode %d", later[0].ino), remote.Conflict, errNoCopy)
		}
		if err := t.contents(ctx, now); err != nil {
			return nil, err
		}
		todo = later
	}
	return rest, nil
}

// from returns the node that content is to be copied from, "" if it is not.
func (u *uploads) from(o object) string {
	if x := u.get(o); x != nil {
		return x.from
	}
	return ""
}

// replaced returns the node in the place of which a file's new content comes, nil if there is none.
func (t *commit) replaced(x *target) (*node, error) {
	n, err := t.nodeOf(x.ino)
	if n == nil && err == nil {
		n, err = t.standing(x.parent, x.name)
	}
	return n, err
}

// refused brings the answer to a command that makes a node of content to what is known of that content. It returns the error with which the commit ends.
func (u *uploads) refused(m *made, err error) error {
	switch {
	case m.up == nil:
	case m.up.from != "" && codeOf(err) < 0 && !codeOf(err).again() && remote.KindOf(err) != remote.Quota:
		u.deny(m.up.from)
		u.forget(m.x.object)
		return remote.E("commit", fmt.Sprintf("inode %d", m.x.ino), remote.Conflict, errNoCopy)
	case isCode(err, codeExpired, codeNoEntry, codeFailed, codeInternal):
		u.forget(m.x.object)
	}
	return err
}

// recopy takes along what is known of the content that was copied: its MACs, which depend on the key only.
func (c *change) recopy(n *node, from string) error {
	b, err := c.r.x.get(kstr(keyMACs, from))
	if b != nil {
		c.w.put(kstr(keyMACs, n.handle), b)
	}
	return err
}
