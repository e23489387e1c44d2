package fs

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"megafs/remote/remotetest"
)

// TestFileHandles opens files by handle, while the kernel knows them and in a new mount, where it does not: what was moved is
// found, and where a directory is; what was removed is ESTALE.
func TestFileHandles(t *testing.T) {
	m := mount(t, remotetest.NewStore(), nil)
	must(t, os.MkdirAll(m.path("d/e/deep"), 0o755))
	m.write("d/e/f", "content")
	m.write("d/gone", "x")
	m.write("d/open", "without a name")
	handle := func(name string) unix.FileHandle {
		h, _, err := unix.NameToHandleAt(unix.AT_FDCWD, m.path(name), 0)
		must(t, err)
		return h
	}
	file, gone, held, dir, deep := handle("d/e/f"), handle("d/gone"), handle("d/open"), handle("d/e"), handle("d/e/deep")
	must(t, os.Rename(m.path("d/e"), m.path("moved")))
	must(t, os.Remove(m.path("d/gone")))
	f, err := os.Open(m.path("d/open"))
	must(t, err)
	must(t, os.Remove(m.path("d/open")))
	at := m.dir
	open := func(h unix.FileHandle, flags int) (*os.File, error) {
		root, err := unix.Open(at, unix.O_RDONLY|unix.O_DIRECTORY, 0)
		must(t, err)
		defer unix.Close(root)
		fd, err := unix.OpenByHandleAt(root, h, flags)
		if errors.Is(err, unix.EPERM) {
			t.Skip("only root of the whole machine may open by handle")
		}
		if err != nil {
			return nil, err
		}
		f := os.NewFile(uintptr(fd), "by handle")
		t.Cleanup(func() { f.Close() })
		return f, nil
	}
	check := func() {
		t.Helper()
		g, err := open(file, unix.O_RDWR)
		must(t, err)
		b := make([]byte, 20)
		if n, err := g.Read(b); err != nil || string(b[:n]) != "content" {
			t.Errorf("%q, %v", b[:n], err)
		}
		g.Close()
		if _, err := open(gone, unix.O_RDONLY); err != unix.ESTALE {
			t.Errorf("what was removed: %v", err)
		}
		for h, want := range map[*unix.FileHandle]string{&deep: "moved/deep", &dir: "moved"} {
			g, err := open(*h, unix.O_RDONLY|unix.O_DIRECTORY)
			must(t, err)
			if got, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", g.Fd())); err != nil || got != filepath.Join(at, want) {
				t.Errorf("the directory is %s, %v", got, err)
			}
			g.Close()
		}
	}
	check()
	f.Close()
	must(t, m.Unmount())
	at = t.TempDir()
	s, err := Mount(Options{Volume: Of(m.vol), MountPoint: at, Log: testLog(t)})
	must(t, err)
	defer s.Unmount()
	check()
	if _, err := open(held, unix.O_RDONLY); err != unix.ESTALE {
		t.Errorf("what was removed while open: %v", err)
	}
	must(t, s.Unmount())
	if n := s.c.known.len(); n != 0 {
		t.Errorf("%d inodes are still known", n)
	}
}
