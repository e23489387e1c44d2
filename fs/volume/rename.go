package volume

import (
	"context"

	"megafs/fs/tree"
	"megafs/remote"
)

// Rename implements FS.
func (v *Volume) Rename(ctx context.Context, p1 remote.Ino, n1 string, p2 remote.Ino, n2 string, flags uint32, c Caller) error {
	if err := checkName(n2); err != nil {
		return err
	}
	if flags&^(RenameNoReplace|RenameExchange|RenameWhiteout) != 0 || flags&RenameExchange != 0 && flags&(RenameNoReplace|RenameWhiteout) != 0 {
		return remote.E("rename", "", remote.Invalid, nil)
	}
	if err := v.writable(ctx, 0); err != nil {
		return err
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	d1, err := v.dir(p1)
	if err != nil {
		return err
	}
	d2, err := v.dir(p2)
	if err != nil {
		return err
	}
	ino, err := v.tree.Lookup(p1, n1)
	if err != nil {
		return err
	}
	n, err := v.tree.Node(ino)
	if err != nil {
		return err
	}
	var old tree.Node
	switch oino, err := v.tree.Lookup(p2, n2); {
	case err == nil:
		if old, err = v.tree.Node(oino); err != nil {
			return err
		}
	case !remote.Is(err, remote.NotExist):
		return err
	}
	if err := v.may(p1, p2, ino, old.Ino); err != nil {
		return err
	}
	if n.Type == remote.Dir {
		if in, err := v.within(p2, ino); err != nil || in {
			return remote.E("rename", obj(ino), remote.Invalid, err)
		}
	}
	now := v.now()
	ops := []remote.Op{ctimed(n, now)}
	switch {
	case old.Ino == 0 && flags&RenameExchange != 0:
		return remote.E("rename", "", remote.NotExist, nil)
	case old.Ino != 0 && flags&RenameNoReplace != 0:
		return remote.E("rename", "", remote.Exist, nil)
	case old.Ino == ino:
		return nil
	case flags&RenameExchange != 0:
		if old.Type == remote.Dir {
			if in, err := v.within(p1, old.Ino); err != nil || in {
				return remote.E("rename", obj(old.Ino), remote.Invalid, err)
			}
		}
		ops = append(ops, ctimed(old, now),
			remote.Op{Kind: remote.OpLink, Ino: old.Ino, Parent: p1, Name: n1},
			remote.Op{Kind: remote.OpLink, Ino: ino, Parent: p2, Name: n2})
	default:
		if old.Ino != 0 {
			if n.Type == remote.Dir && old.Type != remote.Dir {
				return remote.E("rename", obj(old.Ino), remote.NotDir, nil)
			}
			if err := v.removable(old, n.Type == remote.Dir); err != nil {
				return err
			}
			ops = append(ops, ctimed(old, now))
		}
		if flags&RenameWhiteout != 0 {
			w, err := v.newIno()
			if err != nil {
				return err
			}
			a := v.inode(d1, remote.CharDev, 0, c)
			lists, err := v.inherit(d1, w, &a, c.Umask)
			if err != nil {
				return err
			}
			ops = append(append(ops,
				remote.Op{Kind: remote.OpNode, Ino: w, Attr: a},
				remote.Op{Kind: remote.OpLink, Ino: w, Parent: p1, Name: n1}), lists...)
		} else {
			ops = append(ops, remote.Op{Kind: remote.OpUnlink, Ino: ino, Parent: p1, Name: n1})
		}
		ops = append(ops, remote.Op{Kind: remote.OpLink, Ino: ino, Parent: p2, Name: n2})
	}
	ops = append(ops, touched(d1, now))
	if p1 != p2 {
		ops = append(ops, touched(d2, now))
	}
	return v.free(ops...)
}

// within reports whether a directory is another one or lies below it.
func (v *Volume) within(dir, top remote.Ino) (bool, error) {
	for dir != top {
		if dir == remote.Root {
			return false, nil
		}
		n, err := v.tree.Node(dir)
		if err != nil {
			return false, err
		}
		dir = n.Parent
	}
	return true, nil
}
