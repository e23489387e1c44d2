package crypto

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/binary"
	"fmt"
	"unicode/utf8"
)

const (
	maxSlots = 8
	maxLabel = 64 // bytes

	slotHeaderLen  = 1 + 1 + 16 + 32 + 4 + 4 + 1 + 2 // without the label
	slotTrailerLen = 32 + keySize + tagSize          // commitment and sealed KRK
	keySize        = 32

	kdfArgon2id = 1
	kdfNone     = 2

	labelSlot     = "megafs-vault/1 slot\x00"
	labelSlotWrap = "megafs-vault/1 slot-wrap\x00"
)

// SlotType is the kind of credential that opens a slot.
type SlotType uint8

const (
	SlotPassphrase  SlotType = 1
	SlotRecovery    SlotType = 2
	SlotVaultSecret SlotType = 3 // passphrase and vault secret together
)

func (t SlotType) String() string {
	switch t {
	case SlotPassphrase:
		return "passphrase"
	case SlotRecovery:
		return "recovery key"
	case SlotVaultSecret:
		return "passphrase and vault secret"
	}
	return fmt.Sprintf("slot type %d", uint8(t))
}

func (t SlotType) usesPassphrase() bool { return t == SlotPassphrase || t == SlotVaultSecret }

// SlotInfo describes a slot. All of it is in the clear in the store.
type SlotInfo struct {
	Type  SlotType
	ID    [16]byte
	KDF   KDF // zero for a recovery key
	Label string
}

// Credential is what a user unlocks a vault with: the passphrase, with the vault
// secret if the vault has one, or the recovery key.
type Credential struct {
	Passphrase, Recovery Secret
	VaultSecret          Secret // 32 bytes, or empty
}

// slot is one wrapping of the KRK, as in the store.
type slot struct {
	SlotInfo
	salt [32]byte
	raw  []byte // with the length field
}

func (s *slot) header() []byte     { return s.raw[2 : len(s.raw)-slotTrailerLen] }
func (s *slot) commitment() []byte { return s.raw[len(s.raw)-slotTrailerLen:][:32] }
func (s *slot) sealedKRK() []byte  { return s.raw[len(s.raw)-keySize-tagSize:] }
func (s *slot) hash() [32]byte     { return sha256.Sum256(s.raw) }

// newSlot wraps krk for the credential, with a fresh id and salt.
func newSlot(info SlotInfo, cred Credential, vault VaultID, krk Secret) (*slot, error) {
	if len(info.Label) > maxLabel {
		return nil, fmt.Errorf("%w: slot label of more than %d bytes", ErrLimit, maxLabel)
	}
	if !utf8.ValidString(info.Label) {
		return nil, fmt.Errorf("%w: slot label is not valid UTF-8", ErrUnsupported)
	}
	s := &slot{SlotInfo: info}
	rand.Read(s.ID[:])
	rand.Read(s.salt[:])
	kdf := byte(kdfNone)
	if s.Type.usesPassphrase() {
		kdf = kdfArgon2id
	}
	b := binary.BigEndian.AppendUint16(nil, uint16(slotHeaderLen+len(s.Label)+slotTrailerLen))
	b = append(b, byte(s.Type), kdf)
	b = append(b, s.ID[:]...)
	b = append(b, s.salt[:]...)
	b = s.KDF.append(b)
	b = binary.BigEndian.AppendUint16(b, uint16(len(s.Label)))
	b = append(b, s.Label...)
	s.raw = append(b, make([]byte, slotTrailerLen)...)

	w, err := s.wrapping(cred, vault)
	if err != nil {
		return nil, err
	}
	defer w.wipe()
	copy(s.commitment(), w.commitment)
	copy(s.sealedKRK(), newGCM(w.key).Seal(nil, w.nonce, krk.Bytes(), s.aad(vault)))
	return s, nil
}

// parseSlot reads the slot that b starts with, checking all that can be checked
// without a key.
func parseSlot(b []byte) (*slot, error) {
	if len(b) < 2 {
		return nil, fmt.Errorf("%w: slots are cut off", ErrKeyringTampered)
	}
	n := int(binary.BigEndian.Uint16(b))
	if n < slotHeaderLen+slotTrailerLen || n > slotHeaderLen+maxLabel+slotTrailerLen || n > len(b)-2 {
		return nil, fmt.Errorf("%w: slot of impossible length", ErrKeyringTampered)
	}
	s := &slot{raw: append([]byte(nil), b[:2+n]...)}
	h := s.header()
	s.Type = SlotType(h[0])
	kdf := h[1]
	s.ID = [16]byte(h[2:18])
	s.salt = [32]byte(h[18:50])
	s.KDF = KDF{T: binary.BigEndian.Uint32(h[50:]), MKiB: binary.BigEndian.Uint32(h[54:]), P: h[58]}
	if int(binary.BigEndian.Uint16(h[59:])) != len(h)-slotHeaderLen {
		return nil, fmt.Errorf("%w: slot label of impossible length", ErrKeyringTampered)
	}
	s.Label = string(h[slotHeaderLen:])
	switch {
	case s.Type.usesPassphrase() && kdf == kdfArgon2id:
		return s, s.KDF.check()
	case s.Type == SlotRecovery && kdf == kdfNone:
		if s.KDF != (KDF{}) {
			return nil, fmt.Errorf("%w: recovery slot with a derivation cost", ErrKeyringTampered)
		}
		return s, nil
	}
	return nil, fmt.Errorf("%w: %v with key derivation %d", ErrUnsupported, s.Type, kdf)
}

func (s *slot) aad(vault VaultID) []byte {
	return append(append([]byte(nil), s.header()...), vault[:]...)
}

// wrapping is what a credential yields for one slot.
type wrapping struct{ key, commitment, nonce []byte }

func (w wrapping) wipe() { clear(w.key) }

// wrapping derives the slot's wrap key from the credential, at the slot's cost.
func (s *slot) wrapping(cred Credential, vault VaultID) (w wrapping, err error) {
	ikm, err := s.inputKey(cred)
	if err != nil {
		return w, err
	}
	defer clear(ikm)
	prk := extract(ikm, []byte(labelSlot), vault[:], []byte{byte(s.Type)})
	defer clear(prk)
	sum := sha256.Sum256(s.header())
	okm := expand(prk, keySize+32+nonceSize, []byte(labelSlotWrap), sum[:])
	return wrapping{okm[:32], okm[32:64], okm[64:]}, nil
}

func (s *slot) inputKey(cred Credential) ([]byte, error) {
	if s.Type == SlotRecovery {
		if cred.Recovery.Len() != keySize {
			return nil, fmt.Errorf("%w: a recovery key has %d bytes", ErrUnlock, keySize)
		}
		return append([]byte(nil), cred.Recovery.Bytes()...), nil
	}
	if s.Type == SlotVaultSecret && cred.VaultSecret.Len() != keySize {
		return nil, fmt.Errorf("%w: a vault secret has %d bytes", ErrUnlock, keySize)
	}
	pk, err := s.KDF.derive(cred.Passphrase, s.salt[:])
	if err != nil || s.Type == SlotPassphrase {
		return pk, err
	}
	defer clear(pk)
	return append(append(make([]byte, 0, pkSize+keySize), pk...), cred.VaultSecret.Bytes()...), nil
}

// unwrap opens the slot. The commitment is compared before the ciphertext is touched: a
// crafted slot could otherwise open under many passphrases at once, and each try
// of a user would tell the store which half of its guesses to drop.
func (s *slot) unwrap(cred Credential, vault VaultID) (Secret, error) {
	w, err := s.wrapping(cred, vault)
	if err != nil {
		return Secret{}, err
	}
	defer w.wipe()
	if subtle.ConstantTimeCompare(w.commitment, s.commitment()) != 1 {
		return Secret{}, ErrUnlock
	}
	krk, err := newGCM(w.key).Open(nil, w.nonce, s.sealedKRK(), s.aad(vault))
	if err != nil {
		return Secret{}, ErrUnlock
	}
	return NewSecret(krk), nil
}
