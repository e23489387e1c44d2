package volume

import (
	"errors"

	"megafs/fs/acl"
	"megafs/fs/tree"
	"megafs/remote"
)

// Of what an access list says of the owner, the group class and others, the mode is the one truth; of the xattr the rest counts. So a chmod
// needs to change no list, and the two agree whatever came from where.

// list returns a list as it is stored, nil if there is none.
func (v *Volume) list(n tree.Node, name string) (acl.List, error) {
	if n.Xattrs == 0 {
		return nil, nil
	}
	value, err := v.tree.Xattr(n.Ino, name)
	if remote.Is(err, remote.NoAttr) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	l, err := acl.Parse(value)
	if err != nil {
		return nil, remote.E("read", obj(n.Ino), remote.Integrity, err)
	}
	return l, nil
}

func (v *Volume) getACL(n tree.Node, name string) ([]byte, error) {
	l, err := v.list(n, name)
	switch {
	case err != nil:
		return nil, err
	case l == nil:
		return nil, remote.E("get xattr", obj(n.Ino), remote.NoAttr, nil)
	case name == acl.Access:
		l = l.WithMode(n.Mode)
	}
	return l.Bytes(), nil
}

// aclOps are what setting a list on an inode comes to; there says that it has one. The caller holds mu.
func (v *Volume) aclOps(n tree.Node, name string, l acl.List, there, killSetgid bool) ([]remote.Op, error) {
	switch {
	case n.Type == remote.Symlink:
		return nil, remote.E("set xattr", obj(n.Ino), remote.NotSupported, errors.New("links have no access control lists"))
	case name == acl.Default && n.Type != remote.Dir:
		return nil, remote.E("set xattr", obj(n.Ino), remote.Invalid, errors.New("only directories have default access control lists"))
	}
	ops := []remote.Op{ctimed(n, v.now())}
	if name == acl.Access {
		mode := &ops[0].Attr.Mode
		*mode = *mode&^0o777 | l.Mode()
		if killSetgid {
			*mode &^= setgid
		}
		if !l.Extended() {
			if there {
				ops = append(ops, remote.Op{Kind: remote.OpNoXattr, Ino: n.Ino, Name: name})
			}
			return ops, nil
		}
	}
	return append(ops, remote.Op{Kind: remote.OpXattr, Ino: n.Ino, Name: name, Value: l.Bytes()}), nil
}

// inherit gives a new inode the lists that its directory's default calls for, or takes from its mode what the umask has.
func (v *Volume) inherit(dir tree.Node, ino remote.Ino, a *remote.Attr, umask uint16) ([]remote.Op, error) {
	if a.Type == remote.Symlink {
		return nil, nil
	}
	def, err := v.list(dir, acl.Default)
	if err != nil {
		return nil, err
	}
	if def == nil {
		a.Mode &^= umask & 0o777
		return nil, nil
	}
	var ops []remote.Op
	set := func(name string, l acl.List) {
		ops = append(ops, remote.Op{Kind: remote.OpXattr, Ino: ino, Name: name, Value: l.Bytes()})
	}
	access, mode := def.Inherit(a.Mode)
	a.Mode = mode
	if access.Extended() {
		set(acl.Access, access)
	}
	if a.Type == remote.Dir {
		set(acl.Default, def)
	}
	return ops, nil
}

// parseACL checks a value that is to be set.
func parseACL(ino remote.Ino, value []byte) (acl.List, error) {
	if len(value) > acl.MaxSize {
		return nil, remote.E("set xattr", obj(ino), remote.TooLarge, nil)
	}
	l, err := acl.Parse(value)
	if err != nil {
		return nil, remote.E("set xattr", obj(ino), remote.Invalid, err)
	}
	return l, nil
}
