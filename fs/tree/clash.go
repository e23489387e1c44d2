package tree

import (
	"maps"
	"slices"

	"megafs/remote"
)

// Clash is a file whose content a batch changes and that was changed here, too.
type Clash struct {
	Ino         remote.Ino
	Mine        *Version
	Theirs, Was *Version // nil: it is none, or too large
	Stamp       uint64   // of the local content; MergeOptions.Same gets it again
}

// CompareStep is where the pieces of a Version end: at its multiples.
const CompareStep = 1 << 20

// Version is the content of a file in some state.
type Version struct {
	Size   uint64
	Pieces []Piece
}

// Clashes returns the files of up to most bytes that a batch and local changes give content, to be compared before a Merge.
func (t *Tree) Clashes(b remote.Batch, most uint64) ([]Clash, error) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	if t.live.empty() || t.frozen != nil {
		return nil, nil
	}
	s, err := t.preview(b)
	if err != nil {
		return nil, err
	}
	read := func(v view, ino remote.Ino) (*Version, error) {
		n, ok, err := v.node(ino)
		if err != nil || !ok || n.Type != remote.File || n.Size > most {
			return nil, err
		}
		out := &Version{Size: n.Size}
		for at := uint64(0); at < n.Size && err == nil; at += CompareStep {
			err = v.content(ino, at, min(n.Size, at+CompareStep), func(p Piece) error {
				out.Pieces = append(out.Pieces, p)
				return nil
			})
		}
		return out, err
	}
	var out []Clash
	for _, ino := range slices.Sorted(maps.Keys(s.top.inodes)) {
		d, theirs := t.live.inodes[ino], s.top.inodes[ino]
		if d == nil || d.node == nil || d.node.Type != remote.File || d.body == nil || theirs.node == nil || theirs.node.Links == 0 {
			continue
		}
		c := Clash{Ino: ino, Stamp: d.stamp()}
		if c.Mine, err = read(t.current(), ino); err == nil && c.Mine != nil {
			if c.Theirs, err = read(s.view, ino); err == nil {
				c.Was, err = read(view{base: t.base}, ino)
			}
			out = append(out, c)
		}
		if err != nil {
			return nil, err
		}
	}
	return out, nil
}

// stamp changes with the content.
func (d *delta) stamp() uint64 {
	if d == nil || d.body == nil {
		return 0
	}
	s := d.seq
	if d.body.cut != noCut {
		s = max(s, d.body.cutSeq)
	}
	for _, r := range d.body.runs.All() {
		s = max(s, r.V.Seq)
	}
	return s
}
