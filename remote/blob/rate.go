package blob

import (
	"context"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// Rates bounds how many bytes of objects a second go up and come down. The zero Rates bounds nothing; it is safe for concurrent use.
type Rates struct{ up, down bound }

// MinRate is the least bound: with less, an object would take hours.
const MinRate = 16 << 10

// Set changes the bounds, in bytes a second, for calls under way too; 0 is none, and a negative number leaves one as it is.
func (r *Rates) Set(up, down int64) {
	r.up.set(up)
	r.down.set(down)
}

// Get returns the bounds; 0 is none.
func (r *Rates) Get() (up, down int64) { return r.up.get(), r.down.get() }

// rateStep is how many bytes go at once at most.
const rateStep = 64 << 10

// bound is one direction's. Those who wait stand in line, and only the first has a reservation, so that a change of the bound changes all waits.
type bound struct {
	once    sync.Once
	l       *rate.Limiter
	turn    chan struct{} // a token in it is the first in line
	mu      sync.Mutex
	changed chan struct{} // closed and renewed by set
}

func (b *bound) limiter() *rate.Limiter {
	b.once.Do(func() {
		b.l = rate.NewLimiter(rate.Inf, rateStep)
		b.turn, b.changed = make(chan struct{}, 1), make(chan struct{})
	})
	return b.l
}

func (b *bound) set(n int64) {
	if n < 0 {
		return
	}
	l, r := b.limiter(), rate.Inf
	if n > 0 {
		r = rate.Limit(max(n, MinRate))
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	l.SetLimit(r)
	close(b.changed)
	b.changed = make(chan struct{})
}

func (b *bound) get() int64 {
	if l := b.limiter().Limit(); l != rate.Inf {
		return int64(l)
	}
	return 0
}

// wait waits until n more bytes may go, at most rateStep.
func (b *bound) wait(ctx context.Context, n int) error {
	l := b.limiter()
	if l.Limit() == rate.Inf || n == 0 {
		return nil
	}
	select {
	case b.turn <- struct{}{}:
		defer func() { <-b.turn }()
	case <-ctx.Done():
		return ctx.Err()
	}
	for {
		b.mu.Lock()
		changed := b.changed
		r := l.ReserveN(time.Now(), n)
		b.mu.Unlock()
		d := r.Delay()
		if d <= 0 {
			return nil
		}
		t := time.NewTimer(d)
		select {
		case <-t.C:
			return nil
		case <-changed:
			t.Stop()
			r.Cancel()
		case <-ctx.Done():
			t.Stop()
			r.Cancel()
			return ctx.Err()
		}
	}
}

// Up waits until n more bytes may go up.
func (r *Rates) Up(ctx context.Context, n int) error { return r.up.waitAll(ctx, n) }

// Down waits until n more bytes may come down, or until those that came are made up for.
func (r *Rates) Down(ctx context.Context, n int) error { return r.down.waitAll(ctx, n) }

// waitAll is wait for any number of bytes.
func (b *bound) waitAll(ctx context.Context, n int) error {
	for n > 0 {
		step := min(n, rateStep)
		if err := b.wait(ctx, step); err != nil {
			return err
		}
		n -= step
	}
	return nil
}
