package tree

import "megafs/remote"

// Unsent reports whether the remote may not have all of an inode yet: it was changed here, and is not gone.
func (t *Tree) Unsent(ino remote.Ino) bool {
	t.mu.RLock()
	defer t.mu.RUnlock()
	for _, l := range t.current().layers {
		if d := l.inodes[ino]; d != nil {
			return d.node == nil || d.node.Links > 0
		}
	}
	return false
}

// UnsentFiles yields the files whose content the remote does not have as it is.
func (t *Tree) UnsentFiles(yield func(Node)) error {
	t.mu.RLock()
	defer t.mu.RUnlock()
	v := t.current()
	seen := map[remote.Ino]bool{}
	for _, l := range v.layers {
		for ino := range l.inodes {
			if seen[ino] {
				continue
			}
			seen[ino] = true
			n, ok, err := v.node(ino)
			if err != nil {
				return err
			}
			if !ok || n.Type != remote.File || n.Links == 0 {
				continue
			}
			was, known, err := t.base.node(ino)
			if err != nil {
				return err
			}
			changed := !known || was.Size != n.Size
			for _, l := range v.layers {
				changed = changed || l.inodes[ino] != nil && l.inodes[ino].body != nil
			}
			if changed {
				yield(n)
			}
		}
	}
	return nil
}
