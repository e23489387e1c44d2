package mega

import (
	"context"
	"encoding/binary"
	"time"

	"megafs/remote"
)

// intent is that a node is about to be made here. It is durable before the server is asked, so that whoever finds the node, in an event or after a crash,
// knows what it is: its wrapped key, which is random, names it, and with it the mark of a copy, which has the key of another.
type intent struct {
	ino      remote.Ino
	object   object // of its content
	replaces string // handle
	late     uint32 // when it was found to be late, in seconds since 1970; 0: it is not, or that is not known
}

func (i intent) encode() []byte {
	b := binary.BigEndian.AppendUint64(nil, uint64(i.ino))
	b = append(append(b, i.object[:]...), i.replaces...)
	if i.late > 0 {
		b = binary.BigEndian.AppendUint32(b, i.late)
	}
	return b
}

func decodeIntent(b []byte) (i intent, ok bool) {
	if len(b) < 8+len(i.object) {
		return i, false
	}
	i.ino = remote.Ino(binary.BigEndian.Uint64(b))
	b = b[8+copy(i.object[:], b[8:]):]
	if n := len(b); n%8 == 4 { // a handle has 8 characters
		i.late = binary.BigEndian.Uint32(b[n-4:])
		b = b[:n-4]
	}
	i.replaces = string(b)
	return i, true
}

// intent returns what was meant by a node with that wrapped key, and the key under which that is in the index; no key: it was not asked for here. It is late when a commit began since that does without it.
func (r *Remote) intent(n *node, wrapped string) (i intent, key []byte, late bool, err error) {
	wrapped = r.ownPart(wrapped)
	names := []string{wrapped}
	if m := n.mark(); m != "" {
		names = []string{wrapped + m, wrapped} // a new version has the mark of an older one that was a copy, when another client takes attributes along
	}
	for _, name := range names {
		for _, kind := range []byte{keyIntent, keyLate} {
			k := kstr(kind, name)
			b, err := r.x.get(k)
			if err != nil {
				return i, nil, false, err
			}
			if i, ok := decodeIntent(b); ok {
				return i, k, kind == keyLate, nil
			}
		}
	}
	return i, nil, false, nil
}

// outdate notes at the start of a commit that nodes which were asked for before, and are not there yet, are not waited for: what they were made for is made anew, if it is still to be.
func (r *Remote) outdate() error {
	w := newWrite()
	err := r.x.scan([]byte{keyIntent}, func(wrapped, b []byte) error {
		if i, ok := decodeIntent(b); ok {
			i.late = uint32(time.Now().Unix())
			w.put(kstr(keyLate, string(wrapped)), i.encode())
		}
		w.del(kstr(keyIntent, string(wrapped)))
		return nil
	})
	if err != nil || len(w.set) == 0 {
		return err
	}
	return r.x.commit(w, r.x.meta)
}

// How long a late node may still come, for the server: a request may be held on its way for minutes, and an upload is good for about a day. And how often it is looked for those that are older.
const (
	lateLife  = 7 * 24 * time.Hour
	lateCheck = time.Hour
)

// forget drops late nodes that can't come any more. It is called when the server has just said that the index has all that happened: what it took long ago, while this machine was
// off, is known then.
func (r *Remote) forget() error {
	now := time.Now()
	if !r.forgot.IsZero() && now.Sub(r.forgot) < lateCheck {
		return nil
	}
	w := newWrite()
	err := r.x.scan([]byte{keyLate}, func(wrapped, b []byte) error {
		k := kstr(keyLate, string(wrapped))
		i, ok := decodeIntent(b)
		switch age := now.Sub(time.Unix(int64(i.late), 0)); {
		case !ok || i.late > 0 && age > lateLife:
			w.del(k)
		case i.late == 0 || age < 0: // since when is not known, or by a clock that was wrong
			i.late = uint32(now.Unix())
			w.put(k, i.encode())
		}
		return nil
	})
	if err == nil && len(w.set) > 0 {
		err = r.x.commit(w, r.x.meta)
	}
	if err == nil {
		r.forgot = now
	}
	return err
}

// stray reports whether a node that was made here is one too many, since its inode has another by now, or needs none. What stands in the place of the node that it was to replace is
// no stray: the server knows no other.
func (c *change) stray(i intent, late bool) (bool, error) {
	h, err := c.r.x.handleOf(i.ino)
	if err != nil {
		return false, err
	}
	if h != "" {
		if n, err := c.node(h); err != nil {
			return false, err
		} else if n != nil && n.ino == i.ino {
			return h != i.replaces, nil
		}
	}
	if !late || i.replaces == "" {
		return late, nil
	}
	n, err := c.node(i.replaces)
	return n == nil, err
}

// sweep removes strays. They go to the rubbish bin however else files are removed: nobody removed them.
func (r *Remote) sweep(ctx context.Context) error {
	if r.linked() || r.x.meta.rubbish == "" {
		return nil
	}
	var handles []string
	err := r.x.scan([]byte{keyStray}, func(h, _ []byte) error {
		if len(handles) < commandsAtOnce {
			handles = append(handles, string(h))
		}
		return nil
	})
	if err != nil || len(handles) == 0 {
		return err
	}
	var cs []command
	for _, h := range handles {
		cs = append(cs, command{"a": "m", "n": h, "t": r.x.meta.rubbish, "i": r.tag})
	}
	out, err := r.send(ctx, cs)
	if err != nil {
		return err
	}
	w := newWrite()
	for i, h := range handles {
		if err := failure(cs[i], out[i]); err == nil || isCode(err, codeNoEntry) {
			w.del(kstr(keyStray, h))
		}
	}
	return r.x.commit(w, r.x.meta)
}
