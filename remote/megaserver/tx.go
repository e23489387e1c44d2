package megaserver

import (
	"encoding/json"
	"errors"
	"sort"
	"strconv"
	"time"

	"github.com/dgraph-io/badger/v4"
)

// tx is a transaction: all that one request changes. A command checks everything before it changes anything, so that one
// that fails leaves nothing behind in the transaction of its batch.
type tx struct {
	*badger.Txn
	now   time.Time
	bytes int                 // written, about
	wake  map[userID]struct{} // accounts that have new events
	after []func()            // to be done when it is committed
}

func (t *tx) put(key, value []byte) error {
	t.bytes += len(key) + len(value)
	return t.Set(key, value)
}

func (t *tx) remove(key []byte) error {
	t.bytes += len(key)
	return t.Delete(key)
}

// value returns a record, nil if there is none.
func (t *tx) value(key []byte) ([]byte, error) {
	item, err := t.Get(key)
	if errors.Is(err, badger.ErrKeyNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return item.ValueCopy(nil)
}

// load fills v from a record and reports whether there is one.
func (t *tx) load(key []byte, v any) (bool, error) {
	b, err := t.value(key)
	if err != nil || b == nil {
		return false, err
	}
	return true, json.Unmarshal(b, v)
}

func (t *tx) store(key []byte, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return t.put(key, b)
}

// scan calls fn for each record whose key begins with prefix, in order, beginning with the key from (nil: the first). fn must not change
// what is scanned; the key is without the prefix and, like the value, its own only until it returns.
func (t *tx) scan(prefix, from []byte, values bool, fn func(rest, value []byte) error) error {
	o := badger.DefaultIteratorOptions
	o.PrefetchValues = false // they lie beside the keys
	o.Prefix = prefix
	it := t.NewIterator(o)
	defer it.Close()
	if from == nil {
		from = prefix
	}
	for it.Seek(from); it.Valid(); it.Next() {
		item := it.Item()
		rest := item.Key()[len(prefix):]
		if !values {
			if err := fn(rest, nil); err != nil {
				return err
			}
			continue
		}
		if err := item.Value(func(v []byte) error { return fn(rest, v) }); err != nil {
			return err
		}
	}
	return nil
}

var errStop = errors.New("enough")

func (t *tx) account(u userID) (*account, error) {
	var a account
	ok, err := t.load(accountKey(u), &a)
	if err != nil || !ok {
		return nil, err
	}
	return &a, nil
}

func (t *tx) putAccount(a *account) error { return t.store(accountKey(a.User), a) }

func (t *tx) byEmail(email string) (*account, error) {
	u, err := t.value(emailKey(email))
	if err != nil || u == nil {
		return nil, err
	}
	return t.account(string(u))
}

func (t *tx) counters(u userID) (*counters, error) {
	var c counters
	_, err := t.load(countersKey(u), &c)
	return &c, err
}

func (t *tx) putCounters(u userID, c *counters) error { return t.store(countersKey(u), c) }

// node returns a node, nil if there is none.
func (t *tx) node(h handle) (*node, error) {
	if !isHandle(h) {
		return nil, nil
	}
	parent, err := t.value(whereKey(h))
	if err != nil || parent == nil {
		return nil, err
	}
	b, err := t.value(nodeKey(string(parent), h))
	if err != nil {
		return nil, err
	}
	if b == nil {
		return nil, errNode
	}
	return decodeNode(string(parent), h, b)
}

func (n *node) parentKey() string {
	if n.parent == "" {
		return noParent
	}
	return n.parent
}

// putNode writes a node where its parent says. One that was elsewhere must be taken from there first.
func (t *tx) putNode(n *node) error {
	if err := t.put(nodeKey(n.parentKey(), n.h), n.encode()); err != nil {
		return err
	}
	return t.put(whereKey(n.h), []byte(n.parentKey()))
}

func (t *tx) takeNode(n *node) error {
	if err := t.remove(nodeKey(n.parentKey(), n.h)); err != nil {
		return err
	}
	return t.remove(whereKey(n.h))
}

// children calls fn for each node directly below h.
func (t *tx) children(h handle, fn func(*node) error) error {
	return t.scan(nodeKey(h, ""), nil, true, func(rest, v []byte) error {
		n, err := decodeNode(h, string(rest), v)
		if err != nil {
			return err
		}
		return fn(n)
	})
}

// walk calls fn for all nodes below h, each after its parent. version says that a node is an old version.
func (t *tx) walk(top *node, fn func(n *node, version bool) error) error {
	type place struct {
		h    handle
		file bool
	}
	if top.kind == fileNode && !top.versions {
		return nil
	}
	open := []place{{top.h, top.kind == fileNode}}
	for len(open) > 0 {
		p := open[len(open)-1]
		open = open[:len(open)-1]
		err := t.children(p.h, func(n *node) error {
			if n.isFolder() {
				open = append(open, place{n.h, false})
			} else if n.versions {
				open = append(open, place{n.h, true})
			}
			return fn(n, p.file)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// root returns the root that n is below, nil if n or a folder above it was deleted, and whether passed is n or above it.
func (t *tx) root(n *node, passed handle) (root *node, met bool, err error) {
	met = n.h == passed
	for i := 0; n.parent != ""; i++ {
		if n.parent == doomed {
			return nil, met, nil
		}
		up, err := t.node(n.parent)
		if err != nil {
			return nil, false, err
		}
		if up == nil || i > maxWalk {
			return nil, false, errNode
		}
		n = up
		met = met || n.h == passed
	}
	return n, met, nil
}

// shallow refuses a folder that is too deep to be filled.
func (t *tx) shallow(n *node) error {
	for depth := 0; n.parent != ""; depth++ {
		up, err := t.node(n.parent)
		if err != nil {
			return err
		}
		if up == nil {
			return errNode
		}
		if depth > maxDepth {
			return BadArgs
		}
		n = up
	}
	return nil
}

// live returns a node that was not deleted, nor a folder above it; nil if there is none.
func (t *tx) live(h handle) (*node, error) {
	n, err := t.node(h)
	if err != nil || n == nil {
		return nil, err
	}
	r, _, err := t.root(n, "")
	if err != nil || r == nil {
		return nil, err
	}
	return n, nil
}

// event tells accounts of a change. body is the packet without its braces and without a, i and st, which come first, in this order.
func (t *tx) event(to []userID, head packetHead, body []byte) error {
	return t.deliver(to, packet{packetHead: head, Body: body})
}

func (t *tx) deliver(to []userID, p packet) error {
	tag := p.Tag
	for i, u := range to {
		c, err := t.counters(u)
		if err != nil {
			return err
		}
		c.Seq++
		if p.Tag = ""; i == 0 { // tags are of the account that acts, which is named first
			p.Tag = tag
		}
		if err := t.store(eventKey(u, c.Seq), p); err != nil {
			return err
		}
		if err := t.putCounters(u, c); err != nil {
			return err
		}
		if t.wake == nil {
			t.wake = map[userID]struct{}{}
		}
		t.wake[u] = struct{}{}
	}
	return nil
}

// nextTag makes the sequence tag of a command. Tags grow in length and then in order.
func (t *tx) nextTag(u userID) (string, error) {
	c, err := t.counters(u)
	if err != nil {
		return "", err
	}
	c.Tag++
	return tagText(c.Tag), t.putCounters(u, c)
}

func tagText(n uint64) string { return strconv.FormatUint(n+1000, 10) }

// audience is who sees n: its owner, and those with whom a folder above it is shared. actor, if among them, is the first.
func (t *tx) audience(actor userID, n *node) ([]userID, error) {
	c, err := t.counters(n.owner)
	if err != nil {
		return nil, err
	}
	set := map[userID]struct{}{n.owner: {}}
	for up := n; c.Shares > 0 && up != nil; {
		var s outShare
		ok, err := t.load(outShareKey(n.owner, up.h), &s)
		if err != nil {
			return nil, err
		}
		for _, m := range s.With {
			if ok && m.User != export {
				set[m.User] = struct{}{}
			}
		}
		if up.parent == "" {
			break
		}
		if up, err = t.node(up.parent); err != nil {
			return nil, err
		}
	}
	to := make([]userID, 0, len(set))
	for u := range set {
		to = append(to, u)
	}
	sort.Slice(to, func(i, j int) bool {
		if (to[i] == actor) != (to[j] == actor) {
			return to[i] == actor
		}
		return to[i] < to[j]
	})
	return to, nil
}

// view runs fn over one state of everything.
func (s *Server) view(fn func(*tx) error) error {
	return s.db.View(func(b *badger.Txn) error { return fn(&tx{Txn: b, now: s.now()}) })
}

// update runs fn in a transaction that is durable when update returns, again if another one came between.
func (s *Server) update(fn func(*tx) error) error {
	for try := 0; ; try++ {
		t := &tx{Txn: s.db.NewTransaction(true), now: s.now()}
		err := fn(t)
		if err == nil {
			err = t.Commit()
		}
		t.Discard()
		if errors.Is(err, badger.ErrConflict) && try < 20 {
			continue
		}
		if err == nil {
			s.wakeUp(t.wake)
			for _, f := range t.after {
				f()
			}
		}
		return err
	}
}
