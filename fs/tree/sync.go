package tree

import (
	"cmp"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"megafs/remote"
)

// Sync makes the base durable.
func (t *Tree) Sync() error {
	if t.base.db.Opts().InMemory {
		return nil
	}
	err := t.base.sync()
	if err != nil {
		return remote.E("sync the tree index", "", remote.IO, err)
	}
	return nil
}

// sync makes all of badger's logs durable, the oldest first. Badger itself syncs only that of the table in memory which takes records now: those of full tables,
// which it is still writing to files of their own, would lose their ends in a power cut below a newer log that is whole, and nothing would tell.
func (b *base) sync() error {
	for last := ""; ; {
		logs, err := filepath.Glob(filepath.Join(b.db.Opts().Dir, "*.mem"))
		if err != nil || len(logs) == 0 {
			return errors.Join(err, b.db.Sync())
		}
		slices.SortFunc(logs, func(a, b string) int { return cmp.Or(cmp.Compare(len(a), len(b)), cmp.Compare(a, b)) }) // they are numbered
		newest := logs[len(logs)-1]
		if newest == last {
			return nil // none became full meanwhile
		}
		for _, log := range logs[:len(logs)-1] {
			if err := syncFile(log); err != nil {
				return err
			}
		}
		if err := b.db.Sync(); err != nil {
			return err
		}
		last = newest
	}
}

// syncFile makes a file's content durable, mapped pages included. One that is gone has become a table, which is.
func syncFile(name string) error {
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
