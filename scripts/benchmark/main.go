package main

import (
	"crypto/rand"
	"errors"
	"flag"
	"fmt"
	"io"
	mrand "math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"sort"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// place is a directory to work in, and how to make its caches cold.
type place struct {
	name    string
	dir     string
	remount func() error // nil: none needed
	settle  func() error // waits until what was done before is done with; nil: sync(1) is all
}

// work is one measurement. prepare is not timed; run returns what was done, in unit.
type work struct {
	name    string
	unit    string
	cold    bool // remounted and with the page cache dropped before run
	fresh   bool // run once untimed, then remounted: what lies below the mount is in the page cache, what it shows is not
	prepare func(dir string) error
	run     func(dir string) (float64, error)
	budget  float64 // of what this machine can do at best through FUSE, in unit per second; 0: none known
}

const (
	bigSize  = 512 << 20
	small    = 256 << 20
	numReads = 4000
)

func main() {
	rounds := flag.Int("rounds", 5, "how often each is measured")
	bin := flag.String("megafs", "bin/megafs", "the program")
	base := flag.String("dir", "/var/tmp", "where to work")
	flag.Parse()
	if err := bench(*bin, *base, *rounds, flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, "benchmark:", err)
		os.Exit(1)
	}
}

func bench(bin, base string, rounds int, only []string) (err error) {
	if bin, err = filepath.Abs(bin); err != nil {
		return err
	}
	root, err := os.MkdirTemp(base, "megafs-bench")
	if err != nil {
		return err
	}
	defer os.RemoveAll(root)
	archive := filepath.Join(root, "tree.tar")
	goroot, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		return err
	}
	if err := run("tar", "-C", strings.TrimSpace(string(goroot)), "-cf", archive, "src"); err != nil {
		return err
	}
	places, end, err := mountAll(bin, root)
	defer end()
	if err != nil {
		return err
	}
	results := map[string]map[string][]float64{}
	all := works(archive)
	for range rounds {
		for _, w := range all {
			if !chosen(w.name, only) {
				continue
			}
			for _, p := range places {
				v, err := measure(w, p)
				if err != nil {
					return fmt.Errorf("%s on %s: %w", w.name, p.name, err)
				}
				if results[w.name] == nil {
					results[w.name] = map[string][]float64{}
				}
				results[w.name][p.name] = append(results[w.name][p.name], v)
			}
		}
	}
	report(all, places, results, rounds)
	return nil
}

func chosen(name string, only []string) bool {
	for _, o := range only {
		if strings.Contains(name, o) {
			return true
		}
	}
	return len(only) == 0
}

// mountAll makes the places. end takes them away.
func mountAll(bin, root string) (list []*place, end func(), err error) {
	var ends []func()
	end = func() {
		for _, f := range ends {
			f()
		}
	}
	disk := &place{name: "disk", dir: filepath.Join(root, "disk")}
	if err := os.Mkdir(disk.dir, 0o755); err != nil {
		return nil, end, err
	}
	mega := &place{name: "megafs", dir: filepath.Join(root, "mega")}
	home := filepath.Join(root, "home")
	for _, d := range []string{mega.dir, home} {
		if err := os.Mkdir(d, 0o755); err != nil {
			return nil, end, err
		}
	}
	megafs := func(args ...string) error {
		c := exec.Command(bin, args...)
		c.Env = append(os.Environ(), "HOME="+home, "XDG_DATA_HOME=", "XDG_STATE_HOME=", "XDG_CACHE_HOME=", "XDG_CONFIG_HOME=", "XDG_RUNTIME_DIR="+home)
		out, err := c.CombinedOutput()
		if err != nil {
			err = fmt.Errorf("%w: %s", err, out)
		}
		return err
	}
	if err := megafs("mount", mega.dir); err != nil {
		return nil, end, err
	}
	ends = append(ends, func() { megafs("umount", "--lazy", mega.dir) })
	mega.settle = func() error { return megafs("sync", mega.dir) }
	mega.remount = func() error { return errors.Join(megafs("umount", "--wait", mega.dir), megafs("mount", mega.dir)) }
	list = []*place{disk, mega}
	if _, err := exec.LookPath("gocryptfs"); err == nil {
		g := &place{name: "gocryptfs", dir: filepath.Join(root, "gc")}
		store, pass := filepath.Join(root, "gcstore"), filepath.Join(root, "pass")
		os.Mkdir(g.dir, 0o755)
		os.Mkdir(store, 0o755)
		os.WriteFile(pass, []byte("benchmark\n"), 0o600)
		if err := run("gocryptfs", "-q", "-init", "-scryptn", "10", "-passfile", pass, store); err != nil {
			return list, end, err
		}
		mount := func() error { return run("gocryptfs", "-q", "-passfile", pass, store, g.dir) }
		if err := mount(); err != nil {
			return list, end, err
		}
		ends = append(ends, func() { run("umount", "-l", g.dir) })
		g.remount = func() error { return errors.Join(run("fusermount3", "-u", g.dir), mount()) }
		list = append(list, g)
	}
	return list, end, nil
}

func run(name string, args ...string) error {
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		err = fmt.Errorf("%s: %w: %s", name, err, out)
	}
	return err
}

// dropCaches empties the page cache, where we may.
func dropCaches() {
	os.WriteFile("/proc/sys/vm/drop_caches", []byte("3"), 0)
}

func measure(w work, p *place) (float64, error) {
	if w.prepare != nil {
		if err := w.prepare(p.dir); err != nil {
			return 0, err
		}
	}
	// What is timed begins with nothing left to do: neither has what came before to be sent, nor written to the disk.
	if p.settle != nil {
		if err := p.settle(); err != nil {
			return 0, err
		}
	}
	unix.Sync()
	if w.fresh {
		if _, err := w.run(p.dir); err != nil {
			return 0, err
		}
	}
	if (w.cold || w.fresh) && p.remount != nil {
		if err := p.remount(); err != nil {
			return 0, err
		}
	}
	if w.cold {
		dropCaches()
	}
	start := time.Now()
	n, err := w.run(p.dir)
	return n / time.Since(start).Seconds(), err
}

func works(archive string) []work {
	big := func(dir string) string { return filepath.Join(dir, "big") }
	db := func(dir string) string { return filepath.Join(dir, "db") }
	have := func(path string, size int) func(dir string) error {
		return func(dir string) error {
			if fi, err := os.Stat(filepath.Join(dir, path)); err == nil && fi.Size() == int64(size) {
				return nil
			}
			return write(filepath.Join(dir, path), size)
		}
	}
	tree := func(dir string) error {
		if _, err := os.Stat(filepath.Join(dir, "src")); err == nil {
			return nil
		}
		return run("tar", "-C", dir, "-xf", archive)
	}
	count := func(dir string) (float64, error) {
		n := 0
		err := filepath.WalkDir(filepath.Join(dir, "src"), func(string, os.DirEntry, error) error { n++; return nil })
		return float64(n), err
	}
	return []work{
		{name: "seqwrite, to fsync", unit: "MB", budget: 1200, prepare: func(dir string) error { os.Remove(big(dir)); return nil },
			run: func(dir string) (float64, error) { return bigSize / 1e6, write(big(dir), bigSize) }},
		{name: "seqread, cold", unit: "MB", cold: true, budget: 600, prepare: have("big", bigSize), run: func(dir string) (float64, error) { return readAll(big(dir)) }},
		{name: "seqread, remounted", unit: "MB", fresh: true, budget: 1500, prepare: have("big", bigSize), run: func(dir string) (float64, error) { return readAll(big(dir)) }},
		{name: "seqread, in the page cache", unit: "MB", budget: 10000, prepare: have("big", bigSize), run: func(dir string) (float64, error) { return readAll(big(dir)) }},
		{name: "random 4 KiB reads, cold", unit: "reads", cold: true, budget: 15600, prepare: have("db", small), run: func(dir string) (float64, error) { return random(db(dir), false) }},
		{name: "random 4 KiB overwrites and fsync", unit: "writes", prepare: have("db", small), run: func(dir string) (float64, error) { return random(db(dir), true) }},
		{name: "untar, 10 000+ files", unit: "files", budget: 13000, prepare: func(dir string) error { return os.RemoveAll(filepath.Join(dir, "src")) },
			run: func(dir string) (float64, error) {
				if err := run("tar", "-C", dir, "-xf", archive); err != nil {
					return 0, err
				}
				return 12000, nil
			}},
		{name: "find, cold", unit: "files", cold: true, budget: 240000, prepare: tree, run: count},
		{name: "find, again", unit: "files", prepare: tree, run: count},
		{name: "stat of all files, cold", unit: "files", cold: true, budget: 18000, prepare: tree, run: func(dir string) (float64, error) {
			out, err := exec.Command("find", filepath.Join(dir, "src"), "-newermt", "2100-01-01").Output()
			return 12000 + float64(len(out)), err
		}},
		{name: "rm -rf, 10 000+ files", unit: "files", prepare: tree, run: func(dir string) (float64, error) {
			return 12000, os.RemoveAll(filepath.Join(dir, "src"))
		}},
	}
}

// write writes a file of random bytes in pieces of 1 MiB and syncs it.
func write(path string, size int) error {
	buf := make([]byte, 1<<20)
	rand.Read(buf)
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	for n := 0; n < size && err == nil; n += len(buf) {
		buf[0]++
		_, err = f.Write(buf)
	}
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

func readAll(path string) (float64, error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	n, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{f}, make([]byte, 1<<20))
	return float64(n) / 1e6, err
}

// random reads or writes 4 KiB at random places.
func random(path string, over bool) (float64, error) {
	flags, n := os.O_RDONLY, numReads
	if over {
		flags, n = os.O_RDWR, 1000
	}
	f, err := os.OpenFile(path, flags, 0)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	r := mrand.New(mrand.NewPCG(1, 2))
	buf := make([]byte, 4096)
	rand.Read(buf)
	for range n {
		off := r.Int64N(small/4096) * 4096
		if over {
			_, err = f.WriteAt(buf, off)
		} else {
			_, err = f.ReadAt(buf, off)
		}
		if err != nil {
			return 0, err
		}
	}
	if over {
		err = f.Sync()
	}
	return float64(n), err
}

func median(v []float64) float64 {
	sort.Float64s(v)
	return v[len(v)/2]
}

func report(all []work, places []*place, results map[string]map[string][]float64, rounds int) {
	fmt.Printf("Medians of %d, per second.\n\n| work |", rounds)
	for _, p := range places {
		fmt.Printf(" %s |", p.name)
	}
	fmt.Print(" megafs : disk |")
	if len(places) > 2 {
		fmt.Print(" megafs : gocryptfs |")
	}
	fmt.Print(" budget | reached |\n|---|")
	fmt.Print(strings.Repeat("---|", 3+len(places)+max(0, len(places)-2)), "\n")
	for _, w := range all {
		r := results[w.name]
		if r == nil {
			continue
		}
		fmt.Printf("| %s |", w.name)
		for _, p := range places {
			fmt.Printf(" %.0f %s |", median(r[p.name]), w.unit)
		}
		m := median(r["megafs"])
		for _, p := range places {
			if p.name != "megafs" {
				fmt.Printf(" %.2f |", m/median(r[p.name]))
			}
		}
		if w.budget > 0 {
			fmt.Printf(" %.0f | %.0f %% |\n", w.budget, 100*m/w.budget)
		} else {
			fmt.Print(" | |\n")
		}
	}
}
