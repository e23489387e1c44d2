package mega

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/url"
	"slices"
	"strings"

	"megafs/crypto/megacrypt"
	"megafs/remote"
	"megafs/remote/wire"
)

// opsAtOnce is how many Ops of a tree go to a sink in one batch.
const opsAtOnce = 10_000

// Load implements remote.Remote. While the server was asked and said that nothing happened, and a request waits there for news, no other is made.
func (r *Remote) Load(ctx context.Context, from remote.Position, sink remote.Sink) (remote.Position, error) {
	if err := r.take(ctx, "load"); err != nil {
		return from, err
	}
	defer r.leave()
	defer func() { r.said = nil }()
	if err := r.admit(ctx); err != nil {
		return from, err
	}
	if r.single() && !r.admitted {
		if err := r.readLink(ctx); err != nil {
			return from, err
		}
		r.admitted = true
	} else if whole, err := r.matchShares(); err != nil {
		return from, err
	} else if whole {
		if err := r.readAll(ctx); err != nil {
			return from, err
		}
	}
	pos, err := r.tell(from, sink)
	if err != nil || r.single() {
		return pos, err
	}
	for {
		more, err := r.poll(ctx)
		if err != nil {
			return pos, err
		}
		if p, err := r.tell(pos, sink); err != nil {
			return p, err
		} else {
			pos = p
		}
		if !more {
			if err := r.undo(ctx); err != nil {
				return pos, err
			}
			return pos, r.sweep(ctx)
		}
	}
}

// tell hands a sink what it does not have of the index.
func (r *Remote) tell(pos remote.Position, sink remote.Sink) (remote.Position, error) {
	now := r.x.meta.position()
	if pos == now {
		return pos, nil
	}
	if pos.Hash != now.Hash || pos.Seq == 0 || pos.Seq > now.Seq || pos.Seq+1 < r.x.meta.batch {
		return r.tellAll(pos, sink)
	}
	for seq := pos.Seq + 1; seq <= now.Seq; seq++ {
		ops, own, err := r.x.batch(seq)
		if err != nil {
			return r.tellAll(pos, sink)
		}
		b := remote.Batch{Pos: remote.Position{Seq: seq, Hash: now.Hash}, Ops: ops}
		if own {
			b.Device = r.id
		}
		if err := sink.Apply(b); err != nil {
			return pos, err
		}
		pos = b.Pos
	}
	return pos, nil
}

// tellAll hands a sink the whole tree.
func (r *Remote) tellAll(pos remote.Position, sink remote.Sink) (remote.Position, error) {
	if err := sink.Reset(); err != nil {
		return pos, err
	}
	pos = remote.Position{}
	err := eachPart(r.snapshot, func(ops []remote.Op) error { return sink.Apply(remote.Batch{Ops: ops}) })
	if err != nil {
		return pos, err
	}
	now := r.x.meta.position()
	if err := sink.Apply(remote.Batch{Pos: now}); err != nil {
		return pos, err
	}
	return now, nil
}

// errEnough ends a reading of which no more is wanted.
var errEnough = errors.New("enough")

// eachPart calls fn with what read says, in parts of some opsAtOnce. Read has a goroutine of its own, which is ahead of fn by some parts, and has ended when eachPart returns.
func eachPart(read func(say func(...remote.Op) error) error, fn func([]remote.Op) error) error {
	parts, stop := make(chan []remote.Op, 1), make(chan struct{})
	var failed error // read's
	go func() {
		defer close(parts)
		var ops []remote.Op
		send := func() error {
			select {
			case parts <- ops:
				ops = make([]remote.Op, 0, opsAtOnce+16)
				return nil
			case <-stop:
				return errEnough
			}
		}
		failed = read(func(more ...remote.Op) error {
			if ops = append(ops, more...); len(ops) < opsAtOnce {
				return nil
			}
			return send()
		})
		if failed == nil && len(ops) > 0 {
			failed = send()
		}
	}()
	var err error
	for ops := range parts {
		if err == nil {
			if err = fn(ops); err != nil {
				close(stop)
			}
		}
	}
	return cmp.Or(err, failed)
}

// snapshot says the whole tree in the order for which a tree is filled fastest: inodes by their numbers, then names by their folders' numbers.
func (r *Remote) snapshot(say func(...remote.Op) error) error {
	root, err := r.rootOp()
	if err == nil {
		err = say(root)
	}
	if err != nil {
		return err
	}
	type folder struct {
		ino    remote.Ino
		handle string
	}
	folders := []folder{{remote.Root, r.x.meta.root}}
	err = r.x.scan([]byte{keyIno}, func(_, v []byte) error {
		n, err := decodeInodeNode(v)
		if err != nil || n.ino == remote.Root {
			return err
		}
		if n.folder {
			folders = append(folders, folder{n.ino, n.handle})
		}
		ops, content := r.described(nil, n)
		if err := say(ops...); err != nil || !content {
			return err
		}
		for op := range extents(n.ino, n.object, n.size) {
			if err := say(op); err != nil {
				return err
			}
		}
		return nil
	})
	for i := 0; i < len(folders) && err == nil; i++ {
		err = r.x.scan(kstr(keyChild, folders[i].handle), func(name, v []byte) error {
			_, ino, err := decodeChild(v)
			if err != nil {
				return err
			}
			return say(remote.Op{Kind: remote.OpLink, Parent: folders[i].ino, Name: string(name), Ino: ino})
		})
	}
	return err
}

// rootOp states the root. The server keeps no attributes of an account's root, so this machine does.
func (r *Remote) rootOp() (remote.Op, error) {
	op := remote.Op{Kind: remote.OpNode, Ino: remote.Root}
	root, err := r.x.node(r.x.meta.root)
	if err != nil {
		return op, err
	}
	if root == nil {
		return op, errIndex
	}
	b, err := r.x.get(rootKey)
	if err != nil {
		return op, err
	}
	if b != nil {
		if op.Attr, _, err = wire.DecodeAttr(b); err == nil && op.Attr.Type == remote.Dir {
			return op, nil
		}
	}
	op.Attr, _, _ = root.attr(r.o.Owner)
	op.Attr.Mode = r.o.Owner.Dir
	return op, nil
}

var rootKey = []byte{keyMeta, 'r'}

// poll asks once for what happened, if anything may have. more says that there may be more.
func (r *Remote) poll(ctx context.Context) (more bool, err error) {
	if r.single() || !r.news.there.Load() {
		return false, nil
	}
	var e *events
	q := url.Values{"sn": {r.x.meta.sn}}
	err = r.api.repeat(ctx, "ask for events", "sc", r.api.query(q), nil, func(body io.Reader) error {
		e, err = readEvents(body)
		return err
	})
	switch {
	case isCode(err, codeTooMany):
		// The server does not have all events since any more.
		return true, r.readAll(ctx)
	case err != nil:
		return false, r.linkError(err)
	}
	if e.wait != "" && len(e.packets) == 0 {
		u, err := r.api.allowed(e.wait)
		if err != nil {
			return false, err
		}
		r.news.await(u)
		r.doubt = false
		return false, r.forget()
	}
	if _, err := megacrypt.DecodeExact(e.sn, 8); err != nil {
		return false, remote.E("ask for events", "", remote.Integrity, errors.New("the server does not say where it is in its events"))
	}
	if e.sn == r.x.meta.sn {
		r.doubt = false
		return false, r.forget()
	}
	if err := r.expectShares(ctx, e.packets); err != nil {
		return false, err
	}
	// What was done here, and not noted since no answer came, is no change of others', which would have to be merged. So first comes what all that was done here
	// comes to: most of it is in the index, and a part of it alone would take back what followed. Then comes what all packets come to, in their order.
	if ours := r.ours(e.packets); len(ours) > 0 {
		if err := r.applyOurs(ours); err != nil {
			return false, err
		}
	}
	c := r.begin()
	news, err := r.belated(c, e.packets)
	if err != nil {
		return false, err
	}
	if err := c.apply(news); err != nil {
		return false, err
	}
	c.meta.sn, c.own = e.sn, false
	if !r.reread {
		return true, r.commitChange(c)
	}
	c.meta.sn = "" // until it is read again
	if err := r.commitChange(c); err != nil {
		return false, err
	}
	return true, r.readAll(ctx)
}

// applyOurs notes what this index's own commands did, of which there was no answer. A node that moved is told of as it is by now, with all below it. Where it is now that is nowhere in the
// tree, or below what others made, and what is new in a folder that moved, others may have done after that; so what they did has to be merged with what was changed here since, and comes
// later. So does what was removed here: then it is gone on both sides.
func (r *Remote) applyOurs(ours []packet) error {
	left := map[string]bool{}
	for {
		c, n := r.begin(), len(left)
		c.own, c.ours, c.left = true, true, left
		if err := c.apply(ours); err != nil {
			return err
		}
		if len(left) == n {
			return r.commitChange(c)
		}
		// Of these no earlier packet counts either: it would put them back to where they were once.
	}
}

// ours returns the packets that come of this index's own commands, or bring nodes that it intends.
func (r *Remote) ours(all []packet) (out []packet) {
	if !r.doubt {
		return nil
	}
	for _, p := range all {
		if strings.HasPrefix(p.I, r.ownTag()) || slices.ContainsFunc(p.T.F, r.meant) {
			out = append(out, p)
		}
	}
	return out
}

// meant reports whether a node was asked for here.
func (r *Remote) meant(j jsonNode) bool {
	n := r.keys.node(&j, r.o.Session.User)
	if n == nil {
		return false
	}
	_, key, _, err := r.intent(n, j.K)
	return err == nil && key != nil
}

// commitChange makes a change durable, as the next batch if it says anything.
func (r *Remote) commitChange(c *change) error {
	ops, err := c.finish()
	if err != nil {
		return err
	}
	for i := range ops {
		if err := wire.Check(&ops[i]); err != nil {
			return err
		}
	}
	if len(ops) > 0 {
		r.x.addBatch(c.w, &c.meta, c.own, ops)
		r.said = append(r.said, ops...)
	}
	return r.x.commit(c.w, c.meta)
}

// readAll reads the whole tree from the server. Known nodes keep their inodes.
func (r *Remote) readAll(ctx context.Context) error {
	st := &staging{r: r, meta: r.x.meta}
	if err := st.clear(); err != nil {
		return err
	}
	if err := r.openPrivate(ctx); err != nil {
		return err
	}
	body, err := json.Marshal([]command{{"a": "f", "c": 1, "r": 1}})
	if err != nil {
		return err
	}
	if r.api.meter.Request != nil {
		r.api.meter.Request("f")
	}
	t := &treeSink{}
	err = r.api.repeat(ctx, "read the tree", "cs", r.api.query(nil), body, func(body io.Reader) error {
		if err := st.clear(); err != nil {
			return err
		}
		if st.first, err = newFirst(r); err != nil {
			return err
		}
		*t = treeSink{node: st.node}
		return readTree(body, t)
	})
	if err != nil {
		return r.linkError(err)
	}
	if st.meta.root == "" {
		return remote.E("read the tree", "", remote.Integrity, errors.New("it has no root"))
	}
	defer st.clear()
	if f := st.first; f != nil && f.tooWide() {
		if err := st.spill(); err != nil {
			return err
		}
	}
	if err := st.flush(); err != nil {
		return err
	}
	if root, err := st.rootNode(); err == nil && root != nil && !root.readable() && r.linked() && r.x.meta.root == "" {
		return remote.E("open the link", r.o.Link.Handle, remote.Locked, errLinkKey)
	}
	st.meta.sn = t.sn
	if err := st.adopt(); err != nil {
		return err
	}
	r.reread = false
	if st.hidden+t.bad > 0 {
		r.o.Log.Warn("some of what the server lists is no part of the tree, and is not shown", "nodes", st.hidden+t.bad)
	}
	return nil
}
