package crypto

import (
	"bytes"
	"crypto/aes"
	"encoding/binary"
	"errors"
	"testing"
)

// gf is an element of GCM's field: its bits in the order in which a block has them, the first one in the top bit of hi.
type gf struct{ hi, lo uint64 }

func gfOf(b []byte) gf {
	var p [16]byte
	copy(p[:], b)
	return gf{binary.BigEndian.Uint64(p[:]), binary.BigEndian.Uint64(p[8:])}
}

func (a gf) bytes() []byte {
	return binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(nil, a.hi), a.lo)
}

func (a gf) plus(b gf) gf { return gf{a.hi ^ b.hi, a.lo ^ b.lo} }

func (a gf) times(b gf) (z gf) {
	for i := range 128 {
		if i < 64 && a.hi>>(63-i)&1 == 1 || i >= 64 && a.lo>>(127-i)&1 == 1 {
			z = z.plus(b)
		}
		carry := b.lo & 1
		b.lo = b.lo>>1 | b.hi<<63
		b.hi >>= 1
		if carry == 1 {
			b.hi ^= 0xe1 << 56
		}
	}
	return z
}

// inverse is a to the power of 2^128 - 2.
func (a gf) inverse() gf {
	z := gf{hi: 1 << 63}
	for range 127 {
		a = a.times(a)
		z = z.times(a)
	}
	return z
}

// gcmKey is GCM laid open: what tags are made of.
type gcmKey struct{ h, mask gf }

func openGCM(t *testing.T, w wrapping) gcmKey {
	t.Helper()
	c, err := aes.NewCipher(w.key)
	if err != nil {
		t.Fatal(err)
	}
	var h, mask [16]byte
	c.Encrypt(h[:], h[:])
	c.Encrypt(mask[:], append(bytes.Clone(w.nonce), 0, 0, 0, 1))
	return gcmKey{gfOf(h[:]), gfOf(mask[:])}
}

func (k gcmKey) tag(aad, ciphertext []byte) gf {
	var y gf
	for _, part := range [][]byte{aad, ciphertext} {
		for len(part) > 0 {
			n := min(16, len(part))
			y = y.plus(gfOf(part[:n])).times(k.h)
			part = part[n:]
		}
	}
	y = y.plus(gf{uint64(len(aad)) * 8, uint64(len(ciphertext)) * 8}).times(k.h)
	return y.plus(k.mask)
}

// TestP4_V48PartitioningSlot crafts a slot whose ciphertext opens under two chosen passphrases: GCM lets that be done by solving one linear
// equation. A store could halve its guesses with every such slot that somebody tries. The commitment can be right for one of them at the most, and the
// keyring's body has no such slot.
func TestP4_V48PartitioningSlot(t *testing.T) {
	object, _, r := testKeyring(t)
	vault := r.Vault()
	slots := slotsOf(t, object)
	at := 0
	for i, s := range slots {
		if s.Type == SlotPassphrase {
			at = i
		}
	}
	guesses := []Credential{{Passphrase: phrase("first guess of the store")}, {Passphrase: phrase("and its second one")}}
	crafted := *slots[at]
	crafted.raw = bytes.Clone(crafted.raw)
	var w [2]wrapping
	var k [2]gcmKey
	for i, g := range guesses {
		var err error
		if w[i], err = crafted.wrapping(g, vault); err != nil {
			t.Fatal(err)
		}
		k[i] = openGCM(t, w[i])
	}
	// The first block of the ciphertext counts times h^3 in either tag, so one value of it makes the two tags equal.
	ciphertext := make([]byte, keySize)
	copy(ciphertext[16:], "whatever is here")
	aad := crafted.aad(vault)
	difference := k[0].tag(aad, ciphertext).plus(k[1].tag(aad, ciphertext))
	cubes := k[0].h.times(k[0].h).times(k[0].h).plus(k[1].h.times(k[1].h).times(k[1].h))
	copy(ciphertext, difference.times(cubes.inverse()).bytes())
	sealed := append(bytes.Clone(ciphertext), k[0].tag(aad, ciphertext).bytes()...)
	for i := range guesses {
		if _, err := newGCM(w[i].key).Open(nil, w[i].nonce, sealed, aad); err != nil {
			t.Fatal("crafted wrongly: the cipher alone does not open it:", err)
		}
	}
	copy(crafted.sealedKRK(), sealed)
	keyring := func() []byte {
		other := append([]*slot(nil), slots...)
		other[at] = &crafted
		return reassemble(t, object, other...)
	}
	opens := func() (n int) {
		for _, g := range append(guesses, Credential{Passphrase: phrase(testPhrase)}) {
			krk, err := Unlock(keyring(), g)
			if err != nil && !errors.Is(err, ErrUnlock) {
				t.Error(err)
			}
			if err != nil {
				continue
			}
			n++
			if _, err := OpenKeyring(keyring(), krk); !errors.Is(err, ErrKeyringTampered) {
				t.Error("a crafted slot opens the vault:", err)
			}
		}
		return n
	}
	if n := opens(); n != 0 {
		t.Errorf("with the true slot's commitment %d guesses open it", n)
	}
	clear(crafted.commitment())
	if n := opens(); n != 0 {
		t.Errorf("with no commitment %d guesses open it", n)
	}
	for i := range w {
		copy(crafted.commitment(), w[i].commitment)
		if n := opens(); n != 1 {
			t.Errorf("with the commitment of one guess %d open it", n)
		}
	}
}
