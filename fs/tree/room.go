package tree

import (
	"fmt"

	"golang.org/x/sys/unix"

	"megafs/remote"
)

// leastRoom is how much the index's disk must have left, in bytes, beside what is written: badger's logs and tables are memory maps of files with
// holes, and where the disk has no block for a page of such a map the process ends. It is what badger may write on its own when a table in memory is full.
const leastRoom = 16 << 20

// Room fails with NoSpace when the index's disk has less than n bytes beside what the index needs to take anything in.
func (t *Tree) Room(n int64) error {
	if t.base.db.Opts().InMemory {
		return nil
	}
	return roomOn(t.base.db.Opts().Dir, leastRoom+n)
}

// Shares reports whether the index lies on the disk that a folder is on.
func (t *Tree) Shares(dir string) bool {
	var a, b unix.Stat_t
	return !t.base.db.Opts().InMemory && unix.Stat(dir, &a) == nil && unix.Stat(t.base.db.Opts().Dir, &b) == nil && a.Dev == b.Dev
}

// room fails when the disk may not have room for n bytes of records.
func (b *base) room(n int) error {
	if b.db.Opts().InMemory {
		return nil
	}
	return roomOn(b.db.Opts().Dir, leastRoom+4*int64(n))
}

// roomOn fails when a folder's disk has less than so many bytes left.
func roomOn(dir string, need int64) error {
	var st unix.Statfs_t
	if dir == "" || unix.Statfs(dir, &st) != nil {
		return nil // whatever is wrong, writing shows it
	}
	if int64(st.Bavail)*st.Bsize >= need {
		return nil
	}
	return remote.E("write the tree index", dir, remote.NoSpace,
		fmt.Errorf("its disk is nearly full; make room for %d MiB there, or mount with --cache on another disk", (need+1<<20-1)>>20))
}
