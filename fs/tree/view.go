package tree

import (
	"math"
	"sort"

	"megafs/remote"
)

// view is a stack of layers over the base, the topmost first.
type view struct {
	layers []*layer
	base   *base
}

// node returns an inode, also one without a name that somebody still has open.
func (v view) node(ino remote.Ino) (Node, bool, error) {
	for _, l := range v.layers {
		if d := l.inodes[ino]; d != nil && d.node != nil {
			return *d.node, true, nil
		}
	}
	return v.base.node(ino)
}

// lookup returns the inode a name leads to, or 0.
func (v view) lookup(parent remote.Ino, name string) (remote.Ino, error) {
	for _, l := range v.layers {
		if d, ok := l.names[parent][name]; ok {
			return d.ino, nil
		}
	}
	d, err := v.base.lookup(parent, name)
	return d.ino, err
}

// Dirent is one name of a directory.
type Dirent struct {
	Name string
	Ino  remote.Ino
	Type remote.Type
}

// list returns a directory's names in byte order.
func (v view) list(dir remote.Ino) ([]Dirent, error) { return v.listMost(dir, math.MaxInt) }

// listMost is list for a directory of up to about so many names; one that has more gives none.
func (v view) listMost(dir remote.Ino, most int) ([]Dirent, error) {
	changed := map[string]remote.Ino{}
	for i := len(v.layers) - 1; i >= 0; i-- {
		for n, d := range v.layers[i].names[dir] {
			changed[n] = d.ino
		}
	}
	var out []Dirent
	err := v.base.scan(k(keyName, uint64(dir)), func(key, val []byte) error {
		name := string(key[9:])
		if _, ok := changed[name]; ok {
			return nil
		}
		d, err := decodeName(val)
		if err != nil {
			return err
		}
		if len(out)+len(changed) >= most {
			return errStop
		}
		out = append(out, Dirent{name, d.ino, d.typ})
		return nil
	})
	if err == errStop || len(changed) > most {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	fresh := len(out)
	for n, ino := range changed {
		if ino == 0 {
			continue
		}
		node, ok, err := v.node(ino)
		if err != nil {
			return nil, err
		}
		if ok {
			out = append(out, Dirent{n, ino, node.Type})
		}
	}
	if len(out) > fresh {
		sort.Slice(out, func(i, j int) bool { return out[i].Name < out[j].Name })
	}
	return out, nil
}

// empty reports whether a directory has no names.
func (v view) empty(dir remote.Ino) (bool, error) {
	changed := map[string]bool{}
	for i := len(v.layers) - 1; i >= 0; i-- {
		for n, d := range v.layers[i].names[dir] {
			changed[n] = d.ino != 0
		}
	}
	for _, there := range changed {
		if there {
			return false, nil
		}
	}
	empty := true
	err := v.base.scan(k(keyName, uint64(dir)), func(key, _ []byte) error {
		if _, ok := changed[string(key[9:])]; ok {
			return nil
		}
		empty = false
		return errStop
	})
	if err == errStop {
		err = nil
	}
	return empty, err
}

// xattr returns an extended attribute, nil when there is none.
func (v view) xattr(ino remote.Ino, name string) ([]byte, error) {
	for _, l := range v.layers {
		if d := l.inodes[ino]; d != nil {
			if x, ok := d.xattrs[name]; ok {
				return x.value, nil
			}
		}
	}
	if v.base.fresh(ino) {
		return nil, nil
	}
	return v.base.get(kxattr(ino, name))
}

// xattrs returns the names of an inode's extended attributes, in byte order.
func (v view) xattrs(ino remote.Ino) ([]string, error) {
	changed := map[string]bool{}
	for i := len(v.layers) - 1; i >= 0; i-- {
		if d := v.layers[i].inodes[ino]; d != nil {
			for n, x := range d.xattrs {
				changed[n] = x.value != nil
			}
		}
	}
	var out []string
	err := v.base.scan(k(keyXattr, uint64(ino)), func(key, _ []byte) error {
		if _, ok := changed[string(key[9:])]; !ok {
			out = append(out, string(key[9:]))
		}
		return nil
	})
	for n, there := range changed {
		if there {
			out = append(out, n)
		}
	}
	sort.Strings(out)
	return out, err
}

// Piece is a run of a file's bytes and where they are: in the journal when Ext is nil, else in Ext (whose Off counts).
type Piece struct {
	Off, Len uint64
	Place    Place
	Ext      *remote.Extent
}

// content calls fn for [from, to) of a file, in order and without gaps.
func (v view) content(ino remote.Ino, from, to uint64, fn func(Piece) error) error {
	return v.below(0, ino, from, to, fn)
}

// below answers for layers i and deeper.
func (v view) below(i int, ino remote.Ino, from, to uint64, fn func(Piece) error) error {
	if from >= to {
		return nil
	}
	for ; i < len(v.layers); i++ {
		if d := v.layers[i].inodes[ino]; d != nil && d.body != nil {
			break
		}
	}
	if i == len(v.layers) {
		return v.base.content(ino, from, to, fn)
	}
	body := v.layers[i].inodes[ino].body
	var err error
	body.runs.Range(from, to, func(off, n uint64, p Place, ok bool) bool {
		switch {
		case !ok && off >= body.cut:
			err = fn(hole(off, n))
		case !ok && off+n > body.cut:
			if err = v.below(i+1, ino, off, body.cut, fn); err == nil {
				err = fn(hole(body.cut, off+n-body.cut))
			}
		case !ok:
			err = v.below(i+1, ino, off, off+n, fn)
		case p.Hole:
			err = fn(hole(off, n))
		case p.Shared != nil:
			e := *p.Shared
			e.Off, e.Len = off, n
			err = fn(Piece{Off: off, Len: n, Ext: &e})
		default:
			err = fn(Piece{Off: off, Len: n, Place: p})
		}
		return err == nil
	})
	return err
}

func hole(off, n uint64) Piece {
	return Piece{Off: off, Len: n, Ext: &remote.Extent{Off: off, Len: n, Hole: true}}
}

// content answers from the base alone.
func (b *base) content(ino remote.Ino, from, to uint64, fn func(Piece) error) error {
	for from < to {
		seg := from >> segmentBits
		end := min(to, (seg+1)<<segmentBits)
		if seg >= 1<<(64-segmentBits)-1 {
			end = to
		}
		m, err := b.body(ino, seg)
		if err != nil {
			return err
		}
		m.Range(from, end, func(e remote.Extent, gap bool) bool {
			err = fn(Piece{Off: e.Off, Len: e.Len, Ext: &e})
			return err == nil
		})
		if err != nil {
			return err
		}
		from = end
	}
	return nil
}
