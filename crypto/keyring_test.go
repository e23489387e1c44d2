package crypto

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"
)

func TestKeyringGenerations(t *testing.T) {
	object, recovery, r := testKeyring(t)
	if r.Generation() != 1 || r.PrevHash() != [32]byte{} || r.Hash() != sha256.Sum256(object) || r.Keys().Epoch() != 1 {
		t.Fatalf("generation %d", r.Generation())
	}
	slots := r.Slots()
	if len(slots) != 2 || slots[0].Type+slots[1].Type != SlotPassphrase+SlotRecovery {
		t.Fatalf("slots %v", slots)
	}
	entry, _ := r.Keys().Seal(ClassLog, u64(1), []byte("entry"))

	old := Credential{Passphrase: phrase(testPhrase)}
	for _, c := range []Credential{old, {Recovery: recovery}} {
		if got := mustUnlock(t, object, c); !got.KRK().Equal(r.KRK()) || got.Vault() != r.Vault() || got.Hash() != r.Hash() {
			t.Error("unlocked to another keyring")
		}
	}

	// Another passphrase: same keys, same recovery key, the old passphrase is out.
	object2, r2, err := r.Repass(phrase("another"), HighKDF)
	if err != nil {
		t.Fatal(err)
	}
	if r2.Generation() != 2 || r2.PrevHash() != r.Hash() || !r2.KRK().Equal(r.KRK()) || r2.Policy() != HighKDF {
		t.Errorf("generation %d after Repass", r2.Generation())
	}
	if _, err := Unlock(object2, old); !errors.Is(err, ErrUnlock) {
		t.Errorf("old passphrase after Repass: %v", err)
	}
	mustUnlock(t, object2, Credential{Passphrase: phrase("another")})
	mustUnlock(t, object2, Credential{Recovery: recovery})
	if s := r2.Slots(); len(s) != 2 || s[0].Label != "laptop" || s[0].KDF != HighKDF || s[1] != slots[1] {
		t.Errorf("slots after Repass: %v", s)
	}

	// Another recovery key: the old one is out.
	object3, recovery3, r3, err := r2.NewRecovery()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Unlock(object3, Credential{Recovery: recovery}); !errors.Is(err, ErrUnlock) {
		t.Errorf("old recovery key: %v", err)
	}
	mustUnlock(t, object3, Credential{Passphrase: phrase("another")})
	mustUnlock(t, object3, Credential{Recovery: recovery3})

	// Another writer policy.
	_, r4, err := r3.SetWriter(Writer{Single: true, Device: [16]byte{9}})
	if err != nil || r4.Writer() != (Writer{true, [16]byte{9}}) || r3.Writer().Single {
		t.Fatalf("writer %v, %v", r4.Writer(), err)
	}

	// Rekey: new KRK and epoch, old objects still open, new ones do not open with old keys.
	object5, recovery5, r5, err := r4.Rekey(phrase("third"), Secret{}, DefaultKDF, 100)
	if err != nil {
		t.Fatal(err)
	}
	if r5.KRK().Equal(r4.KRK()) || r5.Keys().Epoch() != 2 || r5.Writer() != r4.Writer() || r5.PrevHash() != r4.Hash() {
		t.Error("rekeying kept what it must not, or lost what it must keep")
	}
	if e := r5.Epochs(); len(e) != 2 || e[0] != (EpochInfo{1, 1}) || e[1] != (EpochInfo{2, 100}) {
		t.Errorf("epochs %v", e)
	}
	if _, _, err := r5.Keys().Open(ClassLog, u64(1), entry); err != nil {
		t.Errorf("entry of before: %v", err)
	}
	newer, _ := r5.Keys().Seal(ClassLog, u64(2), []byte("entry"))
	if _, _, err := r4.Keys().Open(ClassLog, u64(2), newer); !errors.Is(err, ErrUnknownEpoch) {
		t.Errorf("entry of after with the keys of before: %v", err)
	}
	if _, err := OpenKeyring(object5, r4.KRK()); !errors.Is(err, ErrKeyringTampered) {
		t.Errorf("new keyring with the old KRK: %v", err)
	}
	mustUnlock(t, object5, Credential{Passphrase: phrase("third")})
	mustUnlock(t, object5, Credential{Recovery: recovery5})
	if _, _, _, err := r5.Rekey(phrase("x"), Secret{}, DefaultKDF, 99); !errors.Is(err, ErrLimit) {
		t.Errorf("epoch before the last: %v", err)
	}

	// What an old generation was is not changed by its successors.
	mustUnlock(t, object, old)
	r5.Wipe()
	if r4.KRK().Len() != 32 || r4.Keys().Epoch() != 1 {
		t.Error("wiping the successor wiped its predecessor")
	}
}

func TestVaultSecret(t *testing.T) {
	_, recovery, r := testKeyring(t)
	pass, sk := phrase(testPhrase), NewVaultSecret()
	object, r, err := r.RepassWithSecret(pass, sk, DefaultKDF)
	if err != nil {
		t.Fatal(err)
	}
	mustUnlock(t, object, Credential{Passphrase: pass, VaultSecret: sk})
	mustUnlock(t, object, Credential{Recovery: recovery})
	for _, c := range []Credential{
		{Passphrase: pass},
		{Passphrase: pass, VaultSecret: NewVaultSecret()},
		{Passphrase: pass, VaultSecret: phrase("short")},
		{Passphrase: phrase("wrong"), VaultSecret: sk},
		{VaultSecret: sk},
	} {
		if _, err := Unlock(object, c); !errors.Is(err, ErrUnlock) {
			t.Errorf("opened without both: %v", err)
		}
	}
	if _, _, err := r.Repass(phrase("new"), DefaultKDF); !errors.Is(err, ErrUnsupported) {
		t.Errorf("Repass dropped the vault secret: %v", err)
	}
	if _, _, _, err := r.Rekey(phrase("new"), Secret{}, DefaultKDF, 5); !errors.Is(err, ErrUnsupported) {
		t.Errorf("Rekey dropped the vault secret: %v", err)
	}
	object, _, err = r.RepassWithSecret(phrase("new"), sk, DefaultKDF)
	if err != nil {
		t.Fatal(err)
	}
	mustUnlock(t, object, Credential{Passphrase: phrase("new"), VaultSecret: sk})
}

func TestUnicodeFormsOfPassphrase(t *testing.T) {
	CheapKDFForTests(t)
	object, _, _, err := CreateKeyring(phrase("caf\u00e9 \u212b \u1e9b\u0323"), "", DefaultKDF)
	if err != nil {
		t.Fatal(err)
	}
	mustUnlock(t, object, Credential{Passphrase: phrase("cafe\u0301 A\u030a \u1e9b\u0323")})
	for _, s := range []string{"cafe \u212b \u1e9b\u0323", "caf\u00e9 \u212b \u1e69", "CAF\u00c9 \u212b \u1e9b\u0323"} {
		if _, err := Unlock(object, Credential{Passphrase: phrase(s)}); !errors.Is(err, ErrUnlock) {
			t.Errorf("%q: %v", s, err)
		}
	}
}

func TestPassphraseLimits(t *testing.T) {
	object, _, r := testKeyring(t)
	for _, v := range []struct {
		pass           string
		create, unlock error
	}{
		{"", ErrWeak, ErrUnlock},
		{"nul\x00byte", ErrWeak, ErrUnlock},
		{"\xff\xfe", ErrWeak, ErrUnlock},
		{strings.Repeat("x", maxPassphrase), nil, ErrUnlock},
		{strings.Repeat("x", maxPassphrase+1), ErrLimit, ErrLimit},
		{strings.Repeat("\U0001d15e", maxPassphrase/4), nil, ErrUnlock}, // grows threefold in NFC
	} {
		if _, _, err := r.Repass(phrase(v.pass), DefaultKDF); !errors.Is(err, v.create) {
			t.Errorf("%.10q: set: %v", v.pass, err)
		}
		if _, _, _, err := CreateKeyring(phrase(v.pass), "", DefaultKDF); !errors.Is(err, v.create) {
			t.Errorf("%.10q: create: %v", v.pass, err)
		}
		if _, err := Unlock(object, Credential{Passphrase: phrase(v.pass)}); !errors.Is(err, v.unlock) {
			t.Errorf("%.10q: unlock: %v", v.pass, err)
		}
	}
	if _, _, _, err := CreateKeyring(phrase("x"), strings.Repeat("l", maxLabel+1), DefaultKDF); !errors.Is(err, ErrLimit) {
		t.Errorf("long label: %v", err)
	}
	if _, err := Unlock(object, Credential{}); !errors.Is(err, ErrUnlock) {
		t.Errorf("no credential: %v", err)
	}
}

func TestKeyringEveryFlipAndPrefix(t *testing.T) {
	object, _, r := testKeyring(t)
	krk := r.KRK()
	refused := []error{ErrKeyringTampered, ErrKDFLimits, ErrLimit, ErrUnsupported, ErrFormatDowngrade}
	check := func(bad []byte, what string) {
		t.Helper()
		_, err := OpenKeyring(bad, krk)
		for _, want := range refused {
			if errors.Is(err, want) {
				return
			}
		}
		t.Errorf("%s: %v", what, err)
	}
	for i := range object {
		for bit := range 8 {
			bad := bytes.Clone(object)
			bad[i] ^= 1 << bit
			check(bad, fmt.Sprintf("byte %d bit %d flipped", i, bit))
		}
		check(object[:i], fmt.Sprintf("%d bytes of it", i))
	}
	check(append(bytes.Clone(object), 0), "a byte longer")
	check(make([]byte, maxKeyring+1), "too long")
	if _, err := OpenKeyring(object, NewSecret(make([]byte, 32))); !errors.Is(err, ErrKeyringTampered) {
		t.Errorf("wrong KRK: %v", err)
	}
	if _, err := OpenKeyring(object, Secret{}); !errors.Is(err, ErrKeyringTampered) {
		t.Errorf("no KRK: %v", err)
	}
}

// reassemble makes a keyring object of the clear part and body of one with other slots.
func reassemble(t *testing.T, object []byte, slots ...*slot) []byte {
	p, err := parseKeyring(object)
	if err != nil {
		t.Fatal(err)
	}
	b := bytes.Clone(p.clear)
	binary.BigEndian.PutUint16(b[48:], uint16(len(slots)))
	for _, s := range slots {
		b = append(b, s.raw...)
	}
	return append(b, p.body...)
}

func slotsOf(t *testing.T, object []byte) []*slot {
	p, err := parseKeyring(object)
	if err != nil {
		t.Fatal(err)
	}
	return p.slots
}

func TestSlotSurgery(t *testing.T) {
	object, _, r := testKeyring(t)
	object2, r2, err := r.Repass(phrase("another"), DefaultKDF)
	if err != nil {
		t.Fatal(err)
	}
	alien, _, _ := testKeyring(t)
	was, is, other := slotsOf(t, object), slotsOf(t, object2), slotsOf(t, alien)

	edited := func(s *slot, at int) *slot {
		e := *s
		e.raw = bytes.Clone(s.raw)
		e.raw[at] ^= 1
		return &e
	}
	if !bytes.Equal(reassemble(t, object2, is...), object2) {
		t.Fatal("reassembling is broken")
	}
	generation1 := bytes.Clone(object2)
	binary.BigEndian.PutUint64(generation1[40:], 1)
	p1, _ := parseKeyring(object)
	for what, bad := range map[string][]byte{
		"removed":                   reassemble(t, object2, is[0]),
		"all removed":               reassemble(t, object2),
		"added":                     reassemble(t, object2, is[0], is[1], was[0]),
		"doubled":                   reassemble(t, object2, is[0], is[0], is[1]),
		"reordered":                 reassemble(t, object2, is[1], is[0]),
		"replayed":                  reassemble(t, object2, was[0], is[1]),
		"of another vault":          reassemble(t, object2, other[0], is[1]),
		"id edited":                 reassemble(t, object2, edited(is[0], 4), is[1]),
		"salt edited":               reassemble(t, object2, edited(is[0], 2+18), is[1]),
		"label edited":              reassemble(t, object2, edited(is[0], 2+slotHeaderLen), is[1]),
		"commitment edited":         reassemble(t, object2, edited(is[0], len(is[0].raw)-slotTrailerLen), is[1]),
		"ciphertext edited":         reassemble(t, object2, edited(is[0], len(is[0].raw)-1), is[1]),
		"generation edited":         generation1,
		"of before with new body":   append(bytes.Clone(object[:len(object)-len(p1.body)]), object2[len(object2)-len(p1.body):]...),
		"of after with former body": append(bytes.Clone(object2[:len(object2)-len(p1.body)]), object[len(object)-len(p1.body):]...),
	} {
		if _, err := OpenKeyring(bad, r2.KRK()); !errors.Is(err, ErrKeyringTampered) {
			t.Errorf("slot %s: %v", what, err)
		}
	}

	// A slot of another vault, even with the same passphrase, does not even open.
	if _, err := Unlock(reassemble(t, object2, other[0]), Credential{Passphrase: phrase(testPhrase)}); !errors.Is(err, ErrUnlock) {
		t.Errorf("slot of another vault: %v", err)
	}
	// A replayed slot opens, to a keyring that does not.
	krk, err := Unlock(reassemble(t, object2, was[0], is[1]), Credential{Passphrase: phrase(testPhrase)})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := OpenKeyring(reassemble(t, object2, was[0], is[1]), krk); !errors.Is(err, ErrKeyringTampered) {
		t.Errorf("replayed slot: %v", err)
	}
}

// TestCommitmentBeforeCiphertext crafts a slot whose ciphertext is right, as one that opens
// under several passphrases would be, and whose commitment is not.
func TestCommitmentBeforeCiphertext(t *testing.T) {
	object, _, _ := testKeyring(t)
	s := slotsOf(t, object)[0]
	cred := Credential{Passphrase: phrase(testPhrase)}
	if _, err := s.unwrap(cred, VaultID(object[8:40])); err != nil {
		t.Fatal(err)
	}
	s.commitment()[31] ^= 1
	if _, err := s.unwrap(cred, VaultID(object[8:40])); !errors.Is(err, ErrUnlock) {
		t.Errorf("wrong commitment: %v", err)
	}
	s.commitment()[31] ^= 1
	s.sealedKRK()[0] ^= 1
	if _, err := s.unwrap(cred, VaultID(object[8:40])); !errors.Is(err, ErrUnlock) {
		t.Errorf("wrong ciphertext: %v", err)
	}
}

// hkdfOf is HKDF-SHA-256 by its definition, beside the one in use.
func hkdfOf(salt, ikm, info []byte, n int) (okm []byte) {
	sum := func(key []byte, data ...[]byte) []byte {
		m := hmac.New(sha256.New, key)
		for _, d := range data {
			m.Write(d)
		}
		return m.Sum(nil)
	}
	prk := sum(salt, ikm)
	var block []byte
	for i := byte(1); len(okm) < n; i++ {
		block = sum(prk, block, info, []byte{i})
		okm = append(okm, block...)
	}
	return okm[:n]
}

// TestSlotFormat reads the slots of a keyring, and the header of its body, as the vault
// format describes them, byte by byte and without the code under test.
func TestSlotFormat(t *testing.T) {
	plain, recovery, r := testKeyring(t)
	sk := NewVaultSecret()
	withSecret, _, err := r.RepassWithSecret(phrase(testPhrase), sk, DefaultKDF)
	if err != nil {
		t.Fatal(err)
	}
	vid, krk := r.Vault(), r.KRK().Bytes()
	for _, object := range [][]byte{plain, withSecret} {
		if string(object[:8]) != "MGK1\x00\x01\x00\x01" || !bytes.Equal(object[8:40], vid[:]) || binary.BigEndian.Uint16(object[48:]) != 2 {
			t.Fatalf("clear part %x", object[:50])
		}
		generation, rest := object[40:48], object[50:]
		for range 2 {
			n := int(binary.BigEndian.Uint16(rest))
			slot := rest[2 : 2+n]
			rest = rest[2+n:]
			hdr, commitment, sealed := slot[:n-80], slot[n-80:n-48], slot[n-48:]
			var ikm []byte
			switch hdr[0] {
			case 1, 3:
				if hdr[1] != 1 || !bytes.Equal(hdr[50:61], []byte{0, 0, 0, 3, 0, 4, 0, 0, 4, 0, 6}) || string(hdr[61:]) != "laptop" {
					t.Fatalf("slot header %x", hdr)
				}
				if ikm, err = DefaultKDF.derive(phrase(testPhrase), hdr[18:50]); err != nil || len(ikm) != 64 {
					t.Fatal(len(ikm), err)
				}
				if hdr[0] == 3 {
					ikm = append(ikm, sk.Bytes()...)
				}
			case 2:
				if hdr[1] != 2 || !bytes.Equal(hdr[50:59], make([]byte, 9)) {
					t.Fatalf("slot header %x", hdr)
				}
				ikm = recovery.Bytes()
			default:
				t.Fatalf("slot type %d", hdr[0])
			}
			salt := append(append([]byte("megafs-vault/1 slot\x00"), vid[:]...), hdr[0])
			hash := sha256.Sum256(hdr)
			okm := hkdfOf(salt, ikm, append([]byte("megafs-vault/1 slot-wrap\x00"), hash[:]...), 76)
			if !bytes.Equal(okm[32:64], commitment) {
				t.Errorf("slot type %d has another commitment", hdr[0])
			}
			got, err := newGCM(okm[:32]).Open(nil, okm[64:], sealed, append(bytes.Clone(hdr), vid[:]...))
			if err != nil || !bytes.Equal(got, krk) {
				t.Errorf("slot type %d: %v", hdr[0], err)
			}
		}
		if string(rest[:6]) != "MGV1\x01\x01" || !bytes.Equal(rest[8:12], make([]byte, 4)) {
			t.Fatalf("body header %x", rest[:16])
		}
		class := hkdfOf(append([]byte("megafs-vault/1 krk\x00"), vid[:]...), krk, []byte("megafs-vault/1 class\x00\x01\x00\x00\x00\x00"), 32)
		// Expanding from class: a PRK already, so only the second half of HKDF.
		okm := expand(class, 76, []byte("megafs-vault/1 object\x00"), rest[:48], generation)
		if !bytes.Equal(okm[32:64], rest[48:80]) {
			t.Error("keyring body has another commitment")
		}
	}
}

// TestKeyringOwnsItsKey checks that the KRK given to OpenKeyring stays its caller's.
func TestKeyringOwnsItsKey(t *testing.T) {
	object, _, r := testKeyring(t)
	krk := r.KRK()
	opened, err := OpenKeyring(object, krk)
	if err != nil {
		t.Fatal(err)
	}
	krk.Wipe()
	opened.KRK().Wipe()
	if !opened.KRK().Equal(r.KRK()) || opened.KRK().Len() != keySize {
		t.Error("wiping a copy of the KRK wiped the keyring's")
	}
}

// TestKeyringOfAnEpoch seals a body with the right key under an epoch, which no writer does.
func TestKeyringOfAnEpoch(t *testing.T) {
	object, _, r := testKeyring(t)
	p, err := parseKeyring(object)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range []uint32{0, 1} {
		sealed, _ := krkKeys(r.vault, r.krk).seal(ClassKeyring, e, u64(1), r.encodeBody(sha256.Sum256(p.clear)))
		made := append(bytes.Clone(object[:len(object)-len(p.body)]), sealed...)
		if _, err := OpenKeyring(made, r.KRK()); (err == nil) != (e == 0) || err != nil && !errors.Is(err, ErrKeyringTampered) {
			t.Errorf("epoch %d: %v", e, err)
		}
	}
}

func TestFreshSaltForEachWrapping(t *testing.T) {
	object, _, r := testKeyring(t)
	object2, _, err := r.Repass(phrase(testPhrase), DefaultKDF)
	if err != nil {
		t.Fatal(err)
	}
	a, b := slotsOf(t, object)[0], slotsOf(t, object2)[0]
	if a.Type == b.Type && (a.salt == b.salt || a.ID == b.ID || bytes.Equal(a.sealedKRK(), b.sealedKRK())) {
		t.Error("a wrapping key was used again")
	}
}

func TestKDFLimits(t *testing.T) {
	object, recovery, r := testKeyring(t)
	index := 0
	for i, s := range r.Slots() {
		if s.Type == SlotPassphrase {
			index = i
		}
	}
	good := slotsOf(t, object)
	for _, v := range []struct {
		kdf KDF
		ok  bool
	}{
		{DefaultKDF, true},
		{HighKDF, true},
		{KDF{3, 64 << 10, 1}, true},
		{KDF{16, 4 << 20, 16}, true},
		{KDF{}, false},
		{KDF{3, 8, 1}, false},
		{KDF{3, 64<<10 - 1, 4}, false},
		{KDF{2, 64 << 10, 4}, false},
		{KDF{2, 2<<20 - 1, 4}, false},
		{KDF{0, 2 << 20, 4}, false},
		{KDF{3, 256 << 10, 0}, false},
		{KDF{3, 256 << 10, 17}, false},
		{KDF{3, 256 << 10, 255}, false},
		{KDF{17, 256 << 10, 4}, false},
		{KDF{1 << 31, 256 << 10, 4}, false},
		{KDF{3, 4<<20 + 1, 4}, false},
		{KDF{3, 1<<32 - 1, 4}, false},
	} {
		_, _, err := r.Repass(phrase("x"), v.kdf)
		if v.ok != (err == nil) || !v.ok && !errors.Is(err, ErrKDFLimits) {
			t.Errorf("writing %+v: %v", v.kdf, err)
		}
		// The same cost written into the slot by the store.
		bad := *good[index]
		bad.raw = bytes.Clone(bad.raw)
		copy(bad.raw[2+50:], v.kdf.append(nil))
		slots := append([]*slot(nil), good...)
		slots[index] = &bad
		forged := reassemble(t, object, slots...)
		want := ErrKDFLimits
		if v.ok {
			want = ErrUnlock
		}
		if bytes.Equal(forged, object) {
			continue
		}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, err = Unlock(forged, Credential{Passphrase: phrase(testPhrase)})
		runtime.ReadMemStats(&after)
		if !errors.Is(err, want) {
			t.Errorf("reading %+v: %v", v.kdf, err)
		}
		if n := after.TotalAlloc - before.TotalAlloc; n > 4<<20 {
			t.Errorf("reading %+v allocated %d bytes", v.kdf, n)
		}
		if !v.ok {
			if _, err := Unlock(forged, Credential{Recovery: recovery}); !errors.Is(err, ErrKDFLimits) {
				t.Errorf("with recovery key, reading %+v: %v", v.kdf, err)
			}
		}
	}
}

func TestKDFMemory(t *testing.T) {
	defer func(f func() uint64) { memory = f }(memory)
	memory = func() uint64 { return 500 << 20 }
	if _, err := DefaultKDF.derive(phrase("x"), make([]byte, 32)); !errors.Is(err, ErrKDFLimits) {
		t.Errorf("256 of 500 MiB available: %v", err)
	}
	if got := availableMemory(); runtime.GOOS == "linux" && (got < 1<<20 || got > 1<<50) {
		t.Errorf("available memory: %d", got)
	}
}

// TestKDFFullCost is the one test that pays for Argon2id; others may not.
func TestKDFFullCost(t *testing.T) {
	if testing.Short() {
		t.Skip("takes CPU seconds and 256 MiB")
	}
	object, _, r, err := CreateKeyring(phrase(testPhrase), "laptop", DefaultKDF)
	if err != nil {
		t.Fatal(err)
	}
	if got := mustUnlock(t, object, Credential{Passphrase: phrase(testPhrase)}); !got.KRK().Equal(r.KRK()) {
		t.Error("another KRK")
	}
	CheapKDFForTests(t)
	if _, err := Unlock(object, Credential{Passphrase: phrase(testPhrase)}); !errors.Is(err, ErrUnlock) {
		t.Errorf("cheap and full derivation agree: %v", err)
	}
}

func TestP4_V49VersionsAndFeatures(t *testing.T) {
	object, _, r := testKeyring(t)
	for _, v := range []struct {
		at, value int
		want      error
	}{{4, 2, ErrUnsupported}, {4, 0xffff, ErrUnsupported}, {4, 0, ErrFormatDowngrade}, {6, 2, ErrUnsupported}, {6, 0, ErrFormatDowngrade}} {
		bad := bytes.Clone(object)
		binary.BigEndian.PutUint16(bad[v.at:], uint16(v.value))
		if _, err := OpenKeyring(bad, r.KRK()); !errors.Is(err, v.want) {
			t.Errorf("version field %d = %d: %v", v.at, v.value, err)
		}
	}
	flood := bytes.Clone(object)
	binary.BigEndian.PutUint16(flood[48:], maxSlots+1)
	if _, err := Unlock(flood, Credential{}); !errors.Is(err, ErrLimit) {
		t.Errorf("nine slots: %v", err)
	}
	if _, err := Unlock(make([]byte, 1<<20), Credential{}); !errors.Is(err, ErrLimit) {
		t.Errorf("1 MiB keyring: %v", err)
	}

	written := func(f Features) (*Keyring, error) {
		d, err := r.draft()
		if err != nil {
			return nil, err
		}
		d.features = f
		_, next, err := d.finish()
		return next, err
	}
	if _, err := written(Features{Incompatible: 1 << 9}); !errors.Is(err, ErrUnsupported) {
		t.Errorf("unknown incompatible feature: %v", err)
	}
	if next, err := written(Features{Compatible: 1}); err != nil || next.ReadOnly() {
		t.Errorf("unknown compatible feature: %v", err)
	}
	next, err := written(Features{ReadOnly: 1})
	if err != nil || !next.ReadOnly() {
		t.Fatalf("unknown read-only feature: %v", err)
	}
	if _, _, err := next.Repass(phrase("x"), DefaultKDF); !errors.Is(err, ErrUnsupported) {
		t.Errorf("changing a keyring with unknown features: %v", err)
	}
	seen := Features{1, 2, 4}.Union(Features{Compatible: 8})
	if err := (Features{9, 3, 4}).CheckSince(seen); err != nil {
		t.Error(err)
	}
	for _, f := range []Features{{8, 2, 4}, {9, 0, 4}, {9, 2, 0}, {}} {
		if err := f.CheckSince(seen); !errors.Is(err, ErrFormatDowngrade) {
			t.Errorf("%v after %v: %v", f, seen, err)
		}
	}
}

// TestBodyIsStrict seals bodies that a key holder could write but never does.
func TestBodyIsStrict(t *testing.T) {
	_, _, r := testKeyring(t)
	p := parsedKeyring{vault: r.vault, generation: 1, slots: r.slots}
	p.clear = []byte("clear")
	body := r.encodeBody(sha256.Sum256(p.clear))
	if err := new(Keyring).decodeBody(body, p); err != nil {
		t.Fatal(err)
	}
	for i := range body {
		if new(Keyring).decodeBody(body[:i], p) == nil {
			t.Errorf("%d bytes of the body were enough", i)
		}
	}
	if new(Keyring).decodeBody(append(bytes.Clone(body), 0), p) == nil {
		t.Error("trailing byte accepted")
	}
	const current, count, firstSeq = 2 + 32 + 8 + 32 + 32 + 8 + 1 + 24, 4, 2 + 4 + 32
	for what, at := range map[string]int{
		"version": 1, "vault": 2, "generation": 41, "clear hash": 42, "previous": 74, "suite": 114, "incompatible": 138,
		"current epoch": current + 3, "epoch count": current + count + 1, "epoch number": current + count + 2 + 3,
		"slot count": current + count + firstSeq + 8, "slot hash": current + count + firstSeq + 8 + 1, "writer flag": len(body) - 17,
	} {
		bad := bytes.Clone(body)
		bad[at] ^= 2
		if new(Keyring).decodeBody(bad, p) == nil {
			t.Errorf("%s changed and accepted", what)
		}
	}
	r.epochs = append(r.epochs, epoch{randomSecret(32), 10}, epoch{randomSecret(32), 9})
	if new(Keyring).decodeBody(r.encodeBody(sha256.Sum256(p.clear)), p) == nil {
		t.Error("epochs that run backwards accepted")
	}
}

func TestManyEpochs(t *testing.T) {
	_, _, r := testKeyring(t)
	for len(r.epochs) < maxEpochs {
		r.epochs = append(r.epochs, epoch{r.epochs[0].vmk, 1})
	}
	object, full, err := r.finish()
	if err != nil || full.Keys().Epoch() != maxEpochs || len(object) > maxKeyring {
		t.Fatalf("%d bytes, %v", len(object), err)
	}
	if _, _, _, err := full.Rekey(phrase("x"), Secret{}, DefaultKDF, 1); !errors.Is(err, ErrLimit) {
		t.Errorf("one epoch too many: %v", err)
	}
}

func TestReadKeyringHeader(t *testing.T) {
	object, _, r := testKeyring(t)
	h, err := ReadKeyringHeader(object)
	if err != nil || h.Vault != r.Vault() || h.Generation != 1 || len(h.Slots) != 2 {
		t.Errorf("%+v, %v", h, err)
	}
	if _, err := ReadKeyringHeader(object[:60]); !errors.Is(err, ErrKeyringTampered) {
		t.Errorf("cut off: %v", err)
	}
}
