package remotetest

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"testing"
	"time"

	"megafs/remote"
)

// Run holds a Remote against its contract. newStore makes a store, and returns what opens another machine's view of it, which may commit after it has loaded.
func Run(t *testing.T, newStore func(t *testing.T) (open func() remote.Remote)) {
	for name, test := range map[string]func(*stage){
		"load": (*stage).loads, "commit": (*stage).commits, "conflict": (*stage).conflicts, "content": (*stage).contents, "sink": (*stage).sinks, "kinds": (*stage).kinds,
	} {
		t.Run(name, func(t *testing.T) { test(&stage{T: t, open: newStore(t)}) })
	}
}

var errTest = errors.New("the test says so")

// stage is a store and what it takes to test it.
type stage struct {
	*testing.T
	open  func() remote.Remote
	count remote.Ino
}

// machine is a Remote and what it has told.
type machine struct {
	remote.Remote
	*view
	pos remote.Position
}

func (s *stage) machine() *machine {
	s.Helper()
	m := &machine{Remote: s.open(), view: &view{}}
	s.Cleanup(func() {
		if err := m.Close(); err != nil {
			s.Error("close:", err)
		}
	})
	s.load(m)
	return m
}

func (s *stage) load(m *machine) {
	s.Helper()
	pos, err := m.Load(s.Context(), m.pos, m.view)
	if err != nil {
		s.Fatal(err)
	}
	if pos != m.view.pos {
		s.Fatalf("the load ends at %d, its last batch at %d", pos.Seq, m.view.pos.Seq)
	}
	m.pos = pos
}

// ino is a new inode of a machine's.
func (s *stage) ino(m *machine) remote.Ino {
	_, n := m.Device()
	s.count++
	return remote.Ino(n)<<remote.InoBits | 1<<20 | s.count
}

// file stores content and returns the Ops that make a file of it.
func (s *stage) file(m *machine, dir remote.Ino, name string, data []byte) ([]remote.Op, error) {
	ino := s.ino(m)
	a := remote.Attr{Type: remote.File, Mode: 0o640, Size: uint64(len(data)), Mtime: 1e18, Atime: 1e18, Ctime: 1e18, Btime: 1e18}
	ops := []remote.Op{{Kind: remote.OpNode, Ino: ino, Attr: a}}
	var refs []remote.Ref
	var err error
	if w, ok := m.Remote.(remote.WholeFiles); ok && len(data) > 0 {
		refs, err = w.StoreFile(s.Context(), ino, uint64(len(data)), func(_ context.Context, off uint64, dst []byte) error { copy(dst, data[off:]); return nil }, nil)
	} else if len(data) > 0 {
		var ps []remote.Piece
		for off := 0; off < len(data); off += remote.MaxContent {
			p := data[off:min(len(data), off+remote.MaxContent)]
			ps = append(ps, remote.Piece{Len: len(p), Read: func(_ context.Context, off int, dst []byte) error { copy(dst, p[off:]); return nil }})
		}
		refs, err = m.Store(s.Context(), ps, nil)
	}
	for i, r := range refs {
		off := uint64(i) * remote.MaxContent
		ops = append(ops, remote.Op{Kind: remote.OpExtent, Ino: ino, Extent: remote.Extent{Off: off, Len: min(uint64(len(data))-off, remote.MaxContent), Ref: r}})
	}
	return append(ops, remote.Op{Kind: remote.OpLink, Ino: ino, Parent: dir, Name: name}), err
}

func (s *stage) dir(m *machine, in remote.Ino, name string) (remote.Ino, []remote.Op) {
	ino := s.ino(m)
	a := remote.Attr{Type: remote.Dir, Mode: 0o750, Mtime: 1e18, Atime: 1e18, Ctime: 1e18, Btime: 1e18}
	return ino, []remote.Op{{Kind: remote.OpNode, Ino: ino, Attr: a}, {Kind: remote.OpLink, Ino: ino, Parent: in, Name: name}}
}

// commit commits Ops, and loads what came of it, which must be that, as a change of this machine's.
func (s *stage) commit(m *machine, ops []remote.Op) {
	s.Helper()
	pos, err := m.Commit(s.Context(), m.pos, ops)
	for try := 0; remote.Is(err, remote.Conflict) && try < 20; try++ { // a machine that came is a change, too
		s.load(m)
		pos, err = m.Commit(s.Context(), m.pos, ops)
	}
	if err != nil {
		s.Fatal(err)
	}
	if pos == m.pos {
		s.Fatal("a commit does not move the head")
	}
	resets := m.resets
	s.load(m)
	if m.pos != pos || m.resets != resets {
		s.Fatalf("the commit ended at %d, the load at %d after %d resets", pos.Seq, m.pos.Seq, m.resets-resets)
	}
	if id, _ := m.Device(); m.device != id {
		s.Fatal("the batch is told as another machine's")
	}
}

// reads returns a file's content by Fetch and Open, some chunks at a time.
func (m *machine) reads(ctx context.Context, ino remote.Ino) ([]byte, error) {
	out := make([]byte, m.attrs[ino].Size)
	for _, x := range m.extents[ino] {
		if x.Inline != nil {
			copy(out[x.Off:], x.Inline)
			continue
		}
		var plain []byte
		for first := 0; first < int(x.Ref.Chunks); {
			n := min(1+first, int(x.Ref.Chunks)-first)
			sealed := make([]byte, n*remote.SealedChunk)
			if err := m.Fetch(ctx, x.Ref, first, n, sealed); err != nil {
				return nil, err
			}
			for i := range n {
				var c [remote.ChunkSize]byte
				if err := m.Open(x.Ref, first+i, sealed[i*remote.SealedChunk:][:remote.SealedChunk], c[:]); err != nil {
					return nil, err
				}
				plain = append(plain, c[:]...)
			}
			first += n
		}
		copy(out[x.Off:x.End()], plain[x.Ref.Off:])
	}
	return out, nil
}

// tells waits until a machine has been told of what another did, which a store may take a moment for.
func (s *stage) tells(m *machine, what string, ok func() bool) {
	s.Helper()
	for end := time.Now().Add(20 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			s.Fatalf("%s is never told of", what)
		}
		s.load(m)
	}
}

// loads: from nothing, a load begins with a reset and ends with the root there; from where it ended, there is nothing more.
func (s *stage) loads() {
	m := s.machine()
	if m.resets != 1 || m.pos == (remote.Position{}) || m.attrs[remote.Root].Type != remote.Dir {
		s.Fatalf("%d resets, position %d, the root is %+v", m.resets, m.pos.Seq, m.attrs[remote.Root])
	}
	at, batches := m.pos, m.batches
	s.load(m)
	if m.pos != at || m.resets != 1 || m.batches != batches {
		s.Errorf("without news a load goes from %d to %d, %d resets, %d batches", at.Seq, m.pos.Seq, m.resets, m.batches-batches)
	}
	if id, n := m.Device(); id == (remote.DeviceID{}) || n == 0 {
		s.Errorf("the machine is %x, %d", id, n)
	}
	if _, err := m.Usage(s.Context()); err != nil {
		s.Error(err)
	}
}

// commits: what one machine commits another is told, from nothing and from where it was, and it is the same tree.
func (s *stage) commits() {
	a, b := s.machine(), s.machine()
	d, ops := s.dir(a, remote.Root, "dir")
	f, err := s.file(a, d, "file", pattern(100_000))
	if err != nil {
		s.Fatal(err)
	}
	e, err := s.file(a, remote.Root, "empty", nil)
	if err != nil {
		s.Fatal(err)
	}
	ino := f[0].Ino
	s.commit(a, append(append(append(ops, f...), e...), remote.Op{Kind: remote.OpXattr, Ino: ino, Name: "user.k", Value: []byte("v")}))
	same := func() {
		s.Helper()
		fresh := s.machine()
		want := fresh.paths()
		if got := a.paths(); !maps.Equal(got, want) {
			s.Fatalf("who made it sees %v, who comes anew %v", got, want)
		}
		s.tells(b, "a commit", func() bool { return maps.Equal(b.paths(), want) })
		if b.resets != 1 {
			s.Errorf("%d resets", b.resets)
		}
	}
	same()
	if got := a.paths(); len(got) != 4 || got["/dir/file"] == "" {
		s.Fatalf("%v", got)
	}
	attr := f[0].Attr
	attr.Mode, attr.Mtime = 0o600, 2e18
	s.commit(a, []remote.Op{
		{Kind: remote.OpNode, Ino: ino, Attr: attr}, {Kind: remote.OpNoXattr, Ino: ino, Name: "user.k"},
		{Kind: remote.OpUnlink, Ino: ino, Parent: d, Name: "file"}, {Kind: remote.OpLink, Ino: ino, Parent: remote.Root, Name: "moved"},
	})
	same()
	s.commit(a, []remote.Op{{Kind: remote.OpUnlink, Ino: d, Parent: remote.Root, Name: "dir"}, {Kind: remote.OpUnlink, Ino: e[0].Ino, Parent: remote.Root, Name: "empty"}})
	same()
	if got := b.paths(); len(got) != 2 || got["/moved"] == "" {
		s.Fatalf("%v", got)
	}
}

// conflicts: a commit on a place where the head is known to be no more is a Conflict, and nothing happened.
func (s *stage) conflicts() {
	a, b := s.machine(), s.machine()
	old := a.pos
	_, ops := s.dir(b, remote.Root, "theirs")
	s.tells(b, "the head", func() bool { return true })
	s.commit(b, ops)
	s.tells(a, "a commit", func() bool { return a.pos != old })
	_, ops = s.dir(a, remote.Root, "ours")
	at := a.pos
	for _, base := range []remote.Position{old, {Seq: at.Seq, Hash: [32]byte{1}}} {
		if pos, err := a.Commit(s.Context(), base, ops); !remote.Is(err, remote.Conflict) || pos != base {
			s.Errorf("a commit on %d, not %d: %d, %v", base.Seq, at.Seq, pos.Seq, err)
		}
	}
	if s.load(a); a.pos != at || a.paths()["/ours"] != "" {
		s.Error("something happened")
	}
	s.commit(a, ops)
	s.tells(b, "a commit", func() bool { return b.paths()["/ours"] != "" })
}

// contents: what is stored is read by all, and nothing but that.
func (s *stage) contents() {
	a := s.machine()
	want := map[string][]byte{}
	var all []remote.Op
	for _, n := range []int{1, remote.ChunkSize - 1, remote.ChunkSize, remote.ChunkSize + 1, remote.MaxContent, remote.MaxContent + 1, 2*remote.MaxContent + 70_000} {
		name := fmt.Sprint("f", n)
		want["/"+name] = pattern(n)
		ops, err := s.file(a, remote.Root, name, want["/"+name])
		if err != nil {
			s.Fatal(err)
		}
		all = append(all, ops...)
	}
	s.commit(a, all)
	for who, m := range map[string]*machine{"who stored it": a, "another": s.machine()} {
		for ino, path := range m.named() {
			if p, ok := want[path]; ok {
				if got, err := m.reads(s.Context(), ino); err != nil || !bytes.Equal(got, p) {
					s.Errorf("%s, %s: %d bytes, %v", who, path, len(got), err)
				}
			}
		}
		for ino, path := range m.named() {
			if path != fmt.Sprint("/f", remote.ChunkSize+1) {
				continue
			}
			ref := m.extents[ino][0].Ref
			sealed, plain := make([]byte, 2*remote.SealedChunk), make([]byte, remote.ChunkSize)
			if err := m.Fetch(s.Context(), ref, 0, 2, sealed); err != nil {
				s.Fatal(err)
			}
			if err := m.Open(ref, 0, sealed[remote.SealedChunk:], plain); !remote.Is(err, remote.Integrity) {
				s.Errorf("%s opens another chunk: %v", who, err)
			}
			sealed[remote.ChunkSize] ^= 1
			if err := m.Open(ref, 0, sealed[:remote.SealedChunk], plain); !remote.Is(err, remote.Integrity) {
				s.Errorf("%s opens what was changed: %v", who, err)
			}
			rand.Read(ref.Object[1:])
			if err := m.Fetch(s.Context(), ref, 0, 1, sealed[:remote.SealedChunk]); !remote.Is(err, remote.Integrity) && !remote.Is(err, remote.NotExist) {
				s.Errorf("%s fetches what there is not: %v", who, err)
			}
		}
	}
	var err error
	if w, ok := a.Remote.(remote.WholeFiles); ok {
		_, err = w.StoreFile(s.Context(), remote.Root, 100, func(context.Context, uint64, []byte) error { return errTest }, nil)
	} else {
		_, err = a.Store(s.Context(), []remote.Piece{{Len: 100, Read: func(context.Context, int, []byte) error { return errTest }}}, nil)
	}
	if !errors.Is(err, errTest) {
		s.Errorf("content that can't be had: %v", err)
	}
}

// sinks: an error of the sink's ends the load and is returned by it, with the place up to which the sink has all; from there it goes on.
func (s *stage) sinks() {
	a, b := s.machine(), s.machine()
	for i := range 3 {
		_, ops := s.dir(b, remote.Root, fmt.Sprint("d", i))
		s.commit(b, ops)
	}
	s.tells(a, "all", func() bool { return a.paths()["/d2"] != "" })
	for fail := 1; ; fail++ {
		m := &machine{Remote: b.Remote, view: &view{fail: fail}}
		pos, err := m.Load(s.Context(), remote.Position{}, m.view)
		if err == nil {
			if fail == 1 {
				s.Error("the sink is never called")
			}
			break
		}
		if !errors.Is(err, errTest) || pos != m.view.pos {
			s.Errorf("the sink fails at call %d: %v at %d, it has all up to %d", fail, err, pos.Seq, m.view.pos.Seq)
		}
		m.pos, m.fail = pos, 0
		s.load(m)
		if got := m.paths(); !maps.Equal(got, b.paths()) {
			s.Errorf("after a failure at call %d: %v", fail, got)
		}
	}
}

// kinds: who gives up is told so, and no more than that happens.
func (s *stage) kinds() {
	a := s.machine()
	f, err := s.file(a, remote.Root, "file", pattern(1000))
	if err != nil {
		s.Fatal(err)
	}
	ctx, cancel := context.WithCancel(s.Context())
	cancel()
	gaveUp := func(what string, err error) {
		if err != nil && !remote.Is(err, remote.Canceled) && !remote.Is(err, remote.Timeout) {
			s.Errorf("%s, given up: %v", what, err)
		}
	}
	_, err = a.Load(ctx, a.pos, &view{})
	gaveUp("load", err)
	pos, err := a.Commit(ctx, a.pos, f)
	if gaveUp("commit", err); err != nil && pos != a.pos {
		s.Error("a failed commit moves")
	}
	s.load(a)
	if a.paths()["/file"] == "" {
		s.commit(a, f)
	}
	gaveUp("fetch", a.Fetch(ctx, a.extents[f[0].Ino][0].Ref, 0, 1, make([]byte, remote.SealedChunk)))
	if got, err := a.reads(s.Context(), f[0].Ino); err != nil || !bytes.Equal(got, pattern(1000)) {
		s.Error(len(got), err)
	}
}

// pattern is content of a size.
func pattern(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i*7 + i/251 + n)
	}
	return b
}
