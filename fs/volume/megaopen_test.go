package volume

import (
	"bytes"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"megafs/fs/journal"
	"megafs/remote"
)

// countPosts makes a wrapper that counts the bytes of content that are uploaded.
func countPosts(n *atomic.Int64) func(http.Handler) http.Handler {
	return func(h http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if strings.HasPrefix(r.URL.Path, "/ul/") {
				n.Add(r.ContentLength)
			}
			h.ServeHTTP(w, r)
		})
	}
}

// TestMegaOpenFile: a file that is written is not sent to an account in parts that have to be sent again with the whole, although the journal is half full. It is when
// there is no room otherwise, and then nobody waits for ever.
func TestMegaOpenFile(t *testing.T) {
	var sent atomic.Int64
	a := newAccountBehind(t, countPosts(&sent))
	b, _ := a.mount(a.login(), t.TempDir(), t.TempDir(), func(o *Options) {
		o.MaxAge, o.JournalSize, o.JournalOptions = time.Hour, 32<<20, func(o *journal.Options) { o.SegmentSize = 1 << 20 }
	})
	want := pattern(40<<20, 7)
	h, err := b.Open(ctx, b.mk(remote.Root, "large", remote.File), true, false)
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	write := func(from, to int) {
		t.Helper()
		for off := from; off < to; off += 1 << 20 {
			if _, err := h.WriteAt(ctx, want[off:off+1<<20], uint64(off), false); err != nil {
				t.Fatal(err)
			}
		}
	}
	const half = 18 << 20
	write(0, half)
	if s := b.jour.Stat(); s.Used <= s.Limit/2 {
		t.Fatal("the journal is to be half full:", s)
	}
	small := b.mk(remote.Root, "small", remote.File)
	b.write(small, 0, pattern(1000, 8))
	until(t, "a file beside it is sent", func() bool { return !b.tree.Unsent(small) })
	if n := sent.Load(); n > 10_000 {
		t.Errorf("%d bytes were sent of a file that is still written", n)
	}
	write(half, len(want))
	if n := sent.Load(); n < 20<<20 {
		t.Errorf("only %d bytes were sent, and there was room for all?", n)
	}
	h.Close()
	b.drain()
	if got := b.read(h.Ino()); !bytes.Equal(got, want) {
		t.Error("it has other content")
	}
}
