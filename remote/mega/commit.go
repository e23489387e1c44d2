package mega

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"megafs/crypto/megacrypt"
	"megafs/remote"
	"megafs/remote/wire"
)

// A batch of Ops is atomic, and MEGA's commands are not. So a commit is a list of steps in an order in which each leaves a tree behind; what each did is
// in the index, and told as a batch of this device's, whether the rest succeeds or not. Who plans again finds only the rest to do.

// commandsAtOnce is how many commands go into one request.
const commandsAtOnce = 50

// target is an inode as a commit wants it.
type target struct {
	ino    remote.Ino
	attr   *remote.Attr
	xattrs map[string][]byte // nil value: none
	object object            // new content
	fresh  bool              // content is new
	parent remote.Ino        // and
	name   string            // where it is to be; "": where it is
	gone   bool
}

// commit is a commit under way.
type commit struct {
	r       *Remote
	targets map[remote.Ino]*target
	order   []remote.Ino
	names   map[dirName]remote.Ino // as stated; 0: nobody
}

type dirName struct {
	dir  remote.Ino
	name string
}

// Commit implements remote.Remote.
func (r *Remote) Commit(ctx context.Context, base remote.Position, ops []remote.Op) (remote.Position, error) {
	if r.linked() {
		return base, remote.E("commit", "", remote.ReadOnly, errors.New("a public folder takes no changes"))
	}
	if err := r.take(ctx, "commit"); err != nil {
		return base, err
	}
	defer r.leave()
	// What others did up to now comes before.
	if r.x.meta.sn != "" {
		for more := true; more; {
			var err error
			if more, err = r.poll(ctx); err != nil {
				return base, err
			}
		}
	}
	if base != r.x.meta.position() {
		return base, remote.E("commit", "", remote.Conflict, nil)
	}
	t := &commit{r: r, targets: map[remote.Ino]*target{}, names: map[dirName]remote.Ino{}}
	if err := t.read(ops); err != nil {
		return base, err
	}
	r.said = nil
	did, err := t.run(ctx)
	pos := r.x.meta.position()
	if err != nil {
		return base, err
	}
	if pos != base {
		if ok, err := t.holds(); err != nil || !ok {
			// It came out otherwise than it was planned, such as a name that another node has or gave up.
			return base, cmp.Or(err, error(&remote.CameOutError{Pos: pos, Ops: r.said}))
		}
		return pos, nil
	}
	if !did {
		// Nothing of it concerns the server, such as attributes of the root: only the place moves on.
		c := r.begin()
		r.x.addBatch(c.w, &c.meta, true, nil)
		if err := r.x.commit(c.w, c.meta); err != nil {
			return base, err
		}
	}
	return r.x.meta.position(), nil
}

// holds reports whether the index is as the commit wants it, and nothing else changed, such as the name of a file that had to stand back.
func (t *commit) holds() (bool, error) {
	names, passing := map[dirName]remote.Ino{}, map[dirName]bool{}
	for i := range t.r.said {
		op := &t.r.said[i]
		if op.Kind != remote.OpLink && op.Kind != remote.OpUnlink {
			continue
		}
		k := dirName{op.Parent, op.Name}
		if _, known := names[k]; !known && op.Kind == remote.OpLink {
			passing[k] = true // nobody had it before
		}
		if names[k] = 0; op.Kind == remote.OpLink {
			names[k] = op.Ino
		}
	}
	for k, ino := range names {
		if want, stated := t.names[k]; !(stated && want == ino) && !(!stated && ino == 0 && passing[k]) {
			return false, nil
		}
	}
	for _, ino := range t.order {
		x := t.targets[ino]
		n, err := t.nodeOf(ino)
		switch {
		case err != nil:
			return false, err
		case ino == remote.Root:
			continue
		case n == nil:
			if x.name != "" {
				return false, nil
			}
			continue
		case x.gone:
			return false, nil
		case !n.readable():
			continue
		}
		dir, err := t.inoOf(n.parent)
		if err != nil {
			return false, err
		}
		a, _, _ := n.attr(t.r.o.Owner)
		if x.name != "" && (x.name != n.shown || x.parent != dir) || x.attr != nil && *x.attr != a || x.fresh && n.object != x.object {
			return false, nil
		}
	}
	return true, nil
}

func (t *commit) of(ino remote.Ino) *target {
	if t.targets[ino] == nil {
		t.targets[ino] = &target{ino: ino}
		t.order = append(t.order, ino)
	}
	return t.targets[ino]
}

// read sorts Ops by inode.
func (t *commit) read(ops []remote.Op) error {
	for i := range ops {
		op := &ops[i]
		switch op.Kind {
		case remote.OpNode:
			a := op.Attr
			t.of(op.Ino).attr = &a
		case remote.OpXattr, remote.OpNoXattr:
			x := t.of(op.Ino)
			if x.xattrs == nil {
				x.xattrs = map[string][]byte{}
			}
			if x.xattrs[op.Name] = nil; op.Kind == remote.OpXattr {
				x.xattrs[op.Name] = append([]byte{}, op.Value...)
			}
		case remote.OpExtent:
			x := t.of(op.Ino)
			if op.Extent.Hole || op.Extent.Inline != nil {
				return remote.E("commit", fmt.Sprintf("inode %d", op.Ino), remote.Invalid, errors.New("content that is not a whole file's"))
			}
			o, n := split(op.Extent.Ref.Object)
			if op.Extent.Off != n*remote.MaxContent || op.Extent.Ref.Off != 0 || x.fresh && x.object != o {
				return remote.E("commit", fmt.Sprintf("inode %d", op.Ino), remote.Invalid, errors.New("content that is not a whole file's"))
			}
			x.object, x.fresh = o, true
		case remote.OpLink:
			t.names[dirName{op.Parent, op.Name}] = op.Ino
			x := t.of(op.Ino)
			if x.name != "" {
				return remote.E("commit", fmt.Sprintf("inode %d", op.Ino), remote.NotSupported, errors.New("MEGA knows no hard links"))
			}
			x.parent, x.name = op.Parent, op.Name
		case remote.OpUnlink:
			t.names[dirName{op.Parent, op.Name}] = 0
			t.of(op.Ino)
		case remote.OpCut, remote.OpDevice:
		}
	}
	return nil
}

// run takes the steps.
func (t *commit) run(ctx context.Context) (did bool, err error) {
	var dirs, files, moves, gone []*target
	if err := t.displaced(); err != nil {
		return false, err
	}
	for _, ino := range t.order {
		x := t.targets[ino]
		n, err := t.nodeOf(ino)
		if err != nil {
			return did, err
		}
		if ino == remote.Root {
			if x.attr != nil {
				c := t.r.begin()
				c.w.put(rootKey, wire.AppendAttr(nil, x.attr))
				t.r.x.addBatch(c.w, &c.meta, true, []remote.Op{{Kind: remote.OpNode, Ino: ino, Attr: *x.attr}})
				if err := t.r.x.commit(c.w, c.meta); err != nil {
					return did, err
				}
				did = true
			}
			continue
		}
		switch {
		case n == nil && x.name == "":
			// It came and went.
		case n == nil && (x.attr == nil):
			return did, remote.E("commit", fmt.Sprintf("inode %d", ino), remote.Conflict, errors.New("the node is gone"))
		case n == nil && x.attr.Type == remote.Dir:
			dirs = append(dirs, x)
		case n == nil:
			files = append(files, x)
		default:
			dir, err := t.inoOf(n.parent)
			if err != nil {
				return did, err
			}
			if who, stated := t.names[dirName{dir, n.shown}]; x.name == "" && stated && who != ino {
				x.gone = true
				gone = append(gone, x)
				continue
			}
			if x.attr != nil && !n.folder && x.attr.Type == remote.File && (x.fresh && x.object != n.object || x.attr.Size != n.size) {
				files = append(files, x)
			}
			moves = append(moves, x)
		}
	}
	for _, step := range []struct {
		fn func(context.Context, []*target) error
		on []*target
	}{{t.folders, dirs}, {t.contents, files}, {t.rename, moves}, {t.remove, gone}} {
		if len(step.on) == 0 {
			continue
		}
		did = true
		if err := step.fn(ctx, step.on); err != nil {
			return did, err
		}
	}
	return did, nil
}

// displaced finds the inodes whose names are given to others: nothing need be said of them.
func (t *commit) displaced() error {
	for name, who := range t.names {
		d, err := t.r.x.handleOf(name.dir)
		if err != nil {
			return err
		}
		h, err := t.r.x.get(kstr(keyChild, d, name.name))
		if err != nil {
			return err
		}
		if d == "" || h == nil {
			continue
		}
		if n, err := t.r.x.node(string(h)); err != nil {
			return err
		} else if n != nil && n.ino != who {
			t.of(n.ino)
		}
	}
	return nil
}

// nodeOf returns the node of an inode, nil if it has none.
func (t *commit) nodeOf(ino remote.Ino) (*node, error) {
	h, err := t.r.x.handleOf(ino)
	if h == "" || err != nil {
		return nil, err
	}
	return t.r.x.node(h)
}

func (t *commit) inoOf(handle string) (remote.Ino, error) {
	n, err := t.r.x.node(handle)
	if err != nil || n == nil {
		return 0, cmp.Or(err, error(errIndex))
	}
	return n.ino, nil
}

// parentOf returns the folder that an inode is to be in.
func (t *commit) parentOf(dir remote.Ino) (string, error) {
	h, err := t.r.x.handleOf(dir)
	if err == nil && h == "" {
		err = remote.E("commit", fmt.Sprintf("inode %d", dir), remote.Conflict, errors.New("the folder is gone"))
	}
	return h, err
}

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
		f := megacrypt.Fingerprint{Time: uint64(seconds(attr.Mtime))}
		if up != nil {
			f.Sample = up.sample
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
	wrapped string
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

// wrapOwn wraps a key that was made here. Nothing else is ever wrapped under the master key.
func (r *Remote) wrapOwn(key []byte) string { return megacrypt.Encode(r.o.Session.Master.Wrap(key)) }

// contents makes files of what was uploaded, new ones and new versions.
func (t *commit) contents(ctx context.Context, all []*target) error {
	for len(all) > 0 {
		n := min(len(all), commandsAtOnce)
		var ms []*made
		for _, x := range all[:n] {
			m, err := t.content(ctx, x)
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

func (t *commit) content(ctx context.Context, x *target) (*made, error) {
	old, err := t.nodeOf(x.ino)
	if err != nil {
		return nil, err
	}
	m := &made{x: x, old: old}
	if x.attr.Type == remote.File && x.attr.Size > 0 {
		if !x.fresh {
			return nil, remote.E("commit", fmt.Sprintf("inode %d", x.ino), remote.Invalid, errors.New("a file without its content"))
		}
		if m.up = t.r.up.get(x.object); m.up == nil || m.up.size != x.attr.Size {
			return nil, remote.E("commit", fmt.Sprintf("inode %d", x.ino), remote.Unreachable, errors.New("the upload has expired; it is done again"))
		}
	} else if m.up, err = t.r.up.empty(ctx); err != nil {
		return nil, err
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
	h, err := t.r.x.get(kstr(keyChild, d, name))
	if err != nil || h == nil {
		return nil, err
	}
	n, err := t.r.x.node(string(h))
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
		w.put(kstr(keyIntent, m.wrapped), i.encode())
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
		out, err := r.api.batch(ctx, cs)
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
			} else {
				c.w.del(kstr(keyIntent, m.wrapped))
			}
			if err != nil && first == nil {
				first = err
			}
			if m.up != nil && (err == nil || isCode(err, codeExpired, codeNoEntry, codeFailed, codeInternal)) {
				r.up.forget(m.x.object)
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
		if n == nil || !n.readable() || n.parent != m.parent || n.folder != (m.up == nil) || m.up != nil && n.size != m.up.size {
			break
		}
		if err := c.bind(n, j.K); err != nil {
			return err
		}
		if m.old != nil {
			c.nodes[m.old.handle] = nil
		}
		c.set(n)
		return nil
	}
	return remote.E("commit", "", remote.Unreachable, errors.New("the server says that it made a file, but not the one that was asked for"))
}

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
		out, err := t.r.api.batch(ctx, cs)
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
