package volume

import (
	"context"
	"errors"
	"math"
	"sync"
	"time"

	"megafs/fs/tree"
	"megafs/remote"
)

// How often a store is asked how full it is, and how old its answer may be when something is refused by it.
const (
	usageEvery = 30 * time.Second
	usageFresh = time.Second
	usageTime  = 30 * time.Second
)

// quota sets aside, in a store that takes no more than a quota, what files need that are not sent yet: as a whole, as such a store takes them, and beside the versions
// that are there, which count. What was sent is set aside until the store was asked after that how full it is. So a write that would not fit fails
// when it is made, and never counts too little; all under mu but the asking, which turn is held for.
type quota struct {
	v    *Volume
	turn chan struct{} // held by whoever asks

	mu    sync.Mutex
	need  map[remote.Ino]uint64
	sum   uint64 // of need
	free  uint64
	known bool // the store has a quota, and free was left of it
	asked time.Time
}

func newQuota(v *Volume) *quota {
	return &quota{v: v, turn: make(chan struct{}, 1), need: map[remote.Ino]uint64{}}
}

// begin sets aside what was left unsent by an earlier life.
func (q *quota) begin() error {
	if !q.v.traits.WholeFiles {
		return nil
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.v.tree.UnsentFiles(func(n tree.Node) { q.set(n.Ino, n.Size) })
}

func (q *quota) set(ino remote.Ino, n uint64) {
	q.sum += n - q.need[ino]
	if q.need[ino] = n; n == 0 {
		delete(q.need, ino)
	}
}

// reserve sets aside what a file of size bytes needs, or fails.
func (q *quota) reserve(ctx context.Context, ino remote.Ino, size uint64) error {
	if !q.v.traits.WholeFiles || q.try(ino, size) {
		return nil
	}
	if q.ask(ctx, usageFresh); q.try(ino, size) {
		return nil
	}
	return remote.E("write", obj(ino), remote.Quota, errors.New("the account has no room for it; remove something, from its rubbish bin too, or get more"))
}

// appended is an offset that stands for the file's end.
const appended = math.MaxUint64

// fits sets room aside for a file in which n bytes are to lie from off on, or fails.
func (v *Volume) fits(ctx context.Context, ino remote.Ino, off, n uint64) error {
	if !v.traits.WholeFiles {
		return nil
	}
	node, err := v.tree.Node(ino)
	if err != nil {
		return err
	}
	if off == appended {
		off = node.Size
	}
	if off > remote.MaxSize || n > remote.MaxSize-off {
		return nil // it is refused for that
	}
	return v.quota.reserve(ctx, ino, max(node.Size, off+n))
}

// grows is fits for a file that gets another size. A file may always be made shorter.
func (v *Volume) grows(ctx context.Context, ino remote.Ino, size uint64) error {
	if !v.traits.WholeFiles {
		return nil
	}
	node, err := v.tree.Node(ino)
	if err != nil || node.Type != remote.File || size == node.Size {
		return nil
	}
	if size < node.Size {
		v.quota.note(ino, size)
		return nil
	}
	return v.quota.reserve(ctx, ino, size)
}

// note sets room aside whether it is there or not.
func (q *quota) note(ino remote.Ino, size uint64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.set(ino, max(q.need[ino], size))
}

func (q *quota) try(ino remote.Ino, size uint64) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	old := q.need[ino]
	if size <= old {
		return true
	}
	if q.known && q.sum-old+size > q.free {
		return false
	}
	q.set(ino, size)
	return true
}

// left is what can still be written.
func (q *quota) left() uint64 {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.free - min(q.free, q.sum)
}

// ask asks the store how full it is, unless it was asked so lately that nothing can be new. What was sent before is set aside no longer.
func (q *quota) ask(ctx context.Context, fresh time.Duration) {
	select {
	case q.turn <- struct{}{}:
		defer func() { <-q.turn }()
	case <-ctx.Done():
		return
	}
	type aside struct {
		ino remote.Ino
		n   uint64
	}
	var sent []aside
	q.mu.Lock()
	for ino, n := range q.need {
		if q.v.isWriting(ino) {
			continue // it is written to any moment
		}
		if !q.v.tree.Unsent(ino) {
			sent = append(sent, aside{ino, n})
		} else if node, err := q.v.tree.Node(ino); err == nil && node.Size < n {
			q.set(ino, node.Size) // it was made shorter
		}
	}
	recent := time.Since(q.asked) < fresh
	q.mu.Unlock()
	if recent && len(sent) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, usageTime)
	defer cancel()
	u, err := q.v.o.Remote.Usage(ctx)
	if err != nil {
		return
	}
	q.v.usage.Store(&u)
	q.mu.Lock()
	defer q.mu.Unlock()
	q.asked = time.Now()
	q.free, q.known = u.Free, u.Quota
	for _, s := range sent {
		if q.need[s.ino] == s.n && !q.v.tree.Unsent(s.ino) && !q.v.isWriting(s.ino) {
			q.set(s.ino, 0)
		}
	}
}

// watch asks now and then, so that statfs never waits for the store.
func (q *quota) watch(ctx context.Context) {
	for {
		q.ask(ctx, 0)
		select {
		case <-ctx.Done():
			return
		case <-time.After(usageEvery):
		}
	}
}

// later waits until a store gives something again that told when, and reports whether that is so.
func (v *Volume) later(ctx context.Context, err error) bool {
	var l *remote.LaterError
	if !errors.As(err, &l) {
		return false
	}
	select {
	case <-time.After(max(time.Until(l.Until), 10*time.Millisecond)):
		return true
	case <-ctx.Done():
	case <-v.closing:
	}
	return false
}
