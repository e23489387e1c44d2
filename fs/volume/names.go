package volume

import (
	"context"
	"errors"
	"fmt"

	"megafs/fs/tree"
	"megafs/remote"
)

func obj(ino remote.Ino) string { return fmt.Sprintf("inode %d", ino) }

// stat makes a Stat of a node.
func (v *Volume) stat(n tree.Node) Stat {
	s := Stat{Attr: n.Attr, Ino: v.outer(n.Ino), Nlink: n.Nlink(), Version: n.Version}
	switch n.Type {
	case remote.File:
		s.Blocks = (n.Size + 511) / 512
		// Holes of small files are not worth a look; of larger ones only when there are fewer bytes than the size says.
		if n.Size > 1<<20 {
			if spans, err := v.tree.Data(n.Ino, 0, n.Size); err == nil {
				var b uint64
				for _, sp := range spans {
					b += sp.End - sp.Off
				}
				s.Blocks = (b + 511) / 512
			}
		}
	case remote.Symlink:
		s.Size = uint64(len(n.Target))
	case remote.Dir:
		s.Size = 4096
	}
	return s
}

// dir returns a directory that takes names.
func (v *Volume) dir(ino remote.Ino) (tree.Node, error) {
	n, err := v.tree.Node(ino)
	if err != nil {
		return n, err
	}
	if n.Type != remote.Dir {
		return n, remote.E("use", obj(ino), remote.NotDir, nil)
	}
	if n.Links == 0 {
		return n, remote.E("use", obj(ino), remote.NotExist, nil)
	}
	return n, nil
}

func checkName(name string) error {
	switch {
	case len(name) > remote.MaxName:
		return remote.E("name", "", remote.NameTooLong, nil)
	case !remote.ValidName(name):
		return remote.E("name", "", remote.Invalid, nil)
	}
	return nil
}

// Lookup implements FS.
func (v *Volume) Lookup(ctx context.Context, parent remote.Ino, name string) (Stat, error) {
	if len(name) > remote.MaxName {
		return Stat{}, remote.E("look up", "", remote.NameTooLong, nil)
	}
	for {
		ino, err := v.tree.Lookup(parent, name)
		if err != nil {
			return Stat{}, err
		}
		v.tree.Pin(ino, 1)
		n, err := v.tree.Node(ino)
		if err == nil && n.Links > 0 {
			return v.stat(n), nil
		}
		v.tree.Unpin(ino, 1)
		if err != nil && !remote.Is(err, remote.NotExist) {
			return Stat{}, err
		}
		// It went between the two looks; so did the name.
		if again, err := v.tree.Lookup(parent, name); err == nil && again == ino {
			return Stat{}, remote.E("look up", obj(ino), remote.Integrity, errors.New("a name without an inode"))
		}
	}
}

// Again implements FS.
func (v *Volume) Again(ctx context.Context, ino remote.Ino, up bool) (Stat, error) {
	v.mu.Lock() // nothing is removed meanwhile
	defer v.mu.Unlock()
	n, err := v.tree.Node(v.inner(ino))
	if err == nil && up {
		if n.Type != remote.Dir {
			return Stat{}, remote.E("look up", obj(ino), remote.NotDir, nil)
		}
		n, err = v.tree.Node(n.Parent)
	}
	if err == nil && n.Links == 0 {
		err = remote.E("look up", obj(ino), remote.NotExist, nil)
	}
	if err != nil {
		return Stat{}, err
	}
	v.tree.Pin(n.Ino, 1)
	return v.stat(n), nil
}

// Retain implements FS.
func (v *Volume) Retain(ino remote.Ino) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	ino = v.inner(ino)
	v.tree.Pin(ino, 1)
	if n, err := v.tree.Node(ino); err != nil || n.Links == 0 {
		v.tree.Unpin(ino, 1)
		return false
	}
	return true
}

// Forget implements FS.
func (v *Volume) Forget(ino remote.Ino, n uint64) {
	v.alias.mu.RLock() // pins do not move meanwhile
	x, ok := v.alias.in[ino]
	if !ok {
		x = ino
	}
	err := v.tree.Unpin(x, n)
	v.alias.mu.RUnlock()
	if err != nil {
		v.o.Log.Warn("an inode without names could not be removed from the tree index; it goes at the next mount", "inode", uint64(ino), "reason", err)
	}
}

// List implements FS.
func (v *Volume) List(ctx context.Context, dir remote.Ino) ([]Dirent, error) {
	list, err := v.tree.List(dir)
	if err != nil {
		return nil, err
	}
	out := make([]Dirent, len(list))
	for i, d := range list {
		out[i] = Dirent(d)
		out[i].Ino = v.outer(d.Ino)
	}
	return out, nil
}

// Readlink implements FS.
func (v *Volume) Readlink(ctx context.Context, ino remote.Ino) (string, error) {
	ino = v.inner(ino)
	n, err := v.tree.Node(ino)
	if err != nil {
		return "", err
	}
	if n.Type != remote.Symlink {
		return "", remote.E("read link", obj(ino), remote.Invalid, nil)
	}
	return n.Target, nil
}

// touched is the Op that gives a directory whose names changed its new times.
func touched(n tree.Node, now remote.Time) remote.Op {
	a := n.Attr
	a.Mtime, a.Ctime = now, now
	return remote.Op{Kind: remote.OpNode, Ino: n.Ino, Attr: a}
}

// ctimed is the Op that gives an inode a new ctime.
func ctimed(n tree.Node, now remote.Time) remote.Op {
	a := n.Attr
	a.Ctime = now
	return remote.Op{Kind: remote.OpNode, Ino: n.Ino, Attr: a}
}

const (
	setuid = 0o4000
	setgid = 0o2000
	sticky = 0o1000
)

// inode makes the attributes of a new inode in a directory.
func (v *Volume) inode(dir tree.Node, t remote.Type, mode uint16, c Caller) remote.Attr {
	now := v.now()
	a := remote.Attr{Type: t, Mode: mode & 0o7777, UID: c.UID, GID: c.GID, Atime: now, Mtime: now, Ctime: now, Btime: now}
	if dir.Mode&setgid != 0 {
		a.GID = dir.GID
		if t == remote.Dir {
			a.Mode |= setgid
		}
	}
	return a
}

// vacant returns a directory in which a name is free.
func (v *Volume) vacant(parent remote.Ino, name string) (tree.Node, error) {
	dir, err := v.dir(parent)
	if err != nil {
		return dir, err
	}
	switch _, err := v.tree.Lookup(parent, name); {
	case err == nil:
		return dir, remote.E("make a name", obj(parent), remote.Exist, nil)
	case !remote.Is(err, remote.NotExist):
		return dir, err
	}
	return dir, nil
}

// Make implements FS.
func (v *Volume) Make(ctx context.Context, parent remote.Ino, name string, t remote.Type, mode uint16, rdev uint32, target string, c Caller) (Stat, error) {
	if err := checkName(name); err != nil {
		return Stat{}, err
	}
	if err := v.writable(ctx, 0); err != nil {
		return Stat{}, err
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	dir, err := v.vacant(parent, name)
	if err == nil {
		err = v.may(parent)
	}
	if err != nil {
		return Stat{}, err
	}
	ino, err := v.newIno()
	if err != nil {
		return Stat{}, err
	}
	a := v.inode(dir, t, mode, c)
	switch t {
	case remote.Symlink:
		if target == "" || len(target) > remote.MaxTarget {
			return Stat{}, remote.E("make a link", "", remote.NameTooLong, nil)
		}
		a.Target, a.Mode, a.Size = target, 0o777, uint64(len(target))
	case remote.CharDev, remote.BlockDev:
		a.Rdev = rdev
	}
	lists, err := v.inherit(dir, ino, &a, c.Umask)
	if err != nil {
		return Stat{}, err
	}
	v.tree.Pin(ino, 1)
	err = v.change(append([]remote.Op{
		{Kind: remote.OpNode, Ino: ino, Attr: a},
		{Kind: remote.OpLink, Ino: ino, Parent: parent, Name: name},
		touched(dir, a.Mtime)}, lists...)...)
	return v.pinned(ino, err)
}

// pinned returns a new inode's Stat, or gives its pin back.
func (v *Volume) pinned(ino remote.Ino, err error) (Stat, error) {
	var n tree.Node
	if err == nil {
		n, err = v.tree.Node(ino)
	}
	if err != nil {
		v.tree.Unpin(ino, 1)
		return Stat{}, err
	}
	return v.stat(n), nil
}

// Tmpfile implements FS.
func (v *Volume) Tmpfile(ctx context.Context, parent remote.Ino, mode uint16, c Caller) (Stat, error) {
	if err := v.writable(ctx, 0); err != nil {
		return Stat{}, err
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	dir, err := v.dir(parent)
	if err == nil {
		err = v.may(parent)
	}
	if err != nil {
		return Stat{}, err
	}
	ino, err := v.newIno()
	if err != nil {
		return Stat{}, err
	}
	a := v.inode(dir, remote.File, mode, c)
	lists, err := v.inherit(dir, ino, &a, c.Umask)
	if err != nil {
		return Stat{}, err
	}
	v.tree.Pin(ino, 1)
	err = v.change(append([]remote.Op{{Kind: remote.OpNode, Ino: ino, Attr: a}}, lists...)...)
	if err == nil {
		v.handleMu.Lock()
		v.nameable[ino] = true
		v.handleMu.Unlock()
	}
	return v.pinned(ino, err)
}

// Link implements FS.
func (v *Volume) Link(ctx context.Context, ino, parent remote.Ino, name string) (Stat, error) {
	if err := checkName(name); err != nil {
		return Stat{}, err
	}
	if err := v.writable(ctx, 0); err != nil {
		return Stat{}, err
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	ino = v.inner(ino)
	n, err := v.tree.Node(ino)
	if err != nil {
		return Stat{}, err
	}
	v.handleMu.Lock()
	nameable := v.nameable[ino]
	v.handleMu.Unlock()
	switch {
	case n.Type == remote.Dir:
		return Stat{}, remote.E("link", obj(ino), remote.Permission, nil)
	case v.traits.OneName && n.Links > 0:
		return Stat{}, remote.E("link", obj(ino), remote.Permission, errors.New("this kind of remote knows no hard links"))
	case n.Links == 0 && !nameable:
		return Stat{}, remote.E("link", obj(ino), remote.NotExist, nil)
	case n.Links >= 65000:
		return Stat{}, remote.E("link", obj(ino), remote.TooManyLinks, nil)
	}
	dir, err := v.vacant(parent, name)
	if err == nil {
		err = v.may(ino, parent)
	}
	if err != nil {
		return Stat{}, err
	}
	now := v.now()
	v.tree.Pin(ino, 1)
	err = v.change(ctimed(n, now),
		remote.Op{Kind: remote.OpLink, Ino: ino, Parent: parent, Name: name},
		touched(dir, now))
	if err == nil && nameable {
		v.handleMu.Lock()
		delete(v.nameable, ino)
		v.handleMu.Unlock()
	}
	return v.pinned(ino, err)
}

// Unlink implements FS.
func (v *Volume) Unlink(ctx context.Context, parent remote.Ino, name string) error {
	return v.remove(ctx, parent, name, false)
}

// Rmdir implements FS.
func (v *Volume) Rmdir(ctx context.Context, parent remote.Ino, name string) error {
	return v.remove(ctx, parent, name, true)
}

func (v *Volume) remove(ctx context.Context, parent remote.Ino, name string, isDir bool) error {
	if err := v.writable(ctx, 0); err != nil {
		return err
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	dir, err := v.dir(parent)
	if err != nil {
		return err
	}
	ino, err := v.tree.Lookup(parent, name)
	if err != nil {
		return err
	}
	n, err := v.tree.Node(ino)
	if err != nil {
		return err
	}
	if err := v.may(parent, ino); err != nil {
		return err
	}
	if err := v.removable(n, isDir); err != nil {
		return err
	}
	now := v.now()
	return v.free(ctimed(n, now),
		remote.Op{Kind: remote.OpUnlink, Ino: ino, Parent: parent, Name: name},
		touched(dir, now))
}

func (v *Volume) removable(n tree.Node, isDir bool) error {
	switch {
	case isDir && n.Type != remote.Dir:
		return remote.E("remove", obj(n.Ino), remote.NotDir, nil)
	case !isDir && n.Type == remote.Dir:
		return remote.E("remove", obj(n.Ino), remote.IsDir, nil)
	case isDir:
		empty, err := v.tree.Empty(n.Ino)
		if err != nil {
			return err
		}
		if !empty {
			return remote.E("remove", obj(n.Ino), remote.NotEmpty, nil)
		}
	}
	return nil
}

// SyncDir implements FS: what was done to names before is durable.
func (v *Volume) SyncDir(ctx context.Context, ino remote.Ino) error { return v.sync(ctx) }

// sync makes all changes so far durable, here or at the remote.
func (v *Volume) sync(ctx context.Context) error {
	seq := v.lastSeq.Load()
	if err := v.syncTo(ctx, seq); err != nil {
		return err
	}
	if v.o.FsyncRemote {
		return v.eng.Drain(ctx, seq, v.o.Patience)
	}
	return nil
}
