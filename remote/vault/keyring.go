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
	if gen != v.keyring().Generation()+1 || next.PrevHash() != v.keyring().Hash() {
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
	old := v.keyring().Generation()
	v.ring.Store(next)
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
		return err
	}
	ring, err := crypto.OpenKeyring(object, v.keyring().KRK())
	if err != nil {
		return opened("open keyring", name, err)
	}
	switch {
	case ring.Generation() < named.Seq, ring.Generation() == named.Seq && ring.Hash() != named.Hash:
		return bad("follow the log", name, ErrKeyringTampered, nil)
	case ring.Keys().Epoch() != v.keys.Epoch():
		return remote.E("follow the log", name, remote.NotSupported, errors.Join(ErrUnsupported, errors.New("the keys were rotated; mount again")))
	}
	v.ring.Store(ring)
	return KeepKeyring(v.o.StateDir, object)
}
