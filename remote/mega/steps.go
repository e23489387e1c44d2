package mega

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"megafs/crypto/megacrypt"
	"megafs/remote"
)

// step is a command and what it does to the tree.
type step struct {
	cmd   command
	apply func(*change) error
}

// take sends commands and notes what those did that succeeded.
func (t *commit) take(ctx context.Context, steps []step) error {
	for len(steps) > 0 {
		n := min(len(steps), commandsAtOnce)
		var cs []command
		for _, s := range steps[:n] {
			cs = append(cs, s.cmd)
		}
		out, err := t.r.send(ctx, cs)
		if err != nil {
			return err
		}
		c := t.r.begin()
		c.own = true
		var first error
		for i, s := range steps[:n] {
			err := failure(s.cmd, out[i])
			if err == nil {
				err = s.apply(c)
			} else if isCode(err, codeNoEntry) {
				err = remote.E("commit", "", remote.Unreachable, err) // it is gone there; what happened is asked for
			}
			first = cmp.Or(first, err)
		}
		if err := t.r.commitChange(c); err != nil {
			return err
		}
		if first != nil {
			return first
		}
		steps = steps[n:]
	}
	return nil
}

// rename moves nodes and sets attributes.
func (t *commit) rename(ctx context.Context, all []*target) error {
	var steps []step
	for _, x := range all {
		n, err := t.nodeOf(x.ino)
		if err != nil {
			return err
		}
		if n == nil {
			return remote.E("commit", fmt.Sprintf("inode %d", x.ino), remote.Unreachable, errors.New("the node is gone"))
		}
		if !n.readable() {
			if x.name == "" && x.attr != nil {
				continue // there is no key for its attributes
			}
		} else {
			name := realName(n)
			if x.name != "" && present(name) != x.name {
				name = x.name
			}
			key, err := n.attrKey()
			if err != nil {
				return err
			}
			a, err := t.attrs(x, n, key, name, nil)
			if err != nil {
				return err
			}
			if a != n.attrs {
				steps = append(steps, step{command{"a": "a", "n": n.handle, "at": a, "i": t.r.tag}, t.change(n.handle, func(n *node) { n.attrs = a })})
			}
		}
	}
	if err := t.take(ctx, steps); err != nil {
		return err
	}
	return t.move(ctx, all)
}

// realName is the name that a node has at the server, in the form in which it would be set.
func realName(n *node) string {
	at, err := n.attributes()
	if err != nil {
		return n.want
	}
	if exact, err := megacrypt.Decode(at[attrBytes], remote.MaxName); err == nil && len(exact) > 0 && wireName(string(exact)) == at[attrName] {
		return string(exact)
	}
	return at[attrName]
}

func (t *commit) change(handle string, fn func(*node)) func(*change) error {
	return func(c *change) error {
		n, err := c.node(handle)
		if err != nil || n == nil {
			return err
		}
		next := *n
		fn(&next)
		c.set(&next)
		return nil
	}
}

// move moves nodes into other folders, each as soon as its new folder is not in itself any more.
func (t *commit) move(ctx context.Context, all []*target) error {
	for {
		var steps, stuck []step
		c := t.r.begin()
		for _, x := range all {
			if x.name == "" {
				continue
			}
			n, err := t.nodeOf(x.ino)
			if err != nil || n == nil {
				return cmp.Or(err, error(errIndex))
			}
			to, err := t.parentOf(x.parent)
			if err != nil {
				return err
			}
			if n.parent == to {
				continue
			}
			inside, err := c.inside(to, n.handle)
			if err != nil {
				return err
			}
			cmd := func(to string) step {
				return step{command{"a": "m", "n": n.handle, "t": to, "i": t.r.tag}, t.change(n.handle, func(n *node) { n.parent = to })}
			}
			if inside {
				stuck = append(stuck, cmd(t.r.x.meta.root))
				continue
			}
			steps = append(steps, cmd(to))
			c.set(func() *node { m := *n; m.parent = to; return &m }())
		}
		if len(steps) == 0 && len(stuck) > 0 { // folders that change places: one of them goes by way of the root
			steps = stuck[:1]
		}
		if len(steps) == 0 {
			return nil
		}
		if err := t.take(ctx, steps); err != nil {
			return err
		}
	}
}

// remove takes nodes out of the tree: the outermost of those that go.
func (t *commit) remove(ctx context.Context, all []*target) error {
	going := map[string]bool{}
	var nodes []*node
	for _, x := range all {
		n, err := t.nodeOf(x.ino)
		if err != nil {
			return err
		}
		if n != nil {
			going[n.handle] = true
			nodes = append(nodes, n)
		}
	}
	slices.SortFunc(nodes, func(a, b *node) int { return cmp.Compare(a.handle, b.handle) })
	var steps []step
	for _, n := range nodes {
		if going[n.parent] {
			continue // it goes with its folder
		}
		cmd := command{"a": "m", "n": n.handle, "t": t.r.x.meta.rubbish, "i": t.r.tag}
		if t.r.o.Delete || t.r.x.meta.rubbish == "" {
			cmd = command{"a": "d", "n": n.handle, "i": t.r.tag}
		}
		steps = append(steps, step{cmd, func(c *change) error { return c.remove(n.handle) }})
	}
	return t.take(ctx, steps)
}
