package volume

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"testing"
	"time"

	"megafs/remote"
)

// TestP4Laundering writes a part of a chunk whose stored bytes do not verify: it is not sealed again as if they did, the file is kept back with
// the reason, and others are sent. A chunk that is overwritten whole needs nothing of the old one.
func TestP4Laundering(t *testing.T) {
	b := newBench(t)
	part, whole := b.mk(remote.Root, "part", remote.File), b.mk(remote.Root, "whole", remote.File)
	b.write(part, 0, pattern(3*remote.ChunkSize, 1))
	b.write(whole, 0, pattern(3*remote.ChunkSize, 2))
	b.drain()
	b.store.Damage()
	b.cache = t.TempDir()
	b.remount() // nothing opened stays in memory
	sent := len(b.store.Batches())
	b.write(part, remote.ChunkSize+5, []byte("hello"))
	c, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	if err := b.Drain(c); err == nil || errors.Is(err, context.DeadlineExceeded) {
		t.Fatal("a chunk that does not verify was sealed again:", err)
	}
	if s := b.Status(); len(s.Failed) != 1 || s.Failed[0].Inode != uint64(part) || s.State != "degraded" {
		t.Fatalf("%+v", s)
	}
	if err := b.eng.Failed(part); !remote.Is(err, remote.Integrity) {
		t.Fatal(err)
	}
	for _, batch := range b.store.Batches()[sent:] {
		for _, op := range batch.Ops {
			if op.Ino == part && op.Kind == remote.OpExtent {
				t.Fatal("committed:", op.Extent)
			}
		}
	}
	b.write(whole, remote.ChunkSize, pattern(remote.ChunkSize, 3))
	for b.tree.Changed(whole) {
		b.eng.Kick()
		if c.Err() != nil {
			t.Fatal("one file that can't be sent keeps others back")
		}
	}
	h, err := b.Open(ctx, whole, false, false)
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	got := make([]byte, remote.ChunkSize)
	if n, err := h.ReadAt(ctx, got, remote.ChunkSize); n != len(got) || err != nil || !bytes.Equal(got, pattern(remote.ChunkSize, 3)) {
		t.Fatal("the new chunk:", n, err)
	}
	if _, err := h.ReadAt(ctx, got, 0); !remote.Is(err, remote.Integrity) {
		t.Fatal("an old chunk:", err)
	}
}

// short is a remote that stops answering after some batches of a load.
type short struct {
	remote.Remote
	left int
}

func (s *short) Load(ctx context.Context, from remote.Position, sink remote.Sink) (remote.Position, error) {
	return s.Remote.Load(ctx, from, &shortSink{sink, s})
}

type shortSink struct {
	remote.Sink
	*short
}

func (s *shortSink) Apply(b remote.Batch) error {
	if s.left == 0 {
		return remote.E("load", "", remote.Unreachable, errors.New("on purpose"))
	}
	s.left--
	return s.Sink.Apply(b)
}

// TestP1StoreLostWhileLoading: a machine that lost its tree, and whose store goes away in the midst of reading it anew, does not pass a state of the past
// for the present one, in a later life neither. What it read is not read again.
func TestP1StoreLostWhileLoading(t *testing.T) {
	b := newBench(t)
	for _, name := range []string{"a", "b", "c"} {
		b.mk(remote.Root, name, remote.File)
		b.drain()
	}
	b.Volume.Close(ctx)
	n := len(b.store.Batches())
	stateDir, cacheDir := t.TempDir(), t.TempDir() // a machine that only ever read
	open := func(left int) error {
		v, err := Open(ctx, Options{
			Remote: &short{b.mem, left}, StateDir: stateDir, CacheDir: cacheDir, JournalSize: 64 << 20, LocalStore: true,
			Poll: -1, Log: slog.New(slog.DiscardHandler),
		})
		if err != nil {
			return err
		}
		defer v.Close(ctx)
		_, err = v.Lookup(ctx, remote.Root, "c")
		return err
	}
	for _, left := range []int{0, 1, n - 2, 0} {
		if err := open(left); !remote.Is(err, remote.Unreachable) {
			t.Fatalf("opened after %d more of %d batches: %v", left, n, err)
		}
	}
	if err := open(1); err != nil {
		t.Fatal("the rest:", err)
	}
	if err := open(0); err != nil {
		t.Fatal("offline, with a tree that is known:", err)
	}
}

// TestFsyncRemote has fsync wait for the remote: it returns when that has the bytes, and fails while that takes nothing.
func TestFsyncRemote(t *testing.T) {
	b := newBench(t)
	b.remount(func(o *Options) { o.FsyncRemote, o.Settle, o.MaxAge = true, time.Hour, time.Hour })
	ino := b.mk(remote.Root, "f", remote.File)
	h, err := b.Open(ctx, ino, true, false)
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	b.write(ino, 0, pattern(50_000, 1))
	if b.store.Bytes() != 0 {
		t.Fatal("sent before anybody asked")
	}
	if err := h.Sync(ctx); err != nil {
		t.Fatal(err)
	}
	if b.store.Bytes() == 0 || b.tree.Changed(ino) {
		t.Fatal("fsync returned before the remote had the bytes")
	}
	b.store.SetFail(func(_ context.Context, call string) error {
		if call == "commit" {
			return remote.E(call, "", remote.Unreachable, nil)
		}
		return nil
	})
	b.write(ino, 0, []byte("x"))
	c, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
	defer cancel()
	if err := h.Sync(c); !remote.Is(err, remote.Timeout) {
		t.Fatal(err)
	}
	b.o.Patience = 50 * time.Millisecond
	if err := h.Sync(ctx); !remote.Is(err, remote.Timeout) { // also without a deadline of the caller's
		t.Fatal(err)
	}
	b.o.Patience = time.Hour
	b.store.SetFail(nil)
	if err := h.Sync(ctx); err != nil {
		t.Fatal(err)
	}
}

// TestCopyShares copies stored content within the volume: nothing of it is sent again, and either copy may change alone.
func TestCopyShares(t *testing.T) {
	b := newBench(t)
	from, to := b.mk(remote.Root, "from", remote.File), b.mk(remote.Root, "to", remote.File)
	want := pattern(300_000, 4)
	b.write(from, 0, want)
	b.drain()
	stored := b.store.Bytes()
	src, err := b.Open(ctx, from, false, false)
	if err != nil {
		t.Fatal(err)
	}
	defer src.Close()
	dst, err := b.Open(ctx, to, true, false)
	if err != nil {
		t.Fatal(err)
	}
	defer dst.Close()
	if n, err := b.CopyRange(ctx, src, 0, dst, 0, 1<<20); n != uint64(len(want)) || err != nil {
		t.Fatal(n, err)
	}
	b.drain()
	if n := b.store.Bytes() - stored; n != 0 {
		t.Fatal(n, "bytes sent for a copy")
	}
	b.write(to, 100_000, []byte("changed"))
	b.drain()
	if !bytes.Equal(b.read(from), want) {
		t.Fatal("the original changed with its copy")
	}
	copy(want[100_000:], "changed")
	b.cache, b.state = t.TempDir(), t.TempDir()
	b.remount()
	if !bytes.Equal(b.read(b.ino(remote.Root, "to")), want) {
		t.Fatal("the copy differs")
	}
}

// TestWhiteout leaves a device 0:0 where a file was, as overlay file systems want it.
func TestWhiteout(t *testing.T) {
	b := newBench(t)
	f := b.mk(remote.Root, "f", remote.File)
	if err := b.Rename(ctx, remote.Root, "f", remote.Root, "g", RenameWhiteout, Caller{}); err != nil {
		t.Fatal(err)
	}
	b.drain()
	b.cache, b.state = t.TempDir(), t.TempDir()
	b.remount()
	s, err := b.Getattr(ctx, b.ino(remote.Root, "f"))
	if err != nil || s.Type != remote.CharDev || s.Rdev != 0 {
		t.Fatal(s, err)
	}
	if b.ino(remote.Root, "g") != f {
		t.Fatal("the file is not where it went")
	}
}
