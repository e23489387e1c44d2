package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// hammers is how many processes TestP6Hammer has.
const hammers = 100

// steady are names that are there all the time, so that every listing must have them.
const steady = 20

// TestP6Hammer lets 100 processes work in one directory and on one file for 3 s, or for as long as MEGAFS_TEST_HAMMER says: none may see an error
// that a disk would not give, no append and no change under a lock may be lost, and the process that serves them has nothing to complain of
// and as many goroutines afterwards as before. Run with -race, megafs has the race detector.
func TestP6Hammer(t *testing.T) {
	duration := 3 * time.Second
	if s := os.Getenv("MEGAFS_TEST_HAMMER"); s != "" {
		var err error
		if duration, err = time.ParseDuration(s); err != nil {
			t.Fatal(err)
		}
	}
	m := newMachine(t)
	m.mount()
	before := m.goroutines()
	m.mount()
	dir := filepath.Join(m.mnt, "d")
	m.sh(fmt.Sprintf("mkdir $M/d; cd $M/d; : >log; printf %%020d 0 >counter; for i in $(seq %d); do : >steady$i; done", steady))
	seed := rand.Uint64()
	t.Log("seed", seed, "race detector", underRace())
	type worker struct {
		*exec.Cmd
		out bytes.Buffer
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	workers := make([]*worker, hammers)
	end := time.Now().Add(duration)
	for i := range workers {
		w := &worker{Cmd: m.command(self)}
		w.Env = append(w.Env, "MEGAFS_TEST_HAMMER_DIR="+dir, fmt.Sprintf("MEGAFS_TEST_HAMMER_ARGS=%d %d %d", i, seed, end.UnixNano()), "GOMAXPROCS=1")
		w.Stdout, w.Stderr = &w.out, &w.out
		if err := w.Start(); err != nil {
			t.Fatal(err)
		}
		workers[i] = w
	}
	stuck := time.AfterFunc(duration+2*time.Minute, func() {
		for _, w := range workers {
			w.Process.Kill()
		}
	})
	defer stuck.Stop()
	var appended [hammers]int
	counted, steps := 0, 0
	for i, w := range workers {
		err := w.Wait()
		var c, s int
		if _, err2 := fmt.Sscanf(w.out.String(), "appended %d counted %d steps %d\n", &appended[i], &c, &s); err != nil || err2 != nil {
			t.Errorf("process %d: %v: %s", i, err, w.out.String())
		}
		counted, steps = counted+c, steps+s
	}
	t.Logf("%d steps in %v", steps, duration)
	if t.Failed() {
		return
	}
	checkHammered(t, dir, appended, counted)
	list := m.sh("cd $M/d; find . -printf '%y %i %n %s %p\\n' | sort; cat log counter | sha256sum")
	var s status
	if out, err := m.command(bin, "status", "--json", m.mnt).Output(); err != nil || json.Unmarshal(out, &s) != nil {
		t.Fatal(err, string(out))
	}
	if k := s.Kernel; k.Panics != 0 || k.Handles != 0 || k.InFlight != 0 || s.LastError != "" {
		t.Errorf("%d panics, %d handles, %d requests under way, last error %q", k.Panics, k.Handles, k.InFlight, s.LastError)
	}
	m.want(0, "", "sync", m.mnt)
	after := m.goroutines()
	t.Logf("%d goroutines before, %d after", before, after)
	// Some of the runtime and of package fuse come when they are needed and stay.
	if after > before+30 {
		t.Errorf("%d goroutines, %d before", after, before)
	}
	m.mount()
	if again := m.sh("cd $M/d; find . -printf '%y %i %n %s %p\\n' | sort; cat log counter | sha256sum"); again != list {
		t.Errorf("after a remount:\n%s\nbefore:\n%s", again, list)
	}
	m.umount()
	m.want(0, "0 damaged", "vault", "verify")
}

// goroutines ends the process that serves the mount, as Go programs end that get SIGQUIT, and says how many goroutines it had. Before, it must have had
// nothing to complain of.
func (m *machine) goroutines() int {
	m.t.Helper()
	m.quietLog()
	p, err := watch(m.pid())
	if err != nil {
		m.t.Fatal(err)
	}
	defer p.close()
	if err := unix.PidfdSendSignal(p.fd, unix.SIGQUIT, nil, 0); err != nil || !p.wait(time.Minute) {
		m.t.Fatal("it does not end", err)
	}
	log := m.dirs(".local/state/megafs/*/megafs.log")[0]
	b, err := os.ReadFile(log)
	n := bytes.Count(b, []byte("\ngoroutine "))
	if n == 0 {
		m.t.Fatal("no goroutines in the log", err)
	}
	if err := os.Truncate(log, 0); err != nil {
		m.t.Fatal(err)
	}
	exec.Command("umount", "-l", m.mnt).Run()
	return n - 1 // without the one of the signal's thread
}

// checkHammered looks at what many processes left.
func checkHammered(t *testing.T, dir string, appended [hammers]int, counted int) {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	var seen [hammers]int
	for line := range strings.Lines(string(b)) {
		var p, n int
		if _, err := fmt.Sscanf(line, "process %d line %d\n", &p, &n); err != nil || p >= hammers || n != seen[p]+1 {
			t.Fatalf("the log has %q where line %d of it is due", line, seen[p]+1)
		}
		seen[p] = n
	}
	if seen != appended {
		t.Errorf("the log has %v lines, %v were written", seen, appended)
	}
	b, err = os.ReadFile(filepath.Join(dir, "counter"))
	if n, err2 := strconv.Atoi(string(b)); err != nil || err2 != nil || n != counted {
		t.Errorf("the counter says %q, counted was %d times; %v", b, counted, err)
	}
}

// hammer is one of the processes.
func hammer(dir string) int {
	var me int
	var seed uint64
	var end int64
	if _, err := fmt.Sscan(os.Getenv("MEGAFS_TEST_HAMMER_ARGS"), &me, &seed, &end); err != nil {
		fmt.Println(err)
		return 2
	}
	h := &hammerer{dir: dir, me: me, r: rand.New(rand.NewPCG(seed, uint64(me)))}
	for time.Now().UnixNano() < end {
		if err := h.step(); err != nil {
			fmt.Println(err)
			return 1
		}
		h.steps++
	}
	fmt.Printf("appended %d counted %d steps %d\n", h.appended, h.counted, h.steps)
	return 0
}

type hammerer struct {
	dir                      string
	me                       int
	r                        *rand.Rand
	appended, counted, steps int
}

// name is one that all processes use.
func (h *hammerer) name() string { return filepath.Join(h.dir, fmt.Sprint("n", h.r.IntN(60))) }

// may passes errors on, but not those that others' work brings about.
func may(what string, err error, expected ...error) error {
	if err == nil || slices.ContainsFunc(expected, func(e error) bool { return errors.Is(err, e) }) {
		return nil
	}
	return fmt.Errorf("%s: %w", what, err)
}

func (h *hammerer) step() error {
	a, b := h.name(), h.name()
	switch h.r.IntN(12) {
	case 0:
		f, err := os.OpenFile(a, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o644)
		if err != nil {
			return may("create", err, unix.EEXIST)
		}
		defer f.Close()
		if _, err := f.WriteString(strings.Repeat("content ", h.r.IntN(1000))); err != nil {
			return err
		}
		return f.Sync()
	case 1:
		return may("rename", os.Rename(a, b), unix.ENOENT, unix.EISDIR, unix.ENOTDIR, unix.ENOTEMPTY, unix.EEXIST)
	case 2:
		return may("exchange", unix.Renameat2(unix.AT_FDCWD, a, unix.AT_FDCWD, b, unix.RENAME_EXCHANGE), unix.ENOENT)
	case 3:
		return may("unlink", unix.Unlink(a), unix.ENOENT, unix.EISDIR)
	case 4:
		return may("link", unix.Link(a, b), unix.ENOENT, unix.EEXIST, unix.EPERM)
	case 5:
		if h.r.IntN(2) == 0 {
			return may("mkdir", unix.Mkdir(a, 0o755), unix.EEXIST)
		}
		return may("rmdir", unix.Rmdir(a), unix.ENOENT, unix.ENOTDIR)
	case 6:
		c, err := os.ReadFile(a)
		if err := may("read", err, unix.ENOENT, unix.EISDIR); err != nil {
			return err
		}
		if s := string(c); s != strings.Repeat("content ", 1000)[:min(len(s), 8000)] {
			return fmt.Errorf("%d bytes that nobody wrote", len(s))
		}
	case 7:
		var st unix.Stat_t
		return may("stat", unix.Lstat(a, &st), unix.ENOENT)
	case 8:
		return h.list()
	case 9:
		return may("truncate", unix.Truncate(a, 0), unix.ENOENT, unix.EISDIR)
	case 10:
		f, err := os.OpenFile(filepath.Join(h.dir, "log"), os.O_APPEND|os.O_WRONLY, 0)
		if err != nil {
			return err
		}
		defer f.Close()
		h.appended++
		_, err = fmt.Fprintf(f, "process %d line %d\n", h.me, h.appended)
		return err
	case 11:
		return h.count()
	}
	return nil
}

// list looks at all names: none is there twice, and those that stay are there.
func (h *hammerer) list() error {
	f, err := os.Open(h.dir)
	if err != nil {
		return err
	}
	defer f.Close()
	names, err := f.Readdirnames(-1)
	if err != nil {
		return fmt.Errorf("list: %w", err)
	}
	stay := 0
	slices.Sort(names)
	for i, n := range names {
		if i > 0 && n == names[i-1] {
			return fmt.Errorf("%s is listed twice", n)
		}
		if strings.HasPrefix(n, "steady") {
			stay++
		}
	}
	if stay != steady {
		return fmt.Errorf("%d of %d names are listed", stay, steady)
	}
	return nil
}

// count adds one to the number in a file, under one of two kinds of lock. Both are held, for they do not exclude each other.
func (h *hammerer) count() error {
	f, err := os.OpenFile(filepath.Join(h.dir, "counter"), os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); err != nil {
		return fmt.Errorf("flock: %w", err)
	}
	lock := unix.Flock_t{Type: unix.F_WRLCK, Len: 20}
	if err := unix.FcntlFlock(f.Fd(), unix.F_SETLKW, &lock); err != nil {
		return fmt.Errorf("fcntl: %w", err)
	}
	var b [20]byte
	if _, err := f.ReadAt(b[:], 0); err != nil {
		return err
	}
	n, err := strconv.Atoi(string(b[:]))
	if err != nil {
		return err
	}
	if _, err := fmt.Fprintf(f, "%020d", n+1); err != nil {
		return err
	}
	h.counted++
	return nil
}
