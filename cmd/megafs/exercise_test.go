package main

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// exercised is a file and what must be in it.
type exercised struct {
	path string
	fd   int
	want []byte
}

// exerciseMost is how large the files grow: beyond what one object of the store holds.
const exerciseMost = 5 << 20

// TestExercise writes, cuts, maps, punches, zeroes and copies in three files in all ways there are, and reads back what must be there by its own account; the page cache, the
// open files, the mount and its process go away in between. It runs for 15 seconds; MEGAFS_TEST_EXERCISE sets another time or a number of operations, MEGAFS_TEST_SEED repeats a run.
func TestExercise(t *testing.T) {
	m := newMachine(t)
	m.mount()
	limit, most := lasts(t, "MEGAFS_TEST_EXERCISE", 15*time.Second)
	r := rand.New(rand.NewPCG(randomSeed(t), 3))
	files := make([]*exercised, 3)
	for i := range files {
		files[i] = &exercised{path: filepath.Join(m.mnt, fmt.Sprint("file", i)), fd: -1}
		if err := files[i].open(unix.O_CREAT); err != nil {
			t.Fatal(err)
		}
	}
	closeAll := func() {
		for _, f := range files {
			unix.Close(f.fd)
			f.fd = -1
		}
	}
	t.Cleanup(closeAll)
	var history []string
	check := func(what string, err error) {
		t.Helper()
		history = append(history[max(0, len(history)-60):], what)
		if err != nil {
			t.Fatalf("%v\nafter\n%s", err, strings.Join(history, "\n"))
		}
	}
	begun, done := time.Now(), 0
	for ; done < most && time.Since(begun) < limit; done++ {
		if r.IntN(5000) > 0 {
			check(exercise(r, files))
			continue
		}
		for _, f := range files {
			check("read all", f.same(0, len(f.want)))
		}
		closeAll()
		how := waysToRemount[r.IntN(len(waysToRemount))]
		m.remount(how)
		for _, f := range files {
			check(how, f.open(0))
			check("read all", f.same(0, len(f.want)))
		}
	}
	for _, f := range files {
		check("read all", f.same(0, len(f.want)))
	}
	closeAll()
	m.umount()
	m.want(0, "0 damaged", "vault", "verify")
	m.quietLog()
	t.Logf("%d operations in %v", done, time.Since(begun).Round(time.Second))
}

// exercise does one thing, and says what.
func exercise(r *rand.Rand, files []*exercised) (string, error) {
	i := r.IntN(len(files))
	f := files[i]
	n := 1 + r.IntN([]int{100, 100, 5000, 5000, 5000, 70_000, 70_000, 300_000}[r.IntN(8)])
	off := min(r.IntN(len(f.want)+min(n, 10_000)), exerciseMost-4096)
	if r.IntN(3) == 0 {
		off, n = off&^4095, (n+4095)&^4095
	}
	n = min(n, exerciseMost-off)
	what := func(s string) string { return fmt.Sprintf("file %d of %d: %s %d at %d", i, len(f.want), s, n, off) }
	within := func() bool { // bounds both to the file
		if len(f.want) == 0 {
			return false
		}
		off = min(off, len(f.want)-1)
		n = min(n, len(f.want)-off)
		return true
	}
	switch k := r.IntN(100); {
	case k < 25:
		return what("read"), f.same(off, n)
	case k < 45:
		data := fill(n, r.Uint64())
		_, err := unix.Pwrite(f.fd, data, int64(off))
		f.put(off, data)
		return what("write"), err
	case k < 50:
		off = off * r.IntN(3) / 2
		err := unix.Ftruncate(f.fd, int64(off))
		f.size(off)
		return what("truncate"), err
	case k < 60:
		if !within() {
			return "nothing", nil
		}
		data := fill(n, r.Uint64())
		err := f.mapped(off, n, func(mem []byte) error { copy(mem, data); return nil }, r.IntN(20) == 0)
		f.put(off, data)
		return what("write by memory"), err
	case k < 66:
		if !within() {
			return "nothing", nil
		}
		return what("read by memory"), f.mapped(off, n, func(mem []byte) error { return same(off, mem, f.want[off:off+n]) }, false)
	case k < 71:
		err := unix.Fallocate(f.fd, unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, int64(off), int64(n))
		f.zero(off, n)
		return what("punch"), err
	case k < 75:
		keep := uint32(r.IntN(2)) * unix.FALLOC_FL_KEEP_SIZE
		err := unix.Fallocate(f.fd, unix.FALLOC_FL_ZERO_RANGE|keep, int64(off), int64(n))
		if keep == 0 {
			f.size(max(len(f.want), off+n))
		}
		f.zero(off, n)
		return what("zero"), err
	case k < 77:
		err := unix.Fallocate(f.fd, 0, int64(off), int64(n))
		f.size(max(len(f.want), off+n))
		return what("allocate"), err
	case k < 83:
		if !within() {
			return "nothing", nil
		}
		to := files[r.IntN(len(files))]
		at := r.IntN(len(to.want) + 1)
		n = min(n, exerciseMost-at)
		if n <= 0 || to == f && at < off+n && off < at+n {
			return "nothing", nil
		}
		from, dst := int64(off), int64(at)
		for left := n; left > 0; {
			got, err := unix.CopyFileRange(f.fd, &from, to.fd, &dst, left, 0)
			if err != nil || got == 0 {
				return what("copy"), fmt.Errorf("copied %d of %d: %w", n-left, n, err)
			}
			left -= got
		}
		to.put(at, bytes.Clone(f.want[off:off+n]))
		return fmt.Sprintf("%s to %s at %d", what("copy"), filepath.Base(to.path), at), nil
	case k < 84:
		if r.IntN(3) > 0 { // what waits for the disk is most of the time that this takes
			return "nothing", nil
		}
		return "sync", unix.Fsync(f.fd)
	case k < 89:
		return "forget pages", unix.Fadvise(f.fd, 0, 0, unix.FADV_DONTNEED)
	case k < 95:
		unix.Close(f.fd)
		return "close and open", f.open(0)
	default:
		off, n = off&^4095, max(4096, n&^4095)
		return what("direct"), f.direct(off, min(n, exerciseMost-off), r.IntN(2) == 0, r.Uint64())
	}
}

func (f *exercised) open(flags int) (err error) {
	f.fd, err = unix.Open(f.path, unix.O_RDWR|unix.O_CLOEXEC|flags, 0o644)
	return err
}

func (f *exercised) size(n int) {
	if n <= len(f.want) {
		f.want = f.want[:n]
		return
	}
	f.want = append(f.want, make([]byte, n-len(f.want))...)
}

func (f *exercised) put(off int, data []byte) {
	f.size(max(len(f.want), off+len(data)))
	copy(f.want[off:], data)
}

func (f *exercised) zero(off, n int) {
	if off < len(f.want) {
		clear(f.want[off:min(off+n, len(f.want))])
	}
}

// same reads some bytes and the size, and compares.
func (f *exercised) same(off, n int) error { return f.sameBy(f.fd, off, make([]byte, n)) }

func (f *exercised) sameBy(fd, off int, buf []byte) error {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return err
	}
	if st.Size != int64(len(f.want)) {
		return fmt.Errorf("%s: %d bytes, want %d", f.path, st.Size, len(f.want))
	}
	n, err := unix.Pread(fd, buf, int64(off))
	if err != nil {
		return err
	}
	from := min(off, len(f.want))
	return same(off, buf[:n], f.want[from:min(from+len(buf), len(f.want))])
}

// same compares bytes from somewhere in a file with those that must be there.
func same(off int, got, want []byte) error {
	if bytes.Equal(got, want) {
		return nil
	}
	return fmt.Errorf("from %d on: %s", off, differ(got, want))
}

// mapped shows a part of the file as memory.
func (f *exercised) mapped(off, n int, do func([]byte) error, sync bool) error {
	page := off &^ 4095
	mem, err := unix.Mmap(f.fd, int64(page), off-page+n, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return err
	}
	defer unix.Munmap(mem)
	if err := do(mem[off-page:]); err != nil || !sync {
		return err
	}
	return unix.Msync(mem, unix.MS_SYNC)
}

// direct reads or writes past the page cache.
func (f *exercised) direct(off, n int, write bool, from uint64) error {
	fd, err := unix.Open(f.path, unix.O_RDWR|unix.O_DIRECT|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	room := make([]byte, n+4096)
	buf := room[4096-int(uintptr(unsafe.Pointer(&room[0]))&4095):][:n]
	if !write {
		return f.sameBy(fd, off, buf)
	}
	copy(buf, fill(n, from))
	_, err = unix.Pwrite(fd, buf, int64(off))
	f.put(off, buf)
	return err
}

// TestFio lets fio write in many ways and verify what it wrote: at once, and once more after the mount began anew with an empty cache.
// MEGAFS_TEST_FIO_SIZE is how much each job writes, 4M if not set.
func TestFio(t *testing.T) {
	m := newMachine(t)
	m.sh("fio --version") // scripts/test installs it
	m.mount()
	size := "4M"
	if s := os.Getenv("MEGAFS_TEST_FIO_SIZE"); s != "" {
		size = s
	}
	const job = "fio --directory=%s --size=%s --verify=crc32c --verify_fatal=1 --verify_dump=0 --output=fio.log --randseed=%d --name=%s %s || { cat fio.log; exit 1; }"
	jobs := []struct{ name, args string }{
		{"mixed", "--rw=randwrite --bsrange=512-128k --bs_unaligned --ioengine=psync"},
		{"jobs", "--rw=randwrite --bs=4k --numjobs=4 --ioengine=psync --fsync=64"},
		{"mmap", "--rw=randwrite --bs=4k --ioengine=mmap"},
		{"libaio", "--rw=randwrite --bs=4k --ioengine=libaio --direct=1 --iodepth=16"},
		{"uring", "--rw=randwrite --bsrange=4k-64k --blockalign=4k --ioengine=io_uring --direct=1 --iodepth=16 --numjobs=2"},
		{"sequence", "--rw=write --bs=1m --ioengine=libaio --iodepth=4"},
	}
	seed := randomSeed(t) >> 1
	for _, j := range jobs {
		m.sh(fmt.Sprintf(job, m.mnt, size, seed, j.name, j.args))
	}
	m.umount()
	m.wipe(".cache/megafs/*")
	m.mount()
	for _, j := range jobs {
		m.sh(fmt.Sprintf(job, m.mnt, size, seed, j.name, j.args+" --verify_only"))
	}
	m.umount()
}
