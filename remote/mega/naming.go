package mega

import (
	"cmp"
	"slices"
)

// naming gives nodes the names they are shown by.
type naming struct {
	c     *change
	to    map[[2]string]string // names that changed hands: the node, or "" for nobody
	freed [][2]string
	moved []*node // that gave a name to an older one, or got one that became free
}

// holder returns the node that has a name.
func (s *naming) holder(parent, name string) (string, error) {
	if h, ok := s.to[[2]string{parent, name}]; ok {
		return h, nil
	}
	return s.c.r.x.child(parent, name)
}

func (s *naming) free(old *node) {
	s.to[[2]string{old.parent, old.shown}] = ""
	s.freed = append(s.freed, [2]string{old.parent, old.shown})
}

// older is the order in which nodes have a right to a name. It is the same on all machines.
func older(a, b *node) int {
	return cmp.Or(cmp.Compare(a.born, b.born), cmp.Compare(a.handle, b.handle))
}

// give gives a node the name it wants. Of several that want it the oldest has it, and the others have one like it.
func (s *naming) give(n *node) error {
	for try := 0; ; try++ {
		name := n.want
		if try > 0 {
			name = twin(n.want, n.born, try)
		}
		h, err := s.holder(n.parent, name)
		if err != nil {
			return err
		}
		take := func() {
			n.shown = name
			s.to[[2]string{n.parent, name}] = n.handle
		}
		if h == "" || h == n.handle {
			take()
			return nil
		}
		other, err := s.c.node(h)
		if err != nil {
			return err
		}
		if try > 0 || other == nil || other.want != name || older(n, other) > 0 {
			continue
		}
		take()
		if s.c.nodes[h] == nil {
			o := *other
			other = &o
			s.c.nodes[h] = other
		}
		s.moved = append(s.moved, other)
		return s.give(other)
	}
}

// promote gives names that became free to nodes that wanted them.
func (s *naming) promote() error {
	for len(s.freed) > 0 {
		f := s.freed[0]
		s.freed = s.freed[1:]
		var heirs []*node
		err := s.c.r.x.scan(kstr(keyTwin, f[0], f[1], "\x00"), func(key, _ []byte) error {
			n, err := s.c.node(string(key))
			if err == nil && n != nil && n.parent == f[0] && n.want == f[1] && n.shown != n.want {
				heirs = append(heirs, n)
			}
			return err
		})
		if err != nil {
			return err
		}
		if len(heirs) == 0 {
			continue
		}
		slices.SortFunc(heirs, older)
		if h, err := s.holder(f[0], f[1]); err != nil {
			return err
		} else if h != "" {
			if now, err := s.c.node(h); err != nil {
				return err
			} else if now != nil && now.want == f[1] && older(now, heirs[0]) < 0 {
				continue
			}
		}
		n := *heirs[0]
		s.free(&n)
		s.c.nodes[n.handle] = &n
		s.moved = append(s.moved, &n)
		if err := s.give(&n); err != nil {
			return err
		}
	}
	return nil
}
