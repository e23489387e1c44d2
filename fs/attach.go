package fs

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"megafs/remote"
)

// maxWrite is the most bytes of one request to read or write. The kernel takes no more unless root raised its limit.
const maxWrite = 1 << 20

func refuse(dir string, k remote.Kind, format string, a ...any) error {
	return remote.E("mount", dir, k, fmt.Errorf(format, a...))
}

// mountPoint checks that something may be mounted on a directory, and returns its absolute path.
func mountPoint(path string, how *attachment) (string, error) {
	dir, err := filepath.Abs(path)
	if err != nil || path == "" {
		return "", refuse(path, remote.Invalid, "give the directory to mount on")
	}
	fi, err := os.Lstat(dir)
	switch {
	case errors.Is(err, syscall.ENOTCONN), errors.Is(err, syscall.EIO), errors.Is(err, syscall.ECONNABORTED):
		return "", refuse(dir, remote.Busy, "a mount whose program died is still there; remove it with: fusermount3 -u -z %q", dir)
	case errors.Is(err, fs.ErrNotExist):
		return "", refuse(dir, remote.NotExist, "create it with: mkdir -p %q", dir)
	case errors.Is(err, fs.ErrPermission):
		return "", refuse(dir, remote.Permission, "you may not look at it; choose a directory of your own")
	case err != nil:
		return "", refuse(dir, remote.Other, "%w", err)
	case fi.Mode()&fs.ModeSymlink != 0:
		return "", refuse(dir, remote.NotDir, "it is a symbolic link; give the directory that it leads to")
	case !fi.IsDir():
		return "", refuse(dir, remote.NotDir, "give an empty directory")
	}
	if typ := mountedType(dir); strings.HasPrefix(typ, "fuse") {
		return "", refuse(dir, remote.Busy, "a file system of type %s is mounted there already; unmount it with: fusermount3 -u %q", typ, dir)
	}
	st, ok := fi.Sys().(*syscall.Stat_t)
	if ok && int(st.Uid) != os.Geteuid() && !how.allowOther {
		return "", refuse(dir, remote.Permission, "it belongs to user %d, who could not use the mount; allow other users (-o allow_other), or choose a directory of your own", st.Uid)
	}
	if !how.nonempty {
		f, err := os.Open(dir)
		if err != nil {
			return "", refuse(dir, remote.Permission, "it can't be read: %w", err)
		}
		defer f.Close()
		if names, _ := f.Readdirnames(1); len(names) > 0 {
			return "", refuse(dir, remote.NotEmpty, "the mount would hide what is in it; empty it, choose another, or give -o nonempty")
		}
	}
	return dir, nil
}

// mountedType returns the type of the file system mounted on a directory, or "".
func mountedType(dir string) (typ string) {
	info, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return ""
	}
	// Parents may be links; the kernel lists the real path.
	if real, err := filepath.EvalSymlinks(dir); err == nil {
		dir = real
	}
	escape := strings.NewReplacer("\\", `\134`, " ", `\040`, "\t", `\011`, "\n", `\012`)
	for line := range strings.SplitSeq(string(info), "\n") {
		before, after, ok := strings.Cut(line, " - ")
		fields := strings.Fields(before)
		if ok && len(fields) > 4 && fields[4] == escape.Replace(dir) {
			typ, _, _ = strings.Cut(after, " ") // the last one is on top
		}
	}
	return typ
}

// attach mounts on dir, by itself where it is allowed to and through fusermount3 where not, and returns the connection to the kernel.
func attach(dir string, how *attachment) (fd int, err error) {
	fd, err = unix.Open("/dev/fuse", unix.O_RDWR|unix.O_CLOEXEC, 0)
	switch {
	case errors.Is(err, unix.ENOENT), errors.Is(err, unix.ENXIO), errors.Is(err, unix.ENODEV):
		return -1, refuse(dir, remote.NotSupported, "there is no /dev/fuse: load the kernel's module with: modprobe fuse; start a container with: --device /dev/fuse")
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.EACCES):
		// The helper may open it.
	case err != nil:
		return -1, refuse(dir, remote.Other, "open /dev/fuse: %w", err)
	default:
		data := fmt.Sprintf("fd=%d,rootmode=40000,user_id=%d,group_id=%d,%s", fd, os.Geteuid(), os.Getegid(), strings.Join(how.data(), ","))
		err = unix.Mount(how.fsName, dir, "fuse."+subtype, how.flags, data)
		if err == nil {
			return fd, nil
		}
		unix.Close(fd)
		switch {
		case errors.Is(err, unix.EPERM), errors.Is(err, unix.EACCES):
		case errors.Is(err, unix.EBUSY):
			return -1, refuse(dir, remote.Busy, "something is mounted there already")
		default:
			return -1, refuse(dir, remote.Other, "%w", err)
		}
	}
	return viaHelper(dir, how)
}

// helper returns the path of the program that may mount and unmount for ordinary users.
func helper(dir string) (string, error) {
	for _, name := range []string{"fusermount3", "/usr/bin/fusermount3", "/bin/fusermount3"} {
		if bin, err := exec.LookPath(name); err == nil {
			return bin, nil
		}
	}
	return "", refuse(dir, remote.NotSupported, "mounting as an ordinary user needs fusermount3; install the package fuse3, or mount as root")
}

// viaHelper lets fusermount3 mount. It passes the connection back over a socket.
func viaHelper(dir string, how *attachment) (int, error) {
	bin, err := helper(dir)
	if err != nil {
		return -1, err
	}
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, refuse(dir, remote.Other, "%w", err)
	}
	defer unix.Close(pair[0])
	theirs := os.NewFile(uintptr(pair[1]), "fusermount3")
	var out bytes.Buffer
	cmd := exec.Command(bin, "-o", strings.Join(how.helperOptions(), ","), "--", dir)
	cmd.Env = append(os.Environ(), "_FUSE_COMMFD=3", "LC_ALL=C")
	cmd.ExtraFiles = []*os.File{theirs}
	cmd.Stdout, cmd.Stderr = &out, &out
	err = cmd.Run()
	theirs.Close()
	if err != nil {
		text := said(bin, &out, err)
		if strings.Contains(text, "/dev/fuse") {
			text += "; root can let users mount with: chmod 666 /dev/fuse"
		}
		return -1, refuse(dir, remote.Permission, "%s", text)
	}
	fd, err := receive(pair[0])
	if err != nil {
		return -1, refuse(dir, remote.Other, "fusermount3 passed no connection: %w", err)
	}
	return fd, nil
}

// receive takes a file descriptor that comes over a socket.
func receive(sock int) (int, error) {
	var b [8]byte
	oob := make([]byte, unix.CmsgSpace(4))
	_, n, _, _, err := unix.Recvmsg(sock, b[:], oob, unix.MSG_CMSG_CLOEXEC)
	if err != nil {
		return -1, err
	}
	msgs, err := unix.ParseSocketControlMessage(oob[:n])
	if err != nil || len(msgs) != 1 {
		return -1, errors.Join(errors.New("no control message"), err)
	}
	fds, err := unix.ParseUnixRights(&msgs[0])
	if err != nil || len(fds) != 1 {
		return -1, errors.Join(errors.New("no file descriptor"), err)
	}
	return fds[0], nil
}

// detach unmounts dir; lazily, it goes out of sight now and ends with its last user.
func detach(dir string, lazy bool) error {
	flags := unix.UMOUNT_NOFOLLOW
	if lazy {
		flags |= unix.MNT_DETACH
	}
	err := unix.Unmount(dir, flags)
	if errors.Is(err, unix.EPERM) {
		err = detachViaHelper(dir, lazy)
	}
	switch {
	case err == nil, errors.Is(err, unix.EINVAL):
		return nil // unmounted, or not mounted
	case errors.Is(err, unix.EBUSY):
		return remote.E("unmount", dir, remote.Busy, fmt.Errorf("%s have files open in it or their working directory there; end them, or unmount lazily", holders(dir)))
	}
	return remote.E("unmount", dir, remote.Other, err)
}

func detachViaHelper(dir string, lazy bool) error {
	bin, err := helper(dir)
	if err != nil {
		return err
	}
	args := []string{"-u"}
	if lazy {
		args = append(args, "-z")
	}
	var out bytes.Buffer
	cmd := exec.Command(bin, append(args, "--", dir)...)
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	cmd.Stdout, cmd.Stderr = &out, &out
	err = cmd.Run()
	switch text := said(bin, &out, err); {
	case err == nil:
		return nil
	case strings.Contains(text, "busy"):
		return unix.EBUSY
	case strings.Contains(text, "Invalid argument"), strings.Contains(text, "not found in"):
		return unix.EINVAL
	default:
		return errors.New(text)
	}
}

// said is what the helper wrote, or how it ended.
func said(bin string, out *bytes.Buffer, err error) string {
	if s := strings.TrimSpace(out.String()); s != "" {
		return s
	}
	return fmt.Sprintf("%s: %v", bin, err)
}
