package tree

import (
	"errors"
	"sort"

	"megafs/remote"
	"megafs/remote/spool"
	"megafs/remote/wire"
)

// fill gathers a snapshot for an empty base, or one to be emptied. Ops that are applied one by one look up what they change, write each inode twice, and are sorted by the database afterwards; but a snapshot has
// everything once, nearly in the order of the keys. Only what an inode's record says of its names is told after all inodes. So the snapshot goes to a spool first, while its names
// are counted in memory, 5 bytes an inode. What is not in a snapshot's order, or needs more memory than there is, is applied one by one.
type fill struct {
	spool *spool.Spool
	limit int64 // bytes of memory for all that follows
	runs  []inoRun
	n     uint32            // inodes so far
	above [][]uint32        // by an inode's place in their order, its parent's place
	kinds [][]uint8         // its type, and whether it has a name
	links map[uint32]uint32 // how many more names a file has
	subs  map[uint32]uint32 // how many subdirectories a directory has
	block []byte            // reused
	loose bool              // it only holds what was told, without counting

	// Where the telling is.
	stage  stage
	device uint32
	ino    remote.Ino
	file   bool
	xattr  string
	end    uint64 // of the latest extent
	parent remote.Ino
	at     uint32 // the parent's place
	name   string
}

type stage int

const (
	devices stage = iota
	inodes
	names
)

const (
	kindNamed = 0x80
	fillBlock = 1 << 14 // inodes that memory is taken for at once
)

// inoRun is inodes whose numbers follow one another.
type inoRun struct {
	ino remote.Ino
	at  uint32 // the place of the first
}

// errNotFilled says that Ops are to be applied one by one.
var errNotFilled = errors.New("not in a snapshot's order, or too much")

func newFill(dir string, limit int64) (*fill, error) {
	s, err := spool.New(dir)
	if err != nil {
		return nil, err
	}
	return &fill{spool: s, limit: limit, links: map[uint32]uint32{}, subs: map[uint32]uint32{}}, nil
}

func (f *fill) close() { f.spool.Close() }

// memory is about how many bytes the fill takes.
func (f *fill) memory() int64 {
	return int64(len(f.kinds))*fillBlock*5 + int64(cap(f.runs))*16 + int64(len(f.links)+len(f.subs))*24
}

// add takes a part of a snapshot. After errNotFilled the fill has what was added before.
func (f *fill) add(ops []remote.Op) error {
	if f.loose {
		return errNotFilled
	}
	f.block = f.block[:0]
	for i := range ops {
		if !f.take(&ops[i]) {
			return errNotFilled
		}
		f.block = wire.AppendOp(f.block, &ops[i])
	}
	if f.memory() > f.limit {
		return errNotFilled
	}
	_, err := f.spool.Write(f.block)
	return err
}

// hold takes a part that is not counted, as all that follow are not: once everything was told it is counted again, or applied one by one.
func (f *fill) hold(ops []remote.Op) error {
	f.n, f.runs, f.above, f.kinds, f.links, f.subs = 0, nil, nil, nil, nil, nil
	f.loose = true
	f.block = f.block[:0]
	for i := range ops {
		f.block = wire.AppendOp(f.block, &ops[i])
	}
	_, err := f.spool.Write(f.block)
	return err
}

// again counts all that was told, now that there is more memory. It fails with errNotFilled like add.
func (f *fill) again(limit int64) error {
	*f = fill{spool: f.spool, limit: limit, links: map[uint32]uint32{}, subs: map[uint32]uint32{}}
	err := f.spool.Each(func(block []byte) error {
		if f.memory() > f.limit {
			return errNotFilled
		}
		return wire.EachOp(block, func(op *remote.Op) error {
			if !f.take(op) {
				return errNotFilled
			}
			return nil
		})
	})
	if err != nil {
		*f = fill{spool: f.spool}
	}
	return err
}

// take counts an Op, and reports whether it was in order.
func (f *fill) take(op *remote.Op) bool {
	switch op.Kind {
	case remote.OpDevice:
		ok := f.stage == devices && op.Number > f.device
		f.device = op.Number
		return ok
	case remote.OpNode:
		if f.stage == names || op.Ino <= f.ino || f.n == 1<<32-1 {
			return false
		}
		f.stage = inodes
		if f.n == 0 || op.Ino != f.ino+1 {
			f.runs = append(f.runs, inoRun{op.Ino, f.n})
		}
		if f.n%fillBlock == 0 {
			f.above, f.kinds = append(f.above, make([]uint32, fillBlock)), append(f.kinds, make([]uint8, fillBlock))
		}
		f.kinds[f.n/fillBlock][f.n%fillBlock] = uint8(op.Attr.Type)
		f.n++
		f.ino, f.file, f.xattr, f.end = op.Ino, op.Attr.Type == remote.File, "", 0
		return true
	case remote.OpXattr:
		ok := f.stage == inodes && op.Ino == f.ino && op.Name > f.xattr
		f.xattr = op.Name
		return ok
	case remote.OpExtent:
		e := &op.Extent
		ok := f.stage == inodes && op.Ino == f.ino && f.file && !e.Hole && e.Off >= f.end && e.End() > e.Off
		f.end = e.End()
		return ok
	case remote.OpLink:
		return f.link(op)
	}
	return false
}

func (f *fill) link(op *remote.Op) bool {
	if f.stage != names {
		f.stage, f.parent = names, 0
	}
	switch {
	case op.Parent < f.parent, op.Parent == f.parent && op.Name <= f.name:
		return false
	case op.Parent > f.parent:
		at, ok := f.place(op.Parent)
		if !ok || remote.Type(*f.kind(at)&^kindNamed) != remote.Dir {
			return false
		}
		f.parent, f.at = op.Parent, at
	}
	f.name = op.Name
	child, ok := f.place(op.Ino)
	if !ok || op.Ino == remote.Root {
		return false
	}
	k := f.kind(child)
	dir := remote.Type(*k&^kindNamed) == remote.Dir
	switch {
	case *k&kindNamed == 0:
		*k |= kindNamed
	case dir:
		return false
	default:
		f.links[child]++
	}
	f.above[child/fillBlock][child%fillBlock] = f.at // of more names the last, as with Ops one by one
	if dir {
		f.subs[f.at]++
	}
	return true
}

func (f *fill) kind(at uint32) *uint8 { return &f.kinds[at/fillBlock][at%fillBlock] }

// place returns an inode's place in the order of inodes.
func (f *fill) place(ino remote.Ino) (uint32, bool) {
	i := sort.Search(len(f.runs), func(i int) bool { return f.runs[i].ino > ino }) - 1
	if i < 0 {
		return 0, false
	}
	end := f.n
	if i+1 < len(f.runs) {
		end = f.runs[i+1].at
	}
	off := uint64(ino - f.runs[i].ino)
	if off >= uint64(end-f.runs[i].at) {
		return 0, false
	}
	return f.runs[i].at + uint32(off), true
}

// number is the inode in a place.
func (f *fill) number(at uint32) remote.Ino {
	i := sort.Search(len(f.runs), func(i int) bool { return f.runs[i].at > at }) - 1
	return f.runs[i].ino + remote.Ino(at-f.runs[i].at)
}

// node is an inode's record.
func (f *fill) node(at uint32, op *remote.Op) Node {
	n := Node{Ino: op.Ino, Attr: op.Attr, Version: 1, Subdirs: f.subs[at]}
	switch {
	case op.Ino == remote.Root:
		n.Links, n.Parent = 1, remote.Root
	case *f.kind(at)&kindNamed != 0:
		n.Links, n.Parent = 1+f.links[at], f.number(f.above[at/fillBlock][at%fillBlock])
	}
	return n
}
