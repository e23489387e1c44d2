package blob

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"megafs/remote"
)

// TestOpenFiles: ranges keep few files open, and never show an object that was replaced.
func TestOpenFiles(t *testing.T) {
	ctx := context.Background()
	s, dir, _ := newDir(t)
	s.files.max = 4
	var names []string
	for i := range 20 {
		names = append(names, fmt.Sprintf("o/%02d", i))
	}
	put(t, s, names...)
	read := func(n string) (string, error) {
		b := make([]byte, 4)
		err := s.GetRange(ctx, n, 0, b)
		return string(b), err
	}
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for i := range 200 {
				if got, err := read(names[i%len(names)]); err != nil || got != names[i%len(names)] {
					t.Error(got, err)
				}
			}
		})
	}
	wg.Wait()
	if n := openUnder(t, dir); n != 4+1 { // and the folder itself
		t.Error("open:", n)
	}
	read("o/00")
	if err := s.Delete(ctx, "o/00"); err != nil {
		t.Fatal(err)
	}
	_, err := read("o/00")
	wantKind(t, "deleted", err, remote.NotExist)
	s.Put(ctx, "o/00", []byte("anew"))
	if got, err := read("o/00"); got != "anew" || err != nil {
		t.Error(got, err)
	}
	// By others.
	os.Remove(filepath.Join(dir, "o/00"))
	_, err = read("o/00")
	wantKind(t, "removed", err, remote.NotExist)
	read("o/01")
	os.Truncate(filepath.Join(dir, "o/01"), 2)
	_, err = read("o/01")
	wantKind(t, "cut", err, remote.Integrity)
	s.Close()
	if n := openUnder(t, dir); n != 0 {
		t.Error("open after Close:", n)
	}
	for op, err := range every(s, "o/02") {
		wantKind(t, op, err, remote.Stale)
	}
}

// openUnder counts this process's open files below dir.
func openUnder(t *testing.T, dir string) (n int) {
	fds, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Skip(err)
	}
	for _, fd := range fds {
		if to, err := os.Readlink("/proc/self/fd/" + fd.Name()); err == nil && strings.HasPrefix(to, dir) {
			n++
		}
	}
	return n
}

// TestOpenFilesRace replaces an object while it is read: no read shows one that was deleted before the read began.
func TestOpenFilesRace(t *testing.T) {
	ctx := context.Background()
	s, _, _ := newDir(t)
	var wg sync.WaitGroup
	var mu sync.Mutex
	least := 0 // all versions below are deleted
	wg.Go(func() {
		for v := range 100 {
			if err := s.Put(ctx, "o/x", fmt.Appendf(nil, "%08d", v)); err != nil {
				t.Error(err)
			}
			if err := s.Delete(ctx, "o/x"); err != nil {
				t.Error(err)
			}
			mu.Lock()
			least = v + 1
			mu.Unlock()
		}
	})
	for range 3 {
		wg.Go(func() {
			for range 500 {
				mu.Lock()
				least := least
				mu.Unlock()
				b := make([]byte, 8)
				err := s.GetRange(ctx, "o/x", 0, b)
				v := 0
				fmt.Sscanf(string(b), "%d", &v)
				if err == nil && v < least || err != nil && !remote.Is(err, remote.NotExist) {
					t.Errorf("version %d, all before %d were deleted, %v", v, least, err)
				}
			}
		})
	}
	wg.Wait()
}

// TestFileCacheGenerations: a file opened before a removal is not kept after it.
func TestFileCacheGenerations(t *testing.T) {
	c := fileCache{max: 2}
	_, gen := c.get("a")
	c.remove("a")
	old := &closing{}
	f := c.add("a", old, gen)
	if g, _ := c.get("a"); g != nil {
		t.Error("kept")
	}
	c.put(f)
	if old.closed != 1 {
		t.Error("closed", old.closed)
	}
}

type closing struct {
	fileReader
	closed int
}

func (c *closing) Close() error { c.closed++; return nil }
