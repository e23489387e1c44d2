package fs

import (
	"context"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"

	"megafs/fs/volume"
	"megafs/remote"
)

// conn answers the requests of one mount. What it does not have a method for is ENOSYS, which the kernel asks once.
type conn struct {
	fuse.RawFileSystem
	meter
	vol         Volume
	log         *slog.Logger
	readTimeout time.Duration
	grace       time.Duration

	known    known
	files    table[Handle]
	dirs     table[*dir]
	cuts     cuts
	inval    *invalidator
	short    atomic.Int64 // until when, in Unix nanoseconds, TTLs are short; 0 is never
	going    atomic.Bool  // being unmounted: whoever is interrupted gives in at once
	extXattr bool         // requests to set an xattr have flags of FUSE's
}

var _ fuse.RawFileSystem = (*conn)(nil)

func newConn(v Volume, readTimeout, grace time.Duration, log *slog.Logger) *conn {
	c := &conn{RawFileSystem: fuse.NewDefaultRawFileSystem(), vol: v, log: log, readTimeout: readTimeout, grace: grace}
	c.known.init()
	c.inval = newInvalidator(c)
	return c
}

// Init is called before the first request.
func (c *conn) Init(s *fuse.Server) {
	c.extXattr = s.KernelSettings().Flags64()&fuse.CAP_SETXATTR_EXT != 0
}

// String is the mount's default subtype.
func (c *conn) String() string { return subtype }

// OnUnmount gives back what the kernel does not: after an unmount no FORGET comes, and after a lost connection no RELEASE.
func (c *conn) OnUnmount() {
	c.files.takeAll(func(h Handle) { h.Close() })
	c.dirs.takeAll(func(*dir) {})
	c.known.takeAll(c.vol.Forget)
}

// forget gives back a pin of the volume that no reply was made of.
func (c *conn) forget(ino remote.Ino) { c.vol.Forget(ino, 1) }

func caller(h *fuse.InHeader, umask uint32) volume.Caller {
	return volume.Caller{UID: h.Uid, GID: h.Gid, PID: h.Pid, Umask: uint16(umask & 0o777)}
}

// background is the context of requests that answer from local state or change something: nothing ends them early.
var background = context.Background()
