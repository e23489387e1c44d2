package vault

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"

	"megafs/remote"
	"megafs/remote/blob"
	"megafs/remote/wire"
)

// What must hold whatever a store does, in every test: here, where machines meet their stores and are told of the state.

// guard is a machine's way to its store. A machine that caught the store in a lie writes and removes nothing any more; nothing but old
// keyrings and what a mark gave up is ever removed; and the newest entry that is remembered does not go back.
type guard struct {
	blob.Store
	w *world
	v *Vault

	mu       sync.Mutex
	head     link
	accepted int
}

func (g *guard) look(writes bool, name string) {
	g.w.t.Helper()
	g.mu.Lock() // before what is remembered is read: else what one goroutine read could be compared after what another read later
	defer g.mu.Unlock()
	g.v.mu.Lock()
	head, accepted, violation := g.v.trust.Head, len(g.v.trust.Accepted), g.v.trust.Violation
	g.v.mu.Unlock()
	if accepted > g.accepted {
		g.head, g.accepted = link{}, accepted
	}
	if head.Seq < g.head.Seq || head.Seq == g.head.Seq && head != g.head && g.head.Seq > 0 {
		g.w.t.Errorf("what is remembered went from entry %d to %d", g.head.Seq, head.Seq)
	}
	g.head = head
	if writes && violation != "" {
		g.w.t.Errorf("%s changed after a violation: %s", name, violation)
	}
}

func (g *guard) Put(ctx context.Context, name string, data []byte) error {
	g.look(true, name)
	if seq, ok := number(name, "l/"); ok {
		g.w.entered(seq, data) // also one whose Put fails may be in the store
	}
	return g.Store.Put(ctx, name, data)
}

func (g *guard) Delete(ctx context.Context, name string) error {
	g.look(true, name)
	if !strings.HasPrefix(name, keyringPrefix) && !strings.HasPrefix(name, "probe/") && !g.w.given(name) {
		g.w.t.Error("removed:", name)
	}
	return g.Store.Delete(ctx, name)
}

func (g *guard) Get(ctx context.Context, name string, limit int64) ([]byte, error) {
	g.look(false, name)
	return g.Store.Get(ctx, name, limit)
}

func (g *guard) GetRange(ctx context.Context, name string, off int64, dst []byte) error {
	g.look(false, name)
	return g.Store.GetRange(ctx, name, off, dst)
}

// given reports whether some mark gave an object up.
func (w *world) given(name string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	seq, entry := number(name, "l/")
	item, ok := itemOf(name)
	for _, e := range w.made {
		if e.typ == entryMark && (entry && seq <= e.mark.floor || ok && slices.Contains(e.mark.items, item)) {
			return true
		}
	}
	return false
}

// memory is a sink that keeps what it is told. With a world it holds that against what was done there: each batch is one that a holder of the
// keys committed, after the one that was told before, and none between them is left out.
type memory struct {
	w       *world
	resets  int
	batches []remote.Batch
	ops     []remote.Op
	at      remote.Position
}

func (w *world) sink() *memory { return &memory{w: w} }

func (m *memory) Reset() error {
	m.resets++
	m.ops, m.batches, m.at = nil, nil, remote.Position{}
	return nil
}

func (m *memory) Apply(b remote.Batch) error {
	if m.w != nil && b.Pos.Seq > 0 {
		m.check(b)
	}
	m.batches = append(m.batches, b)
	m.ops = append(m.ops, b.Ops...)
	return nil
}

func (m *memory) check(b remote.Batch) {
	w := m.w
	w.t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	before := m.at
	m.at = b.Pos
	e := w.made[b.Pos.Hash]
	if e == nil || e.seq != b.Pos.Seq {
		w.t.Errorf("told of entry %d, which nobody made", b.Pos.Seq)
		return
	}
	if m.resets > 0 && len(m.ops) > 0 && before.Seq == 0 && len(b.Ops) == 0 {
		// The end of a snapshot.
		if want, ok := w.snaps[b.Pos.Hash]; ok && !bytes.Equal(want, encoded(m.ops)) {
			w.t.Errorf("told a snapshot of entry %d that is not its state", b.Pos.Seq)
		}
		return
	}
	if e.parts == 1 && !bytes.Equal(encoded(b.Ops), encoded(e.list)) {
		w.t.Errorf("told other Ops than entry %d has", b.Pos.Seq)
	}
	if before.Seq == 0 && m.resets == 0 {
		return // the test asked from somewhere on
	}
	for at := e; at.seq > before.Seq+1; {
		if at = w.made[at.prev]; at == nil {
			w.t.Errorf("between entries %d and %d is one that nobody made", before.Seq, b.Pos.Seq)
			return
		}
		if at.typ == entryBatch && at.parts == 1 {
			w.t.Errorf("entry %d was left out", at.seq)
		}
	}
}

func encoded(ops []remote.Op) (b []byte) {
	for i := range ops {
		b = wire.AppendOp(b, &ops[i])
	}
	return b
}

// wantErr holds an error against one of the vault's, whose kind is always the one that becomes EIO: what a hostile store does to
// objects never looks as if a file did not exist, or as if the store were only slow.
func wantErr(t testing.TB, err, is error) {
	t.Helper()
	if !errors.Is(err, is) || !remote.Is(err, remote.Integrity) {
		t.Fatalf("got %v, want %v", err, is)
	}
}

// flip changes one bit of an object.
func flip(s place, name string, at int) {
	b, _ := s.Get(ctx, name, 1<<30)
	b[at] ^= 1
	s.Poke(name, b)
}
