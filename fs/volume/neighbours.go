package volume

import (
	"slices"
	"sync"

	"megafs/fs/tree"
	"megafs/remote"
)

const (
	smallFile    = 1 << 20 // files up to this size lie in objects with others
	maxPacks     = 64      // objects that are remembered
	packReaders  = 2       // files that must have been read in an object before the rest of it is fetched
	maxPacksNext = 4       // objects to fetch beyond the one that is read
	maxSteps     = 2048    // inodes to look at for the objects that follow
	maxListing   = 4096    // names in a directory that is walked for them
)

// neighbours fetches what lies beside small files that are read: who reads some that were made together is likely to read the others. What
// was sent together lies in one object, so that object's rest comes first. The next are those of the files that follow: who reads whole trees, as grep, tar and rsync do, reads them in
// the order of listings. In a directory that is too large to be listed for that, those of the next inodes.
type neighbours struct {
	mu      sync.Mutex
	packs   map[remote.ObjectID]*packed
	order   []remote.ObjectID // oldest first
	looking bool              // somebody looks for the objects that follow
	later   *spot             // from where to look next
}

// spot is a file that is read, from which on objects are looked for.
type spot struct {
	node tree.Node
	at   remote.ObjectID
	next int // how many
}

// packed is what is known of an object.
type packed struct {
	last    remote.Ino // that was read
	files   int        // that were read
	asked   bool       // all of it was prefetched
	beyond  bool       // so were the ones behind it
	reached int        // how many objects in a row were read as if all were wanted
}

func (n *neighbours) get(id remote.ObjectID) *packed {
	p := n.packs[id]
	if p != nil {
		return p
	}
	if n.packs == nil {
		n.packs = map[remote.ObjectID]*packed{}
	}
	if len(n.order) == maxPacks {
		delete(n.packs, n.order[0])
		n.order = n.order[1:]
	}
	p = &packed{}
	n.packs[id], n.order = p, append(n.order, id)
	return p
}

// read notes that a file was read which lies in an object, and returns whether all of that is to be fetched, and how many of those that follow.
func (n *neighbours) read(ino remote.Ino, id remote.ObjectID) (whole bool, next int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	p := n.get(id)
	if p.last == ino {
		return false, 0
	}
	p.last = ino
	p.files++
	if !p.asked && p.files >= packReaders {
		p.asked, whole = true, true
	}
	// One object may be all that is wanted; the second in a row shows that it is not.
	if p.asked && !p.beyond && (p.reached > 0 || p.files >= 4*packReaders) {
		p.beyond = true
		next = min(p.reached+1, maxPacksNext)
	}
	return whole, next
}

// follows notes that an object is fetched because of one before it; false when it was already.
func (n *neighbours) follows(id, before remote.ObjectID) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	reached := n.get(before).reached
	p := n.get(id)
	p.reached = max(p.reached, reached+1)
	if p.asked {
		return false
	}
	p.asked = true
	return true
}

// beside asks the cache for what lies beside a small file that is read.
func (v *Volume) beside(n tree.Node) {
	id := objectOf(v.tree, n)
	if id == nil {
		return
	}
	if alone(*id, n) {
		v.inRow(n)
	}
	whole, next := v.near.read(n.Ino, id.Object)
	if whole {
		v.cache.Prefetch([]remote.Extent{allOf(*id)})
	}
	if next > 0 {
		v.lookBeyond(spot{n, id.Object, next})
	}
}

// lookBeyond lets one goroutine look for what follows a spot; who reads does not wait for it. Of spots that come meanwhile the latest counts.
func (v *Volume) lookBeyond(p spot) {
	n := &v.near
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.looking {
		n.later = &p
		return
	}
	n.looking = true
	v.wg.Go(func() {
		for next := &p; next != nil; {
			v.beyond(*next)
			n.mu.Lock()
			next, n.later = n.later, nil
			n.looking = next != nil
			n.mu.Unlock()
		}
	})
}

// beyond asks the cache for the objects of the files that follow.
func (v *Volume) beyond(p spot) {
	steps := 0
	more := func(n tree.Node) bool {
		if steps++; n.Type == remote.File && n.Size <= smallFile {
			if r := objectOf(v.tree, n); r != nil && r.Object != p.at && v.near.follows(r.Object, p.at) {
				v.cache.Prefetch([]remote.Extent{allOf(*r)})
				p.at = r.Object
				p.next--
			}
		}
		return p.next > 0 && steps < maxSteps
	}
	if v.walkFrom(p.node, more) {
		return
	}
	for ino := p.node.Ino + 1; ino <= p.node.Ino+maxSteps; ino++ {
		if n, err := v.tree.Node(ino); err == nil && !more(n) {
			return
		}
	}
}

// walkFrom tells the inodes behind a file in the order in which a reader of the whole tree comes to them, until more says that it is enough. It reports false when it
// can't begin, for the directory is large.
func (v *Volume) walkFrom(n tree.Node, more func(tree.Node) bool) bool {
	var down func(list []tree.Dirent) bool
	down = func(list []tree.Dirent) bool {
		for _, d := range list {
			n, err := v.tree.Node(d.Ino)
			if err != nil {
				continue
			}
			if !more(n) {
				return false
			}
			if n.Type != remote.Dir {
				continue
			}
			if below, err := v.tree.ListMost(n.Ino, maxListing); err == nil && !down(below) {
				return false
			}
		}
		return true
	}
	for begun := false; ; begun = true {
		list, err := v.tree.ListMost(n.Parent, maxListing)
		i := slices.IndexFunc(list, func(d tree.Dirent) bool { return d.Ino == n.Ino })
		if err != nil || i < 0 {
			return begun
		}
		if !down(list[i+1:]) || n.Parent == remote.Root {
			return true
		}
		if n, err = v.tree.Node(n.Parent); err != nil {
			return true
		}
	}
}

// objectOf returns the object that a small file's first stored bytes lie in, or nil.
func objectOf(t *tree.Tree, n tree.Node) *remote.Ref {
	pieces, err := t.Content(n.Ino, 0, min(n.Size, remote.ChunkSize))
	if err != nil {
		return nil
	}
	for _, p := range pieces {
		if p.Ext != nil && !p.Ext.Hole && p.Ext.Inline == nil {
			return &p.Ext.Ref
		}
	}
	return nil
}

// allOf is an object's whole content.
func allOf(r remote.Ref) remote.Extent {
	r.Off = 0
	return remote.Extent{Len: uint64(r.Chunks) * remote.ChunkSize, Ref: r}
}
