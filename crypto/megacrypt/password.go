package megacrypt

import (
	"crypto/pbkdf2"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/subtle"
	"strings"
	"unicode/utf16"
)

// PasswordKeyV1 returns the key that wraps the master key of an account of version 1. pieces is the password as bytes: in UTF-8, or as
// [LegacyPassword] has it.
func PasswordKeyV1(password []byte) Key {
	x := Key{0x93, 0xC4, 0x67, 0xE3, 0x7D, 0xB0, 0xC7, 0xA4, 0xD1, 0xBE, 0x3F, 0x81, 0x01, 0x52, 0xCB, 0x56}
	blocks := make([]interface{ Encrypt(dst, src []byte) }, 0, (len(password)+15)/16)
	for ; len(password) > 0; password = password[min(16, len(password)):] {
		var piece Key
		copy(piece[:], password)
		blocks = append(blocks, piece.block())
	}
	for range 65536 {
		for _, b := range blocks {
			b.Encrypt(x[:], x[:])
		}
	}
	return x
}

// LegacyPassword returns a password as the official clients of accounts of version 1 took it: a byte for each UTF-16 unit, of which a part above 255 goes
// into the byte before. For ASCII that is the password itself.
func LegacyPassword(password string) []byte {
	units := utf16.Encode([]rune(password))
	out := make([]byte, len(units))
	for i, u := range units {
		out[i] |= byte(u)
		if i%4 != 0 { // within a word of 32 bits; what leaves it is lost
			out[i-1] |= byte(u >> 8)
		}
	}
	return out
}

// HashV1 returns what a log-in of version 1 sends for a password.
func HashV1(email string, key Key) string {
	var h [16]byte
	email = strings.ToLower(email)
	for i := range len(email) {
		h[i%16] ^= email[i]
	}
	c := key.block()
	for range 16384 {
		c.Encrypt(h[:], h[:])
	}
	return Encode(append(h[:4:4], h[8:12]...))
}

// SaltV2 returns the salt of an account of version 2 that a client's random value gives.
func SaltV2(random [16]byte) [32]byte {
	return sha256.Sum256(append([]byte("mega.nz"+strings.Repeat("P", 193)), random[:]...))
}

// DeriveV2 returns the key that wraps the master key of an account of version 2, and the authentication key, whose text form is sent.
func DeriveV2(password string, salt []byte) (key, auth Key, err error) {
	b, err := pbkdf2.Key(sha512.New, password, salt, 100000, 32)
	if err != nil {
		return key, auth, err
	}
	return Key(b[:16]), Key(b[16:]), nil
}

// HashedAuth is what a server keeps of an authentication key.
func HashedAuth(auth Key) (h [16]byte) {
	sum := sha256.Sum256(auth[:])
	copy(h[:], sum[:])
	return h
}

// CheckAuth reports whether what a log-in of version 2 sent fits what the server keeps.
func CheckAuth(sent string, kept [16]byte) bool {
	b, err := DecodeExact(sent, 16)
	if err != nil {
		return false
	}
	h := HashedAuth(Key(b))
	return subtle.ConstantTimeCompare(h[:], kept[:]) == 1
}
