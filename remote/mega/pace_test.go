package mega

import (
	"bytes"
	"context"
	"errors"
	"io"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"megafs/remote"
)

// TestPace: every byte of content waits for the pace, in small steps, and none goes or is given out before.
func TestPace(t *testing.T) {
	e := newEvil(t)
	plain, sealed, k := sealedContent(300_000)
	e.data = sealed
	e.tree(fileNode("filefile", evilRoot, "file", k, len(sealed)))
	e.cs["u"] = func(command) any { return map[string]any{"p": e.url + "/ul/x"} }
	var up, down atomic.Int64
	gate := make(chan struct{})
	pass := func(sum *atomic.Int64) func(context.Context, int) error {
		return func(ctx context.Context, n int) error {
			if n > paceStep {
				t.Error("a step of", n)
			}
			select {
			case <-gate:
				sum.Add(int64(n))
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		}
	}
	r := e.open(Options{Pace: Pace{Up: pass(&up), Down: pass(&down)}})
	s := e.load(r) // commands have no pace
	var wg sync.WaitGroup
	got := make(chan error, 2)
	wg.Go(func() {
		b, err := fetch(r, s, s.names["1/file"])
		if err == nil && !bytes.Equal(b, plain) {
			err = errors.New("other bytes")
		}
		got <- err
	})
	wg.Go(func() {
		_, err := r.StoreFile(context.Background(), 0, uint64(len(plain)), func(_ context.Context, off uint64, dst []byte) error { copy(dst, plain[off:]); return nil }, nil)
		got <- err
	})
	select {
	case err := <-got:
		t.Fatal("it did not wait:", err)
	case <-time.After(200 * time.Millisecond):
	}
	close(gate)
	wg.Wait()
	if err := errors.Join(<-got, <-got); err != nil {
		t.Error(err)
	}
	if up.Load() != int64(len(plain)) || down.Load() != int64(len(sealed)) {
		t.Errorf("%d up and %d down of %d", up.Load(), down.Load(), len(plain))
	}
}

// TestAllowance: the time of a request stands still while the pace is waited for, and goes on afterwards.
func TestAllowance(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := allow(context.Background(), 10*time.Second)
		defer a.end()
		slow := func(context.Context, int) error { time.Sleep(time.Hour); return nil }
		time.Sleep(6 * time.Second)
		r := &paced{r: bytes.NewReader(make([]byte, 100)), a: a, before: true, pace: slow}
		if b, err := io.ReadAll(r); len(b) != 100 || err != nil || a.Err() != nil {
			t.Fatal(len(b), err, a.Err())
		}
		time.Sleep(3 * time.Second)
		synctest.Wait()
		if a.Err() != nil {
			t.Error("it ended early")
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if err := lineError(a, "x", a.Err()); !remote.Is(err, remote.Timeout) {
			t.Error(err)
		}
	})
}
