package tree

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"

	"megafs/remote"
)

// name merges a name that both sides stated.
func (m *merger) name(k nameKey) {
	s := m.at(k)
	switch {
	case s.now == s.theirs, s.theirs == s.was:
	case s.mine == s.was, s.now == 0:
		m.set(k, s.theirs)
	case s.theirs == 0:
	default:
		m.put(k, s.theirs)
	}
}

// put makes a name lead to ino, and finds a place for what was there.
func (m *merger) put(k nameKey, ino remote.Ino) {
	x := m.at(k).now
	m.set(k, ino)
	if x != 0 && x != ino {
		m.place(x, k, ino)
	}
}

// place finds a place for what had to leave a name to there. A directory made here goes into a directory that is there.
func (m *merger) place(x remote.Ino, k nameKey, there remote.Ino) {
	_, before := m.node(m.was, x)
	if !before && !m.known(x) && m.isDir(x) && m.isDir(there) {
		m.join(x, there)
		return
	}
	m.set(m.free(k), x)
}

// join moves all that a directory holds into another.
func (m *merger) join(from, to remote.Ino) {
	for _, n := range slices.Sorted(maps.Keys(m.kids[from])) {
		k := nameKey{from, n}
		c := m.at(k).now
		if c == 0 {
			continue
		}
		m.set(k, 0)
		into := nameKey{to, n}
		if there := m.at(into).now; there == 0 {
			m.set(into, c)
		} else if there != c {
			m.place(c, into, there)
		}
	}
}

// free returns a free name beside another, which says that it is a conflict.
func (m *merger) free(k nameKey) nameKey {
	for i := 1; ; i++ {
		c := nameKey{k.parent, conflictName(k.name, m.o.Label, i)}
		if m.at(c).now == 0 {
			return c
		}
	}
}

// conflictName puts a label before a name's extension: "letter (conflict host 2026-01-02).txt". Long names are cut to fit, between characters.
func conflictName(name, label string, i int) string {
	stem, ext := name, ""
	if dot := strings.LastIndexByte(name, '.'); dot > 0 && len(name)-dot <= 32 {
		stem, ext = name[:dot], name[dot:]
	}
	if i > 1 {
		label = fmt.Sprintf("%s %d", label, i)
	}
	label = " (" + label + ")"
	if most := remote.MaxName - len(label) - len(ext); len(stem) > most {
		for most > 0 && !utf8.RuneStart(stem[most]) {
			most--
		}
		stem = stem[:most]
	}
	return stem + label + ext
}

// renames undoes a local rename of what the batch renamed, too.
func (m *merger) renames() {
	type moves struct{ both, ours, theirs int }
	count := map[remote.Ino]*moves{}
	of := func(ino remote.Ino) *moves {
		if count[ino] == nil {
			count[ino] = &moves{}
		}
		return count[ino]
	}
	for _, s := range m.spots {
		if s.was != 0 && s.was != s.theirs && s.local && s.was != s.mine {
			of(s.was).both++
		}
		if s.theirs != 0 && s.theirs != s.was {
			of(s.theirs).theirs++
		}
		if s.local && s.mine != 0 && s.mine != s.was {
			of(s.mine).ours++
		}
	}
	for _, ino := range slices.Sorted(maps.Keys(count)) {
		c := count[ino]
		for n := min(c.both, c.ours, c.theirs); n > 0; n-- {
			added := sortedNames(m.added[ino])
			if len(added) == 0 || m.links(ino) <= 1 {
				break
			}
			m.undo(added[0])
		}
	}
}

// undo makes a name lead where the batch says, unless that inode was moved on here.
func (m *merger) undo(k nameKey) {
	back := m.at(k).theirs
	if back != 0 && len(m.added[back]) > 0 {
		back = 0
	}
	m.set(k, back)
}

// structure mends one thing that keeps the names from being a tree, or changes that would be lost. It returns false when there is none.
func (m *merger) structure() bool {
	for _, ino := range slices.Sorted(maps.Keys(m.added)) {
		if len(m.added[ino]) > 0 && m.inode(ino) {
			return true
		}
	}
	for _, ino := range slices.Sorted(maps.Keys(m.live.inodes)) {
		if m.keepEdited(ino) {
			return true
		}
	}
	for _, ino := range slices.Sorted(maps.Keys(m.lost)) {
		if len(m.lost[ino]) > 0 && m.keepTheirs(ino) {
			return true
		}
	}
	for _, parent := range slices.Sorted(maps.Keys(m.kids)) {
		if m.links(parent) <= 0 && parent != remote.Root && m.occupied(parent) && m.keepDir(parent) {
			return true
		}
	}
	return m.circle()
}

// inode looks at one that was given names: it must exist, and a directory has one name only.
func (m *merger) inode(ino remote.Ino) bool {
	if !m.known(ino) && !m.revived[ino] {
		if _, before := m.node(m.was, ino); before {
			m.revived[ino] = true // it was renamed here and removed there
			return true
		}
		if d := m.live.inodes[ino]; (d == nil || d.node == nil) && !m.isRenumbered(ino) {
			for k := range m.added[ino] {
				m.set(k, 0)
			}
			return true
		}
	}
	if (m.isDir(ino) || m.o.OneName) && m.links(ino) > 1 {
		m.undo(sortedNames(m.added[ino])[0])
		return true
	}
	return false
}

func (m *merger) isRenumbered(ino remote.Ino) bool {
	for _, c := range m.renumbered {
		if c == ino {
			return true
		}
	}
	return false
}

// keepEdited keeps a file that was removed there, and whose content was changed here.
func (m *merger) keepEdited(ino remote.Ino) bool {
	d := m.live.inodes[ino]
	was, before := m.node(m.was, ino)
	if !before || m.known(ino) || m.links(ino) > 0 || d.node != nil && d.node.Links == 0 || !changed(d, was) {
		return false
	}
	var old []nameKey
	for k, s := range m.spots {
		if s.was == ino && (!s.local || s.mine == ino) {
			old = append(old, k)
		}
	}
	if len(old) == 0 {
		m.stray(ino, remote.File, 0)
		return true
	}
	slices.SortFunc(old, compareKeys)
	m.revived[ino] = true
	for _, k := range old {
		if m.at(k).now == 0 {
			m.set(k, ino)
		}
	}
	if m.links(ino) == 0 {
		m.set(m.free(old[0]), ino)
	}
	return true
}

// changed reports whether the content of a file was changed here.
func changed(d *delta, was Node) bool {
	return was.Type == remote.File && (d.body != nil || d.node != nil && d.node.Size != was.Size)
}

// theyChanged reports whether the batch changes the content of a file.
func (m *merger) theyChanged(ino remote.Ino) bool {
	d := m.batch.inodes[ino]
	if d == nil {
		return false
	}
	was, _ := m.node(m.was, ino)
	return changed(d, was)
}

// keepTheirs keeps what was removed here, and there got new content or a new name in it; and what neither side removed, but
// each took another name of.
func (m *merger) keepTheirs(ino remote.Ino) bool {
	if !m.known(ino) || m.links(ino) > 0 {
		return false
	}
	if _, here := m.node(m.mine, ino); !here && !m.theyChanged(ino) && !m.occupied(ino) && (!m.o.Blind || m.isDir(ino)) {
		return false
	}
	lost := sortedNames(m.lost[ino])
	for _, k := range lost {
		if m.at(k).now == 0 {
			m.set(k, ino)
			if m.isDir(ino) {
				return true
			}
		}
	}
	if m.links(ino) == 0 {
		m.put(lost[0], ino)
	}
	return true
}

// occupied reports whether a directory has names that either side gave it.
func (m *merger) occupied(dir remote.Ino) bool {
	for n := range m.kids[dir] {
		if m.spots[nameKey{dir, n}].now != 0 {
			return true
		}
	}
	return false
}

// keepDir keeps a directory that was removed there, and has something in it here.
func (m *merger) keepDir(dir remote.Ino) bool {
	var old []nameKey
	for k, s := range m.spots {
		if s.was == dir {
			old = append(old, k)
		}
	}
	if len(old) == 0 {
		m.stray(dir, remote.Dir, 0)
		return true
	}
	k := slices.MinFunc(old, compareKeys)
	switch there := m.at(k).now; {
	case there == 0:
		m.set(k, dir)
	case m.isDir(there):
		m.join(dir, there)
		return true
	default:
		m.set(m.free(k), dir)
	}
	m.revived[dir] = true
	return true
}

// circle looks for directories within each other, and undoes the local move of one.
func (m *merger) circle() bool {
	from := map[remote.Ino]bool{}
	for ino, names := range m.added {
		if len(names) > 0 && m.isDir(ino) {
			from[ino] = true
		}
	}
	for ino, d := range m.batch.inodes {
		if d.node != nil && d.node.Type == remote.Dir {
			from[ino] = true
		}
	}
	safe := map[remote.Ino]bool{remote.Root: true}
	for _, ino := range slices.Sorted(maps.Keys(from)) {
		var path []remote.Ino
		seen := map[remote.Ino]bool{}
		for at := ino; at != 0 && !safe[at]; at = m.parent(at) {
			if seen[at] {
				return m.breakUp(path[slices.Index(path, at):])
			}
			seen[at] = true
			path = append(path, at)
		}
		for _, at := range path {
			safe[at] = true
		}
	}
	return false
}

// parent returns the directory that another is in, or 0 when it is nowhere.
func (m *merger) parent(dir remote.Ino) remote.Ino {
	if added := sortedNames(m.added[dir]); len(added) > 0 {
		return added[0].parent
	}
	n, ok := m.node(m.theirs, dir)
	if !ok || len(m.lost[dir]) > 0 {
		return 0
	}
	return n.Parent
}

func (m *merger) breakUp(circle []remote.Ino) bool {
	slices.Sort(circle)
	for _, dir := range circle {
		if len(m.added[dir]) == 0 || !m.known(dir) {
			continue
		}
		lost := sortedNames(m.lost[dir])
		for _, k := range sortedNames(m.added[dir]) {
			m.undo(k)
		}
		for _, k := range lost {
			m.put(k, dir)
		}
		return true
	}
	for _, k := range sortedNames(m.added[circle[0]]) {
		m.set(k, 0)
	}
	m.stray(circle[0], remote.Dir, 0)
	return true
}
