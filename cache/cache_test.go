package cache

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"

	"go.uber.org/goleak"

	"megafs/remote"
)

var ctx = context.Background()

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/golang/glog.(*fileSink).flushDaemon"))
}

// source makes chunks of numbers that follow from the object and the chunk, and checks that they come back as that.
type source struct {
	fetches, chunks atomic.Int64
	gate            chan struct{} // not nil: a fetch waits for it
	bad             atomic.Bool
}

func plainChunk(o remote.ObjectID, i int) []byte {
	p := make([]byte, remote.ChunkSize)
	r := rand.New(rand.NewPCG(binary.BigEndian.Uint64(o[:]), uint64(i)))
	for k := 0; k < len(p); k += 8 {
		binary.LittleEndian.PutUint64(p[k:], r.Uint64())
	}
	return p
}

func sealedChunk(o remote.ObjectID, i int) []byte {
	s := append(plainChunk(o, i), make([]byte, 16)...)
	var sum uint64
	for k := 0; k < remote.ChunkSize; k += 8 {
		sum = sum*31 + binary.LittleEndian.Uint64(s[k:])
	}
	binary.BigEndian.PutUint64(s[remote.ChunkSize:], sum)
	binary.BigEndian.PutUint64(s[remote.ChunkSize+8:], binary.BigEndian.Uint64(o[:])+uint64(i))
	return s
}

func (s *source) Fetch(ctx context.Context, ref remote.Ref, first, n int, dst []byte) error {
	s.fetches.Add(1)
	s.chunks.Add(int64(n))
	if s.gate != nil {
		select {
		case <-s.gate:
		case <-ctx.Done():
			return remote.E("fetch", "", remote.Timeout, ctx.Err())
		}
	}
	for i := range n {
		copy(dst[i*remote.SealedChunk:], sealedChunk(ref.Object, first+i))
	}
	if s.bad.Load() {
		dst[5] ^= 1
	}
	return nil
}

func (s *source) Open(ref remote.Ref, i int, sealed, dst []byte) error {
	var sum uint64
	for k := 0; k < remote.ChunkSize; k += 8 {
		sum = sum*31 + binary.LittleEndian.Uint64(sealed[k:])
	}
	if binary.BigEndian.Uint64(sealed[remote.ChunkSize:]) != sum || binary.BigEndian.Uint64(sealed[remote.ChunkSize+8:]) != binary.BigEndian.Uint64(ref.Object[:])+uint64(i) {
		return remote.E("open", "", remote.Integrity, errors.New("another chunk"))
	}
	copy(dst, sealed[:remote.ChunkSize])
	return nil
}

func object(n int) remote.Ref {
	r := remote.Ref{Chunks: 256, Epoch: 1}
	binary.BigEndian.PutUint64(r.Object[:], uint64(n)*1000)
	return r
}

func open(t *testing.T, o Options) *Cache {
	t.Helper()
	o.Log = slog.New(slog.DiscardHandler)
	c, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func check(t *testing.T, c *Cache, ref remote.Ref, off, n int) {
	t.Helper()
	ref.Off = uint32(off)
	got := make([]byte, n)
	if err := c.Read(ctx, ref, got); err != nil {
		t.Error(err)
		return
	}
	var want []byte
	for i := off / remote.ChunkSize; i*remote.ChunkSize < off+n; i++ {
		want = append(want, plainChunk(ref.Object, i)...)
	}
	if want = want[off%remote.ChunkSize:][:n]; !bytes.Equal(got, want) {
		t.Errorf("object %x: %d bytes at %d differ", ref.Object[:8], n, off)
	}
}

// TestReads reads at random, from several goroutines, through a slab that is far too small, and compares every byte.
func TestReads(t *testing.T) {
	for _, admit := range []bool{false, true} {
		dir := t.TempDir()
		src := &source{}
		o := Options{Dir: dir, Limit: minLimit, Memory: 4 << 20, Admit: admit, Source: src}
		c := open(t, o)
		seed := rand.Uint64()
		t.Log("seed", seed)
		var wg sync.WaitGroup
		for g := range 4 {
			wg.Add(1)
			go func() {
				defer wg.Done()
				r := rand.New(rand.NewPCG(seed, uint64(g)))
				for range 150 {
					off := r.IntN(remote.MaxContent)
					check(t, c, object(r.IntN(30)), off, 1+r.IntN(min(remote.MaxContent-off, 1<<uint(r.IntN(20)))))
				}
			}()
		}
		wg.Wait()
		s := c.Stats()
		if admit && (s.Bytes == 0 || s.Bytes > s.Limit+s.Limit/20) || !admit && s.Bytes > 8<<20 {
			t.Errorf("%d bytes on disk of %d", s.Bytes, s.Limit)
		}
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
		if !admit {
			continue
		}
		c = open(t, o)
		before := src.chunks.Load()
		for i := range 30 {
			check(t, c, object(i), 0, 1<<20)
		}
		if n := src.chunks.Load() - before; n >= 30*64 {
			t.Error("nothing was found again after a restart")
		}
		c.Close()
	}
}

// TestLimit turns the slab over five times.
func TestLimit(t *testing.T) {
	dir := t.TempDir()
	c := open(t, Options{Dir: dir, Limit: minLimit, Admit: true, Source: &source{}})
	defer c.Close()
	for i := range 5 * minLimit / remote.MaxContent {
		var sealed []byte
		sealed = append(sealed, make([]byte, header)...)
		for k := range 256 {
			sealed = append(sealed, sealedChunk(object(i).Object, k)...)
		}
		c.Put(object(i), sealed)
	}
	var total int64
	filepath.Walk(dir, func(_ string, fi os.FileInfo, err error) error {
		if err == nil && !fi.IsDir() && filepath.Ext(fi.Name()) != ".mem" && filepath.Ext(fi.Name()) != ".vlog" {
			total += fi.Size()
		}
		return nil
	})
	if total > minLimit*105/100 {
		t.Errorf("%d bytes on disk, limit %d", total, minLimit)
	}
	if c.Stats().Evictions == 0 {
		t.Error("nothing was evicted")
	}
	check(t, c, object(5*minLimit/remote.MaxContent-1), 0, remote.MaxContent)
	if n := c.Stats().Fetches; n != 0 {
		t.Errorf("%d fetches for what was put last", n)
	}
}

// TestP4Damage flips bytes in the slab: what does not open is fetched again; what does not open from the store is an error.
func TestP4Damage(t *testing.T) {
	dir := t.TempDir()
	src := &source{}
	o := Options{Dir: dir, Limit: minLimit, Memory: 1 << 20, Admit: true, Source: src}
	c := open(t, o)
	check(t, c, object(1), 0, remote.MaxContent)
	c.Close()
	p := filepath.Join(dir, "slab")
	b, err := os.ReadFile(p)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(b); i += 9000 {
		b[i] ^= 0x55
	}
	if err := os.WriteFile(p, b, 0o600); err != nil {
		t.Fatal(err)
	}
	c = open(t, o)
	defer c.Close()
	check(t, c, object(1), 0, remote.MaxContent)
	if c.Stats().Damaged == 0 {
		t.Error("no damage was noticed")
	}
	src.bad.Store(true)
	if err := c.Read(ctx, object(2), make([]byte, 10)); !remote.Is(err, remote.Integrity) {
		t.Error(err)
	}
	src.bad.Store(false)
	check(t, c, object(2), 0, 10)
}

// TestBegunAnew opens folders that a crash or somebody else left.
func TestBegunAnew(t *testing.T) {
	for name, spoil := range map[string]func(dir string){
		"not closed": func(dir string) { os.WriteFile(filepath.Join(dir, "open"), nil, 0o600) },
		"manifest":   func(dir string) { os.WriteFile(filepath.Join(dir, "index", "MANIFEST"), []byte("junk"), 0o600) },
		"gone":       func(dir string) { os.RemoveAll(dir) },
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "c")
			o := Options{Dir: dir, Limit: minLimit, Admit: true, Source: &source{}}
			c := open(t, o)
			check(t, c, object(1), 0, 1<<20)
			c.Close()
			spoil(dir)
			c = open(t, o)
			check(t, c, object(1), 0, 1<<20)
			c.Close()
		})
	}
}

// TestOneFetch lets many wait for one chunk, and one of them give up.
func TestOneFetch(t *testing.T) {
	src := &source{gate: make(chan struct{})}
	c := open(t, Options{Source: src})
	defer c.Close()
	gone, cancel := context.WithCancel(ctx)
	errs := make(chan error, 9)
	go func() { errs <- c.Read(gone, object(1), make([]byte, 10)) }()
	for src.fetches.Load() == 0 {
	}
	for range 8 {
		go func() { errs <- c.Read(ctx, object(1), make([]byte, 10)) }()
	}
	cancel()
	if err := <-errs; !remote.Is(err, remote.Canceled) {
		t.Fatal(err)
	}
	close(src.gate)
	for range 8 {
		if err := <-errs; err != nil {
			t.Fatal(err)
		}
	}
	if n := src.fetches.Load(); n != 1 {
		t.Error(n, "fetches")
	}
}

// TestStalled ends a cache whose store does not answer.
func TestStalled(t *testing.T) {
	src := &source{gate: make(chan struct{})}
	c := open(t, Options{Source: src})
	errs := make(chan error, 1)
	go func() { errs <- c.Read(ctx, object(1), make([]byte, 10)) }()
	for src.fetches.Load() == 0 {
	}
	c.Prefetch([]remote.Extent{{Len: 1 << 20, Ref: object(2)}})
	c.Close()
	if err := <-errs; err == nil {
		t.Error("read what the store never gave")
	}
}

// TestStream goes through readers of all kinds.
func TestStream(t *testing.T) {
	const size = 100 << 20
	var s Stream
	var asked, read uint64
	for off := uint64(0); off < size; off += 128 << 10 {
		from, to := s.Next(off, 128<<10, size)
		read = off + 128<<10
		if from != to {
			if from < asked {
				t.Fatalf("%d asked for again, after %d", from, asked)
			}
			asked = to
		}
		if to > size || to > read+maxAhead {
			t.Fatalf("asked for %d at %d", to, read)
		}
	}
	if asked != size {
		t.Error("read ahead to", asked)
	}
	r := rand.New(rand.NewPCG(1, 1))
	s = Stream{}
	var random uint64
	for range 1000 {
		from, to := s.Next(uint64(r.IntN(1<<30)), 4096, 1<<30)
		random += to - from
	}
	if random > 8<<20 {
		t.Error("random reads fetched", random, "bytes ahead")
	}
}

func BenchmarkHit(b *testing.B) {
	c, _ := Open(Options{Source: &source{}, Memory: 64 << 20})
	defer c.Close()
	buf := make([]byte, 4096)
	for b.Loop() {
		if err := c.Read(ctx, object(1), buf); err != nil {
			b.Fatal(err)
		}
	}
}
