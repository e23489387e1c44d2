package tree

import (
	"golang.org/x/sys/unix"

	"megafs/remote/bulk"
)

// Room fails with NoSpace when the index's disk has less than n bytes beside what the index needs to take anything in.
func (t *Tree) Room(n int64) error { return t.base.room(n) }

// RoomOn is Room for what else keeps such an index on the disk of a folder.
func RoomOn(dir string, n int64) error { return bulk.Room(dir, n) }

// Shares reports whether the index lies on the disk that a folder is on.
func (t *Tree) Shares(dir string) bool {
	var a, b unix.Stat_t
	return !t.base.db.Opts().InMemory && unix.Stat(dir, &a) == nil && unix.Stat(t.base.db.Opts().Dir, &b) == nil && a.Dev == b.Dev
}

// room fails when the disk may not have room for n bytes. A full disk would end the process; see bulk.Room.
func (b *base) room(n int64) error {
	if b.db.Opts().InMemory {
		return nil
	}
	return bulk.Room(b.db.Opts().Dir, n)
}
