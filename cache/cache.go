package cache

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"

	"megafs/remote"
)

// Source is where chunks come from: a part of remote.Remote.
type Source interface {
	Fetch(ctx context.Context, ref remote.Ref, first, n int, dst []byte) error
	Open(ref remote.Ref, i int, sealed, dst []byte) error
}

// Options of a cache.
type Options struct {
	Dir          string        // disposable, made when missing; empty: memory only
	Key          [32]byte      // what the index is encrypted with
	Limit        int64         // bytes on disk, the index included; below 64 MiB nothing is kept on disk
	Memory       int64         // bytes of opened chunks and buffers; default 32 MiB
	Admit        bool          // keep on disk what is read; false when the store is as near as the cache
	Source       Source        // required
	Parallel     int           // fetches at once; default 8
	FetchTimeout time.Duration // of one fetch; default 30 s
	Log          *slog.Logger
}

// Stats counts what the cache did.
type Stats struct {
	Bytes        int64  `json:"bytes"` // on disk
	Limit        int64  `json:"limit"`
	Memory       int64  `json:"memory"` // of opened chunks
	Hits         uint64 `json:"hits"`   // chunks found in memory or on disk
	Misses       uint64 `json:"misses"`
	Fetches      uint64 `json:"fetches"`
	FetchedBytes uint64 `json:"fetched_bytes"`
	Evictions    uint64 `json:"evictions"`
	Damaged      uint64 `json:"damaged"` // chunks on disk that did not open
}

// chunkKey names a chunk.
type chunkKey struct {
	object remote.ObjectID
	i      uint16
}

// flight is a fetch under way. Its fields are set before done is closed.
type flight struct {
	first, n int
	done     chan struct{}
	plain    []byte // n chunks
	err      error
}

// maxFetch is how many chunks one fetch asks for.
const maxFetch = 64

// Cache keeps chunks. It is safe for concurrent use.
type Cache struct {
	o      Options
	opened *lru.Cache[chunkKey, []byte]
	disk   *slab // nil: memory only
	slots  chan struct{}

	ctx    context.Context
	stop   context.CancelFunc
	wg     sync.WaitGroup
	ahead  chan remote.Extent
	closed atomic.Bool

	mu      sync.Mutex
	flights map[chunkKey]*flight

	hits, misses, fetches, fetched, damaged atomic.Uint64
}

// Open opens a cache. A folder that is damaged in any way is begun anew.
func Open(o Options) (*Cache, error) {
	if o.Memory == 0 {
		o.Memory = 32 << 20
	}
	if o.Parallel == 0 {
		o.Parallel = 8
	}
	if o.FetchTimeout == 0 {
		o.FetchTimeout = 30 * time.Second
	}
	if o.Log == nil {
		o.Log = slog.Default()
	}
	// Half of the memory is for opened chunks; the other for fetches: sealed and plain bytes of each.
	keep := max(int(o.Memory/2/remote.ChunkSize), 16)
	o.Parallel = max(1, min(o.Parallel, int(o.Memory/2/(2*maxFetch*remote.SealedChunk))))
	c := &Cache{o: o, slots: make(chan struct{}, o.Parallel), ahead: make(chan remote.Extent, 64), flights: map[chunkKey]*flight{}}
	c.opened, _ = lru.New[chunkKey, []byte](keep)
	if o.Dir != "" && o.Limit >= minLimit {
		disk, err := openSlab(o)
		if err != nil {
			return nil, err
		}
		c.disk = disk
	}
	c.ctx, c.stop = context.WithCancel(context.Background())
	for range min(4, o.Parallel) {
		c.wg.Add(1)
		go c.prefetcher()
	}
	return c, nil
}

// Close ends all fetches and closes the index.
func (c *Cache) Close() error {
	c.closed.Store(true)
	c.stop()
	c.wg.Wait()
	if c.disk != nil {
		return c.disk.close()
	}
	return nil
}

// Stats returns what the cache did so far.
func (c *Cache) Stats() Stats {
	s := Stats{
		Limit: c.o.Limit, Memory: int64(c.opened.Len()) * remote.ChunkSize, Hits: c.hits.Load(), Misses: c.misses.Load(),
		Fetches: c.fetches.Load(), FetchedBytes: c.fetched.Load(), Damaged: c.damaged.Load(),
	}
	if c.disk != nil {
		s.Bytes, s.Evictions = c.disk.stats()
	}
	return s
}

// Read fills dst with the plain bytes from ref.Off on. Every chunk it needs is verified; on an error dst must not be used.
func (c *Cache) Read(ctx context.Context, ref remote.Ref, dst []byte) error {
	if len(dst) == 0 {
		return nil
	}
	off := int(ref.Off)
	first, last := off/remote.ChunkSize, (off+len(dst)-1)/remote.ChunkSize
	if last >= int(ref.Chunks) {
		return remote.E("read", "", remote.Invalid, errors.New("bytes behind the object's end"))
	}
	for i := first; i <= last; {
		n, err := c.chunks(ctx, ref, i, last, func(i int, plain []byte) {
			from, to := max(off, i*remote.ChunkSize), min(off+len(dst), (i+1)*remote.ChunkSize)
			copy(dst[from-off:to-off], plain[from-i*remote.ChunkSize:to-i*remote.ChunkSize])
		})
		if err != nil {
			return err
		}
		i += n
	}
	return nil
}

// chunks hands out chunks from first on, as many as come in one piece, and returns how many.
func (c *Cache) chunks(ctx context.Context, ref remote.Ref, first, last int, use func(i int, plain []byte)) (int, error) {
	key := chunkKey{ref.Object, uint16(first)}
	if p, ok := c.opened.Get(key); ok {
		c.hits.Add(1)
		use(first, p)
		return 1, nil
	}
	if p := c.fromDisk(ref, first); p != nil {
		c.hits.Add(1)
		c.opened.Add(key, p)
		use(first, p)
		return 1, nil
	}
	c.misses.Add(1)
	f := c.join(ref, first, last)
	if f == nil {
		return 0, remote.E("read", "", remote.Canceled, errors.New("the cache is closed"))
	}
	select {
	case <-f.done:
	case <-ctx.Done():
		kind := remote.Canceled
		if errors.Is(ctx.Err(), context.DeadlineExceeded) {
			kind = remote.Timeout
		}
		return 0, remote.E("read", "", kind, ctx.Err())
	}
	if f.err != nil {
		return 0, f.err
	}
	n := min(f.first+f.n, last+1) - first
	for i := range n {
		use(first+i, f.plain[(first+i-f.first)*remote.ChunkSize:][:remote.ChunkSize])
	}
	return n, nil
}

// fromDisk returns a chunk from the slab, opened, or nil.
func (c *Cache) fromDisk(ref remote.Ref, i int) []byte {
	if c.disk == nil {
		return nil
	}
	sealed, ok := c.disk.get(ref.Object, i)
	if !ok {
		return nil
	}
	p := make([]byte, remote.ChunkSize)
	if err := c.o.Source.Open(ref, i, sealed, p); err != nil {
		c.damaged.Add(1)
		c.disk.drop(ref.Object, i)
		return nil
	}
	return p
}

// join returns the fetch that brings a chunk: one under way, or a new one for it and those behind it that are missing too.
func (c *Cache) join(ref remote.Ref, first, last int) *flight {
	c.mu.Lock()
	defer c.mu.Unlock()
	if f := c.flights[chunkKey{ref.Object, uint16(first)}]; f != nil {
		return f
	}
	if c.closed.Load() {
		return nil
	}
	f := &flight{first: first, done: make(chan struct{})}
	for i := first; i <= last && f.n < maxFetch; i++ {
		key := chunkKey{ref.Object, uint16(i)}
		if c.flights[key] != nil || i > first && (c.opened.Contains(key) || c.disk != nil && c.disk.has(ref.Object, i)) {
			break
		}
		c.flights[key] = f
		f.n++
	}
	c.wg.Add(1)
	go c.fly(ref, f)
	return f
}

// fly fetches and opens a flight's chunks.
func (c *Cache) fly(ref remote.Ref, f *flight) {
	defer c.wg.Done()
	f.err = c.fetch(ref, f)
	if f.err == nil {
		for i := range f.n {
			// Each chunk has memory of its own, or one that is kept would keep them all.
			c.opened.Add(chunkKey{ref.Object, uint16(f.first + i)}, append([]byte(nil), f.plain[i*remote.ChunkSize:][:remote.ChunkSize]...))
		}
	}
	c.mu.Lock()
	for i := range f.n {
		delete(c.flights, chunkKey{ref.Object, uint16(f.first + i)})
	}
	c.mu.Unlock()
	close(f.done)
}

func (c *Cache) fetch(ref remote.Ref, f *flight) error {
	ctx, cancel := context.WithTimeout(c.ctx, c.o.FetchTimeout)
	defer cancel()
	select {
	case c.slots <- struct{}{}:
		defer func() { <-c.slots }()
	case <-ctx.Done():
		return remote.E("fetch", "", remote.Timeout, ctx.Err())
	}
	sealed := make([]byte, f.n*remote.SealedChunk)
	if err := c.o.Source.Fetch(ctx, ref, f.first, f.n, sealed); err != nil {
		return err
	}
	c.fetches.Add(1)
	c.fetched.Add(uint64(len(sealed)))
	f.plain = make([]byte, f.n*remote.ChunkSize)
	for i := range f.n {
		if err := c.o.Source.Open(ref, f.first+i, sealed[i*remote.SealedChunk:][:remote.SealedChunk], f.plain[i*remote.ChunkSize:][:remote.ChunkSize]); err != nil {
			return err
		}
	}
	if c.disk != nil && c.o.Admit {
		c.disk.put(ref.Object, f.first, sealed)
	}
	return nil
}

// Prefetch asks for content that will be read soon. It never waits; what is too much is dropped.
func (c *Cache) Prefetch(list []remote.Extent) {
	for _, e := range list {
		if e.Hole || e.Inline != nil || c.closed.Load() {
			continue
		}
		select {
		case c.ahead <- e:
		default:
			return
		}
	}
}

func (c *Cache) prefetcher() {
	defer c.wg.Done()
	for {
		select {
		case <-c.ctx.Done():
			return
		case e := <-c.ahead:
			c.bring(e)
		}
	}
}

// bring sees to it that an extent's chunks are in memory, or on disk where reading them is as good.
func (c *Cache) bring(e remote.Extent) {
	first, last := int(e.Ref.Off)/remote.ChunkSize, int((uint64(e.Ref.Off)+e.Len-1)/remote.ChunkSize)
	for i := first; i <= last && i < int(e.Ref.Chunks); {
		key := chunkKey{e.Ref.Object, uint16(i)}
		if c.opened.Contains(key) || c.disk != nil && c.disk.has(e.Ref.Object, i) {
			i++
			continue
		}
		f := c.join(e.Ref, i, last)
		if f == nil {
			return
		}
		select {
		case <-f.done:
		case <-c.ctx.Done():
			return
		}
		if f.err != nil {
			return // whoever reads it will hear why
		}
		i = f.first + f.n
	}
}

// header is what comes before the chunks of a sealed object.
const header = 80

// Put takes a whole sealed object that is on its way to the store. It is kept on disk only.
func (c *Cache) Put(ref remote.Ref, sealed []byte) {
	if c.disk == nil || c.closed.Load() || len(sealed) != header+int(ref.Chunks)*remote.SealedChunk {
		return
	}
	c.disk.put(ref.Object, 0, sealed[header:])
}
