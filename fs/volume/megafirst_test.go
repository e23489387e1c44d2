package volume

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"megafs/crypto/megacrypt"
	"megafs/remote"
	"megafs/remote/mega"
)

// grow makes folders of folders in an account, and files, some of one name.
func (a *account) grow(s *mega.Session, folders, each int) {
	a.t.Helper()
	post := func(url string, body []byte) []byte {
		resp, err := http.Post(url, "", bytes.NewReader(body))
		if err != nil {
			a.t.Fatal(err)
		}
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		if err != nil {
			a.t.Fatal(err)
		}
		return b
	}
	count := 0
	do := func(cmd map[string]any, to any) {
		body, err := json.Marshal([]any{cmd})
		if err != nil {
			a.t.Fatal(err)
		}
		count++
		b := post(fmt.Sprintf("%s/cs?id=grow%d&sid=%s", a.url, count, s.SID), body)
		if err := json.Unmarshal(b, &[]any{to}); err != nil {
			a.t.Fatalf("%.200s: %v", b, err)
		}
	}
	node := func(h, parent string, kind int, packed []byte, k megacrypt.Key, name string) map[string]any {
		at, err := megacrypt.Attributes{"n": name}.Encode(k)
		if err != nil {
			a.t.Fatal(err)
		}
		n := map[string]any{"h": h, "t": kind, "a": at, "k": megacrypt.Encode(s.Master.Wrap(packed))}
		if parent != "" {
			n["p"] = parent
		}
		return n
	}
	var tree struct {
		F []struct {
			H string
			T int
		}
	}
	do(map[string]any{"a": "f", "c": 1}, &tree)
	root := ""
	for _, n := range tree.F {
		if n.T == 2 {
			root = n.H
		}
	}
	var nodes []any
	for d := range folders {
		k, h := megacrypt.NewKey(), fmt.Sprintf("d%07d", d)
		nodes = append(nodes, node(h, "", 1, k[:], k, fmt.Sprint("folder ", d)))
		for i := range each {
			k := megacrypt.NewKey()
			nodes = append(nodes, node(fmt.Sprintf("s%03d%04d", d, i), h, 1, k[:], k, fmt.Sprint("in it ", i)))
		}
	}
	var up struct{ P string }
	do(map[string]any{"a": "u", "s": 1, "v": 2}, &up)
	token := megacrypt.Encode(post(up.P+"/0", []byte("x")))
	k := megacrypt.NewFileKey()
	nodes = append(nodes, node(token, "", 0, k.Pack(), k.Key, "file"))
	var made struct{ F []struct{ H string } }
	do(map[string]any{"a": "p", "t": root, "n": nodes}, &made)
	nodes = nil
	for range 3 {
		nodes = append(nodes, node(made.F[len(made.F)-1].H, "", 0, k.Pack(), k.Key, "file"))
	}
	do(map[string]any{"a": "p", "t": root, "n": nodes}, new(any))
}

// firstMount is what the child of TestFirstTreeKilled mounts: state and cache.
const firstMount = "MEGAFS_TEST_FIRST_MOUNT"

// TestFirstTreeKilled kills the first mount of an account at some of the marks and tables that it makes and removes while its indexes are filled, with MEGAFS_LONG at all: the next one shows
// everything once, and so does the one after that.
func TestFirstTreeKilled(t *testing.T) {
	if dirs := filepath.SplitList(os.Getenv(firstMount)); len(dirs) == 2 {
		s, err := mega.LoadSession(dirs[0])
		if err != nil {
			t.Fatal(err)
		}
		_, end := (&account{t: t}).mount(s, dirs[0], dirs[1])
		if end(); !t.Failed() {
			os.Exit(0) // its connections are still there, to a server that goes on
		}
		return
	}
	a := newAccount(t)
	s := a.login()
	const folders, each = 10, 30
	a.grow(s, folders, each)
	state, cache := t.TempDir(), t.TempDir()
	points := a.firstMount(s, -1, state, cache)
	if points < 8 { // two marks that come and go, and tables of two indexes
		t.Fatal(points, "points at which to kill")
	}
	see := func(state, cache string) map[string]string {
		b, end := a.mount(s, state, cache)
		defer end()
		tree, inodes := treeOf(b, remote.Root, "", nil), map[remote.Ino]bool{}
		if inodesOf(b, remote.Root, inodes); len(inodes) != len(tree) {
			t.Errorf("%d inodes under %d names", len(inodes), len(tree))
		}
		return tree
	}
	want := see(state, cache)
	if len(want) != folders*(each+1)+4 {
		t.Fatal(len(want), "names")
	}
	seed := rand.Uint64()
	t.Log("seed", seed)
	kill := rand.New(rand.NewPCG(seed, 1)).Perm(points)
	if os.Getenv("MEGAFS_LONG") == "" {
		kill = kill[:2]
	}
	for _, point := range kill {
		state, cache := t.TempDir(), t.TempDir()
		a.firstMount(s, point, state, cache)
		for mount := range 2 {
			sameTree(t, fmt.Sprintf("killed at point %d of %d, mount %d", point, points, mount+1), see(state, cache), want)
		}
	}
}

func inodesOf(b *bench, dir remote.Ino, seen map[remote.Ino]bool) {
	l, err := b.List(ctx, dir)
	if err != nil {
		b.t.Fatal(err)
	}
	for _, e := range l {
		if e.Name == "." || e.Name == ".." {
			continue
		}
		seen[e.Ino] = true
		if e.Type == remote.Dir {
			inodesOf(b, e.Ino, seen)
		}
	}
}

// firstMount mounts an account in a process of its own, which is killed at a point, if there are so many. It returns how many there were.
func (a *account) firstMount(s *mega.Session, point int, state, cache string) (points int) {
	a.t.Helper()
	if err := s.Save(state); err != nil {
		a.t.Fatal(err)
	}
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		a.t.Fatal(err)
	}
	events := os.NewFile(uintptr(fd), "inotify")
	defer events.Close()
	for _, d := range []string{mega.IndexDir(state), filepath.Join(cache, "tree")} {
		if err := os.Mkdir(d, 0o700); err != nil {
			a.t.Fatal(err)
		}
		if _, err := unix.InotifyAddWatch(fd, d, unix.IN_CREATE|unix.IN_DELETE); err != nil {
			a.t.Fatal(err)
		}
	}
	end := filepath.Join(state, "ended") // the last event
	if _, err := unix.InotifyAddWatch(fd, state, unix.IN_CREATE); err != nil {
		a.t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0], "-test.run", "^TestFirstTreeKilled$")
	cmd.Env = append(os.Environ(), firstMount+"="+state+string(filepath.ListSeparator)+cache)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		a.t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() {
		err := cmd.Wait()
		os.WriteFile(end, nil, 0o600)
		ended <- err
	}()
	buf := make([]byte, 64<<10)
	for over := false; !over; {
		n, err := events.Read(buf)
		if err != nil {
			cmd.Process.Kill()
			<-ended
			a.t.Fatal(err)
		}
		for b := buf[:n]; len(b) > 0; {
			l := unix.SizeofInotifyEvent + int(binary.NativeEndian.Uint32(b[12:]))
			name := strings.TrimRight(string(b[unix.SizeofInotifyEvent:l]), "\x00")
			b = b[l:]
			switch over = over || name == "ended"; {
			case name == "filling", strings.HasSuffix(name, ".sst"), strings.HasPrefix(name, "spool-"):
				if points == point {
					cmd.Process.Kill()
				}
				points++
			}
		}
	}
	if err := <-ended; point < 0 && err != nil {
		a.t.Fatal(err, out.String())
	}
	return points
}
