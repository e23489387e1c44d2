package crypto

import (
	"bytes"
	"crypto/rand"
	"crypto/subtle"
	"fmt"
	"io"
	"log/slog"
)

const redacted = "[secret]"

// Secret owns bytes that must not be shown. Copies of a Secret share the bytes.
// The zero Secret is empty.
//
// The bytes are behind two pointers on purpose: fmt cannot call methods on
// unexported struct fields and walks them by reflection instead, but it prints a
// nested pointer as an address and does not follow it. It does follow the first one
// for verbs that make no sense for a pointer, such as %s.
type Secret struct{ box *secretBytes }

type secretBytes struct{ b *[]byte }

// NewSecret takes over b: the caller must not use it any more.
func NewSecret(b []byte) Secret { return Secret{&secretBytes{&b}} }

func copySecret(b []byte) Secret { return NewSecret(bytes.Clone(b)) }

func randomSecret(n int) Secret {
	b := make([]byte, n)
	rand.Read(b) // never fails: it ends the process instead
	return NewSecret(b)
}

// Bytes returns the bytes themselves, not a copy; they are cleared by Wipe.
func (s Secret) Bytes() []byte {
	if s.box == nil {
		return nil
	}
	return *s.box.b
}

// Len is the number of bytes, 0 after Wipe.
func (s Secret) Len() int { return len(s.Bytes()) }

// Clone returns a Secret with its own copy of the bytes.
func (s Secret) Clone() Secret { return copySecret(s.Bytes()) }

// Wipe clears the bytes of this Secret and all its copies and leaves them
// empty, so that a wiped key is a missing key and never one of zeros.
func (s Secret) Wipe() {
	if s.box == nil {
		return
	}
	clear(*s.box.b)
	*s.box.b = nil
}

// Equal compares in time that depends on the lengths only.
func (s Secret) Equal(o Secret) bool {
	return subtle.ConstantTimeCompare(s.Bytes(), o.Bytes()) == 1
}

func (s Secret) String() string               { return redacted }
func (s Secret) GoString() string             { return redacted }
func (s Secret) Format(f fmt.State, _ rune)   { io.WriteString(f, redacted) }
func (s Secret) MarshalJSON() ([]byte, error) { return []byte(`"` + redacted + `"`), nil }
func (s Secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }
func (s Secret) LogValue() slog.Value         { return slog.StringValue(redacted) }
