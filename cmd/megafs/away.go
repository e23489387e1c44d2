package main

import (
	"context"
	"errors"
	"sync"
	"time"

	"megafs/remote"
	"megafs/remote/blob"
)

// away reports whether a store's folder is not there now, or does not answer, which may change.
func away(err error) bool {
	return remote.Is(err, remote.NotExist) || remote.Is(err, remote.Unreachable) || remote.Is(err, remote.Timeout)
}

// How long a store is waited for when there is a way to go on without it, and the shorter time once it has not answered.
const (
	askTime   = 5 * time.Second
	againTime = time.Second
)

// inTime waits for a call that may hang in the kernel, such as on a share whose server is away. One that does not end is left behind.
func inTime[T any](d time.Duration, op, object string, call func() (T, error)) (none T, err error) {
	type outcome struct {
		v   T
		err error
	}
	came := make(chan outcome, 1)
	go func() {
		v, err := call()
		came <- outcome{v, err}
	}()
	select {
	case o := <-came:
		return o.v, o.err
	case <-time.After(d):
		return none, remote.E(op, object, remote.Timeout, errors.New("it does not answer; look after its disk or server, and try again"))
	}
}

// awayStore is a folder that is not there yet: its disk is not plugged in, its share not mounted. Each call looks for it, and fails
// with Unreachable until it comes. That it is the right one is for the vault to find out, as always.
type awayStore struct {
	dir string

	mu sync.Mutex
	s  blob.Store // nil until it came
}

func (a *awayStore) store(op string) (blob.Store, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.s != nil {
		return a.s, nil
	}
	s, err := blob.Dir(a.dir, blob.DirOptions{})
	if err == nil {
		if err = a.recognise(s); err != nil {
			s.Close()
		}
	}
	switch {
	case err == nil:
		a.s = s
		return s, nil
	case away(err):
		return nil, remote.E(op, a.dir, remote.Unreachable, errors.New("the vault's folder is not there; mount its disk, or put it back"))
	}
	return nil, err
}

// recognise fails for an empty folder: the place where the disk belongs, without the disk.
func (a *awayStore) recognise(s blob.Store) error {
	found := errors.New("found")
	err := s.List(context.Background(), "", "", func(blob.Info) error { return found })
	switch {
	case errors.Is(err, found):
		return nil
	case err == nil:
		return remote.E("look for the vault", a.dir, remote.Unreachable, nil)
	}
	return err
}

// Put implements blob.Store.
func (a *awayStore) Put(ctx context.Context, name string, data []byte) error {
	s, err := a.store("put")
	if err != nil {
		return err
	}
	return s.Put(ctx, name, data)
}

// Get implements blob.Store.
func (a *awayStore) Get(ctx context.Context, name string, limit int64) ([]byte, error) {
	s, err := a.store("get")
	if err != nil {
		return nil, err
	}
	return s.Get(ctx, name, limit)
}

// GetRange implements blob.Store.
func (a *awayStore) GetRange(ctx context.Context, name string, off int64, dst []byte) error {
	s, err := a.store("get")
	if err != nil {
		return err
	}
	return s.GetRange(ctx, name, off, dst)
}

// Size implements blob.Store.
func (a *awayStore) Size(ctx context.Context, name string) (int64, error) {
	s, err := a.store("get")
	if err != nil {
		return 0, err
	}
	return s.Size(ctx, name)
}

// List implements blob.Store.
func (a *awayStore) List(ctx context.Context, prefix, after string, fn func(blob.Info) error) error {
	s, err := a.store("list")
	if err != nil {
		return err
	}
	return s.List(ctx, prefix, after, fn)
}

// Delete implements blob.Store.
func (a *awayStore) Delete(ctx context.Context, name string) error {
	s, err := a.store("delete")
	if err != nil {
		return err
	}
	return s.Delete(ctx, name)
}

// Usage implements blob.Store.
func (a *awayStore) Usage(ctx context.Context) (remote.Usage, error) {
	s, err := a.store("usage")
	if err != nil {
		return remote.Usage{}, err
	}
	return s.Usage(ctx)
}

// Close implements blob.Store.
func (a *awayStore) Close() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.s == nil {
		return nil
	}
	return a.s.Close()
}
