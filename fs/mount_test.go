package fs

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/hanwen/go-fuse/v2/posixtest"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"megafs/remote"
	"megafs/remote/remotetest"
)

// TestPosix runs package fuse's tests of POSIX semantics. Left out is one that fails on every file system: it expects that two
// descriptors of one process exclude each other from a lock.
func TestPosix(t *testing.T) { // not beside others: FdLeak counts the process's descriptors
	for name, f := range posixtest.All {
		if name != "FcntlFlockLocksFile" {
			t.Run(name, func(t *testing.T) { f(t, mount(t, remotetest.NewStore(), nil).dir) })
		}
	}
}

func TestMountErrors(t *testing.T) {
	needFUSE(t)
	base := t.TempDir()
	mk := func(name string) string {
		p := filepath.Join(base, name)
		if err := os.Mkdir(p, 0o755); err != nil {
			t.Fatal(err)
		}
		return p
	}
	file, full, theirs := filepath.Join(base, "file"), mk("full"), mk("theirs")
	link := filepath.Join(base, "link")
	if err := errors.Join(os.WriteFile(file, nil, 0o644), os.WriteFile(filepath.Join(full, "x"), nil, 0o644),
		os.Chown(theirs, 1234, 1234), os.Symlink(mk("dir"), link)); err != nil {
		t.Fatal(err)
	}
	m := mount(t, remotetest.NewStore(), nil)
	for _, x := range []struct {
		point string
		kind  remote.Kind
		mend  string
	}{
		{"", remote.Invalid, "give the directory"},
		{filepath.Join(base, "none"), remote.NotExist, "mkdir -p"},
		{file, remote.NotDir, "directory"},
		{link, remote.NotDir, "symbolic link"},
		{full, remote.NotEmpty, "nonempty"},
		{theirs, remote.Permission, "allow_other"},
		{m.dir, remote.Busy, "fusermount3 -u"},
	} {
		s, err := Mount(Options{Volume: Of(m.vol), MountPoint: x.point})
		if err == nil {
			s.Unmount()
			t.Errorf("mounted on %q", x.point)
			continue
		}
		if remote.KindOf(err) != x.kind || !strings.Contains(err.Error(), x.mend) {
			t.Errorf("on %q: %v, want one of kind %q that tells of %q", x.point, err, x.kind, x.mend)
		}
	}
	for _, o := range []Options{
		{MountPoint: full, Extra: []string{"nonempty"}},
		{MountPoint: theirs, AllowOther: true},
	} {
		o.Volume = Of(m.vol)
		s, err := Mount(o)
		if err != nil {
			t.Errorf("on %q in spite of it: %v", o.MountPoint, err)
			continue
		}
		if err := s.Unmount(); err != nil {
			t.Error(err)
		}
	}
}

// TestMountFlags: no option lets programs of the store have rights of their own.
func TestMountFlags(t *testing.T) {
	m := mount(t, remotetest.NewStore(), func(o *Options) { o.Extra, o.FsName = []string{"noexec,noatime"}, "work" })
	info, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(info)) {
		if !strings.Contains(line, " "+m.dir+" ") {
			continue
		}
		for _, want := range []string{"nosuid", "nodev", "noexec", "noatime", "default_permissions", " fuse.mega work "} {
			if !strings.Contains(line, want) {
				t.Errorf("%q is missing in %q", want, line)
			}
		}
		return
	}
	t.Error("not mounted")
}

func TestReadOnlyMount(t *testing.T) {
	store := remotetest.NewStore()
	a := mount(t, store, nil)
	a.write("f", "kept")
	a.drain()
	b := mount(t, store, func(o *Options) { o.ReadOnly = true })
	eventually(t, "the file is there, with its content", func() bool { got, err := os.ReadFile(b.path("f")); return err == nil && string(got) == "kept" })
	if err := os.WriteFile(b.path("g"), nil, 0o644); !errors.Is(err, syscall.EROFS) {
		t.Errorf("writing: %v", err)
	}
}

// TestReadAhead: as root the kernel reads ahead in large requests.
func TestReadAhead(t *testing.T) {
	m := mount(t, remotetest.NewStore(), nil)
	var st unix.Stat_t
	if err := unix.Stat(m.dir, &st); err != nil {
		t.Fatal(err)
	}
	want := []byte("4096\n")
	got, err := os.ReadFile(filepath.Join("/sys/class/bdi", fmt.Sprintf("%d:%d", unix.Major(st.Dev), unix.Minor(st.Dev)), "read_ahead_kb"))
	if errors.Is(err, fs.ErrNotExist) {
		t.Skip("no /sys")
	}
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("%q, %v", got, err)
	}
}

func TestUnmount(t *testing.T) {
	m := mount(t, remotetest.NewStore(), nil)
	m.write("f", "content")
	f, err := os.Open(m.path("f"))
	if err != nil {
		t.Fatal(err)
	}
	me := fmt.Sprintf("(%d)", os.Getpid())
	if err := m.Unmount(); !remote.Is(err, remote.Busy) || !strings.Contains(err.Error(), "lazily") || !strings.Contains(err.Error(), me) {
		t.Errorf("while a file is open: %v", err)
	}
	if err := m.Lazy(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(m.path("f")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("still in sight: %v", err)
	}
	b := make([]byte, 7)
	if _, err := f.ReadAt(b, 0); err != nil || string(b) != "content" {
		t.Errorf("an open file reads %q, %v", b, err)
	}
	f.Close()
	m.Wait()
	if err := m.Unmount(); err != nil {
		t.Errorf("after the end: %v", err)
	}
	if s := m.Stats(); s.Handles != 0 || s.Inodes != 0 {
		t.Errorf("left over: %+v", s)
	}
}

// TestUnmountByOthers: Wait returns when somebody else unmounts, and Unmount leaves alone what is mounted there instead.
func TestUnmountByOthers(t *testing.T) {
	m := mount(t, remotetest.NewStore(), nil)
	sh(t, "/", 0, "umount "+m.dir)
	m.Wait()
	other := mountOn(t, m.dir)
	if err := m.Unmount(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(filepath.Join(m.dir, "mark")); err != nil {
		t.Errorf("what another mounted is gone: %v", err)
	}
	other()
}

func TestUnmountUnderAnother(t *testing.T) {
	m := mount(t, remotetest.NewStore(), nil)
	other := mountOn(t, m.dir)
	if err := m.Unmount(); !remote.Is(err, remote.Busy) {
		t.Error(err)
	}
	other()
}

// mountOn mounts something else with a file "mark" in it.
func mountOn(t *testing.T, dir string) (undo func()) {
	if err := unix.Mount("none", dir, "tmpfs", 0, ""); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "mark"), nil, 0o644); err != nil {
		t.Error(err)
	}
	return func() {
		if err := unix.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	}
}

// TestHelper mounts as an ordinary user does, through fusermount3.
func TestHelper(t *testing.T) {
	needFUSE(t)
	if _, err := helper("/"); err != nil {
		t.Skip(err)
	}
	m := mount(t, remotetest.NewStore(), nil)
	dir := t.TempDir()
	o := Options{Volume: Of(m.vol), FsName: "two words", Extra: []string{"noexec"}, ReadTimeout: time.Minute, Log: m.log}
	how, err := o.parse()
	if err != nil {
		t.Fatal(err)
	}
	fd, err := viaHelper(dir, how)
	if err != nil {
		t.Fatal(err)
	}
	s, err := serve(o, how, dir, fd)
	if err != nil {
		t.Fatal(err)
	}
	if typ := mountedType(dir); typ != "fuse.mega" {
		t.Errorf("type %q", typ)
	}
	if err := os.WriteFile(filepath.Join(dir, "f"), []byte("content"), 0o644); err != nil {
		t.Error(err)
	}
	f, err := os.Open(filepath.Join(dir, "f"))
	if err != nil {
		t.Fatal(err)
	}
	if err := detachViaHelper(dir, false); !errors.Is(err, unix.EBUSY) {
		t.Errorf("while a file is open: %v", err)
	}
	f.Close()
	eventually(t, "it unmounts", func() bool { return detachViaHelper(dir, false) == nil })
	s.Wait()
	if err := detachViaHelper(dir, false); !errors.Is(err, unix.EINVAL) {
		t.Errorf("what is not mounted: %v", err)
	}
	if _, err := viaHelper(filepath.Join(dir, "none"), how); !remote.Is(err, remote.Permission) || !strings.Contains(err.Error(), "fusermount3") {
		t.Errorf("where nothing is: %v", err)
	}
}

// TestNothingLeft: a mount that ended leaves no goroutine and no descriptor.
func TestNothingLeft(t *testing.T) {
	needFUSE(t)
	v := openVolume(t, remotetest.NewStore(), nil)
	open := func() int {
		fds, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		return len(fds)
	}
	before, goroutines := open(), goleak.IgnoreCurrent()
	for range 3 {
		s, err := Mount(Options{Volume: Of(v), MountPoint: t.TempDir(), Log: testLog(t)})
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Unmount(); err != nil {
			t.Error(err)
		}
	}
	goleak.VerifyNone(t, goroutines)
	if n := open(); n > before {
		t.Errorf("%d descriptors, %d before", n, before)
	}
}
