package journal

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/cockroachdb/pebble/v2/vfs"
	"golang.org/x/sys/unix"

	"megafs/remote"
)

// A spare is a file of SegmentSize bytes that waits to become a segment; the reserve is a shorter one.
type spare struct {
	name string
	f    vfs.File
	size int64
}

// zeros is what new parts of files are filled with. Never written to.
var zeros [64 << 10]byte

// makeRoom sees to it that the active segment has room for size bytes and what is to be kept behind them, or returns why it can't.
// mu is held, but let go of while the next segment is made.
func (j *Journal) makeRoom(size int64, why purpose) error {
	for {
		if err := j.usable(); err != nil {
			return err
		}
		if s := j.active; s != nil && !s.full && s.used(why)+size+why.keep() <= j.o.SegmentSize {
			if s.used(why)+size+why.keep() <= s.size {
				return nil
			}
			err := j.grow(s, size, why)
			if err == nil || !remote.Is(err, remote.NoSpace) || j.prepared == nil && len(j.spares) == 0 && !j.useReserve(why) {
				return err
			}
			// No room for a larger file, but there is one of full size, or the reserve.
		}
		if err := j.rotate(why); err != nil && (!remote.Is(err, remote.NoSpace) || !j.useReserve(why)) {
			return err
		}
	}
}

// free returns by how many bytes files may grow, for callers' records or the journal's own. These always may
// by a step: when an earlier life had a higher limit, nothing could be freed otherwise. mu is held.
func (j *Journal) free(why purpose) int64 {
	if why == forNotes {
		return max(j.o.Limit-j.bytes, j.step)
	}
	return max(j.o.Limit-j.bytes-j.step, 0)
}

var errLimit = errors.New("the journal holds as much as it may; it gets room when changes are uploaded, or with a larger limit")

// grow makes the file of s longer for size bytes that are about to be written and what is kept behind them: by zeros in steps, so that a sync
// of small records need not write the file's length too. Large records come one after another; they are spared the zeros
// that they would overwrite at once. mu is held.
func (j *Journal) grow(s *segment, size int64, why purpose) error {
	end, step := s.used(why)+size+why.keep(), j.step
	if size > step/16 {
		step = minStep
	}
	room := j.free(why)
	if end-s.size > room {
		return noSpace(errLimit)
	}
	to := min((end+step-1)/step*step, j.o.SegmentSize, s.size+room)
	if err := j.mayGrow(to-s.size, why); err != nil {
		return err
	}
	if err := fill(s.f, max(s.size, s.end+size), to); err != nil {
		if isFull(err) {
			return noSpace(err)
		}
		return j.fail("extend journal", err)
	}
	j.bytes += to - s.size
	s.size = to
	if why == forData {
		s.reserve = false // there is room again
	}
	return nil
}

// mayGrow fails with NoSpace when the disk's last room is not for data.
func (j *Journal) mayGrow(n int64, why purpose) error {
	if why != forData || j.o.Grow == nil {
		return nil
	}
	if err := j.o.Grow(n); err != nil {
		return noSpace(err)
	}
	return nil
}

func fill(f vfs.File, from, to int64) error {
	for from < to {
		n, err := f.WriteAt(zeros[:min(to-from, int64(len(zeros)))], from)
		if err != nil {
			return err
		}
		from += int64(n)
	}
	return nil
}

// rotate makes the prepared segment the active one; if there is none, it has one made and returns for
// another try. mu is held, but let go of meanwhile.
func (j *Journal) rotate(why purpose) error {
	s := j.prepared
	if s == nil {
		p := j.making
		if p == nil {
			var err error
			if p, err = j.prepare(why); err != nil {
				return err
			}
		}
		j.mu.Unlock()
		<-p.done
		j.mu.Lock()
		return p.err
	}
	j.prepared = nil
	live := *j.live.Load()
	var l link
	if n := len(live); n > 0 {
		l.prev, l.end = live[n-1].number, live[n-1].end
	}
	s.first, s.last = j.last+1, j.last
	if err := j.note(s, l); err != nil {
		j.bytes -= s.size
		j.discard(segName(s.number), s.f)
		return err
	}
	live = append(slices.Clone(live), s)
	j.live.Store(&live)
	j.active = s
	return nil
}

// prepare starts the making of the next segment from a spare file or a new one. mu is held.
func (j *Journal) prepare(why purpose) (*promise, error) {
	var sp spare
	size := j.step
	if n := len(j.spares); n > 0 {
		sp = j.spares[n-1]
		j.spares = j.spares[:n-1]
		size = sp.size
	} else {
		if size > j.free(why) {
			return nil, noSpace(errLimit)
		}
		if err := j.mayGrow(size, why); err != nil {
			return nil, err
		}
		j.bytes += size
	}
	number := j.next
	j.next++
	p := &promise{done: make(chan struct{})}
	j.making = p
	j.work.Add(1)
	go func() {
		defer j.work.Done()
		s, err := j.makeSegment(number, sp, size)
		if err == nil {
			s.reserve = sp.f != nil && size < j.o.SegmentSize
			if !s.reserve {
				j.refill()
			}
		}
		j.mu.Lock()
		j.making, j.prepared, p.err = nil, s, err
		if err != nil {
			j.bytes -= size
		}
		j.mu.Unlock()
		close(p.done)
	}()
	return p, nil
}

// makeSegment gives a file of size bytes, the spare or a new one, a header and a segment's name. Nothing it
// writes is precious, so its errors are not the journal's failure.
func (j *Journal) makeSegment(number uint64, sp spare, size int64) (_ *segment, err error) {
	defer func() {
		if err == nil {
			return
		}
		j.discard(sp.name, sp.f)
		if isFull(err) {
			err = noSpace(err)
		} else {
			err = remote.E("make journal segment", j.path(segName(number)), remote.IO, err)
		}
	}()
	if sp.f == nil {
		if sp, err = j.newSpare(spareName(number), size); err != nil {
			return nil, err
		}
	}
	header, aead, err := newHeader(&j.o.Key, number)
	if err != nil {
		return nil, err
	}
	if _, err := sp.f.WriteAt(header, 0); err != nil {
		return nil, err
	}
	if err := sp.f.Sync(); err != nil {
		return nil, err
	}
	if err := j.o.FS.Rename(j.path(sp.name), j.path(segName(number))); err != nil {
		return nil, err
	}
	sp.name = segName(number)
	if err := j.dir.Sync(); err != nil {
		return nil, err
	}
	return &segment{number: number, f: sp.f, aead: aead, size: size, end: segStart}, nil
}

// newSpare makes a file of zeros. When it fails, it returns what there is of it.
func (j *Journal) newSpare(name string, size int64) (spare, error) {
	sp := spare{name: name, size: size}
	var err error
	if sp.f, err = j.o.FS.Create(j.path(sp.name), vfs.WriteCategoryUnspecified); err != nil {
		return sp, err
	}
	if fd := sp.f.Fd(); fd != vfs.InvalidFd {
		if err := unix.Fchmod(int(fd), 0o600); err != nil {
			return sp, err
		}
	}
	return sp, fill(sp.f, 0, size)
}

// Room returns how many payload bytes can be appended before NoSpace, not counting 40 to 55 bytes that each record
// takes beside, and up to one record's size lost at each segment's end. An Append of no more than Room and
// MaxPayload succeeds if the disk itself has room and nobody else appends.
func (j *Journal) Room() int64 {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.usable() != nil {
		return 0
	}
	const opening = segStart + noteSize
	free := j.free(forData) / j.step * j.step
	var tail, rest int64
	if s := j.active; s != nil && !s.full {
		grow := min(free, j.o.SegmentSize-s.size)
		free -= grow
		tail = max(0, s.size+grow-s.used(forData)-noteRoom-recordSize(0)-recAlign)
	}
	switch s := j.prepared; {
	case s == nil || s.reserve: // nothing for data
	case s.size < j.o.SegmentSize:
		free += s.size
	default:
		rest += s.size - opening - noteRoom
	}
	for _, sp := range j.spares {
		if sp.size == j.o.SegmentSize {
			rest += sp.size - opening - noteRoom
		}
	}
	// New files, of which the last counts only if it takes the largest record.
	rest += free / j.o.SegmentSize * (j.o.SegmentSize - opening - noteRoom)
	if part := free%j.o.SegmentSize - opening - noteRoom; part >= recordSize(j.max) {
		rest += part
	}
	return tail + rest
}

// Trim says that records before the given one are no longer needed. Segments that hold no others are freed, which takes
// a sync first; other records stay and may be replayed by the next Open. Reading a trimmed record may give kind Stale.
func (j *Journal) Trim(before Seq) error {
	j.trimming.Lock()
	defer j.trimming.Unlock()
	j.mu.Lock()
	if err := j.usable(); err != nil {
		j.mu.Unlock()
		return err
	}
	j.trim = max(j.trim, min(before, j.last+1))
	before = j.trim
	var old []*segment
	for _, s := range *j.live.Load() {
		if s == j.active || s.last >= before {
			break
		}
		old = append(old, s)
	}
	if len(old) == 0 {
		j.mu.Unlock()
		return nil
	}
	// The journal must say so itself, durably, or the gap would look like damage. If that takes a new segment,
	// its opener says it already.
	s := j.active
	err := j.makeRoom(noteSize, forNotes)
	if err == nil && j.active == s {
		err = j.note(s, link{})
	}
	j.mu.Unlock()
	if err != nil {
		return err
	}
	if err := j.flush(context.Background()); err != nil {
		return err
	}
	j.mu.Lock()
	live := slices.Clone((*j.live.Load())[len(old):])
	j.live.Store(&live)
	j.mu.Unlock()
	return j.recycle(old)
}

// recycle turns segments that nothing refers to into spares, or removes them. Errors are not the journal's failure: a file that stays
// is found by the next Open.
func (j *Journal) recycle(old []*segment) error {
	j.mu.Lock()
	room := maxSpares - len(j.spares)
	j.mu.Unlock()
	var spares []spare
	var errs []error
	for i, s := range old {
		f, name := s.take(), segName(s.number)
		j.mu.Lock()
		over := j.bytes > j.o.Limit || // since Trim had to write first
			i == 0 && j.reserve.f == nil // a new one needs the place
		j.mu.Unlock()
		if s.size == j.o.SegmentSize && len(spares) < room && !over {
			err := j.o.FS.Rename(j.path(name), j.path(spareName(s.number)))
			if err == nil {
				spares = append(spares, spare{spareName(s.number), f, s.size})
				continue
			}
			errs = append(errs, err)
		}
		errs = append(errs, j.discard(name, f))
		j.mu.Lock()
		j.bytes -= s.size
		j.mu.Unlock()
	}
	// A file must have lost its name as a segment for good before it may get another header.
	err := j.dir.Sync()
	errs = append(errs, err)
	if err == nil {
		j.mu.Lock()
		j.spares = append(j.spares, spares...)
		j.mu.Unlock()
	} else { // they stay on disk, and in bytes
		for _, sp := range spares {
			errs = append(errs, sp.f.Close())
		}
	}
	j.refill()
	if err := errors.Join(errs...); err != nil {
		return remote.E("trim journal", j.o.Dir, remote.IO, fmt.Errorf("%w (no record is lost)", err))
	}
	return nil
}

// discard closes and removes a file that nobody needs. f may be nil.
func (j *Journal) discard(name string, f vfs.File) error {
	if f == nil {
		return nil
	}
	return errors.Join(f.Close(), j.o.FS.Remove(j.path(name)))
}

func (j *Journal) path(name string) string { return j.o.FS.PathJoin(j.o.Dir, name) }
