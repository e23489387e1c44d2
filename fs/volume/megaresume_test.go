package volume

import (
	"bytes"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"megafs/remote"
	"megafs/remote/megaserver"
)

// TestMegaUploadGoesOn ends a mount in the midst of an upload, and mounts again: what the server has is not sent again, and the file is there once.
func TestMegaUploadGoesOn(t *testing.T) {
	var x traffic
	var hold atomic.Bool
	var passed, held, waits atomic.Int32
	written := make(chan struct{})
	a := newAccountBehind(t, func(h http.Handler) http.Handler {
		h = x.wrap(h)
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if hold.Load() && r.URL.Path == "/cs" {
				body, _ := io.ReadAll(r.Body)
				r.Body = io.NopCloser(bytes.NewReader(body))
				if bytes.Contains(body, []byte(`"a":"p"`)) {
					waits.Add(1)
					<-written
				}
			}
			if hold.Load() && strings.HasPrefix(r.URL.Path, "/ul/") && r.ContentLength > 0 && passed.Add(1) > 2 {
				io.Copy(io.Discard, r.Body)
				held.Add(1)
				<-r.Context().Done()
				panic(http.ErrAbortHandler)
			}
			h.ServeHTTP(w, r)
		})
	})
	s := a.login()
	state, cache := t.TempDir(), t.TempDir()
	b, end := a.mount(s, state, cache)
	hold.Store(true)
	const size, piece = 17 << 20, remote.MaxContent
	p := pattern(size, 1)
	b.mk(remote.Root, "before", remote.Dir)
	until(t, "a round, during which there is no other", func() bool { return waits.Load() > 0 })
	b.write(b.mk(remote.Root, "f", remote.File), 0, p)
	close(written)
	// Four posts go at a time: when the last of five waits, one of the first two was answered.
	until(t, "posts that wait", func() bool { return held.Load() == 3 })
	end()
	hold.Store(false)
	x.up.Store(0)
	b, end = a.mount(s, state, cache)
	b.drain()
	if up := x.up.Load(); up > size-piece+piece/4 {
		t.Errorf("%d bytes of %d went again", up, size)
	}
	end()
	b, _ = a.mount(a.login(), t.TempDir(), t.TempDir())
	if l, err := b.List(ctx, remote.Root); err != nil || len(l) != 2 || !bytes.Equal(b.read(b.ino(remote.Root, "f")), p) {
		t.Error(l, err)
	}
}

// TestG8MegaCrashLarge loses the answer to the request that makes a large file, and all that the process had in memory. The next one knows the content again: nothing is sent, and there is no second version.
func TestG8MegaCrashLarge(t *testing.T) {
	var x traffic
	var puts atomic.Int32
	a := newAccountBehind(t, func(h http.Handler) http.Handler {
		h = x.wrap(h)
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/cs" {
				body, _ := io.ReadAll(r.Body)
				r.Body = io.NopCloser(bytes.NewReader(body))
				if bytes.Contains(body, []byte(`"a":"p"`)) {
					puts.Add(1)
				}
			}
			h.ServeHTTP(w, r)
		})
	})
	s := a.login()
	state, cache := t.TempDir(), t.TempDir()
	a.maxAge = time.Minute // nothing is sent while it is written
	b, end := a.mount(s, state, cache)
	ino := b.mk(remote.Root, "f", remote.File)
	b.drain()
	puts.Store(0)
	a.server.Faults().Add(megaserver.Fault{On: "p", Lost: true})
	a.server.Faults().Add(megaserver.Fault{On: "p", Drop: true, Times: 1000})
	p := pattern(9<<20, 1)
	b.write(ino, 0, p)
	until(t, "a lost answer", func() bool { return puts.Load() > 1 })
	end()
	a.server.Faults().Clear()
	x.up.Store(0)
	puts.Store(0)
	b, end = a.mount(s, state, cache)
	b.drain()
	if up, n := x.up.Load(), puts.Load(); up != 0 || n != 0 {
		t.Errorf("%d bytes went, and %d requests to make a file", up, n)
	}
	end()
	b, _ = a.mount(a.login(), t.TempDir(), t.TempDir())
	if l, err := b.List(ctx, remote.Root); err != nil || len(l) != 1 || !bytes.Equal(b.read(b.ino(remote.Root, "f")), p) {
		t.Error(l, err)
	}
}
