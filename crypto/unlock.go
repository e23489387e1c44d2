package crypto

import (
	"errors"
	"fmt"
)

// fits reports whether the credential is of the kind that the slot takes.
func (c Credential) fits(t SlotType) bool {
	switch t {
	case SlotPassphrase:
		return c.Passphrase.Len() > 0
	case SlotVaultSecret:
		return c.Passphrase.Len() > 0 && c.VaultSecret.Len() > 0
	case SlotRecovery:
		return c.Recovery.Len() > 0
	}
	return false
}

// Unlock finds the slot of a keyring that the credential opens and returns the KRK, in
// this process and at the slot's cost in time and memory; see [UnlockInChild]. It fails
// with ErrUnlock if no slot opens, with ErrKDFLimits, ErrLimit, ErrUnsupported or
// ErrKeyringTampered for keyrings that are not even worth a try. The KRK is good for
// nothing until [OpenKeyring] has verified the keyring with it.
func Unlock(object []byte, c Credential) (krk Secret, err error) {
	p, err := parseKeyring(object)
	if err != nil {
		return Secret{}, err
	}
	wantsSecret := false
	for _, s := range p.slots {
		if !c.fits(s.Type) {
			wantsSecret = wantsSecret || s.Type == SlotVaultSecret && c.Passphrase.Len() > 0
			continue
		}
		krk, err := s.unwrap(c, p.vault)
		switch {
		case err == nil:
			return krk, nil
		case errors.Is(err, ErrWeak): // no such passphrase can have been set
			return Secret{}, fmt.Errorf("%w: it is empty, has a NUL byte, or is not valid UTF-8", ErrUnlock)
		case !errors.Is(err, ErrUnlock):
			return Secret{}, err
		}
	}
	if wantsSecret {
		return Secret{}, fmt.Errorf("%w: the vault also takes its vault secret", ErrUnlock)
	}
	return Secret{}, ErrUnlock
}
