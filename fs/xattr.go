package fs

import (
	"strings"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"megafs/fs/acl"
	"megafs/fs/volume"
	"megafs/remote"
)

// refused are extended attributes that are no data but ask a file system to act, which this one can't: capabilities
// that a nosuid mount never grants and that would have to vanish at each write, and what system. has besides access control lists.
// And those of no class, for nobody said who may see and set them.
func refused(name string) bool {
	class, _, _ := strings.Cut(name, ".")
	switch class {
	case "user", "trusted", "security":
		return name == "security.capability"
	}
	return !acl.Is(name)
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
	if refused(name) {
		return 0, notSupported
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
	if refused(name) {
		return notSupported
	}
	if strings.HasSuffix(name, ".") {
		return fuse.EINVAL // a namespace without a name
	}
	flags := in.Flags & (unix.XATTR_CREATE | unix.XATTR_REPLACE)
	if c.extXattr && in.SetXAttrFlags&fuse.SETXATTR_ACL_KILL_SGID != 0 {
		flags |= volume.XattrKillSetgid
	}
	return c.change(c.vol.Setxattr(background, remote.Ino(in.NodeId), name, value, flags))
}

func (c *conn) RemoveXAttr(cancel <-chan struct{}, in *fuse.InHeader, name string) fuse.Status {
	defer c.enter(opRemovexattr).leave()
	if refused(name) {
		return notSupported
	}
	return c.change(c.vol.Removexattr(background, remote.Ino(in.NodeId), name))
}
