package mega

import (
	"context"
	"errors"
	"sync"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"golang.org/x/sync/semaphore"

	"megafs/crypto/megacrypt"
	"megafs/remote"
)

// Limits of downloads.
const (
	flightMost   = 4 << 20 // bytes of one request, about
	filesKept    = 512
	downloadTime = 2 * time.Minute // of one request for data
	urlLife      = time.Hour
)

// downloads reads content chunk by chunk of MEGA's, and believes nothing before it was authenticated; see file.
type downloads struct {
	r      *Remote
	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup
	urls   *gatherer
	room   *semaphore.Weighted // bytes of requests under way

	mu     sync.Mutex
	files  *lru.Cache[string, *file]
	chunks *lru.Cache[chunkKey, *chunk]
	flying map[chunkKey]*chunk
	poison map[object]bool

	transfer transfer
}

type chunkKey struct {
	handle string
	i      int64
}

// chunk is one of MEGA's chunks, decrypted, once done is closed.
type chunk struct {
	done chan struct{}
	data []byte
	err  error
}

func newDownloads(r *Remote) (*downloads, error) {
	d := &downloads{r: r, flying: map[chunkKey]*chunk{}, poison: map[object]bool{}, urls: newGatherer(r.api), room: semaphore.NewWeighted(max(r.o.Memory/2, 2*flightMost))}
	d.files, _ = lru.New[string, *file](filesKept)
	d.chunks, _ = lru.New[chunkKey, *chunk](int(max(4, r.o.Memory/4/megacrypt.MaxChunk)))
	err := r.x.scan([]byte{keyPoison}, func(key, _ []byte) error {
		var o object
		copy(o[:], key)
		d.poison[o] = true
		return nil
	})
	if err != nil {
		return nil, err
	}
	d.ctx, d.cancel = context.WithCancel(context.Background())
	return d, nil
}

func (d *downloads) close() {
	d.cancel()
	d.urls.close()
	d.wg.Wait()
}

// Fetch implements remote.Remote.
func (r *Remote) Fetch(ctx context.Context, ref remote.Ref, first, n int, dst []byte) error {
	o, i := split(ref.Object)
	f, err := r.down.file(o)
	if err != nil {
		return err
	}
	from := int64(i)*remote.MaxContent + int64(first)*remote.ChunkSize
	to := min(from+int64(n)*remote.ChunkSize, f.size)
	if from < 0 || from >= to {
		return remote.E("fetch content", f.handle, remote.Integrity, errors.New("it is shorter than it was said to be"))
	}
	plain := make([]byte, n*remote.ChunkSize)
	if err := r.down.read(ctx, f, from, plain[:to-from]); err != nil {
		return err
	}
	for c := range n {
		r.seal.chunk(ref.Object, first+c, plain[c*remote.ChunkSize:][:remote.ChunkSize], dst[c*remote.SealedChunk:][:remote.SealedChunk])
	}
	return nil
}

// Open implements remote.Remote.
func (r *Remote) Open(ref remote.Ref, i int, sealed, dst []byte) error {
	o, _ := split(ref.Object)
	r.down.mu.Lock()
	bad := r.down.poison[o]
	r.down.mu.Unlock()
	if bad {
		return errPoison("")
	}
	return r.seal.open(ref.Object, i, sealed, dst)
}

// read reads bytes of a file.
func (d *downloads) read(ctx context.Context, f *file, from int64, dst []byte) error {
	first, last := megacrypt.ChunkAt(from), megacrypt.ChunkAt(from+int64(len(dst))-1)
	f.mu.Lock()
	whole := f.small && !f.verified
	f.mu.Unlock()
	a, b := first, last
	if whole {
		a, b = 0, int64(len(f.macs))-1
	}
	waits := make([]*chunk, b-a+1)
	var mine []int64
	d.mu.Lock()
	for i := a; i <= b; i++ {
		k := chunkKey{f.handle, i}
		c, ok := d.flying[k]
		if !ok {
			c, ok = d.chunks.Get(k)
		}
		if !ok {
			c = &chunk{done: make(chan struct{})}
			d.flying[k] = c
			mine = append(mine, i)
		}
		waits[i-a] = c
	}
	d.mu.Unlock()
	for len(mine) > 0 {
		n, size := 0, int64(0)
		for n < len(mine) && (n == 0 || mine[n] == mine[n-1]+1) && size < flightMost {
			s, e := megacrypt.ChunkBorders(mine[n], f.size)
			size += e - s
			n++
		}
		run := mine[:n]
		mine = mine[n:]
		d.wg.Go(func() { d.fly(f, run[0], run[len(run)-1]) })
	}
	for i, c := range waits {
		select {
		case <-c.done:
		case <-ctx.Done():
			return remote.E("read content", f.handle, remote.Timeout, ctx.Err())
		}
		if c.err != nil {
			return c.err
		}
		s, _ := megacrypt.ChunkBorders(a+int64(i), f.size)
		if e := s + int64(len(c.data)); s < from+int64(len(dst)) && e > from {
			lo, hi := max(s, from), min(e, from+int64(len(dst)))
			copy(dst[lo-from:hi-from], c.data[lo-s:hi-s])
		}
		waits[i] = nil
	}
	if err := d.settle(f); err != nil {
		clear(dst)
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.small && !f.verified {
		clear(dst)
		return errPoison(f.handle)
	}
	return nil
}

// fly downloads adjacent chunks and lets those go on who wait for them, as each chunk comes.
func (d *downloads) fly(f *file, first, last int64) {
	from, _ := megacrypt.ChunkBorders(first, f.size)
	_, to := megacrypt.ChunkBorders(last, f.size)
	d.mu.Lock()
	cs := make([]*chunk, 0, last-first+1)
	for i := first; i <= last; i++ {
		cs = append(cs, d.flying[chunkKey{f.handle, i}])
	}
	d.mu.Unlock()
	next := first
	err := d.get(f, from, to, func(b []byte) {
		for ; next <= last; next++ {
			s, e := megacrypt.ChunkBorders(next, f.size)
			if e-from > int64(len(b)) {
				return
			}
			d.land(f, next, cs[next-first], b[s-from:e-from:e-from], nil)
		}
	})
	for ; next <= last; next++ {
		d.land(f, next, cs[next-first], nil, err)
	}
}

// land decrypts a chunk that came and lets those go on who wait for it, or tells them why it did not come.
func (d *downloads) land(f *file, i int64, c *chunk, data []byte, err error) {
	if err == nil {
		s, _ := megacrypt.ChunkBorders(i, f.size)
		f.cipher.XOR(data, data, s)
		err = d.check(f, i, f.cipher.ChunkMAC(data))
	}
	if c.err = err; err == nil {
		c.data = data
	}
	k := chunkKey{f.handle, i}
	d.mu.Lock()
	delete(d.flying, k)
	if err == nil {
		d.chunks.Add(k, c)
	}
	d.mu.Unlock()
	close(c.done)
}
