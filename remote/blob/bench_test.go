package blob

import (
	"context"
	"fmt"
	"sync"
	"testing"
)

func BenchmarkDirPut(b *testing.B) {
	for _, size := range []int{4 << 10, 4 << 20} {
		for _, writers := range []int{1, 8, 32} {
			b.Run(fmt.Sprintf("%dKiB/%d", size>>10, writers), func(b *testing.B) {
				s, err := Dir(b.TempDir(), DirOptions{})
				if err != nil {
					b.Fatal(err)
				}
				defer s.Close()
				data := random(size)
				b.SetBytes(int64(size))
				next := make(chan int)
				var wg sync.WaitGroup
				for range writers {
					wg.Go(func() {
						for i := range next {
							if err := s.Put(context.Background(), fmt.Sprintf("o/%02x/%d", i%256, i), data); err != nil {
								b.Error(err)
							}
						}
					})
				}
				for i := 0; b.Loop(); i++ {
					next <- i
				}
				close(next)
				wg.Wait()
			})
		}
	}
}

func BenchmarkDirGetRange(b *testing.B) {
	s, err := Dir(b.TempDir(), DirOptions{})
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	if err := s.Put(context.Background(), "o/ab/1", random(4<<20)); err != nil {
		b.Fatal(err)
	}
	dst := make([]byte, 16400)
	b.SetBytes(int64(len(dst)))
	for b.Loop() {
		if err := s.GetRange(context.Background(), "o/ab/1", 80+17*16400, dst); err != nil {
			b.Fatal(err)
		}
	}
}
