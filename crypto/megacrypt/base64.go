package megacrypt

import (
	"encoding/base64"
	"errors"
	"fmt"
)

// What can be wrong with bytes from outside. Each error of this package wraps one of them.
var (
	ErrFormat = errors.New("not in MEGA's format")                      // too long, too short, wrong alphabet or structure
	ErrKey    = errors.New("the key does not fit")                      // decryption gave no sense
	ErrWeak   = errors.New("the key is predictable")                    // halves that cancel out, all zeros
	ErrMAC    = errors.New("the content is not what was stored")        // a MAC differs
	ErrLogin  = errors.New("the server's answer to the log-in is void") // whatever was wrong with it
)

func malformed(what string) error { return fmt.Errorf("%s: %w", what, ErrFormat) }

// Encode returns the text form of bytes: base64url without padding.
func Encode(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

// Decode returns the bytes of a text form, at most max. Beside base64url it takes the standard alphabet, padding, and the commas that old clients wrote for it.
// Spare bits of the last character need not be zero, since not all clients make them so.
func Decode(s string, max int) ([]byte, error) {
	for len(s) > 0 && (s[len(s)-1] == '=' || s[len(s)-1] == ',') {
		s = s[:len(s)-1]
	}
	if len(s)%4 == 1 {
		return nil, malformed("base64")
	}
	n := base64.RawURLEncoding.DecodedLen(len(s))
	if n > max {
		return nil, malformed("base64")
	}
	out := make([]byte, 0, n+3)
	var word uint32
	for i := range len(s) {
		v := digits[s[i]]
		if v == bad {
			return nil, malformed("base64")
		}
		if word = word<<6 | uint32(v); i%4 == 3 {
			out = append(out, byte(word>>16), byte(word>>8), byte(word))
			word = 0
		}
	}
	switch len(s) % 4 {
	case 2:
		out = append(out, byte(word>>4))
	case 3:
		out = append(out, byte(word>>10), byte(word>>2))
	}
	return out, nil
}

// DecodeExact is Decode of exactly n bytes.
func DecodeExact(s string, n int) ([]byte, error) {
	b, err := Decode(s, n)
	if err == nil && len(b) != n {
		err = malformed("base64")
	}
	if err != nil {
		return nil, err
	}
	return b, nil
}

const bad = 0xff

var digits = func() (t [256]byte) {
	for i := range t {
		t[i] = bad
	}
	for i, c := range "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_" {
		t[c] = byte(i)
	}
	t['+'], t['/'] = 62, 63
	return t
}()
