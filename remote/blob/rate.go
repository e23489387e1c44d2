package blob

import (
	"context"
	"sync"

	"golang.org/x/time/rate"
)

// Rates bounds how many bytes of objects a second go up and come down. The zero Rates bounds nothing; it is safe for concurrent use.
type Rates struct{ up, down bound }

// MinRate is the least bound: with less, requests would count as stalled.
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

// bound is one direction's.
type bound struct {
	once sync.Once
	l    *rate.Limiter
}

func (b *bound) limiter() *rate.Limiter {
	b.once.Do(func() { b.l = rate.NewLimiter(rate.Inf, rateStep) })
	return b.l
}

func (b *bound) set(n int64) {
	switch {
	case n == 0:
		b.limiter().SetLimit(rate.Inf)
	case n > 0:
		b.limiter().SetLimit(rate.Limit(max(n, MinRate)))
	}
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
	if l.Limit() == rate.Inf {
		return nil
	}
	return l.WaitN(ctx, n)
}
