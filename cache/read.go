package cache

import (
	"context"
	"encoding/hex"
	"errors"
	"slices"

	"megafs/remote"
)

// reading is one Read.
type reading struct {
	c   *Cache
	ref remote.Ref
	dst []byte
}

// objectName names an object in errors, as the store does but shorter.
func objectName(o remote.ObjectID) string { return hex.EncodeToString(o[:8]) }

// Read reads len(dst) bytes of an object's plaintext from ref.Off on. All of them are verified; on an error dst has anything and must not be used.
//
// What is not here is fetched, adjacent chunks together and all at the same time, by fetches that go on when ctx ends. Errors
// have the kind that the source gave; Integrity if what it delivered does not open; Timeout or Canceled by ctx or Close; Invalid for bytes beyond
// the object. No error is remembered.
func (c *Cache) Read(ctx context.Context, ref remote.Ref, dst []byte) error {
	if len(dst) == 0 {
		return nil
	}
	if ref.Chunks > remote.MaxChunks || uint64(ref.Off)+uint64(len(dst)) > uint64(ref.Chunks)*chunkSize {
		return remote.E("read content", objectName(ref.Object), remote.Invalid, errors.New("there are fewer bytes in the object"))
	}
	r := reading{c, ref, dst}
	first, last := int(ref.Off)/chunkSize, (int(ref.Off)+len(dst)-1)/chunkSize
	missing := r.local(first, last, nil)
	c.n.hits.Add(uint64(last - first + 1 - len(missing)))
	c.n.misses.Add(uint64(len(missing)))
	for try := 0; len(missing) > 0; try++ {
		again, err := r.fetch(ctx, missing, try)
		if err != nil {
			return err
		}
		slices.Sort(again)
		missing = missing[:0]
		for _, i := range again {
			missing = r.local(i, i, missing)
		}
	}
	return nil
}

// part returns where the wanted bytes of chunk i go in dst, and at which byte of the chunk they begin.
func (r *reading) part(i int) (dst []byte, from int) {
	off := int(r.ref.Off)
	lo, hi := max(off, i*chunkSize), min(off+len(r.dst), (i+1)*chunkSize)
	return r.dst[lo-off : hi-off], lo - i*chunkSize
}

// local reads chunks first..last from memory and disk and appends the numbers of those that are in neither to missing.
func (r *reading) local(first, last int, missing []int) []int {
	c := r.c
	for i := first; i <= last; {
		dst, from := r.part(i)
		if c.mem.read(chunkKey{r.ref.Object, uint16(i)}, from, dst) {
			i++
			continue
		}
		if c.disk == nil {
			missing = append(missing, i)
			i++
			continue
		}
		k, at := split(r.ref.Object, i)
		n := min(runChunks-at, last-i+1)
		p := c.disk.lookup(k, mask(at, n))
		if n = min(n, leading(p.have, at)); n == 0 {
			missing = append(missing, i)
			i++
			continue
		}
		buf := c.runs.get()
		err := c.disk.read(p.slot, at, n, *buf)
		for j := range n {
			if err == nil && r.open(i+j, (*buf)[j*sealedSize:][:sealedSize]) == nil {
				continue
			}
			if c.disk.drop(p, at+j) {
				c.n.damaged.Add(1)
				p.gen++ // by drop
			}
			missing = append(missing, i+j)
		}
		c.runs.put(buf)
		i += n
	}
	return missing
}

// open opens a chunk into dst. One that is wanted in part is likely to be wanted again for the rest, and is kept in memory.
func (r *reading) open(i int, sealed []byte) error {
	c := r.c
	dst, from := r.part(i)
	if len(dst) == chunkSize {
		return c.source.Open(r.ref, i, sealed, dst)
	}
	plain := c.chunks.get()
	if err := c.source.Open(r.ref, i, sealed, *plain); err != nil {
		c.chunks.put(plain)
		return err
	}
	copy(dst, (*plain)[from:])
	c.mem.add(chunkKey{r.ref.Object, uint16(i)}, plain)
	return nil
}

// fetch waits for missing chunks to come and opens them. It returns those that are to be looked for again: they came between the look and
// now, or read-ahead failed to get them, which says little about a smaller fetch.
func (r *reading) fetch(ctx context.Context, missing []int, try int) (again []int, err error) {
	c := r.c
	w, again, own := c.fetch.join(r.ref, missing, try)
	defer w.leave()
	for _, f := range own {
		go c.fetch.flyOwn(ctx, f)
	}
	for len(w.flights) > 0 {
		select {
		case f := <-w.came:
			err := f.err
			for _, i := range missing {
				if err != nil {
					break
				}
				if f.first <= i && i < f.first+f.n {
					err = r.openFetched(i, f.sealed(i))
				}
			}
			if err != nil && f.owner == w && ctx.Err() != nil {
				return nil, stopped("read content", r.ref.Object, ctx.Err())
			}
			// That read-ahead failed, or another Read gave up, says little about this one.
			ahead := f.err != nil && (f.ahead || f.owner != nil && f.owner != w)
			first, last := f.first, f.first+f.n-1
			w.done(f, err != nil)
			if ahead && try == 0 {
				for _, i := range missing {
					if first <= i && i <= last {
						again = append(again, i)
					}
				}
				continue
			}
			if err != nil {
				return nil, err
			}
		case <-ctx.Done():
			return nil, stopped("read content", r.ref.Object, ctx.Err())
		case <-c.fetch.ctx.Done():
			return nil, remote.E("read content", objectName(r.ref.Object), remote.Canceled, errClosed)
		}
	}
	return again, nil
}

var errClosed = errors.New("the cache is closed")

// stopped is the error of what a context ended.
func stopped(op string, o remote.ObjectID, err error) error {
	kind := remote.Canceled
	if errors.Is(err, context.DeadlineExceeded) {
		kind = remote.Timeout
	}
	return remote.E(op, objectName(o), kind, err)
}

// openFetched opens a chunk that was just fetched: if it does not open there is no other.
func (r *reading) openFetched(i int, sealed []byte) error {
	err := r.open(i, sealed)
	if err == nil {
		return nil
	}
	r.c.n.errors.Add(1)
	if r.c.disk != nil {
		r.c.disk.forget(r.ref.Object, i)
	}
	return remote.E("open content", objectName(r.ref.Object), remote.Integrity, err)
}
