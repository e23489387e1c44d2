package mega

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"errors"

	"megafs/remote"
)

// sealer seals verified content for this machine's cache. A chunk has room for a tag and for nothing else, and what a server gives for a name may differ from
// time to time, so a nonce can't be made of the name alone: the tag is a MAC of name and plaintext, and the nonce of the encryption (SIV). Other content has another nonce.
type sealer struct {
	block cipher.Block
	mac   []byte
}

func newSealer(key [32]byte) sealer {
	half := func(label string) []byte {
		m := hmac.New(sha256.New, key[:])
		m.Write([]byte(label))
		return m.Sum(nil)
	}
	b, err := aes.NewCipher(half("encrypt"))
	if err != nil {
		panic(err) // the length is right
	}
	return sealer{b, half("authenticate")}
}

const tagSize = remote.SealedChunk - remote.ChunkSize

func (s sealer) tag(id remote.ObjectID, i int, plain []byte) []byte {
	m := hmac.New(sha256.New, s.mac)
	m.Write(id[:])
	m.Write(binary.BigEndian.AppendUint32(nil, uint32(i)))
	m.Write(plain)
	return m.Sum(nil)[:tagSize]
}

// chunk seals one chunk of plaintext into dst.
func (s sealer) chunk(id remote.ObjectID, i int, plain, dst []byte) {
	t := s.tag(id, i, plain)
	copy(dst[remote.ChunkSize:], t)
	cipher.NewCTR(s.block, t).XORKeyStream(dst[:remote.ChunkSize], plain[:remote.ChunkSize])
}

// open is the reverse of chunk.
func (s sealer) open(id remote.ObjectID, i int, sealed, dst []byte) error {
	if len(sealed) != remote.SealedChunk || len(dst) < remote.ChunkSize {
		return remote.E("open content", "", remote.Integrity, errors.New("a chunk of another length"))
	}
	t := sealed[remote.ChunkSize:]
	cipher.NewCTR(s.block, t).XORKeyStream(dst[:remote.ChunkSize], sealed[:remote.ChunkSize])
	if !hmac.Equal(t, s.tag(id, i, dst[:remote.ChunkSize])) {
		clear(dst[:remote.ChunkSize])
		return remote.E("open content", "", remote.Integrity, errors.New("a chunk that was not sealed here"))
	}
	return nil
}

// sealPiece seals a piece's plaintext behind room for a head, as the cache wants it.
func (s sealer) sealPiece(ref remote.Ref, plain []byte) []byte {
	out := make([]byte, sealedHead+int(ref.Chunks)*remote.SealedChunk)
	var last [remote.ChunkSize]byte
	for i := range int(ref.Chunks) {
		p := plain[min(len(plain), i*remote.ChunkSize):min(len(plain), (i+1)*remote.ChunkSize)]
		if len(p) < remote.ChunkSize {
			clear(last[copy(last[:], p):])
			p = last[:]
		}
		s.chunk(ref.Object, i, p, out[sealedHead+i*remote.SealedChunk:])
	}
	return out
}

// sealedHead is how many bytes come before the first chunk of a sealed object, by the cache's rules.
const sealedHead = 80
