package mega

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"

	"github.com/dgraph-io/badger/v4"
	lru "github.com/hashicorp/golang-lru/v2"
	"golang.org/x/sync/semaphore"

	"megafs/crypto/megacrypt"
	"megafs/remote"
)

// Limits of downloads.
const (
	flightMost   = 4 << 20 // bytes of one request, about
	flightsMost  = 8
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

// file is a file's content as it is known here.
type file struct {
	handle string
	object object
	key    megacrypt.FileKey
	cipher *megacrypt.Cipher
	size   int64
	small  bool // it is read as a whole before any of it is believed

	mu       sync.Mutex
	macs     []megacrypt.ChunkMAC
	have     []bool
	missing  int
	verified bool
	url      string
	got      time.Time
}

func newDownloads(r *Remote) *downloads {
	d := &downloads{r: r, flying: map[chunkKey]*chunk{}, poison: map[object]bool{}, room: semaphore.NewWeighted(max(r.o.Memory/2, 2*flightMost))}
	d.ctx, d.cancel = context.WithCancel(context.Background())
	d.files, _ = lru.New[string, *file](filesKept)
	d.chunks, _ = lru.New[chunkKey, *chunk](int(max(4, r.o.Memory/4/megacrypt.MaxChunk)))
	r.x.scan([]byte{keyPoison}, func(key, _ []byte) error {
		var o object
		copy(o[:], key)
		d.poison[o] = true
		return nil
	})
	return d
}

func (d *downloads) close() {
	d.cancel()
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

func errPoison(handle string) error {
	return remote.E("read content", handle, remote.Integrity, errors.New("what the server gives is not what was stored under this key"))
}

// file returns what is known of content.
func (d *downloads) file(o object) (*file, error) {
	handle := o.handle()
	if handle == "" {
		b, err := d.r.x.get(kstr(keyUpload, string(o[:])))
		if err != nil {
			return nil, err
		}
		handle = string(b)
	}
	d.mu.Lock()
	bad := d.poison[o]
	f, ok := d.files.Get(handle)
	d.mu.Unlock()
	switch {
	case bad:
		return nil, errPoison(handle)
	case ok && f.object == o:
		return f, nil
	}
	c, err := d.r.x.content(handle)
	if err != nil {
		return nil, err
	}
	if c == nil {
		return nil, remote.E("read content", handle, remote.Integrity, errors.New("there is no key to it, or it is not there any more"))
	}
	f = &file{handle: handle, object: o, size: int64(c.size)}
	if f.key, err = megacrypt.ParseFileKey(c.key); err != nil {
		return nil, remote.E("read content", handle, remote.Integrity, err)
	}
	f.cipher, f.small = f.key.Cipher(), f.size <= d.r.o.Verify
	n := megacrypt.Chunks(f.size)
	f.macs, f.have, f.missing = make([]megacrypt.ChunkMAC, n), make([]bool, n), int(n)
	if !f.small {
		if err := f.recall(d.r.x); err != nil {
			return nil, err
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if old, ok := d.files.Get(handle); ok && old.object == o {
		return old, nil
	}
	d.files.Add(handle, f)
	return f, nil
}

// recall takes the MACs that an earlier reading of the whole file left.
func (f *file) recall(x *index) error {
	b, err := x.get(kstr(keyMACs, f.handle))
	if err != nil || len(b) != 16*len(f.macs) {
		return err
	}
	for i := range f.macs {
		copy(f.macs[i][:], b[16*i:])
		f.have[i] = true
	}
	if f.key.Verify(f.size, f.macs) == nil {
		f.missing, f.verified = 0, true
	} else {
		clear(f.have)
	}
	return nil
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

// settle holds all chunks' MACs against the file's key when the last of them is known.
func (d *downloads) settle(f *file) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.missing > 0 || f.verified {
		return nil
	}
	if err := f.key.Verify(f.size, f.macs); err != nil {
		return d.condemn(f)
	}
	f.verified = true
	if f.small {
		return nil
	}
	var b []byte
	for i := range f.macs {
		b = append(b, f.macs[i][:]...)
	}
	// That this fails does not harm: then the file is verified anew another time.
	d.r.x.db.Update(func(t *badger.Txn) error { return t.Set(kstr(keyMACs, f.handle), b) })
	return nil
}

// condemn makes a file unreadable: it was caught.
func (d *downloads) condemn(f *file) error {
	d.mu.Lock()
	d.poison[f.object] = true
	for _, k := range d.chunks.Keys() {
		if k.handle == f.handle {
			d.chunks.Remove(k)
		}
	}
	d.mu.Unlock()
	d.r.o.Log.Error("the content of a file is not what was stored; it is not read any more", "node", f.handle)
	if err := d.r.x.db.Update(func(t *badger.Txn) error { return t.Set(kstr(keyPoison, string(f.object[:])), nil) }); err != nil {
		return remote.E("read content", f.handle, remote.IO, err)
	}
	return errPoison(f.handle)
}

// fly downloads adjacent chunks and lets those go on who wait for them.
func (d *downloads) fly(f *file, first, last int64) {
	from, _ := megacrypt.ChunkBorders(first, f.size)
	_, to := megacrypt.ChunkBorders(last, f.size)
	buf, err := d.get(f, from, to)
	d.mu.Lock()
	cs := make([]*chunk, 0, last-first+1)
	for i := first; i <= last; i++ {
		cs = append(cs, d.flying[chunkKey{f.handle, i}])
	}
	d.mu.Unlock()
	for i := first; i <= last; i++ {
		c := cs[i-first]
		if c.err = err; err == nil {
			s, e := megacrypt.ChunkBorders(i, f.size)
			c.data = buf[s-from : e-from : e-from]
			f.cipher.XOR(c.data, c.data, s)
			c.err = d.check(f, i, f.cipher.ChunkMAC(c.data))
		}
		if c.err != nil {
			c.data = nil
		}
		d.mu.Lock()
		delete(d.flying, chunkKey{f.handle, i})
		if c.err == nil {
			d.chunks.Add(chunkKey{f.handle, i}, c)
		}
		d.mu.Unlock()
		close(c.done)
	}
}

// check takes the MAC of a chunk, or holds it against the one that is known.
func (d *downloads) check(f *file, i int64, mac megacrypt.ChunkMAC) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case !f.have[i]:
		f.macs[i], f.have[i] = mac, true
		f.missing--
	case f.macs[i] == mac:
	case f.verified:
		return errPoison(f.handle) // this answer is wrong; the next may be right
	default:
		return d.condemn(f)
	}
	return nil
}

// get downloads bytes of a file's ciphertext.
func (d *downloads) get(f *file, from, to int64) ([]byte, error) {
	if err := d.room.Acquire(d.ctx, min(to-from, 2*flightMost)); err != nil {
		return nil, remote.E("download", f.handle, remote.Canceled, err)
	}
	defer d.room.Release(min(to-from, 2*flightMost))
	ctx, cancel := context.WithTimeout(d.ctx, downloadTime)
	defer cancel()
	buf := make([]byte, 0, to-from)
	delay, fresh := retryFirst, false
	for try := 0; ; try++ {
		if err := d.transfer.err(time.Now()); err != nil {
			return nil, err
		}
		url, err := d.url(ctx, f, fresh)
		if err != nil {
			return nil, err
		}
		before := len(buf)
		if buf, fresh, err = d.part(ctx, url, from, to, buf); err == nil {
			return buf, nil
		}
		if len(buf) > before {
			try = 0
		}
		if remote.Is(err, remote.Quota) || remote.Is(err, remote.Integrity) || try >= 5 || ctx.Err() != nil {
			return nil, err
		}
		select {
		case <-ctx.Done():
			return nil, remote.E("download", f.handle, remote.Timeout, err)
		case <-time.After(delay):
		}
		delay = min(2*delay, retryMost)
	}
}

// url returns where the file's content is had.
func (d *downloads) url(ctx context.Context, f *file, fresh bool) (string, error) {
	f.mu.Lock()
	u := f.url
	if fresh || time.Since(f.got) > urlLife {
		u = ""
	}
	f.mu.Unlock()
	if u != "" {
		return u, nil
	}
	c := command{"a": "g", "g": 1, "ssl": 2, "n": f.handle}
	raw, err := d.r.api.call(ctx, c)
	if isCode(err, codeOverQuota) {
		return "", d.transfer.over(0)
	}
	if err != nil {
		return "", err
	}
	var g struct {
		S json.Number
		G json.RawMessage
		E int
		T int64 `json:"tl"`
	}
	if err := json.Unmarshal(raw, &g); err != nil {
		return "", remote.E("download", f.handle, remote.Integrity, errors.New("the answer has another form"))
	}
	if g.E < 0 {
		if Code(g.E) == codeOverQuota {
			return "", d.transfer.over(g.T)
		}
		return "", fail("download", Code(g.E))
	}
	if g.S.String() != fmt.Sprint(f.size) {
		return "", remote.E("download", f.handle, remote.Integrity, errors.New("the server has another size than it said before"))
	}
	var list []string
	if json.Unmarshal(g.G, &u) != nil && (json.Unmarshal(g.G, &list) != nil || len(list) != 1) {
		return "", remote.E("download", f.handle, remote.Integrity, errors.New("the answer has another form"))
	}
	if len(list) == 1 {
		u = list[0]
	}
	if u, err = d.r.api.allowed(u); err != nil {
		return "", err
	}
	f.mu.Lock()
	f.url, f.got = u, time.Now()
	f.mu.Unlock()
	return u, nil
}

// part downloads what is missing of [from, to) in buf. fresh says that a new URL is needed.
func (d *downloads) part(ctx context.Context, url string, from, to int64, buf []byte) (_ []byte, fresh bool, err error) {
	at := from + int64(len(buf))
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, fmt.Sprintf("%s/%d-%d", url, at, to-1), nil)
	if err != nil {
		return buf, false, remote.E("download", "", remote.Integrity, errors.New("the server's URL is none"))
	}
	if d.r.api.meter.Request != nil {
		d.r.api.meter.Request("download")
	}
	resp, err := d.r.api.http.Do(req)
	if err != nil {
		return buf, true, lineError(ctx, "download", err)
	}
	defer resp.Body.Close()
	switch resp.StatusCode {
	case http.StatusOK, http.StatusPartialContent:
		d.transfer.came()
	case 509:
		var left int64
		fmt.Sscan(resp.Header.Get("X-MEGA-Time-Left"), &left)
		return buf, false, d.transfer.over(left)
	case http.StatusForbidden, http.StatusNotFound, http.StatusGone:
		return buf, true, remote.E("download", "", remote.Unreachable, fmt.Errorf("status %d", resp.StatusCode))
	default:
		return buf, false, remote.E("download", "", remote.Unreachable, fmt.Errorf("status %d", resp.StatusCode))
	}
	n, err := io.ReadFull(resp.Body, buf[len(buf):to-from])
	d.r.api.count2(0, int64(n))
	if buf = buf[:len(buf)+n]; err != nil {
		return buf, false, lineError(ctx, "download", err)
	}
	return buf, false, nil
}
