package volume

import (
	"bytes"
	"fmt"
	"testing"
	"time"

	"megafs/remote"
)

// TestNamelessMovesForward has files without names open while four times the journal's size goes through it: the journal stays small, and the files keep their
// bytes, also one that gets a name at last.
func TestNamelessMovesForward(t *testing.T) {
	b := newBench(t)
	removed := b.mk(remote.Root, "removed", remote.File)
	h, err := b.Open(ctx, removed, true, false)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := h.WriteAt(ctx, pattern(3<<20, 1), 0, false); err != nil {
		t.Fatal(err)
	}
	b.Forget(removed, 1)
	if err := b.Unlink(ctx, remote.Root, "removed"); err != nil {
		t.Fatal(err)
	}
	s, err := b.Tmpfile(ctx, remote.Root, 0o640, Caller{})
	if err != nil {
		t.Fatal(err)
	}
	b.write(s.Ino, 0, pattern(6<<20, 2))
	b.write(s.Ino, 1<<20, pattern(5, 3))
	if err := b.Setxattr(ctx, s.Ino, "user.x", []byte("value"), 0); err != nil {
		t.Fatal(err)
	}
	before, err := b.Getattr(ctx, s.Ino)
	if err != nil {
		t.Fatal(err)
	}
	want := pattern(6<<20, 2)
	copy(want[1<<20:], pattern(5, 3))
	pass := func() {
		t.Helper()
		for i := range 32 {
			b.write(b.mk(remote.Root, fmt.Sprint(time.Now().UnixNano()), remote.File), 0, pattern(8<<20, i))
			b.drain()
			if j := b.jour.Stat(); j.Used > j.Limit/4*3 { // what was sent just now may be there still
				t.Fatalf("after %d MiB the journal has %d MiB of %d", 8*(i+1), j.Used>>20, j.Limit>>20)
			}
		}
	}
	pass()
	got := make([]byte, 3<<20)
	if n, err := h.ReadAt(ctx, got, 0); err != nil || n != len(got) || !bytes.Equal(got, pattern(3<<20, 1)) {
		t.Error("the removed file's bytes:", n, err)
	}
	h.Close()
	if after, err := b.Getattr(ctx, s.Ino); err != nil || after != before {
		t.Errorf("%+v became %+v, %v", before, after, err)
	}
	if _, err := b.Link(ctx, s.Ino, remote.Root, "named"); err != nil {
		t.Fatal(err)
	}
	if got := b.read(s.Ino); !bytes.Equal(got, want) {
		t.Error("the file without a name has other bytes")
	}
	b.Forget(s.Ino, 2)
	b.remount() // what was not sent yet is replayed
	ino := b.ino(remote.Root, "named")
	x, err := b.Getxattr(ctx, ino, "user.x")
	if got := b.read(ino); !bytes.Equal(got, want) || err != nil || string(x) != "value" {
		t.Error("after a remount the file has other bytes, or no xattr", err)
	}
	b.drain()
	// Drain returns before its round trims, and all may have been sent before the remount: when a second round has sent something, the first has trimmed.
	for i := range 2 {
		b.mk(remote.Root, fmt.Sprint("last", i), remote.File)
		b.drain()
	}
	if j := b.jour.Stat(); j.Segments > 2 {
		t.Errorf("%d segments are kept for nothing", j.Segments)
	}
}

// TestOpenFileIsSent sends a file that is written on and on and never closed.
func TestOpenFileIsSent(t *testing.T) {
	b := newBench(t)
	ino := b.mk(remote.Root, "log", remote.File)
	h, err := b.Open(ctx, ino, true, false)
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	var off uint64
	for begun := time.Now(); b.Status().BytesSent < 4<<20; off += 64 << 10 {
		if _, err := h.WriteAt(ctx, pattern(64<<10, int(off)), off, false); err != nil {
			t.Fatal(err)
		}
		if time.Since(begun) > time.Minute {
			t.Fatal("a minute of writing, and nothing is sent")
		}
	}
	if j := b.jour.Stat(); j.Bytes > j.Limit {
		t.Error(j)
	}
}
