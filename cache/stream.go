package cache

import "sync"

const (
	firstAhead = 256 << 10 // bytes that a stream is read ahead when it is first seen to be one
	maxAhead   = 8 << 20
	tolerance  = 512 << 10 // how far from where a stream is a request may be, or a window if that is more
	streams    = 3         // places in a file that are read in turn
)

// Stream is the read-ahead state of one open file: it is told of every read and says what to prefetch. The zero Stream has seen nothing. It is
// safe for concurrent use.
//
// A file may be read at a few places in turn, as films are, or the scan of a file interrupted by looks at its header; so a Stream follows
// three runs. A run is sequential as long as at least half of the bytes that it spans were read, in whatever order.
type Stream struct {
	mu   sync.Mutex
	now  uint64 // counts reads
	runs [streams]run
}

// run is a place that is read on from. It is unused while used is 0.
type run struct {
	lo, head uint64 // what it spans
	got      uint64 // bytes of that which were read
	ahead    uint64 // prefetched up to here
	window   uint64 // how far to read ahead next
	steps    int    // reads that made it longer
	used     uint64 // when it was read last
}

// Next is told of a read of n bytes at off in a file of size bytes, and returns the range of the file to prefetch now; from equals to when there is none. The
// first read of a run asks for nothing, the one that goes on where it ended for a little, and while it is sequential the range doubles up to 8 MiB ahead of the reader. Reads at random places
// ask for nothing. No range is asked for twice while its run lasts.
func (s *Stream) Next(off uint64, n int, size uint64) (from, to uint64) {
	if n <= 0 || off >= size {
		return 0, 0
	}
	end := min(off+uint64(n), size)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.now++
	r := s.find(off, end)
	if r == nil {
		r = s.oldest()
		*r = run{lo: off, head: end, got: end - off, ahead: end, window: firstAhead, used: s.now}
		return 0, 0
	}
	r.used = s.now
	on := r.grow(off, end)
	for i := range s.runs {
		if o := &s.runs[i]; o != r && o.used > 0 && o.lo <= r.head+tolerance && r.lo <= o.head+tolerance {
			r.merge(o)
		}
	}
	if !on {
		return 0, 0
	}
	// A reader of small pieces has to read on for a while before much is fetched for it.
	window := min(r.window, max(firstAhead, 4*r.got))
	from, to = max(r.ahead, r.head), min(r.head+window, size)
	// Small steps are saved up: a request is for half a window at least, or for the rest of the file.
	if from >= to || to-from < window/2 && to < size {
		return 0, 0
	}
	r.window = min(2*window, maxAhead)
	// What another run read or asked for is on its way.
	for i := range 2 * len(s.runs) {
		o := &s.runs[i%len(s.runs)]
		switch {
		case o == r || o.used == 0:
		case o.lo <= from && from < o.ahead:
			from = min(o.ahead, to)
		case from < o.lo && o.lo < to:
			to = o.lo
		}
	}
	r.ahead = to
	return from, to
}

// find returns the run that a read goes on with: the nearest.
func (s *Stream) find(off, end uint64) (best *run) {
	var least uint64
	for i := range s.runs {
		r := &s.runs[i]
		near := uint64(tolerance)
		if r.steps > 1 {
			near = max(near, r.window/2)
		}
		d := r.head - min(off, r.head) + (max(off, r.head) - r.head)
		if r.used == 0 || off > r.head+near || end+near < r.head || best != nil && d >= least {
			continue
		}
		best, least = r, d
	}
	return best
}

// merge takes over a run that r has come to.
func (r *run) merge(o *run) {
	r.lo, r.head, r.ahead = min(r.lo, o.lo), max(r.head, o.head), max(r.ahead, o.ahead)
	r.got = min(r.got+o.got, r.head-r.lo)
	r.window, r.steps = max(r.window, o.window), r.steps+o.steps
	*o = run{}
}

func (s *Stream) oldest() *run {
	best := &s.runs[0]
	for i := range s.runs {
		if r := &s.runs[i]; r.used < best.used {
			best = r
		}
	}
	return best
}

// grow adds a read and reports whether the run became longer at its head and is sequential.
func (r *run) grow(off, end uint64) bool {
	r.got += end - off
	longer, jump := end > r.head, off > r.head
	if longer || off < r.lo {
		r.steps++
	}
	r.lo, r.head = min(r.lo, off), max(r.head, end)
	r.got = min(r.got, r.head-r.lo)
	if span := r.head - r.lo; span > 2*maxAhead { // what was long ago counts less and less
		r.lo += span / 2
		r.got /= 2
	}
	return longer && (!jump || r.steps > 1) && r.got >= (r.head-r.lo)/2
}
