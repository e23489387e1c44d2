package megaserver

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"strings"
	"time"

	"megafs/remote/blob"
)

const (
	uploadLife = 24 * time.Hour     // of one that gets no node
	signUpLife = 7 * 24 * time.Hour // of one that is not confirmed
	sweepStep  = 500                // records that one transaction of the collector takes
)

// resume notes, when the server starts, that uploads that were under way may have left bytes behind that no part names.
func (s *Server) resume() error {
	ids, err := s.uploads(func(u *upload) bool { return !u.Extra })
	if err != nil {
		return err
	}
	for _, id := range ids {
		err := s.update(func(t *tx) error {
			var u upload
			ok, err := t.load(uploadKey(id), &u)
			if err != nil || !ok {
				return err
			}
			u.Extra = true
			return t.store(uploadKey(id), u)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func (s *Server) uploads(which func(*upload) bool) (ids []contentID, err error) {
	err = s.view(func(t *tx) error {
		return t.scan([]byte("u"), nil, true, func(rest, v []byte) error {
			var u upload
			if err := json.Unmarshal(v, &u); err != nil {
				return err
			}
			if which(&u) {
				ids = append(ids, contentID(rest))
			}
			return nil
		})
	})
	return ids, err
}

// collect sweeps once a minute.
func (s *Server) collect() {
	defer s.done.Done()
	tick := time.NewTicker(time.Minute)
	defer tick.Stop()
	for {
		select {
		case <-s.ctx.Done():
			return
		case <-tick.C:
		}
		if err := s.Sweep(s.ctx); err != nil && s.ctx.Err() == nil {
			s.log.Error("garbage could not be collected; it is tried again", "err", err)
		}
	}
}

// Sweep removes what nobody can reach any more: deleted nodes, bytes that no node has, uploads and sign-ups that were
// abandoned, events that are too old.
func (s *Server) Sweep(ctx context.Context) error {
	var errs []error
	for _, step := range []func(context.Context) error{s.sweepNodes, s.sweepUploads, s.sweepBytes, s.sweepThumbs, s.sweepSignUps, s.sweepEvents} {
		if err := step(ctx); err != nil {
			errs = append(errs, err)
		}
	}
	s.db.RunValueLogGC(0.5) // an error says only that there was nothing to do
	return errors.Join(errs...)
}

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

// sweepUploads ends uploads that were abandoned.
func (s *Server) sweepUploads(ctx context.Context) error {
	now := s.now()
	s.open.mu.Lock()
	for id, o := range s.open.m { // what is known of quiet ones is read anew when they go on
		if o.inUse == 0 && time.Since(o.used) > 10*time.Minute {
			delete(s.open.m, id)
		}
	}
	s.open.mu.Unlock()
	old := func(u *upload) bool { return now.Sub(time.Unix(u.Made, 0)) > uploadLife }
	ids, err := s.uploads(old)
	for _, id := range ids {
		if err != nil || ctx.Err() != nil {
			break
		}
		s.open.mu.Lock()
		o := s.open.m[id]
		busy := o != nil && o.inUse > 0
		if !busy {
			delete(s.open.m, id)
		}
		s.open.mu.Unlock()
		if busy {
			continue
		}
		err = s.update(func(t *tx) error {
			var u upload
			ok, err := t.load(uploadKey(id), &u)
			if err != nil || !ok {
				return err
			}
			u.Extra = true
			if err := t.endUpload(id, &u); err != nil {
				return err
			}
			return t.pending(u.User, -u.Stored, -1)
		})
	}
	return err
}

// sweepBytes removes blobs that no part of a content names, and, of contents that are no more, all.
func (s *Server) sweepBytes(ctx context.Context) error {
	var ids []contentID
	err := s.view(func(t *tx) error {
		return t.scan([]byte("g"), nil, false, func(rest, _ []byte) error {
			ids = append(ids, contentID(rest))
			return nil
		})
	})
	if err != nil {
		return err
	}
	for _, id := range ids {
		if err := s.sweepContent(ctx, id); err != nil {
			return err
		}
	}
	return nil
}

func (s *Server) sweepContent(ctx context.Context, id contentID) error {
	s.open.mu.Lock()
	o := s.open.m[id]
	busy := o != nil && o.inUse > 0
	s.open.mu.Unlock()
	if busy {
		return nil // a request may be storing a piece; later
	}
	named := map[string]bool{}
	kept := false
	err := s.view(func(t *tx) error {
		var c content
		ok, err := t.load(contentKey(id), &c)
		if err != nil || !ok {
			return err
		}
		kept = true
		return t.scan(partKey(id, 0)[:1+len(id)], nil, true, func(rest, v []byte) error {
			p, err := decodePart(binary.BigEndian.Uint64(rest), v)
			named[p.blob] = true
			return err
		})
	})
	if err != nil {
		return err
	}
	prefix := blobPrefix(id)
	var gone []string
	err = s.blobs.List(ctx, prefix, "", func(i blob.Info) error {
		if !named[strings.TrimPrefix(i.Name, prefix)] {
			gone = append(gone, i.Name)
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, n := range gone {
		if err := s.blobs.Delete(ctx, n); err != nil {
			return err
		}
	}
	for {
		more := false
		err := s.update(func(t *tx) error {
			var keys [][]byte
			if !kept {
				err := t.scan(partKey(id, 0)[:1+len(id)], nil, false, func(rest, _ []byte) error {
					if keys = append(keys, partKey(id, binary.BigEndian.Uint64(rest))); len(keys) >= 10*sweepStep {
						return errStop
					}
					return nil
				})
				if err != nil && err != errStop {
					return err
				}
			}
			for _, k := range keys {
				if err := t.remove(k); err != nil {
					return err
				}
			}
			if more = len(keys) >= 10*sweepStep; more {
				return nil
			}
			return t.remove(garbageKey(id))
		})
		if err != nil || !more {
			return err
		}
	}
}

// sweepThumbs removes file attributes that no node has.
func (s *Server) sweepThumbs(ctx context.Context) error {
	var old []string
	now := s.now()
	err := s.view(func(t *tx) error {
		return t.scan([]byte("F"), nil, true, func(rest, v []byte) error {
			var f thumbnail
			if err := json.Unmarshal(v, &f); err != nil {
				return err
			}
			if f.Refs <= 0 && now.Sub(time.Unix(f.Made, 0)) > uploadLife {
				old = append(old, string(rest))
			}
			return nil
		})
	})
	for _, h := range old {
		if err != nil {
			return err
		}
		if err := s.blobs.Delete(ctx, thumbBlob(h)); err != nil {
			return err
		}
		err = s.update(func(t *tx) error {
			var f thumbnail
			ok, err := t.load(thumbnailKey(h), &f)
			if err != nil || !ok || f.Refs > 0 {
				return err
			}
			return t.remove(thumbnailKey(h))
		})
	}
	return err
}

func (s *Server) sweepSignUps(context.Context) error {
	return s.update(func(t *tx) error {
		var old [][]byte
		err := t.scan([]byte("x"), nil, true, func(rest, v []byte) error {
			var p signUp
			if err := json.Unmarshal(v, &p); err != nil {
				return err
			}
			if t.now.Sub(time.Unix(p.Made, 0)) > signUpLife && len(old) < 10*sweepStep {
				old = append(old, signUpKey(append([]byte{}, rest...)))
			}
			return nil
		})
		if err != nil {
			return err
		}
		for _, k := range old {
			if err := t.remove(k); err != nil {
				return err
			}
		}
		return nil
	})
}

func (s *Server) sweepEvents(ctx context.Context) error {
	var users []userID
	err := s.view(func(t *tx) error {
		return t.scan([]byte("q"), nil, true, func(rest, v []byte) error {
			var k counters
			if err := json.Unmarshal(v, &k); err != nil {
				return err
			}
			if k.Seq-k.Low > maxHistory {
				users = append(users, string(rest))
			}
			return nil
		})
	})
	for _, u := range users {
		if err == nil && ctx.Err() == nil {
			err = s.trimEvents(u)
		}
	}
	return err
}
