package volume

import (
	"fmt"
	"log/slog"
	"testing"
	"time"

	"megafs/remote"
	"megafs/remote/mega"
	"megafs/remote/megaserver"
)

// TestMegaSharedNameTaken makes a folder with the name under which shares are shown, which is not sent before they are asked for: the two become one, and what is in it
// gets to the account's root, here and for all others, and nothing waits for ever.
func TestMegaSharedNameTaken(t *testing.T) {
	a := newAccount(t)
	s := a.login()
	state, cache := t.TempDir(), t.TempDir()
	open := func(state, cache string, shared bool) (*bench, func()) {
		t.Helper()
		log := slog.New(slog.DiscardHandler)
		r, err := mega.Open(mega.Options{Session: s, StateDir: state, Log: log, Retry: 20 * time.Millisecond, Shared: shared})
		if err != nil {
			t.Fatal(err)
		}
		v, err := Open(ctx, Options{Remote: r, StateDir: state, CacheDir: cache, JournalSize: 64 << 20, Settle: time.Millisecond, MaxAge: 10 * time.Millisecond, Poll: 20 * time.Millisecond, Log: log})
		if err != nil {
			t.Fatal(err)
		}
		return &bench{t: t, Volume: v}, func() { v.Close(ctx); r.Close() }
	}
	paths := func(b *bench) (out []string) {
		t.Helper()
		var walk func(dir remote.Ino, path string)
		walk = func(dir remote.Ino, path string) {
			l, err := b.List(ctx, dir)
			if err != nil {
				t.Fatal(err)
			}
			for _, x := range l {
				out = append(out, path+x.Name)
				if x.Type == remote.Dir {
					walk(x.Ino, path+x.Name+"/")
				}
			}
		}
		walk(remote.Root, "")
		return out
	}
	b, end := open(state, cache, false)
	a.server.Faults().Add(megaserver.Fault{Status: 500, Times: 1 << 20})
	d := b.mk(remote.Root, "Shared with me", remote.Dir)
	b.write(b.mk(d, "file", remote.File), 0, []byte("mine"))
	b.mk(b.mk(d, "dir", remote.Dir), "deep", remote.Dir)
	end()
	a.server.Faults().Clear()
	b, end = open(state, cache, true)
	b.drain()
	const want = "[Shared with me dir dir/deep file]"
	if got := fmt.Sprint(paths(b)); got != want || string(b.read(b.ino(remote.Root, "file"))) != "mine" {
		t.Errorf("here: %s", got)
	}
	if st, err := b.Getattr(ctx, b.ino(remote.Root, "Shared with me")); err != nil || st.Mode != 0o555 {
		t.Errorf("%+v, %v", st, err)
	}
	end()
	b, end = open(t.TempDir(), t.TempDir(), true)
	defer end()
	if got := fmt.Sprint(paths(b)); got != want {
		t.Errorf("elsewhere: %s", got)
	}
}
