package volume

import (
	"bytes"
	"math/rand/v2"
	"testing"

	"megafs/remote"
)

// far is a file whose bytes are looked at only near some offsets, where the tree index begins another record of it.
type far struct {
	size    uint64
	windows [4][]byte // around multiples of farStep; the rest is zeros or not looked at
}

const (
	farStep = 64 << 20
	farSide = 40_000
)

func (f *far) from(k int) uint64 { return uint64(k+1)*farStep - farSide }

// each calls fn for the parts of [off, end) in the windows.
func (f *far) each(off, end uint64, fn func(b []byte, at uint64)) {
	for k, w := range f.windows {
		a, z := max(off, f.from(k)), min(end, f.from(k)+uint64(len(w)))
		if a < z {
			fn(w[a-f.from(k):z-f.from(k)], a)
		}
	}
}

func (f *far) clear(off, end uint64) { f.each(off, end, func(b []byte, _ uint64) { clear(b) }) }

// TestFarOffsets does random things near the borders of the index's records of large files with holes, and holes and cuts across them.
func TestFarOffsets(t *testing.T) {
	seed := rand.Uint64()
	t.Log("seed", seed)
	rng := rand.New(rand.NewPCG(seed, 5))
	b := newBench(t)
	var files [2]*far
	var inos [2]remote.Ino
	for i := range files {
		files[i] = &far{}
		for k := range files[i].windows {
			files[i].windows[k] = make([]byte, 2*farSide)
		}
		inos[i] = b.mk(remote.Root, string(rune('a'+i)), remote.File)
	}
	point := func() uint64 { return files[0].from(rng.IntN(4)) + uint64(rng.IntN(2*farSide)) }
	for step := range 150 {
		i := rng.IntN(2)
		f, ino := files[i], inos[i]
		h, err := b.Open(ctx, ino, true, false)
		if err != nil {
			t.Fatal(err)
		}
		switch rng.IntN(8) {
		case 0, 1, 2:
			off, n := point(), 1+rng.IntN(20_000)
			data := pattern(n, step)
			if _, err := h.WriteAt(ctx, data, off, false); err != nil {
				t.Fatal(err)
			}
			f.each(off, off+uint64(n), func(w []byte, at uint64) { copy(w, data[at-off:]) })
			f.size = max(f.size, off+uint64(n))
		case 3:
			off, end := point(), point()
			if off >= end {
				break
			}
			mode := []uint32{punchHole | keepSize, zeroRange, zeroRange | keepSize}[rng.IntN(3)]
			if err := h.Allocate(ctx, mode, off, end-off); err != nil {
				t.Fatal(err)
			}
			f.clear(off, end)
			if mode&keepSize == 0 {
				f.size = max(f.size, end)
			}
		case 4:
			size := point()
			if _, err := b.Setattr(ctx, ino, SetAttr{Size: &size}); err != nil {
				t.Fatal(err)
			}
			f.clear(size, 1<<62)
			f.size = size
		case 5:
			g := files[1-i]
			r, err := b.Open(ctx, inos[1-i], false, false)
			if err != nil {
				t.Fatal(err)
			}
			k, n := rng.IntN(4), uint64(1+rng.IntN(2*farSide))
			off := g.from(k)
			off2 := f.from(rng.IntN(4))
			m, err := b.CopyRange(ctx, r, off, h, off2, n)
			if err != nil || m != min(n, max(g.size, off)-off) {
				t.Fatal(m, err)
			}
			f.each(off2, off2+m, func(w []byte, at uint64) { copy(w, g.windows[k][at-off2:][:m]) })
			if m > 0 {
				f.size = max(f.size, off2+m)
			}
			r.Close()
		case 6:
			b.drain()
		case 7:
			h.Close()
			b.remount()
			if h, err = b.Open(ctx, ino, true, false); err != nil {
				t.Fatal(err)
			}
		}
		for k, w := range f.windows {
			got := make([]byte, len(w))
			n, err := h.ReadAt(ctx, got, f.from(k))
			if err != nil {
				t.Fatal(step, err)
			}
			want := min(uint64(len(w)), max(f.size, f.from(k))-f.from(k))
			if uint64(n) != want || !bytes.Equal(got[:n], w[:n]) {
				t.Fatalf("step %d: file %d differs in window %d: %d bytes, want %d", step, i, k, n, want)
			}
		}
		if s, err := b.Getattr(ctx, ino); err != nil || s.Size != f.size {
			t.Fatal(step, s.Size, f.size, err)
		}
		h.Close()
	}
}
