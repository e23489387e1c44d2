package vault

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"

	"megafs/crypto"
	"megafs/remote"
)

// item is an object that a mark names.
type item struct {
	kind byte
	n    uint64 // of those whose name has a number
	id   crypto.ID
}

// The kinds of items.
const (
	itemContent = iota + 1
	itemPart
	itemRoot
	itemHistory
	itemSegment
)

func (i item) numbered() bool { return i.kind >= itemRoot }

// name is the object's.
func (i item) name() string {
	switch i.kind {
	case itemContent:
		return contentName(remote.ObjectID(i.id))
	case itemPart:
		return partName(i.id)
	case itemRoot:
		return rootName(i.n, i.id)
	case itemHistory:
		return historyName(i.n, i.id)
	}
	return segmentName(i.n, i.id)
}

// itemOf is the item that an object's name stands for; ok is false for names of other kinds, and for foreign ones.
func itemOf(name string) (i item, ok bool) {
	if n := len(name); n > 64 {
		if b, err := hex.DecodeString(name[n-64:]); err == nil {
			i.id = crypto.ID(b)
		}
		if n > 64+17 {
			i.n, _ = number(name[n-64-17:n-65], "")
		}
	}
	for i.kind = itemContent; i.kind <= itemSegment; i.kind++ {
		n := i.n
		if !i.numbered() {
			i.n = 0
		}
		if i.name() == name {
			return i, true
		}
		i.n = n
	}
	return item{}, false
}

// mark is what an entry gives up: no later entry refers to its items, so that they may be removed at any time after. Entries of the log up to floor may
// be gone as well; history has their hashes.
type mark struct {
	floor uint64
	id    crypto.ID // of the history up to floor, and the hash of the sealed bytes; zero without floor
	hash  [32]byte
	items []item
}

// maxItems is how many items fit into one mark.
const maxItems = (maxBody - entryHead - 8 - 32 - 32 - 4) / (1 + 8 + 32)

func (m *mark) append(b []byte) []byte {
	b = binary.BigEndian.AppendUint64(b, m.floor)
	b = append(b, m.id[:]...)
	b = append(b, m.hash[:]...)
	b = binary.BigEndian.AppendUint32(b, uint32(len(m.items)))
	for _, i := range m.items {
		b = append(b, i.kind)
		if i.numbered() {
			b = binary.BigEndian.AppendUint64(b, i.n)
		}
		b = append(b, i.id[:]...)
	}
	return b
}

func (r *reader) mark() (*mark, error) {
	m := &mark{floor: r.u64(), id: crypto.ID(r.h32())}
	m.hash = r.h32()
	n := r.u32()
	if uint64(n)*33 > uint64(len(r.b)) {
		return nil, fmt.Errorf("%d items", n)
	}
	for range n {
		i := item{kind: r.take(1)[0]}
		if i.kind < itemContent || i.kind > itemSegment {
			return nil, fmt.Errorf("%w: an item of kind %d", ErrUnsupported, i.kind)
		}
		if i.numbered() {
			i.n = r.u64()
		}
		i.id = crypto.ID(r.h32())
		m.items = append(m.items, i)
	}
	return m, nil
}

// marks is what is known of the content that was given up since this process began to follow the log. What was given up before, no state that it was
// told refers to.
type marks struct {
	open map[remote.ObjectID]uint64 // by the entry's number
	of   map[uint64]*mark           // those that are not done
	done map[uint64]bool            // the first bytes of ids whose mark is done: taking another for one costs an upload
}

func (k *marks) add(e *entry) {
	if k.of == nil {
		k.open, k.of, k.done = map[remote.ObjectID]uint64{}, map[uint64]*mark{}, map[uint64]bool{}
	}
	switch e.typ {
	case entryMark:
		k.of[e.seq] = e.mark
		for _, i := range e.mark.items {
			if id := remote.ObjectID(i.id); i.kind == itemContent && !k.done[short(id)] {
				k.open[id] = e.seq
			}
		}
	case entryDone:
		if m := k.of[e.about.Seq]; m != nil {
			for _, i := range m.items {
				if id := remote.ObjectID(i.id); i.kind == itemContent {
					delete(k.open, id)
					k.done[short(id)] = true
				}
			}
			delete(k.of, e.about.Seq)
		}
	}
}

// short is enough of an id to tell it from others by all likelihood.
func short(id remote.ObjectID) uint64 { return binary.BigEndian.Uint64(id[:]) }

// gone returns which content of some Ops was given up.
func (v *Vault) gone(ops []remote.Op) (ids []remote.ObjectID) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for i := range ops {
		id, ok := refers(&ops[i])
		if !ok {
			continue
		}
		if _, marked := v.marks.open[id]; marked || v.marks.done[short(id)] {
			ids = append(ids, id)
		}
	}
	return ids
}

// refers returns the content object that an Op refers to.
func refers(op *remote.Op) (id remote.ObjectID, ok bool) {
	if op.Kind != remote.OpExtent || op.Extent.Hole || op.Extent.Inline != nil {
		return id, false
	}
	return op.Extent.Ref.Object, true
}

// heed takes an entry of the log: a mark binds all that come after it.
func (v *Vault) heed(e *entry) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	for i := range e.list {
		if id, ok := refers(&e.list[i]); ok {
			if at, marked := v.marks.open[id]; marked && at < e.seq {
				return bad("follow the log", logName(e.seq), ErrInvalidEntry, fmt.Errorf("it refers to content that entry %d gave up", at))
			}
		}
	}
	if e.typ == entryMark || e.typ == entryDone {
		v.marks.add(e)
		if e.device != v.trust.Device {
			v.sweep = max(v.sweep, e.time)
		}
	}
	return nil
}
