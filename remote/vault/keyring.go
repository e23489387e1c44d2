package vault

import (
	"bytes"
	"context"
	"errors"

	"megafs/crypto"
	"megafs/remote"
)

// AddKeyring makes a new generation of the keyring the one in force: it is stored, read back, named in the log, and then the one
// before is removed. A crash in between leaves both, and either opens the vault.
func (v *Vault) AddKeyring(ctx context.Context, base remote.Position, object []byte, next *crypto.Keyring) (remote.Position, error) {
	v.commitMu.Lock()
	defer v.commitMu.Unlock()
	gen := next.Generation()
	if gen != v.ring.Generation()+1 || next.PrevHash() != v.ring.Hash() {
		return base, remote.E("add keyring", keyringName(gen), remote.Invalid, errors.New("it does not follow the one in force"))
	}
	if err := v.store.Put(ctx, keyringName(gen), object); err != nil {
		return base, err
	}
	back, err := v.store.Get(ctx, keyringName(gen), keyringLimit)
	if err != nil {
		return base, err
	}
	if !bytes.Equal(back, object) {
		return base, bad("add keyring", keyringName(gen), ErrTampered, nil)
	}
	old := v.ring.Generation()
	v.mu.Lock()
	v.ring, v.keys = next, next.Keys()
	v.mu.Unlock()
	pos, err := v.commit(ctx, base, []*entry{{typ: entryKeyring, parts: 1, about: link{gen, next.Hash()}}})
	if err != nil {
		return base, err
	}
	v.mu.Lock()
	v.trust.Keyring = link{gen, next.Hash()}
	err = v.save()
	v.mu.Unlock()
	if err != nil {
		return pos, err
	}
	if err := KeepKeyring(v.o.StateDir, object); err != nil {
		return pos, err
	}
	return pos, v.store.Delete(ctx, keyringName(old))
}
