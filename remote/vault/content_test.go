package vault

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"testing"

	"megafs/crypto"
	"megafs/remote"
)

// stored is a content object and the bytes that were put into it.
type stored struct {
	ref  remote.Ref
	want []byte
}

func (w *world) storeContent(v *Vault, chunks, seed int) stored {
	w.t.Helper()
	p, want := piece(chunks*remote.ChunkSize, seed)
	refs, err := v.Store(ctx, []remote.Piece{p}, nil)
	must(w.t, err)
	return stored{refs[0], want}
}

// read reads chunk i, asking the store for n chunks from first on. What it returns without an error is right.
func (c stored) read(t testing.TB, v *Vault, first, n, i int) error {
	t.Helper()
	sealed := bytes.Repeat([]byte{0xa5}, n*remote.SealedChunk)
	if err := v.Fetch(ctx, c.ref, first, n, sealed); err != nil {
		return err
	}
	dst := bytes.Repeat([]byte{0x5a}, remote.ChunkSize)
	err := v.Open(c.ref, i, sealed[(i-first)*remote.SealedChunk:][:remote.SealedChunk], dst)
	want := c.want[i*remote.ChunkSize:][:remote.ChunkSize]
	if err == nil && !bytes.Equal(dst, want) {
		t.Fatalf("chunk %d: wrong bytes without an error", i)
	}
	if err != nil && (bytes.Contains(dst, want[len(want)-64:]) || bytes.Contains(dst, []byte(canary))) {
		t.Fatalf("chunk %d: plaintext beside an error", i)
	}
	return err
}

// audit verifies a vault that refers to some objects, and returns what was found.
func audit(t testing.TB, v *Vault, objects ...stored) []Damage {
	t.Helper()
	var found []Damage
	_, err := v.Verify(ctx, func(yield func(remote.Extent) error) error {
		var err error
		for _, o := range objects {
			err = errors.Join(err, yield(remote.Extent{Len: uint64(len(o.want)), Ref: o.ref}))
		}
		return err
	}, func(d Damage) { found = append(found, d) })
	must(t, err)
	return found
}

func chunkOf(o []byte, i int) []byte {
	return o[crypto.HeaderLen+i*remote.SealedChunk:][:remote.SealedChunk]
}

// TestP4_V01ToV12Content does to a content object what a hostile store can. Each chunk is right or refused, whatever becomes of the others,
// and an audit finds the object and no other.
func TestP4_V01ToV12Content(t *testing.T) {
	both(t, func(t *testing.T, on kind) {
		w, v, _ := begun(t, on)
		const chunks = 4
		old, a, b := w.storeContent(v, chunks, 3), w.storeContent(v, chunks, 5), w.storeContent(v, chunks, 7)
		name := contentName(a.ref.Object)
		good := bytesOf(t, w.store, name)
		older, other := bytesOf(t, w.store, contentName(old.ref.Object)), bytesOf(t, w.store, contentName(b.ref.Object))
		count := func(o []byte, n int) []byte { binary.BigEndian.PutUint32(o[12:], uint32(n)); return o }
		cut := func(o []byte, n int) []byte { return o[:crypto.HeaderLen+n*remote.SealedChunk] }
		behead := func(o []byte, n int) []byte {
			return append(o[:crypto.HeaderLen:crypto.HeaderLen], o[crypto.HeaderLen+n*remote.SealedChunk:]...)
		}
		patched := func(o, id []byte) []byte { copy(o[16:48], id[16:48]); return o }
		type attack struct {
			name string
			do   func(o []byte) []byte
			bad  string // of the chunks: '.' is right, 'x' refused
		}
		attacks := []attack{
			{"V03 another object", func([]byte) []byte { return other }, "xxxx"},
			{"V03 another object under this one's id", func(o []byte) []byte { return patched(bytes.Clone(other), o) }, "xxxx"},
			{"V03 another object under this one's header", func(o []byte) []byte { return append(o[:80:80], other[80:]...) }, "xxxx"},
			{"V04 chunks exchanged", func(o []byte) []byte {
				x := bytes.Clone(chunkOf(o, 1))
				copy(chunkOf(o, 1), chunkOf(o, 3))
				copy(chunkOf(o, 3), x)
				return o
			}, ".x.x"},
			{"V04 a chunk doubled", func(o []byte) []byte { copy(chunkOf(o, 2), chunkOf(o, 0)); return o }, "..x."},
			{"V05 a chunk of another object", func(o []byte) []byte { copy(chunkOf(o, 2), chunkOf(other, 2)); return o }, "..x."},
			{"V06 the last chunk cut off", func(o []byte) []byte { return cut(o, 3) }, "...x"},
			{"V06 chunks cut off and the header made to fit", func(o []byte) []byte { return count(cut(o, 2), 2) }, "..xx"},
			{"V06 a byte cut off", func(o []byte) []byte { return o[:len(o)-1] }, "...x"},
			{"V07 emptied", func([]byte) []byte { return []byte{} }, "xxxx"},
			{"V07 only the header", func(o []byte) []byte { return o[:crypto.HeaderLen] }, "xxxx"},
			{"V08 junk at the end", func(o []byte) []byte { return append(o, "junk"...) }, "...."},
			{"V08 zeros at the end", func(o []byte) []byte { return count(append(o, make([]byte, remote.SealedChunk)...), 5) }, "...."},
			{"V08 an older chunk at the end", func(o []byte) []byte { return count(append(o, chunkOf(older, 0)...), 5) }, "...."},
			{"V09 yesterday's bytes", func([]byte) []byte { return older }, "xxxx"},
			{"V09 yesterday's bytes under today's id", func(o []byte) []byte { return patched(bytes.Clone(older), o) }, "xxxx"},
			{"V09 one of yesterday's chunks", func(o []byte) []byte { copy(chunkOf(o, 1), chunkOf(older, 1)); return o }, ".x.."},
			{"V10 a chunk of zeros", func(o []byte) []byte { clear(chunkOf(o, 1)); return o }, ".x.."},
			{"V10 all zeros", func(o []byte) []byte { return make([]byte, len(o)) }, "xxxx"},
			{"V11 beheaded", func(o []byte) []byte { return count(behead(o, 1), 3) }, "xxxx"},
			{"V11 beheaded but for its length", func(o []byte) []byte { return append(behead(o, 2), make([]byte, 2*remote.SealedChunk)...) }, "xxxx"},
			{"V12 gone", func([]byte) []byte { return nil }, "mmmm"},
		}
		for i := range chunks {
			bad := []byte("....")
			bad[i] = 'x'
			attacks = append(attacks, attack{fmt.Sprint("V01 a bit of chunk ", i), func(o []byte) []byte { chunkOf(o, i)[77*i] ^= 1 << i; return o }, string(bad)})
		}
		for i := range crypto.HeaderLen {
			// Reading goes by the reference and not by the header; who reads it, refuses it.
			attacks = append(attacks, attack{fmt.Sprint("V02 header byte ", i), func(o []byte) []byte { o[i] ^= 1; return o }, "...."})
		}
		for _, x := range attacks {
			named(t, x.name, func() {
				w.store.Poke(name, x.do(bytes.Clone(good)))
				defer w.store.Poke(name, good)
				if found := audit(t, v, a, b); len(found) != 1 || found[0].Object != name {
					t.Error("the audit found:", found)
				}
				for i := range chunks {
					switch err := a.read(t, v, i, 1, i); x.bad[i] {
					case '.':
						must(t, err)
					case 'x':
						wantErr(t, err, ErrTampered)
					case 'm':
						wantErr(t, err, ErrMissing)
						continue // and asks for a while before it says so
					}
					// Fetched together with the others, a chunk may be refused for another's sake, and is never wrong.
					if err := a.read(t, v, 0, chunks, i); err == nil && x.bad[i] != '.' {
						t.Error("a bad chunk passes among others")
					} else if err != nil && x.bad[i] != 'm' {
						wantErr(t, err, ErrTampered)
					}
				}
				for i := range chunks {
					must(t, b.read(t, v, 0, chunks, i))
				}
			})
		}
		if found := audit(t, v, a, b, old); len(found) != 0 || v.Info().Violation != "" {
			t.Error("healed, and still:", found, v.Info().Violation)
		}
		for i := range chunks {
			must(t, a.read(t, v, i, 1, i))
		}
	})
}

// TestP4_V13WrongRange answers a request for a range with other bytes than those.
func TestP4_V13WrongRange(t *testing.T) {
	both(t, func(t *testing.T, on kind) {
		w, v, _ := begun(t, on)
		a := w.storeContent(v, 4, 3)
		whole := bytesOf(t, w.store, contentName(a.ref.Object))
		at := func(from int64, dst []byte) { // as far as there are bytes
			if from >= 0 && from < int64(len(whole)) {
				copy(dst, whole[from:])
			}
		}
		s := &evil{Store: w.store}
		w.give(v, s)
		for name, wrong := range map[string]func(off int64, dst []byte){
			"the object's beginning": func(_ int64, dst []byte) { at(0, dst) },
			"from a byte later on":   func(off int64, dst []byte) { at(off+1, dst) },
			"from a byte before":     func(off int64, dst []byte) { at(off-1, dst) },
			"a chunk later":          func(off int64, dst []byte) { at(off+remote.SealedChunk, dst) },
			"a chunk before":         func(off int64, dst []byte) { at(off-remote.SealedChunk, dst) },
			"without the header":     func(off int64, dst []byte) { at(off-crypto.HeaderLen, dst) },
			"only a half":            func(off int64, dst []byte) { at(off, dst[:len(dst)/2]) },
			"all but a byte":         func(off int64, dst []byte) { at(off, dst); dst[len(dst)-1] ^= 1 },
			"nothing":                func(int64, []byte) {},
			"zeros":                  func(_ int64, dst []byte) { clear(dst) },
		} {
			var sent []byte
			s.getRange = func(_ string, off int64, dst []byte) (bool, error) {
				wrong(off, dst)
				sent = bytes.Clone(dst)
				return true, nil
			}
			refused := 0
			for i := range 4 {
				for _, c := range [][2]int{{i, 1}, {0, 4}} {
					first, n := c[0], c[1]
					err := a.read(t, v, first, n, i)
					if bytes.Equal(sent[(i-first)*remote.SealedChunk:][:remote.SealedChunk], chunkOf(whole, i)) {
						must(t, err) // by chance, or in the part that came
						continue
					}
					wantErr(t, err, ErrTampered)
					refused++
				}
			}
			if refused < 5 {
				t.Errorf("%s: only %d reads met wrong bytes", name, refused)
			}
		}
		s.getRange = nil
		must(t, a.read(t, v, 2, 1, 2))
	})
}

// TestP4_V13WholeObjects answers a request for a whole object with a part of it, with more, or with more than was asked for.
func TestP4_V13WholeObjects(t *testing.T) {
	both(t, func(t *testing.T, on kind) {
		w, a, pos := begun(t, on)
		pos = commits(t, a, pos, 1, 2)
		a.Close()
		for name, wrong := range map[string]func(b []byte) []byte{
			"a half":             func(b []byte) []byte { return b[:len(b)/2] },
			"nothing":            func([]byte) []byte { return nil },
			"twice":              func(b []byte) []byte { return append(b, b...) },
			"beyond every limit": func(b []byte) []byte { return append(b, make([]byte, 8<<20)...) },
		} {
			s := &evil{Store: w.store}
			s.get = func(n string) ([]byte, bool, error) {
				if n != logName(pos.Seq) {
					return nil, false, nil
				}
				return wrong(bytesOf(t, w.store, n)), true, nil
			}
			m := w.sink()
			got, err := w.open(s, t.TempDir()).Load(ctx, remote.Position{}, m)
			if wantErr(t, err, ErrTampered); got.Seq != pos.Seq-1 || len(m.batches) != int(pos.Seq-1) {
				t.Error(name, got)
			}
		}
	})
}

// TestP4_V12ContentTaken: a name that was drawn a moment ago is said to be taken. The bytes are not there, so nothing was stored.
func TestP4_V12ContentTaken(t *testing.T) {
	both(t, func(t *testing.T, on kind) {
		w, a, _ := begun(t, on)
		w.give(a, &liar{Store: w.store, exist: true})
		p, _ := piece(100, 1)
		if _, err := a.Store(ctx, []remote.Piece{p}, nil); !errors.Is(err, ErrStoreContract) {
			t.Fatal(err)
		}
	})
}
