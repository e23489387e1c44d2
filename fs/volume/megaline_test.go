package volume

import (
	"bytes"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"megafs/remote"
)

// lines counts the connections over which an account is asked for anything but news, and while armed has the question for the quota hang.
type lines struct {
	mu    sync.Mutex
	seen  map[string]bool
	armed bool
	asked chan struct{} // closed when the quota is asked for
	free  chan struct{} // until it is closed there is no answer
}

func (l *lines) count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.seen)
}

func (l *lines) wrap(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !strings.HasPrefix(r.URL.Path, "/cs") && !strings.HasPrefix(r.URL.Path, "/dl") {
			h.ServeHTTP(w, r)
			return
		}
		body, _ := io.ReadAll(r.Body)
		r.Body = io.NopCloser(bytes.NewReader(body))
		l.mu.Lock()
		l.seen[r.RemoteAddr] = true
		armed := l.armed
		l.mu.Unlock()
		switch {
		case !armed:
		case bytes.Contains(body, []byte(`"uq"`)):
			close(l.asked)
			select {
			case <-l.free:
			case <-r.Context().Done():
			}
		case bytes.Contains(body, []byte(`"uga"`)):
			select {
			case <-l.asked:
			case <-time.After(10 * time.Second): // it is not asked for meanwhile
			}
		}
		h.ServeHTTP(w, r)
	})
}

// TestMegaFirstRead: who reads just after a mount waits for no new connection, though the account's quota is being asked for.
func TestMegaFirstRead(t *testing.T) {
	l := &lines{seen: map[string]bool{}, asked: make(chan struct{}), free: make(chan struct{})}
	a := newAccountBehind(t, l.wrap)
	s, want := a.login(), pattern(3<<20, 1)
	b, end := a.mount(s, t.TempDir(), t.TempDir())
	b.write(b.mk(remote.Root, "f", remote.File), 0, want)
	b.drain()
	end()
	l.mu.Lock()
	l.seen, l.armed = map[string]bool{}, true
	l.mu.Unlock()
	defer close(l.free)
	b, _ = a.mount(s, t.TempDir(), t.TempDir())
	before := l.count()
	got := make([]byte, 1)
	h, err := b.Open(ctx, b.ino(remote.Root, "f"), false, false)
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	if _, err := h.ReadAt(ctx, got, 0); err != nil || got[0] != want[0] {
		t.Fatal(got, err)
	}
	if n := l.count(); n > before {
		t.Errorf("a first read made %d new connections", n-before)
	}
}
