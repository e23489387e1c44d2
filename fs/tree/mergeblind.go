package tree

import (
	"maps"
	"slices"

	"megafs/remote"
)

// A blind merge has no state before the changes of either side: the base was begun anew from a snapshot that is later than what the journal's records were
// made over, and of the log between nothing is left. All that the base has and was touched here may be what another machine made of it since. So nothing
// of it goes, and what was changed here comes beside it; it is for people to say which of the two they want.

// lookAround makes known what local changes meet that nobody told of: the names in directories that were removed here, and what was changed here and
// is not there any more.
func (m *merger) lookAround() {
	for _, ino := range slices.Sorted(maps.Keys(m.live.inodes)) {
		d := m.live.inodes[ino]
		switch {
		case d.node != nil && d.node.Type == remote.Dir && d.node.Links == 0 && m.known(ino):
			list, err := m.theirs.list(ino)
			if err != nil {
				m.fail(err)
			}
			for _, e := range list {
				m.at(nameKey{ino, e.Name})
			}
		case d.node == nil && d.body != nil && len(d.body.runs.All()) > 0 && !m.known(ino):
			runs := d.body.runs.All()
			last := runs[len(runs)-1]
			m.stray(ino, remote.File, last.Off+last.Len)
		case m.nameless(ino, d) && d.body != nil && len(d.body.runs.All()) > 0 && !m.known(ino):
			m.stray(ino, remote.File, d.node.Size)
		}
	}
}

// nameless reports whether all names of a file are unknown: it was not removed here. After a start the journal says nothing of names that a file had before; what was made without a name counts as
// that, too, since nobody can tell.
func (m *merger) nameless(ino remote.Ino, d *delta) bool {
	return d.node != nil && d.node.Type == remote.File && d.node.Links == 0 && (d.astray || d.node.Parent == 0 && !m.open(ino))
}

// stray gives an inode a name in the root for which no other place is left: each that it had is gone or taken. If nothing is known of it but what was changed
// in it here, who the root belongs to gets it.
func (m *merger) stray(ino remote.Ino, typ remote.Type, size uint64) {
	root, _ := m.node(m.theirs, remote.Root)
	n := Node{Ino: ino, Attr: root.Attr}
	n.Type, n.Size, n.Mode = typ, size, 0o600
	name := "lost file"
	if typ == remote.Dir {
		n.Mode, name = 0o700, "lost directory"
	}
	m.strays[ino], m.revived[ino] = n, true
	m.set(m.free(nameKey{remote.Root, name}), ino)
}
