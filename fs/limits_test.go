package fs

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"megafs/fs/volume"
	"megafs/remote"
	"megafs/remote/remotetest"
)

// TestLongPaths: a path may be as long as the kernel takes one, and a tree deeper than that.
func TestLongPaths(t *testing.T) {
	m := mount(t, remotetest.NewStore(), nil)
	name := strings.Repeat("n", 255)
	must(t, os.MkdirAll(m.path("d"), 0o755))
	fd, err := unix.Open(m.path("d"), unix.O_DIRECTORY|unix.O_RDONLY, 0)
	must(t, err)
	path := m.path("d")
	for range 20 { // 5120 bytes
		must(t, unix.Mkdirat(fd, name, 0o755))
		next, err := unix.Openat(fd, name, unix.O_DIRECTORY|unix.O_RDONLY, 0)
		unix.Close(fd)
		must(t, err)
		fd, path = next, path+"/"+name
	}
	f, err := unix.Openat(fd, "deep", unix.O_CREAT|unix.O_RDWR, 0o644)
	must(t, err)
	unix.Close(f)
	unix.Close(fd)
	if _, err := os.Stat(path); !errors.Is(err, unix.ENAMETOOLONG) {
		t.Errorf("a path of %d bytes: %v", len(path), err)
	}
	// The longest has 4095 bytes and a NUL.
	fits := path[:strings.LastIndex(path[:4094], "/")+1]
	fits += strings.Repeat("x", min(255, 4095-len(fits)))
	must(t, os.WriteFile(fits, []byte("fits"), 0o644))
	if err := os.WriteFile(m.path(name+"n"), nil, 0o644); !errors.Is(err, unix.ENAMETOOLONG) {
		t.Errorf("a name of 256 bytes: %v", err)
	}
	target := strings.Repeat("t", 4095)
	must(t, os.Symlink(target, m.path("l")))
	if got, err := os.Readlink(m.path("l")); err != nil || got != target {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	if err := os.Symlink(target+"t", m.path("l2")); !errors.Is(err, unix.ENAMETOOLONG) {
		t.Errorf("a target of 4096 bytes: %v", err)
	}
	sh(t, m.dir, 0, `test "$(find d -name deep | wc -l)" = 1; rm -r d`)
}

// TestLargeDirectory: a listing gives each of many names once, and goes on at any place it told before.
func TestLargeDirectory(t *testing.T) {
	m := mount(t, remotetest.NewStore(), nil)
	count := 100000
	if testing.Short() {
		count = 5000
	}
	must(t, os.Mkdir(m.path("d"), 0o755))
	dfd, err := unix.Open(m.path("d"), unix.O_DIRECTORY|unix.O_RDONLY, 0)
	must(t, err)
	defer unix.Close(dfd)
	d, err := m.vol.Lookup(ctx, remote.Root, "d")
	must(t, err)
	for i := range count { // without the kernel, for speed; it has not looked into the directory yet
		s, err := m.vol.Make(ctx, d.Ino, fmt.Sprintf("a name that is not short %06d", i), remote.File, 0o644, 0, "", volume.Caller{})
		must(t, err)
		m.vol.Forget(s.Ino, 1)
	}
	m.vol.Forget(d.Ino, 1)
	type at struct {
		place int64
		rest  []string // what came after the place, the beginning of it
	}
	var places []at
	seen := map[string]bool{}
	buf := make([]byte, 64<<10)
	block := func() []string {
		n, err := unix.Getdents(dfd, buf)
		must(t, err)
		_, _, names := unix.ParseDirent(buf[:n], -1, nil)
		return names
	}
	for {
		place, err := unix.Seek(dfd, 0, unix.SEEK_CUR)
		must(t, err)
		names := block()
		if len(names) == 0 {
			break
		}
		for _, n := range names {
			if seen[n] {
				t.Fatalf("%q twice", n)
			}
			seen[n] = true
		}
		places = append(places, at{place, names})
	}
	if len(seen) != count {
		t.Errorf("%d names of %d", len(seen), count)
	}
	for i := len(places) - 1; i > 0; i -= max(1, len(places)/20) { // backwards, as seekdir(3) may
		_, err := unix.Seek(dfd, places[i].place, unix.SEEK_SET)
		must(t, err)
		if got := block(); !slices.Equal(got, places[i].rest) {
			t.Errorf("from place %d on: %d names from %q on, want %d from %q on", places[i].place, len(got), got[0], len(places[i].rest), places[i].rest[0])
		}
	}
	sh(t, m.dir, 0, fmt.Sprintf(`test "$(ls -U d | wc -l)" = %d`, count))
}

// TestAppendFromManyProcesses: no line of a log that many programs append to is lost or torn.
func TestAppendFromManyProcesses(t *testing.T) {
	m := mount(t, remotetest.NewStore(), nil)
	const programs, lines = 8, 100
	var all []*exec.Cmd
	for i := range programs {
		cmd := exec.Command("sh", "-c", fmt.Sprintf(`for j in $(seq %d); do echo "program %d writes line $j" >>"$0"; done`, lines, i), m.path("log"))
		must(t, cmd.Start())
		all = append(all, cmd)
	}
	for _, cmd := range all {
		must(t, cmd.Wait())
	}
	next := [programs]int{}
	got := strings.Split(strings.TrimSuffix(m.read("log"), "\n"), "\n")
	for _, line := range got {
		var p, j int
		if n, err := fmt.Sscanf(line, "program %d writes line %d", &p, &j); n != 2 || err != nil || p >= programs || j != next[p]+1 {
			t.Fatalf("%q, after line %v", line, next)
		}
		next[p] = j
	}
	if len(got) != programs*lines {
		t.Errorf("%d lines", len(got))
	}
}

// TestXattrClasses holds who may see and set which attributes of what against a disk.
func TestXattrClasses(t *testing.T) {
	m := mount(t, remotetest.NewStore(), func(o *Options) { o.AllowOther = true })
	disk := t.TempDir()
	must(t, os.Chmod(m.dir, 0o777))
	must(t, os.Chmod(disk, 0o777))
	// The disk may lie where strangers can't go.
	for _, p := range []string{disk, disk[:strings.LastIndex(disk, "/")]} {
		must(t, os.Chmod(p, 0o777))
	}
	const script = `
		: >f; chmod 666 f; : >closed; chmod 600 closed; mkdir d s; chmod 777 d; chmod 1777 s; mkfifo p; ln -s f l; ln -s nowhere dangling
		for x in user trusted security other system; do for f in f d p l dangling; do
			setfattr -h -n $x.name -v value $f 2>&1; getfattr -h --only-values -n $x.name $f 2>&1; setfattr -h -x $x.none $f 2>&1; done; done
		for x in user user. user.. user.x. trusted trusted. security security.; do setfattr -n $x -v value f 2>&1; getfattr -n $x f 2>&1; setfattr -x $x f 2>&1; done
		setfattr -n user.secret -v x closed; setfattr -n trusted.secret -v x f; setfattr -n security.secret -v x f; getfattr -d -m - f d`
	const theirs = `for x in user trusted security; do for f in f closed d s p; do
			echo $x $f; setfattr -n $x.theirs -v value $f 2>&1; getfattr -n $x.secret $f 2>&1; setfattr -x $x.secret $f 2>&1; done; done; getfattr -d -m - f d`
	var got [2]string
	for i, dir := range []string{m.dir, disk} {
		out, _ := run(t, dir, 0, "sh", "-c", script)
		out2, _ := run(t, dir, stranger, "sh", "-c", theirs)
		got[i] = out + "\nto a stranger:\n" + out2
	}
	a, b := strings.Split(got[0], "\n"), strings.Split(got[1], "\n")
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			t.Errorf("line %d, on the mount: %q, on a disk: %q", i, a[i], b[i])
		}
	}
	if len(a) != len(b) {
		t.Errorf("on the mount:\n%s\non a disk:\n%s", got[0], got[1])
	}
}

// TestTmpfileThatGetsNoName: one that was opened with O_EXCL can't have a name.
func TestTmpfileThatGetsNoName(t *testing.T) {
	m := mount(t, remotetest.NewStore(), nil)
	fd, err := unix.Open(m.dir, unix.O_TMPFILE|unix.O_RDWR|unix.O_EXCL, 0o600)
	must(t, err)
	defer unix.Close(fd)
	if err := unix.Linkat(unix.AT_FDCWD, fmt.Sprintf("/proc/self/fd/%d", fd), unix.AT_FDCWD, m.path("f"), unix.AT_SYMLINK_FOLLOW); err != unix.ENOENT {
		t.Error(err)
	}
}

// TestOpenFileLocks: locks belong to open files, and one that is waited for comes when the other goes.
func TestOpenFileLocks(t *testing.T) {
	m := mount(t, remotetest.NewStore(), nil)
	m.write("f", "")
	open := func() *os.File {
		f, err := os.OpenFile(m.path("f"), os.O_RDWR, 0)
		must(t, err)
		t.Cleanup(func() { f.Close() })
		return f
	}
	f, g := open(), open()
	whole := func(typ int16) *unix.Flock_t { return &unix.Flock_t{Type: typ} }
	must(t, unix.FcntlFlock(f.Fd(), unix.F_OFD_SETLK, whole(unix.F_RDLCK)))
	must(t, unix.FcntlFlock(g.Fd(), unix.F_OFD_SETLK, whole(unix.F_RDLCK)))
	if err := unix.FcntlFlock(g.Fd(), unix.F_OFD_SETLK, whole(unix.F_WRLCK)); err != unix.EAGAIN {
		t.Errorf("a writer beside a reader: %v", err)
	}
	has := whole(unix.F_WRLCK)
	must(t, unix.FcntlFlock(g.Fd(), unix.F_OFD_GETLK, has))
	if has.Type != unix.F_RDLCK || has.Pid != -1 {
		t.Errorf("the lock in the way is %+v", has)
	}
	got := make(chan error)
	go func() { got <- unix.FcntlFlock(g.Fd(), unix.F_OFD_SETLKW, whole(unix.F_WRLCK)) }()
	select {
	case err := <-got:
		t.Errorf("got it at once: %v", err)
	default:
	}
	f.Close()
	must(t, <-got)
}
