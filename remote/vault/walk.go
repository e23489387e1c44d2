package vault

import (
	"context"
	"errors"
	"fmt"

	"megafs/crypto"
	"megafs/remote"
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
	known := v.trusted().Seq
	width := 1 // at the head of a log there is nothing to fetch: behind what is known to be there begin with one
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
		for len(queue) < width || seq < known && len(queue) < ahead {
			ask()
		}
		f := <-queue[0]
		queue = queue[1:]
		if f.seq > known {
			width = min(2*width, ahead)
		}
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
	made    int64                    // when that was made; 0: it began there
	devices map[remote.DeviceID]link // each device's newest entry, as far as seen
	end     link                     // the newest entry that ends a batch, as far as seen
	batch   []remote.Op              // the parts so far
	parts   uint16                   // how many of them
	whole   uint16                   // of how many
	from    remote.DeviceID
	snap    link
	named   link // the newest keyring that an entry names
}

// batchParts is for how many parts of a batch room is made at once.
const batchParts = 64

// walkerAt returns a walker that stands on an entry and knows nothing of what lies before.
func (v *Vault) walkerAt(at link) *walker {
	return &walker{v: v, at: at, end: at, devices: map[remote.DeviceID]link{}}
}

// step checks an entry against the chain and takes it. b is not nil when a batch is whole.
func (w *walker) step(ctx context.Context, sealed []byte) (e *entry, b *remote.Batch, err error) {
	v, seq := w.v, w.at.Seq+1
	name := logName(seq)
	e, err = openEntry(v.keys, seq, sealed)
	if errors.Is(err, crypto.ErrUnknownEpoch) && v.rotated(ctx) {
		return nil, nil, remote.E("follow the log", name, remote.NotSupported, errRotated)
	}
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
	if ring := v.keyring(); e.keyring.Seq == ring.Generation() && e.keyring.Hash != ring.Hash() {
		return nil, nil, bad("follow the log", name, ErrKeyringTampered, nil)
	}
	if err := w.epoch(e); err != nil {
		return nil, nil, err
	}
	if err := v.heed(e); err != nil {
		return nil, nil, err
	}
	w.devices[e.device] = link{e.dev.Seq, e.hash}
	w.at, w.made = link{seq, e.hash}, e.time
	if e.keyring.Seq > w.named.Seq {
		w.named = e.keyring
	}
	switch e.typ {
	case entrySnapshot:
		w.batch, w.parts = nil, 0
		w.snap = e.about
	case entryKeyring, entryMark, entryDone:
		w.batch, w.parts = nil, 0
	case entryBatch:
		if e.part != w.parts || e.part > 0 && (e.device != w.from || e.parts != w.whole) {
			// What came before was broken off and never happened; so was this, if it is no beginning.
			w.batch, w.parts = nil, 0
			if e.part != 0 {
				return e, nil, nil
			}
		}
		w.from, w.whole = e.device, e.parts
		if e.part == 0 && e.parts > 1 {
			// The parts but the last are about as long as each other; growing step by step would take twice the memory.
			w.batch = make([]remote.Op, 0, len(e.list)*min(int(e.parts), batchParts))
		}
		w.batch = append(w.batch, e.list...)
		w.parts++
		if w.parts < e.parts {
			return e, nil, nil
		}
	}
	w.end = w.at
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
