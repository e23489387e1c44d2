package tree

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"slices"

	"megafs/remote"
	"megafs/remote/bulk"
	"megafs/remote/wire"
)

// fillMark is the file that tells, in the index's folder, that it is being filled: the database has no mark of its own then.
const fillMark = "filling"

// gather takes a part of a snapshot for the fill, when there is one. It reports false for what is to be applied.
func (t *Tree) gather(b remote.Batch) (bool, error) {
	f := t.fill
	if f == nil {
		return false, nil
	}
	if b.Pos == (remote.Position{}) {
		err := f.add(b.Ops)
		if err == errNotFilled && t.shown {
			err = f.hold(b.Ops)
		}
		if err != errNotFilled {
			return true, err
		}
	} else {
		t.fillable = false
		if t.shown {
			t.base.use.Lock()
			defer t.base.use.Unlock()
			t.changes = append(t.changes[:0], Changed{}) // anything
			from := t.base.pos
			defer func() {
				if from.Seq == 0 || t.base.pos != from {
					t.resets++
				}
			}()
		}
		if f.loose {
			t.base.purge() // makes room
			if err := f.again(2 * t.memory); err != nil && err != errNotFilled {
				return false, err
			}
		}
		if f.n > 0 {
			defer t.dropFill()
			return false, t.base.fill(f, b.Pos)
		}
	}
	// One by one then, from the start.
	t.fill = nil
	defer f.close()
	if t.shown {
		if err := t.base.reset(); err != nil {
			return false, err
		}
	}
	return false, f.spool.Each(func(block []byte) error {
		var ops []remote.Op
		for rest := slices.Clone(block); len(rest) > 0; { // what is decoded may refer to it
			op, after, err := wire.DecodeOp(rest)
			if err != nil {
				return err
			}
			ops, rest = append(ops, op), after
		}
		return t.absorb(remote.Batch{Ops: ops})
	})
}

func (t *Tree) dropFill() {
	if t.fill != nil {
		t.fill.close()
		t.fill = nil
	}
}

// fill makes the base what a snapshot says, in one go. Nobody may use the base meanwhile.
func (b *base) fill(f *fill, pos remote.Position) (err error) {
	failed := func(err error) error { return remote.E("fill the tree index", "", remote.IO, err) }
	if err := b.room(2 * f.spool.Size()); err != nil {
		return err
	}
	mark := filepath.Join(b.dir, fillMark)
	if err := os.WriteFile(mark, nil, 0o600); err != nil {
		return failed(err)
	}
	b.purge()
	largest := map[uint32]remote.Ino{}
	w, err := bulk.New(b.db)
	if err == nil {
		if err = (&filler{b: b, f: f, bulk: w, largest: largest}).write(pos); err == nil {
			err = w.Flush()
		} else {
			w.Cancel()
		}
	}
	if err != nil {
		if b.reset() == nil { // or the mark tells
			os.Remove(mark)
		}
		return failed(err)
	}
	b.heed(largest)
	b.pos, b.filled = pos, true
	if err := os.Remove(mark); err != nil {
		return failed(err)
	}
	return nil
}

// The streams of a filler. Keys of one come in their order and have none of another's between them. Each has a table or two in memory until it is done.
const (
	streamBody  = iota + 1
	streamNames // and what is written last
	streamNodes
	streamOther // devices, which come first, and xattrs
)

func streamOf(kind byte) uint32 {
	switch kind {
	case keyBody:
		return streamBody
	case keyName, keyMax, keyMeta:
		return streamNames
	case keyNode:
		return streamNodes
	}
	return streamOther
}

// filler writes a fill's records, in streams in the order of keys.
type filler struct {
	b       *base
	f       *fill
	bulk    *bulk.Writer
	largest map[uint32]remote.Ino

	n    Node // the inode that is told
	at   uint32
	some bool
	done bool   // with inodes
	seg  uint64 // of its content
	body []byte
}

func (w *filler) put(key, value []byte) error { return w.bulk.Put(streamOf(key[0]), key, value) }

func (w *filler) write(pos remote.Position) error {
	err := w.f.spool.Each(func(block []byte) error { return wire.EachOp(block, w.op) })
	if err == nil {
		err = w.endInode()
	}
	if err != nil {
		return err
	}
	var devices []uint32
	for d := range w.largest {
		devices = append(devices, d)
	}
	slices.Sort(devices)
	for _, d := range devices {
		if err := w.put(k(keyMax, uint64(d)), binary.BigEndian.AppendUint64(nil, uint64(w.largest[d]))); err != nil {
			return err
		}
	}
	at := binary.BigEndian.AppendUint64(nil, pos.Seq)
	for _, m := range []struct{ key, value []byte }{{metaForm, []byte{form}}, {metaPart, []byte{1}}, {metaPos, append(at, pos.Hash[:]...)}} {
		if err := w.put(m.key, m.value); err != nil {
			return err
		}
	}
	return nil
}

func (w *filler) op(op *remote.Op) error {
	switch op.Kind {
	case remote.OpDevice:
		return w.put(k(keyDevice, uint64(op.Number)), op.Device[:])
	case remote.OpNode:
		if err := w.endInode(); err != nil {
			return err
		}
		w.n, w.some = w.f.node(w.at, op), true
		w.largest[op.Ino.Device()] = op.Ino
	case remote.OpXattr:
		w.n.Xattrs++
		return w.put(kxattr(op.Ino, op.Name), op.Value)
	case remote.OpExtent:
		return w.extent(op.Extent)
	case remote.OpLink:
		if err := w.endInodes(); err != nil {
			return err
		}
		at, _ := w.f.place(op.Ino)
		return w.put(kname(op.Parent, op.Name), append(binary.BigEndian.AppendUint64(nil, uint64(op.Ino)), *w.f.kind(at)&^kindNamed))
	}
	return nil
}

// extent adds to the record of the segment that it lies in, or of several.
func (w *filler) extent(e remote.Extent) error {
	for off, end := e.Off, e.End(); off < end; {
		seg := off >> segmentBits
		to := min(end, (seg+1)<<segmentBits)
		if seg != w.seg {
			if err := w.endBody(); err != nil {
				return err
			}
			w.seg = seg
		}
		part := e.Slice(off, to)
		w.body = wire.AppendExtent(w.body, &part)
		off = to
	}
	return nil
}

func (w *filler) endBody() error {
	if len(w.body) == 0 {
		return nil
	}
	err := w.put(k(keyBody, uint64(w.n.Ino), w.seg), w.body)
	w.body = w.body[:0]
	return err
}

// endInodes ends all streams but that of names.
func (w *filler) endInodes() error {
	if w.done {
		return nil
	}
	w.done = true
	if err := w.endInode(); err != nil {
		return err
	}
	return w.bulk.Done(streamBody, streamNodes, streamOther)
}

// endInode writes the record of the inode that was told, now that its xattrs are counted.
func (w *filler) endInode() error {
	if !w.some {
		return nil
	}
	if err := w.endBody(); err != nil {
		return err
	}
	w.some, w.seg = false, 0
	w.at++
	return w.put(k(keyNode, uint64(w.n.Ino)), encodeNode(w.n))
}
