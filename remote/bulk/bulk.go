package bulk

import (
	"encoding/binary"

	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/ristretto/v2/z"
)

// Writer takes the records of a database. After an error it is good for Cancel only.
type Writer struct {
	sw   *badger.StreamWriter
	buf  *z.Buffer      // being filled
	full chan *z.Buffer // to badger
	free chan written   // from there
	err  error
}

// written is a buffer that badger took, and how that went.
type written struct {
	buf *z.Buffer
	err error
}

// part is how many bytes of records badger takes at a time.
const part = 1 << 20

// New drops what is in the database, and begins to fill it. When it fails there is nothing to cancel.
func New(db *badger.DB) (*Writer, error) {
	w := &Writer{sw: db.NewStreamWriter(), full: make(chan *z.Buffer), free: make(chan written, 2)}
	if err := w.sw.Prepare(); err != nil {
		w.sw.Cancel()
		return nil, err
	}
	w.buf = z.NewBuffer(2*part, "bulk")
	w.free <- written{buf: z.NewBuffer(2*part, "bulk")}
	go func() {
		var err error
		for b := range w.full {
			if err == nil {
				err = w.sw.Write(b)
			}
			b.Reset()
			w.free <- written{b, err}
		}
		close(w.free)
	}()
	return w, nil
}

// Put adds a record. The keys of one stream must come in their order.
func (w *Writer) Put(stream uint32, key, value []byte) error {
	appendRecord(w.buf.SliceAllocate(recordSize(stream, key, value))[:0], stream, key, value)
	return w.pass()
}

// Done says that streams have no more records, so that their last tables are written and their memory is given back. Each must have one.
func (w *Writer) Done(streams ...uint32) error {
	for _, s := range streams {
		b := w.buf.SliceAllocate(1 + uvarint(uint64(s)) + 2)[:0]
		_ = append(binary.AppendUvarint(append(b, tagStream), uint64(s)), tagDone, 1)
	}
	return w.pass()
}

func (w *Writer) pass() error {
	if w.buf.LenNoPadding() < part {
		return w.err
	}
	return w.send()
}

func (w *Writer) send() error {
	w.full <- w.buf
	x := <-w.free
	w.buf = x.buf
	if w.err == nil {
		w.err = x.err
	}
	return w.err
}

// end hands on what is left, and ends the goroutine.
func (w *Writer) end() {
	w.send()
	close(w.full)
	for x := range w.free {
		if w.err == nil {
			w.err = x.err
		}
		x.buf.Release()
	}
	w.buf.Release()
	w.full = nil
}

// Flush makes the database what was put.
func (w *Writer) Flush() error {
	w.end()
	if w.err == nil {
		w.err = w.sw.Flush()
	}
	if w.err != nil {
		w.sw.Cancel()
	}
	return w.err
}

// Cancel gives up. What was put may be there in part. After Flush it does nothing.
func (w *Writer) Cancel() {
	if w.full == nil {
		return
	}
	w.buf.Reset()
	w.end()
	w.sw.Cancel()
}

// A record is a message pb.KV of badger's, in the form of protocol buffers. Its own way to write one takes three times as long, and there are six to a file.
const (
	tagKey     = 1<<3 | 2
	tagValue   = 2<<3 | 2
	tagVersion = 4 << 3
	tagStream  = 10 << 3
	tagDone    = 11 << 3
)

func recordSize(stream uint32, key, value []byte) int {
	n := 1 + uvarint(uint64(len(key))) + len(key) + 2 + 1 + uvarint(uint64(stream))
	if len(value) > 0 {
		n += 1 + uvarint(uint64(len(value))) + len(value)
	}
	return n
}

func appendRecord(b []byte, stream uint32, key, value []byte) []byte {
	b = append(binary.AppendUvarint(append(b, tagKey), uint64(len(key))), key...)
	if len(value) > 0 {
		b = append(binary.AppendUvarint(append(b, tagValue), uint64(len(value))), value...)
	}
	return binary.AppendUvarint(append(b, tagVersion, 1, tagStream), uint64(stream))
}

// uvarint is how many bytes a number has.
func uvarint(n uint64) int {
	k := 1
	for ; n >= 0x80; n >>= 7 {
		k++
	}
	return k
}
