package mega

import (
	"cmp"
	"context"
	"errors"
	"fmt"

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
		return base, remote.E("commit", "", remote.ReadOnly, errors.New("a public link takes no changes"))
	}
	if err := r.take(ctx, "commit"); err != nil {
		return base, err
	}
	defer r.leave()
	if err := r.admit(ctx); err != nil {
		return base, err
	}
	// What others did up to now comes before.
	if r.x.meta.sn != "" {
		for more := true; more; {
			var err error
			if more, err = r.poll(ctx); err != nil {
				return base, err
			}
		}
	}
	if err := r.outdate(); err != nil {
		return base, err
	}
	if base != r.x.meta.position() {
		return base, remote.E("commit", "", remote.Conflict, nil)
	}
	t := &commit{r: r, targets: map[remote.Ino]*target{}, names: map[dirName]remote.Ino{}}
	if err := t.read(ops); err != nil {
		return base, err
	}
	instead, err := t.yield()
	if err != nil {
		return base, err
	}
	r.said = nil
	did, err := t.run(ctx)
	pos := r.x.meta.position()
	if err != nil {
		r.retag()
		r.news.there.Store(true) // the server may have done more than it said, and must not be asked for it once more
		return base, err
	}
	if len(instead) > 0 {
		c := r.begin()
		r.x.addBatch(c.w, &c.meta, true, instead)
		if err := r.x.commit(c.w, c.meta); err != nil {
			return base, err
		}
		return base, &remote.CameOutError{Pos: r.x.meta.position(), Ops: append(r.said, instead...)}
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
			} else if x.fresh && x.object == n.object { // an earlier commit made it so, and had no answer
				t.r.up.forget(x.object)
			}
			moves = append(moves, x)
		}
	}
	for _, step := range []struct {
		fn func(context.Context, []*target) error
		on []*target
	}{{t.folders, dirs}, {t.files, files}, {t.rename, moves}, {t.remove, gone}} {
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
		h, err := t.r.x.child(d, name.name)
		if err != nil {
			return err
		}
		if d == "" || h == "" {
			continue
		}
		if n, err := t.r.x.node(h); err != nil {
			return err
		} else if n != nil && n.ino != who && !n.shared {
			t.of(n.ino)
		}
	}
	return nil
}

// nodeOf returns the node of an inode, nil if it has none.
func (t *commit) nodeOf(ino remote.Ino) (*node, error) {
	return t.r.x.nodeOf(ino)
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
