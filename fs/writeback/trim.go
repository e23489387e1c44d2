package writeback

import (
	"context"

	"megafs/fs/journal"
	"megafs/remote"
)

// trim gives back what of the journal nobody needs. The base and the records up to durable come first: what only they
// replace must not go before both are on disk. What came after the last commit stays: a record may be in the journal
// already and in the tree not yet, which then does not know that it needs it.
func (e *Engine) trim(ctx context.Context, durable journal.Seq) error {
	need, ok := e.o.Tree.Needed()
	before := min(e.noted, e.upto+1)
	if ok {
		before = min(before, journal.Seq(need))
	}
	if err := e.o.Journal.Sync(ctx, durable); err != nil {
		return err
	}
	if err := e.o.Tree.Sync(); err != nil {
		return err
	}
	return e.o.Journal.Trim(before)
}

// forward frees the journal's oldest segments from files without names. They are sent nowhere, and would keep everything behind them for as long as
// somebody has them open. A segment in which only they need anything is freed by writing that anew at the journal's end, when the journal fills and
// what it has beside them is worth it. Each segment's turn comes once a round.
func (e *Engine) forward(ctx context.Context) error {
	if e.o.Forward == nil {
		return nil
	}
	for end := e.o.Journal.Stat().Last; ; {
		s := e.o.Journal.Stat()
		upto := s.OldestSegmentLast
		if s.Used < e.o.MoveAt || s.Segments < 2 || upto >= end {
			return nil
		}
		inodes, bytes, total, only := e.o.Tree.Nameless(uint64(upto))
		if !only || len(inodes) == 0 || s.Used-total < e.o.MoveAt/2 || e.o.Journal.Room() < bytes+bytes/8+64<<10 {
			return nil
		}
		last, err := e.o.Forward(inodes, uint64(upto))
		if remote.Is(err, remote.NoSpace) {
			return nil // what was moved is moved; the rest stays where it is
		}
		if err != nil {
			return err
		}
		if err := e.trim(ctx, max(last, e.noted)); err != nil {
			return err
		}
		if e.o.Journal.Stat().OldestSegmentLast == upto {
			return nil
		}
	}
}
