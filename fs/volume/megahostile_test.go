package volume

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"megafs/remote"
)

// liar stands before a server and changes what it answers.
type liar struct {
	server http.Handler
	mu     sync.Mutex
	spoil  func(path string, asked, answer []byte) []byte // nil: the truth is told
	lies   int                                            // answers that were changed
}

func newLiar(t *testing.T) (*liar, *account) {
	l := &liar{}
	a := newAccountBehind(t, func(h http.Handler) http.Handler { l.server = h; return l })
	return l, a
}

// lie makes the server lie from now on, or, with nil, tell the truth again.
func (l *liar) lie(spoil func(path string, asked, answer []byte) []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.spoil, l.lies = spoil, 0
}

func (l *liar) told() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.lies
}

// ServeHTTP implements http.Handler.
func (l *liar) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	path, _, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	if path == "w" { // where clients wait
		l.server.ServeHTTP(w, r)
		return
	}
	asked, err := io.ReadAll(r.Body)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	r.Body = io.NopCloser(bytes.NewReader(asked))
	rec := httptest.NewRecorder()
	l.server.ServeHTTP(rec, r)
	answer := rec.Body.Bytes()
	l.mu.Lock()
	if l.spoil != nil {
		if other := l.spoil(path, asked, answer); !bytes.Equal(other, answer) {
			l.lies++
			answer = other
		}
	}
	l.mu.Unlock()
	for k, v := range rec.Header() {
		if k != "Content-Length" {
			w.Header()[k] = v
		}
	}
	w.WriteHeader(rec.Code)
	w.Write(answer)
}

// nodes changes each file that an answer to some command, or the events, list.
func nodes(path, command string, change func(map[string]any)) func(string, []byte, []byte) []byte {
	var walk func(any)
	walk = func(x any) {
		switch x := x.(type) {
		case []any:
			for _, y := range x {
				walk(y)
			}
		case map[string]any:
			if _, ok := x["h"].(string); ok && x["t"] == 0. {
				change(x)
			}
			for _, y := range x {
				walk(y)
			}
		}
	}
	return func(at string, asked, answer []byte) []byte {
		if !strings.Contains(path, at) || at == "cs" && !bytes.Contains(asked, []byte(`"a":"`+command+`"`)) {
			return answer
		}
		var x any
		if json.Unmarshal(answer, &x) != nil {
			return answer
		}
		walk(x)
		out, err := json.Marshal(x)
		if err != nil {
			return answer
		}
		return out
	}
}

// TestM27UploadBetrayal: whatever the server makes of an upload, what it did not truly take stays here and is sent again, and who waits for the server to have
// it is not told that it does. In the end the file is there once.
func TestM27UploadBetrayal(t *testing.T) {
	token := func(change func([]byte) []byte) func(string, []byte, []byte) []byte {
		return func(path string, _, answer []byte) []byte {
			if path == "ul" && len(answer) == 36 {
				return change(bytes.Clone(answer))
			}
			return answer
		}
	}
	for name, spoil := range map[string]func(string, []byte, []byte) []byte{
		"a short token":     token(func(b []byte) []byte { return b[:35] }),
		"another token":     token(func(b []byte) []byte { return bytes.Repeat([]byte{b[0]}, 36) }),
		"another key":       nodes("cs", "p", func(n map[string]any) { n["k"] = n["k"].(string)[:20] + "AAAA" + n["k"].(string)[24:] }),
		"another size":      nodes("cs", "p", func(n map[string]any) { n["s"] = n["s"].(float64) + 1 }),
		"another folder":    nodes("cs", "p", func(n map[string]any) { n["p"] = "AAAAAAAA" }),
		"other attributes":  nodes("cs", "p", func(n map[string]any) { n["a"] = "AAAAAAAAAAAAAAAAAAAAAA" }),
		"a size everywhere": nodes("cs sc", "p", func(n map[string]any) { n["s"] = 1 }),
		"nothing was made": func(path string, asked, answer []byte) []byte {
			if path == "cs" && bytes.Contains(asked, []byte(`"a":"p"`)) {
				return []byte(`[{"f":[]}]`)
			}
			return answer
		},
		"something else": func(path string, asked, answer []byte) []byte {
			if path == "cs" && bytes.Contains(asked, []byte(`"a":"p"`)) {
				return []byte(`[[5]]`)
			}
			return answer
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l, a := newLiar(t)
			b, end := a.mount(a.login(), t.TempDir(), t.TempDir())
			b.write(b.mk(remote.Root, "before", remote.File), 0, pattern(10, 1))
			b.drain()
			l.lie(spoil)
			ino := b.mk(remote.Root, "file", remote.File)
			b.write(ino, 0, pattern(200_000, 2))
			c, cancel := context.WithTimeout(ctx, 700*time.Millisecond)
			err := b.Drain(c)
			cancel()
			if l.told() == 0 {
				t.Fatal("the server never lied")
			}
			if err == nil {
				t.Error("it counts as sent")
			}
			if !bytes.Equal(b.read(ino), pattern(200_000, 2)) {
				t.Error("it can't be read")
			}
			l.lie(nil)
			b.drain()
			want := treeOf(b, remote.Root, "", nil)
			if len(want) != 2 || !bytes.Equal(b.read(b.ino(remote.Root, "file")), pattern(200_000, 2)) {
				t.Errorf("in the end there are %d files: %.60q", len(want), want)
			}
			end()
			b2, _ := a.mount(a.login(), t.TempDir(), t.TempDir())
			sameTree(t, "after a fresh log-in", treeOf(b2, remote.Root, "", nil), want)
		})
	}
}
