package cache

import "sync"

// How far a stream is read ahead.
const (
	firstAhead = 256 << 10
	maxAhead   = 8 << 20
	tolerance  = 2 << 20 // how far out of order a sequential reader's requests may come
)

// Stream watches the reads of one open file and says what to prefetch. It is safe for concurrent use; the zero Stream has seen nothing.
type Stream struct {
	mu     sync.Mutex
	last   uint64 // the end of the furthest read of the run
	window uint64 // 0: not sequential
	ahead  uint64 // prefetched up to here
	begun  bool
}

// Next is told of a read of n bytes at off of a file of size bytes, and returns the range to prefetch now; nothing when from equals to. A reader that goes on where it
// stopped gets more and more, up to 8 MiB ahead; one that jumps about gets nothing.
func (s *Stream) Next(off uint64, n int, size uint64) (from, to uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	end := off + uint64(n)
	near := s.begun && off <= s.last+tolerance && end+tolerance >= s.last || !s.begun && off == 0
	first := !s.begun
	s.begun = true
	switch {
	case !near:
		s.last, s.window, s.ahead = end, 0, end
		return 0, 0
	case first:
		s.last, s.ahead = end, end
		return 0, 0 // one read of a file's beginning is no stream yet
	}
	advanced := end > s.last
	s.last = max(s.last, end)
	if !advanced {
		return 0, 0
	}
	if s.window == 0 {
		s.window = firstAhead
	}
	want := min(s.last+s.window, size)
	from = max(s.ahead, s.last)
	// Small steps are saved up: a request for half a window at least, or the rest of the file.
	if want <= from || want-from < s.window/2 && want < size {
		return 0, 0
	}
	s.ahead = want
	s.window = min(2*s.window, maxAhead)
	return from, want
}
