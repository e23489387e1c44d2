package remotetest

import (
	"fmt"
	"maps"

	"megafs/remote"
)

// view is a Sink that keeps a tree as it is told.
type view struct {
	names   map[place]remote.Ino
	attrs   map[remote.Ino]remote.Attr
	xattrs  map[remote.Ino]map[string]string
	extents map[remote.Ino][]remote.Extent

	pos     remote.Position
	device  remote.DeviceID // whose the last batch is
	resets  int
	batches int
	fail    int // the call that fails, counted down
}

type place struct {
	dir  remote.Ino
	name string
}

func (v *view) failing() bool {
	v.fail--
	return v.fail == 0
}

// Reset implements remote.Sink.
func (v *view) Reset() error {
	if v.failing() {
		return errTest
	}
	v.names, v.attrs = map[place]remote.Ino{}, map[remote.Ino]remote.Attr{}
	v.xattrs, v.extents = map[remote.Ino]map[string]string{}, map[remote.Ino][]remote.Extent{}
	v.pos = remote.Position{}
	v.resets++
	return nil
}

// Apply implements remote.Sink.
func (v *view) Apply(b remote.Batch) error {
	if v.failing() {
		return errTest
	}
	for i := range b.Ops {
		op := &b.Ops[i]
		switch op.Kind {
		case remote.OpNode:
			v.attrs[op.Ino] = op.Attr
		case remote.OpLink:
			v.names[place{op.Parent, op.Name}] = op.Ino
		case remote.OpUnlink:
			if p := (place{op.Parent, op.Name}); v.names[p] == op.Ino {
				delete(v.names, p)
			}
		case remote.OpExtent:
			v.extents[op.Ino] = append(v.extents[op.Ino], op.Extent)
		case remote.OpXattr:
			x := maps.Clone(v.xattrs[op.Ino])
			if x == nil {
				x = map[string]string{}
			}
			x[op.Name] = string(op.Value)
			v.xattrs[op.Ino] = x
		case remote.OpNoXattr:
			delete(v.xattrs[op.Ino], op.Name)
		}
	}
	v.pos, v.device = b.Pos, b.Device
	v.batches++
	return nil
}

// named returns the path of each inode that has one.
func (v *view) named() map[remote.Ino]string {
	out := map[remote.Ino]string{remote.Root: ""}
	for more := true; more; {
		more = false
		for p, ino := range v.names {
			dir, there := out[p.dir]
			if _, known := out[ino]; there && !known {
				out[ino] = dir + "/" + p.name
				more = true
			}
		}
	}
	return out
}

// paths tells the tree: by path what is there, but for inode numbers, which may be others on each machine.
func (v *view) paths() map[string]string {
	out := map[string]string{}
	for ino, p := range v.named() {
		a := v.attrs[ino]
		if ino == remote.Root {
			a = remote.Attr{Type: a.Type} // some stores keep no more of it
		}
		out[p] = fmt.Sprintf("%d %o %d %d %v", a.Type, a.Mode, a.Size, a.Mtime, v.xattrs[ino])
	}
	return out
}
