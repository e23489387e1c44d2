package crypto

import "errors"

// The errors of this package; each is wrapped with what exactly was wrong, for
// errors.Is. None ever carries a secret.
var (
	// ErrTampered reports a sealed object, or chunk, that no holder of the
	// keys wrote in this place.
	ErrTampered = errors.New("crypto: sealed data was tampered with or damaged")

	// ErrUnknownEpoch accompanies ErrTampered when an object names an epoch that
	// the keyring does not have: a forgery, or a keyring newer than ours.
	ErrUnknownEpoch = errors.New("key epoch is not in this keyring")

	// ErrUnlock reports that no slot opened: a wrong passphrase or recovery key,
	// or a damaged slot, which cannot be told apart.
	ErrUnlock = errors.New("crypto: passphrase or recovery key does not open the vault")

	// ErrKeyringTampered reports a keyring that is not as it was written.
	ErrKeyringTampered = errors.New("crypto: keyring was tampered with or damaged")

	// ErrKDFLimits reports key derivation costs outside of what is safe to use
	// or of what this machine can afford.
	ErrKDFLimits = errors.New("crypto: key derivation cost is out of limits")

	// ErrUnsupported reports a format, feature or slot that needs a newer or
	// otherwise different megafs, or another credential.
	ErrUnsupported = errors.New("crypto: not supported by this version")

	// ErrFormatDowngrade reports a format older than the vault was known to have.
	ErrFormatDowngrade = errors.New("crypto: vault format was downgraded")

	// ErrLimit reports something larger than the format allows.
	ErrLimit = errors.New("crypto: too large")

	// ErrWeak reports a passphrase not fit to protect a vault.
	ErrWeak = errors.New("crypto: passphrase is not acceptable")
)
