package cache

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"megafs/remote"
)

// TestP4RandomReads reads at random from several goroutines, with read-ahead and Puts among them, through caches that are far too small, and compares every
// byte.
func TestP4RandomReads(t *testing.T) {
	seed := rand.Uint64()
	t.Log("seed", seed)
	for name, change := range map[string]func(o *Options){
		"disk":        func(o *Options) {},
		"not admit":   func(o *Options) { o.Admit = false },
		"memory only": func(o *Options) { o.Dir = "" },
		"tiny memory": func(o *Options) { o.Dir, o.Memory = "", 50_000 },
		"near":        func(o *Options) { o.Near, o.Admit = true, false },
		"near, tiny":  func(o *Options) { o.Near, o.Dir, o.Memory = true, "", 50_000 },
	} {
		t.Run(name, func(t *testing.T) {
			src := &fake{}
			o := on(t.TempDir(), src)
			change(&o)
			c := open(t, o)
			var wg sync.WaitGroup
			for g := range 4 {
				wg.Go(func() {
					r := rand.New(rand.NewPCG(seed, uint64(g)))
					for range 60 {
						ref := object(r.IntN(60), 1+r.IntN(4)*85)
						all := int(ref.Chunks) * chunkSize
						off := r.IntN(all)
						n := 1 + r.IntN(min(all-off, 1<<r.IntN(21)))
						switch r.IntN(12) {
						case 0:
							c.Prefetch([]remote.Extent{{Len: uint64(n), Ref: at(ref, off)}})
						case 1:
							c.Put(ref, sealObject(ref))
						case 2:
							short, cancel := context.WithCancel(ctx)
							cancel()
							c.Read(short, at(ref, off), make([]byte, n))
						}
						check(t, c, ref, off, n)
					}
				})
			}
			wg.Wait()
			s := c.Stats()
			if name == "disk" && s.Evictions == 0 || s.Errors != 0 || s.Damaged != 0 {
				t.Errorf("%+v", s)
			}
			if s.Memory > max(o.Memory, 2*sealedSize) {
				t.Errorf("%d bytes of memory of %d", s.Memory, o.Memory)
			}
		})
	}
}

// TestRequests says which requests reads lead to, one after the other in one cache.
func TestRequests(t *testing.T) {
	src := &fake{}
	c := open(t, Options{Dir: t.TempDir(), Limit: 64 << 20, Memory: 64 << 20, Admit: true, Source: src})
	for _, x := range []struct {
		what   string
		object int
		chunks int
		off, n int
		want   []string
	}{
		{"a byte", 1, 256, 5 * chunkSize, 1, []string{"1 5+1"}},
		{"again", 1, 256, 5*chunkSize + 100, chunkSize - 100, nil},
		{"the chunks around it", 1, 256, 4 * chunkSize, 3 * chunkSize, []string{"1 4+1", "1 6+1"}},
		{"over the end of a chunk", 1, 256, 11*chunkSize - 1, 2, []string{"1 10+2"}},
		{"a whole object", 2, 256, 0, 256 * chunkSize, []string{"2 0+256"}},
		{"a part of it", 2, 256, 9 * chunkSize, 100 * chunkSize, nil},
		{"an object of one chunk", 3, 1, 0, chunkSize, []string{"3 0+1"}},
		{"nothing", 4, 1, 0, 0, nil},
	} {
		before := len(src.requests())
		check(t, c, object(x.object, x.chunks), x.off, x.n)
		got := src.requests()[before:]
		slices.Sort(got)
		if !slices.Equal(got, x.want) {
			t.Errorf("%s: requests %q, want %q", x.what, got, x.want)
		}
	}
	for _, x := range []struct{ chunks, off, n int }{{1, chunkSize, 1}, {1, 0, chunkSize + 1}, {256, 1 << 31, 10}, {300, 0, 1}, {0, 0, 1}} {
		if err := c.Read(ctx, at(object(5, x.chunks), x.off), make([]byte, x.n)); !remote.Is(err, remote.Invalid) {
			t.Errorf("%+v: %v", x, err)
		}
	}
}

// TestOneFetch has many wait for one fetch; one who gives up does not take it from the others.
func TestOneFetch(t *testing.T) {
	for _, dir := range []string{"", t.TempDir()} {
		src := &fake{gate: make(chan struct{}), came: make(chan struct{}, 100)}
		c := open(t, on(dir, src))
		gone, cancel := context.WithCancel(ctx)
		first := make(chan error)
		go func() { first <- c.Read(gone, object(1, 256), make([]byte, 10)) }()
		<-src.came
		var wg sync.WaitGroup
		for i := range 8 {
			wg.Go(func() { check(t, c, object(1, 256), 100*i, 100) })
		}
		cancel()
		if err := <-first; !remote.Is(err, remote.Canceled) {
			t.Fatal(err)
		}
		close(src.gate)
		wg.Wait()
		if got := src.requests(); len(got) != 1 {
			t.Error("requests", got)
		}
		c.Close()
	}
}

// both runs a test with a source that is far and with one that is near.
func both(t *testing.T, name string, fn func(t *testing.T, near bool)) {
	for _, near := range []bool{false, true} {
		t.Run(fmt.Sprintf("%s, near %v", name, near), func(t *testing.T) { fn(t, near) })
	}
}

// TestNearGivenUp has Reads wait for a fetch that another Read does itself, and that one give up: they fetch for themselves then.
func TestNearGivenUp(t *testing.T) {
	src := &fake{gate: make(chan struct{}), came: make(chan struct{}, 100)}
	o := on("", src)
	o.Near = true
	c := open(t, o)
	gone, cancel := context.WithCancel(ctx)
	first := make(chan error)
	go func() { first <- c.Read(gone, object(1, 256), make([]byte, 10)) }()
	<-src.came
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() { check(t, c, object(1, 256), 100*i, 100) })
	}
	cancel()
	if err := <-first; !remote.Is(err, remote.Canceled) {
		t.Error(err)
	}
	close(src.gate)
	wg.Wait()
	if got := len(src.requests()); got > 2 {
		t.Error(got, "requests")
	}
}

// TestErrors says how a read fails, that everybody who waits learns it, and that the next one asks again.
func TestErrors(t *testing.T) {
	for name, x := range map[string]struct {
		fail  error
		spoil func([]byte)
		want  remote.Kind
	}{
		"unreachable": {fail: remote.E("fetch", "", remote.Unreachable, nil), want: remote.Unreachable},
		"gone":        {fail: remote.E("fetch", "", remote.NotExist, nil), want: remote.NotExist},
		"no kind":     {fail: errors.New("some reason"), want: remote.Other},
		"changed":     {spoil: func(b []byte) { b[7] ^= 1 }, want: remote.Integrity},
		"zeros":       {spoil: func(b []byte) { clear(b) }, want: remote.Integrity},
	} {
		both(t, name, func(t *testing.T, near bool) {
			src := &fake{gate: make(chan struct{}), came: make(chan struct{}, 100), spoil: x.spoil}
			if x.fail != nil {
				src.fail = func() error { return x.fail }
			}
			o := on(t.TempDir(), src)
			o.Near = near
			c := open(t, o)
			errs := make(chan error, 5)
			for range cap(errs) {
				go func() { errs <- c.Read(ctx, object(1, 4), make([]byte, 100)) }()
			}
			<-src.came
			close(src.gate)
			for range cap(errs) {
				if err := <-errs; err == nil || remote.KindOf(err) != x.want {
					t.Errorf("%v, want kind %v", err, x.want)
				}
			}
			src.set(func(s *fake) { s.fail, s.spoil = nil, nil })
			check(t, c, object(1, 4), 0, 100)
		})
	}
}

// TestP6Stalled has a store that never answers.
func TestP6Stalled(t *testing.T) {
	for name, x := range map[string]struct {
		timeout time.Duration // of a fetch
		ctx     time.Duration // of the read
		close   bool
		want    remote.Kind
	}{
		"the read's deadline":  {time.Hour, time.Millisecond, false, remote.Timeout},
		"the fetch's deadline": {time.Millisecond, time.Hour, false, remote.Timeout},
		"close":                {time.Hour, time.Hour, true, remote.Canceled},
	} {
		both(t, name, func(t *testing.T, near bool) {
			src := &fake{gate: make(chan struct{}), came: make(chan struct{}, 100)}
			o := on(t.TempDir(), src)
			o.FetchTimeout, o.Near = x.timeout, near
			c := open(t, o)
			short, cancel := context.WithTimeout(ctx, x.ctx)
			defer cancel()
			done := make(chan error)
			go func() { done <- c.Read(short, object(1, 4), make([]byte, 100)) }()
			if x.close {
				<-src.came
				c.Prefetch([]remote.Extent{{Len: 4 * chunkSize, Ref: object(2, 4)}})
				c.Close()
			}
			if err := <-done; !remote.Is(err, x.want) {
				t.Error(err)
			}
			c.Close()
			if err := c.Read(ctx, object(3, 4), make([]byte, 100)); !remote.Is(err, remote.Canceled) {
				t.Error("after Close:", err)
			}
		})
	}
}

// TestP6DeafSource closes a cache whose source does not heed its context.
func TestP6DeafSource(t *testing.T) {
	src := &fake{gate: make(chan struct{}), came: make(chan struct{}, 100), deaf: true}
	c := open(t, Options{Source: src})
	done := make(chan error)
	go func() { done <- c.Read(ctx, object(1, 4), make([]byte, 100)) }()
	<-src.came
	if c.fetch.close(0) {
		t.Error("a fetch ended that can't")
	}
	if err := <-done; !remote.Is(err, remote.Canceled) {
		t.Error(err)
	}
	close(src.gate)
}

// TestAbandoned has Reads give up before their fetches begin, which then never do.
func TestAbandoned(t *testing.T) {
	src := &fake{gate: make(chan struct{}), came: make(chan struct{}, 100)}
	o := on("", src)
	o.Parallel = 1
	c := open(t, o)
	go c.Read(ctx, object(1, 1), make([]byte, 1))
	<-src.came
	for i := range 1000 {
		gone, cancel := context.WithCancel(ctx)
		cancel()
		c.Read(gone, object(2+i, 1), make([]byte, 1))
	}
	c.fetch.mu.Lock()
	if n := c.fetch.wanted.Len(); n != 0 {
		t.Error(n, "fetches wait for nobody")
	}
	if n := len(c.fetch.byKey); n != 1 {
		t.Error(n, "chunks are still awaited")
	}
	c.fetch.mu.Unlock()
	close(src.gate)
	check(t, c, object(3000, 1), 0, 10)
	if n := len(src.requests()); n != 2 {
		t.Error(n, "requests")
	}
}

// TestPrefetch says what read-ahead asks for, and that reads then need no fetch.
func TestPrefetch(t *testing.T) {
	for name, change := range map[string]func(o *Options){
		"disk":      func(o *Options) {},
		"not admit": func(o *Options) { o.Admit = false },
		"memory":    func(o *Options) { o.Dir = "" },
	} {
		t.Run(name, func(t *testing.T) {
			src := &fake{}
			o := on(t.TempDir(), src)
			o.Memory = 64 << 20
			change(&o)
			c := open(t, o)
			a, b := object(1, 256), object(2, 40)
			check(t, c, a, 50*chunkSize, 10)
			c.Prefetch([]remote.Extent{
				{Len: 10, Hole: true}, {Len: 1, Inline: []byte{1}}, {Len: 0, Ref: a}, {Len: 1 << 40, Ref: a},
				{Len: 100 * chunkSize, Ref: a},
				{Len: 1000, Ref: b}, {Len: 30 * chunkSize, Ref: at(b, 1000)}, // neighbours in one object
			})
			check(t, c, a, 0, 100*chunkSize)
			check(t, c, b, 0, 1000+30*chunkSize)
			c.Prefetch([]remote.Extent{{Len: 10, Ref: b}})
			got := src.requests()[1:]
			slices.Sort(got)
			if want := []string{"1 0+50", "1 51+49", "2 0+31"}; !slices.Equal(got, want) {
				t.Errorf("requests %q, want %q", got, want)
			}
		})
	}
}

// TestPrefetchBounds floods a stalled cache with hints: it drops them, and those who wait still come first.
func TestPrefetchBounds(t *testing.T) {
	src := &fake{gate: make(chan struct{}), came: make(chan struct{}, 1000)}
	o := on(t.TempDir(), src)
	o.Parallel = 4
	c := open(t, o)
	for i := range 1000 {
		c.Prefetch([]remote.Extent{{Len: 4 * chunkSize, Ref: object(i, 4)}})
	}
	c.fetch.mu.Lock()
	if n := c.fetch.hinted.Len(); n > maxQueue {
		t.Error(n, "hints wait")
	}
	c.fetch.mu.Unlock()
	for range 3 {
		<-src.came
	}
	done := make(chan struct{})
	go func() { check(t, c, object(5000, 1), 0, 10); close(done) }()
	<-src.came // the read's, since hints may not take the last fetcher
	if got := src.requests()[3]; got != "5000 0+1" {
		t.Error("the read comes after", got)
	}
	close(src.gate)
	<-done
}

// TestPrefetchFails has read-ahead fail while a Read waits for it: the Read tries for itself.
func TestPrefetchFails(t *testing.T) {
	fails := 1
	src := &fake{gate: make(chan struct{}), came: make(chan struct{}, 100)}
	src.fail = func() error {
		if fails--; fails >= 0 {
			return remote.E("fetch", "", remote.Timeout, nil)
		}
		return nil
	}
	o := on(t.TempDir(), src)
	o.Memory = 64 << 20
	c := open(t, o)
	c.Prefetch([]remote.Extent{{Len: 4 << 20, Ref: object(1, 256)}})
	<-src.came
	done := make(chan struct{})
	go func() { check(t, c, object(1, 256), 10*chunkSize, 10); close(done) }()
	for joined := false; !joined; {
		c.fetch.mu.Lock()
		f := c.fetch.byKey[chunkKey{object(1, 256).Object, 10}]
		joined = f != nil && len(f.waiters) > 0
		c.fetch.mu.Unlock()
	}
	close(src.gate)
	<-done
	if got, want := src.requests(), []string{"1 0+256", "1 10+1"}; !slices.Equal(got, want) {
		t.Errorf("requests %q, want %q", got, want)
	}
	if c.fetch.limit != 128 {
		t.Error("after a fetch timed out, the next may have", c.fetch.limit, "chunks")
	}
}

// TestPut reads what was Put without a fetch, and refuses what is no object.
func TestPut(t *testing.T) {
	src := &fake{}
	c := open(t, on(t.TempDir(), src))
	sealed := sealObject(object(1, 256))
	c.Put(object(1, 256), sealed)
	clear(sealed)
	check(t, c, object(1, 256), 0, remote.MaxContent)
	check(t, c, object(1, 256), 77, 12345)
	if got := src.requests(); len(got) != 0 {
		t.Error("requests", got)
	}
	for _, n := range []int{0, headerSize, headerSize + sealedSize - 1, headerSize + 2*sealedSize} {
		c.Put(object(2, 1), make([]byte, n))
	}
	c.Put(remote.Ref{Chunks: 300}, make([]byte, headerSize+300*sealedSize))
	check(t, c, object(2, 1), 0, chunkSize)
	c.Close()
	c.Put(object(3, 1), sealObject(object(3, 1)))
}

// TestBigReadsSpareMemory reads a large object from end to end, which must not push out what is used in part.
func TestBigReadsSpareMemory(t *testing.T) {
	src := &fake{}
	c := open(t, on(t.TempDir(), src))
	check(t, c, object(1, 4), 0, 100)
	before := c.mem.bytes()
	for off := 0; off < remote.MaxContent; off += 128 << 10 {
		check(t, c, object(2, 256), off, 128<<10)
	}
	if n := c.mem.bytes(); n != before || !c.mem.has(chunkKey{object(1, 4).Object, 0}) {
		t.Errorf("memory went from %d to %d bytes", before, n)
	}
}

// TestP5NoPlaintext looks for contents and object ids in all files, while the cache is open and after.
func TestP5NoPlaintext(t *testing.T) {
	dir := t.TempDir()
	c := open(t, on(dir, &fake{}))
	look := func() {
		for name, b := range files(t, dir) {
			if bytes.Contains(b, []byte("canary")) || filepath.Dir(name) == indexName && bytes.Contains(b, []byte("an object's id")) {
				t.Error("found in", name)
			}
		}
	}
	for i := range 20 {
		check(t, c, object(i, 256), 0, remote.MaxContent)
	}
	look()
	c.Close()
	look()
}

// TestP6DeafRead: a Read leaves a source that does not heed its context, and closing waits for neither.
func TestP6DeafRead(t *testing.T) {
	both(t, "", func(t *testing.T, near bool) {
		src := &fake{gate: make(chan struct{}), came: make(chan struct{}, 100), deaf: true}
		defer close(src.gate)
		o := on(t.TempDir(), src)
		o.Near = near
		c := open(t, o)
		for range 2 { // the second joins the fetch of the first
			short, cancel := context.WithTimeout(ctx, time.Millisecond)
			if err := c.Read(short, object(1, 4), make([]byte, 100)); !remote.Is(err, remote.Timeout) {
				t.Error(err)
			}
			cancel()
		}
		c.Close()
	})
}
