package megacrypt

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"os"
	"strings"
	"testing"
)

// The vectors were made with other clients of MEGA's, and those of files with a program of its own besides.

var master = Key(unhex("000102030405060708090a0b0c0d0e0f"))

func unhex(s string) []byte {
	b, err := hex.DecodeString(s)
	if err != nil {
		panic(err)
	}
	return b
}

func same[T comparable](t *testing.T, what string, got, want T) {
	t.Helper()
	if got != want {
		t.Errorf("%s: got %v, want %v", what, got, want)
	}
}

// data reads a file of testdata.
func data(t testing.TB, name string) string {
	t.Helper()
	b, err := os.ReadFile("testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(b))
}

// pattern is content of n bytes.
func pattern(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i*7 + 3)
	}
	return b
}

func TestPasswordsV1(t *testing.T) {
	for _, x := range []struct{ password, email, key, hash string }{
		{"password", "user@example.com", "640339725e6ebd13a25f0052129f7cb1", "hcVR9BZsYoY"},
		{"correct horse battery staple", "user@example.com", "57d978ef82e99ea50ab00045e8614d7b", "sSgbS6ks0bE"},
		{"a", "a@b.c", "6dd9f7ecb24689c435a14f7c51da434d", "IDBZnIh5CFA"},
		{"0123456789abcdef", "first.last+tag@example.org", "0a58d8880e8fb043895cc14e7ff803bc", "UPtVYZ_n5F4"},
		{"pässwörd€", "user@example.com", "cb18177b8d54e2dfd7914db9ffd30e5c", "Ibva4ueYw_U"},
		{"correct horse battery", "V1@example.com", "", "QQXjH1P_DNQ"},
	} {
		k := PasswordKeyV1([]byte(x.password))
		if x.key != "" {
			same(t, x.password, hex.EncodeToString(k[:]), x.key)
		}
		same(t, x.password, HashV1(x.email, k), x.hash)
	}
	same(t, "legacy ASCII", string(LegacyPassword("plain")), "plain")
	same(t, "legacy", hex.EncodeToString(LegacyPassword("aä€")), hex.EncodeToString([]byte{'a', 0xe4 | 0x20, 0xac}))
}

func TestPasswordsV2(t *testing.T) {
	random, _ := Decode("AAECAwQFBgcICQoLDA0ODw", 16)
	salt := SaltV2([16]byte(random))
	same(t, "salt", Encode(salt[:]), "78aL8UQPsK1_mjn-B2cP2bcyDhDjN_s-Yoxbspe38nc")
	for _, x := range []struct{ password, dk, hash, kept string }{
		{"password", "f0189c9f2c8a157bf9e65501c060d0e7ed5ec2ef50dafb7b364f3002141cb668", "7V7C71Da-3s2TzACFBy2aA", "1YgjCaTwmZBtUQi4jRRnfQ"},
		{"correct horse battery staple", "96d0958e5723b376ddc725eaf64005491bf0a342015316e5ce02b5ad71f8437d", "G_CjQgFTFuXOArWtcfhDfQ", "IanHnmUAUvCknfVCfJgCuQ"},
		{"pässwörd€", "0880467ae773a2da6e6d3f01676ba2fe3a34320a42a29fd750db360747b594ef", "OjQyCkKin9dQ2zYHR7WU7w", "fo_1L051i_39xRuBXN-1NA"},
	} {
		key, auth, err := DeriveV2(x.password, salt[:])
		if err != nil {
			t.Fatal(err)
		}
		same(t, x.password, hex.EncodeToString(append(key[:], auth[:]...)), x.dk)
		same(t, x.password, Encode(auth[:]), x.hash)
		kept := HashedAuth(auth)
		same(t, x.password, Encode(kept[:]), x.kept)
		if !CheckAuth(x.hash, kept) || CheckAuth("AAAAAAAAAAAAAAAAAAAAAA", kept) || CheckAuth("x", kept) {
			t.Error("the server's check")
		}
	}
	for _, x := range []struct{ salt, hash, k, mk string }{
		{"DUIe4gabIxzZg16tQPC6awYVgr6TqyEPFOp4FtQmlPg", "aXnLGUUHywwhOb1rx2LfDw", "7Es7wrEYcLq5U61Qenueqw", "4ER80PqZh7qMvrvV9LatGw"},
		{"qtBIsbKIw1pCXgx0hKtLleqMzJ9B9JCxJxa1HmpiBH4", "rsgKsNqrBNN04Sf_NLDCqw", "BhSv5gfqpfZT77Y5AKnnuw", "uZ48EzrfHnbWHBSMp49q7g"},
	} {
		salt, err := DecodeExact(x.salt, 32)
		if err != nil {
			t.Fatal(err)
		}
		key, auth, err := DeriveV2("correct horse battery", salt)
		if err != nil {
			t.Fatal(err)
		}
		same(t, "hash", Encode(auth[:]), x.hash)
		mk, err := key.UnwrapKey(x.k)
		if err != nil {
			t.Fatal(err)
		}
		same(t, "master key", Encode(mk[:]), x.mk)
	}
}

func TestWrapping(t *testing.T) {
	folder, share := unhex("101112131415161718191a1b1c1d1e1f"), Key(unhex("202122232425262728292a2b2c2d2e2f"))
	same(t, "folder key", Encode(master.Wrap(folder)), "B_7vdOHVA26QDu4RjpSSkw")
	same(t, "share key", Encode(master.Wrap(share[:])), "W-h-LltEfJRLIcmvd1bA2A")
	same(t, "in the share", Encode(share.Wrap(folder)), "dxCYpreMtFwCnPHA3e4PGw")
	auth, err := HandleAuth(master, "JLac2mKw")
	if err != nil {
		t.Fatal(err)
	}
	same(t, "handle", auth, "rvhXlOwx8JV4Y3otem2Ipw")
	if CheckHandleAuth(master, "JLac2mKw", auth) != nil || CheckHandleAuth(master, "JLac2mKx", auth) == nil {
		t.Error("handle's check")
	}
	self := unhex("303132333435363738393a3b3c3d3e3f")
	same(t, "challenge", Encode(append(self, master.Wrap(self)...)), "MDEyMzQ1Njc4OTo7PD0-PwPyw73KgmvwgtfPsDXNuME")
	back, err := master.UnwrapKey("B_7vdOHVA26QDu4RjpSSkw")
	if err != nil || !bytes.Equal(back[:], folder) {
		t.Error("unwrapped", err)
	}
	if _, err := master.UnwrapKey("B_7vdOHVA26QDu4RjpSS"); !errors.Is(err, ErrFormat) {
		t.Error("short", err)
	}
	a, b := ParseFolderKey(make([]byte, 16))
	_, c := ParseFileKey(bytes.Repeat(folder, 2))
	if a != (Key{}) || !errors.Is(b, ErrWeak) || !errors.Is(c, ErrWeak) {
		t.Error("weak keys pass")
	}
	if a := A32([]byte{1, 2, 3, 4, 5}); len(a) != 2 || a[0] != 0x01020304 || a[1] != 0x05000000 {
		t.Error(a)
	}
}

func TestAttributeVectors(t *testing.T) {
	folder := Key(unhex("101112131415161718191a1b1c1d1e1f"))
	for _, x := range []struct {
		key        Key
		name, text string
	}{
		{folder, "Documents", "pmeOzjUEf32oPlrlVazuLHcL6vqZsNiyOqxC9Vvu_1Y"},
		{folder, "Übung — テスト.txt", "SXG5sXK_oWHxq4QGN3za92BJK9UfChTP-DZhaIQRXKosVVR11La6q0WWgHbVIryI"},
		{folder, "abc", "7i3aR-736Vj_6ITf30F0BA"},
		{folder, "abcd", "jFjht4afe2dERFND-GZOmg"},
		{master, "p300000.bin", "erU1IEuHsACnGFGp2hKaH-MiLOjLpNWKhABxnp7hQXU"},
		{master, "hello.txt", "PXKaKROX-3KfhCRae1zd6qp8ZOUIggiCiWGYp_LR_DE"},
		{master, "one.bin", "VTOAJnrdb8AcCouKThnWM2IEEVmFYoX6M6JWrnmcTbI"},
	} {
		got, err := Attributes{"n": x.name}.Encode(x.key)
		if err != nil {
			t.Fatal(err)
		}
		same(t, x.name, got, x.text)
		a, err := DecodeAttributes(x.key, x.text)
		if err != nil {
			t.Fatal(err)
		}
		same(t, x.name, a["n"], x.name)
	}
}

var fileVectors = []struct {
	name                           string
	size                           int
	plain, sealed, meta, end, wrap string
	sum                            string
}{
	{"empty", 0, "e3b0c44298fc1c14", "e3b0c44298fc1c14", "0000000000000000", "08090a0b0c0d0e0f", "bBAV9oS_UR4_WD3GZYbqTRdlsr-kBfVaDLdN79EsQb8", "AAAAAAAAAAAAAAAA"},
	{"p1", 1, "084fed08b978af4d", "83891d7fe85c33e5", "4453ad1674737590", "4c5aa71d787e7b9f", "OETlFfzlJnhfC0xeEJakGuqCWGRnotgSCSU0RCVp1pQ", "FAAAAAAAAAAAAAAA"},
	{"hello", 11, "0a1585327b615bc6", "f68061e27aded40c", "15f02c4aa5718bda", "1df92641a97c85d5", "ZTAhk9AevyluebvvEkB0b1LnXeKjObo5KbkAgg35kyY", "fwDe08slmD9r1kcA"},
	{"p16", 16, "9c94926dfb94433e", "ec32b0529320db65", "169adbc32e851ab7", "1e93d1c8228814b8", "WzimzovvGjZVFYls8bvjFDm_XoAqIQ_cHSi4eE3gL2Q", "kh2HdLsj2G439QS_"},
	{"p131071", 131071, "d468d48a35c9f8b1", "e91548adc2cd839b", "845a376d66841d5c", "8c533d666a891353", "HeLqQ8fnLwk_O79bFuNYMB2Q6R7JTH5iak1_zDoJduk", "hW2nz7wbqjiO9RYz"},
	{"p131072", 131072, "9da12ab2cd07bf79", "220fb32d4efe5bb6", "ef506f4037ea59a7", "e759654b3be757a8", "4vN81iLDZbfFrmAhMoMhYQgp5o5-vym36hswSf8ELj8", "hW2nz7wbqieO9RYz"},
	{"p131073", 131073, "21f757fbb73d9214", "ab29f4da32d6322e", "7d03803b25c4b32d", "750a8a3029c9bd22", "7zwiNwgAxYrwQvSkEwTmMHssD7dG_3-8r93rCojzwKg", "hW2nz7wbqifY9RYz"},
	{"p300000", 300000, "75bd90773c8246d5", "a45a119a39176365", "61e634e7c52f5255", "69ef3eecc9225c5a", "u5Pb7Hs5Mt8s7Wgkr2FbGGIbZAEAKulshi5yUgnE-KM", "Z3mW6Z1df5dL93_A"},
	{"p393216", 393216, "bfc384f5887c6522", "c5199c5883036d54", "fa5e6f1528c3739c", "f257651e24ce7d93", "TXvCNh-t1P1V2wobDh56HXnS1lrcXj8n-2uaBN9anDo", "9dBKHFFvYZxBUSlk"},
	{"p5000000", 5000000, "2d59c6ac7b59e15b", "2981475cd1662cb3", "27ad936b59db8802", "2fa4996055d6860d", "hmvo-ZcpYC2-S59aQgrgo4-USBRHSLBJKEsZqfNpY3Y", "ksCvqUmOEeAf7DG6"},
}

// content returns the plaintext of a file vector.
func content(name string, size int) []byte {
	if name == "hello" {
		return []byte("hello mega\n")
	}
	return pattern(size)
}

func head(b []byte) string { s := sha256.Sum256(b); return hex.EncodeToString(s[:8]) }

// macs returns the chunk MACs of content.
func macs(c *Cipher, plain []byte) (out []ChunkMAC) {
	for i := range Chunks(int64(len(plain))) {
		a, b := ChunkBorders(i, int64(len(plain)))
		out = append(out, c.ChunkMAC(plain[a:b]))
	}
	return out
}

func TestFileVectors(t *testing.T) {
	k := FileKey{Key: master, Nonce: [8]byte(unhex("f0f1f2f3f4f5f6f7"))}
	c := k.Cipher()
	chunk := map[string][]string{
		"p300000": {"e804591bfd4361a9fca94d86c20dc9cd", "7ad76b94dc19117942a43ded48824ff6"},
		"p5000000": {"e804591bfd4361a9fca94d86c20dc9cd", "7d5f0ee6348e2c1067e4e72363e750b3", "7fdf8cff72b60ee987f71045f2e2f4f1", "", "", "", "", "",
			"9307381f0ea60d1efc88419d9177ff33"},
		"p131073": {"", "693946a0e949122cf9a79c8e8f5bb96e"},
		"p1":      {"693946a0e949122cf9a79c8e8f5bb96e"},
		"hello":   {"ca981d21727d1c2b296a72a499210d3b"},
	}
	folds := map[string]string{"p300000": "9eae5806ff486ce1bc124495793d16c0", "p5000000": "d803dd4fffae4e245c690b3005b28332", "hello": "f88a6489ed7a48c38e89ff742bf874ae"}
	for _, x := range fileVectors {
		plain := content(x.name, x.size)
		same(t, x.name+" plain", head(plain), x.plain)
		sealed := make([]byte, len(plain))
		c.XOR(sealed, plain, 0)
		same(t, x.name+" sealed", head(sealed), x.sealed)
		same(t, x.name+" checksum", Checksum(sealed), x.sum)
		m := macs(c, plain)
		if want, ok := chunk[x.name]; ok {
			same(t, x.name+" chunks", len(m), len(want))
			for i, w := range want {
				if w != "" {
					same(t, x.name+" chunk", hex.EncodeToString(m[i][:]), w)
				}
			}
		}
		if w, ok := folds[x.name]; ok {
			f := c.fold(m)
			same(t, x.name+" all chunks", hex.EncodeToString(f[:]), w)
		}
		k.Meta = c.Meta(m)
		same(t, x.name+" meta", hex.EncodeToString(k.Meta[:]), x.meta)
		b := k.Pack()
		same(t, x.name+" packed", hex.EncodeToString(b[:24]), "f0f0f0f0f0f0f0f0"+x.end+"f0f1f2f3f4f5f6f7")
		same(t, x.name+" wrapped", Encode(master.Wrap(b)), x.wrap)
		back, err := ParseFileKey(b)
		if err != nil || back != k {
			t.Error(x.name, err)
		}
		if err := k.Verify(int64(x.size), m); err != nil {
			t.Error(x.name, err)
		}
		if x.size > 0 {
			m[len(m)-1][3]++
			if err := k.Verify(int64(x.size), m); !errors.Is(err, ErrMAC) {
				t.Error(x.name, "verifies with another MAC")
			}
		}
	}
	sealed := make([]byte, 11)
	c.XOR(sealed, []byte("hello mega\n"), 0)
	same(t, "hello", hex.EncodeToString(sealed), "7f00ded3cb25983f6bd647")
}

// TestDeviatingMACs reads what clients write that differ from the rest: for empty content, and for content that ends at a chunk's border.
func TestDeviatingMACs(t *testing.T) {
	for _, x := range []struct {
		name, wrap string
		size       int
	}{
		{"empty, go-mega", "sUM_dx4DW1XwstTX4NH6Gh1cARWfhYK8hXGd0DycN0A", 0},
		{"empty, megajs", "rQ-MwQ8m4GxI2oEnooTOd-7n8ufKoSbR4uJOcgzOmvo", 0},
		{"p131072, megajs", "x4ogrEyy-x4MkOJlIUa0GXqFJairPyBplWk1S94nYXQ", 131072},
	} {
		b, err := DecodeExact(x.wrap, 32)
		if err != nil {
			t.Fatal(err)
		}
		b, _ = master.Unwrap(b)
		k, err := ParseFileKey(b)
		if err != nil {
			t.Fatal(err)
		}
		m := macs(k.Cipher(), pattern(x.size))
		if err := k.Verify(int64(x.size), m); err != nil {
			t.Error(x.name, err)
		}
		// The same leniency is not there for other sizes.
		other := pattern(x.size + 1)
		if err := k.Verify(int64(len(other)), macs(k.Cipher(), other)); err == nil {
			t.Error(x.name, "other content verifies")
		}
	}
	// Content that is said to be empty but is not.
	for _, x := range fileVectors[1:] {
		b, _ := DecodeExact(x.wrap, 32)
		b, _ = master.Unwrap(b)
		k, _ := ParseFileKey(b)
		if k.Verify(0, nil) == nil {
			t.Error(x.name, "passes as empty")
		}
	}
}

func TestFingerprints(t *testing.T) {
	for _, x := range []struct {
		name   string
		size   int
		time   uint64
		sample string
		text   string
	}{
		{"empty", 0, 1700000000, "00000000000000000000000000000000", "AAAAAAAAAAAAAAAAAAAAAAQA8VNl"},
		{"hello", 11, 1700000000, "68656c6c6f206d6567610a0000000000", "aGVsbG8gbWVnYQoAAAAAAAQA8VNl"},
		{"hello", 11, 0, "68656c6c6f206d6567610a0000000000", "aGVsbG8gbWVnYQoAAAAAAAA"},
		{"hello", 11, 4294967301, "68656c6c6f206d6567610a0000000000", "aGVsbG8gbWVnYQoAAAAAAAUFAAAAAQ"},
		{"p16", 16, 1700000000, "030a11181f262d343b424950575e656c", "AwoRGB8mLTQ7QklQV15lbAQA8VNl"},
		{"p17", 17, 1700000000, "7ed34e6214600cdd3fa05caa299b91b1", "ftNOYhRgDN0_oFyqKZuRsQQA8VNl"},
		{"p8192", 8192, 1700000000, "b9d45861b9d45861b9d45861b9d45861", "udRYYbnUWGG51FhhudRYYQQA8VNl"},
		{"p8193", 8193, 1700000000, "b9d45861b9d45861b9d4586108d445f3", "udRYYbnUWGG51FhhCNRF8wQA8VNl"},
		{"p300000", 300000, 1700000000, "93f2fff3aac15ab5a0d36876c626907e", "k_L_86rBWrWg02h2xiaQfgQA8VNl"},
		{"p300000", 300000, 1795332766, "93f2fff3aac15ab5a0d36876c626907e", "k_L_86rBWrWg02h2xiaQfgSemgJr"},
		{"p5000000", 5000000, 1700000000, "da12774636e247a64bf5f87bd86a28d1", "2hJ3RjbiR6ZL9fh72Goo0QQA8VNl"},
		{"p5000000", 5000000, 1795332769, "da12774636e247a64bf5f87bd86a28d1", "2hJ3RjbiR6ZL9fh72Goo0QShmgJr"},
	} {
		s, err := Sample(bytes.NewReader(content(x.name, x.size)), int64(x.size))
		if err != nil {
			t.Fatal(x.name, err)
		}
		same(t, x.name, hex.EncodeToString(s[:]), x.sample)
		f := Fingerprint{s, x.time}
		same(t, x.name, f.Encode(), x.text)
		back, err := DecodeFingerprint(x.text)
		if err != nil || back != f {
			t.Error(x.name, back, err)
		}
	}
	if n := SampleAt(1<<63-1, 127); n != 1<<63-1-64 {
		t.Error("the last block of the largest file begins at", n)
	}
}

func TestLogInVector(t *testing.T) {
	pw := PasswordKeyV1([]byte("correct horse battery"))
	mk, err := pw.UnwrapKey("yTczHxOEFxBbXPnPu7sdbA")
	if err != nil {
		t.Fatal(err)
	}
	same(t, "master key", Encode(mk[:]), "x0KJv7hGYhov_Xh5kbyY9g")
	key, err := OpenPrivateKey(mk, data(t, "v1.privk"))
	if err != nil {
		t.Fatal(err)
	}
	sid, err := key.OpenSession(data(t, "v1.csid"), "5z_NX5Ahgz4")
	if err != nil {
		t.Fatal(err)
	}
	same(t, "session", Encode(sid), "hrmUI8x_M7xfO4od1it6KTV6X05YNUFoZ3o0ARmQrC7E-OwEzezudmEKoA")
	if _, err := key.OpenSession(data(t, "v1.csid"), "5z_NX5Ahgz5"); err != ErrLogin {
		t.Error("another user's session", err)
	}
}

func TestSelfChallengeVector(t *testing.T) {
	c, err := DecodeExact("UBfUS5KEXHGAd6sUjYZVGR-8EnFdHiuHmrOHuG66eQY", 32)
	if err != nil {
		t.Fatal(err)
	}
	s, err := ChallengeSession(c, "DYYMJXnrFlY")
	if err != nil {
		t.Fatal(err)
	}
	same(t, "session", Encode(s), "UBfUS5KEXHGAd6sUjYZVGURZWU1KWG5yRmxZH7wScV0eK4eas4e4brp5Bg")
}

func TestKeySetVector(t *testing.T) {
	k, err := OpenKeySet(Key(unhex("a4d280909504d581806481671ae1de01")), data(t, "keyset"))
	if err != nil {
		t.Fatal(err)
	}
	if k.Version != 1 || k.Created != 0x6b02a54a || k.Generation != 2 || !bytes.Equal(k.User[:], unhex("41f258aae1875d60")) || len(k.Shares) != 0 {
		t.Errorf("version %d, created %x, generation %d, user %x, shares %d", k.Version, k.Created, k.Generation, k.User, len(k.Shares))
	}
	if len(k.RSA) != 518 || !bytes.HasPrefix(k.Signing, unhex("9bb9f940")) || !bytes.HasPrefix(k.Exchange, unhex("f8f99158")) {
		t.Errorf("keys of %d, %d, %d bytes", len(k.RSA), len(k.Signing), len(k.Exchange))
	}
	if _, err := OpenKeySet(master, data(t, "keyset")); !errors.Is(err, ErrKey) {
		t.Error("another master key:", err)
	}
}

func TestHashcashVector(t *testing.T) {
	h, err := ParseHashcash("1:192:1731410499:RUvIePV2PNO8ofg8xp1aT5ugBcKSEzwKoLBw9o4E6F_fmn44eC3oMpv388UtFl2K")
	if err != nil {
		t.Fatal(err)
	}
	if !h.Check("1:RUvIePV2PNO8ofg8xp1aT5ugBcKSEzwKoLBw9o4E6F_fmn44eC3oMpv388UtFl2K:nAEAAA") {
		t.Error("the right answer does not pass")
	}
	if h.Check("1:RUvIePV2PNO8ofg8xp1aT5ugBcKSEzwKoLBw9o4E6F_fmn44eC3oMpv388UtFl2K:mwEAAA") {
		t.Error("a wrong answer passes")
	}
	same(t, "tries", h.Tries(), 256)
	same(t, "header", h.String(), "1:192:1731410499:RUvIePV2PNO8ofg8xp1aT5ugBcKSEzwKoLBw9o4E6F_fmn44eC3oMpv388UtFl2K")
	h.Easiness = 180
	same(t, "threshold", h.threshold(), 13762560)
}
