package vault

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"megafs/crypto"
	"megafs/remote"
	"megafs/remote/blob"
)

const (
	keyringPrefix = "k/"
	keyringLimit  = 64 << 10
	keyringTries  = 16
)

func keyringName(gen uint64) string { return fmt.Sprintf("%s%016x", keyringPrefix, gen) }

func keyringCopy(stateDir string) string { return filepath.Join(stateDir, "keyring") }

// ReadKeyring returns the newest keyring object of a store. When the store does not answer and stateDir has a copy, that is returned and offline is true.
// A store without one is ErrVaultMissing: nothing here ever offers to make a vault where one was expected.
func ReadKeyring(ctx context.Context, s blob.Store, stateDir string) (object []byte, offline bool, err error) {
	// The newest few that are listed; a name that nothing stands behind hides none.
	var newest []uint64
	err = s.List(ctx, keyringPrefix, "", func(i blob.Info) error {
		if n, ok := number(i.Name, keyringPrefix); ok && !slices.Contains(newest, n) {
			newest = append(newest, n)
			slices.Sort(newest)
			newest = newest[max(0, len(newest)-keyringTries):]
		}
		return nil
	})
	for i := len(newest) - 1; i >= 0 && err == nil; i-- {
		object, err = s.Get(ctx, keyringName(newest[i]), keyringLimit)
		if err == nil {
			// What is no keyring of that generation hides none either; but if there is no other, it is for the caller to say what is wrong with it.
			h, herr := crypto.ReadKeyringHeader(object)
			if i == 0 || !errors.Is(herr, crypto.ErrKeyringTampered) && (herr != nil || h.Generation == newest[i]) {
				return object, false, nil
			}
		}
		if (remote.Is(err, remote.NotExist) || remote.Is(err, remote.TooLarge)) && i > 0 {
			err = nil
		}
	}
	if stateDir != "" && (remote.Is(err, remote.Unreachable) || remote.Is(err, remote.Timeout)) {
		if b, rerr := KeptKeyring(stateDir); rerr == nil {
			return b, true, nil
		}
	}
	if err == nil || remote.Is(err, remote.NotExist) {
		return nil, false, remote.E("open vault", "", remote.NotExist, ErrVaultMissing)
	}
	return nil, false, tooLong("open vault", err)
}

// tooLong says of a keyring that is longer than any can be what it is: damage.
func tooLong(op string, err error) error {
	if remote.Is(err, remote.TooLarge) {
		return bad(op, "keyring", ErrKeyringTampered, errors.Join(ErrLimit, err))
	}
	return err
}

// KeptKeyring returns what KeepKeyring kept.
func KeptKeyring(stateDir string) ([]byte, error) {
	b, err := os.ReadFile(keyringCopy(stateDir))
	if err == nil && len(b) > keyringLimit {
		err = remote.E("read the keyring", keyringCopy(stateDir), remote.TooLarge, nil)
	}
	return b, err
}

// keeping is held by who writes the copy: a load and a collection may find the same news.
var keeping sync.Mutex

// KeepKeyring keeps a copy of the keyring object, so that the vault can be unlocked while the store does not answer. A copy of another vault's
// keyring stays, which is ErrVaultReplaced, and so does one of a newer generation, which Open will say.
func KeepKeyring(stateDir string, object []byte) error {
	keeping.Lock()
	defer keeping.Unlock()
	old, err := os.ReadFile(keyringCopy(stateDir))
	if err == nil && string(old) == string(object) {
		return nil
	}
	h, err := crypto.ReadKeyringHeader(object)
	if err != nil {
		return opened("keep keyring", "", err)
	}
	if err := replaced(stateDir, h.Vault); err != nil {
		return err
	}
	if kept, err := crypto.ReadKeyringHeader(old); err == nil && kept.Generation > h.Generation {
		return nil
	}
	// A full disk or a crash leaves the one before, without which nothing can be unlocked while the store does not answer.
	fresh := keyringCopy(stateDir) + ".new"
	os.Remove(fresh)
	if err := writeSynced(fresh, object); err != nil {
		return err
	}
	if err := os.Rename(fresh, keyringCopy(stateDir)); err != nil {
		return remote.E("keep keyring", keyringCopy(stateDir), remote.IO, err)
	}
	return syncDir(stateDir)
}

// replaced says that a state folder has the keyring of another vault.
func replaced(stateDir string, vid crypto.VaultID) error {
	old, err := os.ReadFile(keyringCopy(stateDir))
	if err != nil {
		return nil
	}
	if h, err := crypto.ReadKeyringHeader(old); err != nil || h.Vault == vid {
		return nil
	}
	return bad("open vault", "", ErrVaultReplaced, fmt.Errorf("should that be meant, move %s away", stateDir))
}

// AddKeyring makes a new generation of the keyring the one in force: it is stored, read back, named in the log, and then the one
// before is removed. A crash in between leaves both, and either opens the vault. Once it is stored, who unlocks the vault finds it; so it is named however many others
// commit meanwhile.
func (v *Vault) AddKeyring(ctx context.Context, base remote.Position, object []byte, next *crypto.Keyring) (remote.Position, error) {
	gen, prev := next.Generation(), v.keyring()
	switch {
	case gen != prev.Generation()+1 || next.PrevHash() != prev.Hash():
		return base, remote.E("add keyring", keyringName(gen), remote.Invalid, errors.New("it does not follow the one in force"))
	case next.Keys().Epoch() != v.keys.Epoch():
		return base, remote.E("add keyring", keyringName(gen), remote.NotSupported, errors.New("keys can't be rotated yet"))
	}
	if err := v.writable("add keyring"); err != nil {
		return base, err
	}
	if err := v.putKeyring(ctx, gen, object); err != nil {
		return base, err
	}
	pos, err := v.nameKeyring(ctx, base, next)
	for try := 1; remote.Is(err, remote.Conflict) && try < keyringTries; try++ {
		if base, err = v.Load(ctx, base, ignoring{}); err != nil {
			break
		}
		if now := v.keyring(); now.Generation() >= gen && now.Hash() != next.Hash() {
			return base, remote.E("add keyring", keyringName(gen), remote.Conflict, errOtherKeyring)
		}
		pos, err = v.nameKeyring(ctx, base, next)
	}
	if err != nil {
		return base, remote.E("add keyring", keyringName(gen), remote.KindOf(err), errors.Join(errUnnamed, err))
	}
	if err := KeepKeyring(v.o.StateDir, object); err != nil {
		return pos, err
	}
	return pos, v.forget(ctx, gen)
}

var (
	errUnnamed      = errors.New("the new passphrase is stored and counts from now on, but the log could not say so yet; the old one unlocks nothing any more")
	errOtherKeyring = errors.New("another machine changed the passphrase at the same time, and that one counts")
)

// putKeyring stores a keyring and reads it back.
func (v *Vault) putKeyring(ctx context.Context, gen uint64, object []byte) error {
	name := keyringName(gen)
	err := v.store.Put(ctx, name, object)
	if err != nil && !remote.Is(err, remote.Exist) && !remote.Is(err, remote.Timeout) && !remote.Is(err, remote.Unreachable) {
		return err
	}
	back, gerr := v.store.Get(ctx, name, keyringLimit)
	switch {
	case gerr == nil && bytes.Equal(back, object):
		return nil // also when the answer was lost
	case gerr == nil && err == nil:
		return bad("add keyring", name, ErrTampered, nil)
	case gerr == nil:
		return remote.E("add keyring", name, remote.Conflict, errOtherKeyring)
	case err == nil:
		return gerr
	case !remote.Is(gerr, remote.NotExist):
		return remote.E("add keyring", name, remote.KindOf(err), errors.Join(errors.New("it is not known whether the new passphrase counts: try the new one first, then the old"), err))
	}
	return err
}

// nameKeyring says in the log that a keyring is the one in force.
func (v *Vault) nameKeyring(ctx context.Context, base remote.Position, next *crypto.Keyring) (remote.Position, error) {
	v.commitMu.Lock()
	defer v.commitMu.Unlock()
	named, before := link{next.Generation(), next.Hash()}, v.ring.Swap(next)
	pos, err := v.commit(ctx, base, []*entry{{typ: entryKeyring, parts: 1, about: named}})
	if err != nil {
		v.ring.CompareAndSwap(next, before) // what others did is read with the one that they know
		return base, err
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.trust.Keyring = named
	return pos, v.save()
}

// forget deletes the generations before gen, that are of no use but to those who know an old passphrase.
func (v *Vault) forget(ctx context.Context, gen uint64) error {
	var old []string
	err := v.store.List(ctx, keyringPrefix, "", func(i blob.Info) error {
		if n, ok := number(i.Name, keyringPrefix); ok && n < gen && i.Name == keyringName(n) {
			old = append(old, i.Name)
		}
		return nil
	})
	for _, name := range old {
		if err == nil {
			err = v.store.Delete(ctx, name)
		}
	}
	return err
}

// renew takes the keyring that an entry names, when another machine made it: the passphrase was changed there. A store that does not show it
// hides it.
func (v *Vault) renew(ctx context.Context, named link) error {
	name := keyringName(named.Seq)
	object, err := v.store.Get(ctx, name, keyringLimit)
	if remote.Is(err, remote.NotExist) {
		// A later one may have taken its place.
		if object, _, err = ReadKeyring(ctx, v.store, ""); err == nil {
			h, herr := crypto.ReadKeyringHeader(object)
			if herr != nil || h.Generation <= named.Seq {
				return bad("follow the log", name, ErrKeyringRollback, nil)
			}
		}
	}
	if err != nil {
		return tooLong("follow the log", err)
	}
	krk := v.keyring().KRK()
	defer krk.Wipe()
	ring, err := crypto.OpenKeyring(object, krk)
	if err != nil && sha256.Sum256(object) == named.Hash {
		return remote.E("open keyring", name, remote.NotSupported, errRotated) // it is the one, under another key
	}
	if err != nil {
		return opened("open keyring", name, err)
	}
	switch {
	case ring.Generation() < named.Seq, ring.Generation() == named.Seq && ring.Hash() != named.Hash:
		return bad("follow the log", name, ErrKeyringTampered, nil)
	case ring.Keys().Epoch() != v.keys.Epoch():
		return remote.E("follow the log", name, remote.NotSupported, errRotated)
	}
	v.ring.Store(ring)
	return KeepKeyring(v.o.StateDir, object)
}

// rotated reports whether the store has a keyring newer than the one in use and with other keys, so that what does not open may be under them.
func (v *Vault) rotated(ctx context.Context) bool {
	object, _, err := ReadKeyring(ctx, v.store, "")
	if err != nil {
		return false
	}
	h, err := crypto.ReadKeyringHeader(object)
	if err != nil || h.Generation <= v.keyring().Generation() {
		return false
	}
	krk := v.keyring().KRK()
	defer krk.Wipe()
	ring, err := crypto.OpenKeyring(object, krk)
	return err != nil || ring.Keys().Epoch() != v.keys.Epoch()
}

// chained proves, where a walk ended, that the keyring in use is the one that the log names, or descends from it: a machine may have died
// between making a keyring and naming it.
func (v *Vault) chained(ctx context.Context, w *walker) error {
	ring, named := v.keyring(), w.named
	if named.Seq == 0 {
		v.mu.Lock()
		named = v.trust.Keyring
		v.mu.Unlock()
	}
	for ring.Generation() > named.Seq {
		gen, prev := ring.Generation()-1, ring.PrevHash()
		if gen == named.Seq {
			if prev != named.Hash {
				return v.violated(bad("follow the keyrings", keyringName(gen), ErrKeyringTampered, errors.New("it does not follow the one that the log names")))
			}
			return nil
		}
		name := keyringName(gen)
		object, err := v.store.Get(ctx, name, keyringLimit)
		if err != nil && !damaged(err) {
			return err
		}
		if err == nil && sha256.Sum256(object) == prev {
			krk := ring.KRK()
			ring, err = crypto.OpenKeyring(object, krk)
			krk.Wipe()
		} else if err == nil {
			err = errors.New("it is not the one that was followed")
		}
		if err != nil {
			return v.violated(bad("follow the keyrings", name, ErrKeyringTampered, err))
		}
	}
	return nil
}
