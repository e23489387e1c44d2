package fs

import (
	"strings"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"megafs/fs/acl"
	"megafs/fs/volume"
	"megafs/remote"
)

// named says whether an extended attribute may have a name, as setxattr(2) has it. Refused are those that are no data but ask a file system to act,
// which this one can't: capabilities that a nosuid mount never grants and that would have to vanish at each write, and what system. has
// besides access control lists. And those of no class, for nobody said who may see and set them. A class alone is no name.
func named(name string) fuse.Status {
	if acl.Is(name) {
		return fuse.OK
	}
	class, rest, dot := strings.Cut(name, ".")
	switch class {
	case "user", "trusted", "security":
	default:
		return notSupported
	}
	switch {
	case !dot || name == "security.capability":
		return notSupported
	case rest == "":
		return fuse.EINVAL
	}
	return fuse.OK
}

// give answers with a value, its size alone, or ERANGE, as getxattr(2) has it.
func give(value, dest []byte) (uint32, fuse.Status) {
	n := uint32(len(value))
	switch {
	case len(dest) == 0:
		return n, fuse.OK
	case len(value) > len(dest):
		return n, fuse.ERANGE
	}
	copy(dest, value)
	return n, fuse.OK
}

func (c *conn) GetXAttr(cancel <-chan struct{}, in *fuse.InHeader, name string, dest []byte) (uint32, fuse.Status) {
	defer c.enter(opGetxattr).leave()
	if name == "security.capability" {
		return 0, fuse.ENODATA
	}
	if s := named(name); !s.Ok() {
		return 0, s
	}
	v, err := c.vol.Getxattr(background, remote.Ino(in.NodeId), name)
	switch {
	case remote.Is(err, remote.NoAttr):
		return 0, fuse.ENODATA // an answer, not a failure to count
	case err != nil:
		return 0, c.status(err)
	}
	return give(v, dest)
}

func (c *conn) ListXAttr(cancel <-chan struct{}, in *fuse.InHeader, dest []byte) (uint32, fuse.Status) {
	defer c.enter(opListxattr).leave()
	names, err := c.vol.Listxattr(background, remote.Ino(in.NodeId))
	if err != nil {
		return 0, c.status(err)
	}
	var list []byte
	for _, n := range names {
		if in.Uid != 0 && strings.HasPrefix(n, "trusted.") {
			continue // the kernel gives these to the system's administrator only, and does not want others to know of them
		}
		list = append(append(list, n...), 0)
	}
	return give(list, dest)
}

func (c *conn) SetXAttr(cancel <-chan struct{}, in *fuse.SetXAttrIn, name string, value []byte) fuse.Status {
	defer c.enter(opSetxattr).leave()
	if s := named(name); !s.Ok() {
		return s
	}
	flags := in.Flags & (unix.XATTR_CREATE | unix.XATTR_REPLACE)
	if c.extXattr && in.SetXAttrFlags&fuse.SETXATTR_ACL_KILL_SGID != 0 {
		flags |= volume.XattrKillSetgid
	}
	return c.change(c.vol.Setxattr(background, remote.Ino(in.NodeId), name, value, flags))
}

func (c *conn) RemoveXAttr(cancel <-chan struct{}, in *fuse.InHeader, name string) fuse.Status {
	defer c.enter(opRemovexattr).leave()
	if s := named(name); !s.Ok() {
		return s
	}
	return c.change(c.vol.Removexattr(background, remote.Ino(in.NodeId), name))
}
