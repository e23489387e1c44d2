package main

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"megafs/crypto/megacrypt"
	"megafs/remote/blob/blobtest"
)

// newMegaFigures is an account on a megafs serve of its own, 20 ms and 200 Mbit/s away.
func newMegaFigures(t *testing.T) *figures {
	m, url := servedMachine(t)
	m.logIn(blobtest.NewLine(t, strings.TrimPrefix(url, "http://"), blobtest.LineOptions{RoundTrip: lineTrip, Rate: lineRate}).Addr)
	return &figures{machine: m}
}

// TestMegaFigures does on a MEGA account at a distance what people do, and says what it takes. It needs MEGAFS_TEST_FIGURES, and takes some minutes; MEGAFS_TEST_FIGURES_SIZE is how many MiB
// the large file has if not 1024.
func TestMegaFigures(t *testing.T) {
	if os.Getenv("MEGAFS_TEST_FIGURES") == "" {
		t.Skip("set MEGAFS_TEST_FIGURES")
	}
	size := int64(1 << 30)
	if s := os.Getenv("MEGAFS_TEST_FIGURES_SIZE"); s != "" {
		n, err := strconv.ParseInt(s, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		size = n << 20
	}
	x := newMegaFigures(t)
	t.Run("tree", func(t *testing.T) {
		x.src = strings.TrimSpace(x.sh("go env GOROOT")) + "/src"
		files, bytes := x.archive(t, "net crypto encoding runtime")
		x.begin(false)
		took, synced := x.time("mkdir $M/tree; tar -C $M/tree -xf tree.tar")
		t.Logf("untar itself %.2f s", took.Seconds())
		requests, _, _ := x.tell("untar until sent", synced, bytes)
		t.Logf("%.2f requests a file", float64(requests)/float64(files))
		took, _ = x.time("mkdir src; tar -C src -xf tree.tar; rsync -a src/ $M/tree/")
		if _, up, _ := x.tell("rsync without change", took, 0); up > 10_000 {
			t.Errorf("rsync of what is there already sent %d bytes", up)
		}
		x.umount()
		x.begin(true)
		took, _ = x.time("grep -r no-such-words-anywhere $M/tree || true")
		x.tell("grep -r, cold", took, bytes)
		x.same(filepath.Join(x.home, "src"), x.mnt+"/tree")
		x.umount()
		x.begin(false)
		_, synced = x.time("rm -rf $M/tree")
		x.tell("rm -rf until sent", synced, 0)
		x.umount()
	})
	t.Run("sequential", func(t *testing.T) {
		x.begin(false)
		x.sh(fmt.Sprintf("head -c %d /dev/urandom >big", size))
		took, synced := x.time("cp big $M/big")
		t.Logf("cp itself %.2f s, sequential write until sent %.2f s", took.Seconds(), synced.Seconds())
		// MEGA wants to know a file's length before its first byte, so sending begins when writing ends.
		_, up, _ := x.tell("send after close", synced-took, size)
		if up > uint64(size)*21/20+1<<20 {
			t.Errorf("%d bytes were sent of a file of %d", up, size)
		}
		x.umount()
		x.begin(true)
		start := time.Now()
		f, err := os.Open(filepath.Join(x.mnt, "big"))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.Read(make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
		first := time.Since(start)
		f.Close()
		t.Logf("the first byte came after %v, %.1f round trips", first.Round(time.Millisecond), float64(first)/float64(lineTrip))
		x.tell("first byte", first, 0)
		x.umount()
		x.begin(true)
		start = time.Now()
		x.sh("cat $M/big | cmp - big")
		_, _, down := x.tell("sequential read, cold", time.Since(start), size)
		if down > uint64(size)*21/20+1<<20 {
			t.Errorf("%d bytes were fetched of a file of %d", down, size)
		}
		x.umount()
	})
	t.Run("parallel", func(t *testing.T) {
		const at = 4
		x.begin(false)
		x.sh(fmt.Sprintf("for i in $(seq %d); do head -c %d /dev/urandom >part$i; done", at, size/at))
		cpu := x.cpu()
		took, synced := x.time("mkdir $M/parts; for i in part*; do cp $i $M/parts/ & done; wait")
		x.tell("send files at once", synced-took, size)
		t.Logf("%.2f s of CPU, writing included; content alone takes %.2f; %d MiB of memory", (x.cpu() - cpu).Seconds(), contentCPU(size).Seconds(), peak(t, x.status().PID)>>20)
		x.umount()
		x.begin(true)
		start := time.Now()
		cpu = x.cpu()
		x.sh("for i in part*; do cmp $i $M/parts/$i & done; wait")
		x.tell("read files at once, cold", time.Since(start), size)
		t.Logf("%.2f s of CPU; content alone takes %.2f; %d MiB of memory", (x.cpu() - cpu).Seconds(), contentCPU(size).Seconds(), peak(t, x.status().PID)>>20)
		x.umount()
	})
}

// cpu is the time of a core that the mount took so far.
func (x *figures) cpu() time.Duration {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", x.status().PID))
	if err != nil {
		x.t.Fatal(err)
	}
	f := strings.Fields(string(b[strings.LastIndexByte(string(b), ')')+1:]))
	user, _ := strconv.Atoi(f[11])
	system, _ := strconv.Atoi(f[12])
	return time.Duration(user+system) * 10 * time.Millisecond
}

// contentCPU is the time of a core that encrypting bytes and their MACs takes.
func contentCPU(bytes int64) time.Duration {
	const sample = 256 << 20
	c, b := megacrypt.NewFileKey().Cipher(), make([]byte, megacrypt.MaxChunk)
	now := func() time.Duration {
		var u unix.Rusage
		unix.Getrusage(unix.RUSAGE_THREAD, &u)
		return time.Duration(u.Utime.Nano() + u.Stime.Nano())
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	start := now()
	for range sample / len(b) {
		c.ChunkMAC(b)
		c.XOR(b, b, 0)
	}
	return time.Duration(float64(now()-start) * float64(bytes) / sample)
}

// archive makes tree.tar of folders below the source, and says how many files and bytes are in it.
func (x *figures) archive(t *testing.T, folders string) (files, bytes int64) {
	count := strings.Fields(x.sh(fmt.Sprintf("cd %s; tar -cf ~/tree.tar %s; find %[2]s -type f | wc -l; find %[2]s -type f -printf '%%s\\n' | awk '{s+=$1} END {print s}'", x.src, folders)))
	fmt.Sscan(count[0], &files)
	fmt.Sscan(count[1], &bytes)
	t.Logf("%d files, %.1f MB", files, float64(bytes)/1e6)
	return files, bytes
}
