package main

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"megafs/remote/blob/blobtest"
)

// figures is a mount whose bucket is 20 ms and 200 Mbit/s away, and what it asked of it.
type figures struct {
	*machine
	flags []string // of mount
	last  status
	src   string // a tree of small files
	seed  uint64

	mounts int // so far
}

const (
	lineTrip = 20 * time.Millisecond
	lineRate = 25e6 // bytes a second
)

func newFigures(t *testing.T) *figures {
	m := newMachine(t)
	srv := blobtest.NewS3Server(t)
	line := blobtest.NewLine(t, srv.Addr, blobtest.LineOptions{RoundTrip: lineTrip, Rate: lineRate})
	m.url = srv.Over(line.Addr)
	x := &figures{machine: m}
	pass, _ := m.init()
	x.flags = []string{"--passphrase-file", pass}
	x.seed = uint64(time.Now().UnixNano())
	t.Log("seed", x.seed)
	return x
}

// begin mounts; cold without what was cached, or known of the tree.
func (x *figures) begin(cold bool) {
	x.t.Helper()
	if cold {
		x.wipe(".cache/megafs/*")
	}
	start := time.Now()
	x.mount(x.flags...)
	took := time.Since(start)
	x.last = status{}
	requests, _, _ := x.tell(fmt.Sprintf("mount (cold %v)", cold), took, 0)
	// The command that mounts made two more, for a vault's keyring.
	if !cold && x.mounts > 0 && requests+2 > 5 {
		x.t.Errorf("mounting what is known took %d requests", requests+2)
	}
	x.mounts++
}

// tell reports what was asked of the store since the last time.
func (x *figures) tell(what string, took time.Duration, bytes int64) (requests, up, down uint64) {
	x.t.Helper()
	s := x.status()
	var kinds []string
	for _, k := range slices.Sorted(maps.Keys(s.Requests)) {
		if n := s.Requests[k] - x.last.Requests[k]; n > 0 && k != "usage" { // which a bucket is not asked for
			kinds = append(kinds, fmt.Sprintf("%d %s", n, k))
			requests += n
		}
	}
	up, down = s.BytesUp-x.last.BytesUp, s.BytesDown-x.last.BytesDown
	line := fmt.Sprintf("%-28s %7.2f s  %s; %.1f MB up, %.1f MB down", what, took.Seconds(), strings.Join(kinds, ", "), float64(up)/1e6, float64(down)/1e6)
	if bytes > 0 {
		rate := float64(bytes) / took.Seconds()
		line += fmt.Sprintf("; %.1f MB/s, %.0f %% of the line", rate/1e6, rate/lineRate*100)
	}
	x.t.Log(line)
	x.last = s
	return requests, up, down
}

// time runs a script, and waits until all is sent.
func (x *figures) time(script string) (took, synced time.Duration) {
	x.t.Helper()
	start := time.Now()
	x.sh(script)
	took = time.Since(start)
	x.want(0, "", "sync", x.mnt)
	return took, time.Since(start)
}

// TestS3Figures does on a bucket at a distance what people do, and holds the requests and bytes that it takes against what they may be. With MEGAFS_TEST_FIGURES it does that
// with a tree of over 10 000 files and a file of 1 GiB, which takes some minutes, and its times mean something on a machine that is quiet.
func TestS3Figures(t *testing.T) {
	x := newFigures(t)
	root := strings.TrimSpace(x.sh("go env GOROOT"))
	x.src = root + "/src/net"
	big, small, writes := int64(24<<20), int64(16<<20), 60
	full := os.Getenv("MEGAFS_TEST_FIGURES") != ""
	if full {
		x.src = root + "/src"
		big, small, writes = 1<<30, 256<<20, 1000
	}
	t.Run("tree", func(t *testing.T) { x.tree(t) })
	t.Run("sequential", func(t *testing.T) { x.sequential(t, big, full) })
	t.Run("overwrites", func(t *testing.T) { x.overwrites(t, small, writes) })
}

func (x *figures) tree(t *testing.T) {
	_, bytes := x.archive(t, ".")
	x.begin(false)
	took, synced := x.time("mkdir $M/tree; tar -C $M/tree -xf tree.tar")
	t.Logf("untar itself %.2f s", took.Seconds())
	requests, up, _ := x.tell("untar until sent", synced, bytes)
	if most := up/2_000_000 + 10; requests > most {
		t.Errorf("untar took %d requests for %d bytes; at most %d were to be", requests, up, most)
	}
	took, _ = x.time(fmt.Sprintf("rsync -a %s/ $M/tree/", x.src))
	if requests, up, _ := x.tell("rsync without change", took, 0); requests > 5 || up > 10_000 {
		t.Errorf("rsync of what is there already sent %d bytes in %d requests", up, requests)
	}
	x.umount()
	x.begin(true)
	took, _ = x.time("grep -r no-such-words-anywhere $M/tree || true")
	_, _, down := x.tell("grep -r, cold", took, bytes)
	if down > uint64(bytes)*3/2 {
		t.Errorf("grep fetched %d bytes of a tree of %d", down, bytes)
	}
	x.umount()
	x.begin(false)
	took, _ = x.time("grep -r no-such-words-anywhere $M/tree || true")
	x.tell("grep -r, from the cache", took, bytes)
	x.same(x.src, x.mnt+"/tree")
	x.umount()
	x.begin(true)
	took, synced = x.time("rm -rf $M/tree")
	t.Logf("rm itself %.2f s", took.Seconds())
	if requests, _, _ := x.tell("rm -rf until sent", synced, 0); requests > 10 {
		t.Errorf("rm took %d requests", requests)
	}
	x.umount()
}

func (x *figures) sequential(t *testing.T, size int64, full bool) {
	x.begin(false)
	x.sh(fmt.Sprintf("head -c %d /dev/urandom >big", size))
	_, synced := x.time("cp big $M/big")
	requests, up, _ := x.tell("sequential write until sent", synced, size)
	if most := up/2_000_000 + 10; requests > most {
		t.Errorf("%d requests for %d bytes", requests, up)
	}
	x.umount()
	x.begin(true)
	start := time.Now()
	x.sh("cat $M/big | cmp - big")
	_, _, down := x.tell("sequential read, cold", time.Since(start), size)
	if down > uint64(size)*21/20+1<<20 {
		t.Errorf("%d bytes were fetched of a file of %d", down, size)
	}
	x.umount()
	x.begin(true)
	f, err := os.Open(filepath.Join(x.mnt, "big"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	rng := rand.New(rand.NewPCG(x.seed, 1))
	n, b := 200, make([]byte, 4096)
	if !full {
		n = 30
	}
	unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_RANDOM)
	times := make([]time.Duration, n)
	for i := range times {
		start := time.Now()
		if _, err := f.ReadAt(b, rng.Int64N(size/4096)*4096); err != nil {
			t.Fatal(err)
		}
		times[i] = time.Since(start)
	}
	slices.Sort(times)
	x.tell("random reads of 4 KiB, cold", times[n/2], 0)
	t.Logf("the median takes %v", times[n/2].Round(100*time.Microsecond))
	f.Close()
	x.umount()
}

func (x *figures) overwrites(t *testing.T, size int64, n int) {
	x.begin(false)
	x.sh(fmt.Sprintf("head -c %d /dev/urandom >over; cp over $M/over", size))
	x.want(0, "", "sync", x.mnt)
	x.tell("before overwrites", 0, 0)
	b := make([]byte, 4096)
	start := time.Now()
	for _, p := range []string{filepath.Join(x.mnt, "over"), filepath.Join(x.home, "over")} {
		f, err := os.OpenFile(p, os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		again := rand.New(rand.NewPCG(x.seed, 2))
		for range n {
			for i := range b {
				b[i] = byte(again.Uint32())
			}
			if _, err := f.WriteAt(b, again.Int64N(size/4096)*4096); err != nil {
				t.Fatal(err)
			}
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
	}
	x.want(0, "", "sync", x.mnt)
	_, up, _ := x.tell(fmt.Sprintf("%d overwrites until sent", n), time.Since(start), 0)
	if changed := uint64(n) * 4096; up >= 6*changed {
		t.Errorf("%d bytes were sent for %d that were changed", up, changed)
	}
	x.umount()
	x.begin(true)
	x.sh("cmp over $M/over")
	x.umount()
}
