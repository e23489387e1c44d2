package vault

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"sync"
	"testing"

	"megafs/crypto"
	"megafs/remote"
)

// TestCommitsAndLoads commits on one machine and loads on another, fresh and known.
func TestCommitsAndLoads(t *testing.T) {
	both(t, func(t *testing.T, on kind) {
		w := newWorld(t, on)
		a := w.open(w.store, w.state)
		_, pos := w.load(a, remote.Position{})
		pos, err := a.Commit(ctx, pos, []remote.Op{node(1), node(2)})
		if err != nil {
			t.Fatal(err)
		}
		b := w.open(w.store, t.TempDir())
		m, bpos := w.load(b, remote.Position{})
		if bpos != pos || len(m.ops) != 4 || m.resets != 1 {
			t.Fatal(bpos, pos, len(m.ops))
		}
		if bpos, err = b.Register(ctx, bpos, 2); err != nil {
			t.Fatal(err)
		}
		if _, err := a.Commit(ctx, pos, []remote.Op{node(3)}); !remote.Is(err, remote.Conflict) {
			t.Fatal("commit on an old head:", err)
		}
		m, pos = w.load(a, pos)
		if pos != bpos || len(m.ops) != 1 || m.resets != 0 {
			t.Fatal(pos, bpos, m)
		}
		if _, err := a.Commit(ctx, pos, []remote.Op{node(3)}); err != nil {
			t.Fatal(err)
		}
	})
}

// TestBigBatches spreads a batch over entries, and one that is broken off never happens.
func TestBigBatches(t *testing.T) {
	w := newWorld(t, mem)
	a := w.open(w.store, w.state)
	_, pos := w.load(a, remote.Position{})
	var ops []remote.Op
	for i := range 70_000 {
		ops = append(ops, node(i+1))
	}
	before := w.store.Copy()
	end, err := a.Commit(ctx, pos, ops)
	if err != nil {
		t.Fatal(err)
	}
	if end.Seq < pos.Seq+2 {
		t.Fatal("one entry only:", end.Seq)
	}
	m, _ := w.load(w.open(w.store, t.TempDir()), pos)
	if len(m.batches) != 1 || len(m.ops) != len(ops) {
		t.Fatal(len(m.batches), len(m.ops))
	}
	// A machine that died after the first part.
	first, _ := w.store.Get(ctx, logName(pos.Seq+1), maxEntry)
	w.store.Become(before)
	w.store.Poke(logName(pos.Seq+1), first)
	b := w.open(w.store, t.TempDir())
	m, bpos := w.load(b, remote.Position{})
	if bpos != pos || len(m.ops) != 2 {
		t.Fatal("half a batch was told:", bpos, len(m.ops))
	}
	if bpos, err = b.Register(ctx, bpos, 2); err != nil {
		t.Fatal(err)
	}
	m, cpos := w.load(w.open(w.store, t.TempDir()), remote.Position{})
	if cpos != bpos || len(m.ops) != 3 {
		t.Fatal("after the broken batch:", cpos, bpos, len(m.ops))
	}
}

// TestContent stores pieces of all sizes and reads them back chunk by chunk.
func TestContent(t *testing.T) {
	w := newWorld(t, mem)
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

// TestSnapshots loads from a snapshot, and without it when it is damaged.
func TestSnapshots(t *testing.T) {
	both(t, func(t *testing.T, on kind) {
		w := newWorld(t, on)
		a := w.open(w.store, w.state)
		m, pos := w.load(a, remote.Position{})
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
		m, bpos := w.load(w.open(w.store, t.TempDir()), remote.Position{})
		if bpos != pos || len(m.ops) != len(state)+1 || len(m.batches) != 4 {
			t.Fatal(bpos, pos, len(m.ops), len(m.batches))
		}
		none := func(func(remote.Extent) error) error { return nil }
		for _, n := range w.store.Names() {
			if n[:2] != "s/" {
				continue
			}
			for _, gone := range []bool{false, true} {
				saved := w.store.Copy()
				if gone {
					w.store.Poke(n, nil)
				} else {
					flip(w.store, n, 100)
				}
				m, bpos := w.load(w.open(w.store, t.TempDir()), remote.Position{})
				if bpos != pos || len(m.ops) != len(state)+1 {
					t.Fatal("without", n, ":", bpos, len(m.ops))
				}
				found := 0
				if _, err := a.Verify(ctx, none, func(Damage) { found++ }); err != nil || found == 0 {
					t.Error("audit of a damaged snapshot:", found, err)
				}
				w.store.Become(saved)
			}
		}
		if sum, err := a.Verify(ctx, none, func(d Damage) { t.Error(d) }); err != nil || sum.Snapshots != 1 || sum.Entries != pos.Seq {
			t.Fatal(sum, err)
		}
	})
}

// TestCommitAnswers commits to stores that answer wrongly, or whose answer is lost.
func TestCommitAnswers(t *testing.T) {
	both(t, func(t *testing.T, on kind) {
		w := newWorld(t, on)
		a := w.open(w.store, w.state)
		_, pos := w.load(a, remote.Position{})
		w.give(a, &liar{Store: w.store, exist: true})
		if _, err := a.Commit(ctx, pos, []remote.Op{node(1)}); !errors.Is(err, ErrStoreContract) {
			t.Error("V26:", err)
		}
		w.give(a, &liar{Store: w.store, lose: true})
		if _, err := a.Commit(ctx, pos, []remote.Op{node(1)}); err != nil {
			t.Error("a commit whose answer was lost:", err)
		}
	})
}

// TestLoadsAndCommitsAtOnce: while one goroutine commits, others load. Nobody sees a clone, and no commit conflicts.
func TestLoadsAndCommitsAtOnce(t *testing.T) {
	w, a, pos := begun(t, mem)
	id, _ := a.Device()
	done := make(chan struct{})
	var wg sync.WaitGroup
	for _, from := range []remote.Position{{}, pos} {
		wg.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				if _, err := a.Load(ctx, from, w.sink()); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	for i := range 60 {
		var err error
		if pos, err = a.Commit(ctx, pos, []remote.Op{node(i + 1)}); err != nil {
			t.Error(err)
			break
		}
	}
	close(done)
	wg.Wait()
	if id2, _ := a.Device(); id2 != id {
		t.Error("saw a clone")
	}
	if _, got := w.load(w.open(w.store, t.TempDir()), remote.Position{}); got != pos {
		t.Error(got, pos)
	}
}

// TestSinkRefuses: what the sink did not take is not built on, whatever the reason.
func TestSinkRefuses(t *testing.T) {
	both(t, func(t *testing.T, on kind) {
		for _, kind := range []remote.Kind{remote.IO, remote.Integrity} {
			w, a, _ := begun(t, on)
			b, pos, _ := w.second()
			_, start := w.load(a, remote.Position{})
			pos = commits(t, b, pos, 1, 3)
			s := &refusing{left: 1, err: remote.E("apply", "", kind, nil)}
			got, err := a.Load(ctx, start, s)
			if !remote.Is(err, kind) || got.Seq != start.Seq+1 {
				t.Fatal(got, err)
			}
			if kind == remote.Integrity && !errors.Is(err, ErrInvalidEntry) {
				t.Fatal(err)
			}
			want := remote.Conflict
			if kind == remote.Integrity {
				want = remote.ReadOnly
			}
			for _, base := range []remote.Position{start, got} {
				if _, err := a.Commit(ctx, base, []remote.Op{node(9)}); !remote.Is(err, want) {
					t.Fatal(err)
				}
			}
			if kind == remote.IO {
				if _, got := w.load(a, got); got != pos {
					t.Fatal(got)
				}
			}
		}
	})
}

// TestInterleavedParts: parts that do not lie one after the other, of one device and one batch, are no batch.
func TestInterleavedParts(t *testing.T) {
	w, a, pos := begun(t, mem)
	b, bpos, _ := w.second()
	w.load(a, pos)
	var ops []remote.Op
	for i := range 70_000 {
		ops = append(ops, node(i+1))
	}
	s := &evil{Store: w.store}
	n := 0
	s.put = func(name string, data []byte) (bool, error) {
		if strings.HasPrefix(name, "l/") {
			if n++; n == 2 {
				// Between the first part and the second another machine commits.
				_, at := w.load(b, bpos)
				commits(t, b, at, 100_000, 1)
			}
		}
		return false, nil
	}
	w.give(a, s)
	if _, err := a.Commit(ctx, bpos, ops); !remote.Is(err, remote.Conflict) {
		t.Fatal(err)
	}
	m, at := w.load(a, bpos)
	if len(m.ops) != 1 || at.Seq != bpos.Seq+2 {
		t.Fatal("half a batch:", len(m.ops), at)
	}
	end, err := a.Commit(ctx, at, ops)
	if err != nil {
		t.Fatal(err)
	}
	if m, got := w.load(b, at); got != end || len(m.batches) != 1 || len(m.ops) != len(ops) {
		t.Fatal(got, end, len(m.batches))
	}
}

// TestRootFits: the largest table of a snapshot's parts can be sealed.
func TestRootFits(t *testing.T) {
	r := root{parts: make([]partRef, maxParts)}
	if n := len(r.encode(crypto.VaultID{})); n > crypto.MaxPlain {
		t.Fatal(n)
	}
}

// TestUnsupportedEntry: an entry of a kind this version does not know is no attack; nothing is recorded against the store.
func TestUnsupportedEntry(t *testing.T) {
	both(t, func(t *testing.T, on kind) {
		w, a, pos := begun(t, on)
		e := &entry{seq: pos.Seq + 1, prev: pos.Hash, device: remote.DeviceID{9}, dev: link{1, [32]byte{}}, parts: 1,
			keyring: link{w.ring.Generation(), w.ring.Hash()}}
		body := bodyOf(t, w.ring.Keys(), e)
		body[entryHead-1] = 77
		sealed, _ := w.ring.Keys().Seal(crypto.ClassLog, u64(e.seq), body)
		w.store.Poke(logName(e.seq), sealed)
		_, err := a.Load(ctx, pos, w.sink())
		if !errors.Is(err, ErrUnsupported) || !remote.Is(err, remote.NotSupported) || a.Info().Violation != "" {
			t.Fatal(err, a.Info().Violation)
		}
		if _, err := a.Commit(ctx, pos, []remote.Op{node(1)}); !remote.Is(err, remote.Conflict) {
			t.Fatal("committed past it:", err)
		}
	})
}
