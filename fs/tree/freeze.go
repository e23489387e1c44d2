package tree

import (
	"sort"

	"megafs/remote"
)

// Generation is what is being committed: the frozen layer, told as differences from the base. It does not change any more.
type Generation struct {
	Upto   uint64 // all records up to here are in it or in the base, but those that concern Held
	Held   Held
	Inodes []Inode
	Names  []Name
	Bytes  int64
}

// Held is what a generation left behind, and from which record on: attributes, xattrs and content of inodes, and where names lead. What older records say of
// it went with earlier generations.
type Held struct {
	Inodes map[remote.Ino]uint64
	Names  map[HeldName]uint64
}

// heldMost is how many bytes of names, and of 16 for each inode, may be held: a note has them all.
const heldMost = 512 << 10

// HeldName is a name in a directory.
type HeldName struct {
	Parent remote.Ino
	Name   string
}

// Inode is how one inode differs from the base.
type Inode struct {
	Ino    remote.Ino
	Now    *Node // nil: unchanged but for xattrs and content
	Was    *Node // in the base; nil: it is new
	Xattrs []Xattr
	Body   *Body // nil: content is unchanged
}

// Size returns the file's length after the generation.
func (i *Inode) Size() uint64 {
	if i.Now != nil {
		return i.Now.Size
	}
	if i.Was != nil {
		return i.Was.Size
	}
	return 0
}

// Gone reports whether the inode has no names.
func (i *Inode) Gone() bool { return i.Now != nil && i.Now.Links == 0 }

// Xattr is an extended attribute now and in the base; nil is none.
type Xattr struct {
	Name     string
	Now, Was []byte
}

// Name is where a name leads now and in the base; 0 is nowhere.
type Name struct {
	Parent   remote.Ino
	Name     string
	Now, Was remote.Ino
}

// Body is how a file's content differs from the base.
type Body struct {
	Cut  uint64 // all from here on went; ^0: nothing did
	Runs []Run
}

// Run is a run of bytes that lie over the base.
type Run struct {
	Off, Len uint64
	Place    Place
}

// Freeze moves local changes into a generation to be committed. Changes of the inodes for which hold says so stay behind, as far as
// that leaves a tree: attributes and content of an inode that the remote has, all of one that it does not have.
// It returns nil when there is nothing to commit, and must not be called while a generation is out.
func (t *Tree) Freeze(hold func(n Node, first, last int64) bool) (*Generation, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.frozen != nil {
		panic("tree: a generation is being committed already")
	}
	f, rest := t.live, newLayer()
	rest.upto = f.upto
	held, size := Held{map[remote.Ino]uint64{}, map[HeldName]uint64{}}, 0
	keep := func(ino remote.Ino, since uint64) {
		rest.inodes[ino] = f.inodes[ino]
		delete(f.inodes, ino)
		held.Inodes[ino] = since
		size += 16
	}
	// An inode without names that somebody has open is nobody else's business.
	for ino, d := range f.inodes {
		if d.node != nil && d.node.Links == 0 && t.pinned(ino) {
			keep(ino, 0)
		}
	}
	named := map[remote.Ino][]nameKey{}
	for p, m := range f.names {
		for n, e := range m {
			if e.ino != 0 {
				named[e.ino] = append(named[e.ino], nameKey{p, n})
			}
		}
	}
	for ino, d := range f.inodes {
		if d.node == nil || d.node.Type != remote.File || d.node.Links == 0 || hold == nil || size > heldMost || !hold(*d.node, d.first, d.last) {
			continue
		}
		was, known, err := t.base.node(ino)
		if err != nil {
			t.live = rest.over(f, t.pinned)
			return nil, err
		}
		if known && !was.orphan { // the remote has it
			keep(ino, d.since())
			continue
		}
		// A new file is kept back with its names, unless one of them stands where another inode was that lives on elsewhere or is a directory.
		var old []remote.Ino
		free := true
		for _, key := range named[ino] {
			was, err := t.base.lookup(key.parent, key.name)
			if err != nil {
				t.live = rest.over(f, t.pinned)
				return nil, err
			}
			if was.ino == 0 {
				continue
			}
			o := f.inodes[was.ino]
			if o == nil || o.node == nil || o.node.Links != 0 || was.typ == remote.Dir {
				free = false
				break
			}
			old = append(old, was.ino)
		}
		if !free {
			continue
		}
		for _, key := range named[ino] {
			e := f.names[key.parent][key.name]
			rest.setName(key.parent, key.name, e.ino, e.seq)
			held.Names[HeldName{key.parent, key.name}] = e.seq
			size += 16 + len(key.name)
			delete(f.names[key.parent], key.name)
			if len(f.names[key.parent]) == 0 {
				delete(f.names, key.parent)
			}
		}
		keep(ino, 0) // nothing of it was ever sent
		for _, o := range old {
			if d := f.inodes[o]; d != nil {
				keep(o, d.since())
			}
		}
	}
	for ino, d := range rest.inodes {
		if d == nil {
			delete(rest.inodes, ino)
		} else if d.body != nil {
			for _, r := range d.body.runs.All() {
				rest.bytes += int64(r.Len)
			}
		}
	}
	f.bytes = max(0, f.bytes-rest.bytes)
	t.live = rest
	if f.empty() {
		t.live.bytes += f.bytes
		return nil, nil
	}
	g, err := t.differences(f)
	if err != nil {
		t.live = rest.over(f, t.pinned)
		return nil, err
	}
	g.Held = held
	t.frozen = f
	return g, nil
}

// differences tells a layer against the base, sorted, so that equal states give equal plans.
func (t *Tree) differences(f *layer) (*Generation, error) {
	g := &Generation{Upto: f.upto, Bytes: f.bytes}
	for ino, d := range f.inodes {
		i := Inode{Ino: ino, Now: d.node}
		was, ok, err := t.base.node(ino)
		if err != nil {
			return nil, err
		}
		if ok && !was.orphan {
			i.Was = &was
		}
		for name, x := range d.xattrs {
			old, err := t.base.get(kxattr(ino, name))
			if err != nil {
				return nil, err
			}
			i.Xattrs = append(i.Xattrs, Xattr{name, x.value, old})
		}
		sort.Slice(i.Xattrs, func(a, b int) bool { return i.Xattrs[a].Name < i.Xattrs[b].Name })
		if d.body != nil {
			i.Body = &Body{Cut: d.body.cut}
			for _, r := range d.body.runs.All() {
				i.Body.Runs = append(i.Body.Runs, Run{r.Off, r.Len, r.V})
			}
		}
		g.Inodes = append(g.Inodes, i)
	}
	sort.Slice(g.Inodes, func(a, b int) bool { return g.Inodes[a].Ino < g.Inodes[b].Ino })
	for p, m := range f.names {
		for n, e := range m {
			was, err := t.base.lookup(p, n)
			if err != nil {
				return nil, err
			}
			g.Names = append(g.Names, Name{p, n, e.ino, was.ino})
		}
	}
	sort.Slice(g.Names, func(a, b int) bool {
		x, y := g.Names[a], g.Names[b]
		return x.Parent < y.Parent || x.Parent == y.Parent && x.Name < y.Name
	})
	return g, nil
}

// Thaw gives the generation up: its changes are local ones again.
func (t *Tree) Thaw() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.frozen != nil {
		t.live = t.live.over(t.frozen, t.pinned)
		t.frozen = nil
	}
}

// Frozen returns where bytes of a file of the generation are, without what was changed since it was frozen.
func (t *Tree) Frozen(ino remote.Ino, from, to uint64) ([]Piece, error) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	v := view{base: t.base}
	if t.frozen != nil {
		v.layers = []*layer{t.frozen}
	}
	var out []Piece
	err := v.content(ino, from, to, func(p Piece) error {
		out = append(out, p)
		return nil
	})
	return out, err
}

// Commit ends the generation: the remote has taken b, which says all of it.
func (t *Tree) Commit(b remote.Batch) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if err := t.absorb(b); err != nil {
		return err
	}
	t.frozen = nil
	return nil
}

// Pending reports whether a change made up to record seq is not in the base yet. What is kept for files without names does not count.
func (t *Tree) Pending(seq uint64) bool {
	t.mu.RLock()
	defer t.mu.RUnlock()
	for _, l := range t.current().layers {
		for _, m := range l.names {
			for _, e := range m {
				if e.seq <= seq {
					return true
				}
			}
		}
		for _, d := range l.inodes {
			if d.node != nil && d.node.Links == 0 {
				continue
			}
			if d.node != nil && d.seq <= seq || d.body != nil && d.body.since() <= seq {
				return true
			}
			for _, x := range d.xattrs {
				if x.seq <= seq {
					return true
				}
			}
		}
	}
	return false
}

// Check looks whether Ops would leave a tree if the remote took them now, without doing anything.
func (t *Tree) Check(ops []remote.Op) error {
	t.mu.RLock()
	defer t.mu.RUnlock()
	s := newState(newLayer(), nil, t.base)
	s.versioned = 1
	for i := range ops {
		if err := s.apply(&ops[i], 1); err != nil {
			return err
		}
	}
	return s.check()
}
