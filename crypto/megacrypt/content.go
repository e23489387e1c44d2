package megacrypt

import (
	"crypto/cipher"
	"crypto/subtle"
	"encoding/binary"
)

// Content is encrypted whole and authenticated in chunks of growing size: 128 KiB, 256 KiB and so on to 1 MiB, then 1 MiB each.
const (
	chunkUnit  = 128 << 10
	chunkGrow  = 8                                           // chunks that grow
	chunkGrown = chunkGrow * (chunkGrow + 1) / 2 * chunkUnit // where they end
	// MaxChunk is the size of the largest chunk.
	MaxChunk = chunkGrow * chunkUnit
)

// ChunkStart returns where chunk i begins.
func ChunkStart(i int64) int64 {
	if i <= chunkGrow {
		return i * (i + 1) / 2 * chunkUnit
	}
	return chunkGrown + (i-chunkGrow)*MaxChunk
}

// ChunkAt returns the number of the chunk in which a byte lies.
func ChunkAt(off int64) int64 {
	if off >= chunkGrown {
		return chunkGrow + (off-chunkGrown)/MaxChunk
	}
	i := int64(0)
	for ChunkStart(i+1) <= off {
		i++
	}
	return i
}

// Chunks returns how many chunks content of a size has. Empty content has none.
func Chunks(size int64) int64 {
	if size <= 0 {
		return 0
	}
	return ChunkAt(size-1) + 1
}

// ChunkBorders returns where chunk i of content of a size begins and ends.
func ChunkBorders(i, size int64) (start, end int64) {
	return ChunkStart(i), min(ChunkStart(i+1), size)
}

// Cipher encrypts and decrypts a file's content. It may be used by many goroutines.
type Cipher struct {
	block cipher.Block
	nonce [8]byte
}

// Cipher returns the cipher of a file's content.
func (k FileKey) Cipher() *Cipher { return &Cipher{k.Key.block(), k.Nonce} }

// XOR encrypts or decrypts the bytes at an offset, in place or into dst. Any range can be taken alone.
func (c *Cipher) XOR(dst, src []byte, off int64) {
	var iv [16]byte
	copy(iv[:], c.nonce[:])
	binary.BigEndian.PutUint64(iv[8:], uint64(off)/BlockSize)
	s := cipher.NewCTR(c.block, iv[:])
	if skip := off % BlockSize; skip != 0 {
		var first [BlockSize]byte
		n := copy(first[skip:], src)
		s.XORKeyStream(first[:skip+int64(n)], first[:skip+int64(n)])
		copy(dst, first[skip:skip+int64(n)])
		dst, src = dst[n:], src[n:]
	}
	if len(src) > 0 {
		s.XORKeyStream(dst[:len(src)], src)
	}
}

// ChunkMAC is the MAC of one chunk's plaintext.
type ChunkMAC [16]byte

// MAC computes a chunk's MAC from plaintext that comes in parts.
type MAC struct {
	mode cipher.BlockMode
	last [BlockSize]byte // what the mode gave last
	part [BlockSize]byte
	n    int // bytes in part
	buf  [1024]byte
}

// MAC begins the MAC of a chunk.
func (c *Cipher) MAC() *MAC {
	m := &MAC{}
	copy(m.last[:], c.nonce[:])
	copy(m.last[8:], c.nonce[:])
	m.mode = cipher.NewCBCEncrypter(c.block, m.last[:])
	return m
}

// Write takes the next part. It never fails.
func (m *MAC) Write(b []byte) (int, error) {
	n := len(b)
	if m.n > 0 {
		k := copy(m.part[m.n:], b)
		m.n += k
		b = b[k:]
		if m.n == BlockSize {
			m.n = 0
			m.mode.CryptBlocks(m.last[:], m.part[:])
		}
	}
	for len(b) >= BlockSize {
		k := min(len(b), len(m.buf)) &^ (BlockSize - 1)
		m.mode.CryptBlocks(m.buf[:k], b[:k])
		copy(m.last[:], m.buf[k-BlockSize:])
		b = b[k:]
	}
	m.n += copy(m.part[m.n:], b)
	return n, nil
}

// Sum ends the chunk and returns its MAC.
func (m *MAC) Sum() ChunkMAC {
	if m.n > 0 {
		clear(m.part[m.n:])
		m.mode.CryptBlocks(m.last[:], m.part[:])
		m.n = 0
	}
	return m.last
}

// ChunkMAC returns the MAC of a chunk that is there as a whole.
func (c *Cipher) ChunkMAC(plain []byte) ChunkMAC {
	m := c.MAC()
	m.Write(plain)
	return m.Sum()
}

// Meta condenses the MACs of all chunks of a file, in order, to what its key holds. That of empty content is zero.
func (c *Cipher) Meta(macs []ChunkMAC) [8]byte { return condense(c.fold(macs)) }

func (c *Cipher) fold(macs []ChunkMAC) (m [16]byte) {
	for i := range macs {
		subtle.XORBytes(m[:], m[:], macs[i][:])
		c.block.Encrypt(m[:], m[:])
	}
	return m
}

func condense(m [16]byte) (out [8]byte) {
	subtle.XORBytes(out[:4], m[:4], m[4:8])
	subtle.XORBytes(out[4:], m[8:12], m[12:])
	return out
}

// Verify holds the MACs of all chunks of content of a size against the file's key. Where MEGA's clients differ in what they write, it takes what each of them writes:
// one of them counts an empty chunk behind content whose last block ends at a chunk's border, and for empty content there are three forms. None of
// them lets other content pass.
func (k FileKey) Verify(size int64, macs []ChunkMAC) error {
	if int64(len(macs)) != Chunks(size) {
		return ErrMAC
	}
	c := k.Cipher()
	m := c.fold(macs)
	same := func(x [16]byte) bool {
		got := condense(x)
		return subtle.ConstantTimeCompare(got[:], k.Meta[:]) == 1
	}
	if same(m) {
		return nil
	}
	// At a border with its last block filled up, or empty.
	if (size+BlockSize-1)&^(BlockSize-1) == ChunkStart(int64(len(macs))) {
		extra := m
		subtle.XORBytes(extra[:8], extra[:8], k.Nonce[:])
		subtle.XORBytes(extra[8:], extra[8:], k.Nonce[:])
		c.block.Encrypt(extra[:], extra[:])
		if same(extra) {
			return nil
		}
	}
	if size == 0 {
		c.block.Encrypt(m[:], m[:])
		if same(m) {
			return nil
		}
	}
	return ErrMAC
}

// Checksum is what an upload request says of its body, so that damage on the way is noticed: 12 bytes, each the XOR of every twelfth.
func Checksum(body []byte) string {
	var wide [256 * 12]byte // whose place in the sum is the same in each twelve
	for len(body) > 0 {
		n := min(len(body), len(wide))
		subtle.XORBytes(wide[:n], wide[:n], body[:n])
		body = body[n:]
	}
	var x [12]byte
	for i, b := range wide {
		x[i%len(x)] ^= b
	}
	return Encode(x[:])
}
