package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"megafs/remote/megaserver/megatest"
)

// convergence is an account that a mount and megajs change at the same time. Each content is written once in the test, so it can be followed wherever it goes.
type convergence struct {
	*machine
	mu      sync.Mutex
	written map[string]string // contents whose writing succeeded: by whom
	dropped map[string]bool   // contents that the mount replaced or removed
	removed map[string]bool   // handles that megajs removed
	blurred int               // how often the mount removed something that came to the name at that moment
}

// payload makes a content that nobody else makes. Its length is none about whose MAC clients differ.
func payload(who string, n int, rng *rand.Rand) string {
	s := fmt.Sprintf("%s %d.", who, n)
	long := 20 + rng.IntN(4000)
	if rng.IntN(12) == 0 {
		long = 140_000 + rng.IntN(200_000)
	}
	return s + strings.Repeat("x", long)
}

func poolName(rng *rand.Rand) string { return fmt.Sprintf("n%d", rng.IntN(8)) }

func (x *convergence) wrote(who, content string) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.written[content] = who
}

func (x *convergence) drop(content string) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.dropped[content] = true
}

// look lists the mount.
func (x *convergence) look() (files, dirs []string) {
	dirs = []string{""}
	filepath.WalkDir(x.mnt, func(p string, d fs.DirEntry, err error) error {
		if err != nil { // it went meanwhile
			return nil
		}
		if rel, _ := filepath.Rel(x.mnt, p); rel != "." && d.IsDir() {
			dirs = append(dirs, rel)
		} else if rel != "." {
			files = append(files, rel)
		}
		return nil
	})
	return files, dirs
}

// here does one thing in the mount. What fails since megajs was faster is nothing.
func (x *convergence) here(n int, rng *rand.Rand) {
	files, dirs := x.look()
	at := func(rel string) string { return filepath.Join(x.mnt, rel) }
	dir := dirs[rng.IntN(len(dirs))]
	to := at(filepath.Join(dir, poolName(rng)))
	content := payload("mount", n, rng)
	write := func(p string, flag int) error {
		f, err := os.OpenFile(p, os.O_WRONLY|os.O_CREATE|flag, 0o644)
		if err != nil {
			return err
		}
		_, err = f.WriteString(content)
		if err = errors.Join(err, f.Close()); err == nil {
			x.wrote("mount", content)
		}
		return err
	}
	k := rng.IntN(10)
	if len(files) == 0 && k >= 4 && k != 6 {
		k = 0
	}
	switch k {
	case 0, 1, 2:
		write(to, os.O_EXCL)
	case 3:
		if strings.Count(dir, "/") < 3 {
			os.Mkdir(to, 0o755)
		}
	case 4: // new content in its place
		f, err := os.OpenFile(at(files[rng.IntN(len(files))]), os.O_RDWR, 0)
		if err != nil {
			return
		}
		defer f.Close()
		was, err := io.ReadAll(f)
		if err != nil {
			return
		}
		x.drop(string(was))
		if f.Truncate(0) != nil {
			return
		}
		if _, err := f.WriteAt([]byte(content), 0); err == nil && links(f) > 0 { // or megajs removed it before
			x.wrote("mount", content)
		}
	case 5: // a new file over it, as editors do
		over, tmp := at(files[rng.IntN(len(files))]), filepath.Join(x.mnt, fmt.Sprintf("tmp%d", n))
		if write(tmp, os.O_EXCL) == nil && x.goes(over, func() error { return os.Rename(tmp, over) }) != nil {
			unix.Renameat2(unix.AT_FDCWD, tmp, unix.AT_FDCWD, to, unix.RENAME_NOREPLACE)
		}
	case 6:
		d := at(dirs[rng.IntN(len(dirs))])
		if dir != "" && d != x.mnt && rng.IntN(2) == 0 {
			unix.Renameat2(unix.AT_FDCWD, d, unix.AT_FDCWD, to, unix.RENAME_NOREPLACE)
		} else if d != x.mnt {
			os.Remove(d) // if it is empty
		}
	case 7, 8:
		unix.Renameat2(unix.AT_FDCWD, at(files[rng.IntN(len(files))]), unix.AT_FDCWD, to, unix.RENAME_NOREPLACE)
	case 9:
		p := at(files[rng.IntN(len(files))])
		x.goes(p, func() error { return unix.Unlink(p) })
	}
}

// goes does what takes a file's name away, and notes which content went.
func (x *convergence) goes(p string, do func() error) error {
	f, err := os.Open(p)
	if err != nil {
		return err
	}
	defer f.Close()
	was, err := io.ReadAll(f)
	if err != nil {
		return err
	}
	x.drop(string(was))
	if err := do(); err != nil {
		return err
	}
	if links(f) != 0 {
		x.mu.Lock()
		x.blurred++
		x.mu.Unlock()
	}
	return nil
}

func links(f *os.File) uint64 {
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return 1
	}
	return uint64(st.Nlink)
}

type jsNode struct {
	H, P, Name, Content string
	Dir                 bool
}

func (x *convergence) list(j *megajs, call string) []jsNode {
	x.t.Helper()
	b, err := json.Marshal(j.call(call))
	var all []jsNode
	if err == nil {
		err = json.Unmarshal(b, &all)
	}
	if err != nil {
		x.t.Fatal(err)
	}
	return all
}

// puts lets megajs make a file. When it fails, the file may be there all the same: something may have gone wrong with the answer.
func (x *convergence) puts(j *megajs, dir, name, content string) bool {
	x.wrote(perhaps, content)
	_, err := j.try("put", dir, name, content)
	if err == nil {
		x.wrote("megajs", content)
	}
	return err == nil
}

const perhaps = "megajs, perhaps"

// there lets megajs do one thing, by the handles that it knows of. What fails since the mount was faster is nothing.
func (x *convergence) there(j *megajs, n int, rng *rand.Rand) {
	all := x.list(j, "list")
	dirs, files := []string{""}, []string{}
	for _, f := range all {
		if f.Dir {
			dirs = append(dirs, f.H)
		} else {
			files = append(files, f.H)
		}
	}
	dir, name, content := dirs[rng.IntN(len(dirs))], poolName(rng), payload("megajs", n, rng)
	k := rng.IntN(10)
	if len(all) == 0 && k >= 4 || len(files) == 0 && k >= 8 {
		k = 0
	}
	switch k {
	case 0, 1, 2:
		x.puts(j, dir, name, content)
	case 3:
		j.try("mkdir", dir, name)
	case 4, 5:
		j.try("rename", all[rng.IntN(len(all))].H, name)
	case 6, 7:
		j.try("move", all[rng.IntN(len(all))].H, dir)
	default: // removed, or replaced in the way of megajs: a new file, and the old one goes
		h := files[rng.IntN(len(files))]
		if d := dirs[rng.IntN(len(dirs))]; k == 9 && d != "" && rng.IntN(6) == 0 {
			h = d
		}
		if k == 8 {
			i := slices.IndexFunc(all, func(f jsNode) bool { return f.H == h })
			if !x.puts(j, all[i].P, all[i].Name, content) {
				return
			}
		}
		x.mu.Lock()
		x.removed[h] = true
		x.mu.Unlock()
		j.try("rm", h)
	}
}

// TestG7MegaConverges lets a mount and megajs do what comes to their minds in one account at the same time, with names that meet. In the end all see the same tree, and nothing is lost
// but what one replaced or removed who had seen it. It works for as long as MEGAFS_TEST_MIXED says, and is left out without. MEGAFS_TEST_SEED repeats the choices of a run.
func TestG7MegaConverges(t *testing.T) {
	if os.Getenv("MEGAFS_TEST_MIXED") == "" {
		t.Skip("MEGAFS_TEST_MIXED does not say for how long")
	}
	megatest.Program(t, "node")
	where := megatest.Cached(t, "megajs")
	seed := randomSeed(t)
	lasting, _ := lasts(t, "MEGAFS_TEST_MIXED", 20*time.Second)
	m, url := servedMachine(t)
	m.logIn(strings.TrimPrefix(url, "http://"))
	m.mount()
	x := &convergence{machine: m, written: map[string]string{}, dropped: map[string]bool{}, removed: map[string]bool{}}
	j := startMegajs(t, os.Environ(), "testdata/converge.mjs", where, url, "me@example.com", "a password")
	end := time.Now().Add(lasting)
	var done [2]int
	var wg sync.WaitGroup
	wg.Go(func() {
		for rng := rand.New(rand.NewPCG(seed, 1)); time.Now().Before(end); done[0]++ {
			x.here(done[0], rng)
			time.Sleep(time.Duration(rng.IntN(60)) * time.Millisecond) // so that now one is faster and now the other
		}
	})
	for rng := rand.New(rand.NewPCG(seed, 2)); time.Now().Before(end) && !t.Failed(); done[1]++ {
		x.there(j, done[1], rng)
		time.Sleep(time.Duration(rng.IntN(40)) * time.Millisecond)
	}
	wg.Wait()
	t.Logf("%d things were done in the mount, %d by megajs; %d contents were written", done[0], done[1], len(x.written))

	m.want(0, "", "sync", "--timeout", "1m", m.mnt)
	var all *truth
	var want, got []string
	for late := time.Now().Add(30 * time.Second); ; time.Sleep(200 * time.Millisecond) {
		var err error
		all = readTruth(t, url, "me@example.com", "a password")
		want = all.live()
		if got, err = m.shown(false); err == nil && slices.Equal(got, want) {
			break
		}
		if time.Now().After(late) {
			t.Fatalf("the mount never shows what the server has: %v\n%s", err, apart(want, got))
		}
		m.want(0, "", "sync", "--timeout", "1m", m.mnt)
	}
	// Each reader that begins anew sees the same.
	fresh := startMegajs(t, os.Environ(), "testdata/converge.mjs", where, url, "me@example.com", "a password")
	if read := x.read(fresh); !slices.Equal(read, want) {
		t.Errorf("megajs lists something else than the server has:\n%s", apart(want, read))
	}
	exact, _ := m.shown(true)
	m2 := newMachine(t)
	if err := os.WriteFile(filepath.Join(m2.home, "pass"), []byte("a password\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	m2.logIn(strings.TrimPrefix(url, "http://"))
	m2.mount()
	if anew, err := m2.shown(true); err != nil || !slices.Equal(anew, exact) {
		t.Errorf("after a fresh log-in, %v:\n%s", err, apart(exact, anew))
	}
	x.kept(all)
	m2.umount()
	m.umount()
}

func (x *convergence) read(j *megajs) (out []string) {
	all := x.list(j, "tree")
	by := map[string]jsNode{}
	for _, n := range all {
		by[n.H] = n
	}
	for _, n := range all {
		p := n.Name
		for up, ok := by[n.P]; ok; up, ok = by[up.P] {
			p = up.Name + "/" + p
		}
		out = append(out, treeLine(p, n.Dir, n.Content))
	}
	slices.Sort(out)
	return out
}

// kept looks for all contents that were written.
func (x *convergence) kept(all *truth) {
	type place struct{ live, old, binned, swept int }
	found := map[string]*place{}
	for _, n := range all.nodes {
		if n.T != 0 {
			continue
		}
		p := found[n.content]
		if p == nil {
			p = &place{}
			found[n.content] = p
		}
		top := n
		for all.old(top) {
			top = all.nodes[top.P]
		}
		in, _ := all.under(top, all.root)
		_, deep := all.under(top, all.rubbish)
		switch {
		case in && top == n:
			p.live++
		case in:
			p.old++
		case x.removed[top.H] || deep: // by megajs, or with a folder
			p.swept++
		default:
			p.binned++
		}
	}
	var sum place
	for _, content := range slices.Sorted(maps.Keys(x.written)) {
		p := found[content]
		if p == nil {
			p = &place{}
		}
		sum = place{sum.live + p.live, sum.old + p.old, sum.binned + p.binned, sum.swept + p.swept}
		switch {
		case p.live > 1:
			x.t.Errorf("%.20s, by %s, is there %d times", content, x.written[content], p.live)
		case p.live+p.old+p.swept > 0, x.dropped[content], x.written[content] == perhaps:
		case x.blurred > 0: // each time one content, which may never have been sent
			x.blurred--
		default:
			x.t.Errorf("%.20s, by %s, was neither replaced nor removed, and is lost (%d times in the rubbish bin)", content, x.written[content], p.binned)
		}
	}
	for content, p := range found {
		if x.written[content] == "" && p.live > 0 && !x.dropped[content] {
			x.t.Errorf("nobody wrote %.60q", content)
		}
	}
	x.t.Logf("contents in the tree %d, as older versions %d, removed by megajs or with a folder %d, by the mount %d", sum.live, sum.old, sum.swept, sum.binned)
}
