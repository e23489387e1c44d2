package volume

import (
	"bytes"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"

	"megafs/remote"
)

// TestG8MegaLateMoves lets requests that rename and move a file come to the server long after the process that sent them is gone, when the next one has renamed and moved it elsewhere, or
// back. The file is where it was put last.
func TestG8MegaLateMoves(t *testing.T) {
	var hold, held atomic.Bool
	var url string
	var body, want []byte
	var server http.Handler
	a := newAccountBehind(t, func(h http.Handler) http.Handler {
		server = h
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if hold.Load() && r.URL.Path == "/cs" {
				b, _ := io.ReadAll(r.Body)
				r.Body = io.NopCloser(bytes.NewReader(b))
				if bytes.Contains(b, want) {
					if !held.Load() {
						url, body = r.URL.String(), b
						held.Store(true)
					}
					panic(http.ErrAbortHandler)
				}
			}
			h.ServeHTTP(w, r)
		})
	})
	s := a.login()
	state, cache := t.TempDir(), t.TempDir()
	b, end := a.mount(s, state, cache)
	for _, d := range []string{"d", "e"} {
		b.mk(remote.Root, d, remote.Dir)
	}
	b.write(b.mk(remote.Root, "f", remote.File), 0, pattern(100, 1))
	b.drain()
	dir := func(name string) remote.Ino {
		if name == "" {
			return remote.Root
		}
		return b.ino(remote.Root, name)
	}
	rename := func(d1, n1, d2, n2 string) {
		t.Helper()
		if err := b.Rename(ctx, dir(d1), n1, dir(d2), n2, 0, Caller{}); err != nil {
			t.Fatal(err)
		}
	}
	other, _ := a.mount(a.login(), t.TempDir(), t.TempDir())
	for i, c := range []struct {
		command            string
		dir, name, in, now string // where the file is to be first, and then
	}{{`"a":"a"`, "", "g", "", "f"}, {`"a":"m"`, "d", "f", "e", "f"}} {
		want = []byte(c.command)
		held.Store(false)
		hold.Store(true)
		rename("", "f", c.dir, c.name)
		until(t, "a request", held.Load)
		end()
		hold.Store(false)
		b, end = a.mount(s, state, cache)
		rename(c.dir, c.name, c.in, c.now)
		b.drain()
		before := treeOf(b, remote.Root, "", nil)
		server.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("POST", url, bytes.NewReader(body)))
		// Whoever is told of a change that was made later has been told of all this.
		mark := fmt.Sprint("mark ", i)
		b.mk(remote.Root, mark, remote.Dir)
		b.drain()
		before["/"+mark] = treeOf(b, remote.Root, "", nil)["/"+mark]
		until(t, mark, func() bool { return treeOf(other, remote.Root, "", nil)["/"+mark] != "" })
		for _, x := range []*bench{other, b} {
			until(t, fmt.Sprintf("%+v", c), func() bool { return maps.Equal(treeOf(x, remote.Root, "", nil), before) })
		}
		rename(c.in, c.now, "", "f")
		b.drain()
	}
}
