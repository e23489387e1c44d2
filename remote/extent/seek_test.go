package extent

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"testing"

	"pgregory.net/rapid"

	"megafs/remote"
)

// TestSeek compares Bytes, NextData and NextHole with a plain array that says which bytes are data.
func TestSeek(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const space = 100
		var m Map
		var data [space]bool
		for i := range rapid.IntRange(0, 10).Draw(t, "steps") {
			off := rapid.IntRange(0, space-1).Draw(t, "off")
			n := rapid.IntRange(1, space-off).Draw(t, "len")
			e := remote.Extent{Off: uint64(off), Len: uint64(n)}
			what := rapid.IntRange(0, 3).Draw(t, "what")
			switch what {
			case 0:
				m.Clear(e.Off, e.End())
			case 1:
				e.Hole = true
				m.Set(e)
			case 2:
				e.Inline = make([]byte, n)
				m.Set(e)
			case 3:
				e.Ref = remote.Ref{Chunks: 1, Epoch: uint32(i)}
				m.Set(e)
			}
			for k := off; k < off+n; k++ {
				data[k] = what >= 2
			}
		}
		bytes := uint64(0)
		for _, is := range data {
			if is {
				bytes++
			}
		}
		if got := m.Bytes(); got != bytes {
			t.Fatalf("Bytes %d, want %d", got, bytes)
		}
		size := rapid.IntRange(0, space).Draw(t, "size")
		for off := range space {
			next := func(want bool) int {
				for k := off; k < size; k++ {
					if data[k] == want {
						return k
					}
				}
				return size
			}
			if got, ok := m.NextData(uint64(off), uint64(size)); got != uint64(next(true)) || ok != (next(true) < size) {
				t.Fatalf("NextData(%d, %d) is %d %v, want %d", off, size, got, ok, next(true))
			}
			if got := m.NextHole(uint64(off), uint64(size)); got != uint64(next(false)) {
				t.Fatalf("NextHole(%d, %d) is %d, want %d", off, size, got, next(false))
			}
		}
	})
}

// TestJoin sets two extents one after the other and says how many there are then.
func TestJoin(t *testing.T) {
	ref := func(chunks uint16, epoch, off uint32) remote.Ref {
		return remote.Ref{Chunks: chunks, Epoch: epoch, Off: off}
	}
	other := ref(2, 7, 16384)
	other.Object[31] = 1
	for _, c := range []struct {
		what string
		a, b remote.Extent // at 0 and 16384
		want int
	}{
		{"the next of an object", remote.Extent{Ref: ref(2, 7, 0)}, remote.Extent{Ref: ref(2, 7, 16384)}, 1},
		{"holes", remote.Extent{Hole: true}, remote.Extent{Hole: true}, 1},
		{"not the next", remote.Extent{Ref: ref(3, 7, 0)}, remote.Extent{Ref: ref(3, 7, 16385)}, 2},
		{"of another object", remote.Extent{Ref: ref(2, 7, 0)}, remote.Extent{Ref: other}, 2},
		{"of another epoch", remote.Extent{Ref: ref(2, 7, 0)}, remote.Extent{Ref: ref(2, 8, 16384)}, 2},
		{"of an object that has other lengths", remote.Extent{Ref: ref(1, 7, 0)}, remote.Extent{Ref: ref(2, 7, 16384)}, 2},
		{"hole and data", remote.Extent{Hole: true}, remote.Extent{Ref: ref(1, 0, 0)}, 2},
	} {
		t.Run(c.what, func(t *testing.T) {
			c.a.Len, c.b.Off, c.b.Len = 16384, 16384, 16384
			for _, order := range [][2]remote.Extent{{c.a, c.b}, {c.b, c.a}} {
				var m Map
				m.Set(order[0])
				m.Set(order[1])
				if m.Len() != c.want {
					t.Errorf("%+v", m.All())
				}
				for _, e := range m.All() {
					if !e.Hole && uint64(e.Ref.Off)+e.Len > uint64(e.Ref.Chunks)*remote.ChunkSize {
						t.Errorf("beyond its object: %+v", e)
					}
				}
			}
		})
	}
}

// TestInlineIsLeftAlone lays an extent over the middle of inline bytes.
func TestInlineIsLeftAlone(t *testing.T) {
	var m Map
	bytes := []byte("0123456789")
	m.Set(remote.Extent{Off: 100, Len: 10, Inline: bytes})
	m.Set(remote.Extent{Off: 103, Len: 4, Hole: true})
	want := []remote.Extent{
		{Off: 100, Len: 3, Inline: []byte("012")},
		{Off: 103, Len: 4, Hole: true},
		{Off: 107, Len: 3, Inline: []byte("789")},
	}
	if !reflect.DeepEqual(m.All(), want) || string(bytes) != "0123456789" {
		t.Errorf("%+v, bytes are %q", m.All(), bytes)
	}
}

func TestFromSortedRefuses(t *testing.T) {
	for _, c := range []struct {
		what string
		list []remote.Extent
	}{
		{"an overlap", []remote.Extent{{Off: 5, Len: 5}, {Off: 9, Len: 1}}},
		{"backward", []remote.Extent{{Off: 5, Len: 5}, {Off: 0, Len: 1}}},
		{"the same twice", []remote.Extent{{Off: 5, Len: 5}, {Off: 5, Len: 5}}},
		{"an empty one", []remote.Extent{{Off: 5}}},
		{"an end at 2^63", []remote.Extent{{Off: 1, Len: remote.MaxSize}}},
		{"an end that overflows", []remote.Extent{{Off: 10, Len: 1<<64 - 5}, {Off: 20, Len: 1}}},
	} {
		if m, err := FromSorted(c.list); m != nil || !remote.Is(err, remote.Invalid) {
			t.Errorf("%s: %v, %v", c.what, m, err)
		}
	}
	if m, err := FromSorted([]remote.Extent{{Off: 0, Len: 5}, {Off: 5, Len: remote.MaxSize - 5}}); err != nil || m.Len() != 2 {
		t.Errorf("a good list: %v", err)
	}
}

// TestCloneIsIndependent changes a list and its clone in turn.
func TestCloneIsIndependent(t *testing.T) {
	r := NewRuns(func(v, skip, _ uint64) uint64 { return v + skip }, follows)
	r.Set(0, 10, 100)
	r.Set(10, 10, 110) // joined
	r.Set(30, 10, 500)
	c := r.Clone()
	c.Clear(0, 5) // in place, without room for more
	c.Set(7, 3, 900)
	r.Cut(35)
	if want := []Run[uint64]{{0, 20, 100}, {30, 5, 500}}; !reflect.DeepEqual(r.All(), want) {
		t.Errorf("the first is %v", r.All())
	}
	if want := []Run[uint64]{{5, 2, 105}, {7, 3, 900}, {10, 10, 110}, {30, 10, 500}}; !reflect.DeepEqual(c.All(), want) {
		t.Errorf("the clone is %v", c.All())
	}
}

// TestRangeStops ends at each piece in turn.
func TestRangeStops(t *testing.T) {
	var m Map
	m.Set(remote.Extent{Off: 10, Len: 10, Hole: true})
	for stop := 1; stop <= 3; stop++ { // gap, hole, gap
		calls := 0
		m.Range(0, 100, func(remote.Extent, bool) bool { calls++; return calls < stop })
		if calls != stop {
			t.Errorf("%d calls, want %d", calls, stop)
		}
	}
	m.Range(50, 50, func(e remote.Extent, _ bool) bool { t.Errorf("%+v of nothing", e); return true })
}

func BenchmarkRandomSet(b *testing.B) {
	for _, n := range []int{1e3, 1e4, 1e5} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			for b.Loop() {
				random := rand.New(rand.NewPCG(1, 2))
				runs := NewRuns(func(v, skip, _ uint64) uint64 { return v + skip }, follows)
				for i := range n {
					runs.Set(uint64(random.IntN(16*n))*4096, 4096, uint64(i)<<32)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(n), "ns/Set")
		})
	}
}

func follows(a, n, b uint64) bool { return a+n == b }
