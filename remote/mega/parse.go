package mega

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"strconv"
	"strings"

	"megafs/crypto/megacrypt"
	"megafs/remote"
)

// Limits of what the server says.
const (
	maxTree   = 8 << 30   // bytes of the whole tree
	maxString = 256 << 10 // bytes of one string
	maxDepth  = 64
	maxNodes  = 50_000_000
	maxParts  = 64       // of a node's keys
	maxFile   = 16 << 40 // bytes of a file, as much as the largest account holds: each 4 MiB are a piece that is told
)

// guard reads JSON, and fails where a string is too long or brackets nest too deep, before a parser collects it.
type guard struct {
	r      io.Reader
	left   int64
	length int
	depth  int
	quoted bool
	escape bool
}

var errTooMuch = remote.E("read the server's answer", "", remote.Integrity, errors.New("it goes beyond all limits"))

func newGuard(r io.Reader, most int64) *guard { return &guard{r: r, left: most} }

// Read implements io.Reader.
func (g *guard) Read(b []byte) (int, error) {
	n, err := g.r.Read(b)
	if g.left -= int64(n); g.left < 0 {
		return 0, errTooMuch
	}
	for i := 0; i < n; i++ {
		c := b[i]
		switch {
		case g.quoted:
			if !g.escape { // at once up to where the string may end
				skip := bytes.IndexByte(b[i:n], '"')
				if skip < 0 {
					skip = n - i
				}
				if k := bytes.IndexByte(b[i:i+skip], '\\'); k >= 0 {
					skip = k
				}
				if g.length += skip; g.length > maxString {
					return 0, errTooMuch
				}
				if i += skip; i == n {
					break
				}
				c = b[i]
			}
			if g.length++; g.length > maxString {
				return 0, errTooMuch
			}
			switch {
			case g.escape:
				g.escape = false
			case c == '\\':
				g.escape = true
			case c == '"':
				g.quoted = false
			}
		case c == '"':
			g.quoted, g.length = true, 0
		case c == '{' || c == '[':
			if g.depth++; g.depth > maxDepth {
				return 0, errTooMuch
			}
		case c == '}' || c == ']':
			g.depth--
		}
	}
	return n, err
}

// jsonNode is a node as the server tells it.
type jsonNode struct {
	H  string   `json:"h"`
	P  string   `json:"p"`
	U  string   `json:"u"`
	A  string   `json:"a"`
	K  string   `json:"k"`
	T  *int     `json:"t"`
	S  jsonText `json:"s"` // what is no number must not spoil the whole tree
	TS jsonText `json:"ts"`
	I  *int     `json:"i"`
	SU string   `json:"su"` // who shares it with the account, on the topmost folder of a share
	SK string   `json:"sk"` // and the share's key
}

// jsonText is a value as it stands there, whatever it is.
type jsonText string

// UnmarshalJSON implements json.Unmarshaler.
func (t *jsonText) UnmarshalJSON(b []byte) error {
	*t = jsonText(b)
	return nil
}

// Types of nodes.
const (
	typeFile    = 0
	typeFolder  = 1
	typeRoot    = 2
	typeVault   = 3
	typeRubbish = 4
)

// keys are what opens the keys of an account's nodes: the master key under the user's handle, and shares' keys under their folders'.
type keys map[string]megacrypt.Unwrapper

// node makes a node of what the server says, nil of what is none. One whose key or attributes make no sense has no key.
func (ks keys) node(j *jsonNode, own string) *node {
	n, _ := ks.read(j, own)
	return n
}

// read is node with the node's attributes, nil if they make no sense.
func (ks keys) read(j *jsonNode, own string) (*node, megacrypt.Attributes) {
	if !megacrypt.ValidHandle(j.H) || j.T == nil || *j.T != typeFile && *j.T != typeFolder || len(j.A) > megacrypt.MaxAttributes*4/3+4 {
		return nil, nil
	}
	n := &node{handle: j.H, parent: j.P, folder: *j.T == typeFolder, attrs: j.A, object: nodeObject(j.H)}
	if ts, err := strconv.ParseInt(string(j.TS), 10, 64); err == nil && ts > -maxSeconds && ts < maxSeconds {
		n.ts = ts
	}
	if !n.folder {
		s, err := strconv.ParseUint(string(j.S), 10, 63)
		if err != nil || s > maxFile {
			return nil, nil // no size that a file can have
		}
		n.size = s
	}
	if n.key, n.lent = ks.unwrap(j.K, own, n.folder); n.key == nil {
		return n, nil
	}
	at, err := n.attributes()
	if err != nil {
		n.key = nil
		return n, nil
	}
	if !n.folder && n.size == 0 { // nothing is ever read of it, so that it was more is seen now or never
		if k, err := megacrypt.ParseFileKey(n.key); err != nil || k.Verify(0, nil) != nil {
			n.key = nil
			return n, nil
		}
	}
	return n, at
}

// unwrap takes the first key out of a list that is for us, nil if there is none to be used. lent says that it was wrapped under another key than our own, and that none was under ours.
func (ks keys) unwrap(list, own string, folder bool) (key []byte, lent bool) {
	size := 32
	if folder {
		size = 16
	}
	if len(list) > maxString {
		return nil, false
	}
	for i, more := 0, true; more && i < maxParts; i++ {
		var part string
		part, list, more = strings.Cut(list, "/")
		owner, wrapped, ok := strings.Cut(part, ":")
		if !ok {
			owner, wrapped = own, part
		}
		k, ok := ks[owner]
		if !ok {
			continue
		}
		b, err := megacrypt.DecodeExact(wrapped, size)
		if err != nil {
			continue // of another kind, such as RSA, which is for others
		}
		err = k.Unwrap(b)
		if err == nil && folder {
			_, err = megacrypt.ParseFolderKey(b)
		} else if err == nil {
			_, err = megacrypt.ParseFileKey(b)
		}
		if err == nil && owner == own {
			return b, false
		}
		if err == nil && key == nil {
			key = b
		}
	}
	return key, key != nil
}

// treeSink takes an account's tree as it is read.
type treeSink struct {
	node func(*jsonNode) error
	sn   string
	bad  int // nodes of another form
}

// readTree reads the answer to a request for the tree, node by node.
func readTree(r io.Reader, s *treeSink) error {
	in := io.Reader(newGuard(r, maxTree))
	d := json.NewDecoder(in)
	void := func(err error) error {
		if err == nil {
			err = errForm
		} else if err != errForm && remote.KindOf(err) == remote.Other && !isSyntax(err) {
			return err // the line
		}
		return remote.E("read the tree", "", remote.Integrity, err)
	}
	t, err := d.Token()
	if n, ok := t.(float64); ok && n < 0 {
		return fail("read the tree", Code(n))
	}
	if t != json.Delim('[') || err != nil {
		return void(err)
	}
	if t, err = d.Token(); err != nil {
		return void(err)
	}
	if n, ok := t.(float64); ok && n < 0 {
		return fail("read the tree", Code(n))
	}
	if t != json.Delim('{') {
		return void(nil)
	}
	count, listed := 0, false
	for d.More() {
		t, err := d.Token()
		if err != nil {
			return void(err)
		}
		switch t {
		case "f":
			if t, err := d.Token(); err != nil || t != json.Delim('[') || listed {
				return void(err)
			}
			listed = true
			l := newList(io.MultiReader(d.Buffered(), in))
			for {
				b, err := l.next()
				if err != nil {
					return void(err)
				}
				if b == nil {
					break
				}
				var typ *json.UnmarshalTypeError
				n, err := parseNode(b)
				if errors.As(err, &typ) || err == nil && n.T == nil {
					s.bad++
					continue
				} else if err != nil {
					return void(err)
				}
				if count++; count > maxNodes {
					return errTooMuch
				}
				if err := s.node(&n); err != nil {
					return err
				}
			}
			// The decoder goes on behind the list, as if it had been empty.
			in = l.rest()
			d = json.NewDecoder(io.MultiReader(strings.NewReader(`[{"f":[]`), in))
			for range 5 {
				if _, err := d.Token(); err != nil {
					return void(err)
				}
			}
		case "sn":
			if err := d.Decode(&s.sn); err != nil {
				return void(err)
			}
		default:
			if err := skip(d); err != nil {
				return void(err)
			}
		}
	}
	if _, err := d.Token(); err != nil {
		return void(err)
	}
	if _, err := megacrypt.DecodeExact(s.sn, 8); err != nil {
		return remote.E("read the tree", "", remote.Integrity, errors.New("the server does not say where its events begin"))
	}
	return nil
}

func isSyntax(err error) bool {
	var s *json.SyntaxError
	var t *json.UnmarshalTypeError
	return errors.As(err, &s) || errors.As(err, &t)
}

// skip passes over one value without keeping it.
func skip(d *json.Decoder) error {
	for depth := 0; ; {
		t, err := d.Token()
		if err != nil {
			return err
		}
		switch t {
		case json.Delim('['), json.Delim('{'):
			depth++
		case json.Delim(']'), json.Delim('}'):
			depth--
		}
		if depth == 0 {
			return nil
		}
	}
}
