package mega

import (
	"cmp"
	"errors"
	"maps"

	"github.com/dgraph-io/badger/v4"

	"megafs/crypto/megacrypt"
	"megafs/remote"
)

// staging takes an account's tree while it is read, so that memory does not grow with it: nodes first in the order in which they come, then,
// from the root down, those that hang in the tree. Rings, nodes without parents and what lies under files never get there.
type staging struct {
	r      *Remote
	meta   meta
	batch  *badger.WriteBatch
	count  int
	hidden int
	shares map[string]bool
	first  *firstTree // takes the nodes instead, when nothing is known yet
}

// clear removes what is there of an earlier reading.
func (s *staging) clear() error {
	if s.batch != nil {
		s.batch.Cancel()
		s.batch = nil
	}
	if s.first != nil {
		s.first.close()
		s.first = nil
	}
	s.meta.root, s.meta.rubbish, s.count, s.shares = "", "", 0, map[string]bool{}
	if err := s.r.x.db.DropPrefix([]byte{keyRaw}, []byte{keyRawSon}); err != nil {
		return remote.E("write the account's index", "", remote.IO, err)
	}
	return nil
}

func (s *staging) put(key, v []byte) error {
	if s.batch == nil {
		s.batch = s.r.x.db.NewWriteBatch()
	}
	if err := s.batch.Set(key, v); err != nil {
		return remote.E("write the account's index", "", remote.IO, err)
	}
	return nil
}

// stage is hold when there is no firstTree.
func (s *staging) stage(n *node, wrapped string) error {
	if err := s.put(kstr(keyRaw, n.handle), encodeRaw(n, wrapped)); err != nil {
		return err
	}
	return s.put(kstr(keyRawSon, n.parent, n.handle), nil)
}

// stageRoot takes the root.
func (s *staging) stageRoot(n *node) error {
	if s.first != nil {
		s.first.root = n
		return nil
	}
	return s.put(kstr(keyRaw, n.handle), encodeRaw(n, ""))
}

// spill goes on without a firstTree.
func (s *staging) spill() error {
	f := s.first
	s.first = nil
	defer f.close()
	if f.root != nil {
		if err := s.stageRoot(f.root); err != nil {
			return err
		}
	}
	for n, err := range f.each() {
		if err == nil {
			err = s.stage(n, "")
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (s *staging) flush() error {
	if s.batch == nil {
		return nil
	}
	err := s.batch.Flush()
	s.batch = nil
	if err != nil {
		return remote.E("write the account's index", "", remote.IO, err)
	}
	return nil
}

// node takes one node as the server lists it.
func (s *staging) node(j *jsonNode) error {
	first := s.count == 0
	s.count++
	if s.r.linked() && first {
		if !megacrypt.ValidHandle(j.H) || j.T == nil || *j.T != typeFolder {
			return nil
		}
		// A public folder begins with the folder itself, under whose handle all keys are wrapped.
		s.meta.root = j.H
		s.r.keys = keys{j.H: s.r.o.Session.Master.Unwrapper()}
		n := s.r.keys.node(j, j.H)
		if n == nil {
			return nil
		}
		n.ino, n.parent = remote.Root, ""
		return s.stageRoot(n)
	}
	switch *j.T {
	case typeRoot:
		if s.meta.root != "" || s.r.linked() || !megacrypt.ValidHandle(j.H) {
			s.hidden++
			return nil
		}
		s.meta.root = j.H
		n := &node{handle: j.H, folder: true, ino: remote.Root}
		if err := s.stageRoot(n); err != nil || !s.r.o.Shared {
			return err
		}
		return s.hold(sharedFolder(j.H), nil, "")
	case typeRubbish:
		if s.meta.rubbish == "" && megacrypt.ValidHandle(j.H) {
			s.meta.rubbish = j.H
		}
		return nil
	case typeVault:
		return nil
	}
	if s.r.incoming(j) {
		if !s.r.learn(j.H, j.SK) {
			s.hidden++
			return nil
		}
		s.shares[j.H] = true
	}
	n, at := s.r.keys.read(j, s.r.o.Session.User)
	if n != nil && s.shares[j.H] && n.folder && n.handle != s.meta.root {
		n.parent = sharedRoot
		return s.hold(n, at, "")
	}
	if n == nil || !megacrypt.ValidHandle(n.parent) || n.handle == s.meta.root {
		s.hidden++
		return nil
	}
	return s.hold(n, at, s.r.ownPart(j.K))
}

// hold takes a node that may hang in the tree, with its attributes.
func (s *staging) hold(n *node, at megacrypt.Attributes, wrapped string) error {
	if s.first == nil {
		return s.stage(n, wrapped)
	}
	if err := s.first.add(n, at); err != nil || !s.first.full() {
		return err
	}
	return s.spill()
}

// raw returns a node that was read, and its wrapped key.
func (s *staging) raw(handle string) (*node, string, error) {
	b, err := s.r.x.get(kstr(keyRaw, handle))
	if b == nil || err != nil {
		return nil, "", err
	}
	return decodeRaw(handle, b)
}

// rootNode returns the root that was read.
func (s *staging) rootNode() (*node, error) {
	if s.first != nil {
		return s.first.root, nil
	}
	n, _, err := s.raw(s.meta.root)
	return n, err
}

// adopt makes what hangs in the tree the index's tree, in changes of bounded size.
func (s *staging) adopt() error {
	r := s.r
	known := r.x.meta.root != ""
	if known && r.x.meta.root != s.meta.root {
		return remote.E("read the tree", "", remote.Integrity, errRoot)
	}
	m := r.x.meta
	m.root, m.rubbish = s.meta.root, s.meta.rubbish
	if s.first != nil {
		m.seq++
		m.batch = m.seq + 1
		m.sn = s.meta.sn
		maps.DeleteFunc(r.shares, func(h string, _ megacrypt.Key) bool { return !s.shares[h] })
		return s.first.fill(m)
	}
	root, _, err := s.raw(m.root)
	if err != nil || root == nil {
		return cmp.Or(err, error(errIndex))
	}
	w := newWrite()
	root.want, root.shown = "", ""
	w.put(kstr(keyNode, root.handle), inoValue(remote.Root))
	w.put(kino(remote.Root), encodeInodeNode(root))
	if !known {
		m.seq++ // the position of the first tree
		m.batch = m.seq + 1
	}
	m.sn = "" // not until all is there
	if err := r.x.commit(w, m); err != nil {
		return err
	}
	if known {
		if err := s.ours(); err != nil {
			return err
		}
	}
	c := r.begin()
	c.first = !known
	size := 0
	commit := func() error {
		var err error
		if !known {
			// Nobody has seen any of it yet, so it is no batch.
			_, err = c.finish()
			if err == nil {
				err = r.x.commit(c.w, c.meta)
			}
		} else {
			err = r.commitChange(c)
		}
		c, size = r.begin(), 0
		c.first = !known
		return err
	}
	rest := []string{root.handle}
	type place struct {
		depth  int
		shared bool
	}
	places := map[string]place{root.handle: {}}
	for len(rest) > 0 {
		dir := rest[len(rest)-1]
		rest = rest[:len(rest)-1]
		at := places[dir]
		delete(places, dir)
		var sons []*node
		var wrapped []string
		err := r.x.scan(kstr(keyRawSon, dir), func(key, _ []byte) error {
			n, k, err := s.raw(string(key))
			if err == nil && n != nil && n.parent == dir {
				sons = append(sons, n)
				wrapped = append(wrapped, k)
			}
			return err
		})
		if err != nil {
			return err
		}
		for i, n := range sons {
			n.place(r, at.shared || n.handle == sharedRoot)
			if stray, err := s.keep(c, n, wrapped[i]); err != nil {
				return err
			} else if stray {
				continue
			}
			if size++; size >= 2000 && !known {
				if err := commit(); err != nil {
					return err
				}
			}
			if n.folder && at.depth < maxWalk {
				rest = append(rest, n.handle)
				places[n.handle] = place{at.depth + 1, n.shared}
			}
		}
	}
	if known {
		if err := s.lose(c); err != nil {
			return err
		}
	}
	for h := range r.shares {
		if !s.shares[h] {
			c.forget(h)
		}
		c.shares[h] = true
	}
	c.meta.sn, c.own = s.meta.sn, false
	return commit()
}

// keep brings a node that was read into a change, with the inode that it had.
func (s *staging) keep(c *change, n *node, wrapped string) (stray bool, err error) {
	var old *node
	if !c.first {
		if old, err = s.r.x.node(n.handle); err != nil {
			return false, err
		}
	}
	if old == nil {
		if stray, err = c.bind(n, wrapped); err == nil && !stray {
			c.set(n)
		}
		return stray, err
	}
	if n.shared != old.shared { // nothing goes from one account to another
		s.hidden++
		n.parent = old.parent
		n.place(s.r, old.shared)
	}
	if n.folder != old.folder || n.size != old.size || n.readable() && old.readable() && string(n.key) != string(old.key) {
		s.hidden++ // another thing under the same handle: what is known stays
		n.folder, n.size, n.key, n.lent, n.attrs = old.folder, old.size, old.key, old.lent, old.attrs
	}
	if !n.readable() && old.readable() {
		n.key, n.lent, n.attrs = old.key, old.lent, old.attrs
	}
	n.ino, n.object = old.ino, old.object
	if n.parent == old.parent && n.attrs == old.attrs && string(n.key) == string(old.key) {
		return false, nil
	}
	c.set(n)
	return false, nil
}

var errRoot = errors.New("it is the tree of another account")
