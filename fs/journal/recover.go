package journal

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/cockroachdb/pebble/v2/vfs"

	"megafs/remote"
)

// found is what a scan found in a segment.
type found struct {
	s           *segment
	link        link // of the opener
	end         int64
	first, last Seq
	trim        Seq
	opened      bool // there is an opener; without one the rest means nothing
}

// resolve finds the chain of segments that hold the surviving records, sets last and trim, and tells a power cut's
// traces from damage.
func (j *Journal) resolve(segs []*segment) (chain []found, err error) {
	h := len(segs) - 1
	for ; h >= 0 && chain == nil; h-- {
		if chain, err = j.follow(segs[:h+1]); err != nil {
			return nil, err
		}
	}
	var tail *segment
	tailEnd := int64(segStart)
	if chain != nil {
		c := chain[len(chain)-1]
		j.last, j.trim = c.last, c.trim
		tail, tailEnd = c.s, c.end
		h++
	}
	// Whatever lies behind the last good record must not prove that more was durable.
	for _, s := range segs[max(h, 0):] {
		from := int64(segStart)
		if s == tail {
			from = tailEnd
		}
		proof, err := prove(s, from, j.last)
		if err != nil {
			return nil, err
		}
		if proof > j.last {
			return nil, remote.E("open journal", j.o.Dir, remote.Integrity,
				fmt.Errorf("records %d to %d were safe on disk and are damaged or missing; %s", j.last+1, proof, advice))
		}
	}
	return chain, nil
}

// follow follows the links back from the last of segs to the first segment that is needed. It returns nil if
// a link does not hold.
func (j *Journal) follow(segs []*segment) ([]found, error) {
	s := segs[len(segs)-1]
	c, err := scan(s, s.size, nil)
	if err != nil || !c.opened {
		return nil, err
	}
	chain := []found{c}
	trim := max(c.trim, 1)
	for c.first > trim { // records before c.first are needed
		var prev *segment
		for _, s := range segs {
			if s.number == c.link.prev && s.number < c.s.number {
				prev = s
			}
		}
		if prev == nil {
			return nil, nil
		}
		p, err := scan(prev, c.link.end, nil)
		if err != nil {
			return nil, err
		}
		if !p.opened || p.end != c.link.end || p.last+1 != c.first {
			return nil, nil
		}
		chain = append([]found{p}, chain...)
		c = p
	}
	return chain, nil
}

// scan verifies the records of s up to limit or the first that is not good, and calls visit, if not nil, for each.
func scan(s *segment, limit int64, visit func(h head, off int64, payload []byte) error) (c found, err error) {
	c = found{s: s, end: segStart}
	w := newWindow(s)
	var buf []byte
	for {
		h, rec, err := w.record(c.end, limit)
		if err != nil {
			return c, remote.E("read journal", segName(s.number), remote.IO, err)
		}
		if rec == nil {
			return c, nil
		}
		switch {
		case !c.opened && h.kind == 0:
			c.first, c.last = h.seq+1, h.seq
		case c.opened && h.kind == 0 && h.seq == c.last:
		case c.opened && h.kind != 0 && h.seq == c.last+1:
		default:
			return c, nil
		}
		payload, ok := s.unseal(buf[:0], rec, c.end, h.size)
		if !ok {
			return c, nil
		}
		buf = payload
		if h.kind == 0 {
			l, ok := decodeLink(payload)
			if !ok {
				return c, nil
			}
			if !c.opened {
				c.link, c.opened = l, true
			}
			c.trim = l.trim
		}
		if visit != nil {
			if err := visit(h, c.end, payload); err != nil {
				return c, err
			}
		}
		c.last = h.seq
		c.end += int64(len(rec))
	}
}

// prove looks at every place in s from offset from on for a record that verifies and says that a record behind last was
// durable, and returns the highest number that is so proven, or last.
func prove(s *segment, from int64, last Seq) (Seq, error) {
	w := newWindow(s)
	var buf []byte
	for off := from; off < s.size; off += recAlign {
		b, err := w.at(off, recHead)
		if err != nil {
			return 0, remote.E("read journal", segName(s.number), remote.IO, err)
		}
		if b == nil {
			break
		}
		// First what rules out most places: zeros, and the records of a former life.
		if Seq(binary.LittleEndian.Uint64(b[16:])) <= last {
			continue
		}
		h, rec, err := w.record(off, s.size)
		if err != nil {
			return 0, remote.E("read journal", segName(s.number), remote.IO, err)
		}
		if rec == nil {
			continue
		}
		if p, ok := s.unseal(buf[:0], rec, off, h.size); ok {
			last = h.durable
			buf = p
		}
	}
	return last, nil
}

// window reads a file through a buffer, forward.
type window struct {
	f    vfs.File
	size int // of buf, if no record is larger
	buf  []byte
	off  int64 // of buf in the file
}

func newWindow(s *segment) *window { return &window{f: s.f, size: int(min(s.size, 1<<20))} }

// at returns n bytes at off, valid until the next call, or nil if the file ends before.
func (w *window) at(off int64, n int) ([]byte, error) {
	if off < w.off || off+int64(n) > w.off+int64(len(w.buf)) {
		size := max(n, w.size)
		if cap(w.buf) < size {
			w.buf = make([]byte, size)
		}
		got, err := w.f.ReadAt(w.buf[:size], off)
		if err != nil && !errors.Is(err, io.EOF) {
			w.buf = w.buf[:0]
			return nil, err
		}
		w.off, w.buf = off, w.buf[:got]
	}
	if int64(n) > w.off+int64(len(w.buf))-off {
		return nil, nil
	}
	return w.buf[off-w.off:][:n], nil
}

// record returns the bytes of the record at off if what is there can be one that ends before limit, else nil.
func (w *window) record(off, limit int64) (h head, rec []byte, err error) {
	if off+recHead+tagSize > limit {
		return h, nil, nil
	}
	b, err := w.at(off, recHead)
	if b == nil || err != nil {
		return h, nil, err
	}
	h, ok := parseHead(b)
	if n := recordSize(h.size); ok && off+n <= limit {
		rec, err = w.at(off, int(n))
	}
	return h, rec, err
}
