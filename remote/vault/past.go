package vault

import (
	"context"
	"errors"
	"fmt"
	"sort"
	"time"

	"megafs/remote"
)

// Past is the log that is left, as a walk over all of it found it.
type Past struct {
	v *Vault
	s *survey
}

// whole is longer ago than any log: what lies within it is of no interest to a walk that removes nothing.
const whole = 200 * 365 * 24 * time.Hour

// Past walks over the log that is left, and tells sink all of it when there is one: the state that the log begins with, then each batch.
func (v *Vault) Past(ctx context.Context, sink remote.Sink) (*Past, error) {
	var r Replica
	if sink != nil {
		r = telling{sink}
	}
	s, err := v.newSurvey(ctx, v.o.Clock(), whole, r)
	if errors.Is(err, errPruned) {
		s, err = v.newSurvey(ctx, v.o.Clock(), whole, r) // it was shortened meanwhile
	}
	if err != nil {
		return nil, err
	}
	return &Past{v, s}, nil
}

// telling makes a Replica of a Sink. Nothing is held against it.
type telling struct{ remote.Sink }

func (telling) Ops(func(remote.Op) error) error { return nil }
func (telling) Close() error                    { return nil }

// Begins returns the first entry of which there is a state.
func (p *Past) Begins() uint64 { return max(p.s.origin.Seq, 1) }

// Ends returns the newest entry.
func (p *Past) Ends() uint64 { return p.s.w.at.Seq }

// Time is when an entry was made, by clocks that are believed.
func (p *Past) Time(seq uint64) time.Time { return time.Unix(0, p.s.made(seq)) }

// At returns the entry that was the newest at a time.
func (p *Past) At(when time.Time) (uint64, error) {
	first := p.Begins()
	n := sort.Search(int(p.Ends()-first)+1, func(i int) bool { return p.Time(first + uint64(i)).After(when) })
	if n == 0 {
		return 0, remote.E("look into the past", "", remote.NotExist, fmt.Errorf("what is kept of the log begins at %s", p.Time(first).Local().Format(time.DateTime)))
	}
	return first + uint64(n) - 1, nil
}

// Given reports whether content was given up: it may be there still, or not.
func (p *Past) Given(id remote.ObjectID) bool { return p.s.gave[short(id)] }

// Load tells sink the state after an entry.
func (p *Past) Load(ctx context.Context, seq uint64, sink remote.Sink) (remote.Position, error) {
	v, s := p.v, p.s
	if seq < p.Begins() || seq > p.Ends() {
		return remote.Position{}, remote.E("look into the past", logName(seq), remote.NotExist, nil)
	}
	// The newest snapshot up to there, or what the log begins with.
	for i := len(s.announced) - 1; i >= 0; i-- {
		a := s.announced[i]
		if a.seq > seq || s.given[a.candidate] {
			continue
		}
		r, err := v.root(ctx, a.candidate)
		if err == nil && r.at != s.place(r.at.Seq) {
			err = bad("read snapshot", fmt.Sprint(a.seq), ErrFork, nil)
		}
		if err == nil {
			err = v.begin(ctx, r, sink)
		}
		if err == nil {
			return p.follow(ctx, r.at, seq, sink)
		}
		if !damaged(err) {
			return remote.Position{}, err
		}
	}
	if s.base != nil {
		if err := v.begin(ctx, s.base, sink); err != nil {
			return remote.Position{}, err
		}
	} else if err := sink.Reset(); err != nil {
		return remote.Position{}, err
	}
	return p.follow(ctx, s.origin, seq, sink)
}

// begin tells a snapshot.
func (v *Vault) begin(ctx context.Context, r *root, sink remote.Sink) error {
	if err := sink.Reset(); err != nil {
		return err
	}
	if err := v.tell(ctx, r, sink); err != nil {
		return err
	}
	return sink.Apply(remote.Batch{Pos: remote.Position(r.at)})
}

// place is an entry's place in the chain that was walked.
func (s *survey) place(seq uint64) link {
	if seq == 0 {
		return link{0, genesis(s.v.keys.Vault())}
	}
	return link{seq, s.hashes[seq-1]}
}

// follow tells the batches between two entries, which must be the ones that were walked over.
func (p *Past) follow(ctx context.Context, from link, to uint64, sink remote.Sink) (end remote.Position, err error) {
	end = remote.Position(from)
	w := p.v.walkerAt(from)
	next, stop := p.v.entries(ctx, from.Seq)
	defer stop()
	for w.at.Seq < to {
		f := next()
		if f.err != nil {
			return end, missing("look into the past", logName(f.seq), f.err)
		}
		_, b, err := w.step(ctx, f.sealed)
		if err == nil && w.at != p.s.place(w.at.Seq) {
			err = bad("look into the past", logName(f.seq), ErrFork, nil)
		}
		if err != nil {
			return end, err
		}
		if b != nil {
			if err := sink.Apply(*b); err != nil {
				return end, err
			}
			end = b.Pos
		}
	}
	return end, nil
}

// Remote returns the vault as it was after an entry. Nothing changes it.
func (p *Past) Remote(seq uint64) remote.Remote { return &then{p, seq} }

type then struct {
	p   *Past
	seq uint64
}

var errThen = errors.New("the past can't be changed")

func (t *then) Load(ctx context.Context, from remote.Position, sink remote.Sink) (remote.Position, error) {
	if from.Seq > 0 {
		return from, nil
	}
	return t.p.Load(ctx, t.seq, sink)
}

func (t *then) Store(context.Context, []remote.Piece, func(remote.Ref, []byte)) ([]remote.Ref, error) {
	return nil, remote.E("store", "", remote.ReadOnly, errThen)
}

func (t *then) Commit(_ context.Context, base remote.Position, _ []remote.Op) (remote.Position, error) {
	return base, remote.E("commit", "", remote.ReadOnly, errThen)
}

func (t *then) Snapshot(_ context.Context, pos remote.Position, _ func(func(remote.Op) error) error) (remote.Position, error) {
	return pos, remote.E("snapshot", "", remote.ReadOnly, errThen)
}

func (t *then) Fetch(ctx context.Context, ref remote.Ref, first, n int, dst []byte) error {
	err := t.p.v.Fetch(ctx, ref, first, n, dst)
	if errors.Is(err, ErrMissing) && t.p.Given(ref.Object) {
		return remote.E("fetch", contentName(ref.Object), remote.Integrity, errors.New("it was collected as garbage since; --keep says how much of the past is kept"))
	}
	return err
}

func (t *then) Open(ref remote.Ref, i int, sealed, dst []byte) error {
	return t.p.v.Open(ref, i, sealed, dst)
}
func (t *then) Usage(ctx context.Context) (remote.Usage, error) { return t.p.v.Usage(ctx) }
func (t *then) Device() (remote.DeviceID, uint32)               { return t.p.v.Device() }
func (t *then) Close() error                                    { return nil }
