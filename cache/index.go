package cache

import (
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"sync/atomic"

	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/options"

	"megafs/remote"
)

const (
	batch      = 512 // records that are written at once
	recordSize = len(remote.ObjectID{}) + 2
	measure    = 16 // batches between two looks at how long badger's files are
)

// index keeps the records of slots over a restart. One goroutine writes it.
type index struct {
	db    *badger.DB
	slabs *slabs
	dir   *folder
	share int64
	log   *slog.Logger
	bytes atomic.Int64
	stop  chan struct{}
	wg    sync.WaitGroup

	// Of the writer, and of close after it.
	failed  error // badger is not used any more
	batches int
}

// badgerOptions keep it small: the values are tiny and lie in the tables.
func badgerOptions(dir *folder, plan layout) badger.Options {
	return badger.DefaultOptions(filepath.Join(dir.path, indexName)).
		WithLogger(nil).WithMetricsEnabled(false).WithCompression(options.None).WithDetectConflicts(false).
		WithNumVersionsToKeep(1).WithNumGoroutines(1).WithNumCompactors(2).WithNumMemtables(1).
		WithMemTableSize(plan.memtable).WithBaseTableSize(1 << 20).WithBaseLevelSize(4 << 20).
		WithNumLevelZeroTables(2).WithNumLevelZeroTablesStall(4).
		WithValueThreshold(1 << 10).WithValueLogFileSize(1 << 20).
		WithBlockCacheSize(1 << 20).WithIndexCacheSize(1 << 20).WithEncryptionKey(dir.db)
}

// openIndex opens slabs and database, and tells slabs what the database has. On an error both are closed again.
func openIndex(dir *folder, plan layout, s *slabs, log *slog.Logger) (x *index, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("the index is damaged: %v", r)
		}
	}()
	if err := s.open(); err != nil {
		return nil, err
	}
	x = &index{slabs: s, dir: dir, share: plan.index, log: log, stop: make(chan struct{})}
	if x.db, err = badger.Open(badgerOptions(dir, plan)); err != nil {
		return nil, err
	}
	stale, err := x.load()
	if err != nil {
		x.db.Close()
		return nil, err
	}
	s.restored()
	x.write(stale)
	x.bytes.Store(dir.indexBytes())
	x.wg.Add(1)
	go x.run()
	return x, nil
}

func slotKey(i uint32) []byte { return binary.BigEndian.AppendUint32(nil, i) }

// load reads all records and returns those that are of no use, as deletions: of slots that a smaller limit took away.
func (x *index) load() (stale []record, err error) {
	return stale, x.db.View(func(tx *badger.Txn) error {
		o := badger.DefaultIteratorOptions
		o.PrefetchValues = false // they lie beside the keys
		it := tx.NewIterator(o)
		defer it.Close()
		for it.Rewind(); it.Valid(); it.Next() {
			item := it.Item()
			err := item.Value(func(v []byte) error {
				if len(item.Key()) != 4 || len(v) != recordSize {
					return errors.New("the index has records of another form")
				}
				i := binary.BigEndian.Uint32(item.Key())
				k := runKey{remote.ObjectID(v), v[recordSize-2]}
				if !x.slabs.restore(i, k, v[recordSize-1]) {
					stale = append(stale, record{slot: i})
				}
				return nil
			})
			if err != nil {
				return err
			}
		}
		return nil
	})
}

// run writes batches when there are enough changes for one.
func (x *index) run() {
	defer x.wg.Done()
	for {
		select {
		case <-x.stop:
			return
		case <-x.slabs.kick:
			x.flush()
		}
	}
}

// flush writes all changes. When the disk is too full for that they stay where they are.
func (x *index) flush() {
	for x.failed == nil && x.dir.roomFor(0) {
		changes := x.slabs.changes(batch)
		if len(changes) == 0 {
			return
		}
		x.write(changes)
		if x.batches++; x.batches%measure == 0 {
			x.shrink()
		}
	}
}

// write writes a batch. After an error the database is left alone, and the next Open begins anew.
func (x *index) write(records []record) {
	defer func() {
		if r := recover(); r != nil {
			x.fail(fmt.Errorf("badger: %v", r))
		}
	}()
	wb := x.db.NewWriteBatch()
	defer wb.Cancel()
	for _, r := range records {
		var err error
		if r.have == 0 {
			err = wb.Delete(slotKey(r.slot))
		} else {
			err = wb.Set(slotKey(r.slot), append(append(make([]byte, 0, recordSize), r.key.object[:]...), r.key.run, r.have))
		}
		if err != nil {
			x.fail(err)
			return
		}
	}
	if err := wb.Flush(); err != nil {
		x.fail(err)
	}
}

// shrink begins the database anew when its files outgrew their share.
func (x *index) shrink() {
	n := x.dir.indexBytes()
	if n > x.share {
		x.log.Debug("the cache's index is written anew", "bytes", n)
		if err := x.rewrite(); err != nil {
			x.fail(err)
			return
		}
		n = x.dir.indexBytes()
	}
	x.bytes.Store(n)
}

// rewrite empties the database, and lets all records be written again: those in memory are all there is to know.
func (x *index) rewrite() error {
	if err := x.db.DropAll(); err != nil {
		return err
	}
	x.slabs.changeAll()
	return nil
}

func (x *index) fail(err error) {
	x.failed = err
	x.log.Warn("the cache's index can't be written; the cache on disk will begin anew at the next start", "reason", err)
}

// close writes what is left. The slabs are frozen. Without an error, all records are in badger's files.
func (x *index) close() (err error) {
	close(x.stop)
	x.wg.Wait()
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("badger: %v", r)
		}
	}()
	x.flush()
	if x.failed == nil && len(x.slabs.changes(1)) > 0 {
		x.failed = errors.New("the disk is nearly full")
	}
	return errors.Join(x.failed, x.db.Close())
}
