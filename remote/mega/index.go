package mega

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"iter"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/options"

	"megafs/remote"
	"megafs/remote/bulk"
	"megafs/remote/wire"
)

// The kinds of keys of the index: the first byte, then what is named here.
const (
	keyNode    = 'h' // handle -> inode number
	keyIno     = 'i' // inode number -> handle, node: so a tree is told in the order of inodes without a look-up by handle, of which the order is random
	keyChild   = 'c' // parent's handle, shown name -> handle, inode number
	keyTwin    = 't' // parent's handle, wanted name, 0, handle: its name was taken when it came
	keyContent = 'o' // handle -> key and size of content whose node is gone
	keyMACs    = 'v' // handle -> MACs of all chunks, verified
	keyPoison  = 'p' // handle: its content is not what was stored
	keyUpload  = 'u' // number of an upload -> handle
	keyIntent  = 'w' // wrapped key, and mark if it is a copy, of a node that is about to be made -> inode and content
	keyLate    = 'l' // wrapped key of a node that was asked for by a commit that failed, when another began -> as with an intent, and since when; for lateLife
	keyStray   = 'x' // handle of a node that came too late and is to go
	keySending = 'q' // inode number -> an upload that may go on
	keyPosted  = 'y' // number of an upload, chunk -> MACs of the chunks of a post that begins with it
	keyUndo    = 'z' // a or m, handle of a node whose attributes, or place, are to be at the server what they are here; see belated.go
	keyBatch   = 'b' // sequence number -> batch
	keyShare   = 'a' // handle of a folder that somebody shares with the account -> its key, empty: unknown
	keyRaw     = 'r' // handle -> node of a tree that is being read
	keyRawSon  = 's' // parent's handle, handle: likewise
	keyMeta    = 'm'
)

const indexForm = 2

// index is what this machine knows of an account: which inode is which node, in one transaction with the place in the server's events up to which
// that holds. It is as precious as the journal, whose records speak of its inodes. One goroutine at a time changes it.
type index struct {
	db   *badger.DB
	dir  string // "": in memory
	meta meta
}

// meta is what the index says of itself.
type meta struct {
	life    [32]byte // of this index; part of each position
	device  [16]byte
	seq     uint64 // batches
	sn      string // of the server's events; "": the tree was never read
	root    string // handles
	rubbish string
	foreign uint64 // counter of inode numbers for nodes that others made
	batch   uint64 // the oldest that is kept
}

func (m meta) position() remote.Position { return remote.Position{Seq: m.seq, Hash: m.life} }

func (m meta) encode() []byte {
	b := append(append([]byte{indexForm}, m.life[:]...), m.device[:]...)
	for _, n := range []uint64{m.seq, m.foreign, m.batch} {
		b = binary.BigEndian.AppendUint64(b, n)
	}
	for _, s := range []string{m.sn, m.root, m.rubbish} {
		b = append(append(b, byte(len(s))), s...)
	}
	return b
}

func decodeMeta(b []byte) (m meta, err error) {
	if len(b) < 1+32+16+24 || b[0] != indexForm {
		return m, errIndex
	}
	copy(m.life[:], b[1:])
	copy(m.device[:], b[33:])
	b = b[49:]
	for i, n := range []*uint64{&m.seq, &m.foreign, &m.batch} {
		*n = binary.BigEndian.Uint64(b[8*i:])
	}
	b = b[24:]
	for _, s := range []*string{&m.sn, &m.root, &m.rubbish} {
		if len(b) == 0 || int(b[0]) >= len(b) {
			return m, errIndex
		}
		*s, b = string(b[1:1+int(b[0])]), b[1+int(b[0]):]
	}
	return m, nil
}

// keyLife is how long badger seals with one data key; it must be less than the time since 1970.
const keyLife = 10 * 365 * 24 * time.Hour

// openIndex opens the index in dir, or in memory when dir is empty.
func openIndex(dir string, key [32]byte, memory int64) (*index, error) {
	o := badger.DefaultOptions(dir).WithLogger(nil).WithInMemory(dir == "").WithSyncWrites(true).
		WithCompression(options.None).WithNumVersionsToKeep(1).WithDetectConflicts(false).
		WithMemTableSize(8 << 20).WithNumMemtables(2).WithNumLevelZeroTables(2).WithNumLevelZeroTablesStall(6).
		WithBaseTableSize(4 << 20).WithNumCompactors(2).WithValueThreshold(1 << 20).
		WithBlockCacheSize(memory / 2).WithIndexCacheSize(max(memory, 4<<20)).
		WithValueLogFileSize(16 << 20).WithMetricsEnabled(false)
	o.TableSizeMultiplier = 1 // a table of the last level is in memory, twice, for each stream of a first tree
	if dir != "" {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return nil, remote.E("make the account's index", dir, remote.IO, err)
		}
		if err := bulk.Room(dir, 0); err != nil {
			return nil, err
		}
		o = o.WithEncryptionKey(key[:]).WithEncryptionKeyRotationDuration(keyLife)
	}
	db, err := badger.Open(o)
	if err != nil {
		return nil, remote.E("open the account's index", dir, remote.IO, err)
	}
	x := &index{db: db, dir: dir}
	if dir != "" {
		if _, err := os.Stat(fillMark(dir)); err == nil { // the first tree was cut short: nothing is known yet
			if err = db.DropAll(); err == nil {
				err = mark(dir, false)
			}
			if err != nil {
				db.Close()
				return nil, remote.E("begin the account's index anew", dir, remote.IO, err)
			}
		}
	}
	b, err := x.get([]byte{keyMeta})
	if err == nil && b != nil {
		x.meta, err = decodeMeta(b)
	} else if err == nil {
		rand.Read(x.meta.life[:])
		rand.Read(x.meta.device[:])
		x.meta.batch = 1
	}
	if err == nil {
		b, err = x.get(metaBusy)
	}
	if err != nil {
		db.Close()
		return nil, err
	}
	if b != nil {
		x.doubt()
	}
	return x, nil
}

// doubt is for when a change was cut short that was more than one transaction: the tree is read again, and nobody goes on from what was known.
func (x *index) doubt() {
	x.meta.sn = ""
	rand.Read(x.meta.life[:])
}

// fillMark is the file that tells that the index is being filled with its first tree.
func fillMark(dir string) string { return filepath.Join(dir, "filling") }

// metaBusy says that a change is under way that is more than one transaction.
var metaBusy = []byte{keyMeta, 'b'}

// IndexDir is where in a state folder the index is.
func IndexDir(state string) string { return filepath.Join(state, "account") }

// close leaves the index as a kill does when the disk has no room for what badger writes at the end.
func (x *index) close() error {
	if err := bulk.Room(x.dir, 0); err != nil {
		return err
	}
	return x.db.Close()
}

// get returns a key's value, nil if there is none.
func (x *index) get(key []byte) (v []byte, err error) {
	err = x.db.View(func(t *badger.Txn) error {
		i, err := t.Get(key)
		if errors.Is(err, badger.ErrKeyNotFound) {
			return nil
		}
		if err == nil {
			v, err = i.ValueCopy(nil)
			if v == nil {
				v = []byte{}
			}
		}
		return err
	})
	if err != nil {
		err = remote.E("read the account's index", "", remote.IO, err)
	}
	return v, err
}

// scan yields keys, without the prefix, and values.
func (x *index) scan(prefix []byte, fn func(key, value []byte) error) error {
	return x.db.View(func(t *badger.Txn) error {
		o := badger.DefaultIteratorOptions
		o.Prefix, o.PrefetchValues = prefix, false // values are beside their keys, and fetching ahead takes a goroutine for each
		it := t.NewIterator(o)
		defer it.Close()
		for it.Rewind(); it.Valid(); it.Next() {
			v, err := it.Item().ValueCopy(nil)
			if err != nil {
				return remote.E("read the account's index", "", remote.IO, err)
			}
			if err := fn(it.Item().KeyCopy(nil)[len(prefix):], v); err != nil {
				return err
			}
		}
		return nil
	})
}

func kstr(kind byte, parts ...string) []byte {
	b := []byte{kind}
	for _, p := range parts {
		b = append(b, p...)
	}
	return b
}

func kino(ino remote.Ino) []byte { return binary.BigEndian.AppendUint64([]byte{keyIno}, uint64(ino)) }

// inoValue is an inode number as a value.
func inoValue(ino remote.Ino) []byte { return binary.BigEndian.AppendUint64(nil, uint64(ino)) }

func kbatch(seq uint64) []byte { return binary.BigEndian.AppendUint64([]byte{keyBatch}, seq) }

// write is a set of changes that are made together.
type write struct {
	set map[string][]byte // nil: remove
}

func newWrite() *write { return &write{map[string][]byte{}} }

func (w *write) put(key, v []byte) {
	if v == nil {
		v = []byte{}
	}
	w.set[string(key)] = v
}

func (w *write) del(key []byte) { w.set[string(key)] = nil }

// commit makes the changes durable, with the meta record. What is too much for a transaction of the database is split, with a mark while it is under way; see doubt.
func (x *index) commit(w *write, m meta) (err error) {
	w.put([]byte{keyMeta}, m.encode())
	t := x.db.NewTransaction(true)
	defer func() { t.Discard() }()
	last, busy := string([]byte{keyMeta}), false
	defer func() {
		if err != nil && busy {
			x.doubt()
		}
	}()
	put := func(k string, v []byte) error {
		if v == nil {
			return t.Delete([]byte(k))
		}
		return t.Set([]byte(k), v)
	}
	for k, v := range w.each(last) {
		err := put(k, v)
		if errors.Is(err, badger.ErrTxnTooBig) {
			if !busy {
				busy = true
				if err := x.db.Update(func(t *badger.Txn) error { return t.Set(metaBusy, nil) }); err != nil {
					return remote.E("write the account's index", "", remote.IO, err)
				}
			}
			if err = t.Commit(); err == nil {
				t = x.db.NewTransaction(true)
				err = put(k, v)
			}
		}
		if err != nil {
			return remote.E("write the account's index", "", remote.IO, err)
		}
	}
	if err := t.Commit(); err != nil {
		return remote.E("write the account's index", "", remote.IO, err)
	}
	x.meta = m
	return nil
}

// each yields the changes in order, last last.
func (w *write) each(last string) iter.Seq2[string, []byte] {
	return func(yield func(string, []byte) bool) {
		for _, k := range slices.Sorted(maps.Keys(w.set)) {
			if k != last && k != string(metaBusy) && !yield(k, w.set[k]) {
				return
			}
		}
		if !yield(string(metaBusy), nil) {
			return
		}
		if v, ok := w.set[last]; ok {
			yield(last, v)
		}
	}
}

// Batches that are kept for a tree that lags behind: so many, and of each so many bytes.
const (
	batchesKept = 64
	batchMost   = 512 << 10
)

// addBatch makes ops the next batch.
func (x *index) addBatch(w *write, m *meta, own bool, ops []remote.Op) {
	m.seq++
	b := wire.AppendOps([]byte{0}, ops)
	if own {
		b[0] = 1
	}
	if len(b) > batchMost { // whoever lags behind begins anew
		for ; m.batch < m.seq; m.batch++ {
			w.del(kbatch(m.batch))
		}
		m.batch = m.seq + 1
		return
	}
	w.put(kbatch(m.seq), b)
	for ; m.batch+batchesKept <= m.seq; m.batch++ {
		w.del(kbatch(m.batch))
	}
}

// batch returns a batch that is kept.
func (x *index) batch(seq uint64) (ops []remote.Op, own bool, err error) {
	b, err := x.get(kbatch(seq))
	if err != nil {
		return nil, false, err
	}
	if len(b) == 0 {
		return nil, false, errIndex
	}
	ops, err = wire.DecodeOps(b[1:])
	return ops, b[0] == 1, err
}

func sorted[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

// content is what it takes to read a file.
type content struct {
	key  []byte
	size uint64
}

// content returns how the content of a node is read, also of one that is gone.
func (x *index) content(handle string) (*content, error) {
	n, err := x.node(handle)
	if err != nil {
		return nil, err
	}
	if n != nil {
		if n.folder || n.key == nil {
			return nil, nil
		}
		return &content{n.key, n.size}, nil
	}
	b, err := x.get(kstr(keyContent, handle))
	if err != nil || len(b) != 40 {
		return nil, err
	}
	return &content{bytes.Clone(b[8:]), binary.BigEndian.Uint64(b)}, nil
}
