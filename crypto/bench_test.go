package crypto

import (
	"fmt"
	"testing"
)

func BenchmarkSeal(b *testing.B) {
	k := testKeys(1)
	for _, size := range []int{ChunkSize, MaxPlain} {
		plain := pattern(size)
		b.Run(fmt.Sprintf("%dKiB", size>>10), func(b *testing.B) {
			b.SetBytes(int64(size))
			b.ReportAllocs()
			for b.Loop() {
				k.Seal(ClassContent, nil, plain)
			}
		})
	}
}

func BenchmarkOpen(b *testing.B) {
	k := testKeys(1)
	object, _ := k.Seal(ClassContent, nil, pattern(MaxPlain))
	b.SetBytes(MaxPlain)
	for b.Loop() {
		if _, _, err := k.Open(ClassContent, nil, object); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkOpenChunk(b *testing.B) {
	k := testKeys(1)
	object, id := k.Seal(ClassContent, nil, pattern(MaxPlain))
	open := func(b *testing.B, id ID, i int, dst []byte) error {
		return k.OpenChunk(id, 1, MaxChunks, i, object[HeaderLen+i*SealedChunk:][:SealedChunk], dst)
	}
	b.Run("sequential", func(b *testing.B) {
		dst := make([]byte, ChunkSize)
		b.SetBytes(ChunkSize)
		b.ReportAllocs()
		for i := 0; b.Loop(); i = (i + 1) % MaxChunks {
			if err := open(b, id, i, dst); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("parallel", func(b *testing.B) {
		b.SetBytes(ChunkSize)
		b.RunParallel(func(pb *testing.PB) {
			dst := make([]byte, ChunkSize)
			for i := 0; pb.Next(); i = (i + 1) % MaxChunks {
				if err := open(b, id, i, dst); err != nil {
					b.Error(err)
					return
				}
			}
		})
	})
	b.Run("new-object-each", func(b *testing.B) { // the cost of a derivation, and a failed open
		dst := make([]byte, ChunkSize)
		other := id
		b.SetBytes(ChunkSize)
		for i := 0; b.Loop(); i++ {
			other[30], other[31] = byte(i>>8), byte(i)
			open(b, other, 0, dst)
		}
	})
}
