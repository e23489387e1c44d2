package blob_test

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"megafs/remote"
	"megafs/remote/blob"
)

// TestBudget: what spends a budget gets its sixth at once and no more than the rest in an hour; what does not is not held up, nor is what is in a hurry.
func TestBudget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx := context.Background()
		s := blob.Paced(blob.Mem())
		start := time.Now()
		for i := range 100 {
			if err := s.Put(ctx, fmt.Sprint("o/", i), make([]byte, 1000)); err != nil {
				t.Fatal(err)
			}
		}
		b := blob.NewBudget(60, 1<<20)
		bg := blob.Spending(ctx, b)
		for i := range 10 {
			s.Size(bg, fmt.Sprint("o/", i))
		}
		if d := time.Since(start); d > 0 {
			t.Fatal("the first sixth was held up for", d)
		}
		for i := range 60 {
			s.Delete(bg, fmt.Sprint("o/", i))
		}
		if d := time.Since(start); d < 58*time.Minute || d > 62*time.Minute {
			t.Error("60 more took", d)
		}
		start = time.Now()
		for i := range 40 {
			s.Get(blob.Hurried(bg), fmt.Sprint("o/", 60+i), 1<<20)
		}
		if d := time.Since(start); d > 0 {
			t.Error("what is in a hurry waited", d)
		}
		if n, bytes := b.Spent(); n != 110 || bytes != 40_000 {
			t.Error(n, bytes)
		}
		start = time.Now()
		s.List(bg, "o/", "", func(blob.Info) error { return nil })
		if d := time.Since(start); d < 35*time.Minute || d > 45*time.Minute {
			t.Error("the debt was paid in", d)
		}
		c, cancel := context.WithTimeout(bg, time.Second)
		defer cancel()
		b = blob.NewBudget(1, 6)
		c = blob.Spending(c, b)
		s.Get(c, "o/99", 1<<20)
		if err := s.Delete(c, "o/99"); !remote.Is(err, remote.Timeout) {
			t.Error(err)
		}
		s.Close()
	})
}
