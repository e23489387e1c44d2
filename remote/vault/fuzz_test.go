package vault

import (
	"bytes"
	"encoding/binary"
	"testing"

	"megafs/crypto"
	"megafs/remote/wire"
)

// FuzzEntry decodes foreign bodies: what is taken is encoded to the same bytes again.
func FuzzEntry(f *testing.F) {
	var vid crypto.VaultID
	f.Add(make([]byte, 512))
	e := entry{seq: 1, parts: 1, typ: entryKeyring}
	b := make([]byte, 0, 512)
	b = append(b, 0, 1)
	b = append(b, vid[:]...)
	b = append(b, u64(1)...)
	b = append(b, make([]byte, 512-len(b))...)
	b[entryHead-2] = 1
	b[entryHead-1] = e.typ
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		e, err := decodeEntry(vid, 1, b)
		if err != nil {
			return
		}
		again := wire.AppendOps(nil, e.list)
		if _, rest := binary.Uvarint(again); len(e.list) != e.n || !bytes.Equal(again[rest:], e.ops) {
			t.Fatal("ops are not what they were read from")
		}
	})
}

// FuzzRoot decodes foreign snapshot roots.
func FuzzRoot(f *testing.F) {
	var vid crypto.VaultID
	r := root{at: link{Seq: 7}, parts: []partRef{{n: 3}}}
	f.Add(r.encode(vid))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := decodeRoot(vid, 7, b)
		if err == nil && !bytes.Equal(r.encode(vid), b) {
			t.Fatal("not the only encoding")
		}
	})
}

// FuzzTrust reads foreign trust files: without the key none is taken.
func FuzzTrust(f *testing.F) {
	f.Add([]byte(trustMagic))
	crypto.CheapKDFForTests(f)
	_, _, ring, err := crypto.CreateKeyring(crypto.NewSecret([]byte(passphrase)), "", crypto.DefaultKDF)
	if err != nil {
		f.Fatal(err)
	}
	k := ring.Keys()
	f.Fuzz(func(t *testing.T, b []byte) {
		if decodeTrust(b, k) != nil {
			t.Fatal("taken")
		}
	})
}
