package fs

import (
	"math"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"megafs/fs/volume"
	"megafs/remote"
)

// How long the kernel may keep what it is told; shortTTL while an overflow of the invalidation queue is mended.
const (
	entryTTL    = time.Hour
	attrTTL     = time.Hour
	negativeTTL = 5 * time.Minute
	shortTTL    = time.Second
)

// blockSize is what programs should read and write at once, in bytes.
const blockSize = 64 << 10

// generation of every inode: numbers are never used twice.
const generation = 1

var typeBits = [...]uint32{
	remote.File: syscall.S_IFREG, remote.Dir: syscall.S_IFDIR, remote.Symlink: syscall.S_IFLNK, remote.Fifo: syscall.S_IFIFO,
	remote.Socket: syscall.S_IFSOCK, remote.CharDev: syscall.S_IFCHR, remote.BlockDev: syscall.S_IFBLK,
}

// formatOf returns a type's bits of a mode.
func formatOf(t remote.Type) uint32 {
	if int(t) < len(typeBits) {
		return typeBits[t]
	}
	return 0
}

// typeOf returns the type a mode's bits stand for; 0 if none. No bits are a regular file, as mknod(2) has it.
func typeOf(mode uint32) remote.Type {
	mode &= syscall.S_IFMT
	if mode == 0 {
		return remote.File
	}
	for t, bits := range typeBits {
		if bits == mode {
			return remote.Type(t)
		}
	}
	return 0
}

// second in the units of a remote.Time.
const second = int64(time.Second)

// split turns a time into whole seconds and nanoseconds from there on.
func split(t remote.Time) (sec uint64, nsec uint32) {
	s, n := int64(t)/second, int64(t)%second
	if n < 0 {
		s, n = s-1, n+second
	}
	return uint64(s), uint32(n)
}

// join is split's inverse; times that have no number are moved to the nearest that has one.
func join(sec uint64, nsec uint32) remote.Time {
	s, n := int64(sec), min(int64(nsec), second-1)
	switch {
	case s > math.MaxInt64/second, s == math.MaxInt64/second && n > math.MaxInt64%second:
		return math.MaxInt64
	case s < math.MinInt64/second-1, s == math.MinInt64/second-1 && n < second+math.MinInt64%second:
		return math.MinInt64
	case s < 0:
		// One second nearer to zero, so that the product has a number whenever the sum has.
		return remote.Time((s+1)*second + n - second)
	}
	return remote.Time(s*second + n)
}

func attr(s *volume.Stat, a *fuse.Attr) {
	a.Ino, a.Size, a.Blocks, a.Nlink, a.Rdev, a.Blksize = uint64(s.Ino), s.Size, s.Blocks, s.Nlink, s.Rdev, blockSize
	a.Mode = formatOf(s.Type) | uint32(s.Mode)
	a.Uid, a.Gid = s.UID, s.GID
	a.Atime, a.Atimensec = split(s.Atime)
	a.Mtime, a.Mtimensec = split(s.Mtime)
	a.Ctime, a.Ctimensec = split(s.Ctime)
}

func sxTime(t remote.Time) (x fuse.SxTime) {
	x.Sec, x.Nsec = split(t)
	return x
}

func statx(s *volume.Stat, x *fuse.Statx) {
	x.Mask = unix.STATX_BASIC_STATS | unix.STATX_BTIME
	x.Ino, x.Size, x.Blocks, x.Nlink, x.Blksize = uint64(s.Ino), s.Size, s.Blocks, s.Nlink, blockSize
	x.Mode = uint16(formatOf(s.Type)) | s.Mode
	x.Uid, x.Gid = s.UID, s.GID
	x.Atime, x.Mtime, x.Ctime, x.Btime = sxTime(s.Atime), sxTime(s.Mtime), sxTime(s.Ctime), sxTime(s.Btime)
	x.RdevMajor, x.RdevMinor = unix.Major(uint64(s.Rdev)), unix.Minor(uint64(s.Rdev))
}

// entry fills a reply that shows an inode under a name, and notes the reference it gives. The volume's pin goes with it.
func (c *conn) entry(s *volume.Stat, out *fuse.EntryOut) {
	if n := c.known.add(s.Ino); n > knownMost && n%(16*pruneStep) == 0 {
		c.inval.nudge()
	}
	out.NodeId, out.Generation = uint64(s.Ino), generation
	out.SetEntryTimeout(c.ttl(entryTTL))
	out.SetAttrTimeout(c.ttl(attrTTL))
	attr(s, &out.Attr)
}

func (c *conn) attrOut(s *volume.Stat, out *fuse.AttrOut) {
	out.SetTimeout(c.ttl(attrTTL))
	attr(s, &out.Attr)
}

// ttl is d, or less while the kernel can't be told of changes one by one.
func (c *conn) ttl(d time.Duration) time.Duration {
	if until := c.short.Load(); until != 0 && time.Now().UnixNano() < until {
		return min(d, shortTTL)
	}
	return d
}
