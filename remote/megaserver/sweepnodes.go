package megaserver

import (
	"context"
)

// sweepNodes takes deleted nodes apart: what has nothing below it is removed, a folder's folders become deleted nodes themselves. It goes on behind
// what it removed, since what was removed from a database is slow to step over.
func (s *Server) sweepNodes(ctx context.Context) error {
	for any := true; any; {
		any = false
		for at := noParent; ctx.Err() == nil; {
			var top *node
			next := at
			err := s.update(func(t *tx) error {
				top, next = nil, at
				err := t.dropBelow(doomed, at, func(n *node) error {
					if next = n.h; n.bare() {
						return nil
					}
					top = n
					return errStop
				})
				return err
			})
			if err != nil {
				return err
			}
			if next == at {
				break
			}
			any, at = true, next
			if top != nil {
				if err := s.takeApart(ctx, top); err != nil {
					return err
				}
			}
		}
	}
	return ctx.Err()
}

// bare says that nothing lies below a node.
func (n *node) bare() bool { return n.kind == fileNode && !n.versions }

// dropBelow removes nodes that lie in h, behind the handle at, as many as one transaction should. which sees each and may end it, with errStop; only bare nodes are removed.
func (t *tx) dropBelow(h, at handle, which func(*node) error) error {
	var found []*node
	err := t.scan(nodeKey(h, ""), append(nodeKey(h, at), 0), true, func(rest, v []byte) error {
		n, err := decodeNode(h, string(rest), v)
		if err != nil {
			return err
		}
		if err := which(n); err != nil {
			return err
		}
		if n.bare() {
			found = append(found, n)
		}
		if len(found) >= sweepStep {
			return errStop
		}
		return nil
	})
	if err != nil && err != errStop {
		return err
	}
	for _, n := range found {
		n.parent = h
		if err := t.takeNode(n); err != nil {
			return err
		}
		if err := t.dropNode(n); err != nil {
			return err
		}
	}
	return nil
}

// takeApart removes a deleted node. What lies in it is removed first, or becomes a deleted node itself.
func (s *Server) takeApart(ctx context.Context, top *node) error {
	for at := noParent; ctx.Err() == nil; {
		next := at
		err := s.update(func(t *tx) error {
			next = at
			var deep []*node
			err := t.dropBelow(top.h, at, func(n *node) error {
				next = n.h
				if n.bare() {
					return nil
				}
				if deep = append(deep, n); len(deep) >= sweepStep {
					return errStop
				}
				return nil
			})
			if err != nil {
				return err
			}
			for _, n := range deep {
				n.parent = top.h
				if err := t.takeNode(n); err != nil {
					return err
				}
				n.parent = doomed
				if err := t.putNode(n); err != nil {
					return err
				}
			}
			if next != at {
				return nil
			}
			top.parent = doomed
			if err := t.takeNode(top); err != nil {
				return err
			}
			return t.dropNode(top)
		})
		if err != nil || next == at {
			return err
		}
		at = next
	}
	return ctx.Err()
}

// dropNode removes what a node had: its bytes, its link, its shares. The node itself is taken already.
func (t *tx) dropNode(n *node) error {
	if err := t.unlink(n); err != nil {
		return err
	}
	if n.kind == fileNode {
		if err := t.refContent(n.content, -1); err != nil {
			return err
		}
	}
	if err := t.refThumbs(n.thumbs, -1); err != nil {
		return err
	}
	if n.kind == fileNode {
		return nil
	}
	var o outShare
	ok, err := t.load(outShareKey(n.owner, n.h), &o)
	if err != nil || !ok {
		return err
	}
	for _, m := range o.With {
		if m.User != export {
			if err := t.remove(inShareKey(m.User, n.h)); err != nil {
				return err
			}
		}
	}
	k, err := t.counters(n.owner)
	if err != nil {
		return err
	}
	k.Shares--
	if err := t.putCounters(n.owner, k); err != nil {
		return err
	}
	return t.remove(outShareKey(n.owner, n.h))
}
