package journal

import (
	"cmp"
	"errors"
	"io"
	"slices"
	"strconv"
	"sync"

	"megafs/remote"
)

// records are buffers for whole records, *[]byte.
var records = sync.Pool{New: func() any { return new([]byte) }}

// ReadAt reads, opens and verifies the record at l and copies len(dst) bytes of its payload from off on to dst. Many
// calls may run at once; none waits for an Append or a Sync. Kinds of errors: Integrity if the record does not
// verify; IO; Stale if it was trimmed; Invalid if the range is not inside the record.
func (j *Journal) ReadAt(l Loc, off int, dst []byte) error {
	fail := func(kind remote.Kind, err error) error {
		return remote.E("read journal record in segment", strconv.FormatUint(l.Segment, 10), kind, err)
	}
	if off < 0 || off > int(l.Len) || len(dst) > int(l.Len)-off || l.Len > MaxPayload || l.Off < segStart+recHead {
		return fail(remote.Invalid, errors.New("no such range"))
	}
	live := *j.live.Load()
	i, ok := slices.BinarySearchFunc(live, l.Segment, func(s *segment, n uint64) int { return cmp.Compare(s.number, n) })
	if !ok {
		return fail(remote.Stale, errors.New("the record was trimmed"))
	}
	at := int64(l.Off) - recHead
	n := int(recordSize(int(l.Len)))
	p := records.Get().(*[]byte)
	defer records.Put(p)
	if cap(*p) < n {
		*p = make([]byte, n)
	}
	rec := (*p)[:n]

	s := live[i]
	s.io.RLock()
	if s.gone {
		s.io.RUnlock()
		return fail(remote.Stale, errors.New("the record was trimmed, or the journal closed"))
	}
	_, err := s.f.ReadAt(rec, at)
	s.io.RUnlock()
	switch {
	case errors.Is(err, io.EOF):
		return fail(remote.Integrity, errors.New("the segment is cut short"))
	case err != nil:
		return fail(remote.IO, err)
	}
	if h, ok := parseHead(rec); ok && h.size == int(l.Len) && h.kind != 0 {
		if payload, ok := s.unseal(rec[recHead:recHead], rec, at, h.size); ok {
			copy(dst, payload[off:])
			return nil
		}
	}
	return fail(remote.Integrity, errors.New("the record does not verify; check the disk"))
}
