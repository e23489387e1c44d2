package main

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"megafs/remote/blob/blobtest"
)

// killed is a mount that is killed again and again, and what must be in it.
type killed struct {
	*machine
	rng    *rand.Rand
	files  map[string]*lineage // by name, as acknowledged
	all    []*lineage
	unsure *doubt // what a kill interrupted
	count  int
}

// lineage is a file, whatever its name is: what it contained at any time.
type lineage struct {
	content  string
	history  []string
	replaced int
}

// doubt is an operation of which nobody knows whether it was done.
type doubt struct {
	from, to string   // names; "": none
	file     *lineage // that was to be at to
	next     string   // its content
}

// step does one thing, and returns an error if the mount went.
func (x *killed) step() error {
	names := slices.Sorted(maps.Keys(x.files))
	at := func(name string) string { return filepath.Join(x.mnt, name) }
	x.count++
	fresh := fmt.Sprintf("d%d/f%d", x.rng.IntN(3), x.count)
	k := x.rng.IntN(10)
	if len(names) < 5 {
		k = 0
	} else if len(names) > 40 && k < 3 {
		k = 9
	}
	content := payload("content", x.count, x.rng)
	switch {
	case k < 3: // a new file
		f := &lineage{history: []string{""}}
		x.all = append(x.all, f)
		x.unsure = &doubt{to: fresh, file: f, next: content}
		if err := durable(at(fresh), content); err != nil {
			return err
		}
		x.files[fresh] = f
		f.becomes(content)
	case k < 5: // one that takes another's place
		name := names[x.rng.IntN(len(names))]
		f, tmp := x.files[name], fresh+".tmp"
		x.unsure = &doubt{to: tmp, file: &lineage{history: []string{"", content}}, next: content}
		x.all = append(x.all, x.unsure.file)
		if err := durable(at(tmp), content); err != nil {
			return err
		}
		x.files[tmp] = x.unsure.file
		x.files[tmp].content = content
		x.unsure = &doubt{from: tmp, to: name, file: f, next: content}
		if err := os.Rename(at(tmp), at(name)); err != nil {
			return err
		}
		delete(x.files, tmp)
		f.becomes(content)
		f.replaced++
	case k < 7: // other bytes in the same place
		name := names[x.rng.IntN(len(names))]
		f := x.files[name]
		mark := fmt.Sprintf("again %d.", x.count)
		if len(f.content) < len(mark)+5 {
			return nil
		}
		next := mark + f.content[len(mark):]
		x.unsure = &doubt{to: name, file: f, next: next}
		w, err := os.OpenFile(at(name), os.O_WRONLY, 0)
		if err != nil {
			return err
		}
		_, err = w.WriteAt([]byte(mark), 0)
		if cerr := w.Close(); err == nil {
			err = cerr
		}
		if err != nil {
			return err
		}
		f.becomes(next)
		f.replaced++
	case k < 9:
		name := names[x.rng.IntN(len(names))]
		x.unsure = &doubt{from: name, to: fresh, file: x.files[name], next: x.files[name].content}
		if err := os.Rename(at(name), at(fresh)); err != nil {
			return err
		}
		x.files[fresh] = x.files[name]
		delete(x.files, name)
	default:
		name := names[x.rng.IntN(len(names))]
		x.unsure = &doubt{from: name}
		if err := os.Remove(at(name)); err != nil {
			return err
		}
		delete(x.files, name)
	}
	x.unsure = nil
	return nil
}

func (f *lineage) becomes(content string) {
	f.content = content
	f.history = append(f.history, content)
}

// durable writes a new file and waits until it is on the disk.
func durable(p, content string) error {
	f, err := os.OpenFile(p, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := f.WriteString(content); err != nil {
		return err
	}
	return f.Sync()
}

// settle finds out what became of the operation that a kill interrupted.
func (x *killed) settle() {
	d := x.unsure
	if x.unsure = nil; d == nil {
		return
	}
	read := func(name string) (string, bool) {
		b, err := os.ReadFile(filepath.Join(x.mnt, name))
		return string(b), err == nil
	}
	if d.from != "" {
		if _, still := read(d.from); still {
			return // not done
		}
		gone := x.files[d.from]
		if delete(x.files, d.from); d.to == "" {
			return
		}
		if x.files[d.to] != nil && gone != d.file { // it took another's place
			d.file.replaced++
		}
	} else if _, there := read(d.to); !there && x.files[d.to] == nil {
		return // it was never made
	}
	got, there := read(d.to)
	if !there || got != d.next && got != d.file.content && !strings.HasPrefix(d.next, got) {
		x.t.Fatalf("%s is %.60q, there %v, after it was interrupted on the way from %.60q to %.60q", d.to, got, there, d.file.content, d.next)
	}
	if d.from == "" && x.files[d.to] != nil && got != d.file.content {
		d.file.replaced++
	}
	x.files[d.to] = d.file
	d.file.becomes(got)
}

// TestG8MegaKill kills a mount of an account again and again, while files are uploaded, replaced, moved and removed over a line that is cut, to a server that fails, and where requests arrive long after whoever sent them
// gave up. In the end everything is there, once. MEGAFS_TEST_KILLS sets how often, MEGAFS_TEST_SEED repeats the choices of a run.
func TestG8MegaKill(t *testing.T) {
	kills := 8
	if n, err := strconv.Atoi(os.Getenv("MEGAFS_TEST_KILLS")); err == nil {
		kills = n
	}
	seed := randomSeed(t)
	late := &belated{rng: rand.New(rand.NewPCG(seed, 1))}
	m, server, addr := megaAccountBehind(t, func(h http.Handler) http.Handler { late.server = h; return late })
	line := blobtest.NewLine(t, addr, blobtest.LineOptions{RoundTrip: 2 * time.Millisecond})
	m.logIn(line.Addr)
	m.mount()
	m.sh("mkdir $M/d0 $M/d1 $M/d2")
	m.want(0, "", "sync", m.mnt)
	x := &killed{machine: m, rng: rand.New(rand.NewPCG(seed, 2)), files: map[string]*lineage{}}
	stop, ended := make(chan struct{}), make(chan struct{})
	late.hold(4 * time.Second)
	go func() { defer close(ended); trouble(line, server.Faults(), rand.New(rand.NewPCG(seed, 3)), stop) }()
	defer func() { late.hold(0); m.end() }()
	stopped := sync.OnceFunc(func() { close(stop); <-ended })
	defer stopped()
	for i := range kills {
		pid := m.pid()
		urged := make(chan struct{})
		go func() { // all is sent at once, again and again
			defer close(urged)
			for m.command("kill", "-0", fmt.Sprint(pid)).Run() == nil {
				m.command(bin, "sync", "--timeout", "5s", m.mnt).Run()
			}
		}()
		die := time.AfterFunc(time.Duration(200+x.rng.IntN(2000))*time.Millisecond, func() { killPID(pid) })
		steps := 0
		for burst := 1 + x.rng.IntN(12); ; {
			if err := x.step(); err != nil {
				t.Logf("kill %d: after %d steps: %v", i, steps, err)
				break
			}
			if steps++; steps%burst == 0 { // so that it is sent
				time.Sleep(time.Duration(x.rng.IntN(1200)) * time.Millisecond)
			}
		}
		die.Stop()
		<-urged
		m.mount()
		x.settle()
		x.check("after a kill")
		if t.Failed() {
			return
		}
	}
	stopped()
	late.hold(0)
	m.want(0, "", "sync", "--timeout", "2m", m.mnt)
	x.check("in the end")
	t.Logf("%d faults happened, %d requests for %d nodes came late", server.Faults().Hits(), late.held, late.puts)
	// What came late may have to be cleared away.
	var why string
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(200 * time.Millisecond) {
		if why = x.wrong(readTruth(t, "http://"+addr, "me@example.com", "a password"), late.puts); why == "" || time.Now().After(end) {
			break
		}
	}
	if why != "" {
		t.Error(why)
	}
	x.check("at last")
	m.umount()
}

func killPID(pid int) {
	if p, err := os.FindProcess(pid); err == nil {
		p.Kill()
	}
}

func (x *killed) lines() (out []string) {
	for name, f := range x.files {
		out = append(out, treeLine(name, false, f.content))
	}
	for i := range 3 {
		out = append(out, treeLine(fmt.Sprint("d", i), true, ""))
	}
	slices.Sort(out)
	return out
}

// check holds the mount against what was acknowledged.
func (x *killed) check(when string) {
	x.t.Helper()
	if got, err := x.shown(false); err != nil || !slices.Equal(got, x.lines()) {
		x.t.Errorf("%s, the mount has something else, %v:\n%s", when, err, apart(x.lines(), got))
	}
}

// wrong says what is wrong with the account. Each node that was asked for by a request that came late may be one more version of what was made meanwhile.
func (x *killed) wrong(all *truth, late int) string {
	var why, twice strings.Builder
	double := map[string]int{}
	if got := all.live(); !slices.Equal(got, x.lines()) {
		fmt.Fprintf(&why, "the account has something else:\n%s", apart(x.lines(), got))
	}
	once := map[string]bool{}
	for _, f := range x.all {
		for _, c := range f.history {
			once[c] = true
		}
	}
	versions, in := map[string][]string{}, map[string]int{}
	for _, n := range all.nodes {
		if n.T != 0 {
			continue
		}
		if !once[n.content] {
			fmt.Fprintf(&why, "no file ever was %d bytes %.40q\n", len(n.content), n.content)
		}
		top := n
		for all.old(top) {
			top = all.nodes[top.P]
		}
		switch live, _ := all.under(top, all.root); {
		case live && top == n:
			in[n.content]++
		case live:
			name := all.path(top)
			if n.content != "" { // each begins so, and may have been sent like that
				versions[name] = append(versions[name], n.content)
			}
			if n.content == all.nodes[n.P].content { // nothing is ever written twice
				fmt.Fprintf(&twice, "%s has two versions of %d bytes %.40q\n", name, len(n.content), n.content)
				double[name]++
				late--
			}
		}
	}
	for c, n := range in {
		if n > 1 {
			fmt.Fprintf(&why, "%d bytes %.20q are there %d times\n", len(c), c, n)
		}
	}
	for name, olds := range versions {
		f := x.files[name]
		if f == nil {
			continue // told already
		}
		if len(olds) > f.replaced+double[name] {
			fmt.Fprintf(&why, "%s was replaced %d times and has %d other versions\n", name, f.replaced, len(olds))
		}
		for _, c := range olds {
			if !slices.Contains(f.history, c) {
				fmt.Fprintf(&why, "%s was never %.40q\n", name, c)
			}
		}
	}
	if late < 0 {
		why.WriteString(twice.String())
	}
	return why.String()
}
