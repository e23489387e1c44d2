package megacrypt

import (
	"bytes"
	"crypto/cipher"
	"fmt"
	"reflect"
	"testing"
	"unicode/utf8"
)

func sealRaw(k Key, b []byte) string {
	out := make([]byte, len(b))
	cipher.NewCBCEncrypter(k.block(), make([]byte, 16)).CryptBlocks(out, b)
	return Encode(out)
}

func openRaw(k Key, s string) []byte {
	b, _ := Decode(s, 1<<20)
	cipher.NewCBCDecrypter(k.block(), make([]byte, 16)).CryptBlocks(b, b)
	return b
}

func FuzzDecode(f *testing.F) {
	f.Add("YWJj-_+/=,")
	f.Fuzz(func(t *testing.T, s string) {
		b, err := Decode(s, 64)
		if err != nil {
			return
		}
		if back, err := Decode(Encode(b), 64); err != nil || !bytes.Equal(b, back) || len(b) > 64 {
			t.Fatal(b, back, err)
		}
	})
}

func FuzzAttributes(f *testing.F) {
	f.Add([]byte(`{"n":"a\u00e4","c":"x","l":[1,{"a":"b"}]}`))
	f.Add([]byte(`{"n":true,"":null}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		a, err := parseAttributes(b)
		if err != nil {
			return
		}
		s, err := a.Encode(master)
		if err != nil {
			return // too long
		}
		if back, err := DecodeAttributes(master, s); err != nil || !reflect.DeepEqual(a, back) {
			t.Fatalf("%q %q %v", a, back, err)
		}
	})
}

// FuzzPlainAttributes holds the quick way to read attributes against encoding/json's.
func FuzzPlainAttributes(f *testing.F) {
	for _, s := range []string{
		`{"n":"a","c":"b"}`, `{"n":"a","n":"b"}`, `{"n":null,"n":"b"}`, `{}`, `{"":""}`, `{"n":"a",}`, `{"n":"a"},`, `{,"n":"a"}`, `{"n" :"a"}`, `{"n":"a"} `, `{"n":1}`,
		`{"n":"a\"b"}`, `{"n":"a\\"}`, "{\"n\":\"\x7f\x80\"}", "{\"n\":\"\u2028ä\"}", "{\"n\":\"\t\"}", `{"n":"a"`, `{"n":"a`, `{"n"}`, `{"n":}`, `["n"]`, `{"N":"a","n":"b"}`, `{"n":"}"}`, `{"n":"{{{{{{{{{"}`,
	} {
		f.Add([]byte(s))
	}
	if _, ok := plainAttributes([]byte(`{"n":"a name","c":"b"}`)); !ok {
		f.Error("what all clients write is not read quickly")
	}
	many := []byte{'{'}
	for i := range maxAttributeCount + 1 {
		f.Add(append(bytes.Clone(many[:len(many)-min(i, 1)]), '}'))
		many = fmt.Appendf(many, `"%d":"x",`, i)
	}
	f.Add(append(many[:len(many)-1], '}'))
	f.Fuzz(func(t *testing.T, b []byte) {
		if !utf8.Valid(b) {
			return
		}
		a, ok := plainAttributes(b)
		if !ok {
			return
		}
		if want, err := anyAttributes(b); err != nil || !reflect.DeepEqual(a, want) {
			t.Fatalf("%q: %q, not %q %v", b, a, want, err)
		}
	})
}

func FuzzSealedAttributes(f *testing.F) {
	f.Add("pmeOzjUEf32oPlrlVazuLHcL6vqZsNiyOqxC9Vvu_1Y")
	f.Fuzz(func(t *testing.T, s string) { DecodeAttributes(master, s) })
}

func FuzzPrivateKey(f *testing.F) {
	mk, _ := DecodeExact("x0KJv7hGYhov_Xh5kbyY9g", 16)
	b, _ := Decode(data(f, "v1.privk"), MaxPrivateKey)
	b, _ = Key(mk).Unwrap(b)
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		b = b[:len(b)&^15]
		k, err := OpenPrivateKey(master, Encode(master.Wrap(b)))
		if err != nil && err != ErrLogin || err == nil && k == nil {
			t.Fatal(err)
		}
		ParsePublicKey(Encode(b))
	})
}

func FuzzSession(f *testing.F) {
	mk, _ := DecodeExact("x0KJv7hGYhov_Xh5kbyY9g", 16)
	k, err := OpenPrivateKey(Key(mk), data(f, "v1.privk"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data(f, "v1.csid"))
	f.Fuzz(func(t *testing.T, s string) {
		if sid, err := k.OpenSession(s, "5z_NX5Ahgz4"); err == nil && !Owns(sid, "5z_NX5Ahgz4") {
			t.Fatal("not ours")
		}
	})
}

func FuzzKeySet(f *testing.F) {
	f.Add([]byte("\x01\x00\x00\x01\x01\x30\x00\x00\x17abcdef0123456789abcdef\x03"))
	f.Fuzz(func(t *testing.T, b []byte) { parseKeySet(b) })
}

func FuzzLink(f *testing.F) {
	f.Add("https://mega.nz/folder/abcdefgh#" + Encode(pattern(16)) + "/file/ijklmnop")
	f.Add("https://mega.nz/#!abcdefgh!" + Encode(pattern(32)))
	f.Fuzz(func(t *testing.T, s string) {
		l, err := ParseLink(s)
		if err != nil {
			return
		}
		if back, err := ParseLink(l.String()); err != nil || back.Handle != l.Handle || !bytes.Equal(back.Key, l.Key) || back.Below != l.Below {
			t.Fatal(l, back, err)
		}
	})
}

func FuzzHashcash(f *testing.F) {
	f.Add("1:192:1731410499:RUvIePV2PNO8ofg8xp1aT5ugBcKSEzwKoLBw9o4E6F_fmn44eC3oMpv388UtFl2K")
	f.Fuzz(func(t *testing.T, s string) {
		h, err := ParseHashcash(s)
		if err != nil {
			return
		}
		if back, err := ParseHashcash(h.String()); err != nil || back != h {
			t.Fatal(h, back, err)
		}
	})
}

func FuzzFingerprint(f *testing.F) {
	f.Add("k_L_86rBWrWg02h2xiaQfgQA8VNl")
	f.Fuzz(func(t *testing.T, s string) {
		p, err := DecodeFingerprint(s)
		if err != nil {
			return
		}
		if back, err := DecodeFingerprint(p.Encode()); err != nil || back != p {
			t.Fatal(p, back, err)
		}
	})
}
