package volume

import (
	"sync"
	"sync/atomic"

	"megafs/fs/tree"
	"megafs/remote"
)

// aliases lets those who have a file open go on with its conflict copy: the kernel's number of the file means the copy from then on, for as long as
// the volume is open, and the file gets another number for the kernel. Elsewhere in this package inode numbers are the tree's.
type aliases struct {
	any     atomic.Bool
	mu      sync.RWMutex
	in, out map[remote.Ino]remote.Ino // the tree's number by the kernel's, and back; what is not in it is the same
}

// inner returns the tree's number of an inode the kernel speaks of. It changes only under Volume.mu.
func (v *Volume) inner(ino remote.Ino) remote.Ino { return v.alias.find(&v.alias.in, ino) }

// outer returns the kernel's number of an inode of the tree.
func (v *Volume) outer(ino remote.Ino) remote.Ino { return v.alias.find(&v.alias.out, ino) }

func (a *aliases) find(in *map[remote.Ino]remote.Ino, ino remote.Ino) remote.Ino {
	if !a.any.Load() {
		return ino
	}
	a.mu.RLock()
	defer a.mu.RUnlock()
	if x, ok := (*in)[ino]; ok {
		return x
	}
	return ino
}

// follow does so for a copy that a merge made. The caller holds mu.
func (v *Volume) follow(c tree.Copied) error {
	a := &v.alias
	number, err := v.newIno() // no inode will have it
	if err != nil {
		return err
	}
	a.mu.Lock()
	if !v.tree.MovePins(c.Ino, c.Copy) {
		a.mu.Unlock()
		return nil // nobody refers to it
	}
	if a.in == nil {
		a.in, a.out = map[remote.Ino]remote.Ino{}, map[remote.Ino]remote.Ino{}
	}
	old := c.Ino
	if x, ok := a.out[old]; ok {
		old = x
	}
	a.in[old], a.out[c.Copy] = c.Copy, old
	a.in[number], a.out[c.Ino] = c.Ino, number
	a.any.Store(true)
	a.mu.Unlock()
	// The name leads to another number now, and so may names that are not known here.
	if c.Name != "" {
		v.renamed = append(v.renamed, Change{Ino: old, Parent: c.Parent, Name: c.Name})
	}
	if c.Links != 1 {
		v.renamed = append(v.renamed, Change{})
	}
	return nil
}
