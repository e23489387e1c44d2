package fs

import (
	"context"
	"errors"
	"log/slog"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"

	"megafs/remote"
)

// errnos is the one table from kinds to what programs see.
var errnos = [...]syscall.Errno{
	remote.Other:        syscall.EIO,
	remote.NotExist:     syscall.ENOENT,
	remote.Exist:        syscall.EEXIST,
	remote.NotDir:       syscall.ENOTDIR,
	remote.IsDir:        syscall.EISDIR,
	remote.NotEmpty:     syscall.ENOTEMPTY,
	remote.Invalid:      syscall.EINVAL,
	remote.NameTooLong:  syscall.ENAMETOOLONG,
	remote.TooLarge:     syscall.E2BIG,
	remote.Permission:   syscall.EPERM,
	remote.ReadOnly:     syscall.EROFS,
	remote.NoSpace:      syscall.ENOSPC,
	remote.Quota:        syscall.EDQUOT,
	remote.NoAttr:       syscall.ENODATA,
	remote.NotSupported: syscall.EOPNOTSUPP,
	remote.Integrity:    syscall.EIO,
	remote.Unreachable:  syscall.EIO,
	remote.Timeout:      syscall.ETIMEDOUT,
	remote.Busy:         syscall.EBUSY,
	remote.Locked:       syscall.EACCES,
	remote.Conflict:     syscall.ESTALE,
	remote.Stale:        syscall.ESTALE,
	remote.Canceled:     syscall.EINTR,
	remote.IO:           syscall.EIO,
	remote.TooManyLinks: syscall.EMLINK,
	remote.FileTooBig:   syscall.EFBIG,
	remote.OutOfRange:   syscall.ERANGE,
	remote.NoData:       syscall.ENXIO,
}

// Statuses that package fuse has no names for.
const (
	stale        = fuse.Status(syscall.ESTALE)
	exist        = fuse.Status(syscall.EEXIST)
	notTTY       = fuse.Status(syscall.ENOTTY)
	notSupported = fuse.Status(syscall.EOPNOTSUPP)
)

// kindOf is the kind of an error, also of one that only a context gave.
func kindOf(err error) remote.Kind {
	k := remote.KindOf(err)
	switch {
	case k != remote.Other:
	case errors.Is(err, context.DeadlineExceeded):
		k = remote.Timeout
	case errors.Is(err, context.Canceled):
		k = remote.Canceled
	}
	if int(k) >= len(errnos) {
		k = remote.Other
	}
	return k
}

// status counts an error and turns it into the kernel's number; nil is OK.
func (c *conn) status(err error) fuse.Status {
	if err == nil {
		return fuse.OK
	}
	k := kindOf(err)
	c.failed[k].Add(1)
	switch k {
	case remote.Other, remote.Integrity, remote.IO, remote.Unreachable, remote.Timeout:
		c.complain(k, err)
	}
	return fuse.Status(errnos[k])
}

// change is status for requests that may have happened in spite of an error: they never answer EINTR, upon which
// programs try again.
func (c *conn) change(err error) fuse.Status {
	s := c.status(err)
	if s == fuse.EINTR {
		s = fuse.EIO
	}
	return s
}

// complain logs what a program sees only as a number, at most once a second for each kind.
func (c *conn) complain(k remote.Kind, err error) {
	now := time.Now().UnixNano()
	last := c.complained[k].Load()
	if last != 0 && now-last < int64(time.Second) || !c.complained[k].CompareAndSwap(last, now) {
		return
	}
	level := slog.LevelWarn
	if k == remote.Integrity || k == remote.IO || k == remote.Other {
		level = slog.LevelError
	}
	c.log.Log(context.Background(), level, "a request failed", "reason", err, "kind", k.String(), "failures", c.failed[k].Load())
}
