package mega

import (
	"context"
	"io"
	"sync"
	"time"
)

// Pace bounds how fast content goes and comes: its functions return when n more bytes may. Nil functions bound nothing.
type Pace struct {
	Up, Down func(ctx context.Context, n int) error
}

// paceStep is how many bytes of content go or come at once at most.
const paceStep = 64 << 10

// allowance is the time that a request has. It stands still while the pace is waited for, which is not for the server to hasten.
type allowance struct {
	context.Context
	cancel context.CancelCauseFunc

	mu      sync.Mutex
	timer   *time.Timer
	left    time.Duration // as of since
	since   time.Time
	waiting int // goroutines that wait for the pace
}

// allow begins an allowance, which ends with end.
func allow(ctx context.Context, d time.Duration) *allowance {
	a := &allowance{left: d, since: time.Now()}
	a.Context, a.cancel = context.WithCancelCause(ctx)
	a.timer = time.AfterFunc(d, func() {
		a.mu.Lock()
		defer a.mu.Unlock()
		if a.waiting == 0 && time.Since(a.since) >= a.left { // a timer that ran off while it was stopped does not count
			a.cancel(context.DeadlineExceeded)
		}
	})
	return a
}

func (a *allowance) end() {
	a.timer.Stop()
	a.cancel(nil)
}

// wait waits for the pace.
func (a *allowance) wait(pace func(context.Context, int) error, n int) error {
	if pace == nil || n == 0 {
		return nil
	}
	a.mu.Lock()
	if a.waiting++; a.waiting == 1 {
		a.timer.Stop()
		a.left -= time.Since(a.since)
	}
	a.mu.Unlock()
	err := pace(a, n)
	a.mu.Lock()
	if a.waiting--; a.waiting == 0 {
		a.since = time.Now()
		a.timer.Reset(max(a.left, 0))
	}
	a.mu.Unlock()
	return err
}

// paced reads content at its pace: bytes are waited for before they go, and after they came.
type paced struct {
	r      io.Reader
	a      *allowance
	before bool
	pace   func(context.Context, int) error
}

// Read implements io.Reader.
func (p *paced) Read(b []byte) (int, error) {
	b = b[:min(len(b), paceStep)]
	if !p.before {
		n, err := p.r.Read(b)
		if werr := p.a.wait(p.pace, n); err == nil {
			err = werr
		}
		return n, err
	}
	if l, ok := p.r.(interface{ Len() int }); ok {
		b = b[:min(len(b), l.Len())]
	}
	if len(b) == 0 {
		return 0, io.EOF
	}
	if err := p.a.wait(p.pace, len(b)); err != nil {
		return 0, err
	}
	return p.r.Read(b)
}
