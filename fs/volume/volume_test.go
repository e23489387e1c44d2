package volume

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"testing"
	"time"

	"megafs/fs/journal"
	"megafs/remote"
	"megafs/remote/remotetest"
)

var ctx = context.Background()

// bench is a machine: folders that stay over remounts, and one remote.
type bench struct {
	t     *testing.T
	store *remotetest.Store
	mem   *remotetest.Mem
	state string
	cache string
	*Volume
}

func newBench(t *testing.T) *bench {
	t.Helper()
	b := &bench{t: t, store: remotetest.NewStore(), state: t.TempDir(), cache: t.TempDir()}
	b.mem = b.store.Open()
	b.open()
	t.Cleanup(func() { b.Volume.Close(ctx) })
	return b
}

func (b *bench) open(change ...func(*Options)) {
	b.t.Helper()
	o := Options{
		Remote: b.mem, StateDir: b.state, CacheDir: b.cache, JournalSize: 64 << 20, LocalStore: true,
		Settle: time.Millisecond, MaxAge: 10 * time.Millisecond, Poll: -1, Log: slog.New(slog.DiscardHandler),
		JournalOptions: func(o *journal.Options) { o.SegmentSize = 4 << 20 },
	}
	for _, c := range change {
		c(&o)
	}
	v, err := Open(ctx, o)
	if err != nil {
		b.t.Fatal(err)
	}
	b.Volume = v
}

// remount ends the volume in order and opens it again, with other options if change says so.
func (b *bench) remount(change ...func(*Options)) {
	b.t.Helper()
	if err := b.Volume.Close(ctx); err != nil {
		b.t.Fatal(err)
	}
	b.open(change...)
}

func (b *bench) drain() {
	b.t.Helper()
	c, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	if err := b.Drain(c); err != nil {
		b.t.Fatal(err)
	}
}

func (b *bench) mk(parent remote.Ino, name string, typ remote.Type) remote.Ino {
	b.t.Helper()
	s, err := b.Make(ctx, parent, name, typ, 0o755, 0, map[bool]string{true: "target"}[typ == remote.Symlink], Caller{})
	if err != nil {
		b.t.Fatal(err)
	}
	return s.Ino
}

func (b *bench) write(ino remote.Ino, off uint64, data []byte) {
	b.t.Helper()
	h, err := b.Open(ctx, ino, true, false)
	if err != nil {
		b.t.Fatal(err)
	}
	defer h.Close()
	if n, err := h.WriteAt(ctx, data, off, false); err != nil || n != len(data) {
		b.t.Fatal(n, err)
	}
}

func (b *bench) read(ino remote.Ino) []byte {
	b.t.Helper()
	h, err := b.Open(ctx, ino, false, false)
	if err != nil {
		b.t.Fatal(err)
	}
	defer h.Close()
	s, err := b.Getattr(ctx, ino)
	if err != nil {
		b.t.Fatal(err)
	}
	buf := make([]byte, s.Size)
	if n, err := h.ReadAt(ctx, buf, 0); err != nil || n != len(buf) {
		b.t.Fatal(n, err)
	}
	return buf
}

func (b *bench) ino(parent remote.Ino, name string) remote.Ino {
	b.t.Helper()
	s, err := b.Lookup(ctx, parent, name)
	if err != nil {
		b.t.Fatal(name, err)
	}
	b.Forget(s.Ino, 1)
	return s.Ino
}

func pattern(n, seed int) []byte {
	p := make([]byte, n)
	for i := range p {
		p[i] = byte(i*7 + i>>8*13 + seed)
	}
	return p
}

// TestLifeOfFiles writes, sends, remounts, forgets the caches, and reads everything back.
func TestLifeOfFiles(t *testing.T) {
	b := newBench(t)
	dir := b.mk(remote.Root, "dir", remote.Dir)
	small := b.mk(dir, "small", remote.File)
	b.write(small, 0, pattern(100, 1))
	big := b.mk(dir, "big", remote.File)
	b.write(big, 0, pattern(5<<20, 2))
	check := func(when string) {
		t.Helper()
		d := b.ino(remote.Root, "dir")
		if got := b.read(b.ino(d, "small")); !bytes.Equal(got, pattern(100, 1)) {
			t.Fatalf("%s: small differs", when)
		}
		if got := b.read(b.ino(d, "big")); !bytes.Equal(got, pattern(5<<20, 2)) {
			t.Fatalf("%s: big differs", when)
		}
	}
	check("dirty")
	b.remount()
	check("dirty, remounted")
	b.drain()
	check("sent")
	b.remount()
	check("sent, remounted")
	b.cache = t.TempDir()
	b.remount()
	check("cache folder lost")
	// A part in the midst, at odd places.
	before := b.store.Bytes()
	b.write(b.ino(b.ino(remote.Root, "dir"), "big"), 1<<20+777, []byte("hello"))
	want := pattern(5<<20, 2)
	copy(want[1<<20+777:], "hello")
	b.drain()
	if sent := b.store.Bytes() - before; sent != remote.ChunkSize {
		t.Fatalf("%d bytes sent for a write of five", sent)
	}
	b.cache, b.state = t.TempDir(), t.TempDir()
	b.remount()
	if got := b.read(b.ino(b.ino(remote.Root, "dir"), "big")); !bytes.Equal(got, want) {
		t.Fatal("overwritten part differs")
	}
}

// TestNothingToSend makes and removes a file before anybody looks: the remote never hears of it.
func TestNothingToSend(t *testing.T) {
	b := newBench(t)
	b.drain()
	b.store.SetFail(func(_ context.Context, call string) error {
		if call == "commit" || call == "store" {
			return remote.E(call, "", remote.Unreachable, errors.New("not now"))
		}
		return nil
	})
	ino := b.mk(remote.Root, "gone", remote.File)
	b.write(ino, 0, pattern(1<<20, 1))
	if err := b.Unlink(ctx, remote.Root, "gone"); err != nil {
		t.Fatal(err)
	}
	b.Forget(ino, 1)
	b.store.SetFail(nil)
	b.drain()
	if b.store.Bytes() != 0 {
		t.Fatal(b.store.Bytes(), "bytes sent")
	}
}

// TestUnlinkedWhileOpen reads and writes a file without names, over commits.
func TestUnlinkedWhileOpen(t *testing.T) {
	b := newBench(t)
	ino := b.mk(remote.Root, "f", remote.File)
	b.write(ino, 0, pattern(300_000, 3))
	b.drain()
	h, err := b.Open(ctx, ino, true, false)
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Unlink(ctx, remote.Root, "f"); err != nil {
		t.Fatal(err)
	}
	b.drain()
	if _, err := h.WriteAt(ctx, []byte("xyz"), 5, false); err != nil {
		t.Fatal(err)
	}
	b.mk(remote.Root, "other", remote.File)
	b.drain()
	want := pattern(300_000, 3)
	copy(want[5:], "xyz")
	got := make([]byte, len(want))
	if n, err := h.ReadAt(ctx, got, 0); n != len(want) || err != nil || !bytes.Equal(got, want) {
		t.Fatal("content of an open file without names", n, err)
	}
	h.Close()
	b.Forget(ino, 1)
	if _, err := b.Getattr(ctx, ino); !remote.Is(err, remote.NotExist) {
		t.Fatal("still there:", err)
	}
	b.drain()
	b.cache = t.TempDir()
	b.remount()
	if l, _ := b.List(ctx, remote.Root); len(l) != 1 || l[0].Name != "other" {
		t.Fatal(l)
	}
}

// TestRenames goes through all forms of rename, with commits in between.
func TestRenames(t *testing.T) {
	for _, drain := range []bool{false, true} {
		b := newBench(t)
		step := func() {
			if drain {
				b.drain()
			}
		}
		d1, d2 := b.mk(remote.Root, "d1", remote.Dir), b.mk(remote.Root, "d2", remote.Dir)
		x, y := b.mk(d1, "x", remote.File), b.mk(d2, "y", remote.File)
		step()
		if err := b.Rename(ctx, d1, "x", d2, "y", RenameNoReplace, Caller{}); !remote.Is(err, remote.Exist) {
			t.Fatal(err)
		}
		if err := b.Rename(ctx, remote.Root, "d1", remote.Root, "d2", RenameExchange, Caller{}); err != nil {
			t.Fatal(err)
		}
		step()
		if b.ino(remote.Root, "d1") != d2 || b.ino(d2, "y") != y {
			t.Fatal("exchange")
		}
		if err := b.Rename(ctx, d1, "x", d2, "y", 0, Caller{}); err != nil {
			t.Fatal(err)
		}
		step()
		if b.ino(d2, "y") != x {
			t.Fatal("replace")
		}
		if err := b.Rename(ctx, remote.Root, "d1", d2, "in", 0, Caller{}); !remote.Is(err, remote.Invalid) {
			t.Fatal("into itself:", err)
		}
		if err := b.Rename(ctx, remote.Root, "d1", remote.Root, "d2", 0, Caller{}); err != nil {
			t.Fatal("over an empty directory:", err)
		}
		step()
		b.drain()
		b.cache, b.state = t.TempDir(), t.TempDir()
		b.remount()
		if b.ino(remote.Root, "d2") != d2 || b.ino(d2, "y") != x {
			t.Fatal("in the end")
		}
		if s, _ := b.Getattr(ctx, remote.Root); s.Nlink != 3 {
			t.Fatal("links of the root:", s.Nlink)
		}
	}
}

// TestTruncates cuts and extends, and holes read as zeros.
func TestTruncates(t *testing.T) {
	for _, drain := range []bool{false, true} {
		b := newBench(t)
		ino := b.mk(remote.Root, "f", remote.File)
		want := pattern(200_000, 9)
		b.write(ino, 0, want)
		size := func(n uint64) {
			if drain {
				b.drain()
			}
			if _, err := b.Setattr(ctx, ino, SetAttr{Size: &n}); err != nil {
				t.Fatal(err)
			}
			if n < uint64(len(want)) {
				want = want[:n]
			}
			want = append(want, make([]byte, n-uint64(len(want)))...)
			if !bytes.Equal(b.read(ino), want) {
				t.Fatal("after truncation to", n)
			}
		}
		size(100_001)
		size(150_000)
		size(10)
		size(70_000)
		b.write(ino, 69_000, []byte("tail"))
		copy(want[69_000:], "tail")
		size(1 << 20)
		b.drain()
		b.cache, b.state = t.TempDir(), t.TempDir()
		b.remount()
		if !bytes.Equal(b.read(ino), want) {
			t.Fatal("in the end")
		}
		h, _ := b.Open(ctx, ino, false, false)
		if off, err := h.Seek(ctx, 0, false); err != nil || off > 65536 {
			t.Fatal("data at", off, err)
		}
		if _, err := h.Seek(ctx, 200_000, false); !remote.Is(err, remote.NoData) {
			t.Fatal(err)
		}
		h.Close()
	}
}
