package fs

import (
	"bytes"
	"fmt"
	"math"
	"os"
	"strings"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"megafs/remote"
	"megafs/remote/remotetest"
)

// TestRefused: what SEMANTICS.md says is not supported fails as it says.
func TestRefused(t *testing.T) {
	store := remotetest.NewStore()
	m := mount(t, store, nil)
	m.write("f", "content")
	m.write("g", "")
	f, err := os.OpenFile(m.path("f"), os.O_RDWR, 0)
	must(t, err)
	defer f.Close()
	g, err := os.OpenFile(m.path("g"), os.O_RDWR, 0)
	must(t, err)
	defer g.Close()
	must(t, unix.Mknod(m.path("null"), unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3))))
	must(t, unix.Mknod(m.path("loop"), unix.S_IFBLK|0o666, int(unix.Mkdev(7, 0))))
	opens := func(name string) error {
		fd, err := unix.Open(m.path(name), unix.O_RDONLY, 0)
		unix.Close(fd)
		return err
	}
	for _, x := range []struct {
		what string
		err  error
		want error
	}{
		{"a reflink", unix.IoctlFileClone(int(g.Fd()), int(f.Fd())), unix.EOPNOTSUPP},
		{"an ioctl of its own", unix.IoctlSetInt(int(f.Fd()), 0x6d01, 0), unix.ENOTTY},
		{"a device", opens("null"), unix.EACCES},
		{"a disk", opens("loop"), unix.EACCES},
		{"an attribute without a class", unix.Setxattr(m.path("f"), "name", []byte("x"), 0), unix.EOPNOTSUPP},
		{"swapping", swapon(m.path("f")), unix.EINVAL},
	} {
		if x.err != x.want {
			t.Errorf("%s: %v, want %v", x.what, x.err, x.want)
		}
	}
	// Reading renews no atime.
	then := time.Unix(1_000_000_000, 0)
	must(t, os.Chtimes(m.path("f"), then, then))
	m.read("f")
	var st unix.Stat_t
	must(t, unix.Stat(m.path("f"), &st))
	if st.Atim.Sec != then.Unix() {
		t.Error("atime follows reads")
	}
	// Locks hold on one machine.
	m.drain()
	other := mount(t, store, nil)
	eventually(t, "the other machine has the file", func() bool { _, err := os.Stat(other.path("f")); return err == nil })
	h, err := os.OpenFile(other.path("f"), os.O_RDWR, 0)
	must(t, err)
	defer h.Close()
	must(t, unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB))
	must(t, unix.Flock(int(h.Fd()), unix.LOCK_EX|unix.LOCK_NB))
}

// TestManyNames: a file has up to 65 000 names.
func TestManyNames(t *testing.T) {
	if testing.Short() {
		t.Skip("makes 65 000 names")
	}
	m := mount(t, remotetest.NewStore(), nil)
	m.write("f", "")
	s, err := m.vol.Lookup(ctx, remote.Root, "f")
	must(t, err)
	for i := range 64_998 { // without the kernel, for speed
		_, err := m.vol.Link(ctx, s.Ino, remote.Root, fmt.Sprint("n", i))
		must(t, err)
	}
	m.vol.Forget(s.Ino, 64_999)
	must(t, os.Link(m.path("n7"), m.path("last")))
	if err := unix.Link(m.path("f"), m.path("more")); err != unix.EMLINK {
		t.Errorf("one more name: %v", err)
	}
	must(t, os.Remove(m.path("n7")))
	must(t, os.Link(m.path("f"), m.path("more")))
}

// TestLargestFile: a file ends at 2^63-1 at most, and holes cost nothing.
func TestLargestFile(t *testing.T) {
	m := mount(t, remotetest.NewStore(), nil)
	f, err := os.Create(m.path("f"))
	must(t, err)
	defer f.Close()
	const end = math.MaxInt64
	must(t, f.Truncate(end))
	_, err = f.WriteAt([]byte("ab"), end-2)
	must(t, err)
	if _, err := unix.Pwrite(int(f.Fd()), []byte("bc"), end-1); err != unix.EOVERFLOW && err != unix.EINVAL && err != unix.EFBIG {
		t.Errorf("a byte past the end: %v", err)
	}
	_, err = f.WriteAt([]byte("first"), 1)
	must(t, err)
	if err := unix.Fallocate(int(f.Fd()), 0, end-1, 2); err != unix.EFBIG {
		t.Errorf("fallocate past the end: %v", err)
	}
	check := func(f *os.File) {
		t.Helper()
		b := make([]byte, 4)
		if n, err := f.ReadAt(b, end-4); string(b[:n]) != "\x00\x00ab" {
			t.Errorf("the end is %q, %v", b[:n], err)
		}
		var st unix.Stat_t
		must(t, unix.Fstat(int(f.Fd()), &st))
		if st.Size != end || st.Blocks > 1000 {
			t.Errorf("%d bytes, %d blocks", st.Size, st.Blocks)
		}
		if off, err := f.Seek(1<<40, unix.SEEK_DATA); err != nil || off < end-1<<20 {
			t.Errorf("data at %d, %v", off, err)
		}
		if off, err := f.Seek(1<<20, unix.SEEK_HOLE); err != nil || off != 1<<20 {
			t.Errorf("a hole at %d, %v", off, err)
		}
	}
	check(f)
	m.drain()
	must(t, unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED))
	check(f)
	if out, err := run(t, m.dir, 0, "cp", "--sparse=always", "--reflink=auto", "f", "g"); err == nil {
		g, err := os.Open(m.path("g"))
		must(t, err)
		defer g.Close()
		check(g)
	} else {
		t.Errorf("cp: %s", out)
	}
}

// TestManyXattrs: an inode has many attributes, of which a list tells as long as the kernel takes lists that long.
func TestManyXattrs(t *testing.T) {
	m := mount(t, remotetest.NewStore(), nil)
	m.write("f", "")
	buf := make([]byte, 1<<16)
	value := bytes.Repeat([]byte("v"), 100)
	length := 0
	for i := range 1000 {
		name := fmt.Sprintf("user.%s%04d", strings.Repeat("n", 50), i)
		must(t, unix.Setxattr(m.path("f"), name, value, 0))
		length += len(name) + 1
	}
	n, err := unix.Listxattr(m.path("f"), buf)
	if n != length || err != nil {
		t.Errorf("%d bytes of names, %v, want %d", n, err, length)
	}
	for i := range 150 { // 1.5 MB of values, more than a block of a disk's
		must(t, unix.Setxattr(m.path("f"), fmt.Sprint("trusted.large", i), bytes.Repeat([]byte{byte(i)}, 10_000), 0))
	}
	m.drain()
	for i := range 150 {
		if n, err := unix.Getxattr(m.path("f"), fmt.Sprint("trusted.large", i), buf); n != 10_000 || err != nil || buf[77] != byte(i) {
			t.Fatalf("attribute %d: %d bytes, %v", i, n, err)
		}
	}
	// No list is longer than the kernel takes one.
	for i := 0; err == nil; i++ {
		err = unix.Setxattr(m.path("f"), fmt.Sprintf("user.%s%04d", strings.Repeat("m", 200), i), value, 0)
	}
	if err != unix.ENOSPC {
		t.Errorf("names of over 64 KiB: %v", err)
	}
	if n, err := unix.Listxattr(m.path("f"), buf); n < 1<<16-250 || err != nil {
		t.Errorf("%d bytes of names, %v", n, err)
	}
	must(t, unix.Removexattr(m.path("f"), fmt.Sprintf("user.%s%04d", strings.Repeat("n", 50), 0)))
	must(t, unix.Setxattr(m.path("f"), "user.fits", nil, 0))
	must(t, os.Remove(m.path("f")))
}

// TestSpecialFiles: programs meet in fifos and sockets of the mount, before and after a remount, and may make devices.
func TestSpecialFiles(t *testing.T) {
	m := mount(t, remotetest.NewStore(), nil)
	sh(t, m.dir, 0, `mkfifo -m 640 p; (echo through >p &); test "$(cat p)" = through; mv p q; ln q r; (echo again >q &); test "$(cat r)" = again
		mknod -m 600 c c 5 1; mknod -m 600 b b 259 70000; test "$(stat -c '%F %t:%T %a' c b)" = "character special file 5:1 600
block special file 103:11170 600"; rm r; chown 12:34 c; ln b b2; mv b2 b3; test "$(stat -c %h b)" = 2`)
	perl := `use Socket; chdir "."; socket(S, AF_UNIX, SOCK_STREAM, 0); bind(S, pack_sockaddr_un("s")) or die "bind: $!"; listen(S, 1); chmod 0600, "s";
		bind(S, pack_sockaddr_un("s")) and die "bound twice";
		if (!fork) { socket(C, AF_UNIX, SOCK_STREAM, 0); connect(C, pack_sockaddr_un("s")) or die "connect: $!"; syswrite C, "through"; exit }
		accept(A, S); sysread A, $x, 100; $x eq "through" or die $x; wait; -S "s" or die; unlink "s" or die "unlink: $!"`
	if out, err := run(t, m.dir, 0, "perl", "-e", perl); err != nil {
		t.Errorf("a socket: %v %s", err, out)
	}
	if s, err := m.vol.Lookup(ctx, remote.Root, "c"); err != nil || s.Type != remote.CharDev || s.UID != 12 {
		t.Errorf("%+v, %v", s, err)
	} else {
		m.vol.Forget(s.Ino, 1)
	}
}

// swapon is swapon(2).
func swapon(path string) error {
	p, err := unix.BytePtrFromString(path)
	if err != nil {
		return err
	}
	if _, _, e := unix.Syscall(unix.SYS_SWAPON, uintptr(unsafe.Pointer(p)), 0, 0); e != 0 {
		return e
	}
	unix.Syscall(unix.SYS_SWAPOFF, uintptr(unsafe.Pointer(p)), 0, 0)
	return nil
}

// TestAllocateTooMuch: no room is set aside, but what can't be there is refused, as a disk would.
func TestAllocateTooMuch(t *testing.T) {
	m := mount(t, remotetest.NewStore(), nil) // one that says it has 1 TiB
	f, err := os.Create(m.path("f"))
	must(t, err)
	defer f.Close()
	fd := int(f.Fd())
	var st unix.Statfs_t
	eventually(t, "the store says how much room it has", func() bool {
		must(t, unix.Statfs(m.dir, &st))
		return int64(st.Bavail)*st.Bsize <= 1<<40
	})
	for _, mode := range []uint32{0, unix.FALLOC_FL_KEEP_SIZE, unix.FALLOC_FL_ZERO_RANGE} {
		if err := unix.Fallocate(fd, mode, 0, 1<<41); err != unix.ENOSPC {
			t.Errorf("mode %d: %v", mode, err)
		}
	}
	if s, err := f.Stat(); err != nil || s.Size() != 0 {
		t.Errorf("%d bytes, %v", s.Size(), err)
	}
	must(t, unix.Fallocate(fd, unix.FALLOC_FL_KEEP_SIZE, 0, 1<<30))
	must(t, unix.Fallocate(fd, 0, 0, 1<<20))
	must(t, unix.Fallocate(fd, unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, 0, 1<<41)) // needs none
	if s, err := f.Stat(); err != nil || s.Size() != 1<<20 {
		t.Errorf("%d bytes, %v", s.Size(), err)
	}
	if err := os.Truncate(m.path("f"), 1<<42); err != nil {
		t.Errorf("a hole is no room: %v", err)
	}
}
