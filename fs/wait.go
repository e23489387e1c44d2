package fs

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
)

// grace is how long a request waits before it gives in to a signal, and how often it looks for another.
const grace = time.Second

// wait is the context of a request that may wait: it ends at its deadline, or when the caller was told by a signal to
// stop. Nobody watches over a request that does not wait, which is nearly every one: the goroutine starts with the first
// call of Done.
type wait struct {
	c      *conn
	cancel <-chan struct{} // closed when the kernel passes a signal on; of no use once the request is answered
	pid    uint32
	began  time.Time
	until  time.Time // zero is never
	grace  time.Duration
	asks   func(pid uint32) bool

	mu   sync.Mutex
	done chan struct{} // made by the first Done
	stop chan struct{}
	err  error
}

func (c *conn) wait(cancel <-chan struct{}, in *fuse.InHeader, timeout time.Duration) *wait {
	w := &wait{c: c, cancel: cancel, pid: in.Pid, began: time.Now(), grace: c.grace, asks: asked}
	if timeout > 0 {
		w.until = w.began.Add(timeout)
	}
	return w
}

// Deadline implements context.Context.
func (w *wait) Deadline() (time.Time, bool) { return w.until, !w.until.IsZero() }

// Value implements context.Context.
func (w *wait) Value(any) any { return nil }

// Err implements context.Context.
func (w *wait) Err() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.err
}

// Done implements context.Context.
func (w *wait) Done() <-chan struct{} {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.done == nil {
		w.done = make(chan struct{})
		if w.err != nil {
			close(w.done)
		} else {
			w.stop = make(chan struct{})
			go w.watch(w.stop)
		}
	}
	return w.done
}

// end is called when the request is answered: what still uses the context is told to stop.
func (w *wait) end() {
	w.finish(context.Canceled)
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.stop != nil {
		close(w.stop)
	}
}

func (w *wait) finish(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err != nil {
		return
	}
	w.err = err
	if w.done != nil {
		close(w.done)
	}
}

func (w *wait) watch(stop <-chan struct{}) {
	var late <-chan time.Time
	if !w.until.IsZero() {
		t := time.NewTimer(time.Until(w.until))
		defer t.Stop()
		late = t.C
	}
	cancel, look := w.cancel, (<-chan time.Time)(nil)
	for {
		select {
		case <-stop:
			return
		case <-late:
			w.finish(context.DeadlineExceeded)
			return
		case <-cancel:
			cancel = nil
			look = time.After(w.grace - time.Since(w.began))
		case <-look:
			if w.c.going.Load() || w.asks(w.pid) {
				w.c.interrupted.Add(1)
				w.finish(context.Canceled)
				return
			}
			w.c.ignored.Add(1)
			look = time.After(w.grace) // the kernel passes only the first signal on
		}
	}
}

// idle are the signals that ask a program for nothing that a read must be given up for: runtimes and profilers send them all the
// time, and the rest is about children, windows and other files.
const idle = 1<<(syscall.SIGURG-1) | 1<<(syscall.SIGPROF-1) | 1<<(syscall.SIGVTALRM-1) |
	1<<(syscall.SIGCHLD-1) | 1<<(syscall.SIGWINCH-1) | 1<<(syscall.SIGCONT-1) | 1<<(syscall.SIGIO-1)

// asked reports whether a signal waits for a thread that asks it to stop. It can't always be told; then it does.
func asked(tid uint32) bool {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", tid))
	if tid == 0 || err != nil {
		return true
	}
	return asking(b)
}

func asking(status []byte) bool {
	var pending, blocked, ignored uint64
	for line := range bytes.Lines(status) { // of any length: a program may be in thousands of groups
		key, value, _ := bytes.Cut(line, []byte(":"))
		set, err := strconv.ParseUint(string(bytes.TrimSpace(value)), 16, 64)
		switch string(key) {
		case "SigPnd", "ShdPnd":
			if err != nil {
				return true
			}
			pending |= set
		case "SigBlk":
			blocked = set
		case "SigIgn":
			ignored = set
		}
	}
	return pending&^(blocked|ignored|idle) != 0
}
