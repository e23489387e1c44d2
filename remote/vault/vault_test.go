package vault

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"megafs/crypto"
	"megafs/remote"
	"megafs/remote/blob"
	"megafs/remote/wire"
)

var ctx = context.Background()

// memory is a sink that keeps what it is told.
type memory struct {
	resets  int
	batches []remote.Batch
	ops     []remote.Op
}

func (m *memory) Reset() error { m.resets++; m.ops, m.batches = nil, nil; return nil }
func (m *memory) Apply(b remote.Batch) error {
	m.batches = append(m.batches, b)
	m.ops = append(m.ops, b.Ops...)
	return nil
}

// world is a store with a vault, and the state folder of the machine that made it.
type world struct {
	t     *testing.T
	store *blob.MemStore
	ring  *crypto.Keyring
	state string
}

func newWorld(t *testing.T) *world {
	t.Helper()
	crypto.CheapKDFForTests(t)
	w := &world{t: t, store: blob.Mem(), state: t.TempDir()}
	ring, _, err := Create(ctx, w.store, w.state, crypto.NewSecret([]byte("lantern gravel ointment velvet crumb")), "", crypto.DefaultKDF)
	if err != nil {
		t.Fatal(err)
	}
	w.ring = ring
	return w
}

func (w *world) open(s blob.Store, state string) *Vault {
	w.t.Helper()
	v, err := Open(ctx, s, Options{StateDir: state, Keyring: w.ring, TrustFirstUse: true, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		w.t.Fatal(err)
	}
	return v
}

func load(t *testing.T, v *Vault, from remote.Position) (*memory, remote.Position) {
	t.Helper()
	m := &memory{}
	pos, err := v.Load(ctx, from, m)
	if err != nil {
		t.Fatal(err)
	}
	return m, pos
}

func node(i int) remote.Op {
	return remote.Op{Kind: remote.OpNode, Ino: remote.Ino(1<<remote.InoBits + i), Attr: remote.Attr{Type: remote.File, Mode: 0o644}}
}

// TestCommitsAndLoads commits on one machine and loads on another, fresh and known.
func TestCommitsAndLoads(t *testing.T) {
	w := newWorld(t)
	a := w.open(w.store, w.state)
	_, pos := load(t, a, remote.Position{})
	pos, err := a.Commit(ctx, pos, []remote.Op{node(1), node(2)})
	if err != nil {
		t.Fatal(err)
	}
	b := w.open(w.store, t.TempDir())
	m, bpos := load(t, b, remote.Position{})
	if bpos != pos || len(m.ops) != 4 || m.resets != 1 {
		t.Fatal(bpos, pos, len(m.ops))
	}
	if bpos, err = b.Register(ctx, bpos, 2); err != nil {
		t.Fatal(err)
	}
	if _, err := a.Commit(ctx, pos, []remote.Op{node(3)}); !remote.Is(err, remote.Conflict) {
		t.Fatal("commit on an old head:", err)
	}
	m, pos = load(t, a, pos)
	if pos != bpos || len(m.ops) != 1 || m.resets != 0 {
		t.Fatal(pos, bpos, m)
	}
	if _, err := a.Commit(ctx, pos, []remote.Op{node(3)}); err != nil {
		t.Fatal(err)
	}
}

// TestBigBatches spreads a batch over entries, and one that is broken off never happens.
func TestBigBatches(t *testing.T) {
	w := newWorld(t)
	a := w.open(w.store, w.state)
	_, pos := load(t, a, remote.Position{})
	var ops []remote.Op
	for i := range 70_000 {
		ops = append(ops, node(i+1))
	}
	before := w.store.Clone()
	end, err := a.Commit(ctx, pos, ops)
	if err != nil {
		t.Fatal(err)
	}
	if end.Seq < pos.Seq+2 {
		t.Fatal("one entry only:", end.Seq)
	}
	m, _ := load(t, w.open(w.store, t.TempDir()), pos)
	if len(m.batches) != 1 || len(m.ops) != len(ops) {
		t.Fatal(len(m.batches), len(m.ops))
	}
	// A machine that died after the first part.
	first, _ := w.store.Get(ctx, logName(pos.Seq+1), maxEntry)
	w.store.Restore(before)
	w.store.Poke(logName(pos.Seq+1), first)
	b := w.open(w.store, t.TempDir())
	m, bpos := load(t, b, remote.Position{})
	if bpos != pos || len(m.ops) != 2 {
		t.Fatal("half a batch was told:", bpos, len(m.ops))
	}
	if bpos, err = b.Register(ctx, bpos, 2); err != nil {
		t.Fatal(err)
	}
	m, cpos := load(t, w.open(w.store, t.TempDir()), remote.Position{})
	if cpos != bpos || len(m.ops) != 3 {
		t.Fatal("after the broken batch:", cpos, bpos, len(m.ops))
	}
}

// piece returns a piece of content and its bytes.
func piece(n, seed int) (remote.Piece, []byte) {
	p := make([]byte, n)
	for k := range p {
		p[k] = byte(k*seed + n)
	}
	return remote.Piece{Len: n, Read: func(_ context.Context, off int, dst []byte) error { copy(dst, p[off:]); return nil }}, p
}

// TestContent stores pieces of all sizes and reads them back chunk by chunk.
func TestContent(t *testing.T) {
	w := newWorld(t)
	v := w.open(w.store, w.state)
	var pieces []remote.Piece
	var want [][]byte
	for i, n := range []int{1, 100, 16383, 16384, 16385, 5000, 4 << 20, 300_000, 9000, 9000} {
		p, b := piece(n, i)
		pieces, want = append(pieces, p), append(want, b)
	}
	refs, err := v.Store(ctx, pieces, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i, r := range refs {
		first, last := int(r.Off)/remote.ChunkSize, (int(r.Off)+len(want[i])-1)/remote.ChunkSize
		if len(want[i]) < remote.ChunkSize && first != last {
			t.Errorf("piece %d lies in two chunks", i)
		}
		sealed := make([]byte, (last-first+1)*remote.SealedChunk)
		if err := v.Fetch(ctx, r, first, last-first+1, sealed); err != nil {
			t.Fatal(err)
		}
		var got []byte
		for c := first; c <= last; c++ {
			chunk := make([]byte, remote.ChunkSize)
			if err := v.Open(r, c, sealed[(c-first)*remote.SealedChunk:][:remote.SealedChunk], chunk); err != nil {
				t.Fatal(err)
			}
			got = append(got, chunk...)
		}
		if got = got[int(r.Off)%remote.ChunkSize:][:len(want[i])]; !bytes.Equal(got, want[i]) {
			t.Errorf("piece %d differs", i)
		}
	}
	if n := len(w.store.Names()); n > 6 {
		t.Error("not packed:", w.store.Names())
	}
	boom := errors.New("boom")
	pieces[2].Read = func(context.Context, int, []byte) error { return boom }
	var pe *PieceError
	if _, err := v.Store(ctx, pieces, nil); !errors.As(err, &pe) || pe.Index != 2 || !errors.Is(err, boom) {
		t.Fatal(err)
	}
}

// TestP4Content does to a content object what a hostile store could: no read takes it for true.
func TestP4Content(t *testing.T) {
	w := newWorld(t)
	v := w.open(w.store, w.state)
	pa, _ := piece(3*remote.ChunkSize, 3)
	refs, err := v.Store(ctx, []remote.Piece{pa}, nil)
	if err != nil {
		t.Fatal(err)
	}
	a := refs[0]
	pb, _ := piece(3*remote.ChunkSize, 5)
	refs, err = v.Store(ctx, []remote.Piece{pb}, nil)
	if err != nil {
		t.Fatal(err)
	}
	b := refs[0]
	good, _ := w.store.Get(ctx, contentName(a.Object), 1<<30)
	other, _ := w.store.Get(ctx, contentName(b.Object), 1<<30)
	chunk := func(o []byte, i int) []byte {
		return o[crypto.HeaderLen+i*remote.SealedChunk:][:remote.SealedChunk]
	}
	for name, c := range map[string]struct {
		do   func(o []byte) []byte
		want error
	}{
		"V01 flip": {func(o []byte) []byte { chunk(o, 1)[77] ^= 1; return o }, ErrTampered},
		"V03 swap": {func([]byte) []byte { return other }, ErrTampered},
		"V03 swap, same id": {func(o []byte) []byte {
			return append(o[:crypto.HeaderLen:crypto.HeaderLen], other[crypto.HeaderLen:]...)
		}, ErrTampered},
		"V04 chunks": {func(o []byte) []byte {
			x := bytes.Clone(chunk(o, 0))
			copy(chunk(o, 0), chunk(o, 1))
			copy(chunk(o, 1), x)
			return o
		}, ErrTampered},
		"V05 splice":    {func(o []byte) []byte { copy(chunk(o, 1), chunk(other, 1)); return o }, ErrTampered},
		"V06 truncated": {func(o []byte) []byte { return o[:len(o)-2*remote.SealedChunk] }, ErrTampered},
		"V07 emptied":   {func([]byte) []byte { return []byte{} }, ErrTampered},
		"V10 zeros":     {func(o []byte) []byte { clear(chunk(o, 1)); return o }, ErrTampered},
		"V11 beheaded": {func(o []byte) []byte {
			return append(o[:crypto.HeaderLen:crypto.HeaderLen], o[crypto.HeaderLen+remote.SealedChunk:]...)
		}, ErrTampered},
		"V12 gone": {func([]byte) []byte { return nil }, ErrMissing},
		"V15 log as content": {func([]byte) []byte {
			l, _ := w.store.Get(ctx, logName(1), maxEntry)
			return append(l, make([]byte, len(good)-len(l))...)
		}, ErrTampered},
	} {
		t.Run(name, func(t *testing.T) {
			w.store.Poke(contentName(a.Object), c.do(bytes.Clone(good)))
			defer w.store.Poke(contentName(a.Object), good)
			sealed := make([]byte, remote.SealedChunk)
			err := v.Fetch(ctx, a, 1, 1, sealed)
			if err == nil {
				err = v.Open(a, 1, sealed, make([]byte, remote.ChunkSize))
			}
			wantErr(t, err, c.want)
			// An audit finds it too, and nothing else.
			var found []Damage
			_, err = v.Verify(ctx, func(y func(remote.Extent) error) error {
				return errors.Join(y(remote.Extent{Len: 1, Ref: a}), y(remote.Extent{Len: 1, Ref: b}))
			}, func(d Damage) { found = append(found, d) })
			if err != nil || len(found) != 1 || found[0].Object != contentName(a.Object) {
				t.Error("audit:", found, err)
			}
		})
	}
}

// TestSnapshots loads from a snapshot, and without it when it is damaged.
func TestSnapshots(t *testing.T) {
	w := newWorld(t)
	a := w.open(w.store, w.state)
	m, pos := load(t, a, remote.Position{})
	state := append([]remote.Op(nil), m.ops...)
	for i := range 5 {
		state = append(state, node(i+1))
		var err error
		if pos, err = a.Commit(ctx, pos, []remote.Op{node(i + 1)}); err != nil {
			t.Fatal(err)
		}
	}
	pos, err := a.Snapshot(ctx, pos, func(yield func(remote.Op) error) error {
		for _, op := range state {
			if err := yield(op); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	pos, err = a.Commit(ctx, pos, []remote.Op{node(9)})
	if err != nil {
		t.Fatal(err)
	}
	m, bpos := load(t, w.open(w.store, t.TempDir()), remote.Position{})
	if bpos != pos || len(m.ops) != len(state)+1 || len(m.batches) != 4 {
		t.Fatal(bpos, pos, len(m.ops), len(m.batches))
	}
	none := func(func(remote.Extent) error) error { return nil }
	for _, n := range w.store.Names() {
		if n[:2] != "s/" {
			continue
		}
		for _, gone := range []bool{false, true} {
			saved := w.store.Clone()
			if gone {
				w.store.Poke(n, nil)
			} else {
				flip(w.store, n, 100)
			}
			m, bpos := load(t, w.open(w.store, t.TempDir()), remote.Position{})
			if bpos != pos || len(m.ops) != len(state)+1 {
				t.Fatal("without", n, ":", bpos, len(m.ops))
			}
			found := 0
			if _, err := a.Verify(ctx, none, func(Damage) { found++ }); err != nil || found == 0 {
				t.Error("audit of a damaged snapshot:", found, err)
			}
			w.store.Restore(saved)
		}
	}
	if sum, err := a.Verify(ctx, none, func(d Damage) { t.Error(d) }); err != nil || sum.Snapshots != 1 || sum.Entries != pos.Seq {
		t.Fatal(sum, err)
	}
}

func wantErr(t *testing.T, err, is error) {
	t.Helper()
	if !errors.Is(err, is) || !remote.Is(err, remote.Integrity) {
		t.Fatalf("got %v, want %v", err, is)
	}
}

func flip(s *blob.MemStore, name string, at int) {
	b, _ := s.Get(ctx, name, 1<<30)
	b[at] ^= 1
	s.Poke(name, b)
}

// TestP4HostileLog does to the log what a hostile store could, before a machine that knows the vault.
func TestP4HostileLog(t *testing.T) {
	cut := func(s *blob.MemStore, f func(b []byte) []byte) {
		b, _ := s.Get(ctx, logName(4), maxEntry)
		s.Poke(logName(4), f(b))
	}
	for name, c := range map[string]struct {
		do   func(s *blob.MemStore, old *blob.MemStore)
		want error
	}{
		"V16 flip":      {func(s, _ *blob.MemStore) { flip(s, logName(4), 200) }, ErrTampered},
		"V17 moved":     {func(s, _ *blob.MemStore) { b, _ := s.Get(ctx, logName(3), maxEntry); s.Poke(logName(4), b) }, ErrTampered},
		"V18 gap":       {func(s, _ *blob.MemStore) { s.Poke(logName(4), nil) }, ErrGap},
		"V19 rollback":  {func(s, old *blob.MemStore) { s.Restore(old) }, ErrRollback},
		"V07 emptied":   {func(s, _ *blob.MemStore) { s.Poke(logName(4), []byte{}) }, ErrTampered},
		"V51 size bomb": {func(s, _ *blob.MemStore) { s.Poke(logName(4), make([]byte, maxEntry+1)) }, ErrTampered},
		"V06 truncated": {func(s, _ *blob.MemStore) { cut(s, func(b []byte) []byte { return b[:len(b)-1] }) }, ErrTampered},
		"V08 extended":  {func(s, _ *blob.MemStore) { cut(s, func(b []byte) []byte { return append(b, 0) }) }, ErrTampered},
		"V12 all gone": {func(s, _ *blob.MemStore) {
			for _, n := range s.Names() {
				s.Poke(n, nil)
			}
		}, ErrRollback},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			a := w.open(w.store, w.state)
			_, pos := load(t, a, remote.Position{})
			old := w.store.Clone()
			var mid remote.Position
			for i := range 5 {
				var err error
				if pos, err = a.Commit(ctx, pos, []remote.Op{node(i + 1)}); err != nil {
					t.Fatal(err)
				}
				if pos.Seq == 3 {
					mid = pos
				}
			}
			a.Close()
			c.do(w.store, old)
			b := w.open(w.store, w.state)
			_, err := b.Load(ctx, mid, &memory{})
			wantErr(t, err, c.want)
			if _, err := b.Commit(ctx, pos, []remote.Op{node(9)}); !remote.Is(err, remote.ReadOnly) {
				t.Fatal("a commit after a violation:", err)
			}
			b.Close()
			if _, err := w.open(w.store, w.state).Load(ctx, mid, &memory{}); !remote.Is(err, remote.ReadOnly) {
				t.Fatal("the violation was forgotten:", err)
			}
		})
	}
}

// TestP4Fork shows two machines different successors of one entry, and then one machine the other's.
func TestP4Fork(t *testing.T) {
	w := newWorld(t)
	a := w.open(w.store, w.state)
	_, pos := load(t, a, remote.Position{})
	bstate := t.TempDir()
	b := w.open(w.store, bstate)
	load(t, b, remote.Position{})
	pos, err := b.Register(ctx, pos, 2)
	if err != nil {
		t.Fatal(err)
	}
	load(t, a, remote.Position{})
	fork := w.store.Clone()
	a.store = fork
	if _, err := a.Commit(ctx, pos, []remote.Op{node(1)}); err != nil {
		t.Fatal(err)
	}
	bpos, err := b.Commit(ctx, pos, []remote.Op{node(2)})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.Commit(ctx, bpos, []remote.Op{node(3)}); err != nil {
		t.Fatal(err)
	}
	// The store lets a's machine see b's branch.
	a.store = w.store
	_, err = a.Load(ctx, pos, &memory{})
	wantErr(t, err, ErrFork)
}

// TestP4EveryByte flips every byte of an entry, and cuts it everywhere; none is taken.
func TestP4EveryByte(t *testing.T) {
	w := newWorld(t)
	b, _ := w.store.Get(ctx, logName(1), maxEntry)
	k := w.ring.Keys()
	for i := range b {
		b[i] ^= 0x40
		if _, err := openEntry(k, 1, b); err == nil {
			t.Fatal("taken with byte", i, "flipped")
		}
		b[i] ^= 0x40
		if _, err := openEntry(k, 1, b[:i]); err == nil {
			t.Fatal("taken when cut at", i)
		}
	}
	if _, err := openEntry(k, 1, b); err != nil {
		t.Fatal(err)
	}
}

// TestP4TrustFiles tears, edits and loses what a machine remembers.
func TestP4TrustFiles(t *testing.T) {
	w := newWorld(t)
	a := w.open(w.store, w.state)
	_, pos := load(t, a, remote.Position{})
	for i := range 3 {
		pos, _ = a.Commit(ctx, pos, []remote.Op{node(i + 1)})
	}
	a.Close()
	opts := Options{StateDir: w.state, Keyring: w.ring, Log: slog.New(slog.DiscardHandler)}
	files, _ := filepath.Glob(filepath.Join(w.state, "trust-*"))
	if len(files) != 2 {
		t.Fatal(files)
	}
	for _, f := range files {
		good, _ := os.ReadFile(f)
		os.WriteFile(f, good[:len(good)/2], 0o600)
		v, err := Open(ctx, w.store, opts)
		if err != nil {
			t.Fatal("with one torn:", err)
		}
		if _, err := v.Load(ctx, remote.Position{}, &memory{}); err != nil {
			t.Fatal(err)
		}
		os.WriteFile(f, good, 0o600)
	}
	for _, f := range files {
		b, _ := os.ReadFile(f)
		b[30] ^= 1
		os.WriteFile(f, b, 0o600)
	}
	if _, err := Open(ctx, w.store, opts); !errors.Is(err, ErrNotTrusted) {
		t.Fatal("both edited:", err)
	}
	for _, f := range files {
		os.Remove(f)
	}
	if _, err := Open(ctx, w.store, opts); !errors.Is(err, ErrNotTrusted) {
		t.Fatal("both lost:", err)
	}
}

// TestP4Keyring replaces vault and keyring below a machine that knows them.
func TestP4Keyring(t *testing.T) {
	w := newWorld(t)
	other := newWorld(t)
	if _, err := Open(ctx, other.store, Options{StateDir: w.state, Keyring: other.ring}); !errors.Is(err, ErrVaultReplaced) {
		t.Error("V43:", err)
	}
	if _, _, err := ReadKeyring(ctx, blob.Mem(), w.state); !errors.Is(err, ErrVaultMissing) {
		t.Error("V44:", err)
	}
	a := w.open(w.store, w.state)
	_, pos := load(t, a, remote.Position{})
	object, next, err := w.ring.Repass(crypto.NewSecret([]byte("another gravel ointment velvet crumb")), crypto.DefaultKDF)
	if err != nil {
		t.Fatal(err)
	}
	if pos, err = a.AddKeyring(ctx, pos, object, next); err != nil {
		t.Fatal(err)
	}
	if _, err := a.Commit(ctx, pos, []remote.Op{node(1)}); err != nil {
		t.Fatal(err)
	}
	a.Close()
	if _, err := Open(ctx, w.store, Options{StateDir: w.state, Keyring: w.ring}); !errors.Is(err, ErrKeyringRollback) {
		t.Error("V41, known:", err)
	}
	// A machine that knows nothing finds out by the log, when the store hides the new one.
	w.store.Poke(keyringName(2), nil)
	b := w.open(w.store, t.TempDir())
	_, err = b.Load(ctx, remote.Position{}, &memory{})
	wantErr(t, err, ErrKeyringRollback)
	w.store.Poke(keyringName(2), object)
	w.ring = next
	load(t, w.open(w.store, w.state), remote.Position{})
}

// TestDeviceClone copies a state folder and lets both go on: the second takes a new name.
func TestDeviceClone(t *testing.T) {
	w := newWorld(t)
	a := w.open(w.store, w.state)
	_, pos := load(t, a, remote.Position{})
	twin := t.TempDir()
	if err := os.CopyFS(twin, os.DirFS(w.state)); err != nil {
		t.Fatal(err)
	}
	if _, err := a.Commit(ctx, pos, []remote.Op{node(1)}); err != nil {
		t.Fatal(err)
	}
	b := w.open(w.store, twin)
	id, n := b.Device()
	load(t, b, remote.Position{})
	if id2, n2 := b.Device(); id2 == id || n == 0 || n2 != 0 {
		t.Fatal("still the same device:", n, n2)
	}
}

// hookStore calls after each Put.
type hookStore struct {
	*blob.MemStore
	after func()
}

func (h *hookStore) Put(ctx context.Context, name string, data []byte) error {
	err := h.MemStore.Put(ctx, name, data)
	h.after()
	return err
}

// TestOwnCrash dies between the store's taking a commit and remembering it: that is no clone.
func TestOwnCrash(t *testing.T) {
	w := newWorld(t)
	a := w.open(w.store, w.state)
	_, pos := load(t, a, remote.Position{})
	saved := t.TempDir()
	a.store = &hookStore{MemStore: w.store, after: func() { os.CopyFS(saved, os.DirFS(w.state)) }}
	if _, err := a.Commit(ctx, pos, []remote.Op{node(1)}); err != nil {
		t.Fatal(err)
	}
	b := w.open(w.store, saved)
	id, _ := b.Device()
	load(t, b, remote.Position{})
	if id2, n2 := b.Device(); id2 != id || n2 == 0 {
		t.Fatal("took its own commit for a clone's")
	}
}

// liar is a store whose Put always says that the name is taken, or whose answers get lost.
type liar struct {
	*blob.MemStore
	exist, lose bool
}

func (l *liar) Put(ctx context.Context, name string, data []byte) error {
	if l.exist {
		return remote.E("put", name, remote.Exist, nil)
	}
	err := l.MemStore.Put(ctx, name, data)
	if l.lose {
		return remote.E("put", name, remote.Timeout, err)
	}
	return err
}

// TestCommitAnswers commits to stores that answer wrongly, or whose answer is lost.
func TestCommitAnswers(t *testing.T) {
	w := newWorld(t)
	a := w.open(w.store, w.state)
	_, pos := load(t, a, remote.Position{})
	a.store = &liar{MemStore: w.store, exist: true}
	if _, err := a.Commit(ctx, pos, []remote.Op{node(1)}); !errors.Is(err, ErrStoreContract) {
		t.Error("V26:", err)
	}
	a.store = &liar{MemStore: w.store, lose: true}
	if _, err := a.Commit(ctx, pos, []remote.Op{node(1)}); err != nil {
		t.Error("a commit whose answer was lost:", err)
	}
}

// FuzzEntry decodes foreign bodies: what is taken is encoded to the same bytes again.
func FuzzEntry(f *testing.F) {
	var vid crypto.VaultID
	f.Add(make([]byte, 512))
	e := entry{seq: 1, parts: 1, typ: entryKeyring}
	b := make([]byte, 0, 512)
	b = append(b, 0, 1)
	b = append(b, vid[:]...)
	b = append(b, u64(1)...)
	b = append(b, make([]byte, 512-len(b))...)
	b[entryHead-2] = 1
	b[entryHead-1] = e.typ
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		e, err := decodeEntry(vid, 1, b)
		if err != nil {
			return
		}
		again := wire.AppendOps(nil, e.list)
		if _, rest := binary.Uvarint(again); len(e.list) != e.n || !bytes.Equal(again[rest:], e.ops) {
			t.Fatal("ops are not what they were read from")
		}
	})
}

// FuzzRoot decodes foreign snapshot roots.
func FuzzRoot(f *testing.F) {
	var vid crypto.VaultID
	r := root{at: link{Seq: 7}, parts: []partRef{{n: 3}}}
	f.Add(r.encode(vid))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := decodeRoot(vid, 7, b)
		if err == nil && !bytes.Equal(r.encode(vid), b) {
			t.Fatal("not the only encoding")
		}
	})
}

// FuzzTrust reads foreign trust files: without the key none is taken.
func FuzzTrust(f *testing.F) {
	f.Add([]byte(trustMagic))
	crypto.CheapKDFForTests(f)
	_, _, ring, err := crypto.CreateKeyring(crypto.NewSecret([]byte("lantern gravel ointment velvet crumb")), "", crypto.DefaultKDF)
	if err != nil {
		f.Fatal(err)
	}
	k := ring.Keys()
	f.Fuzz(func(t *testing.T, b []byte) {
		if decodeTrust(b, k) != nil {
			t.Fatal("taken")
		}
	})
}
