package volume

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"megafs/fs/journal"
	"megafs/remote"
)

// TestP7ManyInodes makes files faster than the store takes them: no batch has many more than are let through, since another machine takes it in at once. A
// store that does not answer holds nobody up.
func TestP7ManyInodes(t *testing.T) {
	b := newBench(t)
	const many = 200
	b.remount(func(o *Options) { o.Many, o.MaxAge = many, time.Millisecond })
	b.store.SetFail(func(ctx context.Context, call string) error {
		if call == "commit" {
			time.Sleep(20 * time.Millisecond) // a slow store
		}
		return nil
	})
	for i := range 10 * many {
		b.mk(remote.Root, fmt.Sprint(i), remote.File)
	}
	b.drain()
	for _, batch := range b.store.Batches() {
		n := 0
		for _, op := range batch.Ops {
			if op.Kind == remote.OpNode {
				n++
			}
		}
		if n > 2*many {
			t.Errorf("%d inodes in one batch, where %d are let through", n, many)
		}
	}
	b.store.SetFail(func(_ context.Context, call string) error {
		return remote.E(call, "", remote.Unreachable, errors.New("on purpose"))
	})
	for i := 0; b.Status().LastError == ""; i++ {
		b.mk(remote.Root, fmt.Sprint("x", i), remote.File)
	}
	begun := time.Now()
	for i := range 10 * many {
		b.mk(remote.Root, fmt.Sprint("y", i), remote.File)
	}
	if took := time.Since(begun); took > 10*many*5*time.Millisecond {
		t.Error("nothing is taken, and writers were slowed down all the same:", took)
	}
	b.store.SetFail(nil)
	b.drain()
}

// TestNoSpace has a journal fill while the remote takes its time, and while it takes nothing: only then do writers fail, and what they wrote before is there.
func TestNoSpace(t *testing.T) {
	b := newBench(t)
	const room = 100 * time.Millisecond
	b.remount(func(o *Options) {
		o.JournalSize, o.MaxAge, o.Room = 24<<20, time.Millisecond, room
		o.JournalOptions = func(o *journal.Options) { o.SegmentSize = 1 << 20 }
	})
	ino := b.mk(remote.Root, "f", remote.File)
	h, err := b.Open(ctx, ino, true, false)
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	var slow atomic.Int32
	b.store.SetFail(func(ctx context.Context, call string) error {
		if call == "commit" && slow.Load() < 2 {
			slow.Add(1)
			time.Sleep(10 * room) // a request that takes long is not one that fails
		}
		return nil
	})
	piece := pattern(1<<20, 5)
	off := int64(0)
	for slow.Load() < 2 {
		if _, err := h.WriteAt(ctx, piece, uint64(off), false); err != nil {
			t.Fatal("the remote is slow:", err)
		}
		off += int64(len(piece))
	}
	b.store.SetFail(func(_ context.Context, call string) error {
		if call == "store" || call == "commit" {
			return remote.E(call, "", remote.Unreachable, errors.New("on purpose"))
		}
		return nil
	})
	for err = nil; err == nil && off < 1<<30; off += int64(len(piece)) {
		_, err = h.WriteAt(ctx, piece, uint64(off), false)
	}
	if !remote.Is(err, remote.NoSpace) {
		t.Fatal("the remote takes nothing:", err)
	}
	b.store.SetFail(nil)
	b.drain()
	if _, err := h.WriteAt(ctx, piece, uint64(off), false); err != nil {
		t.Fatal("the remote is back:", err)
	}
	b.drain()
	got := b.read(ino)
	for at := int64(0); at < off-int64(len(piece)); at += int64(len(piece)) {
		if string(got[at:at+int64(len(piece))]) != string(piece) {
			t.Fatal("bytes at", at, "differ")
		}
	}
}
