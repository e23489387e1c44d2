package bulk

import (
	"fmt"

	"golang.org/x/sys/unix"

	"megafs/remote"
)

// LeastRoom is how much the disk of a database must have left, in bytes, beside what is written: badger's logs and tables are memory maps of files with
// holes, and where the disk has no block for a page of such a map the process ends. It is what badger may write on its own when a table in memory is full.
const LeastRoom = 16 << 20

// Room fails with NoSpace when the disk of a database's folder has less than LeastRoom and n bytes left.
func Room(dir string, n int64) error {
	var st unix.Statfs_t
	if dir == "" || unix.Statfs(dir, &st) != nil {
		return nil // it is in memory; or whatever is wrong, writing shows it
	}
	need := LeastRoom + n
	if int64(st.Bavail)*st.Bsize >= need {
		return nil
	}
	return remote.E("write an index", dir, remote.NoSpace,
		fmt.Errorf("its disk is nearly full; make room for %d MiB there, or mount with another folder for it", (need+1<<20-1)>>20))
}
