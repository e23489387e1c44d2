package cache

import (
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/options"

	"megafs/remote"
)

const (
	runChunks  = 4 // chunks that share a slot
	slotSize   = runChunks * remote.SealedChunk
	minLimit   = 64 << 20
	indexShare = 24 << 20 // of the limit, for badger, and one part in 32 of it
	batchSize  = 512      // changes of the index that are written at once
)

// keyLife is how long badger seals with one data key. It must be less than the time since 1970, or badger takes the key it does not have
// for one that is young enough, and seals nothing.
const keyLife = 10 * 365 * 24 * time.Hour

// run names the chunks of a slot.
type run struct {
	object remote.ObjectID
	n      uint16 // the first chunk's number divided by runChunks
}

// slot is where a run lies, and which of its chunks are there.
type slot struct {
	at   uint32
	have uint8
}

// slab is one file of slots, and the index that says what is in them.
type slab struct {
	f     *os.File
	db    *badger.DB
	total uint32

	mu      sync.Mutex
	index   map[run]slot
	owner   []run // of each slot in use
	used    []bool
	warm    []bool // was read since the hand came by
	hand    uint32
	next    uint32 // slots never used yet begin here
	free    []uint32
	evicted uint64
	broken  bool // the disk does not take any more
	changed map[run]bool
	busy    bool // a batch is being written
	idle    *sync.Cond
}

// openSlab opens the folder, or begins it anew.
func openSlab(o Options) (*slab, error) {
	s, err := trySlab(o)
	if err == nil {
		return s, nil
	}
	o.Log.Warn("the block cache is begun anew", "reason", err.Error())
	if err := os.RemoveAll(o.Dir); err != nil {
		return nil, remote.E("begin the block cache anew", o.Dir, remote.IO, err)
	}
	s, err = trySlab(o)
	if err != nil {
		return nil, remote.E("make the block cache", o.Dir, remote.IO, err)
	}
	return s, nil
}

func trySlab(o Options) (_ *slab, err error) {
	if err := os.MkdirAll(o.Dir, 0o700); err != nil {
		return nil, err
	}
	// Badger may end the process on a torn table; the mark tells a start that never got past that, or a life that did not end well.
	mark := filepath.Join(o.Dir, "open")
	if _, err := os.Stat(mark); err == nil {
		return nil, errors.New("it was not closed")
	}
	if err := os.WriteFile(mark, nil, 0o600); err != nil {
		return nil, err
	}
	s := &slab{total: uint32((o.Limit - indexShare - o.Limit/32) / slotSize), index: map[run]slot{}, changed: map[run]bool{}}
	s.idle = sync.NewCond(&s.mu)
	s.owner, s.used, s.warm = make([]run, s.total), make([]bool, s.total), make([]bool, s.total)
	if s.f, err = os.OpenFile(filepath.Join(o.Dir, "slab"), os.O_RDWR|os.O_CREATE, 0o600); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			s.f.Close()
		}
	}()
	// A limit that became smaller takes effect at once.
	if fi, err := s.f.Stat(); err != nil {
		return nil, err
	} else if most := int64(s.total) * slotSize; fi.Size() > most {
		if err := s.f.Truncate(most); err != nil {
			return nil, err
		}
	}
	bo := badger.DefaultOptions(filepath.Join(o.Dir, "index")).WithLogger(nil).WithCompression(options.None).
		WithNumVersionsToKeep(1).WithDetectConflicts(false).WithMemTableSize(2 << 20).WithNumMemtables(1).WithBaseTableSize(1 << 20).
		WithNumLevelZeroTables(2).WithNumLevelZeroTablesStall(4).WithNumCompactors(2).WithValueThreshold(1 << 10).
		WithValueLogFileSize(4 << 20).WithBlockCacheSize(1 << 20).WithIndexCacheSize(1 << 20).WithMetricsEnabled(false).
		WithEncryptionKey(o.Key[:]).WithEncryptionKeyRotationDuration(keyLife)
	if s.db, err = openBadger(bo); err != nil {
		return nil, err
	}
	if err = s.load(); err != nil {
		s.db.Close()
	}
	return s, err
}

func openBadger(o badger.Options) (db *badger.DB, err error) {
	defer func() {
		if recover() != nil {
			err = errors.New("damaged files")
		}
	}()
	return badger.Open(o)
}

func (r run) key() []byte {
	return binary.BigEndian.AppendUint16(r.object[:len(r.object):len(r.object)], r.n)
}

// load reads the index.
func (s *slab) load() error {
	err := s.db.View(func(tx *badger.Txn) error {
		it := tx.NewIterator(badger.DefaultIteratorOptions)
		defer it.Close()
		for it.Rewind(); it.Valid(); it.Next() {
			key := it.Item().Key()
			err := it.Item().Value(func(v []byte) error {
				if len(key) != 34 || len(v) != 5 {
					return errors.New("a key makes no sense")
				}
				r := run{remote.ObjectID(key[:32]), binary.BigEndian.Uint16(key[32:])}
				at := binary.BigEndian.Uint32(v)
				if at >= s.total || s.used[at] {
					return nil // of a larger slab, or a slot that found a new owner: that run is a miss
				}
				s.used[at], s.owner[at] = true, r
				s.index[r] = slot{at, v[4]}
				s.next = max(s.next, at+1)
				return nil
			})
			if err != nil {
				return err
			}
		}
		return nil
	})
	for at := range s.next {
		if !s.used[at] {
			s.free = append(s.free, at)
		}
	}
	return err
}

func split(i int) (uint16, uint8) { return uint16(i / runChunks), 1 << (i % runChunks) }

func (s *slab) has(object remote.ObjectID, i int) bool {
	n, bit := split(i)
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.index[run{object, n}].have&bit != 0
}

// get reads a sealed chunk. It may be another's by the time it is read: then it does not open.
func (s *slab) get(object remote.ObjectID, i int) ([]byte, bool) {
	n, bit := split(i)
	s.mu.Lock()
	x, ok := s.index[run{object, n}]
	if ok && x.have&bit != 0 {
		s.warm[x.at] = true
	}
	s.mu.Unlock()
	if !ok || x.have&bit == 0 {
		return nil, false
	}
	b := make([]byte, remote.SealedChunk)
	if _, err := s.f.ReadAt(b, int64(x.at)*slotSize+int64(i%runChunks)*remote.SealedChunk); err != nil {
		return nil, false
	}
	return b, true
}

// drop forgets a run whose chunk did not open.
func (s *slab) drop(object remote.ObjectID, i int) {
	n, _ := split(i)
	r := run{object, n}
	s.mu.Lock()
	defer s.mu.Unlock()
	if x, ok := s.index[r]; ok {
		delete(s.index, r)
		s.used[x.at] = false
		s.free = append(s.free, x.at)
		s.note(r)
	}
}

// put keeps sealed chunks of an object from number first on.
func (s *slab) put(object remote.ObjectID, first int, sealed []byte) {
	for len(sealed) > 0 {
		n, _ := split(first)
		count := min(runChunks-first%runChunks, len(sealed)/remote.SealedChunk)
		part := sealed[:count*remote.SealedChunk]
		s.putRun(run{object, n}, first%runChunks, part)
		first, sealed = first+count, sealed[len(part):]
	}
}

func (s *slab) putRun(r run, at int, sealed []byte) {
	var bits uint8
	for i := range len(sealed) / remote.SealedChunk {
		bits |= 1 << (at + i)
	}
	s.mu.Lock()
	x, ok := s.index[r]
	if ok && x.have&bits == bits || s.broken {
		s.mu.Unlock()
		return
	}
	if !ok {
		to, found := s.take()
		if !found {
			s.mu.Unlock()
			return
		}
		x = slot{at: to}
		s.used[to], s.owner[to], s.warm[to] = true, r, false
		s.index[r] = x
	}
	s.mu.Unlock()
	_, err := s.f.WriteAt(sealed, int64(x.at)*slotSize+int64(at)*remote.SealedChunk)
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil {
		s.broken = true // the disk is full: what is there is still good
		return
	}
	if y, ok := s.index[r]; ok && y.at == x.at {
		y.have |= bits
		s.index[r] = y
		s.note(r)
	}
}

// take finds a slot: a free one, one never used, or one that was not read for the longest. Called with mu held.
func (s *slab) take() (uint32, bool) {
	if n := len(s.free); n > 0 {
		at := s.free[n-1]
		s.free = s.free[:n-1]
		return at, true
	}
	if s.next < s.total {
		s.next++
		return s.next - 1, true
	}
	for range 2 * s.total {
		at := s.hand
		s.hand = (s.hand + 1) % s.total
		if s.warm[at] {
			s.warm[at] = false
			continue
		}
		delete(s.index, s.owner[at])
		s.note(s.owner[at])
		s.evicted++
		return at, true
	}
	return 0, false
}

// note marks a run whose entry badger does not have yet, and writes a batch when there are enough. Called with mu held.
func (s *slab) note(r run) {
	s.changed[r] = true
	if len(s.changed) < batchSize || s.busy {
		return
	}
	s.busy = true
	batch := s.batch()
	go func() {
		err := s.write(batch)
		s.mu.Lock()
		defer s.mu.Unlock()
		if err != nil {
			s.broken = true
		}
		s.busy = false
		s.idle.Broadcast()
	}()
}

type change struct {
	r    run
	x    slot
	here bool
}

// batch takes what badger does not have yet. Called with mu held.
func (s *slab) batch() []change {
	var out []change
	for r := range s.changed {
		x, ok := s.index[r]
		out = append(out, change{r, x, ok})
	}
	clear(s.changed)
	return out
}

func (s *slab) write(batch []change) error {
	wb := s.db.NewWriteBatch()
	defer wb.Cancel()
	for _, c := range batch {
		var err error
		if c.here {
			err = wb.Set(c.r.key(), append(binary.BigEndian.AppendUint32(nil, c.x.at), c.x.have))
		} else {
			err = wb.Delete(c.r.key())
		}
		if err != nil {
			return err
		}
	}
	return wb.Flush()
}

func (s *slab) stats() (bytes int64, evicted uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	lsm, vlog := s.db.Size()
	return int64(s.next)*slotSize + lsm + vlog, s.evicted
}

// close writes the rest of the index and takes the mark away.
func (s *slab) close() error {
	s.mu.Lock()
	for s.busy {
		s.idle.Wait()
	}
	s.busy = true
	batch := s.batch()
	s.mu.Unlock()
	err := errors.Join(s.write(batch), s.db.Close(), s.f.Close())
	if err != nil {
		return remote.E("close the block cache", "", remote.IO, err)
	}
	return os.Remove(filepath.Join(filepath.Dir(s.f.Name()), "open"))
}
