package vault

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"

	"megafs/remote"
)

// state is a small state machine for files that are one extent each: what a machine of these tests knows.
type state struct {
	nodes   map[remote.Ino]remote.Op
	extents map[remote.Ino]remote.Op
	names   map[string]remote.Op
	devices map[uint32]remote.Op
	pos     remote.Position
	skew    bool // says of a file what is not so: a mistake in the program
}

func (s *state) Reset() error {
	*s = state{map[remote.Ino]remote.Op{}, map[remote.Ino]remote.Op{}, map[string]remote.Op{}, map[uint32]remote.Op{}, remote.Position{}, s.skew}
	return nil
}

func (s *state) Apply(b remote.Batch) error {
	for _, op := range b.Ops {
		switch op.Kind {
		case remote.OpNode:
			s.nodes[op.Ino] = op
		case remote.OpExtent:
			s.extents[op.Ino] = op
		case remote.OpLink:
			s.names[op.Name] = op
		case remote.OpUnlink:
			ino := s.names[op.Name].Ino
			delete(s.names, op.Name)
			delete(s.nodes, ino)
			delete(s.extents, ino)
		case remote.OpDevice:
			s.devices[op.Number] = op
		}
	}
	if b.Pos.Seq > 0 {
		s.pos = b.Pos
	}
	return nil
}

func (s *state) Ops(yield func(remote.Op) error) error {
	var all []remote.Op
	for _, k := range slices.Sorted(maps.Keys(s.devices)) {
		all = append(all, s.devices[k])
	}
	for _, k := range slices.Sorted(maps.Keys(s.nodes)) {
		n := s.nodes[k]
		n.Attr.UID += uint32(map[bool]int{true: 1}[s.skew])
		all = append(all, n)
		if e, ok := s.extents[k]; ok {
			all = append(all, e)
		}
	}
	for _, k := range slices.Sorted(maps.Keys(s.names)) {
		all = append(all, s.names[k])
	}
	for _, op := range all {
		if err := yield(op); err != nil {
			return err
		}
	}
	return nil
}

func (s *state) Close() error { return nil }

func replica() (Replica, error) { s := &state{}; return s, s.Reset() }

// actor is a machine that writes, removes, copies, snapshots and collects.
type actor struct {
	w      *world
	v      *Vault
	r      *rand.Rand
	s      *state
	number uint32
	next   int
	keep   GCOptions
}

// load brings the actor up to date.
func (a *actor) load() error {
	for range 20 {
		_, err := a.v.Load(ctx, a.s.pos, a.s)
		id, n := a.v.Device()
		if err != nil || n != 0 || a.number == 0 {
			return err
		}
		// It leapt over what was removed, and needs a number under its new name.
		next := slices.Max(slices.Collect(maps.Keys(a.s.devices))) + 1
		pos, err := a.v.Register(ctx, a.s.pos, next)
		if err == nil {
			return a.s.Apply(remote.Batch{Pos: pos, Ops: []remote.Op{{Kind: remote.OpDevice, Device: id, Number: next}}})
		}
		if !remote.Is(err, remote.Conflict) {
			return err
		}
	}
	return nil
}

// commit commits what make says of the present state, and again when somebody was first. made anew is what it stores, as the engine does.
func (a *actor) commit(make func() ([]remote.Op, error)) error {
	for range 20 {
		if err := a.load(); err != nil {
			return err
		}
		ops, err := make()
		if err != nil || len(ops) == 0 {
			return err
		}
		pos, err := a.v.Commit(ctx, a.s.pos, ops)
		if err == nil {
			return a.s.Apply(remote.Batch{Pos: pos, Ops: ops})
		}
		if !remote.Is(err, remote.Conflict) {
			return err
		}
	}
	return nil
}

func (a *actor) file(e remote.Extent) []remote.Op {
	a.next++
	ino := remote.Ino(uint64(a.number)<<remote.InoBits + uint64(a.next) + 10)
	return []remote.Op{
		{Kind: remote.OpNode, Ino: ino, Attr: remote.Attr{Type: remote.File, Mode: 0o644, Size: e.Len}},
		{Kind: remote.OpLink, Parent: remote.Root, Ino: ino, Name: fmt.Sprint(a.number, "-", a.next)},
		{Kind: remote.OpExtent, Ino: ino, Extent: e},
	}
}

func (a *actor) write() error {
	p, _ := piece(100+a.r.IntN(20000), a.next+int(a.number)*100)
	return a.commit(func() ([]remote.Op, error) {
		refs, err := a.v.Store(ctx, []remote.Piece{p}, nil)
		if err != nil {
			return nil, err
		}
		return a.file(remote.Extent{Len: uint64(p.Len), Ref: refs[0]}), nil
	})
}

// some is a name that the state has.
func (a *actor) some() (name string, ok bool) {
	if len(a.s.extents) == 0 {
		return "", false
	}
	inos := slices.Sorted(maps.Keys(a.s.extents))
	ino := inos[a.r.IntN(len(inos))]
	for n, op := range a.s.names {
		if op.Ino == ino {
			return n, true
		}
	}
	return "", false
}

func (a *actor) remove() error {
	return a.commit(func() ([]remote.Op, error) {
		n, ok := a.some()
		if !ok {
			return nil, nil
		}
		return []remote.Op{{Kind: remote.OpUnlink, Parent: remote.Root, Name: n, Ino: a.s.names[n].Ino}}, nil
	})
}

// copy shares the content of a file that the machine saw a while ago, as a copy does that waits in the journal.
func (a *actor) copy(between func() error) error {
	if err := a.load(); err != nil {
		return err
	}
	n, ok := a.some()
	if !ok {
		return nil
	}
	e := a.s.extents[a.s.names[n].Ino].Extent
	if err := between(); err != nil {
		return err
	}
	var anew error
	err := a.commit(func() ([]remote.Op, error) { return a.file(e), nil })
	var gone *remote.GoneError
	if !errors.As(err, &gone) {
		return err
	}
	// Its content was given up; what is still there of it is stored again.
	var plain []byte
	for i := range int(e.Ref.Chunks) {
		sealed, chunk := make([]byte, remote.SealedChunk), make([]byte, remote.ChunkSize)
		if anew = a.v.Fetch(ctx, e.Ref, i, 1, sealed); anew == nil {
			anew = a.v.Open(e.Ref, i, sealed, chunk)
		}
		plain = append(plain, chunk...)
	}
	if anew != nil {
		if errors.Is(anew, ErrMissing) {
			return nil // gone for good: the grace was none
		}
		return anew
	}
	p := remote.Piece{Len: int(e.Len), Read: func(_ context.Context, off int, dst []byte) error { copy(dst, plain[off:]); return nil }}
	return a.commit(func() ([]remote.Op, error) {
		refs, err := a.v.Store(ctx, []remote.Piece{p}, nil)
		if err != nil {
			return nil, err
		}
		return a.file(remote.Extent{Len: e.Len, Ref: refs[0]}), nil
	})
}

func (a *actor) snapshot() error {
	if err := a.load(); err != nil {
		return err
	}
	pos, err := a.v.Snapshot(ctx, a.s.pos, a.s.Ops)
	if remote.Is(err, remote.Conflict) {
		return nil
	}
	if err == nil {
		a.s.pos = pos
	}
	return err
}

func (a *actor) collect() (GCReport, error) {
	if err := a.load(); err != nil {
		return GCReport{}, err
	}
	o := a.keep
	o.Replica, o.State, o.Pos = replica, a.s.Ops, a.s.pos
	o.Hold = func(yield func(remote.ObjectID)) error {
		for _, op := range a.s.extents {
			yield(op.Extent.Ref.Object)
		}
		return nil
	}
	report, err := a.v.Collect(ctx, o)
	if remote.Is(err, remote.Busy) || remote.Is(err, remote.Conflict) {
		err = nil
	}
	return report, err
}

// newActor makes a machine of a world.
func newActor(w *world, v *Vault, number uint32, r *rand.Rand) *actor {
	s := &state{}
	s.Reset()
	return &actor{w: w, v: v, r: r, s: s, number: number}
}

// sound checks that a fresh machine is told a state of which every byte can be read, and returns the objects that the state refers to.
func sound(w *world, state string) (used map[string]bool, at *actor) {
	w.t.Helper()
	v := w.open(w.store, state)
	a := newActor(w, v, 0, nil)
	must(w.t, a.load())
	used = map[string]bool{}
	for _, op := range a.s.extents {
		ref := op.Extent.Ref
		used[contentName(ref.Object)] = true
		for i := range int(ref.Chunks) {
			sealed, chunk := make([]byte, remote.SealedChunk), make([]byte, remote.ChunkSize)
			err := v.Fetch(ctx, ref, i, 1, sealed)
			if err == nil {
				err = v.Open(ref, i, sealed, chunk)
			}
			if err != nil {
				w.t.Error("content that the state refers to:", err)
			} else if i == 0 && op.Extent.Ref.Off == 0 && !bytes.HasPrefix(chunk, []byte(canary)) {
				w.t.Error("other content")
			}
		}
	}
	return used, a
}

// verified runs an audit.
func verified(w *world, a *actor) {
	w.t.Helper()
	_, err := a.v.Verify(ctx, func(yield func(remote.Extent) error) error {
		for _, op := range a.s.extents {
			if err := yield(op.Extent); err != nil {
				return err
			}
		}
		return nil
	}, func(d Damage) { w.t.Error("audit:", d.Object, d.What) })
	must(w.t, err)
}
