package fs

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"megafs/remote/remotetest"
)

// TestErrnos holds what calls fail with against a disk.
func TestErrnos(t *testing.T) {
	m := mount(t, remotetest.NewStore(), nil)
	disk := t.TempDir()
	beside := func(dir string) string { // another file system
		if strings.HasPrefix(dir, disk) {
			return m.dir
		}
		return disk
	}
	long := strings.Repeat("n", 256)
	at := func(f func(p func(string) string) error) func(string) error {
		return func(dir string) error { return f(func(n string) string { return dir + "/" + n }) } // filepath.Join takes slashes away
	}
	open := func(name string, flags int) func(string) error {
		return at(func(p func(string) string) error {
			fd, err := unix.Open(p(name), flags, 0o644)
			if err == nil {
				unix.Close(fd)
			}
			return err
		})
	}
	rename := func(a, b string, flags uint) func(string) error {
		return at(func(p func(string) string) error {
			return unix.Renameat2(unix.AT_FDCWD, p(a), unix.AT_FDCWD, p(b), flags)
		})
	}
	on := func(name string, flags int, f func(fd int) error) func(string) error {
		return at(func(p func(string) string) error {
			fd, err := unix.Open(p(name), flags, 0)
			if err != nil {
				return fmt.Errorf("open: %w", err)
			}
			defer unix.Close(fd)
			return f(fd)
		})
	}
	one := func(name string, f func(string) error) func(string) error {
		return at(func(p func(string) string) error { return f(p(name)) })
	}
	two := func(a, b string, f func(a, b string) error) func(string) error {
		return at(func(p func(string) string) error { return f(p(a), p(b)) })
	}
	copyRange := func(in, out int, off, to int64, n int) error {
		_, err := unix.CopyFileRange(in, &off, out, &to, n, 0)
		return err
	}
	for _, x := range []struct {
		what string
		do   func(dir string) error
	}{
		{"open a loop of links", open("loop", unix.O_RDONLY)},
		{"open a link, not following", open("link", unix.O_RDONLY|unix.O_NOFOLLOW)},
		{"open too long a name", open(long, unix.O_RDONLY|unix.O_CREAT)},
		{"open below a file", open("f/x", unix.O_RDONLY)},
		{"open what is not there", open("none", unix.O_RDONLY)},
		{"open with a slash", open("none/", unix.O_RDWR|unix.O_CREAT)},
		{"open a file as a directory", open("f", unix.O_RDONLY|unix.O_DIRECTORY)},
		{"open a directory for writing", open("d", unix.O_RDWR)},
		{"create a directory", open("d", unix.O_RDWR|unix.O_CREAT)},
		{"create what is there", open("f", unix.O_RDWR|unix.O_CREAT|unix.O_EXCL)},
		{"create over a dangling link", open("dangling", unix.O_RDWR|unix.O_CREAT|unix.O_EXCL)},
		{"open a fifo nobody reads", open("fifo", unix.O_WRONLY|unix.O_NONBLOCK)},
		{"open a socket", open("socket", unix.O_RDWR)},
		{"a file without a name, read-only", open("d", unix.O_TMPFILE|unix.O_RDONLY)},
		{"a file without a name, not in a directory", open("f", unix.O_TMPFILE|unix.O_RDWR)},
		{"unlink a directory", one("d", unix.Unlink)},
		{"unlink with a slash", one("f/", unix.Unlink)},
		{"unlink too long a name", one(long, unix.Unlink)},
		{"rmdir of a file", one("f", unix.Rmdir)},
		{"rmdir, not empty", one("full", unix.Rmdir)},
		{"rmdir of .", at(func(p func(string) string) error { return unix.Rmdir(p("d") + "/.") })},
		{"rmdir of ..", at(func(p func(string) string) error { return unix.Rmdir(p("d") + "/..") })},
		{"rmdir of a link", one("dirlink", unix.Rmdir)},
		{"mkdir over a file", one("f", func(p string) error { return unix.Mkdir(p, 0o755) })},
		{"mkdir over a dangling link", one("dangling", func(p string) error { return unix.Mkdir(p, 0o755) })},
		{"mkdir of too long a name", one(long, func(p string) error { return unix.Mkdir(p, 0o755) })},
		{"mkdir in what is not there", one("none/x", func(p string) error { return unix.Mkdir(p, 0o755) })},
		{"mknod of a directory", one("x", func(p string) error { return unix.Mknod(p, unix.S_IFDIR|0o755, 0) })},
		{"mknod over a file", one("f", func(p string) error { return unix.Mknod(p, unix.S_IFIFO|0o644, 0) })},
		{"symlink over a file", one("f", func(p string) error { return unix.Symlink("x", p) })},
		{"symlink to nothing", one("x", func(p string) error { return unix.Symlink("", p) })},
		{"symlink to too much", one("x", func(p string) error { return unix.Symlink(strings.Repeat("t", 4096), p) })},
		{"read a file as a link", one("f", func(p string) error { _, err := unix.Readlink(p, make([]byte, 10)); return err })},
		{"link a directory", two("d", "x", unix.Link)},
		{"link over a file", two("f", "g", unix.Link)},
		{"link what is not there", two("none", "x", unix.Link)},
		{"link to another file system", at(func(p func(string) string) error { return unix.Link(p("f"), beside(p(""))+"/x") })},
		{"rename to another file system", at(func(p func(string) string) error { return unix.Rename(p("f"), beside(p(""))+"/x") })},
		{"rename what is not there", rename("none", "x", 0)},
		{"rename a directory into itself", rename("full", "full/x/y", 0)},
		{"rename a directory over its parent", rename("full/x", "full", 0)},
		{"rename a file over a directory", rename("f", "d", 0)},
		{"rename a directory over a file", rename("d", "f", 0)},
		{"rename over what is not empty", rename("d", "full", 0)},
		{"rename to too long a name", rename("f", long, 0)},
		{"rename over what is there, refusing", rename("f", "g", unix.RENAME_NOREPLACE)},
		{"exchange with nothing", rename("f", "none", unix.RENAME_EXCHANGE)},
		{"exchange with one's own parent", rename("full/x", "full", unix.RENAME_EXCHANGE)},
		{"exchange and refuse", rename("f", "g", unix.RENAME_EXCHANGE|unix.RENAME_NOREPLACE)},
		{"exchange and leave a whiteout", rename("f", "g", unix.RENAME_EXCHANGE|unix.RENAME_WHITEOUT)},
		{"rename a file with a slash", rename("f", "x/", 0)},
		{"truncate a directory", one("d", func(p string) error { return unix.Truncate(p, 0) })},
		{"truncate to less than nothing", one("f", func(p string) error { return unix.Truncate(p, -1) })},
		{"truncate a file open for reading", on("f", unix.O_RDONLY, func(fd int) error { return unix.Ftruncate(fd, 0) })},
		{"truncate a fifo", on("fifo", unix.O_RDWR, func(fd int) error { return unix.Ftruncate(fd, 0) })},
		{"read what is open for writing", on("f", unix.O_WRONLY, func(fd int) error { _, err := unix.Read(fd, make([]byte, 1)); return err })},
		{"write what is open for reading", on("f", unix.O_RDONLY, func(fd int) error { _, err := unix.Write(fd, make([]byte, 1)); return err })},
		{"read a directory", on("d", unix.O_RDONLY, func(fd int) error { _, err := unix.Read(fd, make([]byte, 1)); return err })},
		{"list a file", on("f", unix.O_RDONLY, func(fd int) error { _, err := unix.Getdents(fd, make([]byte, 1000)); return err })},
		{"list with no room", on("d", unix.O_RDONLY, func(fd int) error { _, err := unix.Getdents(fd, make([]byte, 10)); return err })},
		{"list a removed directory", at(func(p func(string) string) error {
			os.Mkdir(p("going"), 0o755)
			fd, err := unix.Open(p("going"), unix.O_RDONLY, 0)
			os.Remove(p("going"))
			defer unix.Close(fd)
			if err == nil {
				_, err = unix.Getdents(fd, make([]byte, 1000))
			}
			return err
		})},
		{"make a file in a removed directory", at(func(p func(string) string) error {
			os.Mkdir(p("going"), 0o755)
			fd, err := unix.Open(p("going"), unix.O_RDONLY, 0)
			os.Remove(p("going"))
			defer unix.Close(fd)
			if err == nil {
				_, err = unix.Openat(fd, "x", unix.O_CREAT|unix.O_RDWR, 0o644)
			}
			return err
		})},
		{"go before a file", on("f", unix.O_RDONLY, func(fd int) error { _, err := unix.Seek(fd, -1, unix.SEEK_SET); return err })},
		{"seek in no way", on("f", unix.O_RDONLY, func(fd int) error { _, err := unix.Seek(fd, 0, 99); return err })},
		{"data past the end", on("f", unix.O_RDONLY, func(fd int) error { _, err := unix.Seek(fd, 100, unix.SEEK_DATA); return err })},
		{"a hole past the end", on("f", unix.O_RDONLY, func(fd int) error { _, err := unix.Seek(fd, 100, unix.SEEK_HOLE); return err })},
		{"data before the file", on("f", unix.O_RDONLY, func(fd int) error { _, err := unix.Seek(fd, -1, unix.SEEK_DATA); return err })},
		{"fallocate of nothing", on("f", unix.O_RDWR, func(fd int) error { return unix.Fallocate(fd, 0, 0, 0) })},
		{"fallocate before the file", on("f", unix.O_RDWR, func(fd int) error { return unix.Fallocate(fd, 0, -1, 10) })},
		{"fallocate, open for reading", on("f", unix.O_RDONLY, func(fd int) error { return unix.Fallocate(fd, 0, 0, 10) })},
		{"a hole that changes the size", on("f", unix.O_RDWR, func(fd int) error { return unix.Fallocate(fd, unix.FALLOC_FL_PUNCH_HOLE, 0, 10) })},
		{"fallocate of a directory", on("d", unix.O_RDONLY, func(fd int) error { return unix.Fallocate(fd, 0, 0, 10) })},
		{"fallocate of a fifo", on("fifo", unix.O_RDWR, func(fd int) error { return unix.Fallocate(fd, 0, 0, 10) })},
		{"a hole and zeros", on("f", unix.O_RDWR, func(fd int) error {
			return unix.Fallocate(fd, unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_ZERO_RANGE|unix.FALLOC_FL_KEEP_SIZE, 0, 10)
		})},
		{"copy onto itself", on("f", unix.O_RDWR, func(fd int) error { return copyRange(fd, fd, 0, 2, 4) })},
		{"copy to what appends", on("f", unix.O_RDWR|unix.O_APPEND, func(fd int) error { return copyRange(fd, fd, 0, 10, 4) })},
		{"copy to what is open for reading", on("f", unix.O_RDONLY, func(fd int) error { return copyRange(fd, fd, 0, 10, 4) })},
		{"copy a directory", on("d", unix.O_RDONLY, func(fd int) error { return copyRange(fd, fd, 0, 10, 4) })},
		{"a time that is none", one("f", func(p string) error {
			return unix.UtimesNanoAt(unix.AT_FDCWD, p, []unix.Timespec{{Nsec: 1e9}, {}}, 0)
		})},
		{"chmod of a dangling link", one("dangling", func(p string) error { return unix.Chmod(p, 0o644) })},
		{"execute a file that is no program", one("f", func(p string) error {
			// Not from here: while a thread of this process is in execve it may start no other, and what answers may need one.
			err := exec.Command("perl", "-e", "syscall(0+$ARGV[0], $ARGV[1], 0, 0); exit $!+0", fmt.Sprint(unix.SYS_EXECVE), p).Run()
			if e := new(exec.ExitError); errors.As(err, &e) {
				return syscall.Errno(e.ExitCode())
			}
			return err
		})},
		{"write a program that runs", at(func(p func(string) string) error {
			b, err := os.ReadFile("/bin/sleep")
			if err == nil {
				err = os.WriteFile(p("sleep"), b, 0o755)
			}
			if err != nil {
				return err
			}
			q, err := os.StartProcess("/bin/sh", []string{"sh", "-c", "exec " + p("sleep") + " 60"}, &os.ProcAttr{})
			if err != nil {
				return err
			}
			defer q.Wait()
			defer q.Kill()
			for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(time.Millisecond) {
				if e, _ := os.Readlink(fmt.Sprintf("/proc/%d/exe", q.Pid)); e == p("sleep") {
					break
				}
			}
			return open("sleep", unix.O_WRONLY)(filepath.Dir(p("x")))
		})},
		{"map a file that is too far away", on("f", unix.O_RDONLY, func(fd int) error {
			_, err := unix.Mmap(fd, 1, 4096, unix.PROT_READ, unix.MAP_SHARED)
			return err
		})},
		{"map for writing what is open for reading", on("f", unix.O_RDONLY, func(fd int) error {
			_, err := unix.Mmap(fd, 0, 4096, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
			return err
		})},
		{"map a directory", on("d", unix.O_RDONLY, func(fd int) error {
			_, err := unix.Mmap(fd, 0, 4096, unix.PROT_READ, unix.MAP_SHARED)
			return err
		})},
		{"a lease on what others write", at(func(p func(string) string) error {
			f, err := os.OpenFile(p("f"), os.O_RDWR, 0)
			if err != nil {
				return err
			}
			defer f.Close()
			return on("f", unix.O_RDONLY, func(fd int) error { _, err := unix.FcntlInt(uintptr(fd), unix.F_SETLEASE, unix.F_RDLCK); return err })(filepath.Dir(p("x")))
		})},
	} {
		var got [2]syscall.Errno
		for i, dir := range []string{m.dir, disk} {
			sh(t, dir, 0, `rm -rf ./*; echo content >f; echo g >g; mkdir d full full/x; ln -s loop loop; ln -s f link; ln -s nowhere dangling; ln -s d dirlink; mkfifo fifo`)
			must(t, unix.Mknod(filepath.Join(dir, "socket"), unix.S_IFSOCK|0o644, 0))
			errors.As(x.do(dir), &got[i])
		}
		if got[0] != got[1] {
			t.Errorf("%s: on the mount %v, on a disk %v", x.what, got[0], got[1])
		}
	}
}
