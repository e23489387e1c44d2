package blob

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"megafs/remote"
)

func TestListMatchesSorting(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	s, dir, _ := newDir(t)
	s.room = 2 // so that each folder is read several times
	var all []string
	for len(all) < 1500 {
		n := []string{"l/", "o/a/", "o/a-b/", "o/a0/", "", "z-/"}[rng.IntN(6)] + fmt.Sprintf("%c%x", "-0az"[rng.IntN(4)], rng.IntN(1<<16))
		if slices.Contains(all, n) {
			continue
		}
		all = append(all, n)
		os.MkdirAll(filepath.Join(dir, filepath.Dir(n)), 0o700) // Put would sync each
		if err := os.WriteFile(filepath.Join(dir, n), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	slices.Sort(all)
	for range 60 {
		prefix, after := all[rng.IntN(len(all))], all[rng.IntN(len(all))]
		prefix, after = prefix[:rng.IntN(len(prefix))], after[:rng.IntN(len(after)+1)]
		want := slices.DeleteFunc(slices.Clone(all), func(n string) bool { return !strings.HasPrefix(n, prefix) || n <= after })
		if got := listed(t, s, prefix, after); !slices.Equal(got, want) {
			t.Fatalf("prefix %q after %q: %d names, want %d", prefix, after, len(got), len(want))
		}
	}
}

// TestListForeign puts what is not ours into the folder: it is passed over and not followed.
func TestListForeign(t *testing.T) {
	s, dir, _ := newDir(t)
	put(t, s, "o/1", "l/1")
	outside := t.TempDir()
	os.WriteFile(filepath.Join(outside, "secret"), []byte("secret"), 0o600)
	for _, n := range []string{"README.txt", "o/2.bak", "o/A", "o/\x1b[31m", "o/a b", "tmp/put-1", "tmp/x", ".hidden/x", "o/.nfs1", "o/" + strings.Repeat("x", 255)} {
		os.MkdirAll(filepath.Join(dir, filepath.Dir(n)), 0o700)
		if err := os.WriteFile(filepath.Join(dir, n), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for link, to := range map[string]string{"o/link": "1", "lost": "nowhere", "out": outside, "in": "o", "o/up": "..", "o/loop": "loop"} {
		if err := os.Symlink(to, filepath.Join(dir, link)); err != nil {
			t.Fatal(err)
		}
	}
	if err := unix.Mkfifo(filepath.Join(dir, "o/pipe"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := listed(t, s, "", ""); !slices.Equal(got, []string{"l/1", "o/1"}) {
		t.Errorf("%q", got)
	}
	for _, prefix := range []string{"in/", "out/", "tmp/", "nothing/", "o/1/"} {
		if err := s.List(context.Background(), prefix, "", func(i Info) error { return errors.New(i.Name) }); err != nil && !remote.Is(err, remote.Integrity) {
			t.Errorf("%s: %v", prefix, err)
		}
	}
	for _, prefix := range []string{"../", "/", "o//", "A", "o/../", "\x00"} {
		wantKind(t, prefix, s.List(context.Background(), prefix, "", nil), remote.Invalid)
	}
}

func TestListCap(t *testing.T) {
	s, _, _ := newDir(t)
	put(t, s, "a/1", "a/2", "b/1")
	s.maxKeys = 6 // a, b, tmp and what is in a and b
	if got := listed(t, s, "", ""); len(got) != 3 {
		t.Error(got)
	}
	s.maxKeys = 5
	wantKind(t, "list", s.List(context.Background(), "", "", func(Info) error { return nil }), remote.TooLarge)
}

// TestListCallsBack: fn may use the store, and its error comes back as it is, whatever it is.
func TestListCallsBack(t *testing.T) {
	s, _, _ := newDir(t)
	put(t, s, "a/1", "a/2", "b/1")
	n := 0
	err := s.List(context.Background(), "", "", func(i Info) error { n++; return s.Delete(context.Background(), i.Name) })
	if err != nil || n != 3 || len(listed(t, s, "", "")) != 0 {
		t.Error(n, err)
	}
	put(t, s, "a/1")
	for _, stop := range []error{fs.ErrNotExist, remote.E("x", "", remote.Unreachable, nil), errors.New("stop")} {
		if err := s.List(context.Background(), "", "", func(Info) error { return stop }); err != stop {
			t.Error(err)
		}
	}
}

// TestVanishDuringList: an end that comes of the folder having gone is no end.
func TestVanishDuringList(t *testing.T) {
	s, dir, _ := newDir(t)
	put(t, s, "a/1", "b/1", "c/1")
	err := s.List(context.Background(), "", "", func(Info) error { return os.RemoveAll(dir) })
	wantKind(t, "list", err, remote.Unreachable)
}
