package volume

import (
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
)

// neighbours fetches what lies beside small files that are read: who reads some that were made together is likely to read the others. What
// was sent together lies in one object, in the order of inode numbers, so the object's rest comes first and then those of the next inodes.
type neighbours struct {
	mu    sync.Mutex
	packs map[remote.ObjectID]*packed
	order []remote.ObjectID // oldest first
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
	whole, next := v.near.read(n.Ino, id.Object)
	if whole {
		v.cache.Prefetch([]remote.Extent{allOf(*id)})
	}
	if next == 0 {
		return
	}
	at := id.Object
	for ino := n.Ino + 1; ino <= n.Ino+maxSteps && next > 0; ino++ {
		n, err := v.tree.Node(ino)
		if err != nil || n.Type != remote.File || n.Size > smallFile {
			continue
		}
		if r := objectOf(v.tree, n); r != nil && r.Object != at {
			if v.near.follows(r.Object, at) {
				v.cache.Prefetch([]remote.Extent{allOf(*r)})
			}
			at = r.Object
			next--
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
