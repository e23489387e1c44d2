package crypto

import (
	"bytes"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// availableMemory is what could be allocated without swapping, in bytes, or 0 if
// unknown: the system's estimate, or the limit of our control group if that is less.
func availableMemory() uint64 {
	var avail uint64
	if info, err := os.ReadFile("/proc/meminfo"); err == nil {
		for line := range bytes.Lines(info) {
			if f := bytes.Fields(line); len(f) >= 2 && string(f[0]) == "MemAvailable:" {
				kib, _ := strconv.ParseUint(string(f[1]), 10, 53)
				avail = kib << 10
			}
		}
	}
	if limit, err := os.ReadFile("/sys/fs/cgroup/memory.max"); err == nil {
		n, err := strconv.ParseUint(string(bytes.TrimSpace(limit)), 10, 64)
		if err == nil && (avail == 0 || n < avail) {
			avail = n
		}
	}
	return avail
}

// maxUnlockCPU bounds an unlock process whose parent died, in CPU seconds.
const maxUnlockCPU = 600

// harden makes this process leave no core file, be opaque to others of the same
// user, and end by itself. Each is a second line, so failures are ignored.
func harden() {
	unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{})
	unix.Setrlimit(unix.RLIMIT_CPU, &unix.Rlimit{Cur: maxUnlockCPU, Max: maxUnlockCPU})
	unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0)
}
