package blob

import (
	"context"

	"megafs/remote"
)

// LimitOptions bound how many calls a store gets at a time. Zero fields mean the default.
type LimitOptions struct {
	Reads  int // Get, GetRange, Size, List, Usage; default 24
	Writes int // Put, Delete; default 8
}

type limited struct {
	inner         Store
	reads, writes chan struct{} // a token in it is a call under way
}

// Limit lets calls wait until few enough others are under way. Reads never wait for writes.
func Limit(inner Store, opts LimitOptions) Store {
	if opts.Reads <= 0 {
		opts.Reads = 24
	}
	if opts.Writes <= 0 {
		opts.Writes = 8
	}
	return &limited{inner, make(chan struct{}, opts.Reads), make(chan struct{}, opts.Writes)}
}

func acquire(ctx context.Context, slots chan struct{}, op, name string) error {
	if err := checkCtx(ctx, op, name); err != nil {
		return err
	}
	select {
	case slots <- struct{}{}:
		return nil
	case <-ctx.Done():
		return checkCtx(ctx, op, name)
	}
}

func release(slots chan struct{}) { <-slots }

// Put implements Store.
func (l *limited) Put(ctx context.Context, name string, data []byte) error {
	if err := acquire(ctx, l.writes, "put", name); err != nil {
		return err
	}
	defer release(l.writes)
	return l.inner.Put(ctx, name, data)
}

// Get implements Store.
func (l *limited) Get(ctx context.Context, name string, limit int64) ([]byte, error) {
	if err := acquire(ctx, l.reads, "get", name); err != nil {
		return nil, err
	}
	defer release(l.reads)
	return l.inner.Get(ctx, name, limit)
}

// GetRange implements Store.
func (l *limited) GetRange(ctx context.Context, name string, off int64, dst []byte) error {
	if err := acquire(ctx, l.reads, "get range", name); err != nil {
		return err
	}
	defer release(l.reads)
	return l.inner.GetRange(ctx, name, off, dst)
}

// Size implements Store.
func (l *limited) Size(ctx context.Context, name string) (int64, error) {
	if err := acquire(ctx, l.reads, "size", name); err != nil {
		return 0, err
	}
	defer release(l.reads)
	return l.inner.Size(ctx, name)
}

// List implements Store. It gives its slot back while fn runs, which may call the store itself.
func (l *limited) List(ctx context.Context, prefix, after string, fn func(Info) error) error {
	if err := acquire(ctx, l.reads, "list", prefix); err != nil {
		return err
	}
	held := true
	defer func() {
		if held {
			release(l.reads)
		}
	}()
	return l.inner.List(ctx, prefix, after, func(i Info) error {
		release(l.reads)
		held = false
		if err := fn(i); err != nil {
			return err
		}
		if err := acquire(ctx, l.reads, "list", prefix); err != nil {
			return err
		}
		held = true
		return nil
	})
}

// Delete implements Store.
func (l *limited) Delete(ctx context.Context, name string) error {
	if err := acquire(ctx, l.writes, "delete", name); err != nil {
		return err
	}
	defer release(l.writes)
	return l.inner.Delete(ctx, name)
}

// Usage implements Store.
func (l *limited) Usage(ctx context.Context) (remote.Usage, error) {
	if err := acquire(ctx, l.reads, "usage", ""); err != nil {
		return remote.Usage{}, err
	}
	defer release(l.reads)
	return l.inner.Usage(ctx)
}

// Close implements Store.
func (l *limited) Close() error { return l.inner.Close() }
