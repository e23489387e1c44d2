package cache

import (
	"bytes"
	"context"
	"crypto/subtle"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc64"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"megafs/remote"
)

var ctx = context.Background()

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/golang/glog.(*fileSink).flushDaemon"))
}

// fake is a store whose objects' bytes follow from their ids. A chunk is sealed by xor with a mask, and a checksum that covers which chunk it is.
type fake struct {
	mu    sync.Mutex
	asked []string            // "object first+n" of each fetch, in the order they came
	bytes int                 // of chunks that were asked for
	spoil func(sealed []byte) // changes what a fetch delivers
	fail  func() error        // of a fetch
	gate  chan struct{}       // not nil: a fetch waits until it is closed
	deaf  bool                // a fetch that waits does not heed its context
	came  chan struct{}       // not nil: told of each fetch
}

var (
	mask16 = bytes.Repeat([]byte{0xa5}, chunkSize)
	table  = crc64.MakeTable(crc64.ECMA)
	noise  = func() (b [2 * chunkSize]byte) {
		r := rand.NewChaCha8([32]byte{1})
		r.Read(b[:])
		return b
	}()
)

// plain returns n bytes of an object's plaintext.
func plain(ref remote.Ref, off, n int) []byte {
	var out []byte
	for i := off / chunkSize; i*chunkSize < off+n; i++ {
		p := bytes.Clone(noise[binary.BigEndian.Uint16(ref.Object[:])%chunkSize:][:chunkSize])
		copy(p, fmt.Sprintf("canary %x %d ", ref.Object[:4], i))
		out = append(out, p...)
	}
	return out[off%chunkSize:][:n]
}

func sum(ref remote.Ref, i int, sealed []byte) []byte {
	h := crc64.New(table)
	h.Write(ref.Object[:])
	binary.Write(h, binary.BigEndian, uint16(i))
	h.Write(sealed)
	return binary.BigEndian.AppendUint64(h.Sum(nil), 7)
}

func seal(ref remote.Ref, i int) []byte {
	s := plain(ref, i*chunkSize, chunkSize)
	subtle.XORBytes(s, s, mask16)
	return append(s, sum(ref, i, s)...)
}

// sealObject returns a whole object as it is stored.
func sealObject(ref remote.Ref) []byte {
	s := make([]byte, headerSize)
	for i := range int(ref.Chunks) {
		s = append(s, seal(ref, i)...)
	}
	return s
}

func (s *fake) Fetch(ctx context.Context, ref remote.Ref, first, n int, dst []byte) error {
	s.mu.Lock()
	s.asked = append(s.asked, fmt.Sprintf("%d %d+%d", binary.BigEndian.Uint16(ref.Object[:]), first, n))
	s.bytes += n * sealedSize
	spoil, fail, gate := s.spoil, s.fail, s.gate
	s.mu.Unlock()
	if s.came != nil {
		s.came <- struct{}{}
	}
	if gate != nil {
		done := ctx.Done()
		if s.deaf {
			done = nil
		}
		select {
		case <-gate:
		case <-done:
			return ctx.Err()
		}
	}
	if fail != nil {
		if err := fail(); err != nil {
			return err
		}
	}
	if len(dst) != n*sealedSize {
		return remote.E("fetch", "", remote.Invalid, errors.New("a buffer of another length"))
	}
	for i := range n {
		copy(dst[i*sealedSize:], seal(ref, first+i))
	}
	if spoil != nil {
		spoil(dst)
	}
	return nil
}

func (s *fake) Open(ref remote.Ref, i int, sealed, dst []byte) error {
	if len(sealed) != sealedSize || len(dst) != chunkSize {
		return remote.E("open", "", remote.Invalid, nil)
	}
	subtle.XORBytes(dst, sealed[:chunkSize], mask16)
	if !bytes.Equal(sum(ref, i, sealed[:chunkSize]), sealed[chunkSize:]) {
		return remote.E("open", "", remote.Integrity, errors.New("another chunk"))
	}
	return nil
}

func (s *fake) requests() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string(nil), s.asked...)
}

func (s *fake) set(change func(s *fake)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change(s)
}

// object returns the whole of object number n.
func object(n, chunks int) remote.Ref {
	r := remote.Ref{Chunks: uint16(chunks), Epoch: 1}
	binary.BigEndian.PutUint16(r.Object[:], uint16(n))
	copy(r.Object[2:], "an object's id in the index")
	return r
}

func at(ref remote.Ref, off int) remote.Ref {
	ref.Off = uint32(off)
	return ref
}

func open(t testing.TB, o Options) *Cache {
	t.Helper()
	o.Log = slog.New(slog.DiscardHandler)
	c, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// check reads and compares.
func check(t testing.TB, c *Cache, ref remote.Ref, off, n int) {
	t.Helper()
	got := make([]byte, n)
	if err := c.Read(ctx, at(ref, off), got); err != nil {
		t.Errorf("%d bytes at %d: %v", n, off, err)
	} else if !bytes.Equal(got, plain(ref, off, n)) {
		t.Errorf("object %x: %d bytes at %d differ", ref.Object[:2], n, off)
	}
}

// landed waits until no fetch holds what it fetched any more, which a Read that comes right behind another may share with it.
func landed(t testing.TB, c *Cache) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); c.fetch.memory() > 0; time.Sleep(100 * time.Microsecond) {
		if time.Now().After(end) {
			t.Fatal("a fetch does not end")
		}
	}
}

// on returns options for a cache in a folder.
func on(dir string, src Source) Options {
	return Options{Dir: dir, Limit: minLimit, Memory: 2 << 20, Admit: true, Source: src, Key: [32]byte{3}}
}

// size returns the apparent length of all files in a folder.
func size(t *testing.T, dir string) (n int64) {
	t.Helper()
	err := filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return nil // badger takes files away meanwhile
		}
		if fi, err := d.Info(); err == nil {
			n += fi.Size()
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func mustWrite(t *testing.T, path string, b []byte) {
	t.Helper()
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
}
