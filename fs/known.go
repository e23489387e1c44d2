package fs

import (
	"sync"

	"megafs/remote"
)

// known is what the kernel refers to: how many references it holds on each inode, and which version of a file its
// pages are of.
type known struct {
	mu       sync.Mutex
	refs     map[remote.Ino]uint64
	versions map[remote.Ino]uint64 // of files that were opened
}

func (k *known) init() {
	k.refs, k.versions = map[remote.Ino]uint64{}, map[remote.Ino]uint64{}
}

func (k *known) len() int {
	k.mu.Lock()
	defer k.mu.Unlock()
	return len(k.refs)
}

// add notes one more reference, and returns how many inodes are known.
func (k *known) add(ino remote.Ino) int {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.refs[ino]++
	return len(k.refs)
}

// drop takes up to n references away and returns how many there were to take.
func (k *known) drop(ino remote.Ino, n uint64) uint64 {
	k.mu.Lock()
	defer k.mu.Unlock()
	have := k.refs[ino]
	if n < have {
		k.refs[ino] = have - n
		return n
	}
	delete(k.refs, ino)
	delete(k.versions, ino)
	return have
}

// opened notes the version an open finds, and reports whether pages in the kernel are of that version.
func (k *known) opened(ino remote.Ino, version uint64) (same bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	old, ok := k.versions[ino]
	if ok && old == version {
		return true
	}
	if k.refs[ino] > 0 {
		k.versions[ino] = version
	}
	return false
}

// some returns up to n of the known inodes, in no order; n < 0 returns all.
func (k *known) some(n int) []remote.Ino {
	k.mu.Lock()
	defer k.mu.Unlock()
	if n < 0 || n > len(k.refs) {
		n = len(k.refs)
	}
	out := make([]remote.Ino, 0, n)
	for ino := range k.refs {
		if len(out) == n {
			break
		}
		out = append(out, ino)
	}
	return out
}

// takeAll empties the table and calls f for what was in it.
func (k *known) takeAll(f func(remote.Ino, uint64)) {
	k.mu.Lock()
	refs := k.refs
	k.init()
	k.mu.Unlock()
	for ino, n := range refs {
		f(ino, n)
	}
}

// table gives out numbers for open things.
type table[T any] struct {
	mu   sync.RWMutex
	last uint64
	open map[uint64]T
}

func (t *table[T]) add(v T) uint64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.open == nil {
		t.open = map[uint64]T{}
	}
	t.last++
	t.open[t.last] = v
	return t.last
}

func (t *table[T]) get(fh uint64) (T, bool) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	v, ok := t.open[fh]
	return v, ok
}

func (t *table[T]) remove(fh uint64) (T, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	v, ok := t.open[fh]
	delete(t.open, fh)
	return v, ok
}

func (t *table[T]) len() int {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return len(t.open)
}

// takeAll empties the table and calls f for what was in it.
func (t *table[T]) takeAll(f func(T)) {
	t.mu.Lock()
	open := t.open
	t.open = nil
	t.mu.Unlock()
	for _, v := range open {
		f(v)
	}
}
