package blob

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"megafs/remote"
)

// RetryOptions say how long to go on. Zero fields mean the default.
type RetryOptions struct {
	Attempts int           // in all; default 6
	Base     time.Duration // longest wait before the second attempt, doubled for each further one; default 200 ms
	Max      time.Duration // longest wait; default 30 s
	// Sleep waits, or returns early when ctx ends.
	Sleep func(ctx context.Context, d time.Duration)
	// Random returns a number in [0,1). A wait is between half and all of its longest.
	Random func() float64
	// Waiting, if not nil, is told of each failed attempt that will be repeated, from any goroutine.
	Waiting func(op string, err error, wait time.Duration)
}

type retrying struct {
	inner Store
	o     RetryOptions
}

// Retry repeats calls that failed with Unreachable or Timeout. A Put that fails so may have taken place: before it is repeated, and when a later
// attempt finds the name taken, the object is read, and if it has the same bytes the Put succeeded. It is looked for first because a server that
// refuses a large object may hang up before it was heard: then every attempt would fail as the first did.
func Retry(inner Store, opts RetryOptions) Store {
	if opts.Attempts == 0 {
		opts.Attempts = 6
	}
	if opts.Base == 0 {
		opts.Base = 200 * time.Millisecond
	}
	if opts.Max == 0 {
		opts.Max = 30 * time.Second
	}
	if opts.Sleep == nil {
		opts.Sleep = sleep
	}
	if opts.Random == nil {
		opts.Random = rand.Float64
	}
	return &retrying{inner, opts}
}

func sleep(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// do calls f until it succeeds, fails for good, or the attempts are used up. f may set *attempt to 0 when it got on.
func (r *retrying) do(ctx context.Context, op string, f func(attempt *int) error) error {
	for attempt := 1; ; attempt++ {
		err := f(&attempt)
		if !remote.Is(err, remote.Unreachable) && !remote.Is(err, remote.Timeout) {
			return err
		}
		if attempt >= r.o.Attempts || ctx.Err() != nil {
			return err
		}
		wait := r.o.Base << min(attempt-1, 30)
		if wait > r.o.Max || wait < r.o.Base {
			wait = r.o.Max
		}
		wait = wait/2 + time.Duration(r.o.Random()*float64(wait/2))
		if l := (later{}); errors.As(err, &l) { // the store said how long; not all are to come back in one moment
			wait = max(wait, l.after+time.Duration(r.o.Random()*float64(r.o.Base)))
		}
		if r.o.Waiting != nil {
			r.o.Waiting(op, err, wait)
		}
		r.o.Sleep(ctx, wait)
		if ctx.Err() != nil {
			return err // which says more than that nobody waits
		}
	}
}

// Put implements Store.
func (r *retrying) Put(ctx context.Context, name string, data []byte) error {
	open := false // whether an attempt may have taken place
	return r.do(ctx, "put", func(*int) error {
		if open {
			if done, err := r.found(ctx, name, data, remote.E("put", name, remote.Exist, nil)); done {
				return err
			}
		}
		err := r.inner.Put(ctx, name, data)
		if !open || !remote.Is(err, remote.Exist) {
			open = true
			return err
		}
		if done, ferr := r.found(ctx, name, data, err); done {
			return ferr
		}
		return err
	})
}

// found looks whether a Put has taken place. It is done with nil if so, with exist if others took the name, and with an error that says that this is not
// known; not done if nothing is there.
func (r *retrying) found(ctx context.Context, name string, data []byte, exist error) (done bool, err error) {
	there, err := r.inner.Get(ctx, name, int64(len(data)))
	switch {
	case err == nil && bytes.Equal(there, data):
		return true, nil
	case err == nil, remote.Is(err, remote.TooLarge):
		return true, exist
	case remote.Is(err, remote.NotExist):
		return false, nil
	}
	return true, err
}

// Get implements Store.
func (r *retrying) Get(ctx context.Context, name string, limit int64) (b []byte, err error) {
	err = r.do(ctx, "get", func(*int) (err error) {
		b, err = r.inner.Get(ctx, name, limit)
		return err
	})
	return b, err
}

// GetRange implements Store.
func (r *retrying) GetRange(ctx context.Context, name string, off int64, dst []byte) error {
	return r.do(ctx, "get range", func(*int) error { return r.inner.GetRange(ctx, name, off, dst) })
}

// Size implements Store.
func (r *retrying) Size(ctx context.Context, name string) (n int64, err error) {
	err = r.do(ctx, "size", func(*int) (err error) {
		n, err = r.inner.Size(ctx, name)
		return err
	})
	return n, err
}

// List implements Store. A listing that breaks off goes on after the last name that fn was told.
func (r *retrying) List(ctx context.Context, prefix, after string, fn func(Info) error) error {
	var stop callerStop
	err := r.do(ctx, "list", func(attempt *int) error {
		return r.inner.List(ctx, prefix, after, func(i Info) error {
			if err := fn(i); err != nil {
				return callerStop{err} // not the store's, so not repeated
			}
			if i.Name > after {
				after, *attempt = i.Name, 0
			}
			return nil
		})
	})
	if errors.As(err, &stop) {
		return stop.error
	}
	return err
}

// Delete implements Store.
func (r *retrying) Delete(ctx context.Context, name string) error {
	return r.do(ctx, "delete", func(*int) error { return r.inner.Delete(ctx, name) })
}

// Usage implements Store.
func (r *retrying) Usage(ctx context.Context) (u remote.Usage, err error) {
	err = r.do(ctx, "usage", func(*int) (err error) {
		u, err = r.inner.Usage(ctx)
		return err
	})
	return u, err
}

// Close implements Store.
func (r *retrying) Close() error { return r.inner.Close() }
