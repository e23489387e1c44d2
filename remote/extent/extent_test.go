package extent

import (
	"testing"

	"pgregory.net/rapid"

	"megafs/remote"
)

// TestMapIsAnArray lays random extents over each other and compares each byte with a plain array.
func TestMapIsAnArray(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const size = 200
		var m Map
		runs := NewRuns(func(v int, skip, n uint64) int { return v + int(skip) }, func(a int, n uint64, b int) bool { return a+int(n) == b })
		var want, wantRuns [size]int // 0: gap
		for i := range rapid.IntRange(1, 40).Draw(t, "steps") {
			off := rapid.IntRange(0, size-1).Draw(t, "off")
			n := rapid.IntRange(1, size-off).Draw(t, "len")
			switch rapid.IntRange(0, 4).Draw(t, "what") {
			case 0:
				m.Cut(uint64(off))
				runs.Cut(uint64(off))
				clear(want[off:])
				clear(wantRuns[off:])
			case 1:
				m.Clear(uint64(off), uint64(off+n))
				runs.Clear(uint64(off), uint64(off+n))
				clear(want[off : off+n])
				clear(wantRuns[off : off+n])
			default:
				at := rapid.SampledFrom([]int{1000, 1000 + off, 5000 * (i + 1)}).Draw(t, "at")
				m.Set(remote.Extent{Off: uint64(off), Len: uint64(n), Ref: remote.Ref{Chunks: 9, Off: uint32(at)}})
				runs.Set(uint64(off), uint64(n), at)
				for k := range n {
					want[off+k], wantRuns[off+k] = at+k, at+k
				}
			}
			var got, gotRuns [size]int
			next := uint64(0)
			m.Range(0, size, func(e remote.Extent, gap bool) bool {
				if e.Off != next || e.Len == 0 || gap != e.Hole {
					t.Fatalf("piece at %d, want %d", e.Off, next)
				}
				next = e.End()
				for k := uint64(0); k < e.Len && !gap; k++ {
					got[e.Off+k] = int(e.Ref.Off) + int(k)
				}
				return true
			})
			if next != size {
				t.Fatalf("covered to %d", next)
			}
			runs.Range(0, size, func(off, n uint64, v int, ok bool) bool {
				for k := uint64(0); k < n && ok; k++ {
					gotRuns[off+k] = v + int(k)
				}
				return true
			})
			if got != want || gotRuns != wantRuns {
				t.Fatalf("differs:\n%v\n%v\n%v", got, gotRuns, want)
			}
			if _, err := FromSorted(m.All()); err != nil {
				t.Fatal(err)
			}
			for i := 1; i < m.Len(); i++ {
				if joins(m.All()[i-1], m.All()[i]) {
					t.Fatal("neighbours that should be one")
				}
			}
		}
	})
}

// TestEdges works at the far end of what a file can be.
func TestEdges(t *testing.T) {
	var m Map
	m.Set(remote.Extent{Off: remote.MaxSize - 10, Len: 10, Hole: true})
	m.Set(remote.Extent{Off: remote.MaxSize - 5, Len: 5, Ref: remote.Ref{Chunks: 1}})
	if m.Len() != 2 || m.All()[0].Len != 5 || m.All()[1].End() != remote.MaxSize {
		t.Fatal(m.All())
	}
	m.Cut(0)
	if m.Len() != 0 {
		t.Fatal(m.All())
	}
	if _, err := FromSorted([]remote.Extent{{Off: 5, Len: 5}, {Off: 9, Len: 1}}); err == nil {
		t.Fatal("an overlap was taken")
	}
}
