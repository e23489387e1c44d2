package mega

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"golang.org/x/sync/errgroup"

	"megafs/crypto/megacrypt"
	"megafs/remote"
)

// attrs makes the attributes of a node: what it has, and what is stated.
func (t *commit) attrs(x *target, old *node, key megacrypt.Key, name string, up *uploaded) (string, error) {
	at := megacrypt.Attributes{}
	var attr remote.Attr
	xattrs := map[string][]byte{}
	if old != nil && old.readable() {
		var err error
		if at, err = old.attributes(); err != nil {
			return "", err
		}
		var was map[string][]byte
		attr, was, _ = old.attr(t.r.o.Owner)
		for k, v := range was {
			xattrs[k] = v
		}
	}
	if x.attr != nil {
		attr = *x.attr
	}
	for k, v := range x.xattrs {
		if xattrs[k] = v; v == nil {
			delete(xattrs, k)
		}
	}
	describe(at, name, attr, xattrs)
	if attr.Type != remote.Dir {
		if up != nil {
			delete(at, attrCopy)
		}
		if m := up.mark(); m != "" {
			at[attrCopy] = m
		}
		f := megacrypt.Fingerprint{Time: uint64(seconds(attr.Mtime))}
		if up != nil && !up.unsampled {
			f.Sample = up.sample
		} else if up != nil {
			delete(at, attrPrint)
			return t.encode(at, key)
		} else if was, err := megacrypt.DecodeFingerprint(at[attrPrint]); err == nil {
			f.Sample = was.Sample
		} else if attr.Size > 0 && attr.Type == remote.File {
			delete(at, attrPrint)
			return t.encode(at, key)
		}
		at[attrPrint] = f.Encode()
	}
	return t.encode(at, key)
}

func (t *commit) encode(at megacrypt.Attributes, key megacrypt.Key) (string, error) {
	s, err := at.Encode(key)
	if err != nil {
		err = remote.E("commit", "", remote.NoSpace, errors.New("a file's name and attributes are more than MEGA takes"))
	}
	return s, err
}

// made is a node that is asked for.
type made struct {
	x       *target
	wrapped string // its key
	intent  string // the name of its intent
	body    map[string]any
	parent  string
	up      *uploaded
	old     *node
}

// folders makes new folders, those first whose parents are there.
func (t *commit) folders(ctx context.Context, all []*target) error {
	for len(all) > 0 {
		var now, later []*target
		for _, x := range all {
			if h, err := t.r.x.handleOf(x.parent); err != nil {
				return err
			} else if h != "" {
				now = append(now, x)
			} else {
				later = append(later, x)
			}
		}
		if len(now) == 0 {
			return remote.E("commit", fmt.Sprintf("inode %d", all[0].parent), remote.Conflict, errors.New("the folder is gone"))
		}
		var ms []*made
		for _, x := range now {
			key := megacrypt.NewKey()
			a, err := t.attrs(x, nil, key, x.name, nil)
			if err != nil {
				return err
			}
			parent, err := t.parentOf(x.parent)
			if err != nil {
				return err
			}
			m := &made{x: x, parent: parent, wrapped: t.r.wrapOwn(key[:])}
			m.intent = m.wrapped
			m.body = map[string]any{"h": "xxxxxxxx", "t": 1, "a": a, "k": m.wrapped}
			ms = append(ms, m)
		}
		if err := t.put(ctx, ms); err != nil {
			return err
		}
		all = later
	}
	return nil
}

// wrapOwn wraps a key that was made here, or that of a node that is copied, which comes out as the server gave it. Nothing else is ever wrapped under the master key.
func (r *Remote) wrapOwn(key []byte) string { return megacrypt.Encode(r.o.Session.Master.Wrap(key)) }

// files makes files, new ones and new versions.
func (t *commit) files(ctx context.Context, all []*target) error {
	rest, err := t.copies(ctx, all)
	if err != nil {
		return err
	}
	return t.contents(ctx, rest)
}

// contents makes files of what was uploaded, new ones and new versions.
func (t *commit) contents(ctx context.Context, all []*target) error {
	for len(all) > 0 {
		n := min(len(all), commandsAtOnce)
		empty, err := t.empties(ctx, all[:n])
		if err != nil {
			return err
		}
		var ms []*made
		for _, x := range all[:n] {
			m, err := t.content(x, empty[x.ino])
			if err != nil {
				return err
			}
			ms = append(ms, m)
		}
		if err := t.put(ctx, ms); err != nil {
			return err
		}
		all = all[n:]
	}
	return nil
}

// full reports whether a file has content that was uploaded before the commit.
func (x *target) full() bool { return x.attr.Type == remote.File && x.attr.Size > 0 }

// empties uploads the content of no bytes that files, symbolic links and the like need, each its own.
func (t *commit) empties(ctx context.Context, all []*target) (map[remote.Ino]*uploaded, error) {
	out := make([]*uploaded, len(all))
	g, gctx := errgroup.WithContext(ctx)
	for i, x := range all {
		if x.full() {
			continue
		}
		g.Go(func() (err error) {
			out[i], err = t.r.up.empty(gctx)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	by := map[remote.Ino]*uploaded{}
	for i, x := range all {
		by[x.ino] = out[i]
	}
	return by, nil
}

func (t *commit) content(x *target, empty *uploaded) (*made, error) {
	old, err := t.nodeOf(x.ino)
	if err != nil {
		return nil, err
	}
	m := &made{x: x, old: old, up: empty}
	if x.full() {
		if !x.fresh {
			return nil, remote.E("commit", fmt.Sprintf("inode %d", x.ino), remote.Invalid, errors.New("a file without its content"))
		}
		if m.up = t.r.up.get(x.object); m.up == nil || m.up.size != x.attr.Size {
			return nil, remote.E("commit", fmt.Sprintf("inode %d", x.ino), remote.Unreachable, errors.New("the upload has expired; it is done again"))
		}
	}
	name, dir := x.name, x.parent
	if old != nil { // in its old place, from where it is moved
		m.parent = old.parent
		if r := realName(old); name == "" || present(r) == name {
			name = r
		}
	} else {
		if m.parent, err = t.parentOf(dir); err != nil {
			return nil, err
		}
		// A new file in the place of one that goes is a new version of that.
		if old, err = t.standing(dir, x.name); err != nil {
			return nil, err
		}
	}
	a, err := t.attrs(x, m.old, m.up.key.Key, name, m.up)
	if err != nil {
		return nil, err
	}
	m.wrapped = t.r.wrapOwn(m.up.key.Pack())
	m.intent = m.wrapped + m.up.mark()
	m.body = map[string]any{"h": m.up.token, "t": 0, "a": a, "k": m.wrapped}
	if old != nil {
		m.body["ov"] = old.handle
		m.old = old
	}
	return m, nil
}

// standing returns the file that has a name and is removed in this commit.
func (t *commit) standing(dir remote.Ino, name string) (*node, error) {
	d, err := t.r.x.handleOf(dir)
	if err != nil || d == "" {
		return nil, err
	}
	h, err := t.r.x.child(d, name)
	if err != nil || h == "" {
		return nil, err
	}
	n, err := t.r.x.node(h)
	if err != nil || n == nil || n.folder || !n.readable() {
		return nil, err
	}
	if x := t.targets[n.ino]; x != nil && x.name != "" || t.targets[n.ino] == nil {
		return nil, nil // it moves elsewhere
	}
	return n, nil
}

// put makes nodes: what is meant by them is durable before the server is asked, so that they are known whatever happens to the answer.
func (t *commit) put(ctx context.Context, ms []*made) error {
	r := t.r
	w := newWrite()
	for _, m := range ms {
		i := intent{ino: m.x.ino}
		if m.x.fresh {
			i.object = m.x.object
		}
		if m.old != nil {
			i.replaces = m.old.handle
		}
		w.put(kstr(keyIntent, m.intent), i.encode())
	}
	if err := r.x.commit(w, r.x.meta); err != nil {
		return err
	}
	for len(ms) > 0 {
		n := min(len(ms), commandsAtOnce)
		var cs []command
		for _, m := range ms[:n] {
			cs = append(cs, command{"a": "p", "t": m.parent, "n": []any{m.body}, "i": r.tag})
		}
		out, err := r.send(ctx, cs)
		if err != nil {
			return err
		}
		c := r.begin()
		c.own = true
		var first error
		for i, m := range ms[:n] {
			err := failure(cs[i], out[i])
			if err == nil {
				err = t.taken(c, m, out[i])
			} else if remote.Is(err, remote.Quota) { // which goes on for long; whatever else the answer is, the node may be there, or come: an earlier try may have made it
				c.w.del(kstr(keyIntent, m.intent))
			}
			if err != nil {
				err = r.up.refused(m, err)
			} else if m.up != nil {
				r.up.forget(m.x.object)
			}
			if first == nil {
				first = err
			}
		}
		if err := r.commitChange(c); err != nil {
			return err
		}
		if first != nil {
			if isCode(first, codeNoEntry, codeExpired) { // the folder went, or the upload: what happened is asked for, and all is planned anew
				first = remote.E("commit", "", remote.Unreachable, first)
			}
			return first
		}
		ms = ms[n:]
	}
	return nil
}

// taken brings a node that the server made into a change.
func (t *commit) taken(c *change, m *made, raw json.RawMessage) error {
	var got struct {
		F []jsonNode `json:"f"`
	}
	if err := json.Unmarshal(raw, &got); err != nil {
		return remote.E("commit", "", remote.Integrity, errors.New("the server's answer has another form"))
	}
	for i := range got.F {
		j := &got.F[i]
		if t.r.ownPart(j.K) != m.wrapped {
			continue
		}
		n := t.r.keys.node(j, t.r.o.Session.User)
		if n == nil || !n.place(t.r, false) || n.parent != m.parent || n.folder != (m.up == nil) || m.up != nil && n.size != m.up.size {
			break
		}
		if stray, err := c.bind(n, j.K); err != nil || stray {
			return cmp.Or(err, error(errIndex))
		}
		if m.old != nil {
			c.nodes[m.old.handle] = nil
		}
		c.set(n)
		if m.up != nil && m.up.from != "" {
			return c.recopy(n, m.up.from)
		}
		return nil
	}
	return remote.E("commit", "", remote.Unreachable, errors.New("the server says that it made a file, but not the one that was asked for"))
}
