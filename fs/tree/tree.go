package tree

import (
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"sync"

	"github.com/dgraph-io/badger/v4"

	"megafs/remote"
)

// Options of a tree.
type Options struct {
	Dir    string   // the index's folder, made when missing; empty: in memory
	Key    [32]byte // what the index is encrypted with
	Memory int64    // bytes for badger's and the tree's own caches; at least 8 MiB
	Log    *slog.Logger

	// For tests: an open database to use instead of Dir; Close leaves it open.
	DB *badger.DB
}

// Tree is the state of a volume: what the remote has, and what was changed here since. Safe for concurrent use.
type Tree struct {
	mu      sync.RWMutex
	base    *base
	lent    bool // base's database is somebody else's
	live    *layer
	frozen  *layer // nil: nothing is being committed
	changes []Changed
	resets  int

	fill     *fill // what is told of a snapshot; nil when that is applied as it comes
	fillable bool  // nobody uses the base yet, so a snapshot may fill it
	shown    bool  // a load is under way over a base that others use, or that is all there is when it breaks off: it stays until a snapshot is whole
	memory   int64

	pinMu sync.Mutex
	pins  map[remote.Ino]uint64
}

// Open opens the index. One that is damaged, torn or of another layout is begun anew: its position is then zero.
func Open(o Options) (*Tree, error) {
	if o.Log == nil {
		o.Log = slog.Default()
	}
	var b *base
	var err error
	if memory := max(o.Memory, 8<<20); o.DB != nil {
		b, err = lentBase(o.DB, memory)
	} else {
		b, err = openBase(o.Dir, o.Key[:], memory, o.Log)
	}
	if err != nil {
		return nil, err
	}
	return &Tree{
		base: b, lent: o.DB != nil, live: newLayer(), pins: map[remote.Ino]uint64{},
		fillable: b.dir != "", memory: max(o.Memory, 8<<20),
	}, nil
}

// lentBase makes a base of somebody else's database, which is emptied when it is in doubt.
func lentBase(db *badger.DB, memory int64) (*base, error) {
	b, err := newBase(db, memory)
	if !errors.Is(err, errDoubt) {
		return b, err
	}
	if err := db.DropAll(); err != nil {
		return nil, remote.E("empty the tree index", "", remote.IO, err)
	}
	return newBase(db, memory)
}

// Close closes the index.
func (t *Tree) Close() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.dropFill()
	if t.lent {
		return nil
	}
	if err := t.base.room(0); err != nil {
		return err // badger would write a table: the index is left as a kill leaves it
	}
	return t.base.db.Close()
}

// Position returns the remote's position that the base has.
func (t *Tree) Position() remote.Position {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.base.pos
}

func (t *Tree) current() view {
	if t.frozen != nil {
		return view{[]*layer{t.live, t.frozen}, t.base}
	}
	return view{[]*layer{t.live}, t.base}
}

// Node returns an inode, also one without names that is pinned.
func (t *Tree) Node(ino remote.Ino) (Node, error) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	n, ok, err := t.current().node(ino)
	if err == nil && (!ok || n.Links == 0 && !t.pinned(ino)) {
		err = remote.E("look up", fmt.Sprintf("inode %d", ino), remote.NotExist, nil)
	}
	return n, err
}

// Lookup returns the inode that a name in a directory leads to.
func (t *Tree) Lookup(parent remote.Ino, name string) (remote.Ino, error) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	ino, err := t.current().lookup(parent, name)
	if err == nil && ino == 0 {
		err = remote.E("look up", "", remote.NotExist, nil)
	}
	return ino, err
}

// List returns all names of a directory in byte order.
func (t *Tree) List(dir remote.Ino) ([]Dirent, error) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.current().list(dir)
}

// ListMost is List for directories of up to about so many names; one that has more gives none.
func (t *Tree) ListMost(dir remote.Ino, most int) ([]Dirent, error) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.current().listMost(dir, most)
}

// Empty reports whether a directory has no names.
func (t *Tree) Empty(dir remote.Ino) (bool, error) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.current().empty(dir)
}

// Xattr returns an extended attribute's value, or NoAttr.
func (t *Tree) Xattr(ino remote.Ino, name string) ([]byte, error) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	v, err := t.current().xattr(ino, name)
	if err == nil && v == nil {
		err = remote.E("get xattr", fmt.Sprintf("inode %d", ino), remote.NoAttr, nil)
	}
	return v, err
}

// Xattrs returns the names of an inode's extended attributes.
func (t *Tree) Xattrs(ino remote.Ino) ([]string, error) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.current().xattrs(ino)
}

// Content returns where the bytes [from, to) of a file are, in order and without gaps. What lies behind the file's end reads as a hole.
func (t *Tree) Content(ino remote.Ino, from, to uint64) ([]Piece, error) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	var out []Piece
	err := t.current().content(ino, from, to, func(p Piece) error {
		out = append(out, p)
		return nil
	})
	return out, err
}

// Local takes Ops made on this machine, which the journal has as record seq.
func (t *Tree) Local(seq uint64, now int64, ops []remote.Op) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	s := t.local()
	for i := range ops {
		if err := s.apply(&ops[i], seq); err != nil {
			return err
		}
		if d := t.live.inodes[ops[i].Ino]; d != nil {
			d.mark(now)
		}
	}
	return nil
}

func (d *delta) mark(now int64) {
	if d.first == 0 {
		d.first = now
	}
	d.last = now
}

func (t *Tree) local() *state {
	if t.frozen != nil {
		return newState(t.live, []*layer{t.frozen}, t.base)
	}
	return newState(t.live, nil, t.base)
}

// Write is what a write to a file is in the journal.
type Write struct {
	Ino   remote.Ino
	Off   uint64
	Len   uint64
	Place Place       // Seq is set by Written
	Time  remote.Time // mtime and ctime get it
	Mode  uint16      // the file's mode afterwards
}

// Written takes bytes written on this machine, which the journal has as record seq. In a replay the inode may not exist yet, when a later
// record states all of its attributes and the earlier ones are gone; or not any more: then the bytes go with the next generation.
func (t *Tree) Written(seq uint64, now int64, w Write) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	s := t.local()
	n, err := s.edit(w.Ino, seq)
	if err != nil {
		return err
	}
	if n != nil {
		n.Size = max(n.Size, w.Off+w.Len)
		n.Mtime, n.Ctime, n.Mode = w.Time, w.Time, w.Mode
	}
	w.Place.Seq = seq
	s.body(w.Ino).runs.Set(w.Off, w.Len, w.Place)
	t.live.upto = max(t.live.upto, seq)
	t.live.bytes += int64(w.Len)
	t.live.inodes[w.Ino].mark(now)
	return nil
}

// Pin keeps an inode readable after its last name went, until as many Unpins.
func (t *Tree) Pin(ino remote.Ino, n uint64) {
	t.pinMu.Lock()
	t.pins[ino] += n
	t.pinMu.Unlock()
}

// MovePins gives one inode's pins to another; false if it has none.
func (t *Tree) MovePins(from, to remote.Ino) bool {
	t.pinMu.Lock()
	defer t.pinMu.Unlock()
	n := t.pins[from]
	if n == 0 {
		return false
	}
	t.pins[to] += n
	delete(t.pins, from)
	return true
}

func (t *Tree) pinned(ino remote.Ino) bool {
	t.pinMu.Lock()
	defer t.pinMu.Unlock()
	return t.pins[ino] > 0
}

// Unpin takes pins back. An inode without names goes with the last one.
func (t *Tree) Unpin(ino remote.Ino, n uint64) error {
	t.pinMu.Lock()
	left := t.pins[ino]
	if left > n {
		t.pins[ino] = left - n
		t.pinMu.Unlock()
		return nil
	}
	delete(t.pins, ino)
	t.pinMu.Unlock()
	t.mu.RLock()
	var gone bool
	for _, l := range t.current().layers {
		if d := l.inodes[ino]; d != nil && d.node != nil {
			gone = d.node.Links == 0
			break
		}
	}
	if bn, ok := t.base.nodes.Peek(ino); ok && bn.orphan {
		gone = true
	}
	t.mu.RUnlock()
	if !gone {
		return nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.pinned(ino) {
		return nil
	}
	if d := t.live.inodes[ino]; d != nil && d.node != nil && d.node.Links == 0 {
		t.live.bury(ino)
	}
	if v, err := t.base.get(k(keyOrphan, uint64(ino))); err != nil || v == nil {
		return err
	}
	w := t.base.writer()
	if err := t.base.drop(w, ino); err != nil {
		return err
	}
	return w.flush(false)
}

// bury leaves of an inode only that it has no names, for what lies in a layer below.
func (l *layer) bury(ino remote.Ino) {
	d := l.inodes[ino]
	if d.body != nil {
		for _, r := range d.body.runs.All() {
			l.bytes -= int64(r.Len)
		}
	}
	d.body, d.xattrs = nil, nil
}

// Devices returns the numbers of all devices that the base knows, and the largest inode number of each.
func (t *Tree) Devices() (ids map[uint32]remote.DeviceID, largest map[uint32]remote.Ino, err error) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	ids, largest = map[uint32]remote.DeviceID{}, map[uint32]remote.Ino{}
	err = t.base.scan([]byte{keyDevice}, func(key, v []byte) error {
		var id remote.DeviceID
		copy(id[:], v)
		ids[uint32(binary.BigEndian.Uint64(key[1:]))] = id
		return nil
	})
	if err != nil {
		return
	}
	err = t.base.scan([]byte{keyMax}, func(key, v []byte) error {
		largest[uint32(binary.BigEndian.Uint64(key[1:]))] = remote.Ino(binary.BigEndian.Uint64(v))
		return nil
	})
	return
}

// Stat counts what is dirty.
type Stat struct {
	Inodes int   // with local changes that the remote does not have
	Names  int   // of changed names
	Bytes  int64 // written here since
}

// Stat counts what is dirty.
func (t *Tree) Stat() Stat {
	t.mu.RLock()
	defer t.mu.RUnlock()
	var s Stat
	for _, l := range t.current().layers {
		s.Inodes += len(l.inodes)
		for _, m := range l.names {
			s.Names += len(m)
		}
		s.Bytes += l.bytes
	}
	return s
}

// Needed returns the oldest journal record that the layers still need; ok is false when they need none.
func (t *Tree) Needed() (seq uint64, ok bool) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	s := min(t.live.since(), t.frozen.since())
	return s, s != noCut
}
