package fs

import (
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"

	"megafs/fs/volume"
	"megafs/remote"
)

const (
	// queueMost is how many inodes and names may wait for the worker.
	queueMost = 1 << 16
	// knownMost is how many inodes the kernel may refer to before it is asked to let some go, and pruneStep how many in one request.
	knownMost = 1 << 20
	pruneStep = 4096
)

// notifier is what the worker sends notifications with. A call may wait for locks of the kernel's.
type notifier interface {
	InodeNotify(node uint64, off, length int64) fuse.Status
	EntryNotify(parent uint64, name string) fuse.Status
	PruneNotify(nodes []uint64) fuse.Status
	// Epoch voids every name the kernel knows.
	Epoch() error
}

type entry struct {
	parent remote.Ino
	name   string
}

// invalidator is the queue of what the kernel is to drop, and the worker that sends it. It belongs to one mount.
type invalidator struct {
	c    *conn
	n    notifier      // since start
	wake chan struct{} // holds one
	stop chan struct{}
	wg   sync.WaitGroup

	mu     sync.Mutex
	most   int                 // how many inodes and names may wait
	known  int                 // how many inodes the kernel may refer to
	inodes map[remote.Ino]bool // true: pages too
	names  map[entry]struct{}
	all    bool // more than the queue holds

	sent, overflows, pruned atomic.Uint64
}

func newInvalidator(c *conn) *invalidator {
	v := &invalidator{c: c, most: queueMost, known: knownMost, wake: make(chan struct{}, 1), stop: make(chan struct{})}
	v.reset()
	return v
}

func (v *invalidator) reset() {
	v.inodes, v.names, v.all = map[remote.Ino]bool{}, map[entry]struct{}{}, false
}

// add queues changes. It never waits, so it may be called anywhere.
func (v *invalidator) add(changes []volume.Change) {
	v.mu.Lock()
	for _, ch := range changes {
		if v.all {
			break
		}
		if ch.Ino != 0 {
			v.inodes[ch.Ino] = v.inodes[ch.Ino] || ch.Content
		}
		if ch.Parent != 0 {
			v.names[entry{ch.Parent, ch.Name}] = struct{}{}
			if _, known := v.inodes[ch.Parent]; !known {
				v.inodes[ch.Parent] = false // its times and links
			}
		}
		if ch == (volume.Change{}) || len(v.inodes)+len(v.names) > v.most {
			v.reset()
			v.all = true
			v.overflows.Add(1)
			// From here on nothing is kept for long, until the worker has made the kernel forget the rest.
			v.c.short.Store(time.Now().Add(entryTTL).UnixNano())
		}
	}
	v.mu.Unlock()
	v.nudge()
}

func (v *invalidator) nudge() {
	select {
	case v.wake <- struct{}{}:
	default:
	}
}

// attributes makes the kernel drop an inode's attributes before it returns. Unlike what the worker sends, that takes no lock of the kernel's,
// so a handler may call it, once the mount has started, for an inode whose request it answers.
func (v *invalidator) attributes(ino remote.Ino) { v.ok(v.n.InodeNotify(uint64(ino), -1, 0)) }

func (v *invalidator) start(n notifier) {
	v.n = n
	v.wg.Go(func() {
		for {
			select {
			case <-v.stop:
				return
			case <-v.wake:
			}
			if !v.work(n) {
				return
			}
		}
	})
}

func (v *invalidator) close() {
	close(v.stop)
	v.wg.Wait()
}

// work sends what is queued. It returns false when the connection is gone.
func (v *invalidator) work(n notifier) bool {
	v.mu.Lock()
	inodes, names, all := v.inodes, v.names, v.all
	v.reset()
	v.mu.Unlock()
	if all && !v.everything(n) {
		return false
	}
	// Names first: what a name leads to now is asked for with a look-up, which brings attributes along.
	for e := range names {
		if !v.ok(n.EntryNotify(uint64(e.parent), e.name)) {
			return false
		}
	}
	for ino, content := range inodes {
		off := int64(-1) // attributes only
		if content {
			off = 0
		}
		if !v.ok(n.InodeNotify(uint64(ino), off, 0)) {
			return false
		}
	}
	return v.prune(n)
}

// everything invalidates all that the kernel may know. Names can't be enumerated: a kernel that can't void them all at once keeps
// those it has until their time is over, while new ones get a short time.
func (v *invalidator) everything(n notifier) bool {
	err := n.Epoch()
	if err != nil {
		v.c.log.Warn("the kernel can't forget all names at once; names that others changed may be seen for up to an hour", "reason", err)
	}
	for _, ino := range append(v.c.known.some(-1), remote.Root) {
		if !v.ok(n.InodeNotify(uint64(ino), 0, 0)) {
			return false
		}
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if err == nil && !v.all {
		v.c.short.Store(0)
	}
	return true
}

// prune asks the kernel to let go of inodes nobody uses, so that the tables of what it knows stay bounded. Those it lets go
// of come back as FORGETs. Kernels before 6.18 can't; they let go when they are short of memory themselves.
func (v *invalidator) prune(n notifier) bool {
	v.mu.Lock()
	most := v.known
	v.mu.Unlock()
	excess := v.c.known.len() - most
	if excess <= 0 {
		return true
	}
	inos := v.c.known.some(excess + most/8)
	nodes := make([]uint64, len(inos))
	for i, ino := range inos {
		nodes[i] = uint64(ino)
	}
	for len(nodes) > 0 {
		step := nodes[:min(pruneStep, len(nodes))]
		nodes = nodes[len(step):]
		s := n.PruneNotify(step)
		if s == fuse.ENOSYS || s == fuse.EINVAL {
			return true
		}
		if !v.ok(s) {
			return false
		}
		v.pruned.Add(uint64(len(step)))
	}
	return true
}

// ok counts a notification and reports whether there is still somebody to notify. ENOENT says only that the kernel
// did not know the thing.
func (v *invalidator) ok(s fuse.Status) bool {
	v.sent.Add(1)
	switch syscall.Errno(s) {
	case syscall.ENODEV, syscall.ENOTCONN, syscall.EBADF, syscall.ECONNABORTED:
		return false
	}
	return true
}
