package mega

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"

	"megafs/remote"
)

// events is an answer to the question what happened.
type events struct {
	wait    string // URL that answers when there is more
	sn      string
	more    bool
	packets []packet
}

// packet is one event, as far as it matters here.
type packet struct {
	A string `json:"a"`
	I string `json:"-"` // the tag of the command that it comes of
	T struct {
		F  []jsonNode `json:"f"`
		F2 []jsonNode `json:"f2"`
	} `json:"t"`
	N  string          `json:"n"`
	AT string          `json:"at"`
	M  json.RawMessage `json:"m"`

	share shareEvent
}

// readEvents reads an answer of sc.
func readEvents(r io.Reader) (*events, error) {
	b, err := readAll(newGuard(r, maxReply), maxReply)
	if err != nil {
		return nil, err
	}
	if code, ok := bare(b); ok {
		return nil, fail("ask for events", code)
	}
	var raw struct {
		W  string            `json:"w"`
		SN string            `json:"sn"`
		A  []json.RawMessage `json:"a"`
		IR int               `json:"ir"`
	}
	if err := json.Unmarshal(b, &raw); err != nil {
		return nil, remote.E("ask for events", "", remote.Integrity, errors.New("the answer is no answer"))
	}
	e := &events{wait: raw.W, sn: raw.SN, more: raw.IR != 0}
	for _, x := range raw.A {
		// What has another form is not ours to understand: most kinds of events don't matter here.
		var kind struct {
			A string          `json:"a"`
			I json.RawMessage `json:"i"` // another client's may be anything
		}
		if json.Unmarshal(x, &kind) != nil {
			continue
		}
		switch kind.A {
		case "s", "s2", "ua":
			p := packet{A: kind.A}
			if json.Unmarshal(x, &p.share) == nil {
				p.N = p.share.Node
				e.packets = append(e.packets, p)
			}
		case "t", "u", "d":
			var p packet
			if err := json.Unmarshal(x, &p); err != nil {
				return nil, remote.E("ask for events", "", remote.Integrity, errors.New("an event has another form"))
			}
			if json.Unmarshal(kind.I, &p.I) != nil {
				p.I = ""
			}
			e.packets = append(e.packets, p)
		}
	}
	return e, nil
}

func (p *packet) moves() bool { return bytes.Equal(p.M, []byte("1")) }
