package volume

import (
	"bytes"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"megafs/remote"
	"megafs/remote/mega"
	"megafs/remote/megaserver"
)

// until waits for something that another goroutine brings about.
func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("it never comes to ", what)
		}
	}
}

// treeOf tells a whole tree: names, types, sizes, times, contents.
func treeOf(b *bench, dir remote.Ino, at string, out map[string]string) map[string]string {
	b.t.Helper()
	if out == nil {
		out = map[string]string{}
	}
	l, err := b.List(ctx, dir)
	if err != nil {
		out[at] = err.Error()
	}
	for _, e := range l {
		if e.Name == "." || e.Name == ".." {
			continue
		}
		st, err := b.Getattr(ctx, e.Ino)
		if err != nil { // what another machine does comes in meanwhile
			out[at+"/"+e.Name] = err.Error()
			continue
		}
		s := fmt.Sprintf("%d %o", st.Type, st.Mode)
		if st.Type == remote.File {
			s += fmt.Sprintf(" %d %x", st.Mtime, readAll(b, e.Ino, st.Size))
		}
		out[at+"/"+e.Name] = s
		if st.Type == remote.Dir {
			treeOf(b, e.Ino, at+"/"+e.Name, out)
		}
	}
	return out
}

// readAll returns a file's content, or why it can't be had.
func readAll(b *bench, ino remote.Ino, size uint64) []byte {
	h, err := b.Open(ctx, ino, false, false)
	if err != nil {
		return []byte(err.Error())
	}
	defer h.Close()
	p := make([]byte, size)
	n, err := h.ReadAt(ctx, p, 0)
	if err != nil {
		return []byte(err.Error())
	}
	return p[:n]
}

// used is how many bytes the account has at the server: older versions and the rubbish bin count.
func (a *account) used(s *mega.Session) uint64 {
	a.t.Helper()
	u, err := mega.Quota(ctx, s)
	if err != nil {
		a.t.Fatal(err)
	}
	return u.Used
}

func sameTree(t *testing.T, what string, got, want map[string]string) {
	t.Helper()
	for k, v := range want {
		if got[k] != v {
			t.Errorf("%s: %s is %.80q, want %.80q", what, k, got[k], v)
		}
	}
	for k := range got {
		if _, ok := want[k]; !ok {
			t.Errorf("%s: there is %s", what, k)
		}
	}
}

// TestG8MegaFaults makes the server fail at each kind of request, before and after it did what it was asked, while files are made, changed, moved and
// removed: in the end everything is there once, also for whoever logs in anew.
func TestG8MegaFaults(t *testing.T) {
	seed := rand.Uint64()
	t.Log("seed", seed)
	r := rand.New(rand.NewPCG(seed, 1))
	a := newAccount(t)
	s := a.login()
	b, end := a.mount(s, t.TempDir(), t.TempDir())
	rounds := 2
	if os.Getenv("MEGAFS_LONG") != "" {
		rounds = 20
	}
	for round := range rounds {
		for range 6 {
			f := megaserver.Fault{On: []string{"p", "m", "a", "u", "ul", "dl", "g", "sc", "w"}[r.IntN(9)], Skip: r.IntN(3)}
			switch r.IntN(4) {
			case 0:
				f.Status = 500
			case 1:
				f.Drop = true
			case 2:
				f.Lost = true
			case 3:
				f.Code = -3
			}
			a.server.Faults().Add(f)
		}
		d := b.mk(remote.Root, fmt.Sprint("d", round), remote.Dir)
		for i := range 5 {
			b.write(b.mk(d, fmt.Sprint("f", i), remote.File), 0, pattern(1+r.IntN(300_000), i))
		}
		b.drain()
		b.write(b.ino(d, "f0"), 10, []byte("changed"))
		if err := b.Rename(ctx, d, "f1", remote.Root, fmt.Sprint("g", round), 0, Caller{}); err != nil {
			t.Fatal(err)
		}
		if err := b.Rename(ctx, d, "f2", d, "f3", 0, Caller{}); err != nil {
			t.Fatal(err)
		}
		if err := b.Unlink(ctx, d, "f4"); err != nil {
			t.Fatal(err)
		}
		b.drain()
	}
	a.server.Faults().Clear()
	t.Log("faults that happened:", a.server.Faults().Hits())
	want := treeOf(b, remote.Root, "", nil)
	if len(want) != rounds*4 {
		t.Errorf("%d names, want %d: %q", len(want), rounds*4, slices.Sorted(maps.Keys(want)))
	}
	end()
	b2, _ := a.mount(a.login(), t.TempDir(), t.TempDir())
	sameTree(t, "after a fresh log-in", treeOf(b2, remote.Root, "", nil), want)
}

// TestG8MegaCrash loses the answer to the request that makes a file, and all that the process had in memory. The file is there once, and in one version.
func TestG8MegaCrash(t *testing.T) {
	a := newAccount(t)
	s := a.login()
	state, cache := t.TempDir(), t.TempDir()
	b, end := a.mount(s, state, cache)
	b.write(b.mk(remote.Root, "first", remote.File), 0, pattern(100, 1))
	b.drain()
	a.server.Faults().Add(megaserver.Fault{On: "p", Lost: true})
	a.server.Faults().Add(megaserver.Fault{On: "p", Drop: true, Times: 1000})
	b.write(b.mk(remote.Root, "second", remote.File), 0, pattern(200, 2))
	until(t, "a lost answer", func() bool { return a.server.Faults().Hits() > 1 })
	end()
	a.server.Faults().Clear()
	b, _ = a.mount(s, state, cache)
	b.drain()
	b2, _ := a.mount(a.login(), t.TempDir(), t.TempDir())
	for who, b := range map[string]*bench{"here": b, "anew": b2} {
		if got := treeOf(b, remote.Root, "", nil); len(got) != 2 {
			t.Errorf("%s: %d names: %v", who, len(got), got)
		}
		if !bytes.Equal(b.read(b.ino(remote.Root, "second")), pattern(200, 2)) {
			t.Error(who, ": another content")
		}
	}
	if n := a.used(s); n != 100+200 {
		t.Errorf("%d bytes are at the server", n)
	}
}

// TestG8MegaCrashChanged loses the answers to requests that rename and replace, and the process, after which these files were renamed once more here. What the dead process did at the
// server is not taken for another's doing.
func TestG8MegaCrashChanged(t *testing.T) {
	a := newAccount(t)
	s := a.login()
	state, cache := t.TempDir(), t.TempDir()
	b, end := a.mount(s, state, cache)
	for _, name := range []string{"moves", "changes"} {
		b.write(b.mk(remote.Root, name, remote.File), 0, pattern(100, 1))
	}
	b.drain()
	rename := func(from, to string) {
		t.Helper()
		if err := b.Rename(ctx, remote.Root, from, remote.Root, to, 0, Caller{}); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		on string
		do func()
	}{{"p", func() { b.write(b.ino(remote.Root, "changes"), 0, pattern(200, 2)) }}, {"a", func() { rename("moves", "moved") }}} {
		hits := a.server.Faults().Hits()
		a.server.Faults().Add(megaserver.Fault{On: c.on, Lost: true})
		a.server.Faults().Add(megaserver.Fault{On: c.on, Drop: true, Times: 1000})
		c.do()
		until(t, "a lost answer", func() bool { return a.server.Faults().Hits() > hits+1 })
		if c.on == "a" {
			rename("moved", "again")
		} else {
			b.write(b.ino(remote.Root, "changes"), 0, pattern(300, 3))
		}
		end()
		a.server.Faults().Clear()
		b, end = a.mount(s, state, cache)
		b.drain()
	}
	b2, _ := a.mount(a.login(), t.TempDir(), t.TempDir())
	for who, b := range map[string]*bench{"here": b, "anew": b2} {
		if got := treeOf(b, remote.Root, "", nil); len(got) != 2 || got["/again"] == "" || got["/changes"] == "" {
			t.Errorf("%s: %v", who, slices.Sorted(maps.Keys(got)))
		}
		if !bytes.Equal(b.read(b.ino(remote.Root, "changes")), pattern(300, 3)) {
			t.Error(who, ": another content")
		}
	}
	if n := a.used(s); n != 100+100+200+300 {
		t.Errorf("%d bytes are at the server", n)
	}
}

// TestG8MegaCrashReread loses an answer and the process, and then the server does not have the events since. What another machine did meanwhile is not taken for what was sent from here: where
// both changed a file, both versions are there.
func TestG8MegaCrashReread(t *testing.T) {
	a := newAccount(t)
	s := a.login()
	state, cache := t.TempDir(), t.TempDir()
	b, end := a.mount(s, state, cache)
	b.write(b.mk(remote.Root, "first", remote.File), 0, pattern(100, 1))
	b.drain()
	a.server.Faults().Add(megaserver.Fault{On: "p", Lost: true})
	a.server.Faults().Add(megaserver.Fault{On: "p", Drop: true, Times: 1000})
	b.write(b.mk(remote.Root, "second", remote.File), 0, pattern(200, 2))
	until(t, "a lost answer", func() bool { return a.server.Faults().Hits() > 1 })
	b.write(b.ino(remote.Root, "first"), 0, pattern(300, 3))
	end()
	a.server.Faults().Clear()
	b2, end2 := a.mount(a.login(), t.TempDir(), t.TempDir())
	b2.write(b2.ino(remote.Root, "first"), 0, pattern(400, 4))
	b2.drain()
	end2()
	a.server.Faults().Add(megaserver.Fault{On: "sc", Code: -6})
	b, _ = a.mount(s, state, cache)
	b.drain()
	if a.server.Faults().Hits() == 0 || a.used(s) != 100+200+300+400 {
		t.Errorf("%d bytes are at the server", a.used(s))
	}
	b2, _ = a.mount(a.login(), t.TempDir(), t.TempDir())
	for who, b := range map[string]*bench{"here": b, "anew": b2} {
		sizes := map[int]string{}
		for name := range treeOf(b, remote.Root, "", nil) {
			st, err := b.Lookup(ctx, remote.Root, name[1:])
			if err != nil {
				t.Fatal(err)
			}
			sizes[int(st.Size)] = name
		}
		if len(sizes) != 3 || sizes[200] != "/second" || sizes[400] != "/first" || sizes[300] == "" {
			t.Errorf("%s: %v", who, sizes)
		}
	}
}

// TestG8MegaPart lets the server refuse one request in the middle of what is to be sent. What went before it is not sent again.
func TestG8MegaPart(t *testing.T) {
	a := newAccount(t)
	s := a.login()
	b, end := a.mount(s, t.TempDir(), t.TempDir())
	const files = 60 // more than go in one request
	sum := uint64(0)
	a.server.Faults().Add(megaserver.Fault{On: "p", Delay: 200 * time.Millisecond}) // while the others gather
	a.server.Faults().Add(megaserver.Fault{On: "p", Skip: 1, Code: -3})
	for i := range files {
		b.write(b.mk(remote.Root, fmt.Sprint("f", i), remote.File), 0, pattern(1000+i, i))
		if sum += 1000 + uint64(i); i == 0 {
			until(t, "a request", func() bool { return a.server.Faults().Hits() > 0 })
		}
	}
	b.drain()
	if a.server.Faults().Hits() != 2 {
		t.Error("nothing was refused")
	}
	if n := a.used(s); n != sum {
		t.Errorf("%d bytes are at the server, of %d", n, sum)
	}
	b.write(b.ino(remote.Root, "f0"), 0, []byte("changed"))
	b.drain()
	if n := a.used(s); n != sum+1000 {
		t.Errorf("%d bytes are at the server after a change, of %d", n, sum+1000)
	}
	end()
}

// TestG8MegaLate lets the request that makes a file come to the server long after the process that sent it is gone, when the next one has made the file already, changed it or
// removed it. The file is there once, or not at all.
func TestG8MegaLate(t *testing.T) {
	var late struct {
		http.Handler
		hold, held atomic.Bool
		url        string
		body       []byte
	}
	a := newAccountBehind(t, func(h http.Handler) http.Handler {
		late.Handler = h
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if late.hold.Load() && r.URL.Path == "/cs" {
				body, _ := io.ReadAll(r.Body)
				r.Body = io.NopCloser(bytes.NewReader(body))
				if bytes.Contains(body, []byte(`"a":"p"`)) {
					if !late.held.Load() {
						late.url, late.body = r.URL.String(), body
						late.held.Store(true)
					}
					panic(http.ErrAbortHandler)
				}
			}
			h.ServeHTTP(w, r)
		})
	})
	for name, then := range map[string]func(b *bench){
		"made":    func(b *bench) {},
		"changed": func(b *bench) { b.write(b.ino(remote.Root, "changed"), 0, pattern(300, 3)) },
		"removed": func(b *bench) {
			if err := b.Unlink(ctx, remote.Root, "removed"); err != nil {
				t.Fatal(err)
			}
		},
	} {
		s := a.login()
		state, cache := t.TempDir(), t.TempDir()
		b, end := a.mount(s, state, cache)
		b.write(b.mk(remote.Root, "before", remote.File), 0, pattern(100, 1))
		b.drain()
		late.held.Store(false)
		late.hold.Store(true)
		b.write(b.mk(remote.Root, name, remote.File), 0, pattern(200, 2))
		until(t, "a request", late.held.Load)
		end()
		late.hold.Store(false)
		b, end = a.mount(s, state, cache)
		b.drain()
		then(b)
		b.drain()
		want := treeOf(b, remote.Root, "", nil)
		late.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("POST", late.url, bytes.NewReader(late.body)))
		anew := func() map[string]string {
			b, end := a.mount(a.login(), t.TempDir(), t.TempDir())
			defer end()
			return treeOf(b, remote.Root, "", nil)
		}
		var got map[string]string
		for stop := time.Now().Add(10 * time.Second); time.Now().Before(stop); time.Sleep(50 * time.Millisecond) {
			if got = anew(); maps.Equal(got, want) {
				break
			}
		}
		sameTree(t, name+", after a fresh log-in", got, want)
		sameTree(t, name, treeOf(b, remote.Root, "", nil), want)
		if err := b.Unlink(ctx, remote.Root, "before"); err != nil {
			t.Fatal(err)
		}
		b.drain()
		end()
	}
}

// TestG7MegaTwo lets two machines work in one account at the same time. In the end both see the same, and so does who logs in anew.
func TestG7MegaTwo(t *testing.T) {
	seed := rand.Uint64()
	t.Log("seed", seed)
	r := rand.New(rand.NewPCG(seed, 2))
	a := newAccount(t)
	var s [2]*mega.Session
	var b [2]*bench
	for i := range b {
		s[i] = a.login()
		b[i], _ = a.mount(s[i], t.TempDir(), t.TempDir())
	}
	dirs := func(x *bench) []remote.Ino {
		out := []remote.Ino{remote.Root}
		l, _ := x.List(ctx, remote.Root)
		for _, e := range l {
			if e.Type == remote.Dir && e.Name != "." && e.Name != ".." {
				out = append(out, e.Ino)
			}
		}
		return out
	}
	for step := range 150 {
		x := b[r.IntN(2)]
		ds := dirs(x)
		d, e := ds[r.IntN(len(ds))], ds[r.IntN(len(ds))]
		name, other := fmt.Sprint("n", r.IntN(6)), fmt.Sprint("n", r.IntN(6))
		switch r.IntN(6) {
		case 0:
			x.Make(ctx, remote.Root, fmt.Sprint("d", r.IntN(3)), remote.Dir, 0o755, 0, "", Caller{})
		case 1, 2:
			st, err := x.Lookup(ctx, d, name)
			if err != nil {
				st, err = x.Make(ctx, d, name, remote.File, 0o644, 0, "", Caller{})
			}
			if err == nil && st.Type == remote.File {
				if h, err := x.Open(ctx, st.Ino, true, r.IntN(2) == 0); err == nil {
					h.WriteAt(ctx, pattern(1+r.IntN(5000), step), 0, false)
					h.Close()
				}
			}
		case 3:
			x.Rename(ctx, d, name, e, other, 0, Caller{})
		case 4:
			x.Unlink(ctx, d, name)
		case 5:
			if r.IntN(3) == 0 {
				x.drain()
			}
		}
	}
	for range 3 {
		b[0].drain()
		b[1].drain()
	}
	var one, two map[string]string
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		one, two = treeOf(b[0], remote.Root, "", nil), treeOf(b[1], remote.Root, "", nil)
		if maps.Equal(one, two) {
			break
		}
		if time.Now().After(end) {
			sameTree(t, "the other machine", two, one)
			t.Fatal(b[0].Status().LastError, b[1].Status().LastError)
		}
	}
	if len(one) == 0 {
		t.Error("nothing is left")
	}
	b3, _ := a.mount(a.login(), t.TempDir(), t.TempDir())
	sameTree(t, "after a fresh log-in", treeOf(b3, remote.Root, "", nil), one)
}
