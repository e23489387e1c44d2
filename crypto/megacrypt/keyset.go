package megacrypt

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
)

// KeySet is what the official clients keep in the user attribute "^!keys": an account's own keys, and those of its shares. It is only ever read here: a client
// that writes it without knowing all of it breaks others.
type KeySet struct {
	Version    byte
	Created    uint32
	User       [8]byte
	Generation uint32 // of a rewrite; a lower one than was seen is a roll-back
	Signing    []byte // Ed25519 seed
	Exchange   []byte // Curve25519
	RSA        []byte // p, q, d
	Shares     map[string]ShareKey
}

// Format implements fmt.Formatter: keys are not printed.
func (*KeySet) Format(s fmt.State, _ rune) { s.Write([]byte("[secret]")) }

// ShareKey is the key of one share, by the handle of its folder.
type ShareKey struct {
	Key     Key
	Trusted bool
	InUse   bool
}

// Format implements fmt.Formatter: keys are not printed.
func (ShareKey) Format(s fmt.State, _ rune) { s.Write([]byte("[secret]")) }

// MaxKeySet is the most bytes that a key set has.
const MaxKeySet = 16 << 20

const (
	keySetMagic  = 20
	keySetHead   = 2 + 12
	shareKeySize = 6 + 16 + 1
)

// OpenKeySet decrypts and reads a key set.
func OpenKeySet(master Key, s string) (*KeySet, error) {
	b, err := Decode(s, MaxKeySet)
	if err != nil {
		return nil, err
	}
	if len(b) < keySetHead || b[0] != keySetMagic {
		return nil, malformed("key set")
	}
	key, err := hkdf.Key(sha256.New, master[:], nil, "\x01", 16)
	if err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	gcm, err := cipher.NewGCM(block)
	if err != nil {
		return nil, err
	}
	b, err = gcm.Open(nil, b[2:keySetHead], b[keySetHead:], nil)
	if err != nil {
		return nil, ErrKey
	}
	return parseKeySet(b)
}

func parseKeySet(b []byte) (*KeySet, error) {
	k := &KeySet{Shares: map[string]ShareKey{}}
	for len(b) > 0 {
		if len(b) < 4 {
			return nil, malformed("key set")
		}
		tag, n := b[0], int(b[1])<<16|int(b[2])<<8|int(b[3])
		if b = b[4:]; n > len(b) {
			return nil, malformed("key set")
		}
		v := b[:n]
		b = b[n:]
		right := true
		switch tag {
		case 1:
			if right = n == 1; right {
				k.Version = v[0]
			}
		case 2:
			if right = n == 4; right {
				k.Created = binary.BigEndian.Uint32(v)
			}
		case 3:
			if right = n == 8; right {
				copy(k.User[:], v)
			}
		case 4:
			if right = n == 4; right {
				k.Generation = binary.BigEndian.Uint32(v)
			}
		case 16:
			k.Signing = v
		case 17:
			k.Exchange = v
		case 18:
			k.RSA = v
		case 48:
			right = n%shareKeySize == 0
			for ; right && len(v) > 0; v = v[shareKeySize:] {
				k.Shares[Encode(v[:6])] = ShareKey{Key(v[6:22]), v[22]&1 != 0, v[22]&2 != 0}
			}
		}
		if !right {
			return nil, malformed("key set")
		}
	}
	return k, nil
}
