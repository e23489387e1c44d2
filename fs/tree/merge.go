package tree

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"

	"megafs/remote"
)

// Merge says what becomes of local changes when the base takes a batch of somebody else's that meets them.
// The base then has the batch as it is; what changes are the layers above it.
type Merge struct {
	Pos     remote.Position // the base's, that all this is about
	Rebased []Rebased
	Ops     []remote.Op
	Copied  []Copied // not for the journal: for those who have the files open
}

// Copied is a file whose local version is another inode from now on.
type Copied struct {
	Ino, Copy remote.Ino
	Links     uint32
	Parent    remote.Ino // a name of the file's; Name is empty if it has none
	Name      string
}

// Rebased is an inode whose local attributes and xattrs are void; what stays of them is stated anew by the Merge's Ops.
type Rebased struct {
	Ino   remote.Ino
	Body  remote.Ino // whose the local content is from now on: Ino's, another inode's, or, 0, nobody's
	Spans []Span     // with another inode: the bytes in the journal that go to it
}

// MergeOptions are what a merge needs to know from outside.
type MergeOptions struct {
	Label  string                                  // what stands in the names of conflict copies
	NewIno func() (remote.Ino, error)              // makes inode numbers
	Same   func(ino remote.Ino, stamp uint64) bool // whether a file changed on both sides has the same bytes on both; stamp is its local content's
	// Blind says that the base was begun anew, and nobody knows what it was when the local changes were made. Then it counts as changed there
	// wherever it was changed here: content becomes a conflict copy, and what was removed comes back. See mergeblind.go.
	Blind bool
	// OneName says that files, like directories, have one name: of two that the sides gave it the local one goes.
	OneName bool
}

// spot is where one name leads: in the base before the batch, in the batch, here (if it was changed here), and after merging.
type spot struct {
	was, theirs, now remote.Ino
	mine             remote.Ino
	local            bool
}

// merger is one merge under way. It reads the three states and changes none.
type merger struct {
	o                 MergeOptions
	was, theirs, mine view
	batch, live       *layer
	open              func(remote.Ino) bool // somebody here has it open
	spots             map[nameKey]*spot
	added, lost       map[remote.Ino]map[nameKey]bool // names that merging gives an inode beyond those of the batch, and takes from it
	revived           map[remote.Ino]bool             // removed by the batch, and kept
	renumbered        map[remote.Ino]remote.Ino       // made here under a number that the batch has for something else
	strays            map[remote.Ino]Node             // blind: what was changed here, and nobody knows what it was
	kids              map[remote.Ino]map[string]bool  // spots by directory
	out               *Merge
	err               error
}

// Merge looks what a batch does to local changes; nil when they just stay. It changes nothing, and equal states give equal merges.
func (t *Tree) Merge(b remote.Batch, o MergeOptions) (*Merge, error) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	if t.frozen != nil {
		panic("tree: merging while a generation is being committed")
	}
	if t.live.empty() {
		return nil, nil
	}
	s, err := t.preview(b)
	if err != nil {
		return nil, err
	}
	if how, err := t.meets(s); err != nil || how != crossing && !o.Blind {
		return nil, err
	}
	m := t.merger(s, b.Pos, o)
	m.run()
	if m.err != nil {
		return nil, m.err
	}
	if len(m.out.Ops)+len(m.out.Rebased) == 0 {
		return nil, nil
	}
	return m.out, nil
}

// merger begins a merge with a batch that was previewed.
func (t *Tree) merger(s *state, pos remote.Position, o MergeOptions) *merger {
	return &merger{
		o: o, was: view{base: t.base}, theirs: s.view, mine: t.current(), batch: s.top, live: t.live, open: t.pinned,
		spots: map[nameKey]*spot{}, added: map[remote.Ino]map[nameKey]bool{}, lost: map[remote.Ino]map[nameKey]bool{},
		revived: map[remote.Ino]bool{}, renumbered: map[remote.Ino]remote.Ino{}, strays: map[remote.Ino]Node{}, kids: map[remote.Ino]map[string]bool{},
		out: &Merge{Pos: pos},
	}
}

// preview applies a batch to a layer of its own.
func (t *Tree) preview(b remote.Batch) (*state, error) {
	s := newState(newLayer(), nil, t.base)
	s.versioned = max(b.Pos.Seq, 1)
	for i := range b.Ops {
		if err := s.apply(&b.Ops[i], 1); err != nil {
			return nil, err
		}
	}
	return s, s.check()
}

// meeting is how a batch and the local changes are to each other.
type meeting int

const (
	apart    meeting = iota // they have no inode in common
	beside                  // the same directories got other names: only counts change
	crossing                // they are to be merged
)

// meets says how the batch in s and the local changes meet.
func (t *Tree) meets(s *state) (meeting, error) {
	how := apart
	theyMoved, weMoved := false, false
	for ino, d := range s.top.inodes {
		l := t.live.inodes[ino]
		was, known, err := t.base.node(ino)
		if err != nil {
			return 0, err
		}
		if d.node != nil && d.node.Type == remote.Dir {
			theyMoved = theyMoved || known && d.node.Parent != was.Parent
			if d.node.Links == 0 && t.live.holds(ino) {
				return crossing, nil
			}
		}
		if l == nil {
			continue
		}
		how = beside
		switch {
		case !known || d.node == nil || l.node == nil || d.node.Type != remote.Dir, d.node.Links == 0, l.node.Links == 0,
			d.node.Mode != was.Mode, d.node.UID != was.UID, d.node.GID != was.GID, len(d.xattrs) > 0 && len(l.xattrs) > 0:
			return crossing, nil
		}
	}
	for parent, names := range s.top.names {
		if l := t.live.inodes[parent]; l != nil && l.node != nil && l.node.Links == 0 {
			return crossing, nil
		}
		for n := range names {
			if _, ok := t.live.names[parent][n]; ok {
				return crossing, nil
			}
		}
	}
	if theyMoved {
		for ino, l := range t.live.inodes {
			if l.node != nil && l.node.Type == remote.Dir {
				was, known, err := t.base.node(ino)
				if err != nil {
					return 0, err
				}
				weMoved = weMoved || known && was.Parent != l.node.Parent
			}
		}
		if weMoved {
			return crossing, nil
		}
	}
	return how, nil
}

// holds reports whether the layer has names in a directory.
func (l *layer) holds(dir remote.Ino) bool {
	for _, d := range l.names[dir] {
		if d.ino != 0 {
			return true
		}
	}
	return false
}

func (m *merger) fail(err error) {
	if m.err == nil {
		m.err = err
	}
}

func (m *merger) node(v view, ino remote.Ino) (Node, bool) {
	n, ok, err := v.node(ino)
	if err != nil {
		m.fail(err)
	}
	return n, ok && n.Links > 0
}

func (m *merger) find(v view, k nameKey) remote.Ino {
	ino, err := v.lookup(k.parent, k.name)
	if err != nil {
		m.fail(err)
	}
	return ino
}

// known reports whether the inode is in the tree of the batch.
func (m *merger) known(ino remote.Ino) bool { _, ok := m.node(m.theirs, ino); return ok }

func (m *merger) isDir(ino remote.Ino) bool {
	for _, v := range []view{m.theirs, m.mine} {
		if n, ok, _ := v.node(ino); ok {
			return n.Type == remote.Dir
		}
	}
	if n, ok := m.strays[ino]; ok {
		return n.Type == remote.Dir
	}
	for from, to := range m.renumbered {
		if n, ok, _ := m.mine.node(from); to == ino && ok {
			return n.Type == remote.Dir
		}
	}
	return false
}

func (m *merger) at(k nameKey) *spot {
	s := m.spots[k]
	if s != nil {
		return s
	}
	s = &spot{was: m.find(m.was, k), theirs: m.find(m.theirs, k)}
	s.now = s.theirs
	if d, ok := m.live.names[k.parent][k.name]; ok {
		s.local, s.mine, s.now = true, d.ino, d.ino
		if c := m.renumbered[d.ino]; c != 0 {
			s.now = c
		}
	}
	m.spots[k] = s
	if m.kids[k.parent] == nil {
		m.kids[k.parent] = map[string]bool{}
	}
	m.kids[k.parent][k.name] = true
	m.index(k, s, true)
	return s
}

func (m *merger) index(k nameKey, s *spot, on bool) {
	if s.now == s.theirs {
		return
	}
	for _, x := range []struct {
		in  map[remote.Ino]map[nameKey]bool
		ino remote.Ino
	}{{m.added, s.now}, {m.lost, s.theirs}} {
		switch {
		case x.ino == 0:
		case !on:
			delete(x.in[x.ino], k)
		case x.in[x.ino] == nil:
			x.in[x.ino] = map[nameKey]bool{k: true}
		default:
			x.in[x.ino][k] = true
		}
	}
}

// set makes a name lead elsewhere.
func (m *merger) set(k nameKey, ino remote.Ino) {
	s := m.at(k)
	m.index(k, s, false)
	s.now = ino
	m.index(k, s, true)
}

// links is how many names an inode has by now.
func (m *merger) links(ino remote.Ino) int {
	n, _ := m.node(m.theirs, ino)
	return int(n.Links) + len(m.added[ino]) - len(m.lost[ino])
}

func compareKeys(a, b nameKey) int {
	return cmp.Or(cmp.Compare(a.parent, b.parent), cmp.Compare(a.name, b.name))
}

func sortedNames[V any](x map[nameKey]V) []nameKey {
	return slices.SortedFunc(maps.Keys(x), compareKeys)
}

var errMerge = errors.New("changes of another machine could not be merged with those made here; report it, and see ARCHITECTURE.md")

// run merges names first, then what the inodes are.
func (m *merger) run() {
	for _, ino := range slices.Sorted(maps.Keys(m.live.inodes)) {
		if m.batch.inodes[ino] != nil {
			m.collide(ino)
		}
	}
	shared := m.contested()
	if m.o.Blind {
		m.lookAround()
	}
	for _, k := range shared {
		m.name(k)
	}
	m.renames()
	for rounds := 0; m.err == nil && m.structure(); rounds++ {
		if rounds > 10_000 {
			m.fail(remote.E("merge", "", remote.Other, errMerge))
		}
	}
	m.inodes()
	m.tell()
}

// contested looks at all names that either side stated, and returns those that both did.
func (m *merger) contested() (shared []nameKey) {
	for _, l := range []*layer{m.live, m.batch} {
		for parent, names := range l.names {
			for n := range names {
				k := nameKey{parent, n}
				m.at(k)
				if _, both := m.live.names[parent][n]; both && l == m.batch {
					shared = append(shared, k)
				}
			}
		}
	}
	slices.SortFunc(shared, compareKeys)
	return shared
}

// collide gives what was made here another number when the batch has the number for something else: so it is when both machines
// kept the same removed file, and when a machine's folders were copied.
func (m *merger) collide(ino remote.Ino) {
	_, before := m.node(m.was, ino)
	theirs, there := m.node(m.theirs, ino)
	l := m.live.inodes[ino]
	if before || !there || l.node == nil || l.node.Links == 0 || theirs.Type == remote.Dir && l.node.Type == remote.Dir {
		return
	}
	if theirs.Type == l.node.Type && (l.body == nil || m.same(ino)) {
		return
	}
	c, err := m.o.NewIno()
	if err != nil {
		m.fail(err)
		return
	}
	m.renumbered[ino] = c
}

func (m *merger) same(ino remote.Ino) bool {
	return m.o.Same != nil && m.o.Same(ino, m.live.inodes[ino].stamp())
}

// tell states the names as Ops. What was removed by the batch and is kept gets all of its names anew. A name comes with the attributes of what it leads to when the remote
// does not have that: the record that made it may be gone from the journal before the name is sent.
func (m *merger) tell() {
	stated := map[remote.Ino]bool{}
	for _, op := range m.out.Ops {
		stated[op.Ino] = stated[op.Ino] || op.Kind == remote.OpNode
	}
	for _, k := range sortedNames(m.spots) {
		s := m.spots[k]
		before := s.theirs
		if s.local {
			before = s.mine
		}
		switch {
		case s.now == before && !m.revived[s.now]:
		case s.now == 0:
			m.op(remote.Op{Kind: remote.OpUnlink, Parent: k.parent, Name: k.name, Ino: before})
		default:
			m.op(remote.Op{Kind: remote.OpLink, Parent: k.parent, Name: k.name, Ino: s.now})
			if n := m.here(s.now); n.Ino != 0 && !stated[s.now] && !m.known(s.now) {
				m.op(remote.Op{Kind: remote.OpNode, Ino: s.now, Attr: n.Attr})
				stated[s.now] = true
			}
		}
	}
	// Inodes before their names, and names before what needs the inodes to have them.
	rank := func(o remote.Op) int {
		switch o.Kind {
		case remote.OpNode:
			return 0
		case remote.OpLink, remote.OpUnlink:
			return 1
		}
		return 2
	}
	slices.SortStableFunc(m.out.Ops, func(a, b remote.Op) int { return rank(a) - rank(b) })
}

func lostInode(ino remote.Ino) error {
	return remote.E("merge", fmt.Sprintf("inode %d", ino), remote.Other, errMerge)
}
