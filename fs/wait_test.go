package fs

import (
	"context"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
)

func newWait(timeout, grace time.Duration, asks func() bool) (*wait, chan struct{}) {
	cancel := make(chan struct{})
	c := testConn(nil)
	w := c.wait(cancel, &fuse.InHeader{Caller: fuse.Caller{Pid: uint32(os.Getpid())}}, timeout)
	w.grace, w.asks = grace, func(uint32) bool { return asks() }
	return w, cancel
}

func TestWaitEndsAtItsDeadline(t *testing.T) {
	w, _ := newWait(time.Millisecond, time.Hour, func() bool { return true })
	defer w.end()
	<-w.Done()
	if w.Err() != context.DeadlineExceeded {
		t.Error(w.Err())
	}
	if d, ok := w.Deadline(); !ok || d.Before(w.began) {
		t.Error(d, ok)
	}
}

func TestWaitWithoutADeadline(t *testing.T) {
	w, _ := newWait(0, 0, func() bool { return true })
	if _, ok := w.Deadline(); ok {
		t.Error("it has one")
	}
	done := w.Done()
	if w.Err() != nil {
		t.Error(w.Err())
	}
	w.end()
	<-done // what still waits on behalf of the request is let go
	if w.Err() != context.Canceled {
		t.Error(w.Err())
	}
}

// TestWaitGivesInToAnAskingSignal: signals that ask for nothing don't end a wait, one that comes after them does.
func TestWaitGivesInToAnAskingSignal(t *testing.T) {
	looks := 0
	w, cancel := newWait(0, 0, func() bool { looks++; return looks > 3 })
	defer w.end()
	done := w.Done()
	select {
	case <-done:
		t.Fatal("ended before any signal")
	default:
	}
	close(cancel)
	<-done
	if looks != 4 || w.Err() != context.Canceled {
		t.Error(looks, w.Err())
	}
	if n := w.c.ignored.Load(); n != 3 {
		t.Errorf("%d signals ignored", n)
	}
}

// TestWaitHasGrace: a signal alone ends nothing before its time.
func TestWaitHasGrace(t *testing.T) {
	w, cancel := newWait(20*time.Millisecond, time.Hour, func() bool { return true })
	defer w.end()
	close(cancel)
	<-w.Done()
	if w.Err() != context.DeadlineExceeded {
		t.Error(w.Err())
	}
}

// TestWaitAtUnmount: once the mount is going, nobody asks why a request is interrupted.
func TestWaitAtUnmount(t *testing.T) {
	w, cancel := newWait(0, 0, func() bool { return false })
	defer w.end()
	w.c.going.Store(true)
	close(cancel)
	<-w.Done()
}

func TestWaitAfterItsEnd(t *testing.T) {
	w, _ := newWait(0, 0, func() bool { return true })
	w.end()
	<-w.Done()
}

func TestAsking(t *testing.T) {
	const none = "SigPnd:\t0000000000000000\nShdPnd:\t0000000000000000\nSigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\n"
	bit := func(s syscall.Signal) string { return strings.ToLower(hex16(1 << (s - 1))) }
	with := func(field string, s syscall.Signal) string {
		return strings.Replace(none, field+":\t0000000000000000", field+":\t"+bit(s), 1)
	}
	for _, x := range []struct {
		name, status string
		want         bool
	}{
		{"nothing", none, false},
		{"a kill", with("SigPnd", syscall.SIGKILL), true},
		{"an interrupt for the process", with("ShdPnd", syscall.SIGINT), true},
		{"an alarm", with("ShdPnd", syscall.SIGALRM), true},
		{"a preemption", with("SigPnd", syscall.SIGURG), false},
		{"a profiler", with("ShdPnd", syscall.SIGPROF), false},
		{"a child's end", with("ShdPnd", syscall.SIGCHLD), false},
		{"a blocked signal", with("SigPnd", syscall.SIGTERM) + "SigBlk:\t" + bit(syscall.SIGTERM), false},
		{"an ignored signal", with("SigPnd", syscall.SIGHUP) + "SigIgn:\t" + bit(syscall.SIGHUP), false},
		{"what can't be read", "SigPnd:\tx\n", true},
	} {
		if got := asking([]byte(x.status)); got != x.want {
			t.Errorf("%s: %v", x.name, got)
		}
	}
	if asked(uint32(os.Getpid())) {
		t.Error("nobody asked this process")
	}
	if !asked(0) {
		t.Error("a process of another namespace can't be asked, so it is believed")
	}
}

func hex16(n uint64) string {
	const digits = "0123456789abcdef"
	b := make([]byte, 16)
	for i := range b {
		b[15-i] = digits[n>>(4*i)&15]
	}
	return string(b)
}
