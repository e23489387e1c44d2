package writeback

import (
	"context"
	"errors"
	"time"

	"megafs/remote"
)

// Admit slows a writer of n bytes down so that the journal is never found full as long as the remote takes anything: freely below five
// eighths, an eighth above where the engine begins to send all there is, or at a remote of whole files just there; then ever slower, and at the end waiting
// for room. Likewise with the number of changed inodes. It fails with NoSpace when
// nothing could be sent for Patience, or when one request got nowhere for Timeout; the engine's own work, such as a snapshot of many files, may take longer.
func (e *Engine) Admit(ctx context.Context, n int64) error {
	var waited time.Duration
	stuck := false
	for {
		s := e.o.Journal.Stat()
		room := e.o.Journal.Room()
		dirty := e.o.Tree.Dirty()
		crowded := dirty > maxDirty
		free := share(s.Limit, max(5, e.forcedAt()))
		reserve := reserve + s.SegmentSize // and what trim.go needs
		if s.Used < free && room > n+reserve && dirty < e.o.Many {
			return nil
		}
		e.mu.Lock()
		wait, taken, failing := e.changed, e.taken, e.state.Last != nil
		e.mu.Unlock()
		pulse := e.pulse.Load()
		e.Kick()
		if room > n+reserve+s.Limit/16 && !crowded {
			// A share of what sending these bytes takes, growing with the fill: 0 at first, some 50 ms a MiB when nearly full.
			full := float64(s.Used-free) / float64(s.Limit-free)
			pause := time.Duration(max(0, full) * float64(n) / (1 << 20) * float64(50*time.Millisecond))
			if dirty > e.o.Many && !failing {
				pause = max(pause, dirtyPause+200*time.Millisecond*time.Duration(dirty-e.o.Many)/maxDirty)
			}
			if pause < time.Millisecond {
				return nil
			}
			select {
			case <-ctx.Done():
			case <-e.done:
			case <-time.After(pause):
			}
			return nil
		}
		patience := e.o.Timeout
		if failing {
			patience = e.o.Patience
		}
		if waited >= patience {
			return remote.E("write", "", remote.NoSpace, errors.New("the journal is full and the store takes nothing; see megafs status"))
		}
		start := time.Now()
		if !stuck {
			stuck = true
			e.stuck.Add(1)
			defer e.stuck.Add(-1)
			e.Kick()
		}
		select {
		case <-ctx.Done():
			return remote.E("write", "", remote.Canceled, ctx.Err())
		case <-e.done:
			return remote.E("write", "", remote.Canceled, nil)
		case <-wait:
		case <-time.After(250 * time.Millisecond):
		}
		waited += time.Since(start)
		e.mu.Lock()
		if e.taken > taken || !failing && (e.pulse.Load() != pulse || !e.asking.Load()) {
			waited = 0
		}
		e.mu.Unlock()
	}
}

// ask notes that a request to the remote is under way until the returned function is called. Only the engine's goroutine calls it.
func (e *Engine) ask() (done func()) {
	e.asking.Store(true)
	return func() { e.asking.Store(false) }
}

// maxDirty is how many inodes may have changes that are not sent, also while the store does not answer: their differences lie in memory.
const maxDirty = 150_000

// dirtyPause is how much a writer is slowed down at least when more inodes than Options.Many have changes.
const dirtyPause = 5 * time.Millisecond

// reserve is room kept for names, attributes and notes when data fills the journal.
const reserve = 4 << 20
