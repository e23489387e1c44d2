package main

import (
	"errors"
	"fmt"
	"hash/crc32"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// errNothing stands for a slot without a descriptor.
var errNothing = errors.New("nothing open")

// call makes an operation's system calls.
func (s *side) call(o op) (any, error) {
	dir, a := s.at(o.A)
	dir2, b := s.at(o.B)
	fd, fd2 := s.fds[o.FD], s.fds[o.FD2]
	opened := func(fd int, err error) (any, error) {
		s.drop(o.FD)
		if err == nil {
			s.fds[o.FD] = fd
		}
		return nil, err
	}
	switch o.Do {
	case "open":
		return opened(unix.Openat(dir, a, o.Flag|unix.O_NONBLOCK|unix.O_CLOEXEC, o.Mode&0o7777))
	case "opendir":
		return opened(unix.Openat(dir, a, unix.O_DIRECTORY|unix.O_CLOEXEC, 0))
	case "tmpfile":
		return opened(unix.Openat(dir, a, unix.O_TMPFILE|unix.O_RDWR|unix.O_CLOEXEC|o.Flag, o.Mode&0o777))
	case "truncate":
		return nil, unix.Truncate(s.proc(o.A), o.Off)
	case "rename":
		return nil, unix.Renameat2(dir, a, dir2, b, uint(o.Flag))
	case "link":
		return nil, unix.Linkat(dir, a, dir2, b, o.Flag&1*unix.AT_SYMLINK_FOLLOW)
	case "symlink":
		return nil, unix.Symlinkat(string(o.A), dir2, b)
	case "unlink":
		return nil, unix.Unlinkat(dir, a, 0)
	case "rmdir":
		return nil, unix.Unlinkat(dir, a, unix.AT_REMOVEDIR)
	case "mkdir":
		return nil, unix.Mkdirat(dir, a, o.Mode)
	case "mknod":
		return nil, unix.Mknodat(dir, a, []uint32{unix.S_IFIFO, unix.S_IFIFO, unix.S_IFSOCK, unix.S_IFREG, unix.S_IFCHR}[o.Flag%5]|o.Mode, 0)
	case "chmod":
		return nil, unix.Fchmodat(dir, a, o.Mode, 0)
	case "chown":
		return nil, unix.Fchownat(dir, a, int(o.Off), int(o.Off2), unix.AT_SYMLINK_NOFOLLOW)
	case "utimes":
		flags := o.Flag >> 5 * unix.AT_SYMLINK_NOFOLLOW
		if err := unix.UtimesNanoAt(dir, a, times(o), flags); err != nil {
			return nil, err
		}
		var st unix.Stat_t
		var err error
		as(0, 0, func() { err = unix.Fstatat(dir, a, &st, flags) })
		return timesSet(o, &st), err
	case "setxattr":
		return nil, unix.Lsetxattr(s.proc(o.A), string(o.B), fill(o.N, o.Fill), o.Flag%3)
	case "setacl":
		list, value := randomACL(o.Fill)
		return nil, unix.Setxattr(s.proc(o.A), list, value, 0)
	case "removeacl":
		list, _ := randomACL(o.Fill)
		return nil, unix.Removexattr(s.proc(o.A), list)
	case "removexattr":
		return nil, unix.Lremovexattr(s.proc(o.A), string(o.B))
	case "xattrs":
		return xattrs(s.proc(o.A), false)
	case "list":
		fd, err := unix.Openat(dir, a, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		if err != nil {
			return nil, err
		}
		defer unix.Close(fd)
		list, err := entries(fd, 200+o.N, true)
		slices.Sort(list)
		return list, err
	case "change":
		return s.change(o)
	case "stat":
		var st unix.Stat_t
		err := unix.Fstatat(dir, a, &st, o.Flag&1*unix.AT_SYMLINK_NOFOLLOW)
		return describe(&st), err
	case "readlink":
		buf := make([]byte, 5000)
		n, err := unix.Readlinkat(dir, a, buf)
		return fmt.Sprintf("%q", buf[:max(0, n)]), err
	case "access":
		return nil, unix.Faccessat(dir, a, o.Mode&7, unix.AT_EACCESS)
	}
	if fd < 0 && !(s.kept[o.FD].mem != nil && strings.HasPrefix(o.Do, "map") && o.Do != "mapkeep" && o.Flag&1 == 0) {
		return nil, errNothing
	}
	switch o.Do {
	case "close":
		return nil, s.drop(o.FD)
	case "setfl":
		_, err := unix.FcntlInt(uintptr(fd), unix.F_SETFL, o.Flag&1*unix.O_APPEND|unix.O_NONBLOCK)
		return nil, err
	case "pwrite":
		return unix.Pwrite(fd, fill(o.N, o.Fill), o.Off)
	case "write":
		return unix.Write(fd, fill(o.N, o.Fill))
	case "writev":
		data := fill(o.N, o.Fill)
		return unix.Writev(fd, [][]byte{data[:o.N/3], data[o.N/3 : o.N/2], nil, data[o.N/2:]})
	case "pread", "read":
		buf := make([]byte, o.N)
		read := func() (int, error) { return unix.Read(fd, buf) }
		if o.Do == "pread" {
			read = func() (int, error) { return unix.Pread(fd, buf, o.Off) }
		}
		n, err := read()
		return sum(buf[:max(0, n)]), err
	case "lseek":
		if isDir(fd) {
			return nil, nil // places in directories are each file system's own
		}
		return unix.Seek(fd, o.Off-int64(o.N), o.Flag%3)
	case "seekdata":
		return s.seek(o, unix.SEEK_DATA)
	case "seekhole":
		return s.seek(o, unix.SEEK_HOLE)
	case "ftruncate":
		return nil, unix.Ftruncate(fd, o.Off)
	case "fallocate":
		return nil, unix.Fallocate(fd, uint32(o.Flag), o.Off, int64(o.N))
	case "copy":
		if fd2 < 0 {
			return nil, errNothing
		}
		from, to, all := o.Off, o.Off2, 0
		for all < o.N {
			n, err := unix.CopyFileRange(fd, &from, fd2, &to, o.N-all, 0)
			if err != nil || n == 0 {
				return all, err
			}
			all += n
		}
		return all, nil
	case "sendfile":
		if fd2 < 0 || !isFile(fd2) || !isFile(fd) {
			return nil, errNothing
		}
		from := o.Off
		return unix.Sendfile(fd2, fd, &from, o.N)
	case "mapwrite":
		data := fill(20001, o.Fill)
		again, err := -1, error(nil)
		as(0, 0, func() { again, err = s.again(o.FD) })
		if err == nil {
			defer unix.Close(again)
		}
		var other error
		kept := s.kept[o.FD].mem != nil && o.Flag&1 == 0
		v, err := s.mapped(o, true, func(page []byte, off int64) {
			n := copy(page, data)
			data = data[n:]
			if back := make([]byte, n); again >= 0 && !kept {
				if m, err := unix.Pread(again, back, off); err != nil || string(back[:m]) != string(page) {
					other = fmt.Errorf("at %d read(2) gives %s, memory %s, %v", off, sum(back[:max(0, m)]), sum(page), err)
				}
			}
		})
		return v, errors.Join(err, other)
	case "mapread", "mapkeep":
		var all []byte
		v, err := s.mapped(o, false, func(page []byte, _ int64) { all = append(all, page...) })
		return fmt.Sprint(v, " ", sum(all)), err
	case "fsync":
		return nil, unix.Fsync(fd)
	case "fdatasync":
		return nil, unix.Fdatasync(fd)
	case "forget": // pages
		if isFile(fd) {
			return nil, unix.Fadvise(fd, 0, 0, unix.FADV_DONTNEED)
		}
		return nil, nil
	case "linkfd":
		return nil, unix.Linkat(unix.AT_FDCWD, procFD(fd), dir2, b, unix.AT_SYMLINK_FOLLOW)
	case "fchmod":
		return nil, unix.Fchmod(fd, o.Mode)
	case "fchown":
		return nil, unix.Fchown(fd, int(o.Off), int(o.Off2))
	case "futimes":
		if err := unix.UtimesNanoAt(unix.AT_FDCWD, procFD(fd), times(o), 0); err != nil {
			return nil, err
		}
		var st unix.Stat_t
		err := unix.Fstat(fd, &st)
		return timesSet(o, &st), err
	case "fsetxattr":
		return nil, unix.Fsetxattr(fd, string(o.B), fill(o.N, o.Fill), o.Flag%3)
	case "fstat":
		var st unix.Stat_t
		err := unix.Fstat(fd, &st)
		return describe(&st), err
	}
	return nil, fmt.Errorf("what is %q?", o.Do)
}

func format(fd int) uint32 {
	var st unix.Stat_t
	unix.Fstat(fd, &st)
	return st.Mode & unix.S_IFMT
}

func isDir(fd int) bool  { return format(fd) == unix.S_IFDIR }
func isFile(fd int) bool { return format(fd) == unix.S_IFREG }

// xattrs are a file's extended attributes, sorted, with their values.
func xattrs(path string, follow bool) (list []string, err error) {
	listxattr, getxattr := unix.Llistxattr, unix.Lgetxattr
	if follow {
		listxattr, getxattr = unix.Listxattr, unix.Getxattr
	}
	buf := make([]byte, 64<<10)
	n, err := listxattr(path, buf)
	if err != nil || n <= 0 {
		return nil, err
	}
	for _, x := range strings.Split(strings.TrimSuffix(string(buf[:n]), "\x00"), "\x00") {
		value := make([]byte, 8<<10)
		n, err := getxattr(path, x, value)
		list = append(list, fmt.Sprintf("%q=%x %v", x, value[:max(0, n)], err))
	}
	slices.Sort(list)
	return list, nil
}

// times are utimensat(2)'s: each of the two is given, now, or left alone.
func times(o op) (ts []unix.Timespec) {
	for _, how := range []int{o.Flag % 3, o.Flag / 3 % 3} {
		ts = append(ts, [...]unix.Timespec{{Sec: o.Off, Nsec: o.Off2}, {Nsec: unix.UTIME_NOW}, {Nsec: unix.UTIME_OMIT}}[how])
	}
	return ts
}

// timesSet shows the times that were given.
func timesSet(o op, st *unix.Stat_t) (out string) {
	if o.Flag%3 == 0 {
		out += " atime " + time.Unix(st.Atim.Unix()).UTC().String()
	}
	if o.Flag/3%3 == 0 {
		out += " mtime " + time.Unix(st.Mtim.Unix()).UTC().String()
	}
	return out
}

func sum(b []byte) string {
	return fmt.Sprintf("%d bytes %08x", len(b), crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)))
}
