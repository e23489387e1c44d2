package blob

import (
	"context"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"megafs/remote"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// newDir opens a store in a new folder, with a clock that stands still until tick moves it.
func newDir(t *testing.T) (s *dirStore, dir string, tick func(time.Duration)) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "vault")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	s, err := openDir(dir, osPlace(dir))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	var mu sync.Mutex
	now := time.Now()
	s.now = func() time.Time {
		mu.Lock()
		defer mu.Unlock()
		return now
	}
	return s, dir, func(d time.Duration) {
		mu.Lock()
		defer mu.Unlock()
		now = now.Add(d)
	}
}

func put(t *testing.T, s Store, names ...string) {
	t.Helper()
	for _, n := range names {
		if err := s.Put(context.Background(), n, []byte(n)); err != nil {
			t.Fatal(err)
		}
	}
}

func listed(t *testing.T, s Store, prefix, after string) (names []string) {
	t.Helper()
	if err := s.List(context.Background(), prefix, after, func(i Info) error { names = append(names, i.Name); return nil }); err != nil {
		t.Fatal(err)
	}
	return names
}

// wantKind fails unless err is of a kind; Other means no error.
func wantKind(t *testing.T, what string, err error, k remote.Kind) {
	t.Helper()
	if k == remote.Other && err != nil || k != remote.Other && !remote.Is(err, k) {
		t.Errorf("%s: %v, want %v", what, err, k)
	}
}

// every calls each method once and returns what each said.
func every(s Store, name string) map[string]error {
	ctx := context.Background()
	_, get := s.Get(ctx, name, 100)
	_, size := s.Size(ctx, name)
	_, usage := s.Usage(ctx)
	return map[string]error{
		"get": get, "range": s.GetRange(ctx, name, 0, make([]byte, 1)), "size": size, "usage": usage, "put": s.Put(ctx, name+"-new", nil),
		"list": s.List(ctx, "", "", func(Info) error { return nil }), "delete": s.Delete(ctx, name+"-none"),
	}
}

// TestPlanted reads and writes names under which no plain file lies.
func TestPlanted(t *testing.T) {
	ctx := context.Background()
	s, dir, _ := newDir(t)
	put(t, s, "o/1", "other/1")
	outside := t.TempDir()
	os.WriteFile(filepath.Join(outside, "secret"), []byte("secret"), 0o600)
	os.Symlink(filepath.Join(outside, "secret"), filepath.Join(dir, "o/abs"))
	os.Symlink("1", filepath.Join(dir, "o/link"))
	os.Symlink("nowhere", filepath.Join(dir, "o/dangling"))
	os.Symlink(outside, filepath.Join(dir, "out"))
	os.Symlink("other", filepath.Join(dir, "in"))
	unix.Mkfifo(filepath.Join(dir, "o/pipe"), 0o600)
	for _, test := range []struct {
		name string
		get  remote.Kind // also of Size and GetRange
		put  remote.Kind
	}{
		{"o/abs", remote.Integrity, remote.Exist},
		{"o/link", remote.Integrity, remote.Exist},
		{"o/dangling", remote.Integrity, remote.Exist},
		{"o/pipe", remote.Integrity, remote.Exist},
		{"out/secret", remote.Integrity, remote.Integrity},
		{"out/new", remote.Integrity, remote.Integrity},
		{"in/1", remote.Integrity, remote.Integrity},
		{"o", remote.NotExist, remote.Invalid},         // a folder
		{"o/1/below", remote.NotExist, remote.Invalid}, // below an object
	} {
		_, err := s.Get(ctx, test.name, 100)
		wantKind(t, "get "+test.name, err, test.get)
		_, err = s.Size(ctx, test.name)
		wantKind(t, "size "+test.name, err, test.get)
		wantKind(t, "range "+test.name, s.GetRange(ctx, test.name, 0, make([]byte, 1)), test.get)
		wantKind(t, "put "+test.name, s.Put(ctx, test.name, []byte("x")), test.put)
	}
	for _, name := range []string{"tmp", "tmp/x"} {
		wantKind(t, name, s.Put(ctx, name, nil), remote.Invalid)
	}
	os.Mkdir(filepath.Join(dir, "empty"), 0o700)
	wantKind(t, "delete a folder", s.Delete(ctx, "empty"), remote.Other)
	if _, err := os.Stat(filepath.Join(dir, "empty")); err != nil {
		t.Error("a folder was removed:", err)
	}
	wantKind(t, "delete a link", s.Delete(ctx, "o/abs"), remote.Other)
	wantKind(t, "delete through a link", s.Delete(ctx, "in/1"), remote.Integrity)
	if b, err := os.ReadFile(filepath.Join(outside, "secret")); string(b) != "secret" {
		t.Error(err)
	}
	if es, _ := os.ReadDir(outside); len(es) != 1 {
		t.Error("written outside:", es)
	}
	for _, n := range []string{"o/1", "other/1"} {
		wantKind(t, n, s.GetRange(ctx, n, 0, make([]byte, len(n))), remote.Other)
	}
}

func TestModes(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new", "vault")
	s, err := Dir(dir, DirOptions{Create: true})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	put(t, s, "o/ab/1")
	filepath.WalkDir(dir, func(p string, e fs.DirEntry, err error) error {
		want := fs.FileMode(0o600)
		if e.IsDir() {
			want = 0o700
		}
		if fi, err := e.Info(); err != nil || fi.Mode().Perm() != want {
			t.Errorf("%s: %v, %v", p, fi.Mode(), err)
		}
		return err
	})
}

func TestDirOpen(t *testing.T) {
	base := t.TempDir()
	os.WriteFile(filepath.Join(base, "file"), nil, 0o600)
	for name, kind := range map[string]remote.Kind{"none": remote.NotExist, "none/below": remote.NotExist, "file": remote.NotDir, "file/below": remote.NotDir} {
		s, err := Dir(filepath.Join(base, name), DirOptions{})
		wantKind(t, name, err, kind)
		if s != nil {
			t.Error("a store and an error")
		}
	}
	if _, err := Dir(filepath.Join(base, "none"), DirOptions{}); !strings.Contains(err.Error(), "not there") {
		t.Error(err)
	}
}

// TestSweep removes what a crash left a day ago and nothing else.
func TestSweep(t *testing.T) {
	s, dir, _ := newDir(t)
	put(t, s, "o/1")
	old := time.Now().Add(-25 * time.Hour)
	for _, n := range []string{"tmp/put-old", "tmp/put-new", "tmp/foreign", "o/old"} {
		p := filepath.Join(dir, n)
		if err := os.WriteFile(p, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if n != "tmp/put-new" {
			os.Chtimes(p, old, old)
		}
	}
	again, err := Dir(dir, DirOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	for n, there := range map[string]bool{"tmp/put-old": false, "tmp/put-new": true, "tmp/foreign": true, "o/old": true, "o/1": true} {
		if _, err := os.Lstat(filepath.Join(dir, n)); (err == nil) != there {
			t.Error(n, err)
		}
	}
}

// TestVanish: a folder that is renamed away, removed, or hidden by another is Unreachable, and taken back when it is there again.
func TestVanish(t *testing.T) {
	for name, away := range map[string]func(dir string) (back func()){
		"renamed": func(dir string) func() {
			os.Rename(dir, dir+"2")
			return func() { os.Rename(dir+"2", dir) }
		},
		"copied and removed": func(dir string) func() {
			os.CopyFS(dir+"2", os.DirFS(dir))
			os.RemoveAll(dir)
			return func() { os.Rename(dir+"2", dir) }
		},
		"an empty folder there": func(dir string) func() {
			os.Rename(dir, dir+"2")
			os.Mkdir(dir, 0o700)
			return func() { os.Remove(dir); os.Rename(dir+"2", dir) }
		},
		"another folder there": func(dir string) func() {
			os.Rename(dir, dir+"2")
			os.MkdirAll(filepath.Join(dir, "photos"), 0o700)
			return func() { os.RemoveAll(dir); os.Rename(dir+"2", dir) }
		},
		"a file there": func(dir string) func() {
			os.Rename(dir, dir+"2")
			os.WriteFile(dir, nil, 0o600)
			return func() { os.Remove(dir); os.Rename(dir+"2", dir) }
		},
	} {
		t.Run(name, func(t *testing.T) {
			s, dir, tick := newDir(t)
			put(t, s, "o/1", "l/1")
			back := away(dir)
			// At once: nothing may be said not to exist, nor be acknowledged.
			_, err := s.Get(context.Background(), "o/none", 1)
			wantKind(t, "get at once", err, remote.Unreachable)
			wantKind(t, "put at once", s.Put(context.Background(), "o/2", nil), remote.Unreachable)
			tick(2 * recheck)
			for op, err := range every(s, "o/1") {
				wantKind(t, op, err, remote.Unreachable)
			}
			back()
			for op, err := range every(s, "o/1") {
				wantKind(t, op+" when it is back", err, remote.Other)
			}
		})
	}
}

// TestVanishUnasked: a call that would succeed in the folder that is gone may do so for a second and no longer, but no Put may.
func TestVanishUnasked(t *testing.T) {
	ctx := context.Background()
	s, dir, tick := newDir(t)
	put(t, s, "o/1")
	b := make([]byte, 3)
	if err := s.GetRange(ctx, "o/1", 0, b); err != nil {
		t.Fatal(err)
	}
	os.Rename(dir, dir+"2")
	wantKind(t, "put", s.Put(ctx, "o/2", nil), remote.Unreachable) // the first call since, so nothing else noticed
	os.Rename(dir+"2", dir)
	wantKind(t, "range", s.GetRange(ctx, "o/1", 0, b), remote.Other)
	os.Rename(dir, dir+"2")
	tick(recheck)
	wantKind(t, "range", s.GetRange(ctx, "o/1", 0, b), remote.Unreachable)
}

// TestFoldersRemoved: somebody tidies up folders that the store knows.
func TestFoldersRemoved(t *testing.T) {
	s, dir, _ := newDir(t)
	put(t, s, "o/ab/1", "l/1")
	os.RemoveAll(filepath.Join(dir, "o"))
	os.RemoveAll(filepath.Join(dir, "tmp"))
	put(t, s, "o/ab/2")
	if got := listed(t, s, "o/", ""); !slices.Equal(got, []string{"o/ab/2"}) {
		t.Error(got)
	}
}

// TestLostAnswer: a server links the file and its answer is lost, so that the kernel's second asking finds the name taken.
func TestLostAnswer(t *testing.T) {
	dir := t.TempDir()
	s, err := openDir(dir, tap(osPlace(dir), func(op, name string) error {
		if op != "link" {
			return nil
		}
		es, _ := os.ReadDir(filepath.Join(dir, "tmp"))
		if err := os.Link(filepath.Join(dir, "tmp", es[0].Name()), filepath.Join(dir, name)); err != nil {
			t.Error(err)
		}
		return syscall.EEXIST
	}))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	put(t, s, "o/1")
}

// TestCanceled: a Put whose caller is gone before the name is taken does not take it.
func TestCanceled(t *testing.T) {
	dir := t.TempDir()
	ctx, cancel := context.WithCancel(context.Background())
	s, err := openDir(dir, tap(osPlace(dir), func(op, name string) error {
		if op == "write" {
			cancel()
		}
		return nil
	}))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	wantKind(t, "put", s.Put(ctx, "o/1", nil), remote.Canceled)
	_, err = s.Get(context.Background(), "o/1", 1)
	wantKind(t, "get", err, remote.NotExist)
}
