package volume

import (
	"bytes"
	"io"
	"maps"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"megafs/remote"
	"megafs/remote/megaserver"
)

// traffic counts the bytes of content that go to and come from an account's server.
type traffic struct{ up, down atomic.Int64 }

type countedBody struct {
	io.ReadCloser
	n *atomic.Int64
}

func (c countedBody) Read(p []byte) (int, error) {
	n, err := c.ReadCloser.Read(p)
	c.n.Add(int64(n))
	return n, err
}

type countedAnswer struct {
	http.ResponseWriter
	n *atomic.Int64
}

func (c countedAnswer) Write(p []byte) (int, error) {
	c.n.Add(int64(len(p)))
	return c.ResponseWriter.Write(p)
}

func (c countedAnswer) Unwrap() http.ResponseWriter { return c.ResponseWriter }

func (x *traffic) wrap(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case strings.HasPrefix(r.URL.Path, "/ul/"):
			r.Body = countedBody{r.Body, &x.up}
		case strings.HasPrefix(r.URL.Path, "/dl/"):
			w = countedAnswer{w, &x.down}
		}
		h.ServeHTTP(w, r)
	})
}

// none fails when content went or came since the last call.
func (x *traffic) none(t *testing.T, when string) {
	t.Helper()
	if up, down := x.up.Swap(0), x.down.Swap(0); up+down != 0 {
		t.Errorf("%s: %d bytes went, %d came", when, up, down)
	}
}

// copyTo makes a file of another's content, in steps of so many bytes.
func (b *bench) copyTo(from remote.Ino, dir remote.Ino, name string, step uint64) remote.Ino {
	b.t.Helper()
	to := b.mk(dir, name, remote.File)
	b.copyOver(from, to, step)
	return to
}

func (b *bench) copyOver(from, to remote.Ino, step uint64) {
	b.t.Helper()
	src, err := b.Open(ctx, from, false, false)
	if err != nil {
		b.t.Fatal(err)
	}
	defer src.Close()
	dst, err := b.Open(ctx, to, true, false)
	if err != nil {
		b.t.Fatal(err)
	}
	defer dst.Close()
	for off := uint64(0); ; off += step {
		if n, err := b.CopyRange(ctx, src, off, dst, off, step); err != nil {
			b.t.Fatal(err)
		} else if n < step {
			return
		}
	}
}

// TestMegaCopy: a copy of a whole file, new attributes, new names, and a copy that takes the place of its original or of another file send no content to an account and get none.
func TestMegaCopy(t *testing.T) {
	var x traffic
	a := newAccountBehind(t, x.wrap)
	a.maxAge = time.Minute // nothing is sent while it is written
	b, end := a.mount(a.login(), t.TempDir(), t.TempDir())
	want := map[string][]byte{"a": pattern(9<<20, 1), "small": pattern(5000, 2), "border": pattern(131072, 3)}
	for n, p := range want {
		b.write(b.mk(remote.Root, n, remote.File), 0, p)
	}
	b.drain()
	x.up.Store(0)
	d := b.mk(remote.Root, "d", remote.Dir)
	for n := range maps.Clone(want) {
		b.copyTo(b.ino(remote.Root, n), d, n, 1<<40)
	}
	b.drain()
	x.none(t, "copied")
	b.copyTo(b.ino(d, "a"), remote.Root, "a2", 1<<40)
	b.drain()
	x.none(t, "a copy copied")
	want["a2"] = want["a"]
	mtime, mode := remote.Time(1234567890_000000001), uint16(0o640)
	if _, err := b.Setattr(ctx, b.ino(remote.Root, "a2"), SetAttr{Mtime: &mtime, Mode: &mode}); err != nil {
		t.Fatal(err)
	}
	b.copyTo(b.ino(remote.Root, "small"), remote.Root, "new", 1<<40)
	for from, to := range map[string]string{"a2": "a3", "new": "small"} {
		if err := b.Rename(ctx, remote.Root, from, remote.Root, to, 0, Caller{}); err != nil {
			t.Fatal(err)
		}
	}
	b.drain()
	x.none(t, "renamed")
	delete(want, "a2")
	want["a3"] = want["a"]
	// Over other content of the same length, which is no less old then.
	other := pattern(9<<20, 9)
	b.write(b.ino(remote.Root, "a3"), 0, other)
	b.drain()
	if up := x.up.Swap(0); up != int64(len(other)) {
		t.Errorf("%d bytes of %d went", up, len(other))
	}
	x.down.Store(0)
	b.copyOver(b.ino(remote.Root, "a"), b.ino(remote.Root, "a3"), 1<<40)
	b.drain()
	x.none(t, "copied over another")
	// What is more than another's content is sent, and is right.
	h := b.copyTo(b.ino(remote.Root, "small"), remote.Root, "more", 1<<40)
	b.write(h, 5000, []byte("more"))
	want["more"] = append(bytes.Clone(want["small"]), "more"...)
	b.drain()
	for n, p := range want {
		if !bytes.Equal(b.read(b.ino(remote.Root, n)), p) {
			t.Error("here:", n)
		}
	}
	end()
	b, _ = a.mount(a.login(), t.TempDir(), t.TempDir())
	for n, p := range want {
		if !bytes.Equal(b.read(b.ino(remote.Root, n)), p) {
			t.Error("anew:", n)
		}
		if n == "a" || n == "small" || n == "border" {
			if !bytes.Equal(b.read(b.ino(b.ino(remote.Root, "d"), n)), p) {
				t.Error("anew, a copy:", n)
			}
		}
	}
	if st, err := b.Getattr(ctx, b.ino(remote.Root, "small")); err != nil || st.Size != 5000 {
		t.Error(st, err)
	}
	if l, err := b.List(ctx, remote.Root); err != nil || len(l) != len(want)+1 {
		t.Error(l, err)
	}
}

// TestMegaCopyExchange lets three files pass their contents on in one commit: no content is lost, whatever the order in which they are replaced.
func TestMegaCopyExchange(t *testing.T) {
	a := newAccount(t)
	b, end := a.mount(a.login(), t.TempDir(), t.TempDir())
	for i, n := range []string{"a", "b", "c"} {
		b.write(b.mk(remote.Root, n, remote.File), 0, pattern(10_000, i))
	}
	b.drain()
	a.server.Faults().Add(megaserver.Fault{On: "p", Drop: true, Times: 1000})
	b.mk(remote.Root, "tmp", remote.File)
	for _, step := range [][2]string{{"a", "tmp"}, {"b", "a"}, {"c", "b"}, {"tmp", "c"}} {
		b.copyOver(b.ino(remote.Root, step[0]), b.ino(remote.Root, step[1]), 1<<40)
	}
	if err := b.Unlink(ctx, remote.Root, "tmp"); err != nil {
		t.Fatal(err)
	}
	a.server.Faults().Clear()
	b.drain()
	end()
	b, _ = a.mount(a.login(), t.TempDir(), t.TempDir())
	for i, n := range []string{"c", "a", "b"} {
		if !bytes.Equal(b.read(b.ino(remote.Root, n)), pattern(10_000, i)) {
			t.Error("other content:", n)
		}
	}
}

// TestMegaCopyRefused: a server that has what is copied no more, or that does not copy, is sent the content.
func TestMegaCopyRefused(t *testing.T) {
	for _, code := range []megaserver.Code{-9, -11, -2} {
		var x traffic
		a := newAccountBehind(t, x.wrap)
		b, end := a.mount(a.login(), t.TempDir(), t.TempDir())
		p := pattern(300_000, 1)
		b.write(b.mk(remote.Root, "a", remote.File), 0, p)
		to := b.mk(remote.Root, "b", remote.File)
		b.drain()
		x.up.Store(0)
		a.server.Faults().Add(megaserver.Fault{On: "p", Code: code})
		b.copyOver(b.ino(remote.Root, "a"), to, 1<<40)
		b.drain()
		if up := x.up.Load(); up != int64(len(p)) {
			t.Errorf("%d: %d bytes of %d went", code, up, len(p))
		}
		end()
		b, _ = a.mount(a.login(), t.TempDir(), t.TempDir())
		if l, err := b.List(ctx, remote.Root); err != nil || len(l) != 2 || !bytes.Equal(b.read(b.ino(remote.Root, "b")), p) {
			t.Error(code, l, err)
		}
	}
}

// TestMegaCopyRemoved: another machine removes the original before its copy is sent. The copy's content comes from the rubbish bin and is sent.
func TestMegaCopyRemoved(t *testing.T) {
	var x traffic
	a := newAccountBehind(t, x.wrap)
	state := t.TempDir()
	s := a.login()
	b, end := a.mount(s, state, t.TempDir())
	p := pattern(300_000, 1)
	b.write(b.mk(remote.Root, "a", remote.File), 0, p)
	to := b.mk(remote.Root, "b", remote.File)
	b.drain()
	other, _ := a.mount(a.login(), t.TempDir(), t.TempDir())
	x.up.Store(0)
	hits := a.server.Faults().Hits()
	a.server.Faults().Add(megaserver.Fault{On: "p", Drop: true, Times: 1000})
	b.copyOver(b.ino(remote.Root, "a"), to, 1<<40)
	until(t, "a request for a copy", func() bool { return a.server.Faults().Hits() > hits })
	end()
	if err := other.Unlink(ctx, remote.Root, "a"); err != nil {
		t.Fatal(err)
	}
	other.drain()
	a.server.Faults().Clear()
	b, _ = a.mount(s, state, t.TempDir())
	b.drain()
	if up := x.up.Load(); up != int64(len(p)) {
		t.Errorf("%d bytes of %d went", up, len(p))
	}
	for who, b := range map[string]*bench{"here": b, "there": other} {
		until(t, "one file "+who, func() bool { return len(treeOf(b, remote.Root, "", nil)) == 1 })
		until(t, "its content "+who, func() bool {
			st, err := b.Lookup(ctx, remote.Root, "b")
			return err == nil && bytes.Equal(readAll(b, st.Ino, st.Size), p)
		})
	}
}

// TestG8MegaCopyCrash loses the answer to the request that copies two files, and all that the process had in memory. Each copy is there once.
func TestG8MegaCopyCrash(t *testing.T) {
	var x traffic
	a := newAccountBehind(t, x.wrap)
	s := a.login()
	state, cache := t.TempDir(), t.TempDir()
	b, end := a.mount(s, state, cache)
	p := pattern(200_000, 1)
	b.write(b.mk(remote.Root, "a", remote.File), 0, p)
	one, two := b.mk(remote.Root, "one", remote.File), b.mk(remote.Root, "two", remote.File)
	b.drain()
	x.up.Store(0)
	a.server.Faults().Add(megaserver.Fault{On: "p", Lost: true})
	a.server.Faults().Add(megaserver.Fault{On: "p", Drop: true, Times: 1000})
	a.server.Faults().Add(megaserver.Fault{On: "sc", Drop: true, Times: 1000})
	b.copyOver(b.ino(remote.Root, "a"), one, 1<<40)
	b.copyOver(b.ino(remote.Root, "a"), two, 1<<40)
	until(t, "a lost answer", func() bool { return a.server.Faults().Hits() > 1 })
	end()
	a.server.Faults().Clear()
	b, _ = a.mount(s, state, cache)
	b.drain()
	if up := x.up.Load(); up != 0 {
		t.Error(up, "bytes went")
	}
	b2, _ := a.mount(a.login(), t.TempDir(), t.TempDir())
	for who, b := range map[string]*bench{"here": b, "anew": b2} {
		if got := treeOf(b, remote.Root, "", nil); len(got) != 3 {
			t.Errorf("%s: %d names: %v", who, len(got), got)
		}
		for _, n := range []string{"a", "one", "two"} {
			if !bytes.Equal(b.read(b.ino(remote.Root, n)), p) {
				t.Error(who, ": another content of ", n)
			}
		}
	}
}
