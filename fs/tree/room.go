package tree

import (
	"fmt"

	"golang.org/x/sys/unix"

	"megafs/remote"
)

// leastRoom is how much the index's disk must have left, in bytes, beside what is written: badger's logs and tables are memory maps of files with
// holes, and where the disk has no block for a page of such a map the process ends. It is what badger may write on its own when a table in memory is full.
const leastRoom = 16 << 20

// Room fails with NoSpace when the index's disk is too full to take anything in.
func (t *Tree) Room() error { return t.base.room(0) }

// room fails when the disk may not have room for n bytes of records.
func (b *base) room(n int) error {
	if b.db.Opts().InMemory {
		return nil
	}
	return roomOn(b.db.Opts().Dir, n)
}

// roomOn is room for an index in a folder that may not be open yet.
func roomOn(dir string, n int) error {
	var st unix.Statfs_t
	if dir == "" || unix.Statfs(dir, &st) != nil {
		return nil // whatever is wrong, writing shows it
	}
	free, need := int64(st.Bavail)*st.Bsize, leastRoom+4*int64(n)
	if free >= need {
		return nil
	}
	return remote.E("write the tree index", dir, remote.NoSpace,
		fmt.Errorf("its disk is nearly full; make room for %d MiB there, or mount with --cache on another disk", (need+1<<20-1)>>20))
}
