package volume

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"time"

	"megafs/remote"
	"megafs/remote/blob"
)

// flaky is one machine's way to a store that others use, too: calls are slow, fail, break off in the midst, or take place and fail all the same.
type flaky struct {
	blob.Store
	mu      sync.Mutex
	rng     *rand.Rand
	percent int           // of calls that have trouble
	slow    time.Duration // how long a call is kept, at most
	away    bool          // nothing gets through
	calls   int
}

// set changes what trouble there is.
func (f *flaky) set(percent int, slow time.Duration, away bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.percent, f.slow, f.away = percent, slow, away
}

func (f *flaky) count() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.calls
}

// The ways in which a call goes wrong.
type trouble int

const (
	well   trouble = iota
	before         // nothing happened
	amid           // a part of the answer came
	after          // it took place, and the answer was lost
	twice          // it was sent again on the way
)

func (f *flaky) pick(ctx context.Context) (trouble, error) {
	f.mu.Lock()
	f.calls++
	how, wait := well, time.Duration(0)
	if f.slow > 0 {
		wait = time.Duration(f.rng.Int64N(int64(f.slow)))
	}
	if f.rng.IntN(100) < f.percent {
		how = 1 + trouble(f.rng.IntN(4))
	}
	if f.away {
		how = before
	}
	f.mu.Unlock()
	if wait > 0 {
		select {
		case <-ctx.Done():
			return before, remote.E("ask the store", "", remote.Timeout, ctx.Err())
		case <-time.After(wait):
		}
	}
	if how == before {
		return how, errCut
	}
	return how, nil
}

var errCut = remote.E("ask the store", "", remote.Unreachable, errors.New("cut on purpose"))

func (f *flaky) Put(ctx context.Context, name string, data []byte) error {
	how, err := f.pick(ctx)
	if err != nil {
		return err
	}
	err = f.Store.Put(ctx, name, data)
	switch {
	case how == twice && err == nil:
		return f.Store.Put(ctx, name, data) // Exist, though it is ours
	case how == after || how == amid:
		return errCut
	}
	return err
}

func (f *flaky) Get(ctx context.Context, name string, limit int64) ([]byte, error) {
	how, err := f.pick(ctx)
	if err != nil || how == amid || how == after {
		return nil, errCut
	}
	return f.Store.Get(ctx, name, limit)
}

// GetRange is how content is read. The tests look at content, too, so this comes through when nothing else does.
func (f *flaky) GetRange(ctx context.Context, name string, off int64, dst []byte) error {
	how, err := f.pick(ctx)
	switch {
	case how == amid || how == after:
		f.Store.GetRange(ctx, name, off, dst[:len(dst)/2])
		return errCut
	case err != nil && err != errCut:
		return err
	}
	return f.Store.GetRange(ctx, name, off, dst)
}

func (f *flaky) Size(ctx context.Context, name string) (int64, error) {
	if how, err := f.pick(ctx); err != nil || how == amid || how == after {
		return 0, errCut
	}
	return f.Store.Size(ctx, name)
}

func (f *flaky) List(ctx context.Context, prefix, after string, fn func(blob.Info) error) error {
	how, err := f.pick(ctx)
	if err != nil {
		return err
	}
	left := -1
	if how == amid {
		left = 1
	}
	return f.Store.List(ctx, prefix, after, func(i blob.Info) error {
		if left == 0 {
			return errCut
		}
		left--
		return fn(i)
	})
}

// gate keeps a machine from hearing of others' changes while it is held, and when it is dead for ever.
type gate struct {
	remote.Remote
	mu   sync.Mutex
	dead bool
}

func (g *gate) Load(ctx context.Context, from remote.Position, sink remote.Sink) (remote.Position, error) {
	return g.Remote.Load(ctx, from, &gateSink{sink, g})
}

type gateSink struct {
	remote.Sink
	g *gate
}

func (s *gateSink) Reset() error {
	s.g.mu.Lock()
	defer s.g.mu.Unlock()
	if s.g.dead {
		return errCut
	}
	return s.Sink.Reset()
}

func (s *gateSink) Apply(b remote.Batch) error {
	s.g.mu.Lock()
	defer s.g.mu.Unlock()
	if s.g.dead {
		return errCut
	}
	return s.Sink.Apply(b)
}
