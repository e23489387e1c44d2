package bulk

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/pb"
	"github.com/dgraph-io/ristretto/v2/z"
)

func open(t *testing.T) *badger.DB {
	t.Helper()
	db, err := badger.Open(badger.DefaultOptions(t.TempDir()).WithLogger(nil))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}

// TestRecord holds the form of records against badger's own.
func TestRecord(t *testing.T) {
	own, ours := z.NewBuffer(1<<20, "test"), z.NewBuffer(1<<20, "test")
	defer own.Release()
	defer ours.Release()
	w := &Writer{buf: ours}
	for _, n := range []int{1, 2, 127, 128, 129, 16383, 16384, 70000} {
		for _, stream := range []uint32{1, 'i', 127, 128, 1 << 20} {
			for _, value := range [][]byte{nil, {}, {0}, bytes.Repeat([]byte{7}, n)} {
				key := bytes.Repeat([]byte{1}, n)
				badger.KVToBuffer(&pb.KV{Key: key, Value: value, Version: 1, StreamId: stream}, own)
				w.Put(stream, key, value)
				badger.KVToBuffer(&pb.KV{StreamId: stream, StreamDone: true}, own)
				w.Done(stream)
				if !bytes.Equal(own.Bytes(), ours.Bytes()) {
					t.Fatal(n, stream, len(value))
				}
				own.Reset()
				ours.Reset()
			}
		}
	}
}

// TestFill: a database has what was put, through many parts, and nothing of before; what is given up leaves a database that can be used.
func TestFill(t *testing.T) {
	db := open(t)
	if err := db.Update(func(tx *badger.Txn) error { return tx.Set([]byte("before"), nil) }); err != nil {
		t.Fatal(err)
	}
	const n = 30_000
	key := func(stream, i int) []byte { return fmt.Appendf(nil, "%c%08d", stream, i) }
	value := func(i int) []byte { return bytes.Repeat([]byte{byte(i)}, i%100) }
	fill := func() *Writer {
		w, err := New(db)
		if err != nil {
			t.Fatal(err)
		}
		for i := range n {
			for _, s := range "abc" {
				if err := w.Put(uint32(s), key(int(s), i), value(i)); err != nil {
					t.Fatal(err)
				}
			}
		}
		if err := w.Done('a', 'b'); err != nil {
			t.Fatal(err)
		}
		return w
	}
	fill().Cancel()
	if err := db.DropAll(); err != nil {
		t.Fatal(err)
	}
	w := fill()
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	w.Cancel()
	err := db.View(func(tx *badger.Txn) error {
		it := tx.NewIterator(badger.DefaultIteratorOptions)
		defer it.Close()
		it.Rewind()
		for _, s := range "abc" {
			for i := range n {
				v, err := it.Item().ValueCopy(nil)
				if err != nil || !bytes.Equal(it.Item().Key(), key(int(s), i)) || !bytes.Equal(v, value(i)) {
					return fmt.Errorf("%q %q, not %q: %v", it.Item().Key(), v, key(int(s), i), err)
				}
				it.Next()
			}
		}
		if it.Valid() {
			return fmt.Errorf("%q is too much", it.Item().Key())
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Update(func(tx *badger.Txn) error { return tx.Set([]byte("after"), nil) }); err != nil {
		t.Fatal(err)
	}
}
