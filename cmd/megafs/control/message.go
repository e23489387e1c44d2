package control

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
)

// The limits of a request.
const (
	maxRequest  = 64 << 10
	maxDepth    = 16
	maxResponse = 16 << 20
)

// Request is what a command asks.
type Request struct {
	Op   string `json:"op"`
	Path []byte `json:"path,omitzero"` // relative to the mount's root; names are bytes, which need not be UTF-8
	Lazy bool   `json:"lazy,omitempty"`
	Wait bool   `json:"wait,omitempty"`
	Up   *int64 `json:"up,omitempty"`   // bytes a second; nil: as it is
	Down *int64 `json:"down,omitempty"` // likewise
}

// Failure is an error that crossed the socket: its text, and the exit code of the command that gets it.
type Failure struct {
	Text string `json:"text"`
	Code int    `json:"code"`
}

// Error implements error.
func (f *Failure) Error() string { return f.Text }

// response has a result or a failure.
type response struct {
	Result  json.RawMessage `json:"result,omitempty"`
	Failure *Failure        `json:"failure,omitempty"`
}

// parse reads a request. Whatever it is not sure about it refuses.
func parse(line []byte) (r Request, err error) {
	if len(line) > maxRequest {
		return r, errors.New("request too large")
	}
	if err := shallow(line); err != nil {
		return r, err
	}
	d := json.NewDecoder(bytes.NewReader(line))
	d.DisallowUnknownFields()
	if err := d.Decode(&r); err != nil {
		return Request{}, errors.New("not a request")
	}
	if d.More() {
		return Request{}, errors.New("more than a request")
	}
	return r, nil
}

// shallow fails for JSON that is nested too deeply to be looked at.
func shallow(b []byte) error {
	depth, quoted := 0, false
	for i := 0; i < len(b); i++ {
		switch c := b[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '{' || c == '[':
			if depth++; depth > maxDepth {
				return fmt.Errorf("request nested more than %d deep", maxDepth)
			}
		case c == '}' || c == ']':
			depth--
		}
	}
	return nil
}
