package vault

import (
	"context"
	"errors"
	"slices"

	"megafs/remote"
)

// Load implements remote.Remote. A vault that was caught in a violation has no news.
func (v *Vault) Load(ctx context.Context, from remote.Position, sink remote.Sink) (remote.Position, error) {
	v.loadMu.Lock()
	defer v.loadMu.Unlock()
	v.mu.Lock()
	violation := v.trust.Violation
	v.mu.Unlock()
	if violation != "" && from.Seq > 0 {
		return from, remote.E("load", "", remote.ReadOnly, errors.Join(ErrViolation, errors.New(violation)))
	}
	if from.Seq == 0 {
		return v.loadFresh(ctx, sink)
	}
	err := v.stands(ctx, link(from))
	var w *walker
	if err == nil {
		w, err = v.reach(ctx, link(from))
	}
	to := from
	if err == nil {
		to, err = v.follow(ctx, w, sink)
	}
	if errors.Is(err, errUnknown) || errors.Is(err, errPruned) {
		return v.loadFresh(ctx, sink)
	}
	return to, err
}

// reach returns a walker that stands on an entry. When this machine trusts an earlier one it walks there from that, which proves that the
// one descends from the other, and shows what was done in this device's name. Else it fails with errUnknown.
func (v *Vault) reach(ctx context.Context, to link) (*walker, error) {
	v.mu.Lock()
	w, trusted := v.walkerAt(to), v.trust.Head
	w.snap = v.snap
	if v.end == to && v.head == v.end {
		for d, l := range v.devices {
			w.devices[d] = l
		}
		trusted = link{}
	}
	v.mu.Unlock()
	if trusted.Seq > 0 && trusted.Seq == to.Seq && trusted != to {
		return nil, errUnknown
	}
	if trusted.Seq == 0 || trusted.Seq >= to.Seq {
		return w, nil
	}
	w.at, w.end = trusted, trusted
	return v.walkTo(ctx, w, to)
}

// walkTo lets a walker walk to an entry.
func (v *Vault) walkTo(ctx context.Context, w *walker, to link) (*walker, error) {
	next, stop := v.entries(ctx, w.at.Seq)
	defer stop()
	for w.at.Seq < to.Seq {
		f := next()
		if remote.Is(f.err, remote.NotExist) {
			f.sealed, f.err = v.again(ctx, f.seq)
		}
		if remote.Is(f.err, remote.NotExist) {
			over, err := v.leap(ctx, w.at, to)
			if err != nil {
				return nil, err
			}
			return v.walkTo(ctx, over, to)
		}
		if _, _, err := v.take(ctx, w, f); err != nil {
			return nil, err
		}
	}
	if w.at != to {
		return nil, errUnknown
	}
	return w, nil
}

// leap brings a walker over entries that were removed, by a history that has the place where it stands. What was done there in this device's name,
// or by a copy of its state folder, nobody can tell any more, so the device takes a new name.
func (v *Vault) leap(ctx context.Context, at, to link) (*walker, error) {
	h, err := v.pruned(ctx, at, at.Seq+1, bad("load", logName(at.Seq+1), ErrGap, nil))
	if err == nil && h.floor > to.Seq {
		return nil, errPruned // more was removed meanwhile
	}
	if remote.Is(err, remote.Integrity) {
		err = v.violated(err)
	}
	if err != nil {
		return nil, err
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.o.Log.Info("the log was followed over entries that were removed; this machine goes on under a new name", "from", at.Seq, "to", h.floor)
	w := v.walkerAt(h.at(h.floor, v.keys.Vault()))
	w.snap = v.snap
	return w, v.rename()
}

// take lets a walker take the next entry, and compares it with what this machine remembers.
func (v *Vault) take(ctx context.Context, w *walker, f fetched) (e *entry, b *remote.Batch, err error) {
	name := logName(f.seq)
	switch {
	case remote.Is(f.err, remote.TooLarge):
		return nil, nil, v.violated(bad("load", name, ErrTampered, errors.Join(ErrLimit, f.err)))
	case remote.Is(f.err, remote.Integrity):
		return nil, nil, v.violated(bad("load", name, ErrTampered, f.err)) // the store itself sees that it is no object
	case f.err != nil:
		return nil, nil, f.err
	}
	if e, b, err = w.step(ctx, f.sealed); err != nil {
		if remote.Is(err, remote.Integrity) {
			err = v.violated(err)
		}
		return nil, nil, err
	}
	remote.Progress(ctx)
	if trusted := v.trusted(); e.seq == trusted.Seq && e.hash != trusted.Hash {
		return nil, nil, v.violated(bad("load", name, ErrFork, nil))
	}
	return e, b, v.recognise(e)
}

func (v *Vault) trusted() link {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.trust.Head
}

// follow tells sink what lies after the place where a walker stands. What it verified counts even if it ends with an error.
func (v *Vault) follow(ctx context.Context, w *walker, sink remote.Sink) (end remote.Position, err error) {
	end = remote.Position(w.at)
	defer func() {
		if rerr := v.reached(w); err == nil {
			err = rerr
		}
	}()
	next, stop := v.entries(ctx, w.at.Seq)
	defer func() { stop() }()
	for {
		f := next()
		if remote.Is(f.err, remote.NotExist) && f.seq <= v.trusted().Seq {
			if f.sealed, f.err = v.again(ctx, f.seq); remote.Is(f.err, remote.NotExist) {
				return end, v.absent(ctx, w.at, f.seq)
			}
		}
		if remote.Is(f.err, remote.NotExist) {
			more, err := v.lookBehind(ctx, w.at)
			if err == nil && !more {
				err = v.chained(ctx, w)
			}
			if err != nil || !more {
				return end, err
			}
			stop()
			next, stop = v.entries(ctx, w.at.Seq)
			continue
		}
		_, b, err := v.take(ctx, w, f)
		if err != nil {
			return end, err
		}
		if b == nil {
			continue
		}
		if err := sink.Apply(*b); err != nil {
			if remote.Is(err, remote.Integrity) {
				err = v.violated(bad("load", logName(f.seq), ErrInvalidEntry, err))
			}
			return end, err
		}
		end = b.Pos
	}
}

// loadFresh begins anew. A machine that remembers more than the store can still prove is told nothing rather than an older state, which would
// look as if it were the present one.
func (v *Vault) loadFresh(ctx context.Context, sink remote.Sink) (remote.Position, error) {
	pos, err := v.beginAnew(ctx, sink, true)
	for range 3 {
		if !errors.Is(err, errPruned) {
			break
		}
		pos, err = v.beginAnew(ctx, sink, false) // entries were removed meanwhile, since there is a newer snapshot
	}
	if errors.Is(err, errPruned) {
		err = v.violated(bad("load", "", ErrMissing, errors.New("the log's first entries are removed, and no snapshot of what they said can be used")))
	}
	if !remote.Is(err, remote.Integrity) || pos.Seq == 0 || pos.Seq >= v.trusted().Seq {
		return pos, err
	}
	if rerr := sink.Reset(); rerr != nil {
		return pos, errors.Join(err, rerr)
	}
	return remote.Position{}, err
}

// beginAnew loads from the newest snapshot that is whole, or from the first entry. For a sink that wants to see more of the past, an older one comes first.
func (v *Vault) beginAnew(ctx context.Context, sink remote.Sink, via bool) (remote.Position, error) {
	none := remote.Position{}
	// A store that went back is found out before anything is told.
	if err := v.stands(ctx, v.trusted()); err != nil && !errors.Is(err, errPruned) {
		return none, err
	}
	list, err := v.candidates(ctx)
	if err != nil {
		return none, err
	}
	if s, ok := sink.(remote.Via); ok && via && s.Via() > 0 {
		// Those after the entry that it wants to pass would skip it. There is a way without them: an older one, or a whole log.
		early := slices.DeleteFunc(slices.Clone(list), func(c candidate) bool { return c.seq > s.Via() })
		if w, err := v.anySnapshot(ctx, early, sink); err != nil {
			return none, err
		} else if w != nil {
			return v.follow(ctx, w, sink)
		}
		_, err := v.store.Get(ctx, logName(1), maxEntry)
		switch {
		case err == nil:
			list = nil
		case !remote.Is(err, remote.NotExist):
			return none, err
		}
	}
	if w, err := v.anySnapshot(ctx, list, sink); err != nil {
		return none, err
	} else if w != nil {
		return v.follow(ctx, w, sink)
	}
	if err := sink.Reset(); err != nil {
		return none, err
	}
	first := remote.Position(link{0, genesis(v.keys.Vault())})
	pos, err := v.follow(ctx, v.walkerAt(link(first)), sink)
	if pos == first {
		pos = none
	}
	if err == nil && pos == none {
		err = remote.E("load", "", remote.NotExist, ErrVaultMissing)
	}
	return pos, err
}

// anySnapshot tells the first of some snapshots that can be used, and returns a walker that stands on its place in the log; nil when there is none.
func (v *Vault) anySnapshot(ctx context.Context, list []candidate, sink remote.Sink) (*walker, error) {
	for _, c := range list {
		w, err := v.loadSnapshot(ctx, c, sink)
		if err == nil || !errors.Is(err, errSnapshot) {
			return w, err
		}
		v.o.Log.Warn("a snapshot can't be used; an older one or the whole log is", "reason", err)
	}
	return nil, nil
}

// errSnapshot marks a snapshot that can't be used.
var errSnapshot = errors.New("snapshot left out")

// loadSnapshot tells a snapshot and returns a walker that stands on its place in the log. It fails with errSnapshot when the snapshot is
// damaged, or none that the log announces.
func (v *Vault) loadSnapshot(ctx context.Context, c candidate, sink remote.Sink) (*walker, error) {
	unusable := func(err error) error {
		if damaged(err) {
			return errors.Join(errSnapshot, err)
		}
		return err
	}
	r, err := v.root(ctx, c)
	if err != nil {
		return nil, unusable(err)
	}
	// Before a word is told: is it of the history that this machine knows?
	w, err := v.reach(ctx, r.at)
	switch {
	case errors.Is(err, errUnknown):
		return nil, v.violated(bad("load", logName(r.at.Seq), ErrFork, nil))
	case err != nil:
		return nil, err
	}
	if err := sink.Reset(); err != nil {
		return nil, err
	}
	if err := v.tell(ctx, r, sink); err != nil {
		return nil, unusable(err)
	}
	return w, sink.Apply(remote.Batch{Pos: remote.Position(r.at)})
}
