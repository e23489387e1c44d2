package main

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"runtime/debug"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

const stranger = 1234 // some user without rights

// side is one of two trees in which the same is done: on the mount, or on a disk.
type side struct {
	root int // of the tree
	fds  [slots]int
	kept [slots]mapping
}

// mapping is a part of a file in memory.
type mapping struct {
	mem []byte
	off int64
	fd  int // tells the file's size
}

func newSide(t *testing.T, root string) *side {
	t.Helper()
	s := &side{}
	var err error
	if s.root, err = unix.Open(root, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0); err != nil {
		t.Fatal(err)
	}
	for i := range s.fds {
		s.fds[i] = -1
	}
	return s
}

func (s *side) close() {
	for i := range s.fds {
		s.unmap(i)
		s.drop(i)
	}
	unix.Close(s.root)
}

func (s *side) drop(i int) (err error) {
	if s.fds[i] >= 0 {
		err = unix.Close(s.fds[i])
	}
	s.fds[i] = -1
	return err
}

func (s *side) unmap(i int) {
	if m := &s.kept[i]; m.mem != nil {
		unix.Munmap(m.mem)
		unix.Close(m.fd)
		m.mem = nil
	}
}

// at is where a name is looked up: in the tree, or in a directory that is open.
func (s *side) at(n name) (dir int, path string) {
	if rest, ok := strings.CutPrefix(string(n), "@"); ok && len(rest) > 1 && rest[1] == '/' && rest[0]-'0' < slots {
		if fd := s.fds[rest[0]-'0']; fd >= 0 {
			return fd, rest[2:]
		}
		return s.root, rest[2:]
	}
	return s.root, string(n)
}

// proc is a path for calls that take no directory.
func (s *side) proc(n name) string {
	dir, path := s.at(n)
	return fmt.Sprintf("/proc/self/fd/%d/%s", dir, path)
}

func procFD(fd int) string { return fmt.Sprintf("/proc/self/fd/%d", fd) }

// as does something as another user and with another umask. The caller's thread is its own, and shares neither.
func as(uid, umask int, do func()) {
	old := unix.Umask(umask)
	if uid != 0 {
		unix.RawSyscall(unix.SYS_SETFSGID, uintptr(uid), 0, 0)
		unix.RawSyscall(unix.SYS_SETFSUID, uintptr(uid), 0, 0)
	}
	do()
	if uid != 0 {
		unix.RawSyscall(unix.SYS_SETFSUID, 0, 0, 0)
		unix.RawSyscall(unix.SYS_SETFSGID, 0, 0, 0)
	}
	unix.Umask(old)
}

// uses says which of an operation's objects are looked at before and after it; the default is its descriptor.
var uses = map[string]string{
	"open": "a", "opendir": "a", "tmpfile": "a", "truncate": "a", "copy": "fg", "sendfile": "fg", "rename": "ab", "link": "ab", "linkfd": "fb", "symlink": "b",
	"unlink": "a", "rmdir": "a", "mkdir": "a", "mknod": "a", "chmod": "a", "chown": "a", "utimes": "a", "setxattr": "a", "xattrs": "a",
	"removexattr": "a", "setacl": "a", "removeacl": "a", "list": "a", "change": "a", "stat": "a", "readlink": "a", "access": "a", "close": "",
}

// probe is an inode that is looked at.
type probe struct {
	what   string
	fd     int
	before unix.Stat_t
	list   string // of extended attributes, if these are what is changed
}

func (s *side) probes(o op) (list []probe) {
	open := func(what string, dir int, path string, flags int) {
		fd, err := unix.Openat(dir, path, unix.O_PATH|unix.O_CLOEXEC|flags, 0)
		if err != nil {
			return
		}
		p := probe{what: what, fd: fd}
		if unix.Fstat(fd, &p.before) != nil {
			unix.Close(fd)
			return
		}
		if strings.HasSuffix(o.Do, "setxattr") || o.Do == "setacl" {
			p.list = p.xattrs()
		}
		list = append(list, p)
	}
	use, ok := uses[o.Do]
	if !ok {
		use = "f"
	}
	for _, u := range use {
		switch u {
		case 'a', 'b':
			n := o.A
			if u == 'b' {
				n = o.B
			}
			dir, path := s.at(n)
			open(string(u), dir, path, unix.O_NOFOLLOW)
			open(string(u)+" followed", dir, path, 0)
			parent := "."
			if i := strings.LastIndexByte(strings.TrimRight(path, "/"), '/'); i >= 0 {
				parent = path[:i]
			}
			open("directory of "+string(u), dir, parent, 0)
		case 'f', 'g':
			fd := s.fds[o.FD]
			if u == 'g' {
				fd = s.fds[o.FD2]
			}
			if fd >= 0 {
				open(string(u), unix.AT_FDCWD, procFD(fd), 0)
			}
		}
	}
	return list
}

// xattrs are the inode's, never an empty string.
func (p probe) xattrs() string {
	list, err := xattrs(procFD(p.fd), true)
	return fmt.Sprint(list, err)
}

// seen tells what an operation did to an inode, and closes the probe.
func (p probe) seen(times bool) string {
	defer unix.Close(p.fd)
	var st unix.Stat_t
	if err := unix.Fstat(p.fd, &st); err != nil {
		return fmt.Sprintf(" [%s: %v]", p.what, err)
	}
	out := fmt.Sprintf(" [%s: %s", p.what, describe(&st))
	if st.Mode&unix.S_IFMT == unix.S_IFIFO && p.what != "a" && p.what != "b" {
		times = false // what goes through a pipe stays in the kernel, which renews times on a disk only
	}
	if p.list != "" && p.list == p.xattrs() && describe(&st) == describe(&p.before) {
		times = false // disks differ in whether setting what was set already is a change
	}
	if times && st.Mtim != p.before.Mtim {
		out += " new mtime"
	}
	if times && st.Ctim != p.before.Ctim {
		out += " new ctime"
	}
	return out + "]"
}

func describe(st *unix.Stat_t) string {
	size := st.Size
	if st.Mode&unix.S_IFMT == unix.S_IFDIR {
		size = 0 // each file system's own affair
	}
	return fmt.Sprintf("%o links %d owner %d:%d size %d device %d", st.Mode, st.Nlink, st.Uid, st.Gid, size, st.Rdev)
}

// do does one operation, and tells all of it that must be the same on both sides.
func (s *side) do(o op, times bool) string {
	list := s.probes(o)
	var v any
	var err error
	as(o.UID, o.Mask, func() { v, err = s.call(o) })
	out := "ok"
	if err != nil {
		e, ok := err.(unix.Errno)
		if out = unix.ErrnoName(e); !ok {
			out = err.Error()
		}
	} else if v != nil {
		out = fmt.Sprint(v)
	}
	// A whiteout that failed is taken back by a disk, which leaves new times.
	times = times && (err == nil || o.Do != "rename" || o.Flag&unix.RENAME_WHITEOUT == 0)
	for _, p := range list {
		out += p.seen(times)
	}
	return out
}

// mapped does something with a part of a file in memory, page by page, as far as the file goes. Where it does not go, it answers with a bus error.
func (s *side) mapped(o op, write bool, each func(page []byte, off int64)) (v any, err error) {
	if o.Do == "mapkeep" {
		s.unmap(o.FD)
	}
	m := s.kept[o.FD]
	if m.mem == nil || o.Flag&1 == 1 {
		prot := unix.PROT_READ
		if write || o.Do == "mapkeep" {
			prot |= unix.PROT_WRITE
		}
		m = mapping{fd: s.fds[o.FD], off: o.Off &^ 4095}
		if m.mem, err = unix.Mmap(m.fd, m.off, o.N%20000+1, prot, unix.MAP_SHARED); err != nil {
			return nil, err
		}
		if o.Do != "mapkeep" {
			defer unix.Munmap(m.mem)
		}
	}
	if o.Do == "mapkeep" {
		if m.fd, err = unix.Open(procFD(s.fds[o.FD]), unix.O_PATH|unix.O_CLOEXEC, 0); err != nil {
			return nil, err
		}
		s.kept[o.FD] = m
	}
	var st unix.Stat_t
	if err := unix.Fstat(m.fd, &st); err != nil {
		return nil, err
	}
	if write { // also what came before a bus error: on the mount, times are renewed when memory is written out
		defer func() { err = cmp.Or(err, unix.Msync(m.mem, unix.MS_SYNC)) }()
	}
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if recover() != nil {
			v = "bus error"
		}
	}()
	for at := 0; at < len(m.mem); at += 4096 {
		off := m.off + int64(at)
		page := m.mem[at:min(at+4096, len(m.mem))]
		if off < st.Size {
			page = page[:min(int64(len(page)), st.Size-off)]
		}
		each(page, off)
	}
	return nil, nil
}

// again opens a descriptor's file once more, to read from it.
func (s *side) again(i int) (int, error) {
	return unix.Open(procFD(s.fds[i]), unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
}

// seek looks for data or a hole. File systems differ in where they see some, but none may skip bytes that are not zero, or find a hole where one is.
func (s *side) seek(o op, whence int) (any, error) {
	fd := s.fds[o.FD]
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return nil, err
	}
	got, err := unix.Seek(fd, o.Off, whence)
	unix.Seek(fd, 0, unix.SEEK_SET)
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		if st.Mode&unix.S_IFMT == unix.S_IFDIR {
			return nil, nil
		}
		return nil, err
	}
	if o.Off >= st.Size || err != nil && err != unix.ENXIO {
		return got, err
	}
	from, to := o.Off, got
	switch {
	case whence == unix.SEEK_DATA && err == unix.ENXIO:
		to = st.Size
	case err != nil:
		return nil, err
	case whence == unix.SEEK_HOLE:
		from, to = got, min(got+1, st.Size)
	}
	if to > st.Size || got < o.Off && err == nil {
		return fmt.Sprintf("%d at %d of %d", got, o.Off, st.Size), nil
	}
	as(0, 0, func() { fd, err = s.again(o.FD) })
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	for buf := make([]byte, 64<<10); from < to; {
		n, err := unix.Pread(fd, buf[:min(int64(len(buf)), to-from)], from)
		if err != nil || n <= 0 {
			return fmt.Sprint("short read ", n), err
		}
		if i := slices.IndexFunc(buf[:n], func(b byte) bool { return b != 0 }); i >= 0 {
			return fmt.Sprintf("data at %d skipped on the way from %d to %d", from+int64(i), o.Off, got), nil
		}
		from += int64(n)
	}
	return nil, nil
}

// entries reads from a directory: names and their types, each once, or up to a buffer's end.
func entries(fd int, size int, all bool) (list []string, err error) {
	buf := make([]byte, size)
	for {
		n, err := unix.Getdents(fd, buf)
		if err != nil || n <= 0 {
			return list, err
		}
		for b := buf[:n]; len(b) > 0; {
			// A struct linux_dirent64: inode, offset, length of all, type, name.
			reclen := binary.NativeEndian.Uint16(b[16:])
			nm := b[19:reclen]
			nm = nm[:slices.Index(nm, 0)]
			list = append(list, fmt.Sprintf("%q/%d", nm, b[18]))
			b = b[reclen:]
		}
		if !all {
			return list, nil
		}
	}
}

// change reads a directory while names come, go and move in it: each of the others is seen once.
func (s *side) change(o op) (any, error) {
	dir, path := s.at(o.A)
	fd, err := unix.Openat(dir, path, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	list, err := entries(fd, 300, false)
	if err != nil {
		return nil, err
	}
	e1, e2, e3 := unix.Mknodat(fd, "h", unix.S_IFREG|0o644, 0), unix.Renameat(fd, "a", fd, "b"), unix.Unlinkat(fd, "c", 0)
	rest, err := entries(fd, 300, true)
	list = slices.DeleteFunc(append(list, rest...), func(x string) bool {
		return slices.Contains([]string{`"a"`, `"b"`, `"c"`, `"h"`}, x[:strings.LastIndexByte(x, '/')])
	})
	slices.Sort(list)
	return fmt.Sprint(e1, e2, e3, list), err
}
