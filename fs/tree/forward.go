package tree

import (
	"maps"
	"slices"

	"megafs/remote"
)

// Nameless tells of the inodes without names that somebody has open and that rest on journal records up to seq: which they are, and how many bytes of those
// records they need. only is false when something else rests on such records too. total counts the bytes of all inodes without names.
func (t *Tree) Nameless(seq uint64) (inodes []remote.Ino, bytes, total int64, only bool) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	others := newLayer()
	others.names = t.live.names
	for ino, d := range t.live.inodes {
		if d.node == nil || d.node.Links > 0 {
			others.inodes[ino] = d
			continue
		}
		if d.body != nil {
			for _, r := range d.body.runs.All() {
				if !r.V.local() {
					continue
				}
				total += int64(r.Len)
				if r.V.Seq <= seq {
					bytes += int64(r.Len)
				}
			}
		}
		if d.since() <= seq {
			inodes = append(inodes, ino)
		}
	}
	slices.Sort(inodes)
	return inodes, bytes, total, t.frozen == nil && others.since() > seq
}

// local reports whether the bytes lie in a journal record.
func (p Place) local() bool { return p.Shared == nil && !p.Hole }

// Resting returns what of an inode without names rests on journal records up to seq: Ops that say it anew, and runs of bytes. Of a cut nothing needs to
// be said: what it hides is in the base, and no inode that is in the base gets a name again. ok is false when the inode has names, is gone, or needs nothing.
func (t *Tree) Resting(ino remote.Ino, seq uint64) (n Node, ops []remote.Op, runs []Run, ok bool) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	d := t.live.inodes[ino]
	if d == nil || d.node == nil || d.node.Links > 0 || d.since() > seq {
		return n, nil, nil, false
	}
	for _, name := range slices.Sorted(maps.Keys(d.xattrs)) {
		switch x := d.xattrs[name]; {
		case x.seq > seq:
		case x.value == nil:
			ops = append(ops, remote.Op{Kind: remote.OpNoXattr, Ino: ino, Name: name})
		default:
			ops = append(ops, remote.Op{Kind: remote.OpXattr, Ino: ino, Name: name, Value: x.value})
		}
	}
	if d.body != nil {
		for _, r := range d.body.runs.All() {
			switch {
			case r.V.Seq > seq:
			case r.V.local():
				runs = append(runs, Run{r.Off, r.Len, r.V})
			case r.V.Hole:
				ops = append(ops, remote.Op{Kind: remote.OpExtent, Ino: ino, Extent: remote.Extent{Off: r.Off, Len: r.Len, Hole: true}})
			default:
				e := *r.V.Shared
				e = e.Slice(e.Off, e.Off+r.Len)
				e.Off = r.Off
				ops = append(ops, remote.Op{Kind: remote.OpExtent, Ino: ino, Extent: e})
			}
		}
	}
	return *d.node, ops, runs, true
}

// Moved says that a run that Resting told of lies in record seq now, with the same bytes. Nothing else of the inode changes. The run may have gone meanwhile with
// the last who had the inode open.
func (t *Tree) Moved(seq uint64, ino remote.Ino, off, n uint64, to Place) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.live.upto = max(t.live.upto, seq)
	if d := t.live.inodes[ino]; d != nil && d.node != nil && d.node.Links == 0 && d.body != nil {
		to.Seq = seq
		d.body.runs.Set(off, n, to)
	}
}

// Restated takes the Ops that Resting told of, behind the inode's attributes, which the journal has once more as record seq.
func (t *Tree) Restated(seq uint64, ops []remote.Op) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.live.upto = max(t.live.upto, seq)
	d := t.live.inodes[ops[0].Ino]
	if d == nil || d.node == nil || d.node.Links > 0 || d.body == nil && d.xattrs == nil && len(ops) > 1 {
		return nil
	}
	s := t.local()
	for i := range ops {
		if err := s.apply(&ops[i], seq); err != nil {
			return err
		}
	}
	if d.body != nil && d.body.cut != noCut {
		d.body.cutSeq = seq
	}
	return nil
}
