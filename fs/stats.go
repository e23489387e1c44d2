package fs

import (
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync/atomic"

	"github.com/hanwen/go-fuse/v2/fuse"

	"megafs/remote"
)

// op is a kind of request.
type op uint8

const (
	opLookup op = iota
	opForget
	opGetattr
	opSetattr
	opReadlink
	opSymlink
	opMknod
	opMkdir
	opUnlink
	opRmdir
	opRename
	opLink
	opOpen
	opRead
	opWrite
	opStatfs
	opRelease
	opFsync
	opSetxattr
	opGetxattr
	opListxattr
	opRemovexattr
	opFlush
	opOpendir
	opReaddir
	opReaddirplus
	opReleasedir
	opFsyncdir
	opCreate
	opTmpfile
	opIoctl
	opFallocate
	opLseek
	opCopyRange
	opStatx
	opCount
)

var opNames = [opCount]string{
	"lookup", "forget", "getattr", "setattr", "readlink", "symlink", "mknod", "mkdir", "unlink", "rmdir", "rename", "link",
	"open", "read", "write", "statfs", "release", "fsync", "setxattr", "getxattr", "listxattr", "removexattr", "flush",
	"opendir", "readdir", "readdirplus", "releasedir", "fsyncdir", "create", "tmpfile", "ioctl", "fallocate", "lseek",
	"copy_file_range", "statx",
}

// Stats says what a mount did so far.
type Stats struct {
	Requests      map[string]uint64 `json:"requests"` // by kind; only those that came
	Errors        map[string]uint64 `json:"errors"`   // replies that were errors, by reason
	InFlight      int64             `json:"in_flight"`
	Panics        uint64            `json:"panics"`          // requests that a fault of megafs ended with EIO
	Inodes        int               `json:"known_inodes"`    // that the kernel refers to
	Handles       int               `json:"open_handles"`    // of files and directories
	Invalidations uint64            `json:"invalidations"`   // notifications sent
	Overflows     uint64            `json:"overflows"`       // times that everything had to be invalidated
	Pruned        uint64            `json:"pruned_inodes"`   // that the kernel was asked to let go of
	Interrupted   uint64            `json:"interrupted"`     // waits that gave in to a signal
	Ignored       uint64            `json:"ignored_signals"` // signals that asked for nothing
}

// meter counts.
type meter struct {
	requests    [opCount]atomic.Uint64
	failed      [len(errnos)]atomic.Uint64
	complained  [len(errnos)]atomic.Int64
	inFlight    atomic.Int64
	panics      atomic.Uint64
	interrupted atomic.Uint64
	ignored     atomic.Uint64
}

func (m *meter) enter(o op) *meter {
	m.requests[o].Add(1)
	m.inFlight.Add(1)
	return m
}

func (m *meter) leave() { m.inFlight.Add(-1) }

// Stats returns the counters.
func (s *Server) Stats() Stats {
	c := s.c
	st := Stats{
		Requests: map[string]uint64{}, Errors: map[string]uint64{},
		InFlight: c.inFlight.Load(), Panics: c.panics.Load(), Inodes: c.known.len(), Handles: c.files.len() + c.dirs.len(),
		Invalidations: c.inval.sent.Load(), Overflows: c.inval.overflows.Load(), Pruned: c.inval.pruned.Load(),
		Interrupted: c.interrupted.Load(), Ignored: c.ignored.Load(),
	}
	for o := range c.requests {
		if n := c.requests[o].Load(); n > 0 {
			st.Requests[opNames[o]] = n
		}
	}
	for k := range c.failed {
		if n := c.failed[k].Load(); n > 0 {
			st.Errors[remote.Kind(k).String()] = n
		}
	}
	return st
}

// panicked turns a panic into EIO. The report has function names and lines but no arguments: those may be names or contents.
func (c *conn) panicked(v any) fuse.Status {
	c.panics.Add(1)
	what := fmt.Sprintf("a value of type %T", v)
	var re runtime.Error
	if err, ok := v.(error); ok && errors.As(err, &re) {
		what = re.Error()
	}
	var pcs [48]uintptr
	frames := runtime.CallersFrames(pcs[:runtime.Callers(2, pcs[:])])
	var b strings.Builder
	for {
		f, more := frames.Next()
		fmt.Fprintf(&b, "%s:%d\n", f.Function, f.Line)
		if !more {
			break
		}
	}
	c.log.Error("a request ended in a panic, which is a fault of megafs; please report it", "panic", what, "stack", b.String())
	return fuse.EIO
}
