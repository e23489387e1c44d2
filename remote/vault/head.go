package vault

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"time"

	"megafs/remote"
	"megafs/remote/blob"
)

// again asks for an entry that must be there, some more times.
func (v *Vault) again(ctx context.Context, seq uint64) (sealed []byte, err error) {
	err = again(ctx, func() error {
		sealed, err = v.store.Get(ctx, logName(seq), maxEntry)
		return err
	})
	return sealed, err
}

// again repeats a request for what must be there as long as it does not exist: a store may forget for a moment what it has.
func again(ctx context.Context, get func() error) (err error) {
	wait := 10 * time.Millisecond
	for range 5 {
		select {
		case <-ctx.Done():
			return remote.E("wait for the store", "", remote.Timeout, ctx.Err())
		case <-time.After(wait):
		}
		if err = get(); !remote.Is(err, remote.NotExist) {
			break
		}
		wait *= 2
	}
	return err
}

// standing is how long an entry that was found as it was is not looked at again.
const standing = time.Minute

// stands looks whether an entry is still what it was. For one place it asks once in a while, so that a store which is polled is hardly asked
// for more, and one that goes back meanwhile is caught. Once in a while is by the time of day as well: the other clock stands still while the machine sleeps, and meanwhile
// the log may be shortened to beyond the place, where whatever is put is seen by nobody.
func (v *Vault) stands(ctx context.Context, at link) error {
	v.mu.Lock()
	now, trusted := v.o.Clock(), v.trust.Head
	since, day := now.Sub(v.stoodAt), now.Round(0).Sub(v.stoodAt)
	stood := at.Seq == 0 || v.stood == at && since >= 0 && since < standing && day >= 0 && day < standing
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
		v.stood, v.stoodAt = at, now
		v.mu.Unlock()
		return nil
	case err != nil && !remote.Is(err, remote.NotExist) && !remote.Is(err, remote.TooLarge) && !remote.Is(err, remote.Integrity):
		return err
	case at.Seq > trusted.Seq:
		return errUnknown
	case remote.Is(err, remote.NotExist):
		return v.absent(ctx, at, at.Seq)
	case remote.Is(err, remote.TooLarge):
		return v.violated(bad("load", name, ErrTampered, errors.Join(ErrLimit, err)))
	case err != nil:
		return v.violated(bad("load", name, ErrTampered, err))
	}
	if _, err := openEntry(v.keys, at.Seq, sealed); err != nil {
		return v.violated(err)
	}
	if at != trusted {
		return errUnknown // which of the two is right the walk to the trusted entry will show
	}
	return v.violated(bad("load", name, ErrFork, nil))
}

// errUnknown says that a position is of no history that this machine vouches for: of one that was given up, or seen a moment before
// a power cut. The state is to be loaded anew.
var errUnknown = errors.New("a position of another history")

// absent says what it means that entry seq is not there, which must have been: it was removed long ago, and that is errPruned, or the store
// is caught. at is a place before it, or its own.
func (v *Vault) absent(ctx context.Context, at link, seq uint64) error {
	_, err := v.pruned(ctx, at, seq, v.rolledBack(ctx, seq-1))
	switch {
	case err == nil:
		return errPruned
	case remote.Is(err, remote.Integrity):
		return v.violated(err)
	}
	return err
}

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
func (v *Vault) lookBehind(ctx context.Context, at link) (more bool, err error) {
	seq := at.Seq
	v.mu.Lock()
	seen := v.gapSeen
	v.gapSeen = true
	v.mu.Unlock()
	if seen {
		return false, nil
	}
	later := v.behind(ctx, seq)
	if later == 0 {
		return false, nil
	}
	// It may have been made a moment ago, with the ones before it; then there is no gap.
	if _, err := v.again(ctx, seq+1); !remote.Is(err, remote.NotExist) {
		return true, nil
	}
	why := bad("load", logName(seq+1), ErrGap, fmt.Errorf("entry %d is there", later))
	_, err = v.pruned(ctx, at, seq+1, why)
	switch {
	case err == nil:
		err = errPruned
	case remote.Is(err, remote.Integrity):
		err = v.violated(err)
	}
	v.mu.Lock()
	v.gapSeen = false
	v.mu.Unlock()
	return false, err
}

// behind returns the number of an entry that lies behind the next after seq, or 0. What was copied to a later place is no entry; only what
// opens there is. A listing is a hint: a store may hide a gap that way, but not make one up.
func (v *Vault) behind(ctx context.Context, seq uint64) (later uint64) {
	tries := 0
	v.store.List(ctx, "l/", logName(seq+1), func(i blob.Info) error {
		n, ok := number(i.Name, "l/")
		if !ok || n <= seq+1 {
			return nil
		}
		if tries++; tries > 16 {
			return errStop
		}
		sealed, err := v.store.Get(ctx, logName(n), maxEntry)
		if err == nil {
			_, err = openEntry(v.keys, n, sealed)
		}
		if err == nil {
			later = n
			return errStop
		}
		return nil
	})
	return later
}

// reached remembers how far a walk came, be it that it ended with an error.
func (v *Vault) reached(w *walker) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	if w.at.Seq >= v.head.Seq { // else a commit overtook it
		v.head, v.end, v.devices, v.snap = w.at, w.end, w.devices, w.snap
		v.stood, v.stoodAt = w.at, v.o.Clock()
	}
	t, now := v.trust, false
	if l := w.devices[t.Device]; l.Seq > t.Own.Seq {
		// What was made in this device's name is no news to wait with: should it be forgotten, the next commit would use its number again.
		t.Own, v.dirty, now = l, true, true
	}
	if w.at.Seq > t.Head.Seq {
		t.Head, t.HeadTime, t.Snap, v.dirty = w.at, w.made, w.snap, true
	}
	if t.Pending != nil && t.Head.Seq >= t.Pending.Last {
		t.Pending, v.dirty = nil, true // other entries lie where they would
	}
	if g := v.keyring().Generation(); g > t.Keyring.Seq {
		t.Keyring, v.dirty, now = link{g, v.keyring().Hash()}, true, true
	}
	if v.dirty && (now || v.o.Clock().Sub(v.savedAt) >= time.Second) {
		return v.save()
	}
	return nil
}

// recognise looks at an entry behind all that is remembered, whether it bears this device's name. It may be a commit whose answer was lost; one
// that was never sent from here was sent by a copy of the state folder.
func (v *Vault) recognise(e *entry) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	t := v.trust
	if e.device != t.Device || e.seq <= t.Head.Seq || t.Pending != nil && slices.Contains(t.Pending.Sent, hex.EncodeToString(e.hash[:])) {
		return nil
	}
	return v.cloned()
}

// cloned gives this device a new name: the log has entries of the old one that were not made here. Called with mu held.
func (v *Vault) cloned() error {
	v.o.Log.Warn(ErrDeviceCloned.Error())
	return v.rename()
}

// rename gives this device a new name. Called with mu held.
func (v *Vault) rename() error {
	v.trust.Device = v.fresh().Device
	v.trust.Number, v.trust.Own, v.trust.Pending = 0, link{}, nil
	return v.save()
}
