package main

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// memory keeps the process within a number of bytes. Most is the Go runtime's, which has a limit for that. The rest is what is mapped: the program itself,
// and the tables of the tree index and of an account's, of which every page that was ever read stays in the process until the kernel is short of memory.
type memory struct {
	dirs   []string // of the tree index, and of an account's
	mapped int64    // bytes of files that may stay mapped in
}

// image is about what the running program itself takes of what is mapped.
const image = 16 << 20

// limitMemory sets the Go runtime's limit.
func limitMemory(limit int64, dirs ...string) *memory {
	m := &memory{mapped: max(limit/8, image)}
	for _, d := range dirs {
		m.dirs = append(m.dirs, d+"/")
	}
	debug.SetMemoryLimit(max(limit-2*m.mapped, limit/2))
	return m
}

// How often the mapped pages are counted: often while they become more, for a compaction reads some hundred MB/s.
const (
	countSoon = 10 * time.Millisecond
	countSlow = 200 * time.Millisecond
)

// keep looks after mapped pages until ctx ends.
func (m *memory) keep(ctx context.Context) {
	limit, before := m.mapped, int64(0)
	for wait := countSlow; ; {
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
		now, err := residentFiles()
		if err != nil {
			return // without /proc there is nothing to go by
		}
		if now > limit {
			m.release()
			now, _ = residentFiles()
			// What stays is the program itself, which may be more than was thought; the tables get their share beside it.
			limit, before = max(m.mapped, now+m.mapped/4), now
		}
		wait = min(wait*2, countSlow)
		if now > before+m.mapped/64 {
			wait = countSoon
		}
		before = now
	}
}

// residentFiles is how many bytes of mapped files are in the process.
func residentFiles() (int64, error) {
	b, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0, err
	}
	var total, resident, files int64
	if _, err := fmt.Sscan(string(b), &total, &resident, &files); err != nil {
		return 0, err
	}
	return files * int64(os.Getpagesize()), nil
}

// release gives the indexes' mapped pages back; what is read again comes from the disk. A table may be unmapped meanwhile and something
// else lie there: MADV_PAGEOUT changes no byte of whatever it meets. Kernels before 5.4 do not know it and keep the pages.
func (m *memory) release() {
	f, err := os.Open("/proc/self/maps")
	if err != nil {
		return
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		if !slices.ContainsFunc(m.dirs, func(d string) bool { return strings.Contains(s.Text(), d) }) {
			continue
		}
		var from, to uintptr
		if _, err := fmt.Sscanf(s.Text(), "%x-%x", &from, &to); err == nil {
			unix.Syscall(unix.SYS_MADVISE, from, to-from, unix.MADV_PAGEOUT)
		}
	}
}
