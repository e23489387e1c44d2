package fs

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"megafs/fs/volume"
	"megafs/remote"
	"megafs/remote/remotetest"
)

// stuck is a volume whose reads wait for ever.
type stuck struct {
	Volume
	waits chan struct{} // one for each read that began to wait
}

type stuckHandle struct {
	Handle
	waits chan struct{}
}

func (s stuck) Open(ctx context.Context, ino remote.Ino, write, trunc bool) (Handle, error) {
	h, err := s.Volume.Open(ctx, ino, write, trunc)
	return stuckHandle{h, s.waits}, err
}

func (h stuckHandle) ReadAt(ctx context.Context, dst []byte, off uint64) (int, error) {
	done := ctx.Done()
	h.waits <- struct{}{}
	<-done
	return 0, remote.E("fetch", "", remote.Other, ctx.Err())
}

func mountStuck(t *testing.T, timeout time.Duration) (*machine, chan struct{}) {
	waits := make(chan struct{}, 100)
	m := mount(t, remotetest.NewStore(), func(o *Options) {
		o.Volume, o.ReadTimeout, o.grace = stuck{o.Volume, waits}, timeout, time.Millisecond
	})
	m.write("f", "content")
	return m, waits
}

// TestNeverAHang: a read that the store does not answer ends at its deadline, never short.
func TestNeverAHang(t *testing.T) {
	m, _ := mountStuck(t, 50*time.Millisecond)
	if b, err := os.ReadFile(m.path("f")); !errors.Is(err, syscall.ETIMEDOUT) || len(b) != 0 {
		t.Errorf("read %q, %v", b, err)
	}
	if _, err := os.Stat(m.path("f")); err != nil {
		t.Error(err)
	}
}

// TestKill: a program that waits for the store can be ended, and meanwhile everything else is answered.
func TestKill(t *testing.T) {
	m, waits := mountStuck(t, time.Hour)
	cmd := exec.Command("sh", "-c", `trap : URG; read x <"$0"`, m.path("f")) // what is read in the shell itself
	must(t, cmd.Start())
	<-waits
	if _, err := os.ReadDir(m.dir); err != nil {
		t.Error(err)
	}
	m.write("g", "")
	must(t, cmd.Process.Signal(syscall.SIGURG)) // asks for nothing
	eventually(t, "the signal is ignored", func() bool { return m.Stats().Ignored > 0 })
	must(t, cmd.Process.Signal(syscall.SIGINT))
	cmd.Wait()
	if s, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); !ok || s.Signal() != syscall.SIGINT {
		t.Errorf("ended with %v", cmd.ProcessState)
	}
}

// TestPanicIsOneError: a fault in one request is an error of that request.
func TestPanicIsOneError(t *testing.T) {
	m := mount(t, remotetest.NewStore(), func(o *Options) { o.Volume = faulty{o.Volume} })
	if err := os.Mkdir(m.path("d"), 0o755); !errors.Is(err, syscall.EIO) {
		t.Error(err)
	}
	m.write("f", "fine")
	if s := m.Stats(); s.Panics != 1 {
		t.Errorf("%+v", s)
	}
	eventually(t, "nothing is under way, the release that nobody waits for neither", func() bool { return m.Stats().InFlight == 0 })
	m.c.panics.Store(0)
}

// faulty panics when it makes a directory.
type faulty struct{ Volume }

func (f faulty) Make(c context.Context, parent remote.Ino, name string, t remote.Type, mode uint16, rdev uint32, target string, by volume.Caller) (volume.Stat, error) {
	if t == remote.Dir {
		panic(name)
	}
	return f.Volume.Make(c, parent, name, t, mode, rdev, target, by)
}
