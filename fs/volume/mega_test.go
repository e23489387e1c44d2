package volume

import (
	"bytes"
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"megafs/fs/journal"
	"megafs/remote"
	"megafs/remote/blob"
	"megafs/remote/mega"
	"megafs/remote/megaserver"
)

// account is a MEGA account on a server of its own.
type account struct {
	t      *testing.T
	server *megaserver.Server
	url    string
	maxAge time.Duration // of changes in open files, before they are sent; default 10 ms
}

func newAccount(t *testing.T) *account {
	t.Helper()
	return newAccountBehind(t, func(h http.Handler) http.Handler { return h })
}

// newAccountBehind makes an account on a server to which requests come by way of what wrap returns.
func newAccountBehind(t *testing.T, wrap func(http.Handler) http.Handler) *account {
	t.Helper()
	s, err := megaserver.New(megaserver.Options{Blobs: blob.Mem(), Wait: 20 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	h := httptest.NewServer(wrap(s))
	t.Cleanup(func() {
		h.CloseClientConnections()
		h.Close()
		s.Close()
	})
	if err := s.AddAccount(megaserver.NewAccount{Email: "me@example.com", Password: "a password"}); err != nil {
		t.Fatal(err)
	}
	return &account{t: t, server: s, url: h.URL, maxAge: 10 * time.Millisecond}
}

func (a *account) login() *mega.Session {
	a.t.Helper()
	s, err := mega.Login(context.Background(), mega.Credentials{URL: a.url, Email: "Me@example.com", Password: []byte("a password")})
	if err != nil {
		a.t.Fatal(err)
	}
	return s
}

// mount opens the account as a volume, with folders of its own or those given.
func (a *account) mount(s *mega.Session, state, cache string, change ...func(*Options)) (*bench, func()) {
	a.t.Helper()
	log := slog.New(slog.DiscardHandler)
	r, err := mega.Open(mega.Options{Session: s, StateDir: state, Log: log, Retry: 5 * time.Second})
	if err != nil {
		a.t.Fatal(err)
	}
	o := Options{
		Remote: r, StateDir: state, CacheDir: cache, JournalSize: 64 << 20,
		Settle: time.Millisecond, MaxAge: a.maxAge, Poll: 20 * time.Millisecond, Log: log,
		JournalOptions: func(o *journal.Options) { o.SegmentSize = 4 << 20 },
	}
	for _, c := range change {
		c(&o)
	}
	v, err := Open(ctx, o)
	if err != nil {
		r.Close()
		a.t.Fatal(err)
	}
	closed := false
	end := func() {
		if closed {
			return
		}
		closed = true
		if err := v.Close(ctx); err != nil {
			a.t.Error(err)
		}
		if err := r.Close(); err != nil {
			a.t.Error(err)
		}
	}
	a.t.Cleanup(end)
	return &bench{t: a.t, Volume: v}, end
}

// TestOverMega is the way from a write to a MEGA account and back, over remounts, lost caches and a fresh log-in.
func TestOverMega(t *testing.T) {
	a := newAccount(t)
	s := a.login()
	state, cache := t.TempDir(), t.TempDir()
	b, end := a.mount(s, state, cache)
	d := b.mk(remote.Root, "dir", remote.Dir)
	want := map[string][]byte{"empty": {}, "a": pattern(10, 1), "b": pattern(5000, 2), "c": pattern(9<<20, 3), "border": pattern(131072, 4), "d\xff": pattern(1, 5)}
	for n, p := range want {
		ino := b.mk(d, n, remote.File)
		if len(p) > 0 {
			b.write(ino, 0, p)
		}
	}
	b.drain()
	check := func(b *bench, when string) {
		t.Helper()
		for n, p := range want {
			if !bytes.Equal(b.read(b.ino(b.ino(remote.Root, "dir"), n)), p) {
				t.Fatal(when, n)
			}
		}
	}
	check(b, "written")
	// A part of a file, a file replaced by another, a file cut.
	b.write(b.ino(d, "c"), 5<<20, []byte("changed"))
	copy(want["c"][5<<20:], "changed")
	b.write(b.mk(d, "new", remote.File), 0, pattern(70000, 6))
	if err := b.Rename(ctx, d, "new", d, "b", 0, Caller{}); err != nil {
		t.Fatal(err)
	}
	want["b"] = pattern(70000, 6)
	zero := uint64(0)
	if _, err := b.Setattr(ctx, b.ino(d, "a"), SetAttr{Size: &zero}); err != nil {
		t.Fatal(err)
	}
	want["a"] = nil
	mtime, mode := remote.Time(1234567890_123456789), uint16(0o4711)
	if _, err := b.Setattr(ctx, b.ino(d, "border"), SetAttr{Mtime: &mtime, Mode: &mode}); err != nil {
		t.Fatal(err)
	}
	if err := b.Setxattr(ctx, b.ino(d, "border"), "user.x", []byte("y\x00z"), 0); err != nil {
		t.Fatal(err)
	}
	b.drain()
	check(b, "changed")
	end()
	b, end = a.mount(s, state, cache)
	check(b, "mounted again")
	end()
	b, end = a.mount(s, state, t.TempDir())
	check(b, "mounted without a cache")
	end()
	b, _ = a.mount(a.login(), t.TempDir(), t.TempDir())
	check(b, "after a fresh log-in")
	st, err := b.Getattr(ctx, b.ino(b.ino(remote.Root, "dir"), "border"))
	if err != nil || st.Mtime != mtime || st.Mode != mode {
		t.Errorf("%+v %v", st, err)
	}
	if x, err := b.Getxattr(ctx, st.Ino, "user.x"); err != nil || string(x) != "y\x00z" {
		t.Errorf("%q %v", x, err)
	}
	if l, err := b.List(ctx, b.ino(remote.Root, "dir")); err != nil || len(l) != len(want) {
		t.Errorf("%d entries: %v, %v", len(l), l, err)
	}
}
