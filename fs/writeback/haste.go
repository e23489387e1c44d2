package writeback

import (
	"time"

	"megafs/fs/tree"
	"megafs/remote"
)

// haste is how much there is to send what has not settled.
type haste int

const (
	calm    haste = iota // files wait until they were left alone
	pressed              // the journal or the tree fills: nothing is kept back, but what would be sent in vain
	forced               // somebody waits, or there is hardly room: nothing at all is
)

// At a remote of whole files, one that is still open for writing would be sent from its beginning to where it ends by now, and then again. So it is kept back
// longer, the longer the larger it is: on average no more than wholeStep bytes are sent in each MaxAge for it.
const (
	wholeStep = 4 << 20
	wholeMost = 40 // MaxAges at most
)

// share is some of the journal's limit.
func share(limit int64, eighths int64) int64 { return limit * eighths / 8 }

// forcedAt is how full the journal is, in eighths, when nothing is kept back.
func (e *Engine) forcedAt() int64 {
	if e.whole {
		return 7
	}
	return 4
}

func (e *Engine) haste() haste {
	e.mu.Lock()
	urgent := e.urgent > 0
	e.mu.Unlock()
	s, dirty := e.o.Journal.Stat(), int64(e.o.Tree.Dirty())
	many := int64(e.o.Many)
	switch {
	case urgent || e.stuck.Load() > 0 || s.Used > share(s.Limit, e.forcedAt()) || dirty > share(many, e.forcedAt()):
		return forced
	case s.Used > share(s.Limit, 4) || dirty > share(many, 4):
		return pressed
	}
	return calm
}

// keeps reports whether a file that was changed first and last at these times is kept back at another.
func (e *Engine) keeps(h haste, n tree.Node, first, last, at int64) bool {
	if h == forced {
		return false
	}
	age, open := time.Duration(at-first), e.o.Writing != nil && e.o.Writing(n.Ino)
	if open && e.whole {
		return age <= e.o.MaxAge*time.Duration(min(wholeMost, 1+n.Size/wholeStep))
	}
	if h == pressed || age > e.o.MaxAge {
		return false
	}
	return open || at-last < int64(e.o.Settle)
}

// isWhole reports whether a remote knows files as a whole only.
func isWhole(r remote.Remote) bool {
	_, ok := r.(remote.WholeFiles)
	return ok
}
