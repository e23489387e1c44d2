package volume

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"megafs/fs/journal"
	"megafs/remote"
)

// Shared tells the content objects that the journal in a state folder refers to, sent or not: what a copy shares must not be collected from this
// very machine while the copy waits. The folder must be in nobody's use.
func Shared(stateDir string, key [32]byte, yield func(remote.ObjectID)) error {
	dir := filepath.Join(stateDir, "journal")
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	var l log
	j, err := journal.Open(journal.Options{Dir: dir, Key: key, Limit: 1 << 40}, func(r journal.Record) error {
		l.records = l.records[:0]
		if r.Kind == recNote {
			return nil
		}
		if err := l.take(r); err != nil {
			return err
		}
		for _, x := range l.records {
			ops := x.ops
			if x.merge != nil {
				ops = x.merge.Ops // a conflict copy shares what both versions have in common
			}
			for _, op := range ops {
				if e := op.Extent; op.Kind == remote.OpExtent && !e.Hole && e.Inline == nil {
					yield(e.Ref.Object)
				}
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	return j.Close()
}
