package blob

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"megafs/remote"
)

// deaf is a store whose calls hang and heed no context, until it is let go.
type deaf struct {
	Store
	hang chan struct{}
}

func (d deaf) Put(context.Context, string, []byte) error { <-d.hang; return nil }
func (d deaf) Get(context.Context, string, int64) ([]byte, error) {
	<-d.hang
	return nil, nil
}
func (d deaf) Size(context.Context, string) (int64, error)       { <-d.hang; return 0, nil }
func (d deaf) Delete(context.Context, string) error              { <-d.hang; return nil }
func (d deaf) Usage(context.Context) (u remote.Usage, err error) { <-d.hang; return u, nil }
func (d deaf) Close() error                                      { <-d.hang; return nil }
func (d deaf) List(_ context.Context, _, _ string, fn func(Info) error) error {
	if err := fn(Info{Name: "a"}); err != nil {
		return err
	}
	<-d.hang
	return fn(Info{Name: "b"})
}

// TestLeave: no call outlives its caller's patience or its own time, whatever the store does, and fn is not called afterwards.
func TestLeave(t *testing.T) {
	calls := map[string]func(context.Context, Store) error{
		"put":    func(ctx context.Context, s Store) error { return s.Put(ctx, "n", nil) },
		"get":    func(ctx context.Context, s Store) error { _, err := s.Get(ctx, "n", 1); return err },
		"size":   func(ctx context.Context, s Store) error { _, err := s.Size(ctx, "n"); return err },
		"delete": func(ctx context.Context, s Store) error { return s.Delete(ctx, "n") },
		"usage":  func(ctx context.Context, s Store) error { _, err := s.Usage(ctx); return err },
		"list": func(ctx context.Context, s Store) error {
			return s.List(ctx, "", "", func(i Info) error {
				if i.Name != "a" || ctx.Err() != nil {
					t.Errorf("told of %q", i.Name)
				}
				return nil
			})
		},
	}
	for name, call := range calls {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				hang := make(chan struct{})
				s := Leave(Limit(deaf{Mem(), hang}, LimitOptions{Reads: 1, Writes: 1}), LeaveOptions{Quick: time.Minute, Slow: time.Minute})
				begun := time.Now()
				if err := call(t.Context(), s); !remote.Is(err, remote.Timeout) || time.Since(begun) != time.Minute {
					t.Errorf("%v after %v", err, time.Since(begun))
				}
				// The one that hangs has the only place; who comes next has patience of its own.
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				defer cancel()
				begun = time.Now()
				if err := call(ctx, s); !remote.Is(err, remote.Timeout) || time.Since(begun) != time.Second {
					t.Errorf("%v after %v", err, time.Since(begun))
				}
				ctx, cancel = context.WithCancel(t.Context())
				time.AfterFunc(time.Second, cancel)
				if err := call(ctx, s); !remote.Is(err, remote.Canceled) {
					t.Error(err)
				}
				if err := s.Close(); err != nil {
					t.Error(err)
				}
				close(hang) // the store is back: nothing is left behind
			})
		})
	}
}
