package tree

import "megafs/remote"

// Changed is what a batch of somebody else's changed for those who look at the tree.
type Changed struct {
	Ino     remote.Ino
	Content bool
	Parent  remote.Ino // not 0: the name in this directory
	Name    string
}

// maxChanges bounds what is collected; beyond it one entry with inode 0 says that anything may have changed.
const maxChanges = 4096

// Note collects what Ops change that nobody asked for here, although they came of a commit of this machine's.
func (t *Tree) Note(ops []remote.Op) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.note(ops)
}

// note collects what Ops change that nobody asked for here. Called with mu held.
func (t *Tree) note(ops []remote.Op) {
	for _, op := range ops {
		if len(t.changes) >= maxChanges {
			t.changes = append(t.changes[:0], Changed{})
			return
		}
		if len(t.changes) == 1 && t.changes[0] == (Changed{}) {
			return
		}
		switch op.Kind {
		case remote.OpNode:
			t.changes = append(t.changes, Changed{Ino: op.Ino, Content: op.Attr.Type == remote.File})
		case remote.OpCut, remote.OpExtent:
			t.changes = append(t.changes, Changed{Ino: op.Ino, Content: true})
		case remote.OpXattr, remote.OpNoXattr:
			t.changes = append(t.changes, Changed{Ino: op.Ino})
		case remote.OpLink, remote.OpUnlink:
			t.changes = append(t.changes, Changed{Ino: op.Ino, Parent: op.Parent, Name: op.Name})
		}
	}
}

// Changes returns what others' batches changed since the last call.
func (t *Tree) Changes() []Changed {
	t.mu.Lock()
	defer t.mu.Unlock()
	c := t.changes
	t.changes = nil
	return c
}

// Changed reports whether an inode has changes that the remote does not have.
func (t *Tree) Changed(ino remote.Ino) bool {
	t.mu.RLock()
	defer t.mu.RUnlock()
	for _, l := range t.current().layers {
		if l.inodes[ino] != nil {
			return true
		}
	}
	return false
}

// Dirty returns how many inodes have changes that the remote does not have.
func (t *Tree) Dirty() int {
	t.mu.RLock()
	defer t.mu.RUnlock()
	n := len(t.live.inodes)
	if t.frozen != nil {
		n += len(t.frozen.inodes)
	}
	return n
}
