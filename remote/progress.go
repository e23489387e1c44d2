package remote

import (
	"context"
	"errors"
	"time"
)

// A request such as a load or a commit may be many requests to a store, and take as long as it likes: how much there is to carry nobody knows before. What it may not do is stand
// still.

type progressKey struct{}

var errStalled = errors.New("it got nowhere")

// Watched returns a context that ends when Progress was not called for d. Whoever gets it calls cancel when done.
func Watched(ctx context.Context, d time.Duration) (watched context.Context, cancel context.CancelFunc) {
	ctx, end := context.WithCancelCause(ctx)
	timer := time.AfterFunc(d, func() { end(errStalled) })
	return context.WithValue(ctx, progressKey{}, func() { timer.Reset(d) }), func() { timer.Stop(); end(nil) }
}

// Progress says that what a context is for gets on. It may be called from many goroutines, and for any context.
func Progress(ctx context.Context) {
	if on, ok := ctx.Value(progressKey{}).(func()); ok {
		on()
	}
}

// Stalled makes a Timeout of the error of a request whose Watched context ended since nothing went on.
func Stalled(ctx context.Context, op string, err error) error {
	if err == nil || !errors.Is(context.Cause(ctx), errStalled) {
		return err
	}
	return E(op, "", Timeout, errors.Join(errStalled, err))
}
