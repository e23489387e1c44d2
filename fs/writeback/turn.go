package writeback

import (
	"context"

	"megafs/remote"
)

// turn is something that is done between two rounds.
type turn struct {
	fn   func() error
	done chan error
}

// Turn runs fn, which commits something to the remote, while the engine sends nothing. Else one of the two would lose the race for the log's next
// place, and the engine send all of a round again. fn must not take long.
func (e *Engine) Turn(ctx context.Context, fn func() error) error {
	t := turn{fn, make(chan error, 1)}
	select {
	case e.turns <- t:
	case <-ctx.Done():
		return remote.E("wait for a turn", "", remote.Canceled, ctx.Err())
	case <-e.done:
		return remote.E("wait for a turn", "", remote.Canceled, nil)
	}
	return <-t.done // the engine has it, and answers
}

// serve runs a turn, and takes what it committed into the base.
func (e *Engine) serve(ctx context.Context, t turn) {
	done := e.ask()
	err := t.fn()
	done()
	if err == nil {
		if lerr := e.load(ctx); lerr != nil {
			e.o.Log.Info("the remote was not asked for news; it will be", "reason", lerr)
		}
	}
	t.done <- err
}

// Snapshot asks for a snapshot, to be made when all is sent.
func (e *Engine) Snapshot() {
	e.want.Store(true)
	e.Kick()
}
