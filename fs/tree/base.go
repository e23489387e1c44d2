package tree

import (
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/options"
	lru "github.com/hashicorp/golang-lru/v2"

	"megafs/remote"
	"megafs/remote/bulk"
	"megafs/remote/extent"
	"megafs/remote/wire"
)

// segment is how much of a file one content record covers. Extents are split at its multiples.
const segmentBits = 26 // 64 MiB

// The kinds of keys: the first byte, then what is named here, big-endian.
const (
	keyNode   = 'n' // ino -> Node
	keyName   = 'd' // parent, name -> ino, type
	keyXattr  = 'x' // ino, name -> value
	keyBody   = 'c' // ino, segment -> extents
	keyOrphan = 'o' // ino: its last name is gone, but somebody had it open
	keyDevice = 'v' // number -> device id
	keyMax    = 'i' // device number -> largest inode number it ever had here
	keyMeta   = 'm' // position; marks of a batch in progress, and of a base begun anew that did not reach the head yet
)

var (
	metaPos  = []byte{keyMeta, 'p'}
	metaBusy = []byte{keyMeta, 'b'}
	metaForm = []byte{keyMeta, 'f'}
	metaPart = []byte{keyMeta, 'h'}
)

// keyLife is how long badger seals with one data key. It must be less than the time since 1970, or badger takes the key it does not have
// for one that is young enough, and seals nothing.
const keyLife = 10 * 365 * 24 * time.Hour

// form is the layout's version; a base of another is begun anew.
const form = 2

type nameKey struct {
	parent remote.Ino
	name   string
}

type bodyKey struct {
	ino remote.Ino
	seg uint64
}

// base is the remote's state at a position. Readings may run beside each other and beside one flush; a reader sees each key before or after it,
// which is enough, for the tree's lock keeps them apart where more is needed.
type base struct {
	db     *badger.DB
	use    sync.RWMutex // held for reading by who reads for long, without the tree's lock, what may not be replaced meanwhile; after that lock, for writing
	dir    string       // empty: in memory, or somebody else's
	filled bool         // with a snapshot, in one go
	pos    remote.Position
	nodes  *lru.Cache[remote.Ino, Node]
	names  *lru.Cache[nameKey, dirval]
	bodies *lru.Cache[bodyKey, *extent.Map]
	most   atomic.Pointer[map[uint32]remote.Ino] // of each device the largest inode number that the database may know; never changed, only replaced
}

// fresh reports whether the database surely knows nothing of an inode, nor names in it: its number is above all that it has had. Most of what is
// looked up while a tree is made here is fresh.
func (b *base) fresh(ino remote.Ino) bool {
	d := ino.Device()
	return d != 0 && ino > (*b.most.Load())[d]
}

// heed takes note of inode numbers that are about to get into the database. The caller holds the tree's lock for writing, or is the only one.
func (b *base) heed(largest map[uint32]remote.Ino) {
	m := maps.Clone(*b.most.Load())
	for d, ino := range largest {
		m[d] = max(m[d], ino)
	}
	b.most.Store(&m)
}

type dirval struct {
	ino remote.Ino
	typ remote.Type
}

// errDoubt says that the base can't be trusted and is to be begun anew.
var errDoubt = errors.New("tree index in doubt")

func k(kind byte, parts ...uint64) []byte {
	b := make([]byte, 1, 1+8*len(parts)+16)
	b[0] = kind
	for _, p := range parts {
		b = binary.BigEndian.AppendUint64(b, p)
	}
	return b
}

func kname(parent remote.Ino, name string) []byte { return append(k(keyName, uint64(parent)), name...) }
func kxattr(ino remote.Ino, name string) []byte   { return append(k(keyXattr, uint64(ino)), name...) }

// openBase opens the index in dir, or in memory when dir is empty. A folder in doubt is removed and begun anew.
func openBase(dir string, key []byte, memory int64, log *slog.Logger) (*base, error) {
	b, err := tryBase(dir, key, memory)
	if err == nil || dir == "" {
		return b, err
	}
	if !errors.Is(err, errDoubt) {
		return nil, err
	}
	log.Warn("the tree index is begun anew", "reason", err.Error())
	if err := os.RemoveAll(dir); err != nil {
		return nil, remote.E("begin the tree index anew", dir, remote.IO, err)
	}
	return tryBase(dir, key, memory)
}

func tryBase(dir string, key []byte, memory int64) (*base, error) {
	o := badger.DefaultOptions(dir).WithLogger(nil).WithInMemory(dir == "").
		WithCompression(options.None).WithNumVersionsToKeep(1).WithDetectConflicts(false).
		WithMemTableSize(8 << 20).WithNumMemtables(2).WithNumLevelZeroTables(2).WithNumLevelZeroTablesStall(6).
		WithBaseTableSize(4 << 20).WithNumCompactors(2).WithValueThreshold(1 << 20).
		WithBlockCacheSize(memory / 4).WithIndexCacheSize(max(memory/8, 4<<20)).
		WithValueLogFileSize(16 << 20).WithMetricsEnabled(false)
	// Tables of the lower levels would be larger by far, and what fills the base builds some of each kind of record in memory.
	o.TableSizeMultiplier = 1
	if len(key) > 0 && dir != "" {
		o = o.WithEncryptionKey(key).WithEncryptionKeyRotationDuration(keyLife)
	}
	mark := filepath.Join(dir, "open")
	if dir != "" {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return nil, remote.E("make the tree's folder", dir, remote.IO, err)
		}
		if err := bulk.Room(dir, 0); err != nil {
			return nil, err
		}
		// Badger ends the process when a table is torn. The mark tells a start that never got past that.
		if _, err := os.Stat(mark); err == nil {
			return nil, fmt.Errorf("%w: an earlier start did not get through opening it", errDoubt)
		}
		if _, err := os.Stat(filepath.Join(dir, fillMark)); err == nil {
			return nil, fmt.Errorf("%w: it was filled in part", errDoubt)
		}
		if err := os.WriteFile(mark, nil, 0o600); err != nil {
			return nil, remote.E("mark the tree's folder", dir, remote.IO, err)
		}
	}
	db, err := openBadger(o)
	if err != nil {
		return nil, fmt.Errorf("%w: %v", errDoubt, err)
	}
	if dir != "" {
		if err := os.Remove(mark); err != nil {
			db.Close()
			return nil, remote.E("unmark the tree's folder", dir, remote.IO, err)
		}
	}
	b, err := newBase(db, memory)
	if err != nil {
		db.Close()
		return nil, err
	}
	b.dir = dir
	return b, nil
}

// newBase makes a base of an open database.
func newBase(db *badger.DB, memory int64) (*base, error) {
	b := &base{db: db}
	b.most.Store(&map[uint32]remote.Ino{})
	entries := int(max(memory/2/600, 1024))
	b.nodes, _ = lru.New[remote.Ino, Node](entries)
	b.names, _ = lru.New[nameKey, dirval](entries)
	b.bodies, _ = lru.New[bodyKey, *extent.Map](64)
	return b, b.start()
}

// openBadger opens the database and turns a panic on damaged files into an error.
func openBadger(o badger.Options) (db *badger.DB, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = errors.New("damaged files")
		}
	}()
	return badger.Open(o)
}

// start reads the position and sweeps inodes that only an earlier life had open.
func (b *base) start() error {
	busy, err := b.get(metaBusy)
	if err != nil {
		return fmt.Errorf("%w: %v", errDoubt, err)
	}
	if busy != nil {
		return fmt.Errorf("%w: a batch was applied in part", errDoubt)
	}
	f, err := b.get(metaForm)
	if err != nil {
		return fmt.Errorf("%w: %v", errDoubt, err)
	}
	p, err := b.get(metaPos)
	if err != nil {
		return fmt.Errorf("%w: %v", errDoubt, err)
	}
	switch {
	case f == nil && p == nil:
		if err := b.db.Update(func(tx *badger.Txn) error { return tx.Set(metaForm, []byte{form}) }); err != nil {
			return remote.E("begin the tree index", "", remote.IO, err)
		}
		return nil
	case len(f) != 1 || f[0] != form:
		return fmt.Errorf("%w: another layout", errDoubt)
	case p == nil:
		return nil
	case len(p) != 40:
		return fmt.Errorf("%w: position of %d bytes", errDoubt, len(p))
	}
	b.pos.Seq = binary.BigEndian.Uint64(p)
	copy(b.pos.Hash[:], p[8:])
	largest := map[uint32]remote.Ino{}
	err = b.scan([]byte{keyMax}, func(key, v []byte) error {
		largest[uint32(binary.BigEndian.Uint64(key[1:]))] = remote.Ino(binary.BigEndian.Uint64(v))
		return nil
	})
	if err != nil {
		return err
	}
	b.heed(largest)
	var orphans []remote.Ino
	err = b.scan([]byte{keyOrphan}, func(key, _ []byte) error {
		orphans = append(orphans, remote.Ino(binary.BigEndian.Uint64(key[1:])))
		return nil
	})
	if err != nil {
		return err
	}
	for _, ino := range orphans {
		w := b.writer()
		if err := b.drop(w, ino); err != nil {
			return err
		}
		if err := w.flush(false); err != nil {
			return err
		}
	}
	return nil
}

// get returns a copy of a key's value, or nil when there is none.
func (b *base) get(key []byte) ([]byte, error) {
	var v []byte
	err := b.db.View(func(tx *badger.Txn) error {
		it, err := tx.Get(key)
		if err == badger.ErrKeyNotFound {
			return nil
		}
		if err != nil {
			return err
		}
		v, err = it.ValueCopy(nil)
		if v == nil {
			v = []byte{}
		}
		return err
	})
	if err != nil {
		return nil, remote.E("read the tree index", "", remote.IO, err)
	}
	return v, nil
}

// scan calls fn for every key with the prefix, in order. Key and value are valid during the call only.
func (b *base) scan(prefix []byte, fn func(key, value []byte) error) error {
	return b.db.View(func(tx *badger.Txn) error {
		o := badger.DefaultIteratorOptions
		o.Prefix = prefix
		o.PrefetchSize = 256
		it := tx.NewIterator(o)
		defer it.Close()
		for it.Seek(prefix); it.ValidForPrefix(prefix); it.Next() {
			item := it.Item()
			if err := item.Value(func(v []byte) error { return fn(item.Key(), v) }); err != nil {
				return err
			}
		}
		return nil
	})
}

func (b *base) node(ino remote.Ino) (Node, bool, error) {
	if n, ok := b.nodes.Get(ino); ok {
		return n, n.Links > 0 || n.orphan, nil
	}
	if b.fresh(ino) {
		return Node{}, false, nil
	}
	v, err := b.get(k(keyNode, uint64(ino)))
	if err != nil || v == nil {
		return Node{}, false, err
	}
	n, err := decodeNode(ino, v)
	if err != nil {
		return Node{}, false, err
	}
	b.nodes.Add(ino, n)
	return n, true, nil
}

func (b *base) lookup(parent remote.Ino, name string) (dirval, error) {
	if d, ok := b.names.Get(nameKey{parent, name}); ok {
		return d, nil
	}
	if b.fresh(parent) {
		return dirval{}, nil
	}
	v, err := b.get(kname(parent, name))
	if err != nil || v == nil {
		return dirval{}, err
	}
	d, err := decodeName(v)
	if err == nil {
		b.names.Add(nameKey{parent, name}, d)
	}
	return d, err
}

func decodeName(v []byte) (dirval, error) {
	if len(v) != 9 {
		return dirval{}, remote.E("read the tree index", "", remote.IO, errDoubt)
	}
	return dirval{remote.Ino(binary.BigEndian.Uint64(v)), remote.Type(v[8])}, nil
}

// body returns the extents of one segment of a file; not to be changed.
func (b *base) body(ino remote.Ino, seg uint64) (*extent.Map, error) {
	key := bodyKey{ino, seg}
	if m, ok := b.bodies.Get(key); ok {
		return m, nil
	}
	if b.fresh(ino) {
		return &extent.Map{}, nil
	}
	v, err := b.get(k(keyBody, uint64(ino), seg))
	if err != nil {
		return nil, err
	}
	var list []remote.Extent
	for len(v) > 0 {
		var e remote.Extent
		if e, v, err = wire.DecodeExtent(v); err != nil {
			return nil, remote.E("read the tree index", fmt.Sprint(ino), remote.IO, err)
		}
		list = append(list, e)
	}
	m, err := extent.FromSorted(list)
	if err != nil {
		return nil, remote.E("read the tree index", fmt.Sprint(ino), remote.IO, err)
	}
	b.bodies.Add(key, m)
	return m, nil
}

// forget drops what is cached of an inode.
func (b *base) forget(ino remote.Ino) {
	b.nodes.Remove(ino)
	for _, key := range b.bodies.Keys() {
		if key.ino == ino {
			b.bodies.Remove(key)
		}
	}
}

// purge empties the caches.
func (b *base) purge() {
	b.nodes.Purge()
	b.names.Purge()
	b.bodies.Purge()
}

// reset empties the base.
func (b *base) reset() error {
	if err := b.room(0); err != nil {
		return err
	}
	b.purge()
	b.pos = remote.Position{}
	if err := b.db.DropAll(); err != nil {
		return remote.E("empty the tree index", "", remote.IO, err)
	}
	return (&writer{b: b}).txn([]*badger.Entry{badger.NewEntry(metaForm, []byte{form}), badger.NewEntry(metaBusy, []byte{1}), badger.NewEntry(metaPart, []byte{1})})
}
