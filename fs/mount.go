package fs

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"megafs/fs/volume"
	"megafs/remote"
)

// subtype is the mount's type after "fuse.". The official MEGA tool claims mounts whose type holds the word megafs.
const subtype = "mega"

// Options of a mount.
type Options struct {
	Volume      Volume
	MountPoint  string
	FsName      string // shown by df and mount; a profile's name, nothing secret. Default "mega"
	AllowOther  bool   // other users may use the mount, as far as modes let them
	ReadOnly    bool
	Debug       bool          // log every request; names appear in the log
	Extra       []string      // as mount -o has them
	ReadTimeout time.Duration // how long a request to read may wait for the store; default 30 s: the kernel makes a second one of a read whose read-ahead failed; negative: for ever
	Log         *slog.Logger

	grace time.Duration // see wait; for tests
}

// Server is a mount. Its methods may be called from many goroutines.
type Server struct {
	c    *conn
	dir  string
	dev  uint64
	log  *slog.Logger
	done chan struct{}
}

// Mount mounts the volume and returns when the mount answers. Errors say what to do; their kinds are NotExist, NotDir, NotEmpty and
// Busy for the mount point, Permission, NotSupported without FUSE, and Invalid for options.
func Mount(o Options) (*Server, error) {
	if o.Log == nil {
		o.Log = slog.Default()
	}
	if o.ReadTimeout == 0 {
		o.ReadTimeout = 30 * time.Second
	}
	if o.grace == 0 {
		o.grace = grace
	}
	if o.FsName == "" {
		o.FsName = "mega"
	}
	how, err := o.parse()
	if err != nil {
		return nil, err
	}
	dir, err := mountPoint(o.MountPoint, how)
	if err != nil {
		return nil, err
	}
	fd, err := attach(dir, how)
	if err != nil {
		return nil, err
	}
	s, err := serve(o, how, dir, fd)
	if err != nil {
		detach(dir, true)
		return nil, remote.E("mount", dir, remote.Other, err)
	}
	s.readAhead()
	return s, nil
}

// serve starts to answer what comes over fd, which it takes.
func serve(o Options, how *attachment, dir string, fd int) (*Server, error) {
	c := newConn(o.Volume, o.ReadTimeout, o.grace, o.Log)
	// Of the kernel's connection package fuse does not pass on one notification, so it is sent beside it.
	raw, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		unix.Close(fd)
		return nil, err
	}
	device := os.NewFile(uintptr(raw), "/dev/fuse")
	f, err := fuse.NewServer(c, fmt.Sprintf("/dev/fd/%d", fd), &fuse.MountOptions{
		FsName:                   o.FsName,
		Name:                     subtype,
		AllowOther:               how.allowOther,
		Debug:                    o.Debug,
		Logger:                   slog.NewLogLogger(o.Log.Handler(), slog.LevelWarn),
		MaxWrite:                 maxWrite,
		MaxBackground:            64,
		MaxInflightRequestBytes:  96 << 20,
		DisableSplice:            true,
		ExplicitDataCacheControl: true,
		EnableSymlinkCaching:     true,
		EnableAcl:                true,
		PanicHandler:             c.panicked,
		ExtraCapabilities: fuse.CAP_HANDLE_KILLPRIV_V2 | fuse.CAP_ATOMIC_O_TRUNC | fuse.CAP_READDIRPLUS_AUTO |
			fuse.CAP_DONT_MASK | fuse.CAP_SETXATTR_EXT | fuse.CAP_EXPORT_SUPPORT,
		// With CAP_ASYNC_DIO the kernel does not drop pages again that somebody read while an asynchronous direct write was under way: reads
		// would show for ever what was there before.
		DisabledCapabilities: fuse.CAP_PASSTHROUGH | fuse.CAP_WRITEBACK_CACHE | fuse.CAP_ASYNC_DIO,
	})
	if err != nil {
		device.Close()
		return nil, err
	}
	s := &Server{c: c, dir: dir, log: o.Log, done: make(chan struct{})}
	c.inval.start(connection{f, device})
	go func() {
		f.Serve()
		device.Close()
		c.inval.close()
		close(s.done)
	}()
	if err := s.answers(); err != nil {
		return nil, err
	}
	return s, nil
}

// answers waits for the mount's first answer. It polls a file of package fuse's, upon which the kernel learns that this
// file system has no poll: else the runtime's own polling of files in the mount could use up the threads that answer it.
func (s *Server) answers() error {
	fd, err := unix.Open(filepath.Join(s.dir, ".go-fuse-epoll-hack"), unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN | unix.POLLPRI | unix.POLLOUT}}, 0)
	var st unix.Stat_t
	if err := unix.Fstatat(unix.AT_FDCWD, s.dir, &st, 0); err != nil {
		return err
	}
	s.dev = st.Dev
	return nil
}

// readAhead lets the kernel read ahead in requests of the largest size. It is a setting of root's; without, requests stay at 128 KiB.
func (s *Server) readAhead() {
	path := fmt.Sprintf("/sys/class/bdi/%d:%d/read_ahead_kb", unix.Major(s.dev), unix.Minor(s.dev))
	if err := os.WriteFile(path, []byte("4096"), 0); err != nil {
		s.log.Debug("the kernel's read-ahead stays small", "reason", err)
	}
}

// Changed tells the kernel what others changed. It never waits.
func (s *Server) Changed(changes []volume.Change) { s.c.inval.add(changes) }

// Wait returns when the mount is gone, whoever unmounted it, and nothing of it runs any more.
func (s *Server) Wait() { <-s.done }

// Unmount unmounts, and returns when nothing of the mount runs any more. It fails with Busy while somebody uses the mount.
// After the mount is gone it does nothing.
func (s *Server) Unmount() error {
	// Files that were just closed, and programs that just look at every new mount, are gone in a moment.
	for pause := 5 * time.Millisecond; ; pause *= 2 {
		err := s.unmount(false)
		if err == nil {
			s.Wait()
			return nil
		}
		if !remote.Is(err, remote.Busy) || pause > 100*time.Millisecond {
			return err
		}
		select {
		case <-s.done:
			return nil
		case <-time.After(pause):
		}
	}
}

// Lazy takes the mount out of sight at once. It ends, and Wait returns, when its last user is gone.
func (s *Server) Lazy() error { return s.unmount(true) }

func (s *Server) unmount(lazy bool) error {
	select {
	case <-s.done:
		return nil
	default:
	}
	// Something else may be mounted there by now, on top or instead.
	var st unix.Stat_t
	if err := unix.Lstat(s.dir, &st); err == nil && st.Dev != s.dev {
		return remote.E("unmount", s.dir, remote.Busy, errors.New("something else is mounted there; unmount that first"))
	}
	err := detach(s.dir, lazy)
	if err == nil {
		s.c.going.Store(true)
	}
	return err
}

// connection is package fuse's server with one notification more.
type connection struct {
	*fuse.Server
	device *os.File
}

// Epoch implements notifier: FUSE_NOTIFY_INC_EPOCH of Linux 6.16, a header without anything behind it.
func (n connection) Epoch() error {
	const size, code = 16, 8
	var b [size]byte
	b[0], b[4] = size, code
	raw, err := n.device.SyscallConn()
	if err != nil {
		return err
	}
	var werr error
	if err := raw.Control(func(fd uintptr) {
		_, werr = syscall.Write(int(fd), b[:])
	}); err != nil {
		return err
	}
	return werr
}
