package crypto

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"math"
	"testing"
	"time"
)

// fixedSlot is the same in all fuzzing processes.
func fixedSlot() []byte {
	b := binary.BigEndian.AppendUint16(nil, slotHeaderLen+5+slotTrailerLen)
	b = append(b, byte(SlotPassphrase), kdfArgon2id)
	b = append(b, sequence(0, 16+32)...)
	b = DefaultKDF.append(b)
	b = append(binary.BigEndian.AppendUint16(b, 5), "label"...)
	return append(b, sequence(100, slotTrailerLen)...)
}

// FuzzSlot: what is read as a slot is what the bytes begin with, and within all limits.
func FuzzSlot(f *testing.F) {
	s := fixedSlot()
	f.Add(s)
	f.Add(s[:len(s)-1])
	f.Add(append(bytes.Clone(s), s...))
	recovery := bytes.Clone(s)
	recovery[2], recovery[3] = byte(SlotRecovery), kdfNone
	clear(recovery[2+50 : 2+59])
	f.Add(recovery)
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := parseSlot(b)
		if err != nil {
			return
		}
		if !bytes.HasPrefix(b, s.raw) || len(s.Label) > maxLabel || len(s.sealedKRK()) != keySize+tagSize {
			t.Errorf("%+v", s)
		}
		if s.Type != SlotRecovery && s.KDF.check() != nil {
			t.Error("a cost that is not allowed:", s.KDF)
		}
	})
}

// FuzzKeyringBody: a body that somebody with the keys sealed is refused, or has the one encoding.
func FuzzKeyringBody(f *testing.F) {
	s, err := parseSlot(fixedSlot())
	if err != nil {
		f.Fatal(err)
	}
	p := parsedKeyring{vault: VaultID{1}, generation: 2, clear: sequence(0, keyringClear), slots: []*slot{s}}
	r := &Keyring{
		vault: p.vault, generation: p.generation, prev: [32]byte{9}, created: time.Unix(1, 2), slots: p.slots, policy: DefaultKDF,
		epochs: []epoch{{NewSecret(sequence(0, 32)), 1}, {NewSecret(sequence(32, 32)), 7}}, writer: Writer{true, [16]byte{3}},
	}
	clearHash := sha256.Sum256(p.clear)
	body := r.encodeBody(clearHash)
	f.Add(body)
	f.Add(body[:len(body)-1])
	f.Add(append(bytes.Clone(body), 0))
	f.Fuzz(func(t *testing.T, b []byte) {
		got := &Keyring{vault: p.vault, generation: p.generation, slots: p.slots}
		if got.decodeBody(b, p) == nil && !bytes.Equal(got.encodeBody(clearHash), b) {
			t.Error("not the only encoding")
		}
	})
}

// FuzzUnlockChild reads foreign requests and answers between the process and its child.
func FuzzUnlockChild(f *testing.F) {
	request, err := encodeRequest([]byte("object"), Credential{Passphrase: phrase("a phrase"), VaultSecret: NewSecret(sequence(0, 32))})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(request)
	f.Add(encodeAnswer(NewSecret(sequence(0, 32)), nil))
	f.Add(encodeAnswer(Secret{}, ErrUnlock))
	f.Add([]byte(unlockMagic + "\x00\x00\x00"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if object, c, err := decodeRequest(bytes.NewReader(b)); err == nil {
			again, err := encodeRequest(object, c)
			if err != nil || !bytes.HasPrefix(b, again) {
				t.Error("another request than was read:", err)
			}
		}
		switch krk, answer, err := decodeAnswer(bytes.NewReader(b)); {
		case err != nil:
		case answer != nil && len(answer.Error()) > maxMessage:
			t.Error("an endless message")
		case answer == nil && !bytes.HasPrefix(b, encodeAnswer(krk, nil)):
			t.Error("another key than was read")
		}
	})
}

// FuzzPassphrase: however a passphrase is put together, its normal form is its own normal form, and its strength is a number.
func FuzzPassphrase(f *testing.F) {
	for _, s := range []string{"", "password", "lantern gravel ointment", "e\u0301\u0323 \u212b \ufb01", "bantu-welda", "\xff", "aaaaaaaaaaaa", "a\x00b"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if bits := Strength(NewSecret(bytes.Clone(b))); math.IsNaN(bits) || bits < 0 {
			t.Error("strength", bits)
		}
		norm, err := normalise(NewSecret(bytes.Clone(b)))
		if err != nil {
			if CheckPassphrase(NewSecret(bytes.Clone(b))) == nil {
				t.Error("accepted, but can't be one:", err)
			}
			return
		}
		if again, err := normalise(NewSecret(bytes.Clone(norm))); len(norm) <= maxPassphrase && (err != nil || !bytes.Equal(again, norm)) {
			t.Errorf("%q becomes %q: %v", norm, again, err)
		}
	})
}
