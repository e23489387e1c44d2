package remotetest

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"sync"
	"sync/atomic"

	"megafs/remote"
)

// Store is what several Mems share: the history and the objects.
type Store struct {
	mu      sync.Mutex
	batches []remote.Batch
	objects map[remote.ObjectID][]byte
	devices uint32

	fail func(ctx context.Context, call string) error
	deaf bool

	damaged map[remote.ObjectID]bool
}

// SetDeaf makes the store take nothing more, from this moment on, not even from a call under way: a machine that loses its power
// does nothing afterwards.
func (s *Store) SetDeaf(deaf bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.deaf = deaf
}

// SetFail sets what is asked before each call ("load", "store", "commit", "committed", "fetch", "snapshot", "usage"); its error is the
// call's. "committed" comes after a commit took place. nil lets everything pass.
func (s *Store) SetFail(f func(ctx context.Context, call string) error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fail = f
}

// NewStore returns a store that has a root directory.
func NewStore() *Store {
	s := &Store{objects: map[remote.ObjectID][]byte{}, damaged: map[remote.ObjectID]bool{}}
	root := remote.Op{Kind: remote.OpNode, Ino: remote.Root, Attr: remote.Attr{Type: remote.Dir, Mode: 0o755}}
	s.append(remote.DeviceID{}, []remote.Op{root})
	return s
}

func (s *Store) append(d remote.DeviceID, ops []remote.Op) remote.Position {
	seq := uint64(len(s.batches) + 1)
	var prev remote.Position
	if len(s.batches) > 0 {
		prev = s.batches[len(s.batches)-1].Pos
	}
	h := sha256.Sum256(binary.BigEndian.AppendUint64(prev.Hash[:], seq))
	b := remote.Batch{Pos: remote.Position{Seq: seq, Hash: h}, Device: d, Ops: clone(ops)}
	s.batches = append(s.batches, b)
	return b.Pos
}

func clone(ops []remote.Op) []remote.Op {
	out := make([]remote.Op, len(ops))
	for i, op := range ops {
		op.Value = bytes.Clone(op.Value)
		op.Extent.Inline = bytes.Clone(op.Extent.Inline)
		out[i] = op
	}
	return out
}

// Batches returns a copy of the history.
func (s *Store) Batches() []remote.Batch {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]remote.Batch(nil), s.batches...)
}

// Damage flips bytes in all content that is stored by now: none of it opens any more.
func (s *Store) Damage() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for id := range s.objects {
		s.damaged[id] = true
	}
}

// Bytes returns how many bytes of content were stored.
func (s *Store) Bytes() (n int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, o := range s.objects {
		n += int64(len(o))
	}
	return n
}

// Mem is one device's view of a Store.
type Mem struct {
	s    *Store
	id   remote.DeviceID
	no   uint32
	away atomic.Bool
}

// SetAway makes the store unreachable for this device alone.
func (m *Mem) SetAway(away bool) { m.away.Store(away) }

// Open returns a new device's view.
func (s *Store) Open() *Mem {
	s.mu.Lock()
	defer s.mu.Unlock()
	m := &Mem{s: s}
	rand.Read(m.id[:])
	s.devices++
	m.no = s.devices
	s.append(m.id, []remote.Op{{Kind: remote.OpDevice, Device: m.id, Number: m.no}})
	return m
}

func (m *Mem) fail(ctx context.Context, call string) error {
	if m.away.Load() {
		return remote.E(call, "", remote.Unreachable, nil)
	}
	if err := ctx.Err(); err != nil {
		return remote.E(call, "", remote.Timeout, err)
	}
	m.s.mu.Lock()
	f := m.s.fail
	m.s.mu.Unlock()
	if f != nil {
		return f(ctx, call)
	}
	return nil
}

// Load implements remote.Remote.
func (m *Mem) Load(ctx context.Context, from remote.Position, sink remote.Sink) (remote.Position, error) {
	if err := m.fail(ctx, "load"); err != nil {
		return from, err
	}
	all := m.s.Batches()
	if from.Seq > uint64(len(all)) || from.Seq > 0 && all[from.Seq-1].Pos != from {
		return from, remote.E("load", "", remote.Integrity, errors.New("the position is of another history"))
	}
	if from.Seq == 0 {
		if err := sink.Reset(); err != nil {
			return from, err
		}
	}
	for _, b := range all[from.Seq:] {
		b.Ops = clone(b.Ops)
		if err := sink.Apply(b); err != nil {
			return from, err
		}
		from = b.Pos
	}
	return from, nil
}

// Store implements remote.Remote.
func (m *Mem) Store(ctx context.Context, pieces []remote.Piece, stored func(remote.Ref, []byte)) ([]remote.Ref, error) {
	if err := m.fail(ctx, "store"); err != nil {
		return nil, err
	}
	var refs []remote.Ref
	for _, p := range pieces {
		b := make([]byte, (p.Len+remote.ChunkSize-1)/remote.ChunkSize*remote.ChunkSize)
		if err := p.Read(ctx, 0, b[:p.Len]); err != nil {
			return nil, err
		}
		r := remote.Ref{Epoch: 1, Chunks: uint16(len(b) / remote.ChunkSize)}
		rand.Read(r.Object[:])
		m.s.mu.Lock()
		m.s.objects[r.Object] = b
		m.s.mu.Unlock()
		refs = append(refs, r)
	}
	return refs, nil
}

// Commit implements remote.Remote.
func (m *Mem) Commit(ctx context.Context, base remote.Position, ops []remote.Op) (remote.Position, error) {
	if err := m.fail(ctx, "commit"); err != nil {
		return base, err
	}
	m.s.mu.Lock()
	if m.s.deaf {
		m.s.mu.Unlock()
		return base, remote.E("commit", "", remote.Unreachable, nil)
	}
	if m.s.batches[len(m.s.batches)-1].Pos != base {
		m.s.mu.Unlock()
		return base, remote.E("commit", "", remote.Conflict, nil)
	}
	pos := m.s.append(m.id, ops)
	m.s.mu.Unlock()
	return pos, m.fail(ctx, "committed")
}

// Fetch implements remote.Remote. A sealed chunk here is the plain one with its number behind it.
func (m *Mem) Fetch(ctx context.Context, ref remote.Ref, first, n int, dst []byte) error {
	if err := m.fail(ctx, "fetch"); err != nil {
		return err
	}
	m.s.mu.Lock()
	o, ok := m.s.objects[ref.Object]
	m.s.mu.Unlock()
	if !ok || (first+n)*remote.ChunkSize > len(o) {
		return remote.E("fetch", "", remote.Integrity, errors.New("missing"))
	}
	for i := range n {
		d := dst[i*remote.SealedChunk:][:remote.SealedChunk]
		copy(d, o[(first+i)*remote.ChunkSize:])
		binary.BigEndian.PutUint64(d[remote.ChunkSize:], uint64(first+i))
		copy(d[remote.ChunkSize+8:], ref.Object[:8])
	}
	return nil
}

// Open implements remote.Remote.
func (m *Mem) Open(ref remote.Ref, i int, sealed, dst []byte) error {
	tail := sealed[remote.ChunkSize:]
	m.s.mu.Lock()
	damaged := m.s.damaged[ref.Object]
	m.s.mu.Unlock()
	if damaged || binary.BigEndian.Uint64(tail) != uint64(i) || !bytes.Equal(tail[8:16], ref.Object[:8]) {
		return remote.E("open", "", remote.Integrity, errors.New("another chunk"))
	}
	copy(dst, sealed[:remote.ChunkSize])
	return nil
}

// Snapshot implements remote.Remote: it reads all and announces an empty batch.
func (m *Mem) Snapshot(ctx context.Context, pos remote.Position, ops func(func(remote.Op) error) error) (remote.Position, error) {
	if err := m.fail(ctx, "snapshot"); err != nil {
		return pos, err
	}
	if err := ops(func(remote.Op) error { return nil }); err != nil {
		return pos, err
	}
	return m.Commit(ctx, pos, nil)
}

// Usage implements remote.Remote.
func (m *Mem) Usage(ctx context.Context) (remote.Usage, error) {
	if err := m.fail(ctx, "usage"); err != nil {
		return remote.Usage{}, err
	}
	return remote.Usage{Used: uint64(m.s.Bytes()), Total: 1 << 40, Free: 1<<40 - uint64(m.s.Bytes())}, nil
}

// Device implements remote.Remote.
func (m *Mem) Device() (remote.DeviceID, uint32) { return m.id, m.no }

// Close implements remote.Remote.
func (m *Mem) Close() error { return nil }

var _ remote.Remote = (*Mem)(nil)
