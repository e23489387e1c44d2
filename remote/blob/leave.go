package blob

import (
	"context"
	"errors"
	"fmt"
	"time"

	"megafs/remote"
)

// LeaveOptions say how long a call may take. Zero fields mean the default.
type LeaveOptions struct {
	Quick time.Duration // Get, Size, Usage, and each step of List; default 20 s
	Slow  time.Duration // Put, Delete; default 2 min
	Close time.Duration // default 300 ms: what a store does at its end nobody needs
}

type leaving struct {
	inner Store
	o     LeaveOptions
}

// Leave lets a caller go when ctx ends or the call's time is over, although the store heeds neither: a disk call that hangs in
// the kernel, say. The call goes on in a goroutine of its own until the store is back, and what it brings is dropped; a Limit
// inside bounds how many there can be. GetRange is waited for: its dst is the caller's, and nobody else may write there afterwards.
func Leave(inner Store, o LeaveOptions) Store {
	def := func(d *time.Duration, v time.Duration) {
		if *d == 0 {
			*d = v
		}
	}
	def(&o.Quick, 20*time.Second)
	def(&o.Slow, 2*time.Minute)
	def(&o.Close, 300*time.Millisecond)
	return &leaving{inner, o}
}

// left is the error of a call that was left. The time that a call has of its own says Timeout, as the end of ctx may.
func left(ctx context.Context, op, name string) error {
	kind := remote.Timeout
	if errors.Is(ctx.Err(), context.Canceled) {
		kind = remote.Canceled
	}
	return remote.E(op, name, kind, fmt.Errorf("the store does not answer: %w", ctx.Err()))
}

type outcome[T any] struct {
	v   T
	err error
}

func leave[T any](ctx context.Context, limit time.Duration, op, name string, call func(context.Context) (T, error)) (none T, err error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	came := make(chan outcome[T], 1)
	go func() {
		v, err := call(ctx)
		came <- outcome[T]{v, err}
	}()
	select {
	case o := <-came:
		return o.v, o.err
	case <-ctx.Done():
		return none, left(ctx, op, name)
	}
}

// Put implements Store.
func (l *leaving) Put(ctx context.Context, name string, data []byte) error {
	_, err := leave(ctx, l.o.Slow, "put", name, func(ctx context.Context) (struct{}, error) { return struct{}{}, l.inner.Put(ctx, name, data) })
	return err
}

// Get implements Store.
func (l *leaving) Get(ctx context.Context, name string, limit int64) ([]byte, error) {
	return leave(ctx, l.o.Quick, "get", name, func(ctx context.Context) ([]byte, error) { return l.inner.Get(ctx, name, limit) })
}

// GetRange implements Store.
func (l *leaving) GetRange(ctx context.Context, name string, off int64, dst []byte) error {
	return l.inner.GetRange(ctx, name, off, dst)
}

// Size implements Store.
func (l *leaving) Size(ctx context.Context, name string) (int64, error) {
	return leave(ctx, l.o.Quick, "size", name, func(ctx context.Context) (int64, error) { return l.inner.Size(ctx, name) })
}

// List implements Store. What fn takes is not the store's time.
func (l *leaving) List(ctx context.Context, prefix, after string, fn func(Info) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	infos, goOn, came := make(chan Info), make(chan struct{}), make(chan error, 1)
	go func() {
		came <- l.inner.List(ctx, prefix, after, func(i Info) error {
			select {
			case infos <- i:
			case <-ctx.Done():
				return ctx.Err()
			}
			select {
			case <-goOn:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		})
	}()
	late := time.NewTimer(l.o.Quick)
	defer late.Stop()
	for {
		select {
		case i := <-infos:
			if err := fn(i); err != nil {
				return err
			}
			late.Reset(l.o.Quick)
			select {
			case goOn <- struct{}{}:
			case <-ctx.Done():
				return left(ctx, "list", prefix)
			}
		case err := <-came:
			return err
		case <-ctx.Done():
			return left(ctx, "list", prefix)
		case <-late.C:
			return remote.E("list", prefix, remote.Timeout, fmt.Errorf("the store does not answer: %w", context.DeadlineExceeded))
		}
	}
}

// Delete implements Store.
func (l *leaving) Delete(ctx context.Context, name string) error {
	_, err := leave(ctx, l.o.Slow, "delete", name, func(ctx context.Context) (struct{}, error) { return struct{}{}, l.inner.Delete(ctx, name) })
	return err
}

// Usage implements Store.
func (l *leaving) Usage(ctx context.Context) (remote.Usage, error) {
	return leave(ctx, l.o.Quick, "usage", "", l.inner.Usage)
}

// Close implements Store.
func (l *leaving) Close() error {
	_, err := leave(context.Background(), l.o.Close, "close", "", func(context.Context) (struct{}, error) { return struct{}{}, l.inner.Close() })
	if remote.Is(err, remote.Timeout) {
		return nil
	}
	return err
}
