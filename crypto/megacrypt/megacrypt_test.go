package megacrypt

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/big"
	"math/rand/v2"
	"strings"
	"testing"
	"time"
)

func TestDecode(t *testing.T) {
	for s, want := range map[string]string{"": "", "YQ": "a", "YQ==": "a", "YQ,,": "a", "YWI": "ab", "YWI=": "ab", "YWJj": "abc", "-_-_": "\xfb\xff\xbf", "+/+/": "\xfb\xff\xbf", "YR": "a"} {
		b, err := Decode(s, 3)
		if err != nil || string(b) != want {
			t.Errorf("%q: %q, %v", s, b, err)
		}
	}
	for _, s := range []string{"Y", "YWJjZA", "Y*Jj", "YQ= ", "YWJjZ", "ä"} {
		if _, err := Decode(s, 3); !errors.Is(err, ErrFormat) {
			t.Errorf("%q: %v", s, err)
		}
	}
	if _, err := DecodeExact("YWI", 3); !errors.Is(err, ErrFormat) {
		t.Error(err)
	}
}

func TestAttributesOfOthers(t *testing.T) {
	seal := func(s string) string {
		b := []byte("MEGA" + s)
		for len(b)%16 != 0 {
			b = append(b, 0)
		}
		// Encrypt by way of Encode's own last step is not at hand; decryption's reverse is.
		return sealRaw(master, b)
	}
	a, err := DecodeAttributes(master, seal(`{"n":"a\u00e4\/\"b","x":5,"l":[1,2],"o":{"p":"q"},"t":true,"f":false,"z":null,"e":""}`))
	if err != nil {
		t.Fatal(err)
	}
	want := Attributes{"n": "aä/\"b", "x": "5", "l": "[1,2]", "o": `{"p":"q"}`, "t": "1", "f": "0", "e": ""}
	if fmt.Sprint(a) != fmt.Sprint(want) {
		t.Errorf("%q", a)
	}
	b := Attributes{"n": "\x01\x1f\t\n\r\"\\ \u2028<>&\x7f"}
	s, err := b.Encode(master)
	if err != nil {
		t.Fatal(err)
	}
	if a, err := DecodeAttributes(master, s); err != nil || a["n"] != b["n"] {
		t.Errorf("%q %v", a, err)
	}
	if !bytes.Contains(openRaw(master, s), []byte("\\u0001\\u001f\\t\\n\\r\\\"\\\\ \u2028<>&\x7f\"}")) {
		t.Errorf("%q", openRaw(master, s))
	}
	for _, bad := range []string{`{"n":"a"`, `{"n":"a","n":"b"}`, `{"n":"a"}x`, `{"n":"` + "\xff" + `"}`, strings.Repeat(`{"a":`, 9) + "1" + strings.Repeat("}", 9), `{"n":}`, `{1:2}`} {
		if _, err := DecodeAttributes(master, seal(bad)); !errors.Is(err, ErrFormat) {
			t.Errorf("%q: %v", bad, err)
		}
	}
	if _, err := DecodeAttributes(Key{1}, s); !errors.Is(err, ErrKey) {
		t.Error("another key:", err)
	}
	if _, err := DecodeAttributes(master, s[:len(s)-2]); !errors.Is(err, ErrFormat) {
		t.Error("not whole blocks:", err)
	}
	if _, err := (Attributes{"n": "\xff"}).Encode(master); !errors.Is(err, ErrFormat) {
		t.Error("bad UTF-8 is written:", err)
	}
	if _, err := (Attributes{"n": strings.Repeat("x", MaxAttributes)}).Encode(master); !errors.Is(err, ErrFormat) {
		t.Error("too much is written:", err)
	}
}

func TestChunkBorders(t *testing.T) {
	for i, want := range []int64{0, 131072, 393216, 786432, 1310720, 1966080, 2752512, 3670016, 4718592, 5767168, 6815744} {
		if got := ChunkStart(int64(i)); got != want {
			t.Errorf("chunk %d begins at %d", i, got)
		}
		if got := ChunkAt(want); got != int64(i) {
			t.Errorf("byte %d is in chunk %d", want, got)
		}
		if got := ChunkAt(max(want-1, 0)); got != int64(max(i-1, 0)) {
			t.Errorf("byte %d is in chunk %d", want-1, got)
		}
		if got := Chunks(want); got != int64(i) {
			t.Errorf("%d bytes have %d chunks", want, got)
		}
	}
	if n := Chunks(1<<63 - 1); n < 1<<42 {
		t.Error(n)
	}
}

// TestRanges decrypts and authenticates in parts of any size what was made as a whole.
func TestRanges(t *testing.T) {
	seed := rand.Uint64()
	t.Log("seed", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	k := NewFileKey()
	c := k.Cipher()
	plain := pattern(500_000)
	sealed := make([]byte, len(plain))
	c.XOR(sealed, plain, 0)
	if bytes.Equal(plain, sealed) {
		t.Fatal("nothing is encrypted")
	}
	for range 500 {
		a := r.IntN(len(plain))
		b := a + r.IntN(min(len(plain)-a, 1<<r.IntN(19))+1)
		got := bytes.Clone(sealed[a:b])
		c.XOR(got, got, int64(a))
		if !bytes.Equal(got, plain[a:b]) {
			t.Fatalf("bytes %d to %d", a, b)
		}
		m := c.MAC()
		for rest := plain[a:b]; len(rest) > 0; {
			n := min(len(rest), 1+r.IntN(3000))
			m.Write(rest[:n])
			rest = rest[n:]
		}
		if m.Sum() != c.ChunkMAC(plain[a:b]) {
			t.Fatalf("MAC of bytes %d to %d", a, b)
		}
	}
}

func TestSessions(t *testing.T) {
	key, pub, err := NewPrivateKey()
	if err != nil {
		t.Fatal(err)
	}
	mk := NewKey()
	sealedKey := key.Seal(mk)
	back, err := OpenPrivateKey(mk, sealedKey)
	if err != nil {
		t.Fatal(err)
	}
	pub2, err := ParsePublicKey(pub.Encode())
	if err != nil || pub2.N.Cmp(pub.N) != 0 || pub2.E.Cmp(pub.E) != 0 || !bytes.Equal(back.Modulus(), pub.N.Bytes()) {
		t.Fatal("public key", err)
	}
	sid, err := NewSession("5z_NX5Ahgz4")
	if err != nil {
		t.Fatal(err)
	}
	sealed, err := pub2.SealSession(sid)
	if err != nil {
		t.Fatal(err)
	}
	got, err := back.OpenSession(sealed, "5z_NX5Ahgz4")
	if err != nil || !bytes.Equal(got, sid) {
		t.Fatal(err)
	}
	for _, s := range []string{"", "AAA", sealed[:40], sealed + "AAAA", "//8" + sealed[3:], strings.Repeat("A", 2000)} {
		if got, err := back.OpenSession(s, "5z_NX5Ahgz4"); err != nil && err != ErrLogin || err == nil && !bytes.Equal(got, sid) {
			t.Errorf("%.20q: %v", s, err)
		}
	}
	// A share's key, which may begin with zeros.
	for _, share := range []Key{{0, 0, 3}, NewKey(), {}} {
		m := bytes.Repeat([]byte{0x5a}, len(pub.N.Bytes())-2)
		copy(m, share[:])
		sealed := Encode(AppendMPI(nil, new(big.Int).Exp(new(big.Int).SetBytes(m), pub.E, pub.N)))
		if k, err := back.OpenKey(sealed); k != share || (err == nil) != (share != Key{}) {
			t.Error("a share's key", err)
		}
		for _, s := range []string{"", "AAA", sealed[:40], sealed + strings.Repeat("A", 40), Encode(AppendMPI(nil, pub.N)), strings.Repeat("A", 2000)} {
			if _, err := back.OpenKey(s); err == nil {
				t.Errorf("%.20q: %v", s, err)
			}
		}
	}
	ts := NewSelfChallenge(mk)
	s, err := ChallengeSession(ts, "5z_NX5Ahgz4")
	if err != nil || CheckChallengeSession(mk, s) != nil || !Owns(s, "5z_NX5Ahgz4") {
		t.Error("challenge", err)
	}
	if CheckChallengeSession(NewKey(), s) != ErrLogin || CheckChallengeSession(mk, s[1:]) != ErrLogin {
		t.Error("a challenge passes that is not ours")
	}
	pw := NewKey()
	conf, _ := DecodeExact(NewConfirmation(pw, mk), 32)
	if k, err := pw.UnwrapKey(Encode(conf[:16])); err != nil || k != mk {
		t.Error("the confirmation's master key")
	}
	if CheckConfirmation(pw, Encode(conf[16:])) != nil || CheckConfirmation(mk, Encode(conf[16:])) == nil {
		t.Error("the confirmation's challenge")
	}
}

// TestM18PrivateKeyMauled exchanges each block of the wrapped private key: none of them passes, and all fail alike.
func TestM18PrivateKeyMauled(t *testing.T) {
	mk, _ := DecodeExact("x0KJv7hGYhov_Xh5kbyY9g", 16)
	b, err := Decode(data(t, "v1.privk"), MaxPrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	k, err := OpenPrivateKey(Key(mk), Encode(b))
	if err != nil {
		t.Fatal(err)
	}
	used := len(AppendMPI(AppendMPI(AppendMPI(AppendMPI(nil, k.p), k.q), k.d), k.u))
	for i := 0; i < len(b)/16; i++ {
		for _, with := range [][]byte{bytes.Repeat([]byte{0xA5}, 16), b[(i*16+64)%(len(b)-16):][:16]} {
			x := bytes.Clone(b)
			copy(x[i*16:], with)
			if i*16 >= used {
				continue // nothing but filling
			}
			if _, err := OpenPrivateKey(Key(mk), Encode(x)); err != ErrLogin {
				t.Fatalf("with block %d exchanged: %v", i, err)
			}
		}
	}
	// Whole numbers that fit each other in parts.
	one := big.NewInt(1)
	for name, x := range map[string]*PrivateKey{
		"u+q":         {k.p, k.q, k.d, new(big.Int).Add(k.u, k.q)},
		"d+1":         {k.p, k.q, new(big.Int).Add(k.d, one), k.u},
		"exchanged":   {k.q, k.p, k.d, k.u},
		"p twice":     {k.p, k.p, k.d, k.u},
		"no primes":   {new(big.Int).Sub(k.p, one), k.q, k.d, k.u},
		"zeros":       {new(big.Int), new(big.Int), new(big.Int), new(big.Int)},
		"large d":     {k.p, k.q, new(big.Int).Lsh(k.d, 1), k.u},
		"composite q": {k.p, new(big.Int).Add(k.q, big.NewInt(2)), k.d, k.u},
	} {
		if _, err := OpenPrivateKey(Key(mk), x.Seal(Key(mk))); err != ErrLogin {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestM19PrivateKeyMalformed gives lengths that are none.
func TestM19PrivateKeyMalformed(t *testing.T) {
	for _, head := range [][]byte{{0, 0}, {0xff, 0xff}, {0x20, 0}, {4, 0}, {}, {1}} {
		b := make([]byte, 656)
		copy(b, head)
		for _, n := range []int{0, 16, 32, 640, 656} {
			if _, err := OpenPrivateKey(master, Encode(master.Wrap(b[:n]))); err != ErrLogin {
				t.Errorf("%x, %d bytes: %v", head, n, err)
			}
		}
	}
	if _, err := OpenPrivateKey(master, strings.Repeat("A", 1<<20)); err != ErrLogin {
		t.Error(err)
	}
}

func TestLinks(t *testing.T) {
	file, folder := Encode(pattern(32)), Encode(pattern(16))
	for s, want := range map[string]Link{
		"https://mega.nz/file/abcdefgh#" + file:                          {Handle: "abcdefgh", Key: pattern(32)},
		"https://mega.nz/#!abcdefgh!" + file:                             {Handle: "abcdefgh", Key: pattern(32)},
		"https://mega.co.nz/folder/abcdefgh#" + folder:                   {Handle: "abcdefgh", Folder: true, Key: pattern(16)},
		"https://mega.nz/#F!abcdefgh!" + folder + "!ijklmnop":            {Handle: "abcdefgh", Folder: true, Key: pattern(16), Below: "ijklmnop"},
		"https://mega.nz/folder/abcdefgh#" + folder + "/file/ijklmnop":   {Handle: "abcdefgh", Folder: true, Key: pattern(16), Below: "ijklmnop", File: true},
		"https://mega.nz/folder/abcdefgh#" + folder + "/folder/ijklmnop": {Handle: "abcdefgh", Folder: true, Key: pattern(16), Below: "ijklmnop"},
	} {
		l, err := ParseLink(s)
		if err != nil || fmt.Sprint(l) != fmt.Sprint(want) {
			t.Errorf("%s: %v, %v", s, l, err)
			continue
		}
		if back, err := ParseLink(l.String()); err != nil || fmt.Sprint(back) != fmt.Sprint(l) {
			t.Errorf("%s: %v, %v", l, back, err)
		}
		if l.Below != "" {
			continue
		}
		sealed, err := SealLink(l, "secret")
		if err != nil {
			t.Fatal(err)
		}
		if back, err := OpenLink(sealed, "secret"); err != nil || fmt.Sprint(back) != fmt.Sprint(l) {
			t.Errorf("with a password: %v, %v", back, err)
		}
		if _, err := OpenLink(sealed, "Secret"); !errors.Is(err, ErrKey) {
			t.Error("another password:", err)
		}
	}
	for _, s := range []string{"", "abc", "https://mega.nz/file/abcdefgh", "https://mega.nz/file/abcdefg#" + file, "https://mega.nz/file/abcdefgh#" + folder,
		"https://mega.nz/folder/abcdefgh#" + folder + "/x/ijklmnop", "https://mega.nz/#!", "https://mega.nz/#F!a"} {
		if _, err := ParseLink(s); !errors.Is(err, ErrFormat) {
			t.Errorf("%q: %v", s, err)
		}
	}
}

func TestHashcash(t *testing.T) {
	h := NewHashcash(255, time.Now())
	if h.Tries() > 4 {
		t.Fatal(h.Tries())
	}
	answer, err := h.Solve(context.Background())
	if err != nil || !h.Check(answer) {
		t.Fatal(answer, err)
	}
	back, err := ParseHashcash(h.String())
	if err != nil || back.Token != h.Token || back.Easiness != h.Easiness {
		t.Error(back, err)
	}
	other := NewHashcash(255, time.Now())
	if other.Check(answer) {
		t.Error("an answer to another challenge passes")
	}
	// M23: one that can't be solved ends when the caller says so.
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	h.Easiness = 0
	if _, err := h.Solve(ctx); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	for _, s := range []string{"", "1:2:3", "2:192:1:" + Encode(h.Token[:]), "1:256:1:" + Encode(h.Token[:]), "1:1:1:AAAA", "1:1:x:" + Encode(h.Token[:])} {
		if _, err := ParseHashcash(s); !errors.Is(err, ErrFormat) {
			t.Errorf("%q: %v", s, err)
		}
	}
}

// TestSecretsDontPrint prints everything that is secret in every way.
func TestSecretsDontPrint(t *testing.T) {
	k := FileKey{Key: Key(bytes.Repeat([]byte{0x41}, 16))}
	p := &PrivateKey{big.NewInt(0x41414141), big.NewInt(0x41414141), big.NewInt(0x41414141), big.NewInt(0x41414141)}
	for _, v := range []any{k.Key, &k.Key, k, &k, p, struct{ K Key }{k.Key}, ShareKey{Key: k.Key}, &KeySet{Signing: k.Key[:]}} {
		for _, f := range []string{"%v", "%+v", "%#v", "%x", "%s", "%d", "%q"} {
			if s := fmt.Sprintf(f, v); strings.Contains(s, "41") || strings.Contains(s, "65") || strings.Contains(s, "AAAA") || strings.Contains(s, "1094795585") {
				t.Errorf("%s of %T: %s", f, v, s)
			}
		}
	}
}

func BenchmarkMAC(b *testing.B) {
	k := NewFileKey()
	c := k.Cipher()
	plain := pattern(MaxChunk)
	b.SetBytes(int64(len(plain)))
	for b.Loop() {
		c.ChunkMAC(plain)
	}
}

func BenchmarkXOR(b *testing.B) {
	k := NewFileKey()
	c := k.Cipher()
	plain := pattern(MaxChunk)
	b.SetBytes(int64(len(plain)))
	for b.Loop() {
		c.XOR(plain, plain, 0)
	}
}
