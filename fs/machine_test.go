package fs

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"megafs/fs/journal"
	"megafs/fs/volume"
	"megafs/remote/remotetest"
)

var ctx = context.Background()

// machine is a volume on a store that others may share, mounted.
type machine struct {
	*Server
	t   testing.TB
	vol *volume.Volume
	dir string
}

func needFUSE(t testing.TB) {
	t.Helper()
	f, err := os.OpenFile("/dev/fuse", os.O_RDWR, 0)
	if err != nil {
		t.Skipf("mounting needs /dev/fuse: %v", err)
	}
	f.Close()
	if os.Geteuid() != 0 {
		t.Skip("these tests mount as root")
	}
}

// openVolume opens one more machine's view of a store.
func openVolume(t testing.TB, store *remotetest.Store, changed func([]volume.Change)) *volume.Volume {
	t.Helper()
	v, err := volume.Open(ctx, volume.Options{
		Remote: store.Open(), StateDir: t.TempDir(), CacheDir: t.TempDir(), JournalSize: 64 << 20, LocalStore: true,
		Settle: time.Millisecond, MaxAge: 10 * time.Millisecond, Poll: 5 * time.Millisecond, Log: testLog(t), Changed: changed,
		JournalOptions: func(o *journal.Options) { o.SegmentSize = 4 << 20 },
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := v.Close(ctx); err != nil {
			t.Error(err)
		}
	})
	return v
}

func testLog(t testing.TB) *slog.Logger {
	return slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn}))
}

// mount mounts one more machine's view of a store. change, if not nil, alters the options.
func mount(t testing.TB, store *remotetest.Store, change func(*Options)) *machine {
	t.Helper()
	needFUSE(t)
	base := t.TempDir()
	m := &machine{t: t, dir: filepath.Join(base, "mnt")}
	if err := errors.Join(os.Mkdir(m.dir, 0o755), os.Chmod(filepath.Dir(base), 0o755)); err != nil {
		t.Fatal(err)
	}
	ready := make(chan struct{})
	m.vol = openVolume(t, store, func(ch []volume.Change) {
		<-ready
		if m.Server != nil {
			m.Changed(ch)
		}
	})
	o := Options{Volume: Of(m.vol), MountPoint: m.dir, Log: testLog(t)}
	if change != nil {
		change(&o)
	}
	var err error
	m.Server, err = Mount(o)
	close(ready)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.Unmount(); err != nil {
			t.Errorf("unmount: %v", err)
			m.Lazy()
		}
		if n := m.Stats().Panics; n > 0 {
			t.Errorf("%d requests panicked", n)
		}
		if n := m.Stats().InFlight; n != 0 {
			t.Errorf("%d requests in flight after the end", n)
		}
	})
	return m
}

// path returns the path of a name in the mount.
func (m *machine) path(name ...string) string {
	return filepath.Join(append([]string{m.dir}, name...)...)
}

func (m *machine) write(name, content string) {
	m.t.Helper()
	if err := os.WriteFile(m.path(name), []byte(content), 0o644); err != nil {
		m.t.Fatal(err)
	}
}

func (m *machine) read(name string) string {
	m.t.Helper()
	b, err := os.ReadFile(m.path(name))
	if err != nil {
		m.t.Fatal(err)
	}
	return string(b)
}

// drain waits until the store has everything.
func (m *machine) drain() {
	m.t.Helper()
	c, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	if err := m.vol.Drain(c); err != nil {
		m.t.Fatal(err)
	}
}

// eventually waits for what another machine's change must bring about.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("never: %s", what)
		}
	}
}

// run runs a program and returns what it wrote.
func run(t testing.TB, dir string, uid uint32, name string, args ...string) (string, error) {
	t.Helper()
	if _, err := exec.LookPath(name); err != nil {
		t.Skipf("needs %s", name)
	}
	// Between fork and exec a child of this process must not need an answer from a mount of this process: nothing of it can be
	// stopped meanwhile, and what answers may have to wait for all that is to be stopped. So the shell goes to the directory.
	cmd := exec.Command("/bin/sh", append([]string{"-c", `cd "$0" && exec "$@"`, dir, name}, args...)...)
	cmd.Dir = "/"
	cmd.Env = append(os.Environ(), "LC_ALL=C", "HOME=/nonexistent", "GIT_CONFIG_NOSYSTEM=1",
		"GIT_AUTHOR_NAME=a", "GIT_AUTHOR_EMAIL=a@b", "GIT_COMMITTER_NAME=a", "GIT_COMMITTER_EMAIL=a@b")
	if uid != 0 {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}}
	}
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// sh runs a shell script that must succeed.
func sh(t testing.TB, dir string, uid uint32, script string) string {
	t.Helper()
	out, err := run(t, dir, uid, "sh", "-euc", script)
	if err != nil {
		t.Fatalf("%s: %v\n%s", script, err, out)
	}
	return out
}

const stranger = 1234 // some user without rights

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
