package fs

import (
	"bytes"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"megafs/remote/remotetest"
)

// TestNamesOfAnyBytes: a name is any bytes but "/" and NUL, and comes to another machine as it is; so do link targets.
func TestNamesOfAnyBytes(t *testing.T) {
	store := remotetest.NewStore()
	m := mount(t, store, nil)
	names := []string{strings.Repeat("\xff", 255), "\xc3\x28", "\xed\xa0\x80", "e\u0301", "\u00e9", "A", "a", "...", " ", ".\n", "-rf", "\u202e", "CON", "x:y*?\"<>|\\"}
	for b := 1; b < 256; b++ {
		if b != '/' {
			names = append(names, fmt.Sprintf("byte%c", b)[:4]+string([]byte{byte(b)}), string([]byte{byte(b), 'z'}))
		}
	}
	slices.Sort(names)
	for _, n := range names {
		must(t, os.WriteFile(m.path("")+"/"+n, []byte(n), 0o644))
	}
	target := string(names[0]) + "\xfe\x01"
	must(t, os.Symlink(target, m.path("~link")))
	m.drain()
	other := mount(t, store, nil)
	for _, x := range []*machine{m, other} {
		d, err := os.ReadDir(x.dir)
		must(t, err)
		var got []string
		for _, e := range d {
			if n := e.Name(); n != "~link" {
				got = append(got, n)
				c, err := os.ReadFile(x.dir + "/" + n)
				if err != nil || !bytes.Equal(c, []byte(n)) {
					t.Errorf("%q holds %q, %v", n, c, err)
				}
			}
		}
		if slices.Sort(got); !slices.Equal(got, names) {
			t.Errorf("listed %d names, want %d: %q", len(got), len(names), got)
		}
		if got, err := os.Readlink(x.path("~link")); err != nil || got != target {
			t.Errorf("%q, %v", got, err)
		}
	}
}

// TestSeekWhileNamesChange: while others make, rename and remove names, an open listing goes on, from any place it told before, with what it went on
// with then; and a listing has each name that stays exactly once.
func TestSeekWhileNamesChange(t *testing.T) {
	m := mount(t, remotetest.NewStore(), nil)
	must(t, os.Mkdir(m.path("d"), 0o755))
	const stay = 1500
	for i := range stay {
		m.write(fmt.Sprintf("d/stays %04d", i), "")
	}
	done := make(chan struct{})
	var others sync.WaitGroup
	for i := range 3 {
		others.Go(func() {
			for j := 0; ; j++ {
				select {
				case <-done:
					return
				default:
				}
				a, b := m.path(fmt.Sprintf("d/comes %d %d", i, j%50)), m.path(fmt.Sprintf("d/a%d %d", i, j%70))
				if err := os.WriteFile(a, nil, 0o644); err != nil {
					t.Error(err)
				}
				if err := os.Rename(a, b); err != nil {
					t.Error(err)
				}
				if j%3 == 0 {
					if err := os.Remove(b); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	defer others.Wait()
	defer close(done)
	buf := make([]byte, 4096)
	for range 20 {
		fd, err := unix.Open(m.path("d"), unix.O_DIRECTORY|unix.O_RDONLY, 0)
		must(t, err)
		block := func() (stays []string, n int) {
			n, err := unix.Getdents(fd, buf)
			must(t, err)
			_, _, names := unix.ParseDirent(buf[:n], -1, nil)
			for _, n := range names {
				if strings.HasPrefix(n, "stays") {
					stays = append(stays, n)
				}
			}
			return stays, n
		}
		seen := map[string]int{}
		first := map[int64]string{}
		for {
			place, err := unix.Seek(fd, 0, unix.SEEK_CUR)
			must(t, err)
			names, n := block()
			if n == 0 {
				break
			}
			for _, n := range names {
				seen[n]++
			}
			if len(names) > 0 {
				first[place] = names[0]
			}
		}
		for n, times := range seen {
			if times != 1 {
				t.Errorf("%q is there %d times", n, times)
			}
		}
		if len(seen) != stay {
			t.Errorf("%d names of %d", len(seen), stay)
		}
		for place, want := range first {
			if place == 0 {
				continue // rewinding takes the names anew
			}
			_, err := unix.Seek(fd, place, unix.SEEK_SET)
			must(t, err)
			names, n := block()
			for len(names) == 0 && n > 0 { // others' names can be there again
				names, n = block()
			}
			if len(names) == 0 || names[0] != want {
				t.Errorf("place %d leads to %q, want %q", place, names, want)
			}
		}
		unix.Close(fd)
	}
}
