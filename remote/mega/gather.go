package mega

import (
	"context"
	"encoding/json"
	"errors"
	"sync"
)

// gatherFlights is how many requests of a gatherer are under way at a time.
const gatherFlights = 2

// gatherer joins commands that many goroutines have at the same time into few requests. One that comes alone is sent at once; those that come while
// requests are under way wait for one of these to end, and go together.
type gatherer struct {
	a      *api
	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup

	mu      sync.Mutex
	waiting []*gathered
	flying  int
}

// gathered is a command, and its result once done is closed.
type gathered struct {
	cmd  command
	done chan struct{}
	out  json.RawMessage
	err  error
}

func newGatherer(a *api) *gatherer {
	g := &gatherer{a: a}
	g.ctx, g.cancel = context.WithCancel(context.Background())
	return g
}

func (g *gatherer) close() {
	g.mu.Lock() // nobody begins from now on
	g.cancel()
	g.mu.Unlock()
	g.wg.Wait()
}

// call is api.call, for commands that may be run in any order.
func (g *gatherer) call(ctx context.Context, c command) (json.RawMessage, error) {
	x := &gathered{cmd: c, done: make(chan struct{})}
	g.mu.Lock()
	if err := g.ctx.Err(); err != nil {
		g.mu.Unlock()
		return nil, lineError(g.ctx, "ask the server", err)
	}
	g.waiting = append(g.waiting, x)
	if g.flying < gatherFlights {
		g.flying++
		g.wg.Go(g.fly)
	}
	g.mu.Unlock()
	select {
	case <-x.done:
	case <-ctx.Done():
		return nil, lineError(ctx, "ask the server", ctx.Err())
	}
	if x.err != nil {
		return nil, x.err
	}
	err := failure(c, x.out)
	var code *CodeError
	if errors.As(err, &code) && code.Code.again() { // which is said of this one alone
		return g.a.call(ctx, c)
	}
	if err != nil {
		return nil, err
	}
	return x.out, nil
}

// fly sends what waits, until nothing does.
func (g *gatherer) fly() {
	for {
		g.mu.Lock()
		xs := g.waiting[:min(len(g.waiting), commandsAtOnce)]
		g.waiting = g.waiting[len(xs):]
		if len(xs) == 0 {
			g.flying--
			g.mu.Unlock()
			return
		}
		g.mu.Unlock()
		cs := make([]command, len(xs))
		for i, x := range xs {
			cs[i] = x.cmd
		}
		out, err := g.a.batch(g.ctx, cs)
		for i, x := range xs {
			if x.err = err; err == nil {
				x.out = out[i]
			}
			close(x.done)
		}
	}
}
