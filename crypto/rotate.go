package crypto

import (
	"crypto/rand"
	"fmt"
	"time"
)

// CreateKeyring makes generation 1 of a new vault's keyring: a new vault id, epoch 1, and
// two slots, one for the passphrase and one for a recovery key, which it returns to be shown
// once. The label of the passphrase slot is stored in the clear.
//
// It fails with ErrKDFLimits, with ErrLimit, and with ErrWeak for a passphrase that
// cannot be one; how hard it is to guess is for the caller to ask [CheckPassphrase].
func CreateKeyring(pass Secret, label string, kdf KDF) (object []byte, recovery Secret, r *Keyring, err error) {
	d := &Keyring{
		generation: 1,
		created:    time.Now(),
		epochs:     []epoch{{vmk: randomSecret(keySize), firstSeq: 1}},
		krk:        randomSecret(keySize),
	}
	rand.Read(d.vault[:])
	if err = d.setPassphrase(pass, Secret{}, label, kdf); err == nil {
		recovery, err = d.setRecovery()
	}
	if err == nil {
		object, r, err = d.finish()
	}
	if err != nil {
		return nil, Secret{}, nil, err
	}
	return object, recovery, r, nil
}

// NewVaultSecret makes a vault secret, for RepassWithSecret.
func NewVaultSecret() Secret { return randomSecret(keySize) }

// Repass makes the next generation with another passphrase under the same KRK. The recovery
// key stays. It does not protect from someone who has the old passphrase and kept the
// old keyring; Rekey does. A vault with a vault secret keeps asking for one, so Repass
// fails with ErrUnsupported there: see RepassWithSecret.
func (r *Keyring) Repass(newPass Secret, kdf KDF) (object []byte, next *Keyring, err error) {
	return r.RepassWithSecret(newPass, Secret{}, kdf)
}

// RepassWithSecret is Repass for a passphrase that opens the vault only together with a
// vault secret of 32 bytes, which may be new or the one in use.
func (r *Keyring) RepassWithSecret(newPass, vaultSecret Secret, kdf KDF) (object []byte, next *Keyring, err error) {
	d, err := r.draft()
	if err != nil {
		return nil, nil, err
	}
	if err := d.setPassphrase(newPass, vaultSecret, d.label(), kdf); err != nil {
		return nil, nil, err
	}
	return d.finish()
}

// NewRecovery makes the next generation with another recovery key under the same KRK.
func (r *Keyring) NewRecovery() (object []byte, recovery Secret, next *Keyring, err error) {
	d, err := r.draft()
	if err != nil {
		return nil, Secret{}, nil, err
	}
	if recovery, err = d.setRecovery(); err != nil {
		return nil, Secret{}, nil, err
	}
	object, next, err = d.finish()
	return object, recovery, next, err
}

// Rekey makes the next generation with a new KRK and a new epoch, in force from the log
// sequence number firstSeq on: who knows only older keys can neither read nor write what
// comes after. All secrets are replaced or given again: the passphrase, the vault secret
// if the vault has one, and a new recovery key.
func (r *Keyring) Rekey(pass, vaultSecret Secret, kdf KDF, firstSeq uint64) (object []byte, recovery Secret, next *Keyring, err error) {
	d, err := r.draft()
	if err != nil {
		return nil, Secret{}, nil, err
	}
	if last := d.epochs[len(d.epochs)-1].firstSeq; firstSeq < last {
		return nil, Secret{}, nil, fmt.Errorf("%w: epoch from %d on, before the last began at %d", ErrLimit, firstSeq, last)
	}
	d.krk = randomSecret(keySize)
	d.epochs = append(d.epochs[:len(d.epochs):len(d.epochs)], epoch{randomSecret(keySize), firstSeq})
	if err = d.setPassphrase(pass, vaultSecret, d.label(), kdf); err != nil {
		return nil, Secret{}, nil, err
	}
	if recovery, err = d.setRecovery(); err != nil {
		return nil, Secret{}, nil, err
	}
	object, next, err = d.finish()
	return object, recovery, next, err
}

// SetWriter makes the next generation with another writer policy.
func (r *Keyring) SetWriter(w Writer) (object []byte, next *Keyring, err error) {
	d, err := r.draft()
	if err != nil {
		return nil, nil, err
	}
	d.writer = w
	return d.finish()
}

// draft starts the next generation as a copy of r.
func (r *Keyring) draft() (*Keyring, error) {
	if r.ReadOnly() {
		return nil, fmt.Errorf("%w: vault uses newer features and can only be read; update megafs", ErrUnsupported)
	}
	d := *r
	d.generation++
	d.prev = r.hash
	d.created = time.Now()
	d.slots = append([]*slot(nil), r.slots...)
	return &d, nil
}

// finish seals the draft and opens it again: what is handed out has been verified by
// the very code that will read it.
func (d *Keyring) finish() ([]byte, *Keyring, error) {
	object, err := d.encode()
	if err != nil {
		return nil, nil, err
	}
	r, err := OpenKeyring(object, d.krk)
	if err != nil {
		return nil, nil, err
	}
	return object, r, nil
}

// setPassphrase replaces all slots that take a passphrase by one for this passphrase.
func (d *Keyring) setPassphrase(pass, vaultSecret Secret, label string, kdf KDF) error {
	t := SlotPassphrase
	if vaultSecret.Len() > 0 {
		t = SlotVaultSecret
	} else {
		for _, s := range d.slots {
			if s.Type == SlotVaultSecret {
				return fmt.Errorf("%w: the vault has a vault secret; give it, too", ErrUnsupported)
			}
		}
	}
	s, err := newSlot(SlotInfo{Type: t, KDF: kdf, Label: label},
		Credential{Passphrase: pass, VaultSecret: vaultSecret}, d.vault, d.krk)
	if err != nil {
		return err
	}
	d.policy = kdf
	d.replaceSlots(SlotType.usesPassphrase, s)
	return nil
}

// setRecovery replaces all recovery slots by one for a new recovery key.
func (d *Keyring) setRecovery() (Secret, error) {
	key := randomSecret(keySize)
	s, err := newSlot(SlotInfo{Type: SlotRecovery, Label: "recovery"}, Credential{Recovery: key}, d.vault, d.krk)
	if err != nil {
		return Secret{}, err
	}
	d.replaceSlots(func(t SlotType) bool { return t == SlotRecovery }, s)
	return key, nil
}

// replaceSlots puts a slot where the first old one was, or last.
func (d *Keyring) replaceSlots(old func(SlotType) bool, s *slot) {
	var kept []*slot
	placed := false
	for _, o := range d.slots {
		switch {
		case !old(o.Type):
			kept = append(kept, o)
		case !placed:
			kept, placed = append(kept, s), true
		}
	}
	if !placed {
		kept = append(kept, s)
	}
	d.slots = kept
}

// label is that of the passphrase slot.
func (d *Keyring) label() string {
	for _, s := range d.slots {
		if s.Type.usesPassphrase() {
			return s.Label
		}
	}
	return ""
}
