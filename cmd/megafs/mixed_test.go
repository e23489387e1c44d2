package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// mixed is a mount that several workers use at once while it is killed, unmounted and mounted again. A life is the time between a mount and its end.
type mixed struct {
	*machine
	seed uint64

	mu     sync.Mutex
	cond   sync.Cond
	open   bool // workers may begin a step
	over   bool // they are to end
	inside int  // workers in a step
	life   int
	killed int // the latest life that was ended without warning
}

// worker does one thing again and again. A step returns what went wrong; what of it counts then is for check to know, which is called at the start of each
// life and at the end, and compares with what was acknowledged.
type worker interface {
	step() error
	check() error
}

var errOver = errors.New("the load is over")

// enter waits until steps may be made.
func (x *mixed) enter() (life int, err error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for !x.open && !x.over {
		x.cond.Wait()
	}
	if x.over {
		return 0, errOver
	}
	x.inside++
	return x.life, nil
}

// leave ends a step, and reports whether it was disturbed.
func (x *mixed) leave(life int) (disturbed bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.inside--
	x.cond.Broadcast()
	return x.killed == life
}

// shut lets nobody begin a step any more.
func (x *mixed) shut(kill bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.open = false
	if kill {
		x.killed = x.life
	}
}

// quiet waits until nobody is in a step. After a kill every call into the mount fails, so it must not take long.
func (x *mixed) quiet() {
	x.t.Helper()
	late := time.AfterFunc(3*time.Minute, x.cond.Broadcast)
	defer late.Stop()
	end := time.Now().Add(3 * time.Minute)
	x.mu.Lock()
	defer x.mu.Unlock()
	for x.inside > 0 {
		if time.Now().After(end) {
			x.t.Fatalf("%d workers hang", x.inside)
		}
		x.cond.Wait()
	}
}

// begin begins a life.
func (x *mixed) begin() {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.open = true
	x.life++
	x.cond.Broadcast()
}

// finish lets all workers end.
func (x *mixed) finish() {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.over = true
	x.cond.Broadcast()
}

// work lets a worker make steps until the load is over or something is wrong that no kill explains.
func (x *mixed) work(name string, w worker, rng *rand.Rand) {
	last, steps, broken := 1, 0, 0
	defer func() { x.t.Logf("%s: %d steps, %d of them broken off by a kill", name, steps, broken) }()
	for {
		life, err := x.enter()
		if err != nil {
			return
		}
		what := "step"
		if life != last {
			what, err = "what was acknowledged", w.check()
		} else {
			err = w.step()
		}
		disturbed := x.leave(life)
		switch {
		case err == nil && what == "step":
			steps++
		case err == nil:
			last = life
		case disturbed:
			broken++
		default:
			x.t.Errorf("%s, life %d: %s: %v", name, life, what, err)
			x.finish()
			return
		}
		time.Sleep(time.Duration(rng.IntN(200)) * time.Millisecond) // leaves the processors to others now and then
	}
}

// do runs a shell script in the mount's folder of a worker. A script that does not end is an error.
func (x *mixed) do(dir, script string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	c := x.command("bash", "-euo", "pipefail", "-c", script)
	c.Env = append(c.Env, "D="+dir)
	c.Dir = x.home
	var out bytes.Buffer
	c.Stdout, c.Stderr = &out, &out
	if err := c.Start(); err != nil {
		return "", err
	}
	kill := context.AfterFunc(ctx, func() { c.Process.Kill() })
	defer kill()
	c.WaitDelay = 5 * time.Second
	if err := c.Wait(); err != nil {
		return "", fmt.Errorf("%s: %w (%v)\n%s", script, err, ctx.Err(), out.String())
	}
	return out.String(), nil
}

// usageSample is what the serving process takes at a moment.
type usageSample struct {
	life       int
	at         time.Duration
	rss        int64
	fds, tasks int
}

func sampleOf(pid int) (s usageSample, ok bool) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
	if err != nil {
		return s, false
	}
	f := strings.Fields(string(b))
	if len(f) < 2 {
		return s, false
	}
	pages, err := strconv.ParseInt(f[1], 10, 64)
	if err != nil {
		return s, false
	}
	fds, _ := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	tasks, _ := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
	s.rss, s.fds, s.tasks = pages*int64(os.Getpagesize()), len(fds), len(tasks)
	return s, true
}

// sample takes samples until stop is closed.
func (x *mixed) sample(every time.Duration, stop <-chan struct{}) (out []usageSample) {
	begun := time.Now()
	life, pid := 0, 0
	for {
		select {
		case <-stop:
			return out
		case <-time.After(every):
		}
		x.mu.Lock()
		now, open := x.life, x.open
		x.mu.Unlock()
		if !open {
			continue
		}
		if life != now {
			life, pid = now, x.pid()
		}
		if s, ok := sampleOf(pid); ok {
			s.life, s.at = life, time.Since(begun)
			out = append(out, s)
		}
	}
}

// TestMixedLoad lets cp, git, sqlite, an append-only log, an editor's saves and random overwrites go on at once for a while, in lives of different lengths that
// end with a kill -9, an unmount, or an unmount and the loss of the cache. After each, all that was acknowledged must be there; at the end also on a machine
// that has only the vault, which must be whole. Memory must stay within its limit and not grow with a life, nor descriptors and threads, and the log say nothing that is wrong.
//
// It takes 20 s of load; MEGAFS_TEST_MIXED sets another duration, MEGAFS_TEST_SEED repeats the choices of a run.
func TestMixedLoad(t *testing.T) {
	d := 20 * time.Second
	if s := os.Getenv("MEGAFS_TEST_MIXED"); s != "" {
		var err error
		if d, err = time.ParseDuration(s); err != nil {
			t.Fatal(err)
		}
	}
	x := &mixed{machine: newMachine(t), seed: randomSeed(t)}
	x.cond.L = &x.mu
	rng := rand.New(rand.NewPCG(x.seed, 0))
	x.sh("git config --global user.email a@b; git config --global user.name n; git config --global safe.directory '*'; git config --global gc.auto 0")
	x.mount()
	workers := x.workers(x.mnt)
	x.begin()
	var wg sync.WaitGroup
	for i, w := range workers {
		wg.Go(func() { x.work(w.name, w.worker, rand.New(rand.NewPCG(x.seed, uint64(i+100)))) })
	}
	stop := make(chan struct{})
	var samples []usageSample
	var sampling sync.WaitGroup
	sampling.Go(func() { samples = x.sample(max(50*time.Millisecond, d/2000), stop) })
	defer wg.Wait()
	defer x.finish()
	kills, unmounts, losses := x.disturb(rng, d)
	close(stop)
	sampling.Wait()
	x.finish()
	wg.Wait()
	t.Logf("%d kills, %d unmounts, the cache lost %d times", kills, unmounts, losses)
	x.flat(samples)
	all := func(when string) {
		for _, w := range workers {
			if err := w.check(); err != nil {
				t.Errorf("%s: %s: %v", when, w.name, err)
			}
		}
	}
	all("at the end")
	x.umount()
	x.cleanLog()
	x.want(0, "0 damaged", "vault", "verify")
	x.wipe(".local/state/megafs/*")
	x.wipe(".cache/megafs/*")
	x.mount("--trust-first-use")
	all("on a new machine")
	x.umount()
}

// disturb ends lives until the time is over. Most are short; some last for a quarter of all the time.
func (x *mixed) disturb(rng *rand.Rand, d time.Duration) (kills, unmounts, losses int) {
	for end := time.Now().Add(d); ; {
		lasts := time.Duration(rng.Int64N(int64(d/20) + 1))
		if rng.IntN(4) == 0 {
			lasts = d / 4
		}
		next := time.Now().Add(min(lasts+200*time.Millisecond, time.Until(end)))
		x.mu.Lock()
		for !x.over && time.Now().Before(next) {
			wake := time.AfterFunc(time.Until(next)+time.Millisecond, x.cond.Broadcast)
			x.cond.Wait()
			wake.Stop()
		}
		over := x.over
		x.mu.Unlock()
		kill := rng.IntN(3) > 0
		x.shut(kill)
		if over || !time.Now().Before(end) {
			if kill {
				x.kill9()
			}
			x.quiet()
			if kill {
				kills++
				x.mount()
			}
			return kills, unmounts, losses
		}
		if kill {
			kills++
			x.kill9()
			x.quiet()
		} else {
			unmounts++
			x.quiet()
			x.want(0, "is unmounted", "umount", x.mnt)
		}
		if rng.IntN(4) == 0 {
			losses++
			if kill {
				exec.Command("umount", "-l", x.mnt).Run()
			}
			x.wipe(".cache/megafs/*")
		}
		x.mount()
		x.begin()
	}
}

// flat looks whether the process grew. A life begins with empty caches, so its first tenth does not count, nor lives too short to tell.
func (x *mixed) flat(samples []usageSample) {
	const limit = 256 << 20 // the default of --memory
	lives := map[int][]usageSample{}
	for _, s := range samples {
		lives[s.life] = append(lives[s.life], s)
		if s.rss > limit {
			x.t.Errorf("life %d: %d MiB of memory", s.life, s.rss>>20)
		}
	}
	for life := 1; life <= x.life; life++ {
		l := lives[life]
		l = l[len(l)/10:]
		if len(l) < 30 {
			continue
		}
		mean := func(l []usageSample) (s usageSample) {
			for _, a := range l {
				s.rss, s.fds, s.tasks = s.rss+a.rss, s.fds+a.fds, s.tasks+a.tasks
			}
			n := len(l)
			s.rss, s.fds, s.tasks = s.rss/int64(n), s.fds/n, s.tasks/n
			return s
		}
		a, b := mean(l[:len(l)/3]), mean(l[len(l)*2/3:])
		long := l[len(l)-1].at - l[0].at
		x.t.Logf("life %d, %v: %d MiB in its first third, %d MiB in its last; descriptors %d and %d, threads %d and %d",
			life, long.Round(time.Second), a.rss>>20, b.rss>>20, a.fds, b.fds, a.tasks, b.tasks)
		if long > 2*time.Minute && b.rss > a.rss*5/4+(16<<20) {
			x.t.Errorf("life %d: memory grows", life)
		}
		if b.fds > a.fds+64 || b.tasks > a.tasks+32 {
			x.t.Errorf("life %d: descriptors or threads leak", life)
		}
	}
}

// expected are the warnings that such a load may lead to.
var expected = []string{
	"the tree index", // after a kill, or when the cache was lost
}

// cleanLog looks through what the serving processes logged.
func (x *mixed) cleanLog() {
	said := map[string]int{}
	for _, p := range x.dirs(".local/state/megafs/*/megafs.log*") {
		b, err := os.ReadFile(p)
		if err != nil {
			x.t.Fatal(err)
		}
	lines:
		for line := range strings.Lines(string(b)) {
			msg := strings.TrimSpace(line)
			if _, rest, ok := strings.Cut(msg, "level="); ok && strings.HasPrefix(msg, "time=") {
				msg = "level=" + rest
				if strings.HasPrefix(rest, "INFO") {
					msg, _, _ = strings.Cut(msg, " version=")
					said[msg]++
					continue
				}
			}
			said[msg]++
			for _, e := range expected {
				if strings.Contains(msg, "level=WARN") && strings.Contains(msg, e) {
					continue lines
				}
			}
			x.t.Errorf("%s: %s", filepath.Base(p), msg)
		}
	}
	for msg, n := range said {
		x.t.Logf("logged %d times: %s", n, msg)
	}
}
