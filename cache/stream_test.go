package cache

import (
	"math/rand/v2"
	"testing"
)

const k, m = uint64(1 << 10), uint64(1 << 20)

// TestStreamSteps gives reads one after the other, each with the range that is to be prefetched.
func TestStreamSteps(t *testing.T) {
	type step struct {
		off      uint64
		n        int
		from, to uint64
	}
	for name, x := range map[string]struct {
		size  uint64
		steps []step
	}{
		"from the beginning": {100 * m, []step{
			{0, 128 << 10, 0, 0}, {128 * k, 128 << 10, 256 * k, 512 * k}, {256 * k, 128 << 10, 512 * k, 896 * k}, {384 * k, 128 << 10, 896 * k, 1536 * k},
		}},
		"from the middle": {100 * m, []step{{50 * m, 4096, 0, 0}, {50*m + 4*k, 4096, 50*m + 8*k, 50*m + 264*k}, {50*m + 8*k, 4096, 0, 0}}},
		"to the end":      {300 * k, []step{{0, 128 << 10, 0, 0}, {128 * k, 128 << 10, 256 * k, 300 * k}, {256 * k, 128 << 10, 0, 0}}},
		"a small file":    {10 * k, []step{{0, 4096, 0, 0}, {4096, 128 << 10, 0, 0}}},
		"head and tail":   {100 * m, []step{{0, 4096, 0, 0}, {100*m - 4*k, 4096, 0, 0}}},
		"behind the end":  {10 * k, []step{{20 * k, 4096, 0, 0}, {10 * k, 4096, 0, 0}, {0, 0, 0, 0}, {0, -1, 0, 0}}},
		"the same again":  {100 * m, []step{{0, 4096, 0, 0}, {0, 4096, 0, 0}, {0, 4096, 0, 0}}},
		"backwards":       {100 * m, []step{{50 * m, 4096, 0, 0}, {50*m - 4*k, 4096, 0, 0}, {50*m - 8*k, 4096, 0, 0}}},
		"strides":         {100 * m, []step{{0, 4096, 0, 0}, {64 * k, 4096, 0, 0}, {128 * k, 4096, 0, 0}, {192 * k, 4096, 0, 0}}},
		"small jumps": {100 * m, []step{
			{0, 128 << 10, 0, 0}, {160 * k, 128 << 10, 0, 0}, {320 * k, 128 << 10, 448 * k, 704 * k}, {480 * k, 128 << 10, 704 * k, 1120 * k},
		}},
		"out of order": {100 * m, []step{
			{128 * k, 128 << 10, 0, 0}, {0, 128 << 10, 0, 0}, {384 * k, 128 << 10, 512 * k, 768 * k}, {256 * k, 128 << 10, 0, 0}, {512 * k, 128 << 10, 768 * k, 1152 * k},
		}},
		"a look elsewhere": {100 * m, []step{
			{0, 128 << 10, 0, 0}, {128 * k, 128 << 10, 256 * k, 512 * k}, {80 * m, 4096, 0, 0}, {256 * k, 128 << 10, 512 * k, 896 * k}, {90 * m, 4096, 0, 0}, {384 * k, 128 << 10, 896 * k, 1536 * k},
		}},
		"two in turn": {100 * m, []step{
			{0, 128 << 10, 0, 0}, {50 * m, 128 << 10, 0, 0}, {128 * k, 128 << 10, 256 * k, 512 * k}, {50*m + 128*k, 128 << 10, 50*m + 256*k, 50*m + 512*k},
		}},
	} {
		var s Stream
		for i, st := range x.steps {
			if from, to := s.Next(st.off, st.n, x.size); from != st.from && from != to || to-from != st.to-st.from {
				t.Errorf("%s, step %d: %d..%d, want %d..%d", name, i, from, to, st.from, st.to)
			}
		}
	}
}

// TestStreamWhole reads a file from end to end, in order and shuffled within what a kernel has under way.
func TestStreamWhole(t *testing.T) {
	const size = 200<<20 + 12345
	seed := rand.Uint64()
	t.Log("seed", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	for _, shuffle := range []int{1, 2, 4, 8} {
		for _, n := range []uint64{4 * k, 128 * k, m} {
			var offs []uint64
			for off := uint64(0); off < size; off += n {
				offs = append(offs, off)
			}
			for i := 0; i+shuffle <= len(offs) && n < m; i += shuffle {
				r.Shuffle(shuffle, func(a, b int) { offs[i+a], offs[i+b] = offs[i+b], offs[i+a] })
			}
			var s Stream
			var asked, far, total, largest uint64
			for _, off := range offs {
				far = max(far, min(off+n, size))
				from, to := s.Next(off, int(n), size)
				if from == to {
					continue
				}
				if from < asked || to < from || to > size || to > far+maxAhead {
					t.Fatalf("asked for %d..%d at %d, and before up to %d", from, to, far, asked)
				}
				asked = to
				total += to - from
				largest = max(largest, to-from)
			}
			if total < size*98/100 || largest < maxAhead/2 {
				t.Errorf("shuffle %d, reads of %d: %d of %d bytes, at most %d together", shuffle, n, total, uint64(size), largest)
			}
		}
	}
}

// TestStreamRandom reads at random: that asks for nothing.
func TestStreamRandom(t *testing.T) {
	for _, x := range []struct {
		n    int
		size uint64
	}{{4096, 64 * m}, {4096, 10_000 * m}, {128 << 10, 1_000 * m}} {
		var s Stream
		var total uint64
		r := rand.New(rand.NewPCG(1, 1))
		for range 10_000 {
			from, to := s.Next(r.Uint64N(x.size/4096)*4096, x.n, x.size)
			total += to - from
		}
		// Two of them may be neighbours by chance.
		if total > uint64(10_000*x.n)/50 {
			t.Errorf("%+v: %d bytes", x, total)
		}
	}
}
