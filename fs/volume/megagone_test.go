package volume

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"megafs/remote"
	"megafs/remote/mega"
)

// another is a client of the same account that knows nothing but the server's commands.
type another struct {
	*account
	s *mega.Session
	n int
}

// entry is a node as the server lists it.
type entry struct {
	H, P, A, K string
	T          int
	S          int64
}

// ask sends a command.
func (x *another) ask(c map[string]any, into any) {
	x.t.Helper()
	x.n++
	b, _ := json.Marshal([]any{c})
	r, err := http.Post(x.url+"/cs?id=another"+strings.Repeat("x", x.n)+"&sid="+x.s.SID, "application/json", bytes.NewReader(b))
	if err != nil {
		x.t.Fatal(err)
	}
	defer r.Body.Close()
	b, err = io.ReadAll(r.Body)
	out := []any{into}
	if err == nil {
		err = json.Unmarshal(b, &out)
	}
	if err != nil {
		x.t.Fatal(err, string(b))
	}
}

// list returns all nodes.
func (x *another) list() []entry {
	x.t.Helper()
	var l struct{ F []entry }
	x.ask(map[string]any{"a": "f", "c": 1, "r": 1}, &l)
	for i := range l.F {
		_, l.F[i].K, _ = strings.Cut(l.F[i].K, ":")
	}
	return l.F
}

// TestMegaGoneMeanwhile: another client removes a file that was moved here, or its folder, or makes a new version of it. This machine hears of that together with what it did before itself, after
// a commit that failed. What was written to the file since is kept as it was written.
func TestMegaGoneMeanwhile(t *testing.T) {
	for _, what := range []string{"file", "version", "version and folder", "version in a folder"} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			a := newAccountBehind(t, func(h http.Handler) http.Handler {
				return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					if strings.HasPrefix(r.URL.Path, "/w/") { // there are no news until they are asked for
						<-r.Context().Done()
						return
					}
					h.ServeHTTP(w, r)
				})
			})
			s := a.login()
			b, _ := a.mount(s, t.TempDir(), t.TempDir())
			e, d := b.mk(remote.Root, "e", remote.Dir), b.mk(remote.Root, "d", remote.Dir)
			f := b.mk(remote.Root, "f", remote.File)
			b.write(f, 0, pattern(1000, 1))
			b.write(b.mk(d, "g", remote.File), 0, pattern(1001, 2))
			b.drain()
			for _, m := range []struct {
				to   remote.Ino
				name string
			}{{d, "f"}, {e, "d"}} {
				if m.name == "d" && what != "version in a folder" {
					continue
				}
				if err := b.Rename(ctx, remote.Root, m.name, m.to, m.name, 0, Caller{}); err != nil {
					t.Fatal(err)
				}
				b.drain()
			}
			x := &another{account: a, s: s}
			var rubbish string
			var file, other entry
			for _, n := range x.list() {
				switch {
				case n.S == 1000:
					file = n
				case n.S == 1001:
					other = n
				case n.T == 4:
					rubbish = n.H
				}
			}
			if strings.HasPrefix(what, "version") {
				x.ask(map[string]any{"a": "p", "t": file.P, "n": []any{map[string]any{"h": other.H, "t": 0, "a": other.A, "k": other.K, "ov": file.H}}}, new(any))
			}
			switch {
			case what == "file":
				x.ask(map[string]any{"a": "m", "n": file.H, "t": rubbish}, new(any))
			case what == "version and folder":
				x.ask(map[string]any{"a": "m", "n": file.P, "t": rubbish}, new(any))
			}
			want := pattern(1000, 1)
			if what == "version in a folder" {
				copy(want[500:], "changed")
				b.write(f, 500, []byte("changed"))
			} else {
				want = pattern(1091, 3)
				h, err := b.Open(ctx, f, true, true)
				if err != nil {
					t.Fatal(err)
				}
				if _, err := h.WriteAt(ctx, want, 0, false); err != nil {
					t.Fatal(err)
				}
				h.Close()
			}
			until(t, "all is sent", func() bool { // what failed is tried again at once by who waits for it anew
				c, cancel := context.WithTimeout(ctx, 100*time.Millisecond)
				defer cancel()
				return b.Drain(c) == nil
			})
			again, _ := a.mount(s, t.TempDir(), t.TempDir())
			for _, b := range []*bench{b, again} {
				kept, all := false, treeOf(b, remote.Root, "", nil)
				for _, c := range all {
					kept = kept || strings.HasSuffix(c, fmt.Sprintf(" %x", want))
				}
				if !kept {
					t.Errorf("what was written is nowhere: %.60q", all)
				}
			}
		})
	}
}
