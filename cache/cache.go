package cache

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"sync/atomic"
	"time"

	"megafs/remote"
)

const (
	chunkSize  = remote.ChunkSize
	sealedSize = remote.SealedChunk
	runChunks  = 4                      // chunks in a run
	slotSize   = runChunks * sealedSize // bytes on disk of a run
	headerSize = 80                     // bytes before the chunks of a sealed object
)

// Source is where chunks come from and how they are opened; it is a part of remote.Remote and has its contract.
type Source interface {
	Fetch(ctx context.Context, ref remote.Ref, first, n int, dst []byte) error
	Open(ref remote.Ref, i int, sealed, dst []byte) error
}

// Options says how a Cache works.
type Options struct {
	Dir          string        // a folder for the cache alone, disposable; "": memory only
	Key          [32]byte      // encrypts and authenticates the index, which has object ids in it
	Limit        int64         // bytes on disk of all in Dir; below 16 MiB there is only memory
	Memory       int64         // bytes for opened chunks and for fetches together; default 32 MiB
	Admit        bool          // whether what is fetched and Put goes to disk; what is there is used in any case
	Source       Source        // must not be nil
	Near         bool          // Source answers as fast as a local disk, and as surely: a Read that finds nobody else at it does not wait for a fetcher
	Parallel     int           // fetches at a time; default 8
	FetchTimeout time.Duration // for one fetch; default 30 s
	Log          *slog.Logger  // default: none
}

// Cache is a cache of one vault's content. All methods may be called from many goroutines.
type Cache struct {
	source Source
	log    *slog.Logger
	mem    *memory
	disk   *slabs // nil: memory only
	index  *index // nil: memory only
	dir    *folder
	fetch  *fetcher
	runs   bufs          // of a run
	chunks bufs          // of an opened chunk
	puts   chan struct{} // a token for each Put under way
	near   bool
	limit  int64
	closed atomic.Bool
	n      counters
}

type counters struct {
	hits, misses, fetches, fetched, damaged, errors atomic.Uint64
}

// Stats says what a cache holds and did since it was opened.
type Stats struct {
	Bytes        int64  `json:"bytes"`         // on disk
	Limit        int64  `json:"limit"`         // for Bytes
	Memory       int64  `json:"memory"`        // of opened chunks and running fetches
	Hits         uint64 `json:"hits"`          // chunks read from disk or memory
	Misses       uint64 `json:"misses"`        // chunks that a read had to wait for
	Fetches      uint64 `json:"fetches"`       // requests to the source
	FetchedBytes uint64 `json:"fetched_bytes"` // that the source delivered, sealed
	Evictions    uint64 `json:"evictions"`     // runs that made room
	Damaged      uint64 `json:"damaged"`       // chunks on disk that did not open
	Errors       uint64 `json:"errors"`        // fetches that failed, fetched chunks that did not open, errors of the disk
}

// Open opens a cache. What the folder holds is used if it is what Close left, else removed; damage is never an error. Open fails with
// kind Busy when another process uses the folder, Permission when it belongs to somebody else, and IO or NoSpace when it can't be made.
func Open(o Options) (*Cache, error) {
	if o.Source == nil {
		return nil, remote.E("open cache", "", remote.Invalid, errors.New("no source"))
	}
	if o.Memory <= 0 {
		o.Memory = 32 << 20
	}
	if o.Parallel <= 0 {
		o.Parallel = 8
	}
	if o.FetchTimeout <= 0 {
		o.FetchTimeout = 30 * time.Second
	}
	if o.Log == nil {
		o.Log = slog.New(slog.NewTextHandler(io.Discard, nil))
	}
	c := &Cache{source: o.Source, log: o.Log, near: o.Near, puts: make(chan struct{}, 2), runs: bufs{size: slotSize}, chunks: bufs{size: chunkSize}}
	c.mem = newMemory(o.Memory/2, &c.chunks)
	if o.Dir != "" {
		if err := c.openDisk(o); err != nil {
			return nil, err
		}
	}
	c.fetch = newFetcher(c, o.Memory-o.Memory/2, o.Parallel, o.FetchTimeout)
	return c, nil
}

// openDisk opens or makes the folder's part of the cache.
func (c *Cache) openDisk(o Options) error {
	plan, ok := layoutFor(o.Limit)
	if !ok {
		c.log.Warn("the cache's limit is too small for a cache on disk; only memory is used", "limit", o.Limit, "least", minLimit)
		return nil
	}
	dir, err := openFolder(o.Dir, o.Key)
	if err != nil {
		return err
	}
	if !dir.verify() {
		if _, err := dir.root.Lstat(indexName); err == nil {
			c.log.Info("the cache on disk was not closed in order, or was changed, and begins anew")
		}
		if err := dir.wipe(); err != nil {
			return errors.Join(err, dir.close())
		}
	}
	if !dir.roomFor(plan.index) {
		c.log.Warn("the disk is nearly full; the cache is only in memory", "dir", o.Dir)
		return dir.close()
	}
	for again := false; ; again = true {
		c.disk = newSlabs(dir, plan, o.Admit, c.log)
		c.index, err = openIndex(dir, plan, c.disk, c.log)
		if err == nil {
			c.dir, c.limit = dir, o.Limit
			return nil
		}
		c.disk.close()
		if again {
			return errors.Join(remote.E("open cache", "index", remote.IO, err), dir.close())
		}
		c.log.Warn("the cache on disk can't be used and begins anew", "reason", err)
		if err := dir.wipe(); err != nil {
			return errors.Join(err, dir.close())
		}
	}
}

// Stats returns the counters.
func (c *Cache) Stats() Stats {
	s := Stats{
		Limit: c.limit, Memory: c.mem.bytes() + c.fetch.memory(),
		Hits: c.n.hits.Load(), Misses: c.n.misses.Load(), Fetches: c.n.fetches.Load(), FetchedBytes: c.n.fetched.Load(),
		Damaged: c.n.damaged.Load(), Errors: c.n.errors.Load(),
	}
	if c.disk != nil {
		s.Bytes = c.disk.bytes.Load() + c.index.bytes.Load()
		s.Evictions = c.disk.evictions.Load()
		s.Errors += c.disk.errors.Load()
	}
	return s
}

// Close ends all fetches, fails the Reads that wait for one with kind Canceled, and leaves the folder so that Open finds all again. A source that
// does not heed its context is waited for 300 ms. Only the first call does anything.
func (c *Cache) Close() error {
	if c.closed.Swap(true) {
		return nil
	}
	if !c.fetch.close(300 * time.Millisecond) {
		c.log.Warn("a fetch does not end; it is left behind")
	}
	if c.disk == nil {
		return nil
	}
	// From here on nothing changes the slots' records: a late fetch or Put finds no room, a late Read can't drop a slot.
	c.disk.freeze()
	err := c.index.close()
	c.disk.close()
	if err == nil {
		err = c.dir.seal()
	}
	if err != nil {
		c.log.Warn("the cache on disk was not closed in order and will begin anew", "reason", err)
		err = remote.E("close cache", "", remote.IO, err)
	}
	return errors.Join(err, c.dir.close())
}

// Put takes a whole sealed object, its header and all chunks, that was just stored. It copies it to the disk before it returns, or
// drops it: when two other Puts are under way, the cache has no disk or does not admit, or the length is not that of the object.
func (c *Cache) Put(ref remote.Ref, sealed []byte) {
	n := int(ref.Chunks)
	if c.disk == nil || n < 1 || n > remote.MaxChunks || len(sealed) != headerSize+n*sealedSize {
		return
	}
	select {
	case c.puts <- struct{}{}:
		c.disk.admit(ref, 0, n, sealed[headerSize:], false)
		<-c.puts
	default:
	}
}
