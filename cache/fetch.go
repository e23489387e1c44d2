package cache

import (
	"container/list"
	"context"
	"errors"
	"sync"
	"time"

	"megafs/remote"
)

const (
	maxQueue  = 64 // read-ahead that waits; more is dropped
	leastHalf = 16 // chunks; fetches that time out are not made smaller than that
)

// flight is a fetch of adjacent chunks, from the moment that somebody wants them until all who waited have opened theirs.
type flight struct {
	ref      remote.Ref
	first, n int
	class    int // its buffer has 1<<class chunks
	ahead    bool
	owner    *waiter // whose Read flies it; nil: a fetcher

	// Guarded by fetcher.mu; buf and err do not change once done is set.
	queue   *list.List // that it waits in, or nil
	place   *list.Element
	waiters []*waiter
	refs    int // waiters, and the fetcher while it works on it
	done    bool
	buf     *[]byte
	err     error
}

// sealed returns chunk i as it was fetched.
func (f *flight) sealed(i int) []byte { return (*f.buf)[(i-f.first)*sealedSize:][:sealedSize] }

// waiter is a Read that waits for flights.
type waiter struct {
	fe      *fetcher
	flights []*flight    // not yet dealt with
	came    chan *flight // has room for all
}

// fetcher runs flights: those that a Read waits for before read-ahead, each in its order.
type fetcher struct {
	c       *Cache
	timeout time.Duration
	ctx     context.Context // ends with the cache
	cancel  context.CancelFunc
	wg      sync.WaitGroup
	bufs    [9]bufs // by class
	budget  int64   // bytes of all buffers
	most    int     // chunks in a fetch, by the budget
	lanes   int     // fetches of read-ahead at a time

	mu     sync.Mutex
	wake   sync.Cond // there may be work, or memory for it
	byKey  map[chunkKey]*flight
	wanted list.List
	hinted list.List
	used   int64 // of the budget
	ahead  int64 // of used, by running read-ahead
	flying int   // read-ahead that runs
	limit  int   // chunks in a fetch now: halved when one timed out
	closed bool
}

func newFetcher(c *Cache, budget int64, parallel int, timeout time.Duration) *fetcher {
	fe := &fetcher{c: c, timeout: timeout, budget: max(budget, sealedSize), most: 1, lanes: max(1, parallel*3/4), byKey: make(map[chunkKey]*flight)}
	for i := range fe.bufs {
		fe.bufs[i].size = sealedSize << i
	}
	for fe.most < remote.MaxChunks && int64(2*fe.most)*sealedSize <= fe.budget/4 {
		fe.most *= 2
	}
	fe.limit = fe.most
	fe.ctx, fe.cancel = context.WithCancel(context.Background())
	fe.wake.L = &fe.mu
	fe.wg.Add(parallel)
	for range parallel {
		go fe.work()
	}
	return fe
}

// join attaches a Read to flights for the missing chunks, under way or new, and returns the chunks that need none: in
// the last moment they came into the cache. After some tries it does not look. Flights in own are the Read's own to fly.
func (fe *fetcher) join(ref remote.Ref, missing []int, try int) (w *waiter, here []int, own []*flight) {
	fe.mu.Lock()
	defer fe.mu.Unlock()
	w = &waiter{fe: fe}
	var f *flight
	for _, i := range missing {
		k := chunkKey{ref.Object, uint16(i)}
		old := fe.byKey[k]
		switch {
		case old != nil:
			f = old
		case try < 3 && fe.c.here(k):
			here = append(here, i)
			continue
		default:
			f = fe.add(f, ref, i, false)
		}
		if len(w.flights) == 0 || w.flights[len(w.flights)-1] != f {
			w.flights = append(w.flights, f)
		}
	}
	w.came = make(chan *flight, len(w.flights))
	for _, f := range w.flights {
		f.refs++
		if f.done {
			w.came <- f
			continue
		}
		f.waiters = append(f.waiters, w)
		if f.queue == &fe.hinted { // now somebody waits for it
			fe.hinted.Remove(f.place)
			f.queue, f.place = &fe.wanted, fe.wanted.PushBack(f)
		}
		// Where fetching takes no longer than waking one of the fetchers does, the Read has it done at once, if its turn is now.
		if fe.c.near && !fe.closed && len(f.waiters) == 1 && f.queue == &fe.wanted && fe.wanted.Front() == f.place && fe.ready() == f {
			fe.begin(f)
			f.owner = w
			fe.wg.Add(1)
			own = append(own, f)
		}
	}
	fe.stir()
	return w, here, own
}

// here reports whether a chunk is in memory or on disk.
func (c *Cache) here(k chunkKey) bool {
	return c.mem.has(k) || c.disk != nil && c.disk.has(k.object, int(k.chunk))
}

// add makes chunk i part of f, if f is a flight that was just begun and ends before it, else of a new one. Called with mu held.
func (fe *fetcher) add(f *flight, ref remote.Ref, i int, ahead bool) *flight {
	ref.Off = 0
	if f == nil || f.refs > 0 || f.queue == nil || f.ahead != ahead || f.ref != ref || f.first+f.n != i || f.n >= fe.limit {
		f = &flight{ref: ref, first: i, ahead: ahead, queue: &fe.wanted}
		if ahead {
			f.queue = &fe.hinted
		}
		f.place = f.queue.PushBack(f)
	}
	f.n++
	for 1<<f.class < f.n {
		f.class++
	}
	fe.byKey[chunkKey{ref.Object, uint16(i)}] = f
	return f
}

// Prefetch asks for content that will be read soon. It does not wait; what is here or on its way is not fetched again, and what is too much is dropped.
func (c *Cache) Prefetch(refs []remote.Extent) {
	fe := c.fetch
	fe.mu.Lock()
	defer fe.mu.Unlock()
	var f *flight
	for _, e := range refs {
		end := uint64(e.Ref.Off) + e.Len
		if e.Hole || e.Inline != nil || e.Len == 0 || e.Ref.Chunks > remote.MaxChunks || end > uint64(e.Ref.Chunks)*chunkSize {
			continue
		}
		for i := int(e.Ref.Off) / chunkSize; i*chunkSize < int(end); i++ {
			if fe.closed || fe.hinted.Len() >= maxQueue {
				return
			}
			k := chunkKey{e.Ref.Object, uint16(i)}
			if fe.byKey[k] == nil && !c.here(k) {
				f = fe.add(f, e.Ref, i, true)
			}
		}
	}
	fe.stir()
}

// leave gives up what a Read still waits for. A flight that nobody wants any more does not begin; one that began goes on.
func (w *waiter) leave() {
	if len(w.flights) == 0 {
		return
	}
	w.fe.mu.Lock()
	defer w.fe.mu.Unlock()
	for _, f := range w.flights {
		w.fe.release(f, w)
	}
	w.flights = nil
}

// done tells that a Read has what it wants from a flight, or found it bad: then nobody else is to join it.
func (w *waiter) done(f *flight, bad bool) {
	w.fe.mu.Lock()
	defer w.fe.mu.Unlock()
	if bad {
		w.fe.forget(f)
	}
	for i := range w.flights {
		if w.flights[i] == f {
			w.flights = append(w.flights[:i], w.flights[i+1:]...)
			break
		}
	}
	w.fe.release(f, w)
}

// release ends a reference to f, w's or with nil the fetcher's own. Called with mu held.
func (fe *fetcher) release(f *flight, w *waiter) {
	for i := range f.waiters {
		if f.waiters[i] == w {
			f.waiters = append(f.waiters[:i], f.waiters[i+1:]...)
			break
		}
	}
	if f.refs--; f.refs > 0 {
		return
	}
	if f.queue != nil {
		f.queue.Remove(f.place)
		f.queue = nil
	}
	fe.forget(f)
	if f.buf != nil {
		fe.bufs[f.class].put(f.buf)
		f.buf = nil
		fe.used -= sealedSize << f.class
		fe.stir()
	}
}

// forget keeps others from joining f. Called with mu held.
func (fe *fetcher) forget(f *flight) {
	for i := range f.n {
		if k := (chunkKey{f.ref.Object, uint16(f.first + i)}); fe.byKey[k] == f {
			delete(fe.byKey, k)
		}
	}
}

// work is a fetcher's goroutine.
func (fe *fetcher) work() {
	defer fe.wg.Done()
	for f := fe.next(); f != nil; f = fe.next() {
		fe.fly(fe.ctx, f)
	}
}

// next waits for a flight that may begin, and takes its memory. It returns nil when the cache is closed.
func (fe *fetcher) next() *flight {
	fe.mu.Lock()
	defer fe.mu.Unlock()
	for !fe.closed {
		if f := fe.ready(); f != nil {
			fe.begin(f)
			return f
		}
		fe.wake.Wait()
	}
	return nil
}

// stir wakes the fetchers if anything waits for one. Where Reads do their own fetching nothing does, and eight goroutines
// that find nothing to do cost more than the fetch. Called with mu held.
func (fe *fetcher) stir() {
	if fe.wanted.Len()+fe.hinted.Len() > 0 {
		fe.wake.Broadcast()
	}
}

// begin takes a flight out of its queue, and its memory. Called with mu held.
func (fe *fetcher) begin(f *flight) {
	f.queue.Remove(f.place)
	f.queue, f.place = nil, nil
	f.refs++
	fe.used += sealedSize << f.class
	if f.ahead {
		fe.flying++
		fe.ahead += sealedSize << f.class
	}
	f.buf = fe.bufs[f.class].get()
}

// ready returns the first flight in turn if there is memory for it. Called with mu held.
func (fe *fetcher) ready() *flight {
	fits := func(f *flight) bool { return fe.used+sealedSize<<f.class <= fe.budget }
	if e := fe.wanted.Front(); e != nil {
		if f := e.Value.(*flight); fits(f) {
			return f
		}
		return nil // read-ahead must not take what it waits for
	}
	e := fe.hinted.Front()
	if e == nil || fe.flying >= fe.lanes {
		return nil
	}
	// A half of the memory stays for those who will wait, but for the first.
	f := e.Value.(*flight)
	if !fits(f) || fe.flying > 0 && fe.ahead+sealedSize<<f.class > fe.budget/2 {
		return nil
	}
	return f
}

// flyOwn is fly for one Read, which goes no further than the Read's context. It has a goroutine of its own, so that the Read can leave when the
// source hangs; the buffer is the flight's and stays with it.
func (fe *fetcher) flyOwn(ctx context.Context, f *flight) {
	defer fe.wg.Done()
	both, cancel := context.WithCancel(fe.ctx)
	defer cancel()
	defer context.AfterFunc(ctx, cancel)()
	fe.fly(both, f)
}

// fly fetches a flight, tells those who wait, and puts on disk what came.
func (fe *fetcher) fly(ctx context.Context, f *flight) {
	c := fe.c
	ctx, cancel := context.WithTimeout(ctx, fe.timeout)
	err := c.source.Fetch(ctx, f.ref, f.first, f.n, (*f.buf)[:f.n*sealedSize])
	if err != nil {
		err = fe.failure(ctx, f, err)
	}
	cancel()
	c.n.fetches.Add(1)
	if err == nil {
		c.n.fetched.Add(uint64(f.n * sealedSize))
	} else {
		c.n.errors.Add(1)
	}
	waited := fe.land(f, err)
	if err == nil {
		kept := c.disk != nil && c.disk.admit(f.ref, f.first, f.n, *f.buf, waited && !f.ahead)
		if !kept && (f.ahead || !waited) {
			fe.keepOpened(f)
		}
	}
	fe.mu.Lock()
	defer fe.mu.Unlock()
	fe.release(f, nil)
}

// land makes known that a flight is over, and reports whether somebody waited.
func (fe *fetcher) land(f *flight, err error) (waited bool) {
	fe.mu.Lock()
	defer fe.mu.Unlock()
	f.done, f.err = true, err
	if f.ahead {
		fe.flying--
		fe.ahead -= sealedSize << f.class
	}
	switch {
	case err == nil && f.n >= fe.limit:
		fe.limit = min(2*fe.limit, fe.most)
	case remote.Is(err, remote.Timeout) && f.n > leastHalf:
		fe.limit = min(fe.limit, max(leastHalf, f.n/2))
	}
	if err != nil {
		fe.forget(f) // the next one to ask begins anew
	}
	for _, w := range f.waiters {
		w.came <- f
	}
	waited = len(f.waiters) > 0
	fe.stir()
	return waited
}

// failure gives an error of a fetch its kind, if the source did not.
func (fe *fetcher) failure(ctx context.Context, f *flight, err error) error {
	if remote.KindOf(err) == remote.Other {
		if ctxErr := ctx.Err(); ctxErr != nil && errors.Is(err, ctxErr) {
			return stopped("fetch content", f.ref.Object, err)
		}
	}
	return remote.E("fetch content", objectName(f.ref.Object), remote.Other, err)
}

// keepOpened opens chunks that came ahead and have no place on disk into memory. Those that do not open will be fetched again by who reads them.
func (fe *fetcher) keepOpened(f *flight) {
	c := fe.c
	for i := f.first; i < f.first+f.n; i++ {
		k := chunkKey{f.ref.Object, uint16(i)}
		if c.here(k) {
			continue
		}
		plain := c.chunks.get()
		if c.source.Open(f.ref, i, f.sealed(i), *plain) != nil {
			c.n.errors.Add(1)
			c.chunks.put(plain)
			continue
		}
		c.mem.add(k, plain)
	}
}

// memory returns the bytes of buffers in use.
func (fe *fetcher) memory() int64 {
	fe.mu.Lock()
	defer fe.mu.Unlock()
	return fe.used
}

// close ends all fetches and reports whether that took less than grace.
func (fe *fetcher) close(grace time.Duration) bool {
	fe.mu.Lock()
	fe.closed = true
	fe.mu.Unlock()
	fe.cancel()
	fe.wake.Broadcast()
	over := make(chan struct{})
	go func() {
		fe.wg.Wait()
		close(over)
	}()
	select {
	case <-over:
		return true
	case <-time.After(grace):
		return false
	}
}
