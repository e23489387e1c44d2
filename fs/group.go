package fs

import (
	"bytes"
	"fmt"
	"os"
	"slices"
	"strconv"
	"syscall"

	"github.com/hanwen/go-fuse/v2/fuse"

	"megafs/fs/volume"
)

// outsider reports whether an inode has setgid and its caller is not in its group.
func outsider(in *fuse.InHeader, s *volume.Stat) bool {
	return s.Mode&syscall.S_ISGID != 0 && !inGroup(in, s.GID)
}

// inGroup reports whether a caller is in a group, or is root. The kernel tells one group only; of the others /proc knows. It can't always be told; then the caller is in it.
func inGroup(in *fuse.InHeader, gid uint32) bool {
	if in.Uid == 0 || in.Gid == gid {
		return true
	}
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", in.Pid))
	return in.Pid == 0 || err != nil || listed(b, gid)
}

// listed reports whether a process's status lists a group, or has no list.
func listed(status []byte, gid uint32) bool {
	for line := range bytes.Lines(status) {
		if list, ok := bytes.CutPrefix(line, []byte("Groups:")); ok {
			return slices.ContainsFunc(bytes.Fields(list), func(b []byte) bool {
				n, err := strconv.ParseUint(string(b), 10, 32)
				return err == nil && uint32(n) == gid
			})
		}
	}
	return true
}
