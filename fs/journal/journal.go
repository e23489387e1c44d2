package journal

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"

	"github.com/cockroachdb/pebble/v2/vfs"

	"megafs/remote"
)

// Seq is the number of a record: from 1, without gaps.
type Seq uint64

// Kind is what a record is about, 1 to 255, the caller's business.
type Kind uint8

// Loc is where a record's payload lies. It is valid until the record is trimmed.
type Loc struct {
	Segment uint64
	Off     uint32 // of the payload, in the segment
	Len     uint32 // of the payload
}

// Record is what Open replays. Payload is valid only during the callback.
type Record struct {
	Seq     Seq
	Kind    Kind
	Loc     Loc
	Payload []byte
}

// MaxPayload is the most bytes in a record. Segments below 1.2 MiB take less: what fits in one.
const MaxPayload = 1<<20 + 64<<10

const (
	defaultLimit   = 1 << 30
	defaultSegment = 32 << 20
	minSegment     = 16 << 10
	maxSegment     = 1 << 30
	minSegments    = 4
	minStep        = 8 << 10 // a new file holds a header, an opener and notes
	maxStep        = 1 << 20
	maxSpares      = 2
	noteRoom       = 4 * noteSize // kept free at a segment's end for notes
)

// Options say where the journal lies and how large it may grow.
type Options struct {
	FS          vfs.FS       // nil is the operating system's
	Dir         string       // the journal's own folder, made with mode 0700
	Key         [32]byte     // from which the segments' keys are derived
	SegmentSize int64        // bytes; 0 is 32 MiB, or an eighth of Limit if that is less
	Limit       int64        // bytes of all files; 0 is 1 GiB; at least four segments
	Log         *slog.Logger // nil is none

	// Grow says why files may not grow by n bytes for data although the disk would let them; nil: they always may. It is asked with a lock held.
	Grow func(n int64) error
}

// Stat is the state of a journal.
type Stat struct {
	Bytes             int64 // of all files, spares included; what Limit limits
	Used              int64 // bytes in segments, up to their last record
	Limit             int64
	SegmentSize       int64
	First             Seq // of the first record that is kept and was not trimmed; Last+1 if there is none
	Last              Seq // of the last record
	Durable           Seq // of the last record that is known to be on disk
	Trimmed           Seq // records before this one are not needed
	Segments          int
	Spares            int // files that wait to be segments
	OldestSegmentLast Seq // of the last record in the oldest segment; when all up to there are not needed and
	// Segments > 1, trimming them frees a segment
}

// A Journal is an open journal. Its methods may be called by many goroutines at once.
type Journal struct {
	o    Options
	dir  vfs.File
	step int64 // by which a segment's file grows
	max  int   // bytes in a payload

	live atomic.Pointer[[]*segment] // oldest first; the slice is never changed, only replaced, under mu

	trimming sync.Mutex

	mu        sync.Mutex
	active    *segment // the last of live, or nil while nothing was appended in this life
	prepared  *segment // with a header, without an opener
	making    *promise // the making of prepared
	round     *promise // the sync that goes on
	outing    bool     // a writeOut goes on
	spares    []spare
	reserve   spare // for what frees room; f is nil if there is none
	refilling bool  // the reserve is being made
	bytes     int64
	next      uint64 // number of the next segment
	last      Seq
	durable   Seq
	trim      Seq    // records before it are not needed
	written   uint64 // records of all kinds appended in this life
	synced    uint64 // of these are durable
	buf       []byte
	failed    error
	closing   bool // no calls any more
	closed    bool // no syncs any more

	work sync.WaitGroup // the maker and the syncer
}

// promise is something another goroutine does; err may be read once done is closed.
type promise struct {
	done chan struct{}
	err  error
}

var errClosed = remote.E("use journal", "", remote.Stale, errors.New("it is closed"))

// Append adds a record with the parts, joined, as payload. When it returns, the record is in the kernel and
// survives the end of the process; see Sync. Kinds of errors: NoSpace if the record does not fit below Limit or
// on the disk, and then nothing was written; TooLarge; IO once the journal has failed.
func (j *Journal) Append(kind Kind, parts ...[]byte) (Seq, Loc, error) {
	return j.append(forData, kind, parts)
}

// AppendFreeing is Append for small records after which there will be more room, or that a disk without room takes too. They may use the reserve.
func (j *Journal) AppendFreeing(kind Kind, parts ...[]byte) (Seq, Loc, error) {
	return j.append(forFreeing, kind, parts)
}

func (j *Journal) append(why purpose, kind Kind, parts [][]byte) (Seq, Loc, error) {
	const op = "append to journal"
	n := 0
	for _, p := range parts {
		n += len(p)
	}
	switch {
	case kind == 0:
		return 0, Loc{}, remote.E(op, "", remote.Invalid, errors.New("kind 0 is not for callers"))
	case n > j.max:
		return 0, Loc{}, remote.E(op, "", remote.TooLarge, fmt.Errorf("a record of %d bytes, at most %d are possible", n, j.max))
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if err := j.makeRoom(recordSize(n), why); err != nil {
		return 0, Loc{}, err
	}
	s, off := j.active, j.active.end
	if err := j.write(s, head{n, kind, j.last + 1, j.durable}, parts...); err != nil {
		return 0, Loc{}, err
	}
	j.last++
	s.last = j.last
	j.appended(s)
	return j.last, Loc{s.number, uint32(off + recHead), uint32(n)}, nil
}

// appended has the next segment made when s fills, and the disk begin to write what a later sync would wait for. mu is held.
func (j *Journal) appended(s *segment) {
	if s.end > j.o.SegmentSize/2 && !s.asked && j.prepared == nil && j.making == nil {
		s.asked = true
		if _, err := j.prepare(forData); err != nil && !remote.Is(err, remote.NoSpace) {
			j.log("no next segment yet", err)
		}
	}
	j.writeOut(s)
}

// write seals a record and writes it to the end of s. mu is held.
func (j *Journal) write(s *segment, h head, parts ...[]byte) error {
	j.buf = s.seal(j.buf, s.end, h, parts)
	return j.put(s, j.buf, 1)
}

// put writes n sealed records to the end of s. mu is held.
func (j *Journal) put(s *segment, sealed []byte, n int) error {
	if _, err := s.f.WriteAt(sealed, s.end); err != nil {
		// The nonces are spent: whatever comes next goes to another segment.
		s.full = true
		if isFull(err) {
			return noSpace(err)
		}
		return j.fail("write to journal", err)
	}
	s.end += int64(len(sealed))
	s.dirty = true
	j.written += uint64(n)
	return nil
}

// note appends a record of the journal's own to the active segment. mu is held.
func (j *Journal) note(s *segment, l link) error {
	l.trim = j.trim
	return j.write(s, head{linkSize, 0, j.last, j.durable}, l.encode())
}

// fail makes the journal fail for good. mu is held.
func (j *Journal) fail(op string, err error) error {
	if j.failed == nil {
		j.failed = remote.E(op, j.o.Dir, remote.IO,
			fmt.Errorf("%w (the journal takes nothing more until it is opened anew; check the disk)", err))
		j.log("journal failed", j.failed)
	}
	return j.failed
}

// usable returns why the journal can't be used, or nil. mu is held.
func (j *Journal) usable() error {
	if j.closing {
		return errClosed
	}
	return j.failed
}

// Stat returns the state of the journal.
func (j *Journal) Stat() Stat {
	j.mu.Lock()
	defer j.mu.Unlock()
	live := *j.live.Load()
	st := Stat{
		Bytes: j.bytes, Limit: j.o.Limit, SegmentSize: j.o.SegmentSize, First: j.last + 1, Last: j.last, Durable: j.durable, Trimmed: j.trim,
		Segments: len(live), Spares: len(j.spares),
	}
	if j.prepared != nil {
		st.Spares++
	}
	for _, s := range live {
		st.Used += s.end
	}
	if len(live) > 0 {
		st.First = min(max(live[0].first, j.trim), st.First)
		st.OldestSegmentLast = live[0].last
	}
	return st
}

// Close makes all records durable and closes the journal. It waits for the disk, however long that takes.
func (j *Journal) Close() error {
	j.mu.Lock()
	if j.closing {
		j.mu.Unlock()
		return errClosed
	}
	j.closing = true
	j.mu.Unlock()

	// Wait for a Trim that is under way; those to come see closing.
	j.trimming.Lock()
	defer j.trimming.Unlock()
	err := j.flush(context.Background())
	if err == nil {
		// This note is the proof that all records before it were durable.
		j.mu.Lock()
		if s := j.active; s != nil && !s.full && s.end+noteSize <= s.size {
			err = j.note(s, link{})
		}
		j.mu.Unlock()
		if err == nil {
			err = j.flush(context.Background())
		}
	}
	j.mu.Lock()
	j.closed = true
	j.mu.Unlock()
	j.work.Wait()
	return errors.Join(err, j.closeFiles())
}

// closeFiles closes all files, once nobody but readers uses them.
func (j *Journal) closeFiles() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	var errs []error
	segs := *j.live.Load()
	if j.prepared != nil {
		segs = append(slices.Clone(segs), j.prepared)
	}
	for _, s := range segs {
		errs = append(errs, s.take().Close())
	}
	for _, sp := range j.spares {
		errs = append(errs, sp.f.Close())
	}
	if j.reserve.f != nil {
		errs = append(errs, j.reserve.f.Close())
	}
	if j.dir != nil {
		errs = append(errs, j.dir.Close())
	}
	if err := errors.Join(errs...); err != nil {
		return remote.E("close journal", j.o.Dir, remote.IO, err)
	}
	return nil
}

func (j *Journal) log(msg string, err error, args ...any) {
	if j.o.Log == nil {
		return
	}
	if err != nil {
		j.o.Log.Error(msg, append(args, "err", err)...)
	} else {
		j.o.Log.Info(msg, args...)
	}
}

// isFull reports whether err says that the disk is full.
func isFull(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}

func noSpace(err error) error { return remote.E("append to journal", "", remote.NoSpace, err) }
