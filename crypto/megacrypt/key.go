package megacrypt

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/subtle"
	"encoding/binary"
	"fmt"
)

// BlockSize is AES's.
const BlockSize = aes.BlockSize

// Key is an AES-128 key: a master key, a folder's key, a share's.
type Key [16]byte

// NewKey returns a fresh random key.
func NewKey() (k Key) {
	rand.Read(k[:])
	return k
}

// Format implements fmt.Formatter: keys are not printed.
func (Key) Format(s fmt.State, _ rune) { s.Write([]byte("[secret]")) }

// zero reports whether all bytes are zero.
func (k Key) zero() bool { return subtle.ConstantTimeCompare(k[:], make([]byte, 16)) == 1 }

func (k Key) block() cipher.Block {
	b, err := aes.NewCipher(k[:])
	if err != nil {
		panic(err) // 16 bytes are always right
	}
	return b
}

// Wrap encrypts whole blocks one by one (AES-ECB), as MEGA wraps keys. A client must wrap under its master key only what it made itself: whoever
// encrypts what a server chose hands it pieces for forging. It panics when b is not whole blocks.
func (k Key) Wrap(b []byte) []byte {
	if len(b)%BlockSize != 0 {
		panic("megacrypt: not whole blocks")
	}
	c, out := k.block(), make([]byte, len(b))
	for i := 0; i < len(b); i += BlockSize {
		c.Encrypt(out[i:], b[i:])
	}
	return out
}

// Unwrap is the reverse of Wrap. There is no telling whether b is what was wrapped.
func (k Key) Unwrap(b []byte) ([]byte, error) {
	if len(b)%BlockSize != 0 {
		return nil, malformed("wrapped key")
	}
	out := bytes.Clone(b)
	return out, k.Unwrapper().Unwrap(out)
}

// Unwrapper unwraps many keys under one: it keeps what is computed of that one. It may be used by many goroutines.
type Unwrapper struct{ c cipher.Block }

// Unwrapper returns the key's.
func (k Key) Unwrapper() Unwrapper { return Unwrapper{k.block()} }

// Unwrap is Key.Unwrap in the place of b.
func (u Unwrapper) Unwrap(b []byte) error {
	if len(b)%BlockSize != 0 {
		return malformed("wrapped key")
	}
	for i := 0; i < len(b); i += BlockSize {
		u.c.Decrypt(b[i:], b[i:])
	}
	return nil
}

// UnwrapKey takes the text form of a wrapped key of 16 bytes.
func (k Key) UnwrapKey(s string) (Key, error) {
	b, err := DecodeExact(s, 16)
	if err != nil {
		return Key{}, err
	}
	b, err = k.Unwrap(b)
	return Key(b), err
}

// ParseFolderKey takes an unwrapped folder key.
func ParseFolderKey(b []byte) (Key, error) {
	if len(b) != 16 {
		return Key{}, malformed("folder key")
	}
	if k := Key(b); !k.zero() {
		return k, nil
	}
	return Key{}, ErrWeak
}

// FileKey is all that a file's content and attributes hang on: the AES key, the nonce, and the condensed MAC of the content.
type FileKey struct {
	Key   Key
	Nonce [8]byte
	Meta  [8]byte
}

// NewFileKey returns a fresh key for new content. Its Meta is known when the content is.
func NewFileKey() (k FileKey) {
	rand.Read(k.Key[:])
	rand.Read(k.Nonce[:])
	return k
}

// Format implements fmt.Formatter: keys are not printed.
func (FileKey) Format(s fmt.State, _ rune) { s.Write([]byte("[secret]")) }

// Pack returns the 32 bytes in which a file key travels, before it is wrapped.
func (k FileKey) Pack() []byte {
	b := make([]byte, 32)
	copy(b[16:], k.Nonce[:])
	copy(b[24:], k.Meta[:])
	subtle.XORBytes(b, k.Key[:], b[16:])
	return b
}

// ParseFileKey is the reverse of Pack. It refuses equal halves: they give an all-zero AES key, which whoever exchanges wrapped blocks can bring about.
func ParseFileKey(b []byte) (FileKey, error) {
	var k FileKey
	if len(b) != 32 {
		return k, malformed("file key")
	}
	subtle.XORBytes(k.Key[:], b[:16], b[16:])
	copy(k.Nonce[:], b[16:])
	copy(k.Meta[:], b[24:])
	if k.Key.zero() {
		return FileKey{}, ErrWeak
	}
	return k, nil
}

// A32 returns bytes as the 32-bit words that older descriptions of the API speak of; the last is padded with zeros.
func A32(b []byte) []uint32 {
	out := make([]uint32, 0, (len(b)+3)/4)
	for ; len(b) >= 4; b = b[4:] {
		out = append(out, binary.BigEndian.Uint32(b))
	}
	if len(b) > 0 {
		var last [4]byte
		copy(last[:], b)
		out = append(out, binary.BigEndian.Uint32(last[:]))
	}
	return out
}
