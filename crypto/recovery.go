package crypto

import (
	"crypto/sha256"
	"encoding/base32"
	"fmt"
	"strings"
)

const (
	recoveryChars = 52 // base32 characters of a 256-bit key
	recoveryCheck = 4  // check characters
	recoveryGroup = 4

	labelRecovery = "megafs-vault/1 recovery\x00"
)

var recoveryEncoding = base32.StdEncoding.WithPadding(base32.NoPadding)

// FormatRecovery writes a recovery key for printing: 14 groups of 4 letters and digits,
// joined by dashes. The last group is a check of the others. It panics if the
// key does not have 32 bytes.
func FormatRecovery(key Secret) string {
	if key.Len() != keySize {
		panic("crypto: formatting a recovery key of another length")
	}
	s := recoveryEncoding.EncodeToString(key.Bytes()) + recoveryCheckOf(key.Bytes())
	var b strings.Builder
	for i := 0; i < len(s); i += recoveryGroup {
		if i > 0 {
			b.WriteByte('-')
		}
		b.WriteString(s[i : i+recoveryGroup])
	}
	return b.String()
}

func recoveryCheckOf(key []byte) string {
	h := sha256.New()
	h.Write([]byte(labelRecovery))
	h.Write(key)
	return recoveryEncoding.EncodeToString(h.Sum(nil))[:recoveryCheck]
}

// ParseRecovery reads what FormatRecovery wrote, whatever the case, the spaces and the
// dashes, and with 0, 1 and 8 for O, I and B, which are not in use. It fails with ErrUnlock, and says where to look.
func ParseRecovery(s string) (Secret, error) {
	b := make([]byte, 0, recoveryChars+recoveryCheck+1)
	defer func() { clear(b[:cap(b)]) }()
	for _, c := range s {
		switch {
		case c == ' ' || c == '-' || c == '\t' || c == '\r' || c == '\n':
			continue
		case c >= 'a' && c <= 'z':
			c -= 'a' - 'A'
		case c == '0':
			c = 'O'
		case c == '1':
			c = 'I'
		case c == '8':
			c = 'B'
		}
		if !(c >= 'A' && c <= 'Z' || c >= '2' && c <= '7') {
			return Secret{}, fmt.Errorf("%w: a recovery key has only letters and digits; look at group %d", ErrUnlock, len(b)/recoveryGroup+1)
		}
		if len(b) == recoveryChars+recoveryCheck {
			return Secret{}, fmt.Errorf("%w: the recovery key is too long", ErrUnlock)
		}
		b = append(b, byte(c))
	}
	if len(b) < recoveryChars+recoveryCheck {
		return Secret{}, fmt.Errorf("%w: the recovery key is too short, %d characters of %d", ErrUnlock, len(b), recoveryChars+recoveryCheck)
	}
	key := make([]byte, keySize)
	_, err := recoveryEncoding.Decode(key, b[:recoveryChars])
	// The last character has four bits more than the key: encoding again finds a
	// mistake there, which decoding ignores.
	if err != nil || recoveryEncoding.EncodeToString(key) != string(b[:recoveryChars]) ||
		recoveryCheckOf(key) != string(b[recoveryChars:]) {
		clear(key)
		return Secret{}, fmt.Errorf("%w: a character of the recovery key is mistyped", ErrUnlock)
	}
	return NewSecret(key), nil
}
