package vault

import (
	"context"
	"errors"
	"os"

	"megafs/crypto"
	"megafs/remote"
	"megafs/remote/blob"
)

// Create makes a vault in an empty store, which it probes first, and the memory of it in stateDir. The recovery key is shown once and never again.
// The store is left as it is when it is not empty; a failure later leaves an unfinished vault, which is of no use.
func Create(ctx context.Context, s blob.Store, stateDir string, pass crypto.Secret, label string, kdf crypto.KDF) (*crypto.Keyring, crypto.Secret, error) {
	none := crypto.Secret{}
	err := s.List(ctx, "", "", func(i blob.Info) error {
		return remote.E("make a vault", "", remote.Exist, errors.New("the store is not empty; a vault wants a place of its own"))
	})
	if err != nil {
		return nil, none, err
	}
	if err := os.MkdirAll(stateDir, 0o700); err != nil {
		return nil, none, remote.E("make the state folder", stateDir, remote.IO, err)
	}
	for i := range uint64(2) {
		// What looks like an empty store may be one that hides a vault.
		if _, err := os.Lstat(trustPath(stateDir, i)); err == nil {
			return nil, none, remote.E("make a vault", stateDir, remote.Exist, errors.New("the state folder remembers another vault; give a folder of its own, or remove it if that vault is given up"))
		}
	}
	if err := blob.Probe(ctx, s); err != nil {
		return nil, none, err
	}
	object, recovery, ring, err := crypto.CreateKeyring(pass, label, kdf)
	if err != nil {
		return nil, none, remote.E("make a keyring", "", remote.Invalid, err)
	}
	if err := s.Put(ctx, keyringName(1), object); err != nil {
		return nil, none, err
	}
	v := newVault(s, Options{StateDir: stateDir, Keyring: ring})
	v.trust = v.fresh()
	if err := writeSynced(keyringCopy(stateDir), object); err != nil {
		return nil, none, err
	}
	v.trust.Number, v.trust.Probed = 1, true
	now := remote.TimeOf(v.o.Clock())
	root := remote.Attr{Type: remote.Dir, Mode: 0o755, UID: uint32(os.Getuid()), GID: uint32(os.Getgid()), Atime: now, Mtime: now, Ctime: now, Btime: now}
	_, err = v.Commit(ctx, remote.Position{}, []remote.Op{
		{Kind: remote.OpNode, Ino: remote.Root, Attr: root},
		{Kind: remote.OpDevice, Device: v.trust.Device, Number: 1},
	})
	return ring, recovery, err
}
