package tree

import (
	"math"

	"megafs/remote"
	"megafs/remote/extent"
)

// Place is where bytes of a file lie locally. The tree carries it and does not look inside: Segment, Off and Len are a journal
// record's, Skip the offset of the first byte within the record's data. A Place with Ref set instead points to stored content (shared by
// copying within the volume); one with Hole is zeros.
type Place struct {
	Segment uint64
	Off     uint32
	Len     uint32
	Skip    uint32
	Shared  *remote.Extent // content that is stored already, or inline; its Off does not count
	Hole    bool
	Seq     uint64 // of the record, for trimming
}

func slicePlace(p Place, skip, n uint64) Place {
	if p.Shared != nil {
		e := *p.Shared
		e = e.Slice(e.Off+skip, e.Off+skip+n)
		p.Shared = &e
		return p
	}
	p.Skip += uint32(skip)
	return p
}

// Records are never joined: each has its own place.
func joinPlace(a Place, alen uint64, b Place) bool { return a.Hole && b.Hole && a.Seq == b.Seq }

// noCut says that a file was not shortened.
const noCut = math.MaxUint64

// content is how a file's bytes differ from the layer below: all from cut on is gone, then runs lie over it.
type content struct {
	cut    uint64
	cutSeq uint64
	runs   *extent.Runs[Place]
}

func newContent() *content {
	return &content{cut: noCut, runs: extent.NewRuns(slicePlace, joinPlace)}
}

func (c *content) shorten(size, seq uint64) {
	if size < c.cut {
		c.cut, c.cutSeq = size, seq
	}
	c.runs.Cut(size)
}

// over lays c above d, which it changes and returns.
func (c *content) over(d *content) *content {
	if c.cut != noCut {
		d.shorten(c.cut, c.cutSeq)
	}
	for _, r := range c.runs.All() {
		d.runs.Set(r.Off, r.Len, r.V)
	}
	return d
}

// since is the oldest record c still needs, or noCut.
func (c *content) since() uint64 {
	s := uint64(noCut)
	if c.cut != noCut {
		s = c.cutSeq
	}
	for _, r := range c.runs.All() {
		s = min(s, r.V.Seq)
	}
	return s
}

// delta is how one inode differs from the layer below.
type delta struct {
	node   *Node // nil: attributes are those below
	seq    uint64
	xattrs map[string]xattr
	body   *content // nil: as below
	first  int64    // when the inode became dirty, in the caller's clock
	last   int64
	astray bool // the base knew its names, and was begun anew without it
}

// since is the oldest record d still needs, or noCut.
func (d *delta) since() uint64 {
	s := uint64(noCut)
	if d.node != nil {
		s = d.seq
	}
	for _, x := range d.xattrs {
		s = min(s, x.seq)
	}
	if d.body != nil {
		s = min(s, d.body.since())
	}
	return s
}

type xattr struct {
	value []byte // nil: removed
	seq   uint64
}

type dentry struct {
	ino remote.Ino // 0: no such name
	seq uint64
}

// layer is a set of differences.
type layer struct {
	inodes map[remote.Ino]*delta
	names  map[remote.Ino]map[string]dentry
	upto   uint64 // the last record in it
	bytes  int64  // dirty bytes, as counted when written
}

func newLayer() *layer {
	return &layer{inodes: map[remote.Ino]*delta{}, names: map[remote.Ino]map[string]dentry{}}
}

func (l *layer) empty() bool { return l == nil || len(l.inodes) == 0 && len(l.names) == 0 }

func (l *layer) delta(ino remote.Ino) *delta {
	d := l.inodes[ino]
	if d == nil {
		d = &delta{}
		l.inodes[ino] = d
	}
	return d
}

func (l *layer) setName(parent remote.Ino, name string, ino remote.Ino, seq uint64) {
	m := l.names[parent]
	if m == nil {
		m = map[string]dentry{}
		l.names[parent] = m
	}
	m[name] = dentry{ino, seq}
}

// over lays l above below, which takes everything and is returned. Of an inode without names that nobody has open only that is kept.
func (l *layer) over(below *layer, open func(remote.Ino) bool) *layer {
	if below == nil {
		return l
	}
	for ino, d := range l.inodes {
		b := below.inodes[ino]
		if b == nil {
			below.inodes[ino] = d
			continue
		}
		switch {
		case d.node != nil && d.node.Links == 0 && !open(ino):
			below.inodes[ino] = d
			continue
		case d.node != nil && b.node != nil:
			// The upper one may state less than all attributes: the records of both are needed.
			b.node, b.seq = d.node, min(b.seq, d.seq)
		case d.node != nil:
			b.node, b.seq = d.node, d.seq
		}
		if d.xattrs != nil {
			if b.xattrs == nil {
				b.xattrs = map[string]xattr{}
			}
			for n, v := range d.xattrs {
				b.xattrs[n] = v
			}
		}
		if d.body != nil {
			if b.body == nil {
				b.body = d.body
			} else {
				b.body = d.body.over(b.body)
			}
		}
		b.last = max(b.last, d.last)
	}
	for p, m := range l.names {
		for n, e := range m {
			below.setName(p, n, e.ino, e.seq)
		}
	}
	below.upto = max(below.upto, l.upto)
	below.bytes += l.bytes
	return below
}

// since is the oldest record the layer needs, or noCut.
func (l *layer) since() uint64 {
	s := uint64(noCut)
	if l == nil {
		return s
	}
	for _, d := range l.inodes {
		s = min(s, d.since())
	}
	for _, m := range l.names {
		for _, e := range m {
			s = min(s, e.seq)
		}
	}
	return s
}
