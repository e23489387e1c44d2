package tree

import (
	"context"
	"encoding/binary"
	"errors"
	"sort"

	"github.com/dgraph-io/badger/v4"

	"megafs/remote"
	"megafs/remote/wire"
)

// Load brings the base to the head of a remote, by way of a sink that hands each batch on to the tree: the tree itself, or one that merges. It reports
// whether the base moved, on an error too.
func (t *Tree) Load(ctx context.Context, r remote.Remote, s remote.Sink) (moved bool, err error) {
	t.mu.Lock()
	from := t.base.pos
	t.shown = t.base.dir != "" && (!t.fillable || from.Seq > 0)
	t.mu.Unlock()
	_, err = r.Load(ctx, from, s)
	t.mu.Lock()
	defer t.mu.Unlock()
	void := t.fill != nil && t.shown
	t.fillable, t.shown = false, false
	t.dropFill() // what of a snapshot was told only in part
	to := t.base.pos
	if err != nil {
		if void && to != from && (from.Seq == 0 || to.Seq < from.Seq) {
			// It was begun anew in this load with what is older than what was there, and that is void, too.
			t.resets++
			err = errors.Join(err, t.base.reset())
		}
		return to != from, err
	}
	partial, err := t.base.get(metaPart)
	if partial != nil && err == nil {
		err = t.base.writer().txn([]*badger.Entry{{Key: metaPart}})
	}
	return to != from, err
}

// Partial reports whether the base was begun anew and never got to the head since: it is a state of the past, which this machine may have seen
// go by long ago.
func (t *Tree) Partial() (bool, error) {
	partial, err := t.base.get(metaPart)
	return partial != nil, err
}

// Numbers is how many inode numbers were given out, as far as the base knows: no fewer than there are inodes.
func (t *Tree) Numbers() (n uint64) {
	for _, ino := range *t.base.most.Load() {
		n += uint64(ino) & (1<<remote.InoBits - 1)
	}
	return n
}

// Reset implements remote.Sink: the base is emptied; or, when others look at it or may have to do with it, replaced once a snapshot is whole.
func (t *Tree) Reset() (err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.dropFill()
	if !t.shown {
		t.resets++
		if err := t.base.reset(); err != nil || !t.fillable {
			return err
		}
	}
	limit := t.memory / 2
	if t.fillable {
		limit = 2 * t.memory // the caches that memory is for are empty
	}
	t.fill, err = newFill(t.base.dir, limit)
	return err
}

// Resets counts how often the base was emptied or replaced.
func (t *Tree) Resets() int {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.resets
}

// Strays returns the objects that local changes share and the base does not refer to.
func (t *Tree) Strays() (map[remote.ObjectID]bool, error) {
	t.mu.RLock()
	strays := t.shared()
	t.mu.RUnlock()
	if len(strays) == 0 {
		return strays, nil
	}
	err := t.Referenced(func(e remote.Extent) error { delete(strays, e.Ref.Object); return nil })
	return strays, err
}

// shared returns the objects that local changes share. Called with mu held.
func (t *Tree) shared() map[remote.ObjectID]bool {
	out := map[remote.ObjectID]bool{}
	for _, l := range t.current().layers {
		for _, d := range l.inodes {
			if d.body == nil {
				continue
			}
			for _, r := range d.body.runs.All() {
				if s := r.V.Shared; s != nil && !s.Hole && s.Inline == nil {
					out[s.Ref.Object] = true
				}
			}
		}
	}
	return out
}

// Objects tells every object that the base or a local change refers to, some more than once.
func (t *Tree) Objects(yield func(remote.ObjectID)) error {
	local := func() {
		t.mu.RLock()
		shared := t.shared()
		t.mu.RUnlock()
		for id := range shared {
			yield(id)
		}
	}
	// Before and after: what a change refers to comes to the base when it is committed, and a copy takes it out of the base meanwhile.
	local()
	err := t.Referenced(func(e remote.Extent) error { yield(e.Ref.Object); return nil })
	local()
	return err
}

// Apply implements remote.Sink: the base takes a batch. A batch with the zero Position is a part of a snapshot.
// A batch that would not leave a tree is refused with Integrity and changes nothing. Local changes stay as they are; see Merge.
func (t *Tree) Apply(b remote.Batch) error {
	return t.Adopt(b, nil, 0, 0)
}

// absorb applies a batch to the base.
func (t *Tree) absorb(b remote.Batch) error {
	loading, err := t.base.get(metaBusy)
	if err != nil {
		return err
	}
	bulk := loading != nil
	if err := t.comeBack(b.Ops); err != nil {
		return err
	}
	s := newState(newLayer(), nil, t.base)
	s.versioned = max(b.Pos.Seq, 1)
	s.bulk = bulk
	w := t.base.writer()
	largest, seen := map[uint32]remote.Ino{}, map[uint32]remote.Ino{}
	for i := range b.Ops {
		op := &b.Ops[i]
		for _, ino := range []remote.Ino{op.Ino, op.Parent} {
			d := ino.Device()
			seen[d] = max(seen[d], ino)
		}
		if op.Kind == remote.OpDevice {
			w.set(k(keyDevice, uint64(op.Number)), append([]byte(nil), op.Device[:]...))
			continue
		}
		if err := s.apply(op, 1); err != nil {
			return err
		}
		if op.Kind == remote.OpNode {
			d := op.Ino.Device()
			largest[d] = max(largest[d], op.Ino)
		}
	}
	if !bulk {
		if err := s.check(); err != nil {
			return err
		}
	}
	t.base.heed(seen)
	if err := s.write(w, t.pinned); err != nil {
		return err
	}
	for d, ino := range largest {
		old, err := t.base.get(k(keyMax, uint64(d)))
		if err != nil {
			return err
		}
		if len(old) == 8 && remote.Ino(binary.BigEndian.Uint64(old)) >= ino {
			continue
		}
		w.set(k(keyMax, uint64(d)), binary.BigEndian.AppendUint64(nil, uint64(ino)))
	}
	if b.Pos != (remote.Position{}) {
		t.base.setPos(w, b.Pos)
		if bulk {
			w.del(append([]byte(nil), metaBusy...))
		}
	}
	if err := w.flush(bulk); err != nil {
		return err
	}
	if b.Pos != (remote.Position{}) {
		t.base.pos = b.Pos
	}
	return nil
}

// Ops tells the whole base in canonical order: devices, then each inode with its xattrs and content, then all names.
func (t *Tree) Ops(yield func(remote.Op) error) (err error) {
	b := t.base
	err = b.scan([]byte{keyDevice}, func(key, v []byte) error {
		op := remote.Op{Kind: remote.OpDevice, Number: uint32(binary.BigEndian.Uint64(key[1:]))}
		copy(op.Device[:], v)
		return yield(op)
	})
	if err != nil {
		return err
	}
	err = b.scan([]byte{keyNode}, func(key, v []byte) error {
		n, err := decodeNode(remote.Ino(binary.BigEndian.Uint64(key[1:])), v)
		if err != nil || n.orphan {
			return err
		}
		if err := yield(remote.Op{Kind: remote.OpNode, Ino: n.Ino, Attr: n.Attr}); err != nil {
			return err
		}
		if n.Xattrs > 0 {
			err := b.scan(k(keyXattr, uint64(n.Ino)), func(key, v []byte) error {
				return yield(remote.Op{Kind: remote.OpXattr, Ino: n.Ino, Name: string(key[9:]), Value: append([]byte{}, v...)})
			})
			if err != nil {
				return err
			}
		}
		if n.Type != remote.File || n.Size == 0 {
			return nil
		}
		return b.extents(n.Ino, func(e remote.Extent) error {
			return yield(remote.Op{Kind: remote.OpExtent, Ino: n.Ino, Extent: e})
		})
	})
	if err != nil {
		return err
	}
	return b.scan([]byte{keyName}, func(key, v []byte) error {
		d, err := decodeName(v)
		if err != nil {
			return err
		}
		return yield(remote.Op{Kind: remote.OpLink, Ino: d.ino, Parent: remote.Ino(binary.BigEndian.Uint64(key[1:])), Name: string(key[9:])})
	})
}

// extents calls fn for each stored extent of a file, in order.
func (b *base) extents(ino remote.Ino, fn func(remote.Extent) error) error {
	return b.scan(k(keyBody, uint64(ino)), func(_, v []byte) error {
		for len(v) > 0 {
			e, rest, err := wire.DecodeExtent(v)
			if err != nil {
				return err
			}
			if err := fn(e); err != nil {
				return err
			}
			v = rest
		}
		return nil
	})
}

// Referenced calls fn for every extent of the base that lies in an object.
func (t *Tree) Referenced(fn func(remote.Extent) error) error {
	t.base.use.RLock()
	defer t.base.use.RUnlock()
	return t.base.scan([]byte{keyBody}, func(_, v []byte) error {
		for len(v) > 0 {
			e, rest, err := wire.DecodeExtent(v)
			if err != nil {
				return err
			}
			if !e.Hole && e.Inline == nil {
				if err := fn(e); err != nil {
					return err
				}
			}
			v = rest
		}
		return nil
	})
}

// Data returns the runs of a file that are not holes, sorted, as far as the layers and the base know without reading: for SEEK_DATA, SEEK_HOLE and st_blocks.
func (t *Tree) Data(ino remote.Ino, from, to uint64) ([]Span, error) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.current().data(ino, from, to)
}

func (v view) data(ino remote.Ino, from, to uint64) ([]Span, error) {
	// The edges at which anything may begin or end; between them content is looked up piece by piece.
	edges := []uint64{from, to}
	add := func(off, n uint64) {
		if off < to && off+n > from {
			edges = append(edges, max(off, from), min(off+n, to))
		}
	}
	for _, l := range v.layers {
		if d := l.inodes[ino]; d != nil && d.body != nil {
			for _, r := range d.body.runs.All() {
				add(r.Off, r.Len)
			}
		}
	}
	err := v.base.extents(ino, func(e remote.Extent) error { add(e.Off, e.Len); return nil })
	if err != nil {
		return nil, err
	}
	sort.Slice(edges, func(i, j int) bool { return edges[i] < edges[j] })
	var out []Span
	for i := 1; i < len(edges); i++ {
		a, b := edges[i-1], edges[i]
		if a == b {
			continue
		}
		// Within [a, b) nothing begins or ends, so one byte tells for all.
		data := false
		err := v.content(ino, a, a+1, func(p Piece) error { data = p.Ext == nil || !p.Ext.Hole; return nil })
		if err != nil {
			return nil, err
		}
		if data && len(out) > 0 && out[len(out)-1].End == a {
			out[len(out)-1].End = b
		} else if data {
			out = append(out, Span{a, b})
		}
	}
	return out, nil
}

// Span is a range of a file.
type Span struct{ Off, End uint64 }
