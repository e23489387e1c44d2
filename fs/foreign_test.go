package fs

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"

	"megafs/fs/volume"
	"megafs/remote"
	"megafs/remote/remotetest"
)

// TestForeignChanges: what one machine does, another sees, although its kernel keeps all it knows for an hour. Each look before a
// change makes the kernel know the state before.
func TestForeignChanges(t *testing.T) {
	t.Parallel()
	store := remotetest.NewStore()
	a, b := mount(t, store, nil), mount(t, store, nil)
	is := func(name, content string) func() bool {
		return func() bool {
			got, err := os.ReadFile(b.path(name))
			return err == nil && string(got) == content
		}
	}
	gone := func(name string) func() bool {
		return func() bool { _, err := os.Lstat(b.path(name)); return errors.Is(err, syscall.ENOENT) }
	}
	listed := func(want ...string) func() bool {
		return func() bool {
			entries, err := os.ReadDir(b.dir)
			var got []string
			for _, e := range entries {
				got = append(got, e.Name())
			}
			return err == nil && strings.Join(got, " ") == strings.Join(want, " ")
		}
	}
	mode := func(name string, want os.FileMode) func() bool {
		return func() bool { fi, err := os.Lstat(b.path(name)); return err == nil && fi.Mode() == want }
	}
	for _, x := range []struct {
		what   string
		do     func() error
		before func() bool
		after  []func() bool
	}{
		{"a file appears", func() error { return os.WriteFile(a.path("f"), []byte("one"), 0o644) }, gone("f"), []func() bool{is("f", "one"), listed("f")}},
		{"its content changes", func() error { return os.WriteFile(a.path("f"), []byte("second"), 0o644) }, is("f", "one"), []func() bool{is("f", "second")}},
		{"its mode changes", func() error { return os.Chmod(a.path("f"), 0o600) }, mode("f", 0o644), []func() bool{mode("f", 0o600)}},
		{"it moves", func() error { return os.Rename(a.path("f"), a.path("g")) }, gone("g"), []func() bool{gone("f"), is("g", "second"), listed("g")}},
		{"a directory appears", func() error { return os.Mkdir(a.path("d"), 0o755) }, gone("d"), []func() bool{listed("d", "g")}},
		{"it moves into it", func() error { return os.Rename(a.path("g"), a.path("d/g")) }, gone("d/g"), []func() bool{gone("g"), is("d/g", "second"), listed("d")}},
		{"a link appears", func() error { return os.Symlink("d/g", a.path("l")) }, gone("l"), []func() bool{is("l", "second")}},
		{"the link leads elsewhere", func() error {
			return errors.Join(os.WriteFile(a.path("h"), []byte("third"), 0o644), os.Remove(a.path("l")), os.Symlink("h", a.path("l")))
		}, is("l", "second"), []func() bool{is("l", "third")}},
		{"it is replaced", func() error {
			return errors.Join(os.WriteFile(a.path("new"), []byte("fourth"), 0o644), os.Rename(a.path("new"), a.path("h")))
		}, is("h", "third"), []func() bool{is("h", "fourth"), gone("new")}},
		{"it goes", func() error { return os.Remove(a.path("h")) }, is("h", "fourth"), []func() bool{gone("h"), listed("d", "l")}},
		{"the directory goes", func() error { return os.RemoveAll(a.path("d")) }, is("d/g", "second"), []func() bool{gone("d"), gone("d/g"), listed("l")}},
	} {
		eventually(t, "the state before "+x.what, x.before)
		if err := x.do(); err != nil {
			t.Fatalf("%s: %v", x.what, err)
		}
		a.drain()
		for i, ok := range x.after {
			eventually(t, fmt.Sprintf("%s (%d)", x.what, i), ok)
		}
	}
	if s := b.Stats(); s.Invalidations == 0 {
		t.Errorf("%+v", s)
	}
}

// TestForeignChangeOfAnOpenFile: a descriptor and a mapping that were there before show what is there now.
func TestForeignChangeOfAnOpenFile(t *testing.T) {
	t.Parallel()
	store := remotetest.NewStore()
	a, b := mount(t, store, nil), mount(t, store, nil)
	a.write("f", strings.Repeat("a", 9000))
	a.drain()
	var f *os.File
	eventually(t, "the file is there", func() (ok bool) {
		var err error
		f, err = os.Open(b.path("f"))
		return err == nil
	})
	defer f.Close()
	read := func() string {
		buf := make([]byte, 10000)
		n, _ := f.ReadAt(buf, 0)
		return string(buf[:n])
	}
	if got := read(); got != strings.Repeat("a", 9000) {
		t.Fatalf("%d bytes", len(got))
	}
	g, err := os.OpenFile(a.path("f"), os.O_RDWR, 0)
	must(t, err)
	_, err = g.WriteAt([]byte("b"), 5000)
	must(t, err)
	must(t, g.Truncate(6000))
	must(t, g.Close())
	a.drain()
	want := strings.Repeat("a", 5000) + "b" + strings.Repeat("a", 999)
	eventually(t, "the open file shows the change", func() bool { return read() == want })
}

// TestForeignOverflow: when more changes than the queue holds, or than the volume keeps count of, nothing old is seen all the same.
func TestForeignOverflow(t *testing.T) {
	var many []volume.Change
	for i := range 100 {
		many = append(many, volume.Change{Ino: remote.Ino(i + 100)})
		many = append(many, volume.Change{Parent: remote.Root, Name: fmt.Sprint("other", i)})
	}
	t.Run("queue", func(t *testing.T) { overflowed(t, many) })
	t.Run("volume", func(t *testing.T) { overflowed(t, []volume.Change{{}}) })
}

func overflowed(t *testing.T, changes []volume.Change) {
	m := mount(t, remotetest.NewStore(), nil)
	m.write("f", "one")
	if m.read("f") != "one" {
		t.Fatal(m.read("f"))
	}
	if _, err := os.Stat(m.path("new")); !os.IsNotExist(err) {
		t.Fatal(err)
	}
	// Behind the kernel's back.
	s, err := m.vol.Make(ctx, remote.Root, "new", remote.File, 0o644, 0, "", volume.Caller{})
	must(t, err)
	m.vol.Forget(s.Ino, 1)
	must(t, m.vol.Unlink(ctx, remote.Root, "f"))
	if _, err := os.Stat(m.path("f")); err != nil {
		t.Fatalf("the kernel does not keep names, so this test shows nothing: %v", err)
	}
	m.c.inval.mu.Lock()
	m.c.inval.most = 10
	m.c.inval.mu.Unlock()
	m.Changed(changes)
	eventually(t, "the new name is seen", func() bool { _, err := os.Stat(m.path("new")); return err == nil })
	eventually(t, "the old name is gone", func() bool { _, err := os.Stat(m.path("f")); return os.IsNotExist(err) })
	if n := m.Stats().Overflows; n != 1 {
		t.Errorf("%d overflows", n)
	}
	eventually(t, "times are long again", func() bool { return m.c.short.Load() == 0 })
}

// TestPruneOnRequest: the kernel lets go of inodes when it is asked to.
func TestPruneOnRequest(t *testing.T) {
	m := mount(t, remotetest.NewStore(), nil)
	for i := range 100 {
		m.write(fmt.Sprint("f", i), "")
	}
	if n := m.Stats().Inodes; n < 100 {
		t.Fatalf("the kernel knows of %d inodes", n)
	}
	m.c.inval.mu.Lock()
	m.c.inval.known = 10
	m.c.inval.mu.Unlock()
	m.c.inval.nudge()
	eventually(t, "most are forgotten", func() bool { return m.Stats().Inodes <= 20 })
	for i := range 100 {
		if _, err := os.Stat(m.path(fmt.Sprint("f", i))); err != nil {
			t.Error(err)
		}
	}
}
