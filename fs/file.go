package fs

import (
	"syscall"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"megafs/fs/volume"
	"megafs/remote"
)

// Create makes a file and opens it. A file that is there already is opened by the kernel's second look, because only that
// one checks permissions.
func (c *conn) Create(cancel <-chan struct{}, in *fuse.CreateIn, name string, out *fuse.CreateOut) fuse.Status {
	defer c.enter(opCreate).leave()
	s, err := c.vol.Make(background, remote.Ino(in.NodeId), name, remote.File, uint16(in.Mode&0o7777), 0, "", caller(&in.InHeader, in.Umask))
	switch {
	case remote.Is(err, remote.Exist) && in.Flags&syscall.O_EXCL == 0:
		return stale
	case err != nil:
		return c.change(err)
	}
	return c.created(&s, in.Flags, out)
}

func (c *conn) Tmpfile(cancel <-chan struct{}, in *fuse.CreateIn, out *fuse.CreateOut) fuse.Status {
	defer c.enter(opTmpfile).leave()
	s, err := c.vol.Tmpfile(background, remote.Ino(in.NodeId), uint16(in.Mode&0o7777), caller(&in.InHeader, in.Umask))
	if err != nil {
		return c.change(err)
	}
	return c.created(&s, in.Flags, out)
}

// created opens a new file and fills the reply; s has the pin.
func (c *conn) created(s *volume.Stat, flags uint32, out *fuse.CreateOut) fuse.Status {
	h, err := c.vol.Open(background, s.Ino, writes(flags), false)
	if err != nil {
		c.forget(s.Ino)
		return c.change(err)
	}
	c.entry(s, &out.EntryOut)
	c.opened(h, s, flags, &out.OpenOut)
	return fuse.OK
}

func (c *conn) Open(cancel <-chan struct{}, in *fuse.OpenIn, out *fuse.OpenOut) fuse.Status {
	defer c.enter(opOpen).leave()
	ino := remote.Ino(in.NodeId)
	trunc := in.Flags&syscall.O_TRUNC != 0
	kill := trunc && in.Mode&fuse.OPEN_KILL_SUIDGID != 0
	// Before the open: an older version than the handle reads only makes the kernel read pages again.
	s, err := c.vol.Getattr(background, ino)
	if err != nil {
		return c.status(err)
	}
	if trunc && s.Size > 0 {
		defer c.cuts.begin(ino, s.Size)()
	}
	h, err := c.vol.Open(background, ino, writes(in.Flags), trunc && !kill)
	if err != nil {
		return c.change(err)
	}
	if kill {
		var none uint64
		if _, err := c.vol.Setattr(background, ino, volume.SetAttr{Size: &none, KillPriv: true, Outsider: outsider(&in.InHeader, &s)}); err != nil {
			h.Close()
			return c.change(err)
		}
		if s.Mode&(syscall.S_ISUID|syscall.S_ISGID) != 0 {
			c.inval.attributes(ino) // the kernel asks for them to go, but keeps the mode it has
		}
	}
	c.opened(h, &s, in.Flags, out)
	return fuse.OK
}

func (c *conn) opened(h Handle, s *volume.Stat, flags uint32, out *fuse.OpenOut) {
	out.Fh = c.files.add(h)
	if c.known.opened(s.Ino, s.Version) {
		out.OpenFlags |= fuse.FOPEN_KEEP_CACHE
	}
	if !writes(flags) {
		out.OpenFlags |= fuse.FOPEN_NOFLUSH
	}
}

func writes(flags uint32) bool { return flags&syscall.O_ACCMODE != syscall.O_RDONLY }

func (c *conn) Read(cancel <-chan struct{}, in *fuse.ReadIn, buf []byte) (fuse.ReadResult, fuse.Status) {
	defer c.enter(opRead).leave()
	h, ok := c.files.get(in.Fh)
	if !ok {
		return nil, fuse.EBADF
	}
	w := c.wait(cancel, &in.InHeader, c.readTimeout)
	defer w.end()
	n, err := h.ReadAt(w, buf, in.Offset)
	if err != nil {
		return nil, c.status(err) // never what was read until then: the kernel takes a short read for the end of the file
	}
	if n < len(buf) {
		c.cuts.wait(h.Ino(), in.Offset+uint64(n))
	}
	return fuse.ReadResultData(buf[:n]), fuse.OK
}

func (c *conn) Write(cancel <-chan struct{}, in *fuse.WriteIn, data []byte) (uint32, fuse.Status) {
	defer c.enter(opWrite).leave()
	h, ok := c.files.get(in.Fh)
	if !ok {
		return 0, fuse.EBADF
	}
	kill := in.WriteFlags&fuse.WRITE_KILL_SUIDGID != 0
	var n int
	var err error
	// The open file's flags come with each write, because fcntl(2) can change them. Pages of a mapping have their place.
	if in.Flags&syscall.O_APPEND != 0 && in.WriteFlags&fuse.WRITE_CACHE == 0 {
		var off uint64
		off, n, err = h.Append(background, data, kill)
		if n > 0 && off != in.Offset {
			c.inval.add([]volume.Change{{Ino: h.Ino(), Content: true}})
		}
	} else {
		n, err = h.WriteAt(background, data, in.Offset, kill)
	}
	if n > 0 {
		return uint32(n), fuse.OK // what comes after n fails when it is tried again
	}
	return 0, c.change(err)
}

func (c *conn) Flush(cancel <-chan struct{}, in *fuse.FlushIn) fuse.Status {
	defer c.enter(opFlush).leave()
	h, ok := c.files.get(in.Fh)
	if !ok {
		return fuse.EBADF
	}
	return c.change(h.Flush(background))
}

func (c *conn) Release(cancel <-chan struct{}, in *fuse.ReleaseIn) {
	defer c.enter(opRelease).leave()
	if h, ok := c.files.remove(in.Fh); ok {
		h.Close()
	}
}

func (c *conn) Fsync(cancel <-chan struct{}, in *fuse.FsyncIn) fuse.Status {
	defer c.enter(opFsync).leave()
	h, ok := c.files.get(in.Fh)
	if !ok {
		return fuse.EBADF
	}
	w := c.wait(cancel, &in.InHeader, 0)
	defer w.end()
	return c.status(h.Sync(w))
}

func (c *conn) Fallocate(cancel <-chan struct{}, in *fuse.FallocateIn) fuse.Status {
	defer c.enter(opFallocate).leave()
	h, ok := c.files.get(in.Fh)
	if !ok {
		return fuse.EBADF
	}
	return c.change(h.Allocate(background, in.Mode, in.Offset, in.Length))
}

func (c *conn) Lseek(cancel <-chan struct{}, in *fuse.LseekIn, out *fuse.LseekOut) fuse.Status {
	defer c.enter(opLseek).leave()
	h, ok := c.files.get(in.Fh)
	if !ok {
		return fuse.EBADF
	}
	if in.Whence != unix.SEEK_DATA && in.Whence != unix.SEEK_HOLE {
		return fuse.EINVAL
	}
	off, err := h.Seek(background, in.Offset, in.Whence == unix.SEEK_HOLE)
	if kindOf(err) == remote.NoData {
		return fuse.Status(errnos[remote.NoData]) // an answer, not a failure to count
	}
	out.Offset = off
	return c.status(err)
}

// copyMost bounds one request of copying, so that none takes for ever; callers go on where it ended.
const copyMost = 256 << 20

func (c *conn) CopyFileRange(cancel <-chan struct{}, in *fuse.CopyFileRangeIn) (uint32, fuse.Status) {
	defer c.enter(opCopyRange).leave()
	from, ok1 := c.files.get(in.FhIn)
	to, ok2 := c.files.get(in.FhOut)
	if !ok1 || !ok2 {
		return 0, fuse.EBADF
	}
	if in.Flags != 0 {
		return 0, fuse.EINVAL
	}
	n, err := c.vol.CopyRange(background, from, in.OffIn, to, in.OffOut, min(in.Len, copyMost))
	if n > 0 {
		return uint32(n), fuse.OK
	}
	return 0, c.change(err)
}

func (c *conn) Ioctl(cancel <-chan struct{}, in *fuse.IoctlIn, inbuf []byte, out *fuse.IoctlOut, outbuf []byte) fuse.Status {
	defer c.enter(opIoctl).leave()
	return notTTY
}
