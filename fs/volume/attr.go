package volume

import (
	"context"

	"megafs/fs/acl"
	"megafs/remote"
)

// Getattr implements FS.
func (v *Volume) Getattr(ctx context.Context, ino remote.Ino) (Stat, error) {
	ino = v.inner(ino)
	n, err := v.tree.Node(ino)
	if err != nil {
		return Stat{}, err
	}
	return v.stat(n), nil
}

// Setattr implements FS.
func (v *Volume) Setattr(ctx context.Context, ino remote.Ino, s SetAttr) (Stat, error) {
	if err := v.writable(ctx, 0); err != nil {
		return Stat{}, err
	}
	if s.Size != nil && *s.Size <= remote.MaxSize {
		if err := v.grows(ctx, v.inner(ino), *s.Size); err != nil {
			return Stat{}, err
		}
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	ino = v.inner(ino)
	n, err := v.tree.Node(ino)
	if err == nil {
		err = v.may(ino)
	}
	if err != nil {
		return Stat{}, err
	}
	a, now := n.Attr, v.now()
	a.Ctime = now
	if s.Size != nil {
		switch {
		case n.Type == remote.Dir:
			return Stat{}, remote.E("truncate", obj(ino), remote.IsDir, nil)
		case n.Type != remote.File:
			return Stat{}, remote.E("truncate", obj(ino), remote.Invalid, nil)
		case *s.Size > remote.MaxSize:
			return Stat{}, remote.E("truncate", obj(ino), remote.FileTooBig, nil)
		}
		a.Size, a.Mtime = *s.Size, now
	}
	if s.UID != nil {
		a.UID = *s.UID
	}
	if s.GID != nil {
		a.GID = *s.GID
	}
	// A file that changes hands loses the bits that would lend out its new owner's rights.
	if (s.UID != nil || s.GID != nil) && n.Type != remote.Dir || s.KillPriv {
		a.Mode = killed(a.Mode)
		if s.Outsider {
			a.Mode &^= setgid
		}
	}
	if s.Mode != nil {
		a.Mode = *s.Mode & 0o7777
	}
	if s.Atime != nil {
		a.Atime = *s.Atime
	}
	if s.Mtime != nil {
		a.Mtime = *s.Mtime
	}
	if err := v.free(remote.Op{Kind: remote.OpNode, Ino: ino, Attr: a}); err != nil {
		return Stat{}, err
	}
	if n, err = v.tree.Node(ino); err != nil {
		return Stat{}, err
	}
	return v.stat(n), nil
}

// killed is a mode without setuid, and without setgid where that means execution with the group's rights.
func killed(mode uint16) uint16 {
	mode &^= setuid
	if mode&0o010 != 0 {
		mode &^= setgid
	}
	return mode
}

// Getxattr implements FS.
func (v *Volume) Getxattr(ctx context.Context, ino remote.Ino, name string) ([]byte, error) {
	ino = v.inner(ino)
	n, err := v.tree.Node(ino)
	if err != nil {
		return nil, err
	}
	switch {
	case n.Xattrs == 0:
		return nil, remote.E("get xattr", obj(ino), remote.NoAttr, nil)
	case acl.Is(name):
		return v.getACL(n, name)
	}
	return v.tree.Xattr(ino, name)
}

// Listxattr implements FS.
func (v *Volume) Listxattr(ctx context.Context, ino remote.Ino) ([]string, error) {
	ino = v.inner(ino)
	n, err := v.tree.Node(ino)
	if err != nil || n.Xattrs == 0 {
		return nil, err
	}
	return v.tree.Xattrs(ino)
}

// The flags of Setxattr.
const (
	xattrCreate  = 1
	xattrReplace = 2
	// XattrKillSetgid is not one of setxattr(2)'s: an access list is set by somebody outside the file's group.
	XattrKillSetgid = 1 << 16
)

// Setxattr implements FS.
func (v *Volume) Setxattr(ctx context.Context, ino remote.Ino, name string, value []byte, flags uint32) error {
	switch {
	case name == "":
		return remote.E("set xattr", obj(ino), remote.Invalid, nil)
	case len(name) > 255:
		return remote.E("set xattr", obj(ino), remote.OutOfRange, nil)
	case len(value) > remote.MaxXattr:
		return remote.E("set xattr", obj(ino), remote.TooLarge, nil)
	}
	var list acl.List
	if acl.Is(name) {
		var err error
		if list, err = parseACL(ino, value); err != nil {
			return err
		}
	}
	if err := v.writable(ctx, int64(len(value))); err != nil {
		return err
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	ino = v.inner(ino)
	n, err := v.tree.Node(ino)
	if err == nil {
		err = v.may(ino)
	}
	if err != nil {
		return err
	}
	_, err = v.tree.Xattr(ino, name)
	there := err == nil
	switch {
	case err != nil && !remote.Is(err, remote.NoAttr):
		return err
	case there && flags&xattrCreate != 0:
		return remote.E("set xattr", obj(ino), remote.Exist, nil)
	case !there && flags&xattrReplace != 0:
		return remote.E("set xattr", obj(ino), remote.NoAttr, nil)
	case !there:
		names, err := v.tree.Xattrs(ino)
		if err != nil {
			return err
		}
		total := len(name) + 1
		for _, x := range names {
			total += len(x) + 1
		}
		if total > remote.MaxXattrs {
			return remote.E("set xattr", obj(ino), remote.NoSpace, nil)
		}
	}
	if err := v.roomForXattr(ino, name, value); err != nil {
		return err
	}
	if list != nil {
		ops, err := v.aclOps(n, name, list, there, flags&XattrKillSetgid != 0)
		if err != nil {
			return err
		}
		return v.change(ops...)
	}
	return v.change(ctimed(n, v.now()), remote.Op{Kind: remote.OpXattr, Ino: ino, Name: name, Value: append([]byte{}, value...)})
}

// roomForXattr fails when a remote can't keep that many bytes of an inode's extended attributes. The caller holds mu.
func (v *Volume) roomForXattr(ino remote.Ino, name string, value []byte) error {
	if v.traits.Xattrs == 0 {
		return nil
	}
	names, err := v.tree.Xattrs(ino)
	if err != nil {
		return err
	}
	total := len(name) + len(value)
	for _, n := range names {
		if n == name {
			continue
		}
		old, err := v.tree.Xattr(ino, n)
		if err != nil {
			return err
		}
		total += len(n) + len(old)
	}
	if total > v.traits.Xattrs {
		return remote.E("set xattr", obj(ino), remote.NoSpace, nil)
	}
	return nil
}

// Removexattr implements FS.
func (v *Volume) Removexattr(ctx context.Context, ino remote.Ino, name string) error {
	if err := v.writable(ctx, 0); err != nil {
		return err
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	ino = v.inner(ino)
	n, err := v.tree.Node(ino)
	if err == nil {
		err = v.may(ino)
	}
	if err != nil {
		return err
	}
	if _, err := v.tree.Xattr(ino, name); err != nil {
		if acl.Is(name) && n.Type != remote.Symlink && remote.Is(err, remote.NoAttr) {
			return nil // every file has an access list, and one without a list of its own is what was asked for
		}
		return err
	}
	return v.free(ctimed(n, v.now()), remote.Op{Kind: remote.OpNoXattr, Ino: ino, Name: name})
}
