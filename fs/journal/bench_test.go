package journal

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
)

func benchOpen(b *testing.B) *Journal {
	j, err := Open(Options{Dir: b.TempDir(), Limit: 512 << 20}, nil)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { j.Close() })
	return j
}

func BenchmarkAppend(b *testing.B) {
	for _, size := range []int{200, 4 << 10, 128 << 10, 1 << 20} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			j, p := benchOpen(b), make([]byte, size)
			b.SetBytes(int64(size))
			for b.Loop() {
				s, _, err := j.Append(1, p)
				if err != nil {
					b.Fatal(err)
				}
				if j.Stat().Segments > 1 { // so files are recycled, each after a sync
					if err := j.Trim(s); err != nil {
						b.Fatal(err)
					}
				}
			}
		})
	}
}

func BenchmarkAppendSync(b *testing.B) {
	for _, writers := range []int{1, 8, 64} {
		b.Run(fmt.Sprint(writers), func(b *testing.B) {
			j, p := benchOpen(b), make([]byte, 256)
			b.SetParallelism(max(1, writers/2))
			var n atomic.Int64
			b.RunParallel(func(pb *testing.PB) {
				if n.Add(1) > int64(writers) {
					return
				}
				for pb.Next() {
					s, _, err := j.Append(1, p)
					if err != nil {
						b.Error(err)
						return
					}
					if err := j.Sync(context.Background(), s); err != nil {
						b.Error(err)
						return
					}
				}
			})
		})
	}
}

func BenchmarkReadAt(b *testing.B) {
	for _, size := range []int{4 << 10, 128 << 10} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			j, p := benchOpen(b), make([]byte, size)
			var locs []Loc
			for range 256 {
				_, l, err := j.Append(1, p)
				if err != nil {
					b.Fatal(err)
				}
				locs = append(locs, l)
			}
			b.SetBytes(int64(size))
			i := 0
			for b.Loop() {
				if err := j.ReadAt(locs[i%len(locs)], 0, p); err != nil {
					b.Fatal(err)
				}
				i++
			}
		})
	}
}
