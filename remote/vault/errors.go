package vault

import (
	"errors"

	"megafs/crypto"
	"megafs/remote"
)

// What a vault can find wrong with its store. Each comes wrapped in a *remote.Error, whose kind is said here.
var (
	ErrTampered           = errors.New("sealed bytes do not verify")                                                                                                                                           // Integrity
	ErrMissing            = errors.New("an object that is referred to is missing")                                                                                                                             // Integrity
	ErrGap                = errors.New("the log has a gap")                                                                                                                                                    // Integrity
	ErrRollback           = errors.New("the store shows an older state than was seen before")                                                                                                                  // Integrity
	ErrFork               = errors.New("the store shows another history than was seen before")                                                                                                                 // Integrity
	ErrVaultReplaced      = errors.New("another vault lies where this one was")                                                                                                                                // Integrity
	ErrVaultMissing       = errors.New("there is no vault here; look whether the folder or bucket is the right one and its disk is mounted, or make one with megafs vault init")                               // NotExist
	ErrKeyringTampered    = errors.New("the keyring was tampered with or is damaged")                                                                                                                          // Integrity
	ErrKeyringRollback    = errors.New("the store shows an older keyring than was seen before")                                                                                                                // Integrity
	ErrFormatDowngrade    = errors.New("the vault's format is older than was seen before")                                                                                                                     // Integrity
	ErrEpochDowngrade     = errors.New("an entry is sealed with keys that were withdrawn")                                                                                                                     // Integrity
	ErrInvalidEntry       = errors.New("an authentic entry makes no sense")                                                                                                                                    // Integrity
	ErrDeviceCloned       = errors.New("the log has entries of this device that it did not make; it goes on under a new name")                                                                                 // none: handled
	ErrStoreContract      = errors.New("the store does not keep its contract")                                                                                                                                 // Other
	ErrNotTrusted         = errors.New("this machine has never seen this vault; if you know it to be yours, say --trust-first-use once, or --invite with what megafs vault head prints on a machine that has") // Permission
	ErrViolation          = errors.New("the vault is read-only since the store was caught lying; see megafs vault accept")                                                                                     // ReadOnly
	ErrLimit              = errors.New("an object is longer than its kind can be")                                                                                                                             // Integrity, with ErrTampered
	ErrUnsupported        = errors.New("made by a newer megafs; update this one")                                                                                                                              // NotSupported
	ErrSnapshotDivergence = errors.New("a snapshot is not what the log says")                                                                                                                                  // Integrity
)

// errRotated says that other keys are in force than this process has.
var errRotated = errors.Join(ErrUnsupported, errors.New("the vault's keys were rotated on another machine; mount again"))

// bad makes an integrity error.
func bad(op, object string, why, detail error) error {
	if detail != nil {
		why = errors.Join(why, detail)
	}
	return remote.E(op, object, remote.Integrity, why)
}

// opened gives an error of package crypto its kind and name.
func opened(op, object string, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, crypto.ErrUnsupported):
		return remote.E(op, object, remote.NotSupported, errors.Join(ErrUnsupported, err))
	case errors.Is(err, crypto.ErrFormatDowngrade):
		return bad(op, object, ErrFormatDowngrade, err)
	case errors.Is(err, crypto.ErrKeyringTampered):
		return bad(op, object, ErrKeyringTampered, err)
	}
	return bad(op, object, ErrTampered, err)
}
