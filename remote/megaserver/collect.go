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
