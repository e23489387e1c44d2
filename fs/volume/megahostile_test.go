package volume

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"megafs/remote"
	"megafs/remote/megaserver"
)

// liar stands before a server and changes what it answers.
type liar struct {
	server  http.Handler
	mu      sync.Mutex
	spoil   func(path string, asked, answer []byte) []byte // nil: the truth is told
	lies    int                                            // answers that were changed
	changed chan struct{}                                  // closed when spoil is another one
}

func newLiar(t *testing.T) (*liar, *account) {
	l := &liar{changed: make(chan struct{})}
	a := newAccountBehind(t, func(h http.Handler) http.Handler { l.server = h; return l })
	return l, a
}

// lie makes the server lie from now on, or, with nil, tell the truth again. Clients that wait are told to ask.
func (l *liar) lie(spoil func(path string, asked, answer []byte) []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.spoil, l.lies = spoil, 0
	close(l.changed)
	l.changed = make(chan struct{})
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
		l.mu.Lock()
		changed := l.changed
		l.mu.Unlock()
		c, cancel := context.WithCancel(r.Context())
		defer cancel()
		go func() {
			select {
			case <-changed:
				cancel()
			case <-c.Done():
			}
		}()
		l.server.ServeHTTP(w, r.WithContext(c))
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
	refused := func(code string) func(string, []byte, []byte) []byte { // says so, when it was not
		return func(path string, asked, answer []byte) []byte {
			if path == "cs" && bytes.Contains(asked, []byte(`"a":"p"`)) {
				return []byte("[" + code + "]")
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
		"busy, and made":          refused("-3"),
		"no such thing, and made": refused("-9"),
		"expired, and made":       refused("-8"),
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
			if err == nil && a.used(a.login()) < 10+200_000 { // events may have said meanwhile that it was made after all
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
			s := a.login()
			b2, _ := a.mount(s, t.TempDir(), t.TempDir())
			sameTree(t, "after a fresh log-in", treeOf(b2, remote.Root, "", nil), want)
			if n := a.used(s); strings.HasSuffix(name, ", and made") && n != 10+200_000 {
				t.Errorf("%d bytes are at the server", n)
			}
		})
	}
}

// halved makes the client ask for the whole tree, and lists every second folder of it only, or all.
func halved(all bool) func(string, []byte, []byte) []byte {
	told := false
	return func(path string, asked, answer []byte) []byte {
		if path == "sc" && !told {
			told = true
			return []byte("-6") // nobody knows what happened since
		}
		var f []map[string]any
		if all || path != "cs" || !bytes.Contains(asked, []byte(`"a":"f"`)) || json.Unmarshal(answer, &f) != nil {
			return answer
		}
		var left []any
		for i, n := range f[0]["f"].([]any) {
			if n.(map[string]any)["t"] != 1. || i%2 == 0 {
				left = append(left, n)
			}
		}
		f[0]["f"] = left
		out, _ := json.Marshal(f)
		return out
	}
}

// TestM32MassDisappearance takes half of an account's tree away, and then gives it back. What was not sent before is neither lost nor held back, nothing can be put into a
// folder that is gone, and in the end all that was there is there again.
func TestM32MassDisappearance(t *testing.T) {
	l, a := newLiar(t)
	b, end := a.mount(a.login(), t.TempDir(), t.TempDir())
	var dirs []remote.Ino
	for i := range 12 {
		dirs = append(dirs, b.mk(remote.Root, fmt.Sprint("d", i), remote.Dir))
		b.write(b.mk(dirs[i], "old", remote.File), 0, pattern(1000, i))
		b.write(b.mk(dirs[i], "changed", remote.File), 0, pattern(1000, 100+i))
	}
	b.drain()
	// The server takes nothing, so what is written now is not sent before the tree is cut.
	for _, command := range []string{"p", "m", "a"} {
		a.server.Faults().Add(megaserver.Fault{On: command, Code: -1, Times: 1 << 30})
	}
	const clean = 4 // folders in which nothing is written
	for i, d := range dirs[clean:] {
		i += clean
		b.write(b.ino(d, "changed"), 0, pattern(1100, 200+i))
		b.write(b.mk(d, "new", remote.File), 0, pattern(500, i))
	}
	l.lie(halved(false))
	gone := func() (out []remote.Ino) {
		for _, d := range dirs {
			if _, err := b.Lookup(ctx, d, "old"); err != nil {
				out = append(out, d)
			}
		}
		return out
	}
	until(t, "half of the tree going", func() bool { return len(gone()) == len(dirs)/2 })
	for _, d := range gone() {
		_, err := b.Make(ctx, d, "late", remote.File, 0o644, 0, "", Caller{})
		if i := slices.Index(dirs, d); i < clean && err == nil {
			t.Errorf("a file is made in d%d, which is gone", i)
		}
	}
	l.lie(nil)
	a.server.Faults().Clear()
	b.drain()
	// missing returns the first of some contents that no file has. Folders that were made anew here and those that come back may have each other's names.
	missing := func(from int, of ...func(i int) []byte) []byte {
		all := map[string]bool{}
		for _, s := range treeOf(b, remote.Root, "", nil) {
			all[s[strings.LastIndexByte(s, ' ')+1:]] = true
		}
		for i := from; i < len(dirs); i++ {
			for _, p := range of {
				if !all[fmt.Sprintf("%x", p(i))] {
					return p(i)
				}
			}
		}
		return nil
	}
	changed, fresh := func(i int) []byte { return pattern(1100, 200+i) }, func(i int) []byte { return pattern(500, i) }
	if p := missing(clean, changed, fresh); p != nil {
		t.Errorf("%d bytes that were written before are not there", len(p))
	}
	l.lie(halved(true))
	until(t, "the tree coming back", func() bool { return missing(0, func(i int) []byte { return pattern(1000, i) }) == nil })
	l.lie(nil)
	b.drain()
	if p := missing(clean, changed, fresh); p != nil {
		t.Errorf("%d bytes that were written before are not there after all came back", len(p))
	}
	want := treeOf(b, remote.Root, "", nil)
	end()
	b2, _ := a.mount(a.login(), t.TempDir(), t.TempDir())
	sameTree(t, "after a fresh log-in", treeOf(b2, remote.Root, "", nil), want)
}

// TestM35Laundering changes a part of files whose content at the server is not what was stored: it is not uploaded again as if it were right, nothing stands in its place, and
// the file is kept back with the reason. One that is overwritten as a whole needs nothing of the old content.
func TestM35Laundering(t *testing.T) {
	l, a := newLiar(t)
	b, end := a.mount(a.login(), t.TempDir(), t.TempDir())
	old := map[string][]byte{"part": pattern(300_000, 1), "big": pattern(20<<20, 2), "whole": pattern(300_000, 3)}
	for name, p := range old {
		b.write(b.mk(remote.Root, name, remote.File), 0, p)
	}
	b.drain()
	end()
	l.lie(func(path string, _, answer []byte) []byte {
		if path != "dl" || len(answer) == 0 {
			return answer
		}
		flipped := bytes.Clone(answer)
		flipped[len(flipped)/2] ^= 1
		return flipped
	})
	b, end = a.mount(a.login(), t.TempDir(), t.TempDir()) // a machine that knows nothing of it
	part, big := b.ino(remote.Root, "part"), b.ino(remote.Root, "big")
	b.write(part, 100_000, []byte("changed"))
	b.write(big, 10<<20, []byte("changed"))
	c, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	if err := b.Drain(c); err == nil || c.Err() != nil {
		t.Fatal("it counts as sent:", err)
	}
	for _, ino := range []remote.Ino{part, big} {
		if err := b.eng.Failed(ino); !remote.Is(err, remote.Integrity) {
			t.Errorf("%d is kept back because of %v", ino, err)
		}
	}
	if s := b.Status(); len(s.Failed) != 2 || s.State != "degraded" {
		t.Errorf("%+v", s)
	}
	h, err := b.Open(ctx, part, false, false)
	if err != nil {
		t.Fatal(err)
	}
	got := make([]byte, 100)
	if n, err := h.ReadAt(ctx, got, 0); !remote.Is(err, remote.Integrity) {
		t.Error("what was there before is read:", n, err)
	}
	h.Close()
	b.write(b.ino(remote.Root, "whole"), 0, pattern(300_000, 4))
	until(t, "a whole file that is sent", func() bool { return !b.tree.Changed(b.ino(remote.Root, "whole")) })
	l.lie(nil)
	end()
	old["whole"] = pattern(300_000, 4)
	b, _ = a.mount(a.login(), t.TempDir(), t.TempDir())
	for name, p := range old {
		if !bytes.Equal(b.read(b.ino(remote.Root, name)), p) {
			t.Errorf("%s is not as it was", name)
		}
	}
	if l, err := b.List(ctx, remote.Root); err != nil || len(l) > len(old)+2 {
		t.Errorf("%v, %v", l, err)
	}
}
