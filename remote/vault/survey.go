package vault

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"strings"
	"time"

	"megafs/remote"
	"megafs/remote/blob"
	"megafs/remote/wire"
)

// Replica is a state machine for Ops, which snapshots are held against before anything that they replace is removed.
type Replica interface {
	remote.Sink
	Ops(yield func(remote.Op) error) error
	Close() error
}

// survey is what a walk over the whole log that is left found.
type survey struct {
	v       *Vault
	w       *walker
	cutoff  int64
	now     int64
	replica Replica // may be nil

	origin    link   // where it began
	base      *root  // the snapshot there; nil: the log is whole
	before    *chain // what lies before
	hashes    [][32]byte
	clocks    []int64           // what each entry says when it was made
	refs      map[uint64]uint64 // by the first bytes of an object's id, the last entry that refers to it
	batches   uint64            // the last entry with a part of a batch
	announced []*announced
	open      map[uint64]*mark
	made      func(seq uint64) int64 // when an entry was made at the latest
	least     int64                  // when the newest was, at the least
	floor     uint64                 // the furthest at which a mark cut the log
	cutting   *mark                  // that one
	back      bool                   // entries that were removed are there again
	given     map[candidate]bool     // snapshots that marks gave up
	gave      map[uint64]bool        // the first bytes of the ids of content that they gave up
	turns     int                    // marks, ends of marks and snapshots seen
}

type announced struct {
	candidate
	diverges error
	root     *root // when it was read
}

// clockSkew is how much clocks may differ; what says more is not believed.
const clockSkew = int64(time.Hour)

// believed reports whether a clock can be right: it is not ahead of ours, and not behind that of an entry before.
func (s *survey) believed(t, last int64) bool { return t <= s.now+clockSkew && t >= last-clockSkew }

// date returns for each number of an entry when it was made. One whose clock is not believed was made before the next one, or before now, and counts as made then. So nothing
// is taken for older than it is because of another's clock.
func (s *survey) date() (at func(seq uint64) int64) {
	dates := make([]int64, len(s.clocks))
	believed := make([]bool, len(s.clocks))
	var last int64
	for i, t := range s.clocks {
		if s.believed(t, last) {
			last = max(last, t)
			dates[i], believed[i] = last, true
		}
	}
	next := s.now
	for i := len(dates) - 1; i >= 0; i-- {
		if !believed[i] {
			dates[i] = next
		}
		dates[i] = min(dates[i], s.now)
		next = dates[i]
	}
	return func(seq uint64) int64 {
		switch i := seq - s.origin.Seq; {
		case seq <= s.origin.Seq && len(dates) > 0:
			return dates[0]
		case i > 0 && i <= uint64(len(dates)):
			return dates[i-1]
		}
		return s.now
	}
}

// newSurvey begins where the log begins: with the first entry, or with the oldest history that has all that is removed.
func (v *Vault) newSurvey(ctx context.Context, now time.Time, keep time.Duration, replica Replica) (*survey, error) {
	first, err := v.firstEntry(ctx)
	if err != nil {
		return nil, err
	}
	s, err := v.surveyFrom(ctx, first, now, keep, replica)
	if !errors.Is(err, errPruned) {
		return s, err
	}
	// Some of what was removed may be there again, as a store brings it back from a copy. The log begins after the last that is missing.
	after, lerr := v.firstAfterGap(ctx)
	if lerr != nil || after == first {
		return nil, errors.Join(err, lerr)
	}
	if s, err = v.surveyFrom(ctx, after, now, keep, replica); err == nil {
		s.back = true
	}
	return s, err
}

func (v *Vault) surveyFrom(ctx context.Context, first uint64, now time.Time, keep time.Duration, replica Replica) (*survey, error) {
	s := &survey{
		v: v, now: now.UnixNano(), cutoff: now.Add(-keep).UnixNano(), replica: replica, refs: map[uint64]uint64{}, open: map[uint64]*mark{}, given: map[candidate]bool{}, gave: map[uint64]bool{},
		origin: link{0, genesis(v.keys.Vault())},
	}
	if first > 1 {
		if err := s.begin(ctx, first); err != nil {
			return nil, err
		}
		s.back = first <= s.origin.Seq
	}
	s.w = v.walkerAt(s.origin)
	if replica != nil {
		if err := replica.Reset(); err != nil {
			return nil, err
		}
		if s.base != nil {
			if err := v.tell(ctx, s.base, replica); err != nil {
				return nil, err
			}
			if err := replica.Apply(remote.Batch{Pos: remote.Position(s.origin)}); err != nil {
				return nil, err
			}
		}
	}
	if err := s.extend(ctx); err != nil {
		return nil, err
	}
	if m := s.cutting; m != nil && s.before != nil && m.floor == s.before.floor && m.id != s.before.self.id {
		// Others were written by who lost the race to name theirs. They say the same; the one that the log names is the one to keep.
		h, err := v.readHistory(ctx, m.floor, m.id)
		if err != nil {
			return nil, err
		}
		s.before = h
	}
	return s, nil
}

// firstEntry returns the smallest number of an entry that a listing shows.
func (v *Vault) firstEntry(ctx context.Context) (first uint64, err error) {
	err = v.store.List(ctx, "l/", "", func(i blob.Info) error {
		if n, ok := number(i.Name, "l/"); ok && n > 0 {
			first = n
			return errStop
		}
		return nil
	})
	if errors.Is(err, errStop) {
		err = nil
	}
	return first, err
}

// firstAfterGap returns the first of the entries that a listing shows without a gap up to the last.
func (v *Vault) firstAfterGap(ctx context.Context) (first uint64, err error) {
	var last uint64
	err = v.store.List(ctx, "l/", "", func(i blob.Info) error {
		n, ok := number(i.Name, "l/")
		if ok && n > 0 {
			if n != last+1 || first == 0 {
				first = n
			}
			last = n
		}
		return nil
	})
	return first, err
}

// begin finds the history and the snapshot with which a log begins whose first entries are gone.
func (s *survey) begin(ctx context.Context, first uint64) error {
	v := s.v
	list, err := v.histories(ctx, first-1)
	if err != nil {
		return err
	}
	why := bad("survey the log", logName(1), ErrGap, nil)
	for i := len(list) - 1; i >= 0; i-- {
		h, err := v.readHistory(ctx, list[i].n, list[i].id)
		var r *root
		if err == nil {
			r, err = v.standIn(ctx, h, func(*root) error { return nil })
		}
		if err == nil {
			s.before, s.base, s.origin, s.hashes = h, r, r.at, h.hashes
			return nil
		}
		if !damaged(err) {
			return err
		}
		why = bad("survey the log", logName(1), ErrGap, err)
	}
	return why
}

// standIn returns the snapshot that stands in for the log up to the end of a history, one for which good has no error.
func (v *Vault) standIn(ctx context.Context, h *chain, good func(*root) error) (*root, error) {
	var found []item
	err := v.left(ctx, fmt.Sprintf("%s%016x-", rootPrefix, h.floor), func(i item, _ int64) { found = append(found, i) })
	if err != nil {
		return nil, err
	}
	why := bad("read snapshot", fmt.Sprint(h.floor), ErrMissing, nil)
	for _, i := range found {
		r, err := v.root(ctx, candidate{i.n, i.id})
		if err == nil && r.at != h.at(h.floor, v.keys.Vault()) {
			err = bad("read snapshot", i.name(), ErrFork, nil)
		}
		if err == nil {
			err = good(r)
		}
		if err == nil {
			return r, nil
		}
		if !damaged(err) {
			return nil, err
		}
		why = err
	}
	return nil, why
}

// extend walks on to the log's end.
func (s *survey) extend(ctx context.Context) error {
	err := s.walk(ctx)
	s.made = s.date()
	return err
}

func (s *survey) walk(ctx context.Context) error {
	v := s.v
	next, stop := v.entries(ctx, s.w.at.Seq)
	defer stop()
	for {
		f := next()
		if remote.Is(f.err, remote.NotExist) {
			if f.seq <= v.trusted().Seq {
				if f.sealed, f.err = v.again(ctx, f.seq); remote.Is(f.err, remote.NotExist) {
					// Where the log begins a listing said. So this is no proof against the store; the next load looks for that.
					_, err := v.pruned(ctx, s.w.at, f.seq, v.rolledBack(ctx, f.seq-1))
					if err == nil {
						err = errPruned
					}
					return err
				}
			} else {
				err := v.reached(s.w)
				s.w.devices = maps.Clone(s.w.devices) // the vault has those now
				return err
			}
		}
		e, b, err := v.take(ctx, s.w, f)
		if err != nil {
			return err
		}
		if b != nil && s.replica != nil {
			if err := s.replica.Apply(*b); err != nil {
				return bad("survey the log", logName(e.seq), ErrInvalidEntry, err)
			}
		}
		if err := s.take(ctx, e); err != nil {
			return err
		}
	}
}

func (s *survey) take(ctx context.Context, e *entry) error {
	s.clocks = append(s.clocks, e.time)
	if s.believed(e.time, s.least) {
		s.least = max(s.least, e.time)
	}
	s.hashes = append(s.hashes, e.hash)
	switch e.typ {
	case entryBatch:
		s.batches = e.seq
		for i := range e.list {
			if id, ok := refers(&e.list[i]); ok {
				s.refs[short(id)] = e.seq
			}
		}
	case entrySnapshot:
		s.turns++
		a := &announced{candidate: candidate{e.about.Seq, e.root}}
		s.announced = append(s.announced, a)
		if s.replica != nil && s.least <= s.cutoff { // else it can't be old
			a.diverges = s.hold(ctx, a)
			if a.diverges != nil && !damaged(a.diverges) {
				return a.diverges
			}
		}
	case entryMark:
		s.turns++
		s.open[e.seq] = e.mark
		for _, i := range e.mark.items {
			switch i.kind {
			case itemContent:
				s.gave[short(remote.ObjectID(i.id))] = true
			case itemRoot:
				s.given[candidate{i.n, i.id}] = true
			}
		}
		if e.mark.floor > 0 && e.mark.floor >= s.floor {
			s.floor, s.cutting = e.mark.floor, e.mark
		}
	case entryDone:
		s.turns++
		delete(s.open, e.about.Seq)
	}
	return nil
}

// old reports whether all states before a snapshot are older than what is kept.
func (s *survey) old(a *announced) bool { return s.time(a) <= s.cutoff }

// time is when a snapshot was announced.
func (s *survey) time(a *announced) int64 { return s.made(a.seq + 1) }

// hold holds a snapshot against the state that the log leads to. One that is gone, since it was given up, is of no use but no lie.
func (s *survey) hold(ctx context.Context, a *announced) error {
	r, err := s.v.root(ctx, a.candidate)
	if err != nil {
		return err
	}
	a.root = r
	var told, is digest
	if err := s.v.eachOp(ctx, r, func(op *remote.Op) error { told.add(*op); return nil }); err != nil {
		return err
	}
	if err := s.replica.Ops(func(op remote.Op) error { is.add(op); return nil }); err != nil {
		return err
	}
	if told.sum() != is.sum() {
		err := bad("hold a snapshot against the log", fmt.Sprint(a.seq), ErrSnapshotDivergence, nil)
		s.v.o.Log.Error("a snapshot is not the state that the log leads to; nothing is removed by it. This is a mistake in megafs, please report it", "reason", err)
		return err
	}
	return nil
}

// whole reads a snapshot, and counts what it refers to as used.
func (s *survey) whole(ctx context.Context, a *announced, used map[uint64]bool) (err error) {
	if a.diverges != nil {
		return a.diverges
	}
	if a.root == nil {
		if a.root, err = s.v.root(ctx, a.candidate); err != nil {
			return err
		}
	}
	return s.v.eachOp(ctx, a.root, func(op *remote.Op) error {
		if id, ok := refers(op); ok && used != nil {
			used[short(id)] = true
		}
		return nil
	})
}

// digest is one of a state, however its content is cut into extents.
type digest struct {
	h    []byte
	last remote.Op
}

func (d *digest) add(op remote.Op) {
	l := &d.last
	if l.Kind == remote.OpExtent && op.Kind == remote.OpExtent && l.Ino == op.Ino && l.Extent.End() == op.Extent.Off {
		a, b := &l.Extent, &op.Extent
		r := a.Ref
		r.Off += uint32(a.Len)
		if !a.Hole && !b.Hole && a.Inline == nil && b.Inline == nil && r == b.Ref {
			a.Len += b.Len
			return
		}
	}
	d.flush()
	d.last = op
}

func (d *digest) flush() {
	if d.last.Kind == 0 || d.last.Kind == remote.OpExtent && d.last.Extent.Hole {
		return
	}
	sum := sha256.Sum256(append(d.h, wire.AppendOp(nil, &d.last)...))
	d.h = sum[:]
}

func (d *digest) sum() string {
	d.flush()
	d.last = remote.Op{}
	return string(d.h)
}

// left reports what lies in the store below a prefix and has a name of ours.
func (v *Vault) left(ctx context.Context, prefix string, fn func(i item, size int64)) error {
	return v.store.List(ctx, prefix, "", func(x blob.Info) error {
		if i, ok := itemOf(x.Name); ok && strings.HasPrefix(x.Name, prefix) {
			fn(i, x.Size)
		}
		return nil
	})
}
