package megacrypt

import (
	"bytes"
	"crypto/cipher"
	"crypto/subtle"
	"encoding/json"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Limits of attributes.
const (
	MaxAttributes     = 64 << 10 // bytes, as they are stored
	maxAttributeDepth = 8
	maxAttributeCount = 256
)

// Attributes are what a node says of itself: "n" is its name, "c" its fingerprint. MEGA's clients keep those that they don't know. All values are strings, as
// the official clients make them when they write them back: what is stored as a number, a list or an object is its text here.
type Attributes map[string]string

// DecodeAttributes decrypts attributes. That they begin as they should is the one sign that key and attributes belong together.
func DecodeAttributes(key Key, s string) (Attributes, error) {
	if len(s) > MaxAttributes*4/3+4 {
		return nil, malformed("attributes")
	}
	b, err := Decode(s, MaxAttributes)
	if err != nil {
		return nil, err
	}
	if len(b) == 0 || len(b)%BlockSize != 0 {
		return nil, malformed("attributes")
	}
	// Block by block from the end: package cipher's CBC makes a copy of the key's schedule, and attributes are short and many.
	c := key.block()
	for i := len(b) - BlockSize; i > 0; i -= BlockSize {
		c.Decrypt(b[i:], b[i:])
		subtle.XORBytes(b[i:], b[i:i+BlockSize], b[i-BlockSize:i])
	}
	c.Decrypt(b, b)
	if !bytes.HasPrefix(b, []byte("MEGA{")) {
		return nil, ErrKey
	}
	b = b[4:]
	if i := bytes.IndexByte(b, 0); i >= 0 {
		b = b[:i]
	}
	return parseAttributes(b)
}

// parseAttributes reads a JSON object strictly: UTF-8, nothing twice, nothing after it.
func parseAttributes(b []byte) (Attributes, error) {
	if !utf8.Valid(b) || !shallow(b, maxAttributeDepth) {
		return nil, malformed("attributes")
	}
	if a, ok := plainAttributes(b); ok {
		return a, nil
	}
	return anyAttributes(b)
}

// plainAttributes reads what all clients write: strings only, with nothing in them that is escaped, and no space between. An account has millions. It reports
// false for all else, right or wrong. b is UTF-8.
func plainAttributes(b []byte) (Attributes, bool) {
	s := string(b)
	rest, ok := strings.CutPrefix(s, "{")
	if !ok {
		return nil, false
	}
	a := Attributes{}
	for {
		name, after, ok := plainString(rest)
		if !ok || len(a) == maxAttributeCount || !strings.HasPrefix(after, ":") {
			return nil, false
		}
		value, after, ok := plainString(after[1:])
		if _, twice := a[name]; !ok || twice {
			return nil, false
		}
		a[name] = value
		switch {
		case after == "}":
			return a, true
		case !strings.HasPrefix(after, ","):
			return nil, false
		}
		rest = after[1:]
	}
}

// plainString takes a JSON string off the front of s, if there is one without escapes.
func plainString(s string) (text, rest string, ok bool) {
	if s == "" || s[0] != '"' {
		return "", "", false
	}
	for i := 1; i < len(s); i++ {
		switch c := s[i]; {
		case c == '"':
			return s[1:i], s[i+1:], true
		case c == '\\' || c < ' ':
			return "", "", false
		}
	}
	return "", "", false
}

// anyAttributes is parseAttributes for whatever else a client may write.
func anyAttributes(b []byte) (Attributes, error) {
	d := json.NewDecoder(bytes.NewReader(b))
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return nil, malformed("attributes")
	}
	a := Attributes{}
	for d.More() {
		t, err := d.Token()
		name, ok := t.(string)
		if err != nil || !ok || len(a) == maxAttributeCount {
			return nil, malformed("attributes")
		}
		if _, twice := a[name]; twice {
			return nil, malformed("attributes")
		}
		var raw json.RawMessage
		if err := d.Decode(&raw); err != nil {
			return nil, malformed("attributes")
		}
		switch v := string(raw); {
		case v == "null":
		case v == "true":
			a[name] = "1"
		case v == "false":
			a[name] = "0"
		case v[0] == '"':
			var text string
			if err := json.Unmarshal(raw, &text); err != nil {
				return nil, malformed("attributes")
			}
			a[name] = text
		default:
			a[name] = v
		}
	}
	if t, err := d.Token(); err != nil || t != json.Delim('}') {
		return nil, malformed("attributes")
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, malformed("attributes")
	}
	return a, nil
}

// shallow reports whether brackets nest at most so deep, before anything recurses into them.
func shallow(b []byte, most int) bool {
	depth, quoted := 0, false
	for i := 0; i < len(b); i++ {
		switch c := b[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '{' || c == '[':
			if depth++; depth > most {
				return false
			}
		case c == '}' || c == ']':
			depth--
		}
	}
	return true
}

// Encode encrypts attributes in the form that all clients can read: compact, strings only, UTF-8 as it is.
func (a Attributes) Encode(key Key) (string, error) {
	b := []byte("MEGA{")
	names := slices.SortedFunc(maps.Keys(a), func(x, y string) int {
		if len(x) != len(y) {
			return len(x) - len(y)
		}
		return strings.Compare(x, y)
	})
	for i, n := range names {
		if !utf8.ValidString(n) || !utf8.ValidString(a[n]) {
			return "", malformed("attributes")
		}
		if i > 0 {
			b = append(b, ',')
		}
		b = append(quote(b, n), ':')
		b = quote(b, a[n])
	}
	b = append(b, '}')
	if r := len(b) % BlockSize; r > 0 {
		b = append(b, make([]byte, BlockSize-r)...)
	}
	if len(b) > MaxAttributes {
		return "", malformed("attributes")
	}
	cipher.NewCBCEncrypter(key.block(), make([]byte, BlockSize)).CryptBlocks(b, b)
	return Encode(b), nil
}

// quote appends a JSON string. Of escapes the official clients know the short ones and \u00XX; encoding/json writes others too.
func quote(b []byte, s string) []byte {
	b = append(b, '"')
	for i := range len(s) {
		switch c := s[i]; {
		case c == '"' || c == '\\':
			b = append(b, '\\', c)
		case c == '\n':
			b = append(b, `\n`...)
		case c == '\r':
			b = append(b, `\r`...)
		case c == '\t':
			b = append(b, `\t`...)
		case c < 0x20:
			b = append(b, `\u00`...)
			if c < 0x10 {
				b = append(b, '0')
			}
			b = strconv.AppendUint(b, uint64(c), 16)
		default:
			b = append(b, c)
		}
	}
	return append(b, '"')
}
