package fs

import (
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"

	"megafs/fs/volume"
	"megafs/remote"
)

func (c *conn) Lookup(cancel <-chan struct{}, in *fuse.InHeader, name string, out *fuse.EntryOut) fuse.Status {
	defer c.enter(opLookup).leave()
	if name == "." || name == ".." { // the kernel forgot what a file handle names, or the directory above it
		s, err := c.vol.Again(background, remote.Ino(in.NodeId), name == "..")
		if err != nil {
			return c.status(err)
		}
		c.entry(&s, out)
		return fuse.OK
	}
	s, err := c.vol.Lookup(background, remote.Ino(in.NodeId), name)
	switch {
	case remote.Is(err, remote.NotExist):
		// No nodeid, and a time to remember that for.
		out.SetEntryTimeout(c.ttl(negativeTTL))
		return fuse.OK
	case err != nil:
		return c.status(err)
	}
	c.entry(&s, out)
	return fuse.OK
}

func (c *conn) Forget(nodeid, nlookup uint64) {
	defer c.enter(opForget).leave()
	ino := remote.Ino(nodeid)
	if n := c.known.drop(ino, nlookup); n > 0 {
		c.vol.Forget(ino, n)
	}
}

func (c *conn) GetAttr(cancel <-chan struct{}, in *fuse.GetAttrIn, out *fuse.AttrOut) fuse.Status {
	defer c.enter(opGetattr).leave()
	s, err := c.vol.Getattr(background, remote.Ino(in.NodeId))
	if err != nil {
		return c.status(err)
	}
	c.attrOut(&s, out)
	return fuse.OK
}

func (c *conn) Statx(cancel <-chan struct{}, in *fuse.StatxIn, out *fuse.StatxOut) fuse.Status {
	defer c.enter(opStatx).leave()
	s, err := c.vol.Getattr(background, remote.Ino(in.NodeId))
	if err != nil {
		return c.status(err)
	}
	out.SetTimeout(c.ttl(attrTTL))
	statx(&s, &out.Statx)
	return fuse.OK
}

func (c *conn) SetAttr(cancel <-chan struct{}, in *fuse.SetAttrIn, out *fuse.AttrOut) fuse.Status {
	defer c.enter(opSetattr).leave()
	a := setAttr(&in.SetAttrInCommon, remote.TimeOf(time.Now()))
	if a == (volume.SetAttr{}) {
		// Nothing to set is how the kernel says, before others than the owner change a file, and after a chown that changes
		// nothing, that privileges go. The reply shows it the new mode.
		s, err := c.vol.Getattr(background, remote.Ino(in.NodeId))
		if err != nil {
			return c.status(err)
		}
		a.KillPriv = s.Type != remote.Dir && s.Mode&(syscall.S_ISUID|syscall.S_ISGID) != 0
	}
	if a.UID != nil || a.GID != nil || a.KillPriv {
		if s, err := c.vol.Getattr(background, remote.Ino(in.NodeId)); err == nil {
			a.Outsider = outsider(&in.InHeader, &s)
		}
	}
	if a.Size != nil {
		if s, err := c.vol.Getattr(background, remote.Ino(in.NodeId)); err == nil && *a.Size < s.Size {
			defer c.cuts.begin(s.Ino, s.Size)()
		}
	}
	s, err := c.vol.Setattr(background, remote.Ino(in.NodeId), a)
	if err != nil {
		return c.change(err)
	}
	c.attrOut(&s, out)
	return fuse.OK
}

// setAttr says which attributes a request sets.
func setAttr(in *fuse.SetAttrInCommon, now remote.Time) volume.SetAttr {
	a := volume.SetAttr{KillPriv: in.Valid&fuse.FATTR_KILL_SUIDGID != 0}
	if m, ok := in.GetMode(); ok {
		mode := uint16(m)
		a.Mode = &mode
	}
	if id, ok := in.GetUID(); ok {
		a.UID = &id
	}
	if id, ok := in.GetGID(); ok {
		a.GID = &id
	}
	if n, ok := in.GetSize(); ok {
		a.Size = &n
	}
	if in.Valid&fuse.FATTR_ATIME != 0 {
		t := join(in.Atime, in.Atimensec)
		if in.Valid&fuse.FATTR_ATIME_NOW != 0 {
			t = now
		}
		a.Atime = &t
	}
	if in.Valid&fuse.FATTR_MTIME != 0 {
		t := join(in.Mtime, in.Mtimensec)
		if in.Valid&fuse.FATTR_MTIME_NOW != 0 {
			t = now
		}
		a.Mtime = &t
	}
	return a
}

func (c *conn) Readlink(cancel <-chan struct{}, in *fuse.InHeader) ([]byte, fuse.Status) {
	defer c.enter(opReadlink).leave()
	target, err := c.vol.Readlink(background, remote.Ino(in.NodeId))
	return []byte(target), c.status(err)
}

// create makes an inode under a name.
func (c *conn) create(in *fuse.InHeader, name string, t remote.Type, mode, umask, rdev uint32, target string, out *fuse.EntryOut) fuse.Status {
	s, err := c.vol.Make(background, remote.Ino(in.NodeId), name, t, uint16(mode&0o7777), rdev, target, caller(in, umask))
	if err != nil {
		return c.change(err)
	}
	c.entry(&s, out)
	return fuse.OK
}

func (c *conn) Mknod(cancel <-chan struct{}, in *fuse.MknodIn, name string, out *fuse.EntryOut) fuse.Status {
	defer c.enter(opMknod).leave()
	t := typeOf(in.Mode)
	if t == 0 || t == remote.Dir || t == remote.Symlink {
		return fuse.EINVAL
	}
	return c.create(&in.InHeader, name, t, in.Mode, in.Umask, in.Rdev, "", out)
}

func (c *conn) Mkdir(cancel <-chan struct{}, in *fuse.MkdirIn, name string, out *fuse.EntryOut) fuse.Status {
	defer c.enter(opMkdir).leave()
	return c.create(&in.InHeader, name, remote.Dir, in.Mode, in.Umask, 0, "", out)
}

func (c *conn) Symlink(cancel <-chan struct{}, in *fuse.InHeader, target, name string, out *fuse.EntryOut) fuse.Status {
	defer c.enter(opSymlink).leave()
	return c.create(in, name, remote.Symlink, 0o777, 0, 0, target, out)
}

func (c *conn) Link(cancel <-chan struct{}, in *fuse.LinkIn, name string, out *fuse.EntryOut) fuse.Status {
	defer c.enter(opLink).leave()
	s, err := c.vol.Link(background, remote.Ino(in.Oldnodeid), remote.Ino(in.NodeId), name)
	if err != nil {
		return c.change(err)
	}
	c.entry(&s, out)
	return fuse.OK
}

func (c *conn) Unlink(cancel <-chan struct{}, in *fuse.InHeader, name string) fuse.Status {
	defer c.enter(opUnlink).leave()
	return c.change(c.vol.Unlink(background, remote.Ino(in.NodeId), name))
}

func (c *conn) Rmdir(cancel <-chan struct{}, in *fuse.InHeader, name string) fuse.Status {
	defer c.enter(opRmdir).leave()
	return c.change(c.vol.Rmdir(background, remote.Ino(in.NodeId), name))
}

func (c *conn) Rename(cancel <-chan struct{}, in *fuse.RenameIn, from, to string) fuse.Status {
	defer c.enter(opRename).leave()
	if in.Flags&^(volume.RenameNoReplace|volume.RenameExchange|volume.RenameWhiteout) != 0 {
		return fuse.EINVAL
	}
	return c.change(c.vol.Rename(background, remote.Ino(in.NodeId), from, remote.Ino(in.Newdir), to, in.Flags, caller(&in.InHeader, 0)))
}

func (c *conn) StatFs(cancel <-chan struct{}, in *fuse.InHeader, out *fuse.StatfsOut) fuse.Status {
	defer c.enter(opStatfs).leave()
	s := c.vol.StatFS()
	if s.Total == 0 {
		s.Total, s.Free = 1<<50, 1<<50 // nobody knows; 0 would mean full to many programs
	}
	const unit = 4096
	out.Bsize, out.Frsize, out.NameLen = unit, unit, remote.MaxName
	out.Blocks, out.Bfree = s.Total/unit, s.Free/unit
	out.Bavail = out.Bfree
	out.Files, out.Ffree = s.Files+1<<remote.InoBits, 1<<remote.InoBits
	return fuse.OK
}
