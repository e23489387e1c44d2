package journal

import (
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"

	"megafs/remote"
)

// Appended is a record that AppendSplit made.
type Appended struct {
	Seq Seq
	Loc Loc
	Off int // of its bytes in the body
	Len int // how many bytes of the body it has
}

// AppendSplit adds body in records of at most piece bytes, each behind its head, which is asked for with where in body the
// record's bytes begin. It does what an Append for each would do, but seals them on all cores and
// writes them together. What it returns was appended, in order; when that is not all of body, the error says why.
func (j *Journal) AppendSplit(kind Kind, body []byte, piece int, headOf func(off int) []byte) ([]Appended, error) {
	const op = "append to journal"
	if kind == 0 || piece <= 0 {
		return nil, remote.E(op, "", remote.Invalid, errors.New("kind 0 is not for callers, and a piece has bytes"))
	}
	var done []Appended
	j.mu.Lock()
	defer j.mu.Unlock()
	for off := 0; off < len(body); {
		g, err := j.group(kind, body, off, piece, headOf)
		if err == nil {
			err = j.writeGroup(g)
		}
		if err != nil {
			return done, err
		}
		for _, r := range g.records {
			off += r.Len
		}
		done = append(done, g.records...)
	}
	return done, nil
}

// group is records that go to one segment, one after another.
type group struct {
	s       *segment
	kind    Kind
	records []Appended
	parts   [][2][]byte
	size    int64
}

// group takes of body from off on what one segment has room for. mu is held, but let go of while the next segment is made.
func (j *Journal) group(kind Kind, body []byte, off, piece int, headOf func(int) []byte) (*group, error) {
	g := &group{kind: kind}
	for off < len(body) && g.size < MaxPayload {
		b := body[off:min(len(body), off+piece)]
		h := headOf(off)
		n := len(h) + len(b)
		if n > j.max {
			return nil, remote.E("append to journal", "", remote.TooLarge, fmt.Errorf("a record of %d bytes, at most %d are possible", n, j.max))
		}
		size := recordSize(n)
		if g.s == nil {
			if err := j.makeRoom(size, forData); err != nil {
				return nil, err
			}
			g.s = j.active
		} else if g.s.end+g.size+size+noteRoom > j.o.SegmentSize {
			break
		}
		at := g.s.end + g.size + recHead
		g.records = append(g.records, Appended{
			Seq: j.last + Seq(len(g.records)) + 1, Loc: Loc{g.s.number, uint32(at), uint32(n)}, Off: off, Len: len(b),
		})
		g.parts = append(g.parts, [2][]byte{h, b})
		g.size += size
		off += len(b)
	}
	if g.s.end+g.size+noteRoom > g.s.size {
		if err := j.grow(g.s, g.size, forData); err != nil {
			if !remote.Is(err, remote.NoSpace) {
				return nil, err
			}
			// There is room for the first.
			g.records, g.parts = g.records[:1], g.parts[:1]
			g.size = recordSize(int(g.records[0].Loc.Len))
		}
	}
	return g, nil
}

// writeGroup seals and writes a group. mu is held.
func (j *Journal) writeGroup(g *group) error {
	if int64(cap(j.buf)) < g.size {
		j.buf = make([]byte, g.size)
	}
	s, buf := g.s, j.buf[:g.size]
	spread(len(g.records), func(i int) {
		r := &g.records[i]
		at := int64(r.Loc.Off) - recHead - s.end
		end := at + recordSize(int(r.Loc.Len))
		s.seal(buf[at:end:end], s.end+at, head{int(r.Loc.Len), g.kind, r.Seq, j.durable}, g.parts[i][:])
	})
	if err := j.put(s, buf, len(g.records)); err != nil {
		return err
	}
	j.last = g.records[len(g.records)-1].Seq
	s.last = j.last
	j.appended(s)
	return nil
}

// spread calls fn for 0 to n-1, on all cores.
func spread(n int, fn func(i int)) {
	var next atomic.Int64
	work := func() {
		for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
			fn(i)
		}
	}
	var wg sync.WaitGroup
	for range min(runtime.GOMAXPROCS(0), (n+1)/2) - 1 {
		wg.Go(work)
	}
	work()
	wg.Wait()
}
