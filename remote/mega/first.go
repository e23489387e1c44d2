package mega

import (
	"bytes"
	"cmp"
	"errors"
	"iter"
	"os"
	"slices"
	"strings"

	"megafs/crypto/megacrypt"
	"megafs/remote"
	"megafs/remote/bulk"
	"megafs/remote/spool"
)

// firstTree takes the first tree of an index that has nothing yet. Handles are random, and looking up each of many in the index costs more than all else; so nodes go
// to a spool as they come, while memory has only what hangs where, 24 bytes a node. From that it is found what hangs in the tree, and the index is written in one go, in the
// order of its keys.
type firstTree struct {
	r     *Remote
	spool *spool.Spool
	root  *node
	limit int64
	list  []firstNode

	record []byte // reused
}

// firstNode is a node on its way. Handles are numbers that are in the order of their texts.
type firstNode struct {
	handle uint64 // and flags
	parent uint64
	at     int64 // in the spool; then the inode's counter
}

const (
	firstFolder = 1 << 63
	firstFound  = 1 << 62 // it hangs in the tree
	firstShared = 1 << 61 // in what somebody else shares
	firstHandle = 1<<49 - 1
	firstShares = 1 << 48 // sharedRoot
)

// firstKid is how many bytes a node takes while its folder is written.
const firstKid = 160

// handleDigits are the digits of handles in the order of their bytes.
const handleDigits = "-0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz"

var handleRank = func() (t [256]byte) {
	for i := range len(handleDigits) {
		t[handleDigits[i]] = byte(i)
	}
	return t
}()

// packHandle makes a number of a valid handle, or of sharedRoot.
func packHandle(h string) (n uint64) {
	if h == sharedRoot {
		return firstShares
	}
	for i := range len(h) {
		n = n<<6 | uint64(handleRank[h[i]])
	}
	return n
}

func unpackHandle(n uint64) string {
	if n == firstShares {
		return sharedRoot
	}
	var b [megacrypt.NodeHandleLen]byte
	for i := len(b) - 1; i >= 0; i-- {
		b[i] = handleDigits[n&63]
		n >>= 6
	}
	return string(b[:])
}

func (n firstNode) id() uint64 { return n.handle & firstHandle }

// newFirst returns nil when the index has something.
func newFirst(r *Remote) (*firstTree, error) {
	if r.x.dir == "" || r.x.meta.root != "" {
		return nil, nil
	}
	some := errors.New("some")
	switch err := r.x.scan(nil, func(_, _ []byte) error { return some }); {
	case err == some:
		return nil, nil
	case err != nil:
		return nil, err
	}
	s, err := spool.New(r.x.dir)
	if err != nil {
		return nil, err
	}
	return &firstTree{r: r, spool: s, limit: r.o.Memory}, nil
}

func (f *firstTree) close() { f.spool.Close() }

// add takes a node with its attributes, and what of them its name hangs on.
func (f *firstTree) add(n *node, at megacrypt.Attributes) error {
	var a remote.Attr
	a, _, n.want = n.attrOf(at, f.r.o.Owner)
	n.born = int64(a.Btime)
	f.record = appendRaw(f.record[:0], n, "")
	place, err := f.spool.Write(f.record)
	if err != nil {
		return err
	}
	x := firstNode{packHandle(n.handle), packHandle(n.parent), place}
	if n.folder {
		x.handle |= firstFolder
	}
	if len(f.list) == cap(f.list) {
		f.list = slices.Grow(f.list, max(4096, len(f.list)/4))
	}
	f.list = append(f.list, x)
	return nil
}

func (f *firstTree) full() bool { return int64(len(f.list))*24*2 > f.limit }

func (f *firstTree) read(x firstNode) (*node, error) {
	b, err := f.spool.Read(x.at)
	if err != nil {
		return nil, err
	}
	n, _, err := decodeRaw(unpackHandle(x.id()), b)
	return n, err
}

// arranged is read after arrange.
func (f *firstTree) arranged(x firstNode) (*node, error) {
	n, err := f.read(x)
	if err != nil {
		return nil, err
	}
	if readable := n.readable(); !n.place(f.r, x.handle&firstShared != 0) && readable { // so its name is none any more
		var a remote.Attr
		a, _, n.want = n.attrOf(nil, f.r.o.Owner)
		n.born = int64(a.Btime)
	}
	return n, nil
}

// ino is the inode of the i-th node in the list.
func (f *firstTree) ino(i int) remote.Ino {
	if f.list[i].id() == firstShares {
		return sharedIno
	}
	return firstIno(i)
}

// each yields the nodes.
func (f *firstTree) each() iter.Seq2[*node, error] {
	return func(yield func(*node, error) bool) {
		for _, x := range f.list {
			if n, err := f.read(x); !yield(n, err) || err != nil {
				return
			}
		}
	}
}

// arrange leaves what hangs in the tree: of nodes with one handle the last, of those what is reached from the root. They are in the order of their
// parents then. It reports the most nodes in one folder.
func (f *firstTree) arrange() (widest int) {
	slices.SortFunc(f.list, func(a, b firstNode) int { return cmp.Or(cmp.Compare(a.id(), b.id()), cmp.Compare(b.at, a.at)) })
	f.list = slices.CompactFunc(f.list, func(a, b firstNode) bool { return a.id() == b.id() })
	slices.SortFunc(f.list, func(a, b firstNode) int { return cmp.Or(cmp.Compare(a.parent, b.parent), cmp.Compare(a.at, b.at)) })
	type folder struct {
		handle uint64
		depth  int
		shared uint64
	}
	root := packHandle(f.root.handle)
	for rest := []folder{{handle: root}}; len(rest) > 0; {
		d := rest[len(rest)-1]
		rest = rest[:len(rest)-1]
		i, _ := slices.BinarySearchFunc(f.list, d.handle, func(x firstNode, h uint64) int { return cmp.Compare(x.parent, h) })
		from := i
		for ; i < len(f.list) && f.list[i].parent == d.handle; i++ {
			x := &f.list[i]
			if x.id() == root {
				continue
			}
			x.handle |= firstFound | d.shared
			if x.id() == firstShares {
				x.handle |= firstShared
			}
			if x.handle&firstFolder != 0 && d.depth < maxWalk {
				rest = append(rest, folder{x.id(), d.depth + 1, x.handle & firstShared})
			}
		}
		widest = max(widest, i-from)
	}
	f.list = slices.DeleteFunc(f.list, func(x firstNode) bool { return x.handle&firstFound == 0 })
	return widest
}

// tooWide reports, after all nodes came, whether a folder has more than fits into memory.
func (f *firstTree) tooWide() bool {
	return int64(f.arrange())*firstKid+int64(len(f.list))*24 > f.limit
}

// fill writes the index. Its meta record is written with the rest; a mark in the index's folder stands until all is there.
func (f *firstTree) fill(m meta) (err error) {
	x := f.r.x
	failed := func(err error) error { return remote.E("write the account's index", "", remote.IO, err) }
	if err := mark(x.dir, true); err != nil {
		return failed(err)
	}
	m.foreign += uint64(len(f.list))
	w, err := bulk.New(x.db)
	if err == nil {
		if err = (&firstWriter{f: f, bulk: w}).write(m); err == nil {
			err = w.Flush()
		} else {
			w.Cancel()
		}
	}
	if err == nil {
		err = mark(x.dir, false) // as long as it stands, all would be begun anew, and nothing may be built on what is there
	}
	if err != nil {
		if x.db.DropAll() == nil { // or the mark tells
			mark(x.dir, false)
		}
		return failed(err)
	}
	x.meta = m
	return nil
}

// mark makes or removes the file in the index's folder that tells that it is being filled, durably.
func mark(dir string, there bool) error {
	var err error
	if there {
		err = os.WriteFile(fillMark(dir), nil, 0o600)
	} else if err = os.Remove(fillMark(dir)); errors.Is(err, os.ErrNotExist) {
		err = nil
	}
	if err != nil {
		return err
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

// firstWriter writes the index in streams, one for each kind of key, each in the order of its keys.
type firstWriter struct {
	f    *firstTree
	bulk *bulk.Writer

	shares *node // sharedRoot, whose number comes after all others
}

func (w *firstWriter) put(key, value []byte) error { return w.bulk.Put(uint32(key[0]), key, value) }

// kid is a node while its folder is written.
type kid struct {
	i     int
	born  int64
	want  string
	shown string
}

func (w *firstWriter) write(m meta) error {
	f := w.f
	root := *f.root
	root.want, root.shown = "", ""
	if err := w.put(kino(remote.Root), encodeInodeNode(&root)); err != nil {
		return err
	}
	for from := 0; from < len(f.list); {
		to := from + 1
		for to < len(f.list) && f.list[to].parent == f.list[from].parent {
			to++
		}
		if err := w.folder(from, to); err != nil {
			return err
		}
		from = to
	}
	if w.shares != nil {
		if err := w.put(kino(sharedIno), encodeInodeNode(w.shares)); err != nil {
			return err
		}
	}
	for _, h := range sorted(f.r.shares) {
		if err := w.put(kstr(keyShare, h), f.r.shares.value(h)); err != nil {
			return err
		}
	}
	if err := w.bulk.Done(keyIno, keyChild, keyTwin, keyShare); err != nil {
		return err
	}
	// Handles last, in their order.
	for i := range f.list {
		f.list[i].at = int64(i)
	}
	f.list = append(f.list, firstNode{handle: packHandle(root.handle), at: -1})
	slices.SortFunc(f.list, func(a, b firstNode) int { return cmp.Compare(a.id(), b.id()) })
	for _, x := range f.list {
		ino := remote.Root
		switch {
		case x.id() == firstShares:
			ino = sharedIno
		case x.at >= 0:
			ino = firstIno(int(x.at))
		}
		if err := w.put(kstr(keyNode, unpackHandle(x.id())), inoValue(ino)); err != nil {
			return err
		}
	}
	return w.put([]byte{keyMeta}, m.encode())
}

func firstIno(i int) remote.Ino {
	return remote.Ino(foreignDevice<<remote.InoBits | (uint64(i) + 1))
}

// folder writes the nodes of one folder.
func (w *firstWriter) folder(from, to int) error {
	f := w.f
	kids := make([]kid, 0, to-from)
	for i := from; i < to; i++ {
		n, err := f.arranged(f.list[i])
		if err != nil {
			return err
		}
		kids = append(kids, kid{i: i, born: n.born, want: strings.Clone(n.want)})
	}
	f.names(kids)
	for j := range kids {
		k := &kids[j]
		n, err := f.arranged(f.list[k.i])
		if err != nil {
			return err
		}
		n.ino, n.shown = f.ino(k.i), k.shown
		if n.ino == sharedIno {
			w.shares = n
			continue
		}
		if err := w.put(kino(n.ino), encodeInodeNode(n)); err != nil {
			return err
		}
	}
	parent := unpackHandle(f.list[from].parent)
	named := func(k *kid) *node {
		return &node{handle: unpackHandle(f.list[k.i].id()), ino: f.ino(k.i)}
	}
	slices.SortFunc(kids, func(a, b kid) int { return cmp.Compare(a.shown, b.shown) })
	for i := range kids {
		if err := w.put(kstr(keyChild, parent, kids[i].shown), encodeChild(named(&kids[i]))); err != nil {
			return err
		}
	}
	var twins [][]byte
	for i := range kids {
		if k := &kids[i]; k.shown != k.want {
			twins = append(twins, kstr(keyTwin, parent, k.want, "\x00", named(k).handle))
		}
	}
	slices.SortFunc(twins, bytes.Compare)
	for _, key := range twins {
		if err := w.put(key, []byte{}); err != nil {
			return err
		}
	}
	return nil
}

// names gives a folder's nodes their names, the oldest first, as naming does; and leaves them in the order in which they are in the list.
func (f *firstTree) names(kids []kid) {
	slices.SortFunc(kids, func(a, b kid) int {
		return cmp.Or(cmp.Compare(a.born, b.born), cmp.Compare(f.list[a.i].id(), f.list[b.i].id()))
	})
	type birth struct {
		want string
		born int64
	}
	taken := make(map[string]bool, len(kids))
	tried := map[birth]int{} // what those before had to try
	for i := range kids {
		k := &kids[i]
		k.shown = k.want
		if taken[k.shown] {
			b := birth{k.want, k.born}
			for taken[k.shown] {
				tried[b]++
				k.shown = twin(k.want, k.born, tried[b])
			}
		}
		taken[k.shown] = true
	}
	slices.SortFunc(kids, func(a, b kid) int { return cmp.Compare(a.i, b.i) })
}
