package fs

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"megafs/remote"
	"megafs/remote/remotetest"
)

func TestRenameFlags(t *testing.T) {
	m := mount(t, remotetest.NewStore(), nil)
	m.write("a", "A")
	m.write("b", "B")
	must(t, unix.Renameat2(unix.AT_FDCWD, m.path("a"), unix.AT_FDCWD, m.path("b"), unix.RENAME_EXCHANGE))
	if m.read("a") != "B" || m.read("b") != "A" {
		t.Error("not exchanged")
	}
	if err := unix.Renameat2(unix.AT_FDCWD, m.path("a"), unix.AT_FDCWD, m.path("b"), unix.RENAME_NOREPLACE); err != unix.EEXIST {
		t.Errorf("replaced: %v", err)
	}
	must(t, unix.Renameat2(unix.AT_FDCWD, m.path("a"), unix.AT_FDCWD, m.path("c"), unix.RENAME_WHITEOUT))
	var st unix.Stat_t
	must(t, unix.Stat(m.path("a"), &st))
	if st.Mode&unix.S_IFMT != unix.S_IFCHR || st.Rdev != 0 || m.read("c") != "B" {
		t.Errorf("mode %o, rdev %d", st.Mode, st.Rdev)
	}
	if err := unix.Renameat2(unix.AT_FDCWD, m.path("b"), unix.AT_FDCWD, m.path("d"), 1<<7); err != unix.EINVAL {
		t.Errorf("a flag that does not exist: %v", err)
	}
}

func TestXattrs(t *testing.T) {
	m := mount(t, remotetest.NewStore(), nil)
	m.write("f", "")
	f := m.path("f")
	buf := make([]byte, 1<<16)
	must(t, unix.Setxattr(f, "user.empty", nil, 0))
	must(t, unix.Setxattr(f, "user.one", []byte("value"), unix.XATTR_CREATE))
	must(t, unix.Setxattr(f, "user.large", bytes.Repeat([]byte{7}, 1<<16), 0))
	for _, x := range []struct {
		what string
		do   func() (int, error)
		n    int
		err  error
	}{
		{"size", func() (int, error) { return unix.Getxattr(f, "user.one", nil) }, 5, nil},
		{"value", func() (int, error) { return unix.Getxattr(f, "user.one", buf) }, 5, nil},
		{"exact room", func() (int, error) { return unix.Getxattr(f, "user.one", buf[:5]) }, 5, nil},
		{"too little room", func() (int, error) { return unix.Getxattr(f, "user.one", buf[:4]) }, -1, unix.ERANGE},
		{"empty value", func() (int, error) { return unix.Getxattr(f, "user.empty", buf) }, 0, nil},
		{"large value", func() (int, error) { return unix.Getxattr(f, "user.large", buf) }, 1 << 16, nil},
		{"no attribute", func() (int, error) { return unix.Getxattr(f, "user.none", buf) }, -1, unix.ENODATA},
		{"list's size", func() (int, error) { return unix.Listxattr(f, nil) }, len("user.empty\x00user.one\x00user.large\x00"), nil},
		{"too little room for the list", func() (int, error) { return unix.Listxattr(f, buf[:5]) }, -1, unix.ERANGE},
		{"access list", func() (int, error) { return unix.Getxattr(f, "system.posix_acl_access", buf) }, -1, unix.ENODATA},
		{"another of the system's", func() (int, error) { return unix.Getxattr(f, "system.nfs4_acl", buf) }, -1, unix.EOPNOTSUPP},
		{"capabilities", func() (int, error) { return unix.Getxattr(f, "security.capability", buf) }, -1, unix.ENODATA},
		{"create what is there", func() (int, error) { return 0, unix.Setxattr(f, "user.one", nil, unix.XATTR_CREATE) }, 0, unix.EEXIST},
		{"replace what is not", func() (int, error) { return 0, unix.Setxattr(f, "user.none", nil, unix.XATTR_REPLACE) }, 0, unix.ENODATA},
		{"remove what is not", func() (int, error) { return 0, unix.Removexattr(f, "user.none") }, 0, unix.ENODATA},
		{"too large", func() (int, error) { return 0, unix.Setxattr(f, "user.x", make([]byte, 1<<16+1), 0) }, 0, unix.E2BIG},
		{"no name", func() (int, error) { return 0, unix.Setxattr(f, "user.", nil, 0) }, 0, unix.EINVAL},
		{"set another of the system's", func() (int, error) { return 0, unix.Setxattr(f, "system.nfs4_acl", []byte("x"), 0) }, 0, unix.EOPNOTSUPP},
		{"set capabilities", func() (int, error) { return 0, unix.Setxattr(f, "security.capability", capability(), 0) }, 0, unix.EOPNOTSUPP},
		{"remove", func() (int, error) { return 0, unix.Removexattr(f, "user.one") }, 0, nil},
		{"is removed", func() (int, error) { return unix.Getxattr(f, "user.one", buf) }, -1, unix.ENODATA},
	} {
		if n, err := x.do(); err != x.err || err == nil && n != x.n {
			t.Errorf("%s: %d, %v, want %d, %v", x.what, n, err, x.n, x.err)
		}
	}
	if s := m.Stats(); s.Requests["getxattr"] == 0 {
		t.Error("the kernel does not ask")
	}
}

// capability is one file capability.
func capability() []byte {
	return []byte{1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}
}

func TestStatx(t *testing.T) {
	before := time.Now()
	m := mount(t, remotetest.NewStore(), nil)
	m.write("f", "12345")
	must(t, os.Chtimes(m.path("f"), time.Unix(1, 2), time.Unix(-3, 4)))
	var st unix.Statx_t
	must(t, unix.Statx(unix.AT_FDCWD, m.path("f"), 0, unix.STATX_ALL, &st))
	if st.Mask&unix.STATX_BTIME == 0 || st.Btime.Sec < before.Unix() || st.Btime.Sec > time.Now().Unix() {
		t.Errorf("birth %+v", st.Btime)
	}
	if st.Atime.Sec != 1 || st.Atime.Nsec != 2 || st.Mtime.Sec != -3 || st.Mtime.Nsec != 4 || st.Size != 5 || st.Nlink != 1 {
		t.Errorf("%+v", st)
	}
	must(t, unix.Mknod(m.path("dev"), unix.S_IFBLK|0o600, int(unix.Mkdev(259, 300000))))
	must(t, unix.Statx(unix.AT_FDCWD, m.path("dev"), 0, unix.STATX_ALL, &st))
	if st.Rdev_major != 259 || st.Rdev_minor != 300000 || st.Mode != unix.S_IFBLK|0o600 {
		t.Errorf("device %d:%d, mode %o", st.Rdev_major, st.Rdev_minor, st.Mode)
	}
}

// TestAppendElsewhere: an append goes to the file's end even if the kernel thinks that the end is elsewhere, and what it put into
// its page cache for that is dropped.
func TestAppendElsewhere(t *testing.T) {
	m := mount(t, remotetest.NewStore(), nil)
	m.write("f", "one ")
	f, err := os.OpenFile(m.path("f"), os.O_APPEND|os.O_RDWR, 0)
	must(t, err)
	defer f.Close()
	if got := m.read("f"); got != "one " {
		t.Fatal(got)
	}
	s, err := m.vol.Lookup(ctx, remote.Root, "f")
	must(t, err)
	h, err := m.vol.Open(ctx, s.Ino, true, false)
	must(t, err)
	_, err = h.WriteAt(ctx, []byte("two "), 4, false)
	must(t, err)
	h.Close()
	m.vol.Forget(s.Ino, 1)
	_, err = f.WriteString("three")
	must(t, err)
	eventually(t, "the file is what was written", func() bool { return m.read("f") == "one two three" })

	// An append that is switched on later, and one that is switched off.
	g, err := os.OpenFile(m.path("g"), os.O_CREATE|os.O_RDWR, 0o644)
	must(t, err)
	defer g.Close()
	_, err = g.WriteString("12345")
	must(t, err)
	_, err = unix.FcntlInt(g.Fd(), unix.F_SETFL, unix.O_APPEND)
	must(t, err)
	_, err = unix.Pwrite(int(g.Fd()), []byte("6"), 0)
	must(t, err)
	_, err = unix.FcntlInt(g.Fd(), unix.F_SETFL, 0)
	must(t, err)
	_, err = unix.Pwrite(int(g.Fd()), []byte("0"), 0)
	must(t, err)
	if got := m.read("g"); got != "023456" {
		t.Errorf("%q", got)
	}
}

func TestMapping(t *testing.T) {
	m := mount(t, remotetest.NewStore(), nil)
	m.write("f", strings.Repeat("-", 10000))
	f, err := os.OpenFile(m.path("f"), os.O_RDWR, 0)
	must(t, err)
	defer f.Close()
	p, err := unix.Mmap(int(f.Fd()), 0, 10000, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	must(t, err)
	copy(p[5000:], "mapped")
	must(t, unix.Msync(p, unix.MS_SYNC))
	must(t, unix.Munmap(p))
	if got := m.read("f"); got != strings.Repeat("-", 5000)+"mapped"+strings.Repeat("-", 4994) {
		t.Errorf("%d bytes, %q", len(got), strings.Trim(got, "-"))
	}
}

func TestTmpfileGetsAName(t *testing.T) {
	m := mount(t, remotetest.NewStore(), nil)
	fd, err := unix.Open(m.dir, unix.O_TMPFILE|unix.O_RDWR, 0o600)
	must(t, err)
	defer unix.Close(fd)
	_, err = unix.Write(fd, []byte("content"))
	must(t, err)
	must(t, unix.Linkat(unix.AT_FDCWD, fmt.Sprintf("/proc/self/fd/%d", fd), unix.AT_FDCWD, m.path("f"), unix.AT_SYMLINK_FOLLOW))
	if m.read("f") != "content" {
		t.Error(m.read("f"))
	}
}

func TestCopyAndHoles(t *testing.T) {
	m := mount(t, remotetest.NewStore(), nil)
	f, err := os.Create(m.path("f"))
	must(t, err)
	defer f.Close()
	_, err = f.WriteAt([]byte("data"), 1<<20)
	must(t, err)
	if off, err := f.Seek(0, unix.SEEK_DATA); err != nil || off == 0 || off > 1<<20 {
		t.Errorf("data at %d, %v", off, err)
	}
	if off, err := f.Seek(0, unix.SEEK_HOLE); err != nil || off != 0 {
		t.Errorf("a hole at %d, %v", off, err)
	}
	if _, err := f.Seek(1<<20+4, unix.SEEK_DATA); !errors.Is(err, unix.ENXIO) {
		t.Error(err)
	}
	g, err := os.Create(m.path("g"))
	must(t, err)
	defer g.Close()
	roff, woff := int64(1<<20), int64(10)
	n, err := unix.CopyFileRange(int(f.Fd()), &roff, int(g.Fd()), &woff, 100, 0)
	if err != nil || n != 4 || m.read("g") != strings.Repeat("\x00", 10)+"data" {
		t.Errorf("copied %d, %v: %q", n, err, m.read("g"))
	}
	if m.Stats().Requests["copy_file_range"] == 0 {
		t.Error("copied by the kernel")
	}
	must(t, unix.Fallocate(int(g.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, 10, 2))
	if got := m.read("g"); got != strings.Repeat("\x00", 12)+"ta" {
		t.Errorf("after a hole was punched: %q", got)
	}
	for _, mode := range []uint32{unix.FALLOC_FL_COLLAPSE_RANGE, unix.FALLOC_FL_INSERT_RANGE, unix.FALLOC_FL_UNSHARE_RANGE} {
		if err := unix.Fallocate(int(g.Fd()), mode, 0, 4096); err != unix.EOPNOTSUPP {
			t.Errorf("fallocate %#x: %v", mode, err)
		}
	}
	if err := unix.IoctlSetInt(int(g.Fd()), unix.FS_IOC_GETFLAGS, 0); err != unix.ENOTTY {
		t.Errorf("ioctl: %v", err)
	}
}

// TestKeptPages: a file that was sent and that nobody changed is read once.
func TestKeptPages(t *testing.T) {
	m := mount(t, remotetest.NewStore(), nil)
	m.write("f", strings.Repeat("x", 1<<20))
	must(t, m.vol.Drain(background)) // that it is sent gives it another version, which the next open reads anew
	m.read("f")
	m.read("f")
	before := m.Stats().Requests["read"]
	for range 5 {
		m.read("f")
	}
	if n := m.Stats().Requests["read"]; n != before {
		t.Errorf("%d requests for what the kernel had", n-before)
	}
}

// TestNoStaleName: a listing that began before a name went must not bring it back.
func TestNoStaleName(t *testing.T) {
	m := mount(t, remotetest.NewStore(), nil)
	for i := range 600 {
		m.write(fmt.Sprintf("name%04d", i), "")
	}
	d, err := os.Open(m.dir)
	must(t, err)
	defer d.Close()
	_, err = d.ReadDir(1) // the first request takes the names
	must(t, err)
	for i := range 600 {
		must(t, os.Remove(m.path(fmt.Sprintf("name%04d", i))))
	}
	d.ReadDir(-1)
	for i := range 600 {
		if _, err := os.Lstat(m.path(fmt.Sprintf("name%04d", i))); !os.IsNotExist(err) {
			t.Fatalf("name %d is back: %v", i, err)
		}
	}
}

func TestLocks(t *testing.T) {
	m := mount(t, remotetest.NewStore(), nil)
	m.write("f", "")
	f, err := os.OpenFile(m.path("f"), os.O_RDWR, 0)
	must(t, err)
	g, err := os.OpenFile(m.path("f"), os.O_RDWR, 0)
	must(t, err)
	defer g.Close()
	must(t, unix.Flock(int(f.Fd()), unix.LOCK_EX))
	if err := unix.Flock(int(g.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != unix.EWOULDBLOCK {
		t.Errorf("flock: %v", err)
	}
	lk := &unix.Flock_t{Type: unix.F_WRLCK, Len: 10}
	must(t, unix.FcntlFlock(f.Fd(), unix.F_OFD_SETLK, lk))
	lk = &unix.Flock_t{Type: unix.F_WRLCK, Start: 5, Len: 1}
	if err := unix.FcntlFlock(g.Fd(), unix.F_OFD_SETLK, lk); err != unix.EAGAIN {
		t.Errorf("fcntl: %v", err)
	}
	f.Close()
	must(t, unix.Flock(int(g.Fd()), unix.LOCK_EX|unix.LOCK_NB))
	must(t, unix.FcntlFlock(g.Fd(), unix.F_OFD_SETLK, lk))
}
