package control

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Folders are where sockets are looked for, the best first: $XDG_RUNTIME_DIR/megafs, the system's folder for the user's
// running programs, and last a folder in /tmp, which cannot be ours unless we made it.
func Folders() []string {
	uid := os.Geteuid()
	var list []string
	if dir := os.Getenv("XDG_RUNTIME_DIR"); filepath.IsAbs(dir) {
		list = append(list, filepath.Join(dir, "megafs"))
	}
	if uid == 0 {
		list = append(list, "/run/megafs")
	} else {
		list = append(list, fmt.Sprintf("/run/user/%d/megafs", uid))
	}
	return append(list, fmt.Sprintf("/tmp/megafs-%d", uid))
}

// folder is an open, checked folder of sockets.
type folder struct{ f *os.File }

// openFolder opens a folder and refuses one that others could put sockets into.
func openFolder(path string, create bool) (*folder, error) {
	if create {
		if err := os.Mkdir(path, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
			return nil, err
		}
	}
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	f := os.NewFile(uintptr(fd), path)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		f.Close()
		return nil, &fs.PathError{Op: "stat", Path: path, Err: err}
	}
	if int(st.Uid) != os.Geteuid() || st.Mode&0o077 != 0 {
		f.Close()
		return nil, fmt.Errorf("%s is not a private folder of this user: it should belong to user %d and have mode 0700", path, os.Geteuid())
	}
	return &folder{f}, nil
}

// path leads to a name in the folder as it was opened, whatever happened to its path since; and it is short, for
// the address of a socket has 107 bytes at most.
func (d *folder) path(name string) string {
	return filepath.Join("/proc/self/fd", strconv.Itoa(int(d.f.Fd())), name)
}

func (d *folder) close() { d.f.Close() }

const suffix = ".sock"

// sockets lists the names of what may be sockets of ours.
func (d *folder) sockets() []string {
	names, err := d.f.Readdirnames(-1)
	if err != nil {
		return nil
	}
	var out []string
	for _, n := range names {
		if strings.HasSuffix(n, suffix) {
			out = append(out, n)
		}
	}
	return out
}

// dial connects to a socket. One that nobody listens on is a rest of a crash and is removed.
func (d *folder) dial(name string) (*net.UnixConn, error) {
	c, err := net.DialTimeout("unix", d.path(name), timeout)
	if err != nil {
		if errors.Is(err, unix.ECONNREFUSED) {
			os.Remove(d.path(name))
		}
		return nil, err
	}
	u := c.(*net.UnixConn)
	if _, err := peer(u); err != nil {
		u.Close()
		return nil, err
	}
	return u, nil
}

// peer returns the process at the other end, if it is ours or root's.
func peer(c *net.UnixConn) (*unix.Ucred, error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return nil, err
	}
	var cred *unix.Ucred
	var cerr error
	if err := raw.Control(func(fd uintptr) {
		cred, cerr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	}); err != nil {
		return nil, err
	}
	if cerr != nil {
		return nil, cerr
	}
	if cred.Uid != 0 && int(cred.Uid) != os.Geteuid() {
		return nil, fmt.Errorf("process %d is of another user", cred.Pid)
	}
	return cred, nil
}

// timeout is what a request has to arrive and a response to be taken.
const timeout = 5 * time.Second
