package writeback

import (
	"bytes"

	"megafs/fs/tree"
	"megafs/remote"
)

// Want is a run of a file's bytes that must be stored before its plan can be committed.
type Want struct {
	Ino remote.Ino
	Off uint64
	Len uint64 // at most remote.MaxContent, but for a whole file

	Stored []remote.Ref // of a whole file: where all of it is stored already, piece by piece, if it is
}

// Planned is what a generation comes to: Ops to commit, and content to be stored first, each as an OpExtent of its own after Ops' attributes.
// Small files are wanted inline.
type Planned struct {
	Ops    []remote.Op // attributes, xattrs, cuts, holes, shared extents
	Stored []Want      // go to objects
	Inline []Want      // go into the log itself
	Whole  []Want      // are whole files, for a remote that knows nothing smaller
	Names  []remote.Op // links and unlinks, after everything else

	alone map[remote.ObjectID]bool
	whole bool
}

// Empty reports whether there is nothing to commit.
func (p *Planned) Empty() bool {
	return len(p.Ops)+len(p.Stored)+len(p.Inline)+len(p.Whole)+len(p.Names) == 0
}

// Plan tells a generation as the fewest Ops that make the base like it. It is pure: equal generations give equal plans.
// Content of alone can't be shared: nothing that the remote has refers to it any more. It is stored anew.
func Plan(g *tree.Generation, alone map[remote.ObjectID]bool) *Planned {
	return plan(g, &Planned{alone: alone})
}

// PlanWhole is Plan for a remote that stores a file's content as a whole: what changed in part is stored from beginning to end.
func PlanWhole(g *tree.Generation) *Planned { return plan(g, &Planned{whole: true}) }

func plan(g *tree.Generation, p *Planned) *Planned {
	for i := range g.Inodes {
		p.inode(&g.Inodes[i])
	}
	for _, n := range g.Names {
		switch {
		case n.Now == n.Was:
		case n.Now == 0:
			p.Names = append(p.Names, remote.Op{Kind: remote.OpUnlink, Parent: n.Parent, Name: n.Name, Ino: n.Was})
		default:
			p.Names = append(p.Names, remote.Op{Kind: remote.OpLink, Parent: n.Parent, Name: n.Name, Ino: n.Now})
		}
	}
	return p
}

func (p *Planned) inode(i *tree.Inode) {
	if i.Gone() || i.Now == nil && i.Was == nil {
		return
	}
	if i.Now != nil && (i.Was == nil || i.Now.Attr != i.Was.Attr) {
		p.Ops = append(p.Ops, remote.Op{Kind: remote.OpNode, Ino: i.Ino, Attr: i.Now.Attr})
	}
	for _, x := range i.Xattrs {
		switch {
		case x.Now == nil && x.Was != nil:
			p.Ops = append(p.Ops, remote.Op{Kind: remote.OpNoXattr, Ino: i.Ino, Name: x.Name})
		case x.Now != nil && (x.Was == nil || !bytes.Equal(x.Now, x.Was)):
			p.Ops = append(p.Ops, remote.Op{Kind: remote.OpXattr, Ino: i.Ino, Name: x.Name, Value: x.Now})
		}
	}
	switch {
	case p.whole:
		p.file(i)
	case i.Body != nil:
		p.body(i)
	}
}

// file plans a file's content as a whole, if any of it changed.
func (p *Planned) file(i *tree.Inode) {
	n := i.Now
	if n == nil {
		n = i.Was
	}
	size := i.Size()
	if n.Type != remote.File || size == 0 {
		return
	}
	changed := i.Was == nil || i.Was.Size != size
	if b := i.Body; b != nil {
		changed = changed || b.Cut < size || len(b.Runs) > 0 && b.Runs[0].Off < size
	}
	if !changed {
		return
	}
	if i.Now == nil || i.Was != nil && i.Now.Attr == i.Was.Attr {
		p.Ops = append(p.Ops, remote.Op{Kind: remote.OpNode, Ino: i.Ino, Attr: n.Attr}) // whoever stores it wants its attributes too
	}
	p.Whole = append(p.Whole, Want{Ino: i.Ino, Len: size, Stored: stored(i.Body, size)})
}

// stored returns the pieces of remote.MaxContent bytes of which a file's content is a copy, nil if it is none.
func stored(b *tree.Body, size uint64) (refs []remote.Ref) {
	if b == nil {
		return nil
	}
	at := uint64(0)
	for _, r := range b.Runs {
		if at == size {
			break
		}
		e, n := r.Place.Shared, min(r.Len, size-at)
		if r.Off != at || e == nil || e.Hole || e.Inline != nil || uint64(e.Ref.Off) != at%remote.MaxContent || uint64(e.Ref.Off)+n > remote.MaxContent {
			return nil
		}
		if at%remote.MaxContent == 0 {
			refs = append(refs, e.Ref)
		} else if e.Ref.Object != refs[len(refs)-1].Object {
			return nil
		}
		at += n
	}
	if at != size {
		return nil
	}
	return refs
}

// body plans a file's content: first what went, then holes and what is shared, then what is to be stored.
func (p *Planned) body(i *tree.Inode) {
	size, kept := i.Size(), uint64(0) // kept: below here the base's bytes are still the file's
	if i.Was != nil {
		kept = min(i.Was.Size, i.Body.Cut)
		if i.Body.Cut < i.Was.Size && i.Body.Cut < size {
			p.Ops = append(p.Ops, remote.Op{Kind: remote.OpCut, Ino: i.Ino, Cut: i.Body.Cut})
		}
	}
	if size <= remote.MaxInline {
		for _, r := range i.Body.Runs {
			if r.Off < size {
				p.Inline = append(p.Inline, Want{Ino: i.Ino, Len: size})
				break
			}
		}
		return
	}
	var dirty []tree.Span // whole chunks that hold written bytes
	for _, r := range i.Body.Runs {
		off, end := r.Off, min(r.Off+r.Len, size)
		if off >= end {
			continue
		}
		switch {
		case r.Place.Hole:
			if off < kept {
				end = min(end, kept)
				p.Ops = append(p.Ops, remote.Op{Kind: remote.OpExtent, Ino: i.Ino, Extent: remote.Extent{Off: off, Len: end - off, Hole: true}})
			}
		case r.Place.Shared != nil && !p.alone[r.Place.Shared.Ref.Object]:
			e := *r.Place.Shared
			skip := e.Off
			e = e.Slice(skip, skip+end-off)
			e.Off = off
			p.Ops = append(p.Ops, remote.Op{Kind: remote.OpExtent, Ino: i.Ino, Extent: e})
		default:
			off -= off % remote.ChunkSize
			if rest := end % remote.ChunkSize; rest != 0 {
				end = min(end-rest+remote.ChunkSize, size)
			}
			if n := len(dirty); n > 0 && off <= dirty[n-1].End {
				dirty[n-1].End = max(end, dirty[n-1].End)
			} else {
				dirty = append(dirty, tree.Span{Off: off, End: end})
			}
		}
	}
	for _, s := range dirty {
		for off := s.Off; off < s.End; {
			to := min(s.End, off-off%remote.MaxContent+remote.MaxContent)
			p.Stored = append(p.Stored, Want{Ino: i.Ino, Off: off, Len: to - off})
			off = to
		}
	}
}
