package vault

import (
	"bytes"
	"context"
	"errors"

	"megafs/remote"
	"megafs/remote/blob"
	"megafs/remote/wire"
)

// Commit implements remote.Remote.
func (v *Vault) Commit(ctx context.Context, base remote.Position, ops []remote.Op) (remote.Position, error) {
	if len(ops) == 0 {
		return base, nil
	}
	for i := range ops {
		if err := wire.Check(&ops[i]); err != nil {
			return base, err
		}
	}
	v.commitMu.Lock()
	defer v.commitMu.Unlock()
	if _, n := v.Device(); n == 0 {
		return base, remote.E("commit", "", remote.Stale, errors.New("this machine's number in the vault is another's now; mount again to get a new one"))
	}
	if ids := v.gone(ops); len(ids) > 0 {
		return base, remote.E("commit", "", remote.Stale, &remote.GoneError{Objects: ids})
	}
	return v.commit(ctx, base, split(ops))
}

// split encodes Ops into parts that each fit into an entry.
func split(ops []remote.Op) []*entry {
	var parts []*entry
	e := &entry{typ: entryBatch}
	for i := range ops {
		n := len(e.ops)
		e.ops = wire.AppendOp(e.ops, &ops[i])
		if e.n == maxOps || len(e.ops) > maxBody-entryHead-2 {
			tail := bytes.Clone(e.ops[n:])
			e.ops = e.ops[:n]
			parts = append(parts, e)
			e = &entry{typ: entryBatch, ops: tail}
		}
		e.n++
	}
	parts = append(parts, e)
	for i, p := range parts {
		p.part, p.parts = uint16(i), uint16(len(parts))
	}
	return parts
}

// commit appends entries to the log, one after the other. Called with commitMu held.
func (v *Vault) commit(ctx context.Context, base remote.Position, parts []*entry) (remote.Position, error) {
	if len(parts) > maxEntries {
		return base, remote.E("commit", "", remote.TooLarge, nil)
	}
	if err := v.writable("commit"); err != nil {
		return base, err
	}
	v.mu.Lock()
	at, own, unsure := v.head, v.trust.Own, v.trust.Pending != nil
	before := at
	current := link(base) == v.end || base.Seq == 0 && v.end.Seq == 0
	v.mu.Unlock()
	if !current {
		return base, remote.E("commit", "", remote.Conflict, nil)
	}
	if err := v.probe(ctx); err != nil {
		return base, err
	}
	// Nothing is built on an entry that the store does not have as it was.
	switch err := v.stands(ctx, at); {
	case errors.Is(err, errUnknown), errors.Is(err, errPruned):
		return base, remote.E("commit", "", remote.Conflict, err)
	case err != nil:
		return base, err
	}
	if unsure {
		// An earlier try may have taken place; another is not made before that is known.
		_, err := v.store.Get(ctx, logName(at.Seq+1), maxEntry)
		switch {
		case err == nil, remote.Is(err, remote.TooLarge):
			return base, remote.E("commit", "", remote.Conflict, nil)
		case !remote.Is(err, remote.NotExist):
			return base, err
		}
	}
	v.mu.Lock()
	if v.head != at {
		v.mu.Unlock()
		return base, remote.E("commit", "", remote.Conflict, nil) // a load went on meanwhile
	}
	sealed := make([][]byte, len(parts))
	for i, e := range parts {
		e.seq, e.prev = at.Seq+1, at.Hash
		e.device, e.dev = v.trust.Device, link{own.Seq + 1, own.Hash}
		e.time = v.o.Clock().UnixNano()
		e.keyring = link{v.keyring().Generation(), v.keyring().Hash()}
		e.snap = v.snap
		sealed[i] = e.seal(v.keys)
		at = link{e.seq, e.hash}
		own = link{own.Seq + 1, e.hash}
	}
	// Should this machine die before it hears that the commit took place, it knows it for its own by this.
	v.trust.Pending = v.trust.Pending.add(parts)
	err := v.save()
	v.mu.Unlock()
	if err != nil {
		return base, err
	}
	for i, e := range parts {
		if err := v.put(ctx, e.seq, sealed[i]); err != nil {
			return base, err
		}
		remote.Progress(ctx)
	}
	if err := v.landed(ctx, before, parts); err != nil {
		return base, err
	}
	last := parts[len(parts)-1]
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.o.VerifyCommits {
		v.stood, v.stoodAt = at, v.o.Clock()
	}
	switch last.typ {
	case entrySnapshot:
		v.snap = last.about
	case entryMark, entryDone:
		v.marks.add(last)
	}
	if at.Seq >= v.head.Seq { // else a load saw it already, and more
		v.head, v.end = at, at
		v.devices[v.trust.Device] = own
	}
	if at.Seq >= v.trust.Head.Seq {
		v.trust.Head, v.trust.HeadTime, v.trust.Own, v.trust.Pending, v.trust.Snap = at, last.time, own, nil, v.snap
	}
	return remote.Position(at), v.save()
}

// landed looks whether the log still goes from an entry to those that were put after it. While the machine slept between looking and putting, it may
// have been shortened to beyond them; what was put behind others' backs is taken away again. It may as well have been shortened to just before them
// after they were put: then others' entries follow, the mark at least, and the next load finds it all.
func (v *Vault) landed(ctx context.Context, before link, parts []*entry) error {
	err := v.stands(ctx, before)
	if errors.Is(err, errUnknown) {
		return remote.E("commit", logName(before.Seq), remote.Conflict, err)
	}
	if !errors.Is(err, errPruned) {
		return err
	}
	conflict := remote.E("commit", logName(before.Seq), remote.Conflict, err)
	_, err = v.store.Get(ctx, logName(parts[len(parts)-1].seq+1), maxEntry)
	switch {
	case err == nil, remote.Is(err, remote.TooLarge):
		return conflict
	case !remote.Is(err, remote.NotExist):
		return err
	}
	for _, e := range parts {
		if err := v.store.Delete(ctx, logName(e.seq)); err != nil && !remote.Is(err, remote.NotExist) {
			return err
		}
	}
	return conflict
}

// writable says why nothing can be written.
func (v *Vault) writable(op string) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	switch {
	case v.o.ReadOnly:
		return remote.E(op, "", remote.ReadOnly, errors.New("it is opened read-only; what waits is sent by a mount without --read-only"))
	case v.keyring().ReadOnly():
		return remote.E(op, "", remote.ReadOnly, errors.New("a newer megafs made the vault so that this one may only read it; take a newer one"))
	case v.trust.Violation != "":
		return remote.E(op, "", remote.ReadOnly, errors.Join(ErrViolation, errors.New(v.trust.Violation)))
	}
	return nil
}

// probe looks, before this machine's first commit, whether the store refuses what is there already: one that does not would let machines overwrite each other's commits. Who moved the vault to such
// a store after it was made finds out here. Called with commitMu held.
func (v *Vault) probe(ctx context.Context) error {
	v.mu.Lock()
	probed := v.trust.Probed
	v.mu.Unlock()
	if probed {
		return nil
	}
	err := blob.Probe(ctx, v.store)
	if errors.Is(err, blob.ErrStoreContract) {
		return remote.E("commit", "", remote.ReadOnly, errors.Join(ErrStoreContract, err, errors.New("nothing is written there, since another machine's changes could be lost; copy the vault to a store that keeps it")))
	}
	if err != nil {
		return err
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.trust.Probed = true
	return v.save()
}

// contractTries is how often a name that is taken and empty is tried.
const contractTries = 5

// put makes one entry of the log, or says Conflict when somebody else did.
func (v *Vault) put(ctx context.Context, seq uint64, sealed []byte) error {
	name := logName(seq)
	for range contractTries {
		err := v.store.Put(ctx, name, sealed)
		if err == nil && !v.o.VerifyCommits {
			return nil
		}
		if err != nil && !remote.Is(err, remote.Exist) && !remote.Is(err, remote.Timeout) && !remote.Is(err, remote.Unreachable) {
			return err
		}
		there, gerr := v.store.Get(ctx, name, maxEntry)
		switch {
		case gerr == nil && bytes.Equal(there, sealed):
			return nil
		case gerr == nil && err == nil:
			return v.violated(bad("commit", name, ErrTampered, errors.New("the store keeps other bytes than it was given")))
		case gerr == nil:
			return remote.E("commit", name, remote.Conflict, nil)
		case remote.Is(gerr, remote.NotExist) && err != nil && !remote.Is(err, remote.Exist):
			return err // it did not take place; the caller tries again
		case remote.Is(gerr, remote.NotExist):
			continue
		case remote.Is(gerr, remote.TooLarge):
			return v.violated(bad("commit", name, ErrTampered, errors.Join(ErrLimit, gerr)))
		case remote.Is(gerr, remote.Integrity):
			return v.violated(bad("commit", name, ErrTampered, gerr))
		default:
			if err == nil || remote.Is(err, remote.Exist) {
				err = gerr // who has the place is not known
			}
			return err
		}
	}
	return remote.E("commit", name, remote.Other, ErrStoreContract)
}
