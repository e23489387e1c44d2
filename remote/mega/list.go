package mega

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"strings"
)

// maxElement is how many bytes one element of a long list may have.
const maxElement = 4 << 20

// errForm is that something is no JSON, or not where it should be.
var errForm = errors.New("it has another form")

// list takes a JSON list apart, one element at a time, without looking at more of them than where they end: whoever reads an element finds out whether it is JSON.
// An account's tree is one list of millions, for which encoding/json's decoder of streams takes longer than all else.
type list struct {
	r        io.Reader
	buf      []byte
	from, to int // what of buf is read and was not taken
	some     bool
}

// newList reads a list whose opening bracket was read.
func newList(r io.Reader) *list { return &list{r: r, buf: make([]byte, 64<<10)} }

// rest is what follows the list, after its end.
func (l *list) rest() io.Reader {
	return io.MultiReader(bytes.NewReader(bytes.Clone(l.buf[l.from:l.to])), l.r)
}

// more reads on. What lies at from then may be elsewhere in buf, and from with it.
func (l *list) more() error {
	if l.to == len(l.buf) {
		if l.from > 0 {
			l.to = copy(l.buf, l.buf[l.from:l.to])
			l.from = 0
		} else if len(l.buf) > maxElement {
			return errTooMuch
		} else {
			l.buf = append(l.buf, make([]byte, len(l.buf))...)
		}
	}
	for range 100 {
		n, err := l.r.Read(l.buf[l.to:])
		l.to += n
		if n > 0 {
			return nil
		}
		if err == io.EOF {
			return io.ErrUnexpectedEOF
		}
		if err != nil {
			return err
		}
	}
	return io.ErrNoProgress
}

// peek passes over space and returns what follows.
func (l *list) peek() (byte, error) {
	for {
		for ; l.from < l.to; l.from++ {
			if c := l.buf[l.from]; !space(c) {
				return c, nil
			}
		}
		if err := l.more(); err != nil {
			return 0, err
		}
	}
}

func space(c byte) bool { return c == ' ' || c == '\n' || c == '\r' || c == '\t' }

// next returns an element, which is valid until the next call, or nil after the last.
func (l *list) next() ([]byte, error) {
	c, err := l.peek()
	if err != nil {
		return nil, err
	}
	if c == ']' {
		l.from++
		return nil, nil
	}
	if l.some {
		if c != ',' {
			return nil, errForm
		}
		l.from++
		if c, err = l.peek(); err != nil {
			return nil, err
		}
	}
	l.some = true
	if c == ',' || c == ']' || c == '}' || c == ':' {
		return nil, errForm
	}
	n, err := l.end()
	if err != nil {
		return nil, err
	}
	b := l.buf[l.from : l.from+n]
	l.from += n
	return b, nil
}

// end returns how many bytes the element has that lies at from: up to the bracket or quote that closes it, or to what can't be part of a number or word.
func (l *list) end() (int, error) {
	depth, quoted := 0, false
	for i := 0; ; {
		b := l.buf[l.from:l.to]
		for ; i < len(b); i++ {
			c := b[i]
			switch {
			case quoted:
				n := bytes.IndexByte(b[i:], '"')
				if n < 0 {
					n = len(b) - i
				}
				if k := bytes.IndexByte(b[i:i+n], '\\'); k >= 0 {
					i += k + 1 // and over what is escaped
					continue
				}
				if i += n; i == len(b) {
					i--
					continue
				}
				quoted = false
			case c == '"':
				quoted = true
				continue
			case c == '{' || c == '[':
				depth++
				continue
			case c == '}' || c == ']':
				if depth == 0 {
					return i, nil
				}
				depth--
			case depth == 0 && (c == ',' || space(c)):
				return i, nil
			default:
				continue
			}
			if depth == 0 {
				return i + 1, nil
			}
		}
		if err := l.more(); err != nil {
			return 0, err
		}
	}
}

// parseNode reads an element of a list of nodes.
func parseNode(b []byte) (jsonNode, error) {
	if n, ok := plainNode(string(b)); ok {
		return n, nil
	}
	var n jsonNode
	err := json.Unmarshal(b, &n)
	return n, err
}

// plainNode reads a node as servers write them: without space, and with nothing but numbers and strings of ASCII without escapes. It reports false for all else, right or wrong.
func plainNode(s string) (n jsonNode, ok bool) {
	rest, ok := strings.CutPrefix(s, "{")
	if !ok {
		return n, false
	}
	for {
		var name, value string
		if name, rest, ok = plainText(rest); !ok || !strings.HasPrefix(rest, ":") {
			return n, false
		}
		rest = rest[1:]
		text := strings.HasPrefix(rest, `"`)
		if text {
			value, rest, ok = plainText(rest)
		} else {
			value, rest, ok = plainNumber(rest)
		}
		if !ok || !n.set(name, value, text) {
			return n, false
		}
		switch {
		case rest == "}":
			return n, true
		case !strings.HasPrefix(rest, ","):
			return n, false
		}
		rest = rest[1:]
	}
}

// set takes a field. It reports false for what is to be looked at more closely: other types, and names that encoding/json may take for one of these.
func (n *jsonNode) set(name, value string, text bool) bool {
	var to *string
	switch name {
	case "h":
		to = &n.H
	case "p":
		to = &n.P
	case "u":
		to = &n.U
	case "a":
		to = &n.A
	case "k":
		to = &n.K
	case "su":
		to = &n.SU
	case "sk":
		to = &n.SK
	case "t", "i":
		if text || len(value) != 1 {
			return false
		}
		digit := &digits[value[0]-'0']
		if name == "t" {
			n.T = digit
		} else {
			n.I = digit
		}
		return true
	case "s":
		n.S = jsonText(value)
		return !text
	case "ts":
		n.TS = jsonText(value)
		return !text
	default:
		return len(name) > 2 || name == strings.ToLower(name)
	}
	*to = value
	return text
}

// digits are what T and I point at, and are never changed.
var digits = [10]int{0, 1, 2, 3, 4, 5, 6, 7, 8, 9}

// plainText takes a string of ASCII without escapes off the front of s.
func plainText(s string) (text, rest string, ok bool) {
	if s == "" || s[0] != '"' {
		return "", "", false
	}
	for i := 1; i < len(s); i++ {
		switch c := s[i]; {
		case c == '"':
			return s[1:i], s[i+1:], true
		case c == '\\' || c < ' ' || c > '~':
			return "", "", false
		}
	}
	return "", "", false
}

// plainNumber takes a whole number off the front of s that is not negative.
func plainNumber(s string) (text, rest string, ok bool) {
	i := 0
	for i < len(s) && '0' <= s[i] && s[i] <= '9' {
		i++
	}
	return s[:i], s[i:], i == 1 || i > 1 && s[0] != '0'
}
