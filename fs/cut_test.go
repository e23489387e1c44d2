package fs

import (
	"bytes"
	"os"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"megafs/remote"
	"megafs/remote/remotetest"
)

// TestReadsDuringCuts: who reads while a file is cut sees what was there, or that it ends, but never zeros.
func TestReadsDuringCuts(t *testing.T) {
	m := mount(t, remotetest.NewStore(), nil)
	full := bytes.Repeat([]byte("x"), 136)
	m.write("f", string(full))
	done := make(chan struct{})
	var wg sync.WaitGroup
	for range 6 {
		wg.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				b, err := os.ReadFile(m.path("f"))
				if err != nil || !bytes.Equal(b, full[:min(len(b), len(full))]) {
					t.Errorf("read %d bytes: %q, %v", len(b), b, err)
					return
				}
			}
		})
	}
	// A new file each time, so that none is written while it is read.
	for i := range 300 {
		m.write("new", string(full))
		must(t, os.Rename(m.path("new"), m.path("f")))
		if i%2 == 0 {
			must(t, os.Truncate(m.path("f"), 0))
			continue
		}
		fd, err := unix.Open(m.path("f"), unix.O_WRONLY|unix.O_TRUNC|unix.O_CLOEXEC, 0)
		must(t, err)
		must(t, unix.Close(fd))
	}
	close(done)
	wg.Wait()
}

// TestCuts: a read waits only where a cut took bytes away, until all cuts of that file are over, and not for ever.
func TestCuts(t *testing.T) {
	var c cuts
	waits := func(ino remote.Ino, end uint64) time.Duration {
		begun := time.Now()
		c.wait(ino, end)
		return time.Since(begun)
	}
	first, second := c.begin(2, 100), c.begin(2, 50)
	if d := waits(2, 99); d < cutWaitMost {
		t.Errorf("a read during a cut was answered after %v", d)
	}
	for _, x := range []struct {
		ino remote.Ino
		end uint64
	}{{2, 100}, {3, 0}} {
		if d := waits(x.ino, x.end); d >= cutWaitMost {
			t.Errorf("a read of %d up to %d waited %v", x.ino, x.end, d)
		}
	}
	first()
	second()
	waits(2, 0)
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.m) != 0 || c.some.Load() != 0 {
		t.Error("cuts that are over are still known")
	}
}
