package fs

import (
	"sync"
	"sync/atomic"
	"time"

	"megafs/remote"
)

// The kernel answers reads by the size it knows. When a file was cut and the kernel does not know yet, it takes what a READ lacks for a hole, and shows zeros
// where bytes were, which no disk does. So a READ that comes upon an end which a cut has moved is answered when the kernel has had time to learn of it.
const (
	cutSettles  = 20 * time.Millisecond  // from the answer to a cut until the kernel has noted the size, with a busy machine in mind
	cutWaitMost = 200 * time.Millisecond // however many more cuts there are
)

// cuts are the files that are being cut, or were a moment ago.
type cuts struct {
	mu   sync.Mutex
	m    map[remote.Ino]*cut
	some atomic.Int64 // how many; reads look at it without the lock
}

type cut struct {
	going int    // cuts under way, or answered a moment ago
	size  uint64 // the largest that the kernel may believe in
	over  chan struct{}
}

// begin notes that a file is being cut that has some size until then. The result is to be called when that is done, before it is answered.
func (t *cuts) begin(ino remote.Ino, size uint64) (done func()) {
	t.mu.Lock()
	defer t.mu.Unlock()
	c := t.m[ino]
	if c == nil {
		if t.m == nil {
			t.m = map[remote.Ino]*cut{}
		}
		c = &cut{over: make(chan struct{})}
		t.m[ino] = c
		t.some.Add(1)
	}
	c.going++
	c.size = max(c.size, size)
	return func() {
		time.AfterFunc(cutSettles, func() {
			t.mu.Lock()
			defer t.mu.Unlock()
			if c.going--; c.going == 0 {
				delete(t.m, ino)
				t.some.Add(-1)
				close(c.over)
			}
		})
	}
}

// wait comes before the answer to a READ that found a file's end there.
func (t *cuts) wait(ino remote.Ino, end uint64) {
	if t.some.Load() == 0 {
		return
	}
	t.mu.Lock()
	c := t.m[ino]
	wait := c != nil && end < c.size
	t.mu.Unlock()
	if !wait {
		return
	}
	most := time.NewTimer(cutWaitMost)
	defer most.Stop()
	select {
	case <-c.over:
	case <-most.C:
	}
}
