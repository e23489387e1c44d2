package vault

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"megafs/remote"
	"megafs/remote/blob"
)

// ahead is how many entries are asked for at once.
const ahead = 16

// fetched is an entry on its way.
type fetched struct {
	seq    uint64
	sealed []byte
	err    error
}

// entries asks for the entries after seq, some at once, and hands them out in order. stop ends it.
func (v *Vault) entries(ctx context.Context, seq uint64) (next func() fetched, stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	var queue []chan fetched
	width := 1 // at the head of a log there is nothing to fetch: begin with one
	ask := func() {
		seq++
		c := make(chan fetched, 1)
		queue = append(queue, c)
		go func(seq uint64) {
			b, err := v.store.Get(ctx, logName(seq), maxEntry)
			c <- fetched{seq, b, err}
		}(seq)
	}
	next = func() fetched {
		for len(queue) < width {
			ask()
		}
		f := <-queue[0]
		queue = queue[1:]
		width = min(2*width, ahead)
		return f
	}
	return next, func() {
		cancel()
		for _, c := range queue {
			<-c
		}
	}
}

// walker follows the chain from a place it trusts.
type walker struct {
	v       *Vault
	at      link                     // the entry it stands on
	devices map[remote.DeviceID]link // each device's newest entry, as far as seen
	batch   []remote.Op              // the parts so far
	parts   uint16                   // how many of them
	from    remote.DeviceID
	snap    link
}

// step checks an entry against the chain and takes it. b is not nil when a batch is whole.
func (w *walker) step(ctx context.Context, sealed []byte) (e *entry, b *remote.Batch, err error) {
	v, seq := w.v, w.at.Seq+1
	name := logName(seq)
	e, err = openEntry(v.keys, seq, sealed)
	if err != nil {
		return nil, nil, err
	}
	if e.prev != w.at.Hash {
		return nil, nil, bad("follow the log", name, ErrFork, nil)
	}
	if last, ok := w.devices[e.device]; ok && (e.dev.Seq != last.Seq+1 || e.dev.Hash != last.Hash) {
		return nil, nil, bad("follow the log", name, ErrFork, errors.New("a device's own chain is broken"))
	}
	if gen := v.keyring().Generation(); e.keyring.Seq > gen {
		if err := v.renew(ctx, e.keyring); err != nil {
			if remote.Is(err, remote.NotExist) {
				err = bad("follow the log", name, ErrKeyringRollback, fmt.Errorf("the log names keyring %d, the store showed %d", e.keyring.Seq, gen))
			}
			return nil, nil, err
		}
	}
	switch gen := v.keyring().Generation(); {
	case e.keyring.Seq == gen && e.keyring.Hash != v.keyring().Hash():
		return nil, nil, bad("follow the log", name, ErrKeyringTampered, nil)
	}
	if err := w.epoch(e); err != nil {
		return nil, nil, err
	}
	w.devices[e.device] = link{e.dev.Seq, e.hash}
	w.at = link{seq, e.hash}
	switch e.typ {
	case entrySnapshot:
		w.batch, w.parts = nil, 0
		w.snap = e.about
	case entryKeyring:
		w.batch, w.parts = nil, 0
	case entryBatch:
		if e.part != w.parts || e.part > 0 && e.device != w.from {
			// What came before was broken off and never happened; so was this, if it is no beginning.
			w.batch, w.parts = nil, 0
			if e.part != 0 {
				return e, nil, nil
			}
		}
		w.from = e.device
		if w.batch, err = e.decoded(w.batch); err != nil {
			return nil, nil, bad("read log entry", name, ErrInvalidEntry, err)
		}
		w.parts++
		if w.parts < e.parts {
			return e, nil, nil
		}
	}
	b = &remote.Batch{Pos: remote.Position(w.at), Device: e.device, Time: remote.Time(e.time), Ops: w.batch}
	w.batch, w.parts = nil, 0
	return e, b, nil
}

// epoch refuses entries under keys that were withdrawn before.
func (w *walker) epoch(e *entry) error {
	var in uint32
	for _, x := range w.v.keyring().Epochs() {
		if x.FirstSeq <= e.seq && x.Epoch > in {
			in = x.Epoch
		}
	}
	if e.epoch < in {
		return bad("follow the log", logName(e.seq), ErrEpochDowngrade, nil)
	}
	return nil
}

// Load implements remote.Remote.
func (v *Vault) Load(ctx context.Context, from remote.Position, sink remote.Sink) (remote.Position, error) {
	v.mu.Lock()
	violation := v.trust.Violation
	v.mu.Unlock()
	if violation != "" && from.Seq > 0 {
		return from, remote.E("load", "", remote.ReadOnly, errors.Join(ErrViolation, errors.New(violation)))
	}
	if from.Seq == 0 {
		return v.loadFresh(ctx, sink)
	}
	switch err := v.stands(ctx, link(from)); {
	case errors.Is(err, errUnknown):
		return v.loadFresh(ctx, sink)
	case err != nil:
		return from, err
	}
	return v.follow(ctx, from, sink)
}

// follow tells sink what lies after a position that was verified before.
func (v *Vault) follow(ctx context.Context, from remote.Position, sink remote.Sink) (remote.Position, error) {
	v.mu.Lock()
	w := &walker{v: v, at: link(from), devices: map[remote.DeviceID]link{}, snap: v.snap}
	if v.end == link(from) && v.head == v.end {
		for d, l := range v.devices {
			w.devices[d] = l
		}
	}
	own, pend, device := v.trust.Own, v.trust.Pending, v.trust.Device
	trusted := v.trust.Head
	v.mu.Unlock()
	end := from
	next, stop := v.entries(ctx, from.Seq)
	defer func() { stop() }()
	for {
		f := next()
		if remote.Is(f.err, remote.NotExist) && f.seq <= trusted.Seq {
			f.sealed, f.err = v.again(ctx, f.seq)
		}
		if remote.Is(f.err, remote.NotExist) && w.at.Seq >= trusted.Seq {
			more, err := v.lookBehind(ctx, w.at.Seq)
			if err != nil {
				return end, err
			}
			if more {
				stop()
				next, stop = v.entries(ctx, w.at.Seq)
				continue
			}
		}
		if remote.Is(f.err, remote.NotExist) {
			break
		}
		if f.err != nil {
			if remote.Is(f.err, remote.TooLarge) {
				f.err = v.violated(bad("load", logName(f.seq), ErrTampered, f.err))
			}
			return end, f.err
		}
		e, b, err := w.step(ctx, f.sealed)
		if err != nil {
			if remote.Is(err, remote.Integrity) {
				err = v.violated(err)
			}
			return end, err
		}
		if e.seq == trusted.Seq && e.hash != trusted.Hash {
			return end, v.violated(bad("load", logName(e.seq), ErrFork, nil))
		}
		if e.device == device && e.seq > trusted.Seq {
			switch {
			case e.dev.Seq <= own.Seq:
			case pend != nil && e.dev.Seq <= own.Seq+pend.Parts && (e.dev.Seq > own.Seq+1 || slices.Contains(pend.First, e.hash)):
			default:
				if err := v.cloned(); err != nil {
					return end, err
				}
				device = remote.DeviceID{}
			}
		}
		if b != nil {
			if err := sink.Apply(*b); err != nil {
				if remote.Is(err, remote.Integrity) {
					err = v.violated(bad("load", logName(e.seq), ErrInvalidEntry, err))
				}
				return end, err
			}
			end = b.Pos
		}
	}
	if w.at.Seq < trusted.Seq {
		return end, v.violated(v.rolledBack(ctx, w.at.Seq))
	}
	return end, v.reached(w, link(end), device)
}

// again asks for an entry that must be there, some more times: a store may forget for a moment what it has.
func (v *Vault) again(ctx context.Context, seq uint64) (sealed []byte, err error) {
	wait := 10 * time.Millisecond
	for range 5 {
		select {
		case <-ctx.Done():
			return nil, remote.E("load", logName(seq), remote.Timeout, ctx.Err())
		case <-time.After(wait):
		}
		if sealed, err = v.store.Get(ctx, logName(seq), maxEntry); !remote.Is(err, remote.NotExist) {
			break
		}
		wait *= 2
	}
	return sealed, err
}

// stands looks whether the entry that a walk begins at is still what it was. It asks once for each place, so a store that is polled is
// not asked for more.
func (v *Vault) stands(ctx context.Context, at link) error {
	v.mu.Lock()
	stood, trusted := v.stood == at || at.Seq == 0, v.trust.Head
	v.mu.Unlock()
	if stood {
		return nil
	}
	name := logName(at.Seq)
	sealed, err := v.store.Get(ctx, name, maxEntry)
	if remote.Is(err, remote.NotExist) {
		sealed, err = v.again(ctx, at.Seq)
	}
	switch {
	case err == nil && entryHash(sealed) == at.Hash:
		v.mu.Lock()
		v.stood = at
		v.mu.Unlock()
		return nil
	case err != nil && !remote.Is(err, remote.NotExist) && !remote.Is(err, remote.TooLarge):
		return err
	case at.Seq > trusted.Seq:
		return errUnknown
	case remote.Is(err, remote.NotExist):
		return v.violated(v.rolledBack(ctx, at.Seq-1))
	case err != nil:
		return v.violated(bad("load", name, ErrTampered, err))
	}
	if _, err := openEntry(v.keys, at.Seq, sealed); err != nil {
		return v.violated(err)
	}
	return v.violated(bad("load", name, ErrFork, nil))
}

// errUnknown says that a position is of no history that this machine vouches for: of one that was given up, or seen a moment before
// a power cut. The state is to be loaded anew.
var errUnknown = errors.New("a position of another history")

// rolledBack says what it means that the log ends earlier than it did before: a gap when later entries are still there.
func (v *Vault) rolledBack(ctx context.Context, seq uint64) error {
	why := ErrRollback
	v.store.List(ctx, "l/", logName(seq+1), func(i blob.Info) error {
		if _, ok := number(i.Name, "l/"); ok {
			why = ErrGap
			return errStop
		}
		return nil
	})
	return bad("load", logName(seq+1), why, nil)
}

var errStop = errors.New("stop")

// lookBehind looks once whether there are entries after the one where the log seems to end. more says that the log went on meanwhile.
func (v *Vault) lookBehind(ctx context.Context, seq uint64) (more bool, err error) {
	v.mu.Lock()
	seen := v.gapSeen
	v.gapSeen = true
	v.mu.Unlock()
	if seen {
		return false, nil
	}
	var later uint64
	err = v.store.List(ctx, "l/", logName(seq+1), func(i blob.Info) error {
		if n, ok := number(i.Name, "l/"); ok && n > seq+1 {
			later = n
			return errStop
		}
		return nil
	})
	if err != nil && !errors.Is(err, errStop) || later == 0 {
		return false, nil // a listing is a hint
	}
	// What was copied to a later place is no entry; only one that opens there shows a gap.
	sealed, err := v.store.Get(ctx, logName(later), maxEntry)
	if err != nil {
		return false, nil
	}
	if _, err := openEntry(v.keys, later, sealed); err != nil {
		return false, nil
	}
	// It may have been made a moment ago, with the ones before it; then there is no gap.
	if _, err := v.again(ctx, seq+1); err == nil {
		return true, nil
	}
	return false, v.violated(bad("load", logName(seq+1), ErrGap, fmt.Errorf("entry %d is there", later)))
}

// reached remembers how far a walk came.
func (v *Vault) reached(w *walker, end link, device remote.DeviceID) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.head, v.end, v.devices, v.snap, v.stood = w.at, end, w.devices, w.snap, w.at
	t := v.trust
	if l, ok := w.devices[t.Device]; ok && device == t.Device && l.Seq > t.Own.Seq {
		t.Own, t.Pending, v.dirty = l, nil, true
	}
	if w.at.Seq > t.Head.Seq {
		t.Head, t.Snap, v.dirty = w.at, w.snap, true
	}
	if g := v.keyring().Generation(); g > t.Keyring.Seq {
		t.Keyring, v.dirty = link{g, v.keyring().Hash()}, true
	}
	if v.dirty && v.o.Clock().Sub(v.savedAt) >= time.Second {
		return v.save()
	}
	return nil
}

// cloned gives this device a new name: the log has entries of the old one that were not made here.
func (v *Vault) cloned() error {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.o.Log.Warn(ErrDeviceCloned.Error())
	v.trust.Device = v.fresh().Device
	v.trust.Number, v.trust.Own, v.trust.Pending = 0, link{}, nil
	return v.save()
}
