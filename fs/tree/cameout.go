package tree

import "megafs/remote"

// Where an inode has one name, names of this machine's own batch may come out otherwise than they were sent: something else has a name there that is wanted by two, and what is
// shown under it changes with who comes and goes. Or the batch is only a part of what was sent, and gives an inode a name on its way to another. What was done here since
// was done to inodes under the names that they had here.

// CameOut looks what becomes of changes that were made since the generation was frozen, when the remote took it in another form; nil when they just stay. It changes nothing. See Landed.
func (t *Tree) CameOut(b remote.Batch, label string) (*Merge, error) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	if t.live.empty() {
		return nil, nil
	}
	s, err := t.preview(b)
	if err != nil {
		return nil, err
	}
	ops, err := t.cameOut(s, b, label)
	if err != nil || len(ops) == 0 {
		return nil, err
	}
	return &Merge{Pos: b.Pos, Ops: ops}, nil
}

// Landed ends the generation, which the remote took as b; the journal has what CameOut made of it as record seq.
func (t *Tree) Landed(b remote.Batch, m *Merge, seq uint64, now int64) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	s, err := t.preview(b)
	if err != nil {
		return err
	}
	recount := map[remote.Ino]bool{}
	for ino := range s.top.inodes {
		if t.live.inodes[ino] != nil {
			recount[ino] = true
		}
	}
	for parent, names := range s.top.names {
		for n, d := range names {
			if mine, ok := t.live.names[parent][n]; ok {
				recount[parent], recount[d.ino], recount[mine.ino] = true, true, true
			}
		}
	}
	if err := t.absorb(b); err != nil {
		return err
	}
	t.frozen = nil
	return t.rebase(m, recount, seq, now)
}

// cameOut states the names that local changes have to have over a batch of this machine's own, which s is a preview of.
func (t *Tree) cameOut(s *state, b remote.Batch, label string) ([]remote.Op, error) {
	m := t.merger(s, b.Pos, MergeOptions{Label: label, OneName: true})
	for _, k := range m.contested() {
		x := m.at(k)
		if x.now == x.theirs || x.theirs == x.was || x.theirs == 0 || m.elsewhere(x.theirs) {
			continue
		}
		// What the batch put there has no other name. What is there here had the name before, and may have come out under another.
		mine := x.now
		m.set(k, x.theirs)
		if mine != 0 && m.links(mine) <= 0 {
			m.set(m.free(k), mine)
		}
	}
	for i := range b.Ops {
		op := &b.Ops[i]
		if k := (nameKey{op.Parent, op.Name}); op.Kind == remote.OpLink && !m.at(k).local && m.at(k).now == op.Ino && m.elsewhere(op.Ino) {
			m.set(k, 0) // on its way to where it is here, or to nowhere
		}
	}
	m.tell()
	return m.out.Ops, m.err
}

// elsewhere reports whether an inode has another name here than the batch gives it, or was removed here.
func (m *merger) elsewhere(ino remote.Ino) bool {
	d := m.live.inodes[ino]
	return len(m.added[ino]) > 0 || d != nil && d.node != nil && d.node.Links == 0
}
