package tree

import (
	"encoding/binary"

	"github.com/dgraph-io/badger/v4"

	"megafs/remote"
)

// writer collects changes of the base for one flush.
type writer struct {
	b    *base
	puts []*badger.Entry // Value nil: remove
	size int
}

func (b *base) writer() *writer { return &writer{b: b} }

func (w *writer) set(key, value []byte) {
	if value == nil {
		value = []byte{}
	}
	w.puts = append(w.puts, badger.NewEntry(key, value))
	w.size += len(key) + len(value) + 32
}

func (w *writer) del(key []byte) {
	w.puts = append(w.puts, &badger.Entry{Key: key})
	w.size += len(key) + 32
}

func (w *writer) setNode(n Node) {
	w.b.nodes.Remove(n.Ino)
	w.set(k(keyNode, uint64(n.Ino)), encodeNode(n))
}

// oneTxn is what surely fits into one of badger's transactions with these options.
const (
	oneTxnBytes = 512 << 10
	oneTxnKeys  = 2000
)

// flush writes all. What does not fit into one transaction is bracketed by a mark, unless a load in progress has set it already.
func (w *writer) flush(loading bool) error {
	if err := w.b.room(4 * int64(w.size)); err != nil {
		return err
	}
	if loading {
		return w.batch()
	}
	if len(w.puts) <= oneTxnKeys && w.size <= oneTxnBytes {
		return w.txn(w.puts)
	}
	if err := w.txn([]*badger.Entry{badger.NewEntry(metaBusy, []byte{1})}); err != nil {
		return err
	}
	if err := w.batch(); err != nil {
		return err
	}
	return w.txn([]*badger.Entry{{Key: metaBusy}})
}

// batch writes all in as many transactions as it takes, in order.
func (w *writer) batch() error {
	wb := w.b.db.NewWriteBatch()
	defer wb.Cancel()
	err := put(wb, w.puts)
	if err == nil {
		err = wb.Flush()
	}
	return notWritten(err)
}

func (w *writer) txn(puts []*badger.Entry) error {
	return notWritten(w.b.db.Update(func(tx *badger.Txn) error { return put(tx, puts) }))
}

// put hands changes to a transaction, or to a batch of them.
func put(to interface {
	SetEntry(*badger.Entry) error
	Delete(key []byte) error
}, puts []*badger.Entry) error {
	for _, e := range puts {
		var err error
		if e.Value == nil {
			err = to.Delete(e.Key)
		} else {
			err = to.SetEntry(e)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func notWritten(err error) error {
	if err == nil {
		return nil
	}
	return remote.E("write the tree index", "", remote.IO, err)
}

// drop removes all of an inode but names.
func (b *base) drop(w *writer, ino remote.Ino) error {
	for _, p := range [][]byte{k(keyXattr, uint64(ino)), k(keyBody, uint64(ino))} {
		err := b.scan(p, func(key, _ []byte) error {
			w.del(append([]byte(nil), key...))
			return nil
		})
		if err != nil {
			return err
		}
	}
	w.del(k(keyNode, uint64(ino)))
	w.del(k(keyOrphan, uint64(ino)))
	b.forget(ino)
	return nil
}

func (b *base) setPos(w *writer, p remote.Position) {
	v := binary.BigEndian.AppendUint64(nil, p.Seq)
	w.set(append([]byte(nil), metaPos...), append(v, p.Hash[:]...))
}
