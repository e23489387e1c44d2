package crypto

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
)

// sequence returns n bytes counting up from first.
func sequence(first byte, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = first + byte(i)
	}
	return b
}

// pattern returns n bytes that repeat in no power of two.
func pattern(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i % 251)
	}
	return b
}

// testKeys are the keys of the published known answers, with that many epochs.
func testKeys(epochs int) *Keys {
	vmks := []Secret{NewSecret(sequence(0, 32))}
	for i := 1; i < epochs; i++ {
		vmks = append(vmks, NewSecret(sequence(byte(0x80+i), 32)))
	}
	return newKeys(VaultID(sequence(0x20, 32)), vmks)
}

func u64(v uint64) []byte { return binary.BigEndian.AppendUint64(nil, v) }

func TestKnownAnswers(t *testing.T) {
	k := testKeys(1)
	e, err := k.epoch(1)
	if err != nil {
		t.Fatal(err)
	}
	id := ID(sequence(0x40, 32))
	check := func(what string, got []byte, want string) {
		t.Helper()
		if hex.EncodeToString(got) != want {
			t.Errorf("%s = %x, want %s", what, got, want)
		}
	}
	check("content class key", e.class[ClassContent][:], "10566da7bf2eecacd0ccce0a9d9197b050ad6ad4df7081251cc1986e35a92aba")
	check("log class key", e.class[ClassLog][:], "e670a047ea77183f2d3ed421ec41784e88c2443adc6353a94549503917ae6342")

	content := e.object(ClassContent)
	one := content.sealAs(id, ClassContent, 1, nil, []byte("megafs"))
	check("P, n=1", one[:48], "4d47563105013fff0000000100000001"+hex.EncodeToString(id[:]))
	check("commitment, n=1", one[48:80], "a20370b5372822d1d320bfe7fe76f1ad760bac5611c1a40f393716a78c8e24a0")
	sum := sha256.Sum256(one)
	check("object, n=1", sum[:], "1796724066fb0419becd243c7831c8d1b2213848adc74694fe230a3965a7988f")
	if len(one) != 16480 {
		t.Errorf("object, n=1: %d bytes", len(one))
	}

	three := content.sealAs(id, ClassContent, 1, nil, pattern(49152))
	check("commitment, n=3", three[48:80], "a43c5a12d63fb1ddb6f16d7297cfe895ee9326d594442dd7c85f75d4bb3c05f5")
	sum = sha256.Sum256(three)
	check("object, n=3", sum[:], "3ea5549f3d5e39d30da1649bdf546e29a409883a7e70e7a9bae2d9e615fa8cfa")
	if len(three) != 49280 {
		t.Errorf("object, n=3: %d bytes", len(three))
	}
	for _, v := range []struct {
		chunks uint32
		base   string
	}{{1, "b51c40dc7b7fc6d00ac6713c"}, {3, "c0f1c3bd9dc6ddca4e16361b"}} {
		h := header{class: ClassContent, last: ChunkSize - 1, epoch: 1, chunks: v.chunks, id: id}
		c, _ := newChunkCipher(content.class, &h, nil)
		check("base nonce", c.base[:], v.base)
	}

	body := append([]byte("entry"), make([]byte, 507)...)
	log := e.object(ClassLog).sealAs(id, ClassLog, 1, u64(1), body)
	check("commitment, log", log[48:80], "4afa23c4508bc6467ce467e7be072862962adddaf3893d2afd09c32e1c2c7b1c")
	sum = sha256.Sum256(append([]byte("megafs-vault/1 entry\x00"), log...))
	check("entry hash", sum[:], "f7ea874a0d2b1adf139c520d8590d9e117acea25d50dd78b7958b23cdc975fad")
	if len(log) != 608 {
		t.Errorf("log: %d bytes", len(log))
	}
	vid := k.Vault()
	sum = sha256.Sum256(append([]byte("megafs-vault/1 genesis\x00"), vid[:]...))
	check("genesis hash", sum[:], "3aa5c8d3952c79b7e2007802dda512f5cbe0440507cc49a67abcb0a196ebf7b6")

	newID := content.newID(ClassContent, [32]byte{}, []byte("megafs"))
	check("id", newID[:], "5b4c4ad37355d65376946e308a6328db49db2db412682a0dbff11f2c24a69d7f")
}

// TestKnownObjectKeys checks the published object keys through what they encrypt.
func TestKnownObjectKeys(t *testing.T) {
	k := testKeys(1)
	for _, v := range []struct {
		class     Class
		ctx       []byte
		last      uint16
		chunks    uint32
		key, base string
	}{
		{ClassContent, nil, ChunkSize - 1, 1, "517d9bbf90076c7fb7ba9a64a0f05df95bc0fb2fb04eb7c302d13f4e59f330e7", "b51c40dc7b7fc6d00ac6713c"},
		{ClassContent, nil, ChunkSize - 1, 3, "b655eb22b9fce39889ac7f2eee31131c949b53148b655d9bd273cb8247b288cb", "c0f1c3bd9dc6ddca4e16361b"},
		{ClassLog, u64(1), 511, 1, "e7aa1ea9fd385eabc9fcf53075dd050684f67060e815b0f88c951299ce4628eb", ""},
	} {
		h := header{class: v.class, last: v.last, epoch: 1, chunks: v.chunks, id: ID(sequence(0x40, 32))}
		c, _ := newChunkCipher(k.first().class[v.class][:], &h, v.ctx)
		key, _ := hex.DecodeString(v.key)
		nonce, aad := c.nonceAAD(v.chunks - 1)
		got := c.seal(nil, []byte("x"), v.chunks-1)
		if want := newGCM(key).Seal(nil, nonce, []byte("x"), aad); !bytes.Equal(got, want) {
			t.Errorf("%v, n=%d: sealed under another key", v.class, v.chunks)
		}
		if last := byte(v.chunks - 1); nonce[11] != c.base[11]^last || !bytes.Equal(nonce[:11], c.base[:11]) {
			t.Errorf("nonce of chunk %d is %x", last, nonce)
		}
		want := fmt.Sprintf("%x%02x%08x%08x", "MGV1", byte(v.class), v.chunks-1, v.chunks)
		if hex.EncodeToString(aad) != want {
			t.Errorf("aad %x, want %s", aad, want)
		}
	}
}

func TestRoundTrip(t *testing.T) {
	k := testKeys(2)
	for _, n := range []int{0, 1, 511, ChunkSize - 1, ChunkSize, ChunkSize + 1, 3 * ChunkSize, 5*ChunkSize - 7, MaxPlain - 1, MaxPlain} {
		plain := pattern(n)
		for _, c := range []Class{ClassContent, ClassSnapshotPart} {
			if n == 0 && c != ClassContent {
				continue
			}
			object, id := k.Seal(c, nil, plain)
			got, gotID, err := k.Open(c, nil, object)
			if err != nil || gotID != id {
				t.Fatalf("%v of %d: %v", c, n, err)
			}
			if c == ClassContent {
				if len(got)%ChunkSize != 0 || len(got) < n || len(got) > max(n+ChunkSize-1, ChunkSize) || len(object) != HeaderLen+len(got)/ChunkSize*SealedChunk {
					t.Fatalf("content of %d: padded to %d, sealed to %d", n, len(got), len(object))
				}
				if bytes.Trim(got[n:], "\x00") != nil {
					t.Fatalf("content of %d: padding is not zero", n)
				}
				got = got[:n]
			}
			if !bytes.Equal(got, plain) {
				t.Fatalf("%v of %d: other bytes", c, n)
			}
			if e, err := k.EpochOf(object); e != 2 || err != nil {
				t.Fatalf("epoch %d, %v", e, err)
			}
		}
	}
}

func TestSealRefuses(t *testing.T) {
	k := testKeys(1)
	wiped := testKeys(1)
	wiped.Wipe()
	for name, f := range map[string]func(){
		"keyring":  func() { k.Seal(ClassKeyring, nil, []byte("x")) },
		"id":       func() { k.Seal(classID, nil, []byte("x")) },
		"unknown":  func() { k.Seal(0xff, nil, []byte("x")) },
		"empty":    func() { k.Seal(ClassLog, nil, nil) },
		"too long": func() { k.Seal(ClassLog, nil, make([]byte, MaxPlain+1)) },
		"wiped":    func() { wiped.Seal(ClassLog, nil, []byte("x")) },
		"local":    func() { wiped.Local("x", [16]byte{}) },
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s: sealed", name)
				}
			}()
			f()
		}()
	}
}

// mustNotOpen checks that Open refuses the object, and OpenChunk too, with ErrTampered.
func mustNotOpen(t *testing.T, k *Keys, c Class, ctx, object []byte, what string) {
	t.Helper()
	if plain, _, err := k.Open(c, ctx, object); !errors.Is(err, ErrTampered) || plain != nil {
		t.Errorf("%s: Open = %d bytes, %v", what, len(plain), err)
	}
}

func TestEveryFlipAndPrefix(t *testing.T) {
	k := testKeys(1)
	ctx := u64(7)
	object, _ := k.Seal(ClassLog, ctx, pattern(100))
	for i := range object {
		for bit := range 8 {
			bad := bytes.Clone(object)
			bad[i] ^= 1 << bit
			mustNotOpen(t, k, ClassLog, ctx, bad, fmt.Sprintf("byte %d bit %d flipped", i, bit))
		}
		mustNotOpen(t, k, ClassLog, ctx, object[:i], fmt.Sprintf("%d bytes of it", i))
	}
	mustNotOpen(t, k, ClassLog, ctx, append(bytes.Clone(object), 0), "a byte longer")
	mustNotOpen(t, k, ClassLog, ctx, append(bytes.Clone(object), make([]byte, SealedChunk)...), "a chunk longer")
}

// TestHeaderBeforeChunks checks that nothing is decrypted under a wrong header: with both
// the commitment and all chunks spoiled, it is the header that is reported.
func TestHeaderBeforeChunks(t *testing.T) {
	k := testKeys(1)
	object, _ := k.Seal(ClassContent, nil, pattern(2*ChunkSize))
	for i := HeaderLen; i < len(object); i++ {
		object[i] ^= 0xff
	}
	if _, _, err := k.Open(ClassContent, nil, object); err == nil || !strings.Contains(err.Error(), "chunk 0 of 2") {
		t.Fatalf("chunks spoiled: %v", err)
	}
	for i := range HeaderLen {
		bad := bytes.Clone(object)
		bad[i] ^= 1
		_, _, err := k.Open(ClassContent, nil, bad)
		if !errors.Is(err, ErrTampered) || strings.Contains(err.Error(), "chunk") {
			t.Errorf("header byte %d: %v", i, err)
		}
	}
}

func TestChunksBelongToTheirPlace(t *testing.T) {
	k := testKeys(1)
	a, idA := k.Seal(ClassContent, nil, pattern(4*ChunkSize))
	b, _ := k.Seal(ClassContent, nil, pattern(4*ChunkSize))
	chunk := func(o []byte, i int) []byte { return o[HeaderLen+i*SealedChunk:][:SealedChunk] }
	edit := func(f func(o []byte) []byte) []byte { return f(bytes.Clone(a)) }
	shrink := func(o []byte, chunks byte) []byte { o[15] = chunks; return o }
	for what, bad := range map[string][]byte{
		"two chunks swapped": edit(func(o []byte) []byte {
			copy(chunk(o, 1), chunk(a, 2))
			copy(chunk(o, 2), chunk(a, 1))
			return o
		}),
		"chunk doubled":            edit(func(o []byte) []byte { copy(chunk(o, 1), chunk(a, 0)); return o }),
		"chunk of another object":  edit(func(o []byte) []byte { copy(chunk(o, 1), chunk(b, 1)); return o }),
		"chunks of another object": append(bytes.Clone(a[:HeaderLen]), b[HeaderLen:]...),
		"id of another object":     edit(func(o []byte) []byte { copy(o[16:48], b[16:48]); return o }),
		"chunk of zeros":           edit(func(o []byte) []byte { clear(chunk(o, 3)); return o }),
		"all zeros":                make([]byte, len(a)),
		"last chunk dropped":       a[:len(a)-SealedChunk],
		"cut to three chunks":      edit(func(o []byte) []byte { return shrink(o[:len(o)-SealedChunk], 3) }),
		"beheaded": edit(func(o []byte) []byte {
			return shrink(append(o[:HeaderLen], o[HeaderLen+SealedChunk:]...), 3)
		}),
		"old chunk appended": edit(func(o []byte) []byte { return shrink(append(o, chunk(a, 3)...), 5) }),
		"header only":        a[:HeaderLen],
		"nothing":            nil,
	} {
		mustNotOpen(t, k, ClassContent, nil, bad, what)
	}

	dst := make([]byte, ChunkSize)
	for i := range 4 {
		if err := k.OpenChunk(idA, 1, 4, i, chunk(a, i), dst); err != nil || !bytes.Equal(dst, pattern(4 * ChunkSize)[i*ChunkSize:][:ChunkSize]) {
			t.Fatalf("chunk %d: %v", i, err)
		}
	}
	flipped := bytes.Clone(chunk(a, 0))
	flipped[100] ^= 1
	other := idA
	other[31] ^= 1
	beyond := 1 // beyond what fits the index in the nonce, where int does
	beyond <<= 32
	for what, err := range map[string]error{
		"index of 2^32":   k.OpenChunk(idA, 1, 4, beyond, chunk(a, 0), dst),
		"another index":   k.OpenChunk(idA, 1, 4, 1, chunk(a, 0), dst),
		"another count":   k.OpenChunk(idA, 1, 5, 0, chunk(a, 0), dst),
		"another id":      k.OpenChunk(other, 1, 4, 0, chunk(a, 0), dst),
		"another object":  k.OpenChunk(idA, 1, 4, 0, chunk(b, 0), dst),
		"flipped":         k.OpenChunk(idA, 1, 4, 0, flipped, dst),
		"index too large": k.OpenChunk(idA, 1, 4, 4, chunk(a, 3), dst),
		"negative index":  k.OpenChunk(idA, 1, 4, -1, chunk(a, 3), dst),
		"no chunks":       k.OpenChunk(idA, 1, 0, 0, chunk(a, 0), dst),
		"too many chunks": k.OpenChunk(idA, 1, MaxChunks+1, 0, chunk(a, 0), dst),
		"short":           k.OpenChunk(idA, 1, 4, 0, chunk(a, 0)[:100], dst),
		"empty":           k.OpenChunk(idA, 1, 4, 0, nil, dst),
		"unknown epoch":   k.OpenChunk(idA, 2, 4, 0, chunk(a, 0), dst),
		"no epoch":        k.OpenChunk(idA, 0, 4, 0, chunk(a, 0), dst),
	} {
		if !errors.Is(err, ErrTampered) {
			t.Errorf("OpenChunk, %s: %v", what, err)
		}
	}
	copy(dst, "earlier bytes")
	k.OpenChunk(idA, 1, 4, 0, flipped, dst)
	if bytes.Contains(dst, pattern(64)) {
		t.Error("unverified plaintext left in the buffer")
	}
	if err := k.OpenChunk(idA, 1, 4, 0, chunk(a, 0), dst[:ChunkSize-1]); !errors.Is(err, ErrLimit) {
		t.Errorf("short buffer: %v", err)
	}
	inPlace := bytes.Clone(chunk(a, 2))
	if err := k.OpenChunk(idA, 1, 4, 2, inPlace, inPlace); err != nil || !bytes.Equal(inPlace[:ChunkSize], pattern(3 * ChunkSize)[2*ChunkSize:]) {
		t.Errorf("in place: %v", err)
	}
}

// TestNothingStandsForAnother checks that an object opens for its vault, epoch, class and
// context only, also when its header is made to say so.
func TestNothingStandsForAnother(t *testing.T) {
	k := testKeys(2)
	otherVault := newKeys(VaultID{1}, []Secret{NewSecret(sequence(0, 32)), NewSecret(sequence(0x81, 32))})
	classes := []Class{ClassLog, ClassSnapshotRoot, ClassSnapshotPart, ClassContent, ClassHistory, ClassGC, ClassHead}
	for _, c := range classes {
		object, _ := k.Seal(c, u64(3), pattern(ChunkSize))
		for _, other := range append(classes, ClassKeyring, classID, 0) {
			if c == other {
				continue
			}
			relabelled := bytes.Clone(object)
			relabelled[4] = byte(other)
			mustNotOpen(t, k, other, u64(3), object, fmt.Sprintf("%v as %v", c, other))
			mustNotOpen(t, k, other, u64(3), relabelled, fmt.Sprintf("%v relabelled %v", c, other))
		}
		mustNotOpen(t, otherVault, c, u64(3), object, fmt.Sprintf("%v in another vault", c))
		mustNotOpen(t, k, c, u64(4), object, fmt.Sprintf("%v in another place", c))
		mustNotOpen(t, k, c, nil, object, fmt.Sprintf("%v in no place", c))
		older := bytes.Clone(object)
		older[11] = 1
		mustNotOpen(t, k, c, u64(3), older, fmt.Sprintf("%v as of epoch 1", c))
		newer := bytes.Clone(object)
		newer[11] = 3
		if _, _, err := k.Open(c, u64(3), newer); !errors.Is(err, ErrTampered) || !errors.Is(err, ErrUnknownEpoch) {
			t.Errorf("%v as of epoch 3: %v", c, err)
		}
	}
}

// TestContentIsPadded seals what no writer does, content that ends within a chunk.
func TestContentIsPadded(t *testing.T) {
	k := testKeys(1)
	h := header{class: ClassContent, last: 99, epoch: 1, chunks: 1, id: ID{1}}
	c, commitment := newChunkCipher(k.first().class[ClassContent][:], &h, nil)
	object := c.seal(append(h.appendPrefix(nil), commitment...), pattern(100), 0)
	mustNotOpen(t, k, ClassContent, nil, object, "unpadded content")
}

// TestLengthBeforeAllocation checks that a header cannot make Open allocate.
func TestLengthBeforeAllocation(t *testing.T) {
	k := testKeys(1)
	object, _ := k.Seal(ClassLog, nil, pattern(512))
	for _, chunks := range []uint32{0, 2, 255, 256, 257, 1 << 16, 1<<32 - 1} {
		binary.BigEndian.PutUint32(object[12:], chunks)
		mustNotOpen(t, k, ClassLog, nil, object, fmt.Sprintf("%d chunks", chunks))
		if h, err := parseHeader(ClassLog, object); err == nil {
			t.Errorf("header with %d chunks was believed: %+v", chunks, h)
		}
	}
}

func TestIDsAreFresh(t *testing.T) {
	k := testKeys(1)
	a, idA := k.Seal(ClassLog, u64(1), []byte("same"))
	b, idB := k.Seal(ClassLog, u64(1), []byte("same"))
	if idA == idB || bytes.Equal(a[48:], b[48:]) {
		t.Error("sealing twice gave the same object")
	}
}

// TestP4_V66StuckRandom: a random source that repeats itself. Other content, or another class, gets another id, and with it another key; the same content gets the same object.
func TestP4_V66StuckRandom(t *testing.T) {
	k := testKeys(1)
	o := k.first().object(ClassLog)
	if o.newID(ClassLog, [32]byte{}, []byte("a")) == o.newID(ClassLog, [32]byte{}, []byte("b")) {
		t.Error("the id does not depend on the content")
	}
	if o.newID(ClassLog, [32]byte{}, []byte("a")) == o.newID(ClassGC, [32]byte{}, []byte("a")) {
		t.Error("the id does not depend on the class")
	}
	if first := o.newID(ClassLog, [32]byte{}, []byte("a")); o.newID(ClassLog, [32]byte{}, []byte("a")) != first {
		t.Error("the id depends on more")
	}
	seen := map[string][]byte{} // key and nonce of a first chunk, to the content that was sealed with them
	for _, content := range [][]byte{make([]byte, ChunkSize), bytes.Repeat([]byte{1}, ChunkSize), bytes.Repeat([]byte{1}, 2*ChunkSize), append(make([]byte, ChunkSize-1), 1)} {
		h := header{class: ClassContent, last: ChunkSize - 1, epoch: 1, chunks: uint32(len(content) / ChunkSize)}
		h.id = k.first().object(ClassContent).newID(ClassContent, [32]byte{}, content)
		c, _ := newChunkCipher(k.first().class[ClassContent][:], &h, nil)
		sealed := string(c.seal(nil, make([]byte, ChunkSize), 0)) // what is the same under one key and nonce only
		if other, ok := seen[sealed]; ok && !bytes.Equal(other, content) {
			t.Error("two contents under one key and nonce")
		}
		seen[sealed] = content
	}
}

func TestDerivedKeysOutliveRekeying(t *testing.T) {
	one, two := testKeys(1), testKeys(2)
	dev := [16]byte{1}
	if one.Local("cache", dev) != two.Local("cache", dev) || one.TrustMAC([]byte("x")) != two.TrustMAC([]byte("x")) {
		t.Error("local keys changed with the epoch")
	}
	if one.Fingerprint() == two.Fingerprint() {
		t.Error("fingerprint did not change with the epoch")
	}
	locals := map[[32]byte]bool{one.Local("cache", dev): true, one.Local("journal", dev): true, one.Local("cache", [16]byte{2}): true,
		one.Fingerprint(): true, one.TrustMAC(nil): true}
	if len(locals) != 5 {
		t.Error("local keys coincide")
	}
}

func TestConcurrentReaders(t *testing.T) {
	k := testKeys(2)
	const objects, chunks = 20, 4
	var ids [objects]ID
	var sealed [objects][]byte
	for i := range sealed {
		sealed[i], ids[i] = k.Seal(ClassContent, nil, bytes.Repeat([]byte{byte(i + 1)}, chunks*ChunkSize))
	}
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			dst := make([]byte, ChunkSize)
			for n := range 400 {
				o, c := (n*7+g)%objects, (n+g)%chunks
				err := k.OpenChunk(ids[o], 2, chunks, c, sealed[o][HeaderLen+c*SealedChunk:][:SealedChunk], dst)
				if err != nil || dst[0] != byte(o+1) || dst[ChunkSize-1] != byte(o+1) {
					t.Errorf("object %d chunk %d: %v", o, c, err)
					return
				}
			}
		})
	}
	wg.Wait()
}

// TestCipherTableCollision checks that objects which share a place in the table of
// recent ciphers do not get each other's.
func TestCipherTableCollision(t *testing.T) {
	k := testKeys(2)
	id := ID(sequence(0x40, 32))
	far := id
	far[31] ^= 1 // same place
	dst := make([]byte, ChunkSize)
	for _, v := range []struct {
		id     ID
		epoch  uint32
		chunks uint16
	}{{id, 1, 3}, {far, 1, 3}, {id, 1, 3}, {id, 2, 3}, {id, 1, 3}, {id, 1, 2}, {id, 1, 3}} { // neighbours differ in one thing
		e, _ := k.epoch(v.epoch)
		object := e.object(ClassContent).sealAs(v.id, ClassContent, v.epoch, nil, pattern(int(v.chunks)*ChunkSize))
		for range 2 {
			if err := k.OpenChunk(v.id, v.epoch, v.chunks, 1, object[HeaderLen+SealedChunk:][:SealedChunk], dst); err != nil {
				t.Errorf("%+v: %v", v, err)
			}
		}
	}
	k.Wipe()
	if err := k.OpenChunk(id, 1, 3, 0, make([]byte, SealedChunk), dst); !errors.Is(err, ErrUnknownEpoch) {
		t.Errorf("wiped keys: %v", err)
	}
}
