package mega

import "errors"

// ours notes the nodes that were made here and not noted, as a change of this machine's own: in one with what others did, that would be taken for what was sent from here, and lie
// below what was changed here without having been merged with it.
func (s *staging) ours() error {
	type found struct {
		n       *node
		wrapped string
	}
	rest := map[string]found{}
	meant := false
	for _, kind := range []byte{keyIntent, keyLate} {
		err := s.r.x.scan([]byte{kind}, func(_, _ []byte) error { meant = true; return errStop })
		if err != nil && err != errStop {
			return err
		}
	}
	if !meant {
		return nil
	}
	err := s.r.x.scan([]byte{keyRaw}, func(key, v []byte) error {
		n, wrapped, err := decodeRaw(string(key), v)
		if err != nil {
			return err
		}
		if _, key, _, err := s.r.intent(n, wrapped); err != nil || key == nil {
			return err
		}
		rest[n.handle] = found{n, wrapped}
		return nil
	})
	if err != nil {
		return err
	}
	c := s.r.begin()
	for more := true; more; { // folders come before what is in them
		more = false
		for _, h := range sorted(rest) {
			x := rest[h]
			p, err := c.node(x.n.parent)
			if err != nil {
				return err
			} else if p == nil || !p.folder || p.shared {
				continue
			}
			delete(rest, h)
			more = true
			x.n.place(s.r, false)
			if stray, err := c.bind(x.n, x.wrapped); err != nil {
				return err
			} else if !stray {
				c.set(x.n)
			}
		}
	}
	c.own = true
	return s.r.commitChange(c)
}

var errStop = errors.New("enough was seen")
