package cache

import (
	"hash/maphash"
	"sync"

	"megafs/remote"
)

// bufs is a pool of buffers of one size.
type bufs struct {
	size int
	pool sync.Pool
}

func (b *bufs) get() *[]byte {
	if p, ok := b.pool.Get().(*[]byte); ok {
		return p
	}
	p := make([]byte, b.size)
	return &p
}

func (b *bufs) put(p *[]byte) { b.pool.Put(p) }

// chunkKey names a chunk.
type chunkKey struct {
	object remote.ObjectID
	chunk  uint16
}

// memory keeps opened chunks, those least recently used going first.
type memory struct {
	seed   maphash.Seed
	shards []shard
	pool   *bufs
}

// shard is a part of memory with an order of its own. The entries are a ring around root, the newest after it.
type shard struct {
	mu   sync.Mutex
	max  int
	at   map[chunkKey]*entry
	root entry
}

type entry struct {
	key        chunkKey
	data       *[]byte
	prev, next *entry
}

// newMemory returns a memory of at most so many bytes, whose chunks are buffers of pool.
func newMemory(bytes int64, pool *bufs) *memory {
	n := int(bytes / chunkSize)
	shards := 16
	for shards > 1 && n/shards < 16 {
		shards /= 2
	}
	m := &memory{seed: maphash.MakeSeed(), shards: make([]shard, shards), pool: pool}
	for i := range m.shards {
		s := &m.shards[i]
		s.max = n / shards
		s.at = make(map[chunkKey]*entry)
		s.root.next, s.root.prev = &s.root, &s.root
	}
	return m
}

func (m *memory) shard(k chunkKey) *shard {
	return &m.shards[maphash.Comparable(m.seed, k)%uint64(len(m.shards))]
}

// read copies from byte from on of a chunk into dst and reports whether it had it.
func (m *memory) read(k chunkKey, from int, dst []byte) bool {
	s := m.shard(k)
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.at[k]
	if e == nil {
		return false
	}
	if s.root.next != e {
		e.unlink()
		e.link(&s.root)
	}
	copy(dst, (*e.data)[from:])
	return true
}

// has reports whether the chunk is there.
func (m *memory) has(k chunkKey) bool {
	s := m.shard(k)
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.at[k] != nil
}

// add takes over an opened chunk.
func (m *memory) add(k chunkKey, data *[]byte) {
	s := m.shard(k)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.max == 0 || s.at[k] != nil {
		m.pool.put(data)
		return
	}
	var e *entry
	if len(s.at) >= s.max {
		e = s.root.prev
		e.unlink()
		delete(s.at, e.key)
		m.pool.put(e.data)
	} else {
		e = new(entry)
	}
	e.key, e.data = k, data
	s.at[k] = e
	e.link(&s.root)
}

func (m *memory) bytes() (n int64) {
	for i := range m.shards {
		s := &m.shards[i]
		s.mu.Lock()
		n += int64(len(s.at)) * chunkSize
		s.mu.Unlock()
	}
	return n
}

func (e *entry) unlink() {
	e.prev.next, e.next.prev = e.next, e.prev
}

func (e *entry) link(after *entry) {
	e.prev, e.next = after, after.next
	e.prev.next, e.next.prev = e, e
}
