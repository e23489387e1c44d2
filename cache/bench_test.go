package cache

import (
	"crypto/aes"
	"crypto/cipher"
	"math/rand/v2"
	"testing"

	"megafs/remote"
)

// gcm is a source that opens with AES-256-GCM, as a vault does but with one key for all.
type gcm struct{ aead cipher.AEAD }

func (g gcm) nonce(i int) []byte { return []byte{byte(i), 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11} }

func (g gcm) Open(ref remote.Ref, i int, sealed, dst []byte) error {
	_, err := g.aead.Open(dst[:0], g.nonce(i), sealed, nil)
	return err
}

func (g gcm) sealObject() []byte {
	out := make([]byte, headerSize)
	for i := range remote.MaxChunks {
		out = g.aead.Seal(out, g.nonce(i), noise[:chunkSize], nil)
	}
	return out
}

func newGCM(b *testing.B) *gcmSource {
	block, err := aes.NewCipher(make([]byte, 32))
	if err != nil {
		b.Fatal(err)
	}
	a, err := cipher.NewGCM(block)
	if err != nil {
		b.Fatal(err)
	}
	return &gcmSource{gcm: gcm{a}}
}

type gcmSource struct {
	gcm
	fake
}

func (g *gcmSource) Open(ref remote.Ref, i int, sealed, dst []byte) error {
	return g.gcm.Open(ref, i, sealed, dst)
}

const benchObjects = 64

// full returns a cache with 256 MiB in it.
func full(b *testing.B) *Cache {
	src := newGCM(b)
	c := open(b, Options{Dir: b.TempDir(), Limit: 512 << 20, Admit: true, Source: src})
	sealed := src.gcm.sealObject()
	for i := range benchObjects {
		c.Put(object(i, 256), sealed)
	}
	return c
}

func benchRandom(b *testing.B, r *rand.Rand, c *Cache, dst []byte) {
	off := r.IntN(remote.MaxContent/len(dst)) * len(dst)
	if err := c.Read(ctx, at(object(r.IntN(benchObjects), 256), off), dst); err != nil {
		b.Fatal(err)
	}
}

func BenchmarkHitRandom4K(b *testing.B) {
	c := full(b)
	r, dst := rand.New(rand.NewPCG(1, 1)), make([]byte, 4096)
	b.SetBytes(4096)
	b.ReportAllocs()
	for b.Loop() {
		benchRandom(b, r, c, dst)
	}
}

func BenchmarkHitRandom4KParallel(b *testing.B) {
	c := full(b)
	b.SetBytes(4096)
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		r, dst := rand.New(rand.NewPCG(rand.Uint64(), 1)), make([]byte, 4096)
		for pb.Next() {
			benchRandom(b, r, c, dst)
		}
	})
}

func BenchmarkHitSequential128K(b *testing.B) {
	c := full(b)
	dst := make([]byte, 128<<10)
	b.SetBytes(int64(len(dst)))
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		n := i * len(dst) / remote.MaxContent
		if err := c.Read(ctx, at(object(n%benchObjects, 256), i*len(dst)%remote.MaxContent), dst); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkHitMemory4K(b *testing.B) {
	c := full(b)
	dst := make([]byte, 4096)
	b.SetBytes(4096)
	for b.Loop() {
		if err := c.Read(ctx, object(1, 256), dst); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkPut(b *testing.B) {
	src := newGCM(b)
	c := open(b, Options{Dir: b.TempDir(), Limit: 512 << 20, Admit: true, Source: src})
	sealed := src.gcm.sealObject()
	b.SetBytes(int64(len(sealed)))
	for i := 0; b.Loop(); i++ {
		c.Put(object(i%60000, 256), sealed)
	}
}
