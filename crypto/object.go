package crypto

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/binary"
	"fmt"
)

// Sizes of the sealed object format, in bytes.
const (
	HeaderLen   = 80                  // clear header and commitment
	ChunkSize   = 16384               // plaintext of a whole chunk
	SealedChunk = ChunkSize + tagSize // the same, sealed
	MaxChunks   = 256                 // chunks in one object
	MaxPlain    = MaxChunks * ChunkSize

	prefixLen = 48 // header bytes that feed the key derivation
	tagSize   = 16
	nonceSize = 12
	suite     = 0x01

	objectMagic = "MGV1"
	labelObject = "megafs-vault/1 object\x00"
	labelID     = "megafs-vault/1 id\x00"
)

// ID names a sealed object. Ids are unique, and uniformly distributed.
type ID [32]byte

// header is the part of an object that is in the clear. All of it but the
// commitment feeds the object's key.
type header struct {
	class  Class
	last   uint16 // plaintext length of the last chunk - 1
	epoch  uint32
	chunks uint32
	id     ID
}

func (h *header) appendPrefix(b []byte) []byte {
	b = append(b, objectMagic...)
	b = append(b, byte(h.class), suite)
	b = binary.BigEndian.AppendUint16(b, h.last)
	b = binary.BigEndian.AppendUint32(b, h.epoch)
	b = binary.BigEndian.AppendUint32(b, h.chunks)
	return append(b, h.id[:]...)
}

// plainLen is the length of the plaintext, and sealedLen that of the object.
func (h *header) plainLen() int  { return int(h.chunks-1)*ChunkSize + int(h.last) + 1 }
func (h *header) sealedLen() int { return HeaderLen + h.plainLen() + int(h.chunks)*tagSize }

// parseHeader reads the header of a whole object and checks that the object is
// exactly as long as the header says.
func parseHeader(class Class, object []byte) (h header, err error) {
	if len(object) < HeaderLen || string(object[:4]) != objectMagic {
		return h, fmt.Errorf("%w: not a sealed object", ErrTampered)
	}
	h = header{
		class:  Class(object[4]),
		last:   binary.BigEndian.Uint16(object[6:]),
		epoch:  binary.BigEndian.Uint32(object[8:]),
		chunks: binary.BigEndian.Uint32(object[12:]),
		id:     ID(object[16:48]),
	}
	switch {
	case h.class != class:
		return h, fmt.Errorf("%w: %v object in the place of a %v object", ErrTampered, h.class, class)
	case object[5] != suite:
		return h, fmt.Errorf("%w: %v object of another suite", ErrTampered, class)
	case h.chunks == 0 || h.chunks > MaxChunks || h.last >= ChunkSize ||
		class == ClassContent && h.last != ChunkSize-1 || h.sealedLen() != len(object):
		return h, fmt.Errorf("%w: %v object of impossible length", ErrTampered, class)
	}
	return h, nil
}

// chunkCipher seals and opens the chunks of one object.
type chunkCipher struct {
	aead   cipher.AEAD
	base   [nonceSize]byte
	class  Class
	chunks uint32
}

// newChunkCipher derives the key, the base nonce and the commitment of the object with
// header h in context ctx.
func newChunkCipher(classKey []byte, h *header, ctx []byte) (c *chunkCipher, commitment []byte) {
	var prefix [prefixLen]byte
	okm := expand(classKey, 32+32+nonceSize, []byte(labelObject), h.appendPrefix(prefix[:0]), ctx)
	c = &chunkCipher{aead: newGCM(okm[:32]), class: h.class, chunks: h.chunks}
	copy(c.base[:], okm[64:])
	clear(okm[:32])
	return c, okm[32:64]
}

func newGCM(key []byte) cipher.AEAD {
	block, err := aes.NewCipher(key)
	if err != nil {
		panic(err) // the key is always 32 bytes
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		panic(err)
	}
	return aead
}

// nonceAAD returns the nonce and the associated data of chunk i, in one
// allocation since both escape.
func (c *chunkCipher) nonceAAD(i uint32) (nonce, aad []byte) {
	buf := make([]byte, 0, nonceSize+13)
	buf = append(buf, c.base[:]...)
	ctr := binary.BigEndian.Uint64(buf[4:12])
	binary.BigEndian.PutUint64(buf[4:12], ctr^uint64(i))
	buf = append(buf, objectMagic...)
	buf = append(buf, byte(c.class))
	buf = binary.BigEndian.AppendUint32(buf, i)
	buf = binary.BigEndian.AppendUint32(buf, c.chunks)
	return buf[:nonceSize:nonceSize], buf[nonceSize:]
}

func (c *chunkCipher) seal(dst, plain []byte, i uint32) []byte {
	nonce, aad := c.nonceAAD(i)
	return c.aead.Seal(dst, nonce, plain, aad)
}

func (c *chunkCipher) open(dst, sealed []byte, i uint32) ([]byte, error) {
	nonce, aad := c.nonceAAD(i)
	out, err := c.aead.Open(dst, nonce, sealed, aad)
	if err != nil {
		return nil, fmt.Errorf("%w: chunk %d of %d of a %v object", ErrTampered, i, c.chunks, c.class)
	}
	return out, nil
}

// objectKeys are the two keys that sealing in one class and epoch takes.
type objectKeys struct{ class, id []byte }

// seal makes an object of plain under a fresh id. Content is padded with zeros to
// whole chunks. The caller has checked the length.
func (k objectKeys) seal(class Class, epoch uint32, ctx, plain []byte) ([]byte, ID) {
	var rnd [32]byte
	rand.Read(rnd[:]) // never fails: it ends the process instead
	id := k.newID(class, rnd, plain)
	return k.sealAs(id, class, epoch, ctx, plain), id
}

// newID derives an object's id from randomness and from the plaintext: were the
// random source to repeat itself, other content would still get another id, and
// with it another key.
func (k objectKeys) newID(class Class, rnd [32]byte, plain []byte) ID {
	sum := sha256.New()
	sum.Write(plain)
	if class == ClassContent {
		sum.Write(zeros[:padding(len(plain))])
	}
	mac := hmac.New(sha256.New, k.id)
	mac.Write([]byte(labelID))
	mac.Write([]byte{byte(class)})
	mac.Write(rnd[:])
	mac.Write(sum.Sum(nil))
	return ID(mac.Sum(nil))
}

var zeros [ChunkSize]byte

// padding is the number of zeros that content of length n is padded with.
func padding(n int) int {
	if n == 0 {
		return ChunkSize
	}
	return -n & (ChunkSize - 1)
}

// sealAs is seal with the id given. Only seal and the known-answer tests call it: an
// id must never be used twice.
func (k objectKeys) sealAs(id ID, class Class, epoch uint32, ctx, plain []byte) []byte {
	size := len(plain)
	if class == ClassContent {
		size += padding(size)
	}
	h := header{
		class:  class,
		last:   uint16((size - 1) % ChunkSize),
		epoch:  epoch,
		chunks: uint32((size + ChunkSize - 1) / ChunkSize),
		id:     id,
	}
	c, commitment := newChunkCipher(k.class, &h, ctx)
	object := make([]byte, 0, h.sealedLen())
	object = h.appendPrefix(object)
	object = append(object, commitment...)
	for i := range h.chunks {
		chunk := plain[:min(ChunkSize, len(plain))]
		plain = plain[len(chunk):]
		if class == ClassContent && len(chunk) < ChunkSize {
			// Pad in the object's own, still zero memory and seal in place.
			padded := object[len(object) : len(object)+ChunkSize]
			copy(padded, chunk)
			chunk = padded
		}
		object = c.seal(object, chunk, i)
	}
	return object
}

// open verifies and decrypts a whole object whose header was parsed.
func (k objectKeys) open(h *header, ctx, object []byte) ([]byte, error) {
	c, commitment := newChunkCipher(k.class, h, ctx)
	if subtle.ConstantTimeCompare(commitment, object[prefixLen:HeaderLen]) != 1 {
		return nil, fmt.Errorf("%w: header of a %v object", ErrTampered, h.class)
	}
	plain := make([]byte, 0, h.plainLen())
	sealed := object[HeaderLen:]
	for i := range h.chunks {
		chunk := sealed[:min(SealedChunk, len(sealed))]
		sealed = sealed[len(chunk):]
		var err error
		if plain, err = c.open(plain, chunk, i); err != nil {
			return nil, err
		}
	}
	return plain, nil
}
