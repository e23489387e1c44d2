package crypto

import (
	"bytes"
	"io"
	"slices"
	"testing"
)

// FuzzKeyring: whatever the store serves as a keyring, only what was written opens.
func FuzzKeyring(f *testing.F) {
	object, _, r := testKeyring(f)
	object2, _, err := r.Repass(phrase("another"), DefaultKDF)
	if err != nil {
		f.Fatal(err)
	}
	krk := r.KRK()
	f.Add([]byte(nil))
	f.Add([]byte(keyringMagic))
	f.Add(object)
	f.Add(object2)
	f.Add(object[:keyringClear])
	f.Add(append(bytes.Clone(object2[:keyringClear]), object[keyringClear:]...))
	f.Fuzz(func(t *testing.T, data []byte) {
		ReadKeyringHeader(data)
		Unlock(data, Credential{Passphrase: phrase(testPhrase)})
		if _, err := OpenKeyring(data, krk); err == nil && !bytes.Equal(data, object) && !bytes.Equal(data, object2) {
			t.Error("a keyring that was not written opened")
		}
		serveUnlock(bytes.NewReader(data), io.Discard)
	})
}

// FuzzObject: whatever the store serves as an object, only what was sealed opens.
func FuzzObject(f *testing.F) {
	k := testKeys(2)
	// The ids are fixed, so that all fuzzing processes mean the same objects. Seal draws others.
	e, err := k.epoch(2)
	if err != nil {
		f.Fatal(err)
	}
	sealAs := func(id ID, c Class, ctx, plain []byte) []byte { return e.object(c).sealAs(id, c, 2, ctx, plain) }
	sealed := [][]byte{
		sealAs(ID{1}, ClassLog, u64(1), pattern(700)),
		sealAs(ID{2}, ClassContent, u64(1), pattern(20000)),
		sealAs(ID{3}, ClassSnapshotPart, u64(1), pattern(ChunkSize+1)),
	}
	id := ID{4}
	chunk := sealAs(id, ClassContent, nil, pattern(20000))[HeaderLen:][:SealedChunk]
	f.Add(chunk)
	for _, o := range sealed {
		f.Add(o)
		f.Add(o[:HeaderLen])
		f.Add(append(bytes.Clone(o), o...))
	}
	f.Add([]byte(nil))
	f.Fuzz(func(t *testing.T, data []byte) {
		k.EpochOf(data)
		for _, c := range []Class{ClassLog, ClassContent, ClassSnapshotPart, ClassKeyring} {
			plain, _, err := k.Open(c, u64(1), data)
			if (err == nil) != (plain != nil) {
				t.Errorf("%d bytes and %v", len(plain), err)
			}
			known := slices.ContainsFunc(sealed, func(o []byte) bool { return bytes.Equal(o, data) })
			if err == nil && !known {
				t.Error("an object that was not sealed opened")
			}
		}
		dst := make([]byte, ChunkSize)
		if k.OpenChunk(id, 2, 2, 0, data, dst) == nil && !bytes.Equal(data, chunk) {
			t.Error("a chunk that was not sealed opened")
		}
	})
}

// FuzzRecovery: what is taken for a recovery key is one, and is written in one way only.
func FuzzRecovery(f *testing.F) {
	f.Add("")
	f.Add(FormatRecovery(NewSecret(sequence(0, 32))))
	f.Add(FormatRecovery(NewSecret(make([]byte, 32))))
	f.Add("aaaq eaye auda ocaj")
	f.Fuzz(func(t *testing.T, s string) {
		key, err := ParseRecovery(s)
		if err != nil {
			return
		}
		if again, err := ParseRecovery(FormatRecovery(key)); err != nil || !again.Equal(key) {
			t.Errorf("%q is no key after all: %v", s, err)
		}
		Strength(phrase(s))
	})
}
