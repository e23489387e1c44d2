package megaserver

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"errors"
	"net/http"
)

const (
	maxPackets = 1000    // in one answer
	maxAnswer  = 1 << 20 // bytes of packets, after which the rest is for the next answer
	maxHistory = 100_000 // packets kept for those who were away
	maxWaiters = 128     // of one account
)

// packetHead is how every packet begins.
type packetHead struct {
	Name string `json:"a"`
	Echo string `json:"i,omitempty"`
	Tag  string `json:"st,omitempty"`
}

// packet is an event of an account. One that has a Tree lists that node and all below it, as they are when it is sent: nothing
// is too large to be moved, and what changed since is told by later packets, which change nothing that is so already.
type packet struct {
	packetHead
	Tree handle `json:"t,omitempty"`
	Body []byte `json:"b,omitempty"`
}

func (p *packet) begin(w *bufio.Writer) {
	w.WriteString(`{"a":"` + p.Name + `"`)
	if p.Echo != "" {
		w.WriteString(`,"i":` + quote(p.Echo))
	}
	if p.Tag != "" {
		w.WriteString(`,"st":"` + p.Tag + `"`)
	}
}

// write writes a packet for u. It writes nothing, and says so, if what the packet tells of is no more.
func (p *packet) write(t *tx, u userID, w *bufio.Writer, comma bool) (bool, error) {
	var top *node
	var first []byte
	if p.Tree != "" {
		var err error
		if top, err = t.live(p.Tree); err != nil {
			return false, err
		}
		if top == nil {
			return false, nil
		}
		if first, err = t.seen(top, u); err != nil || first == nil {
			return false, err
		}
	}
	if comma {
		w.WriteByte(',')
	}
	p.begin(w)
	if top != nil {
		x := &treeWriter{w: w}
		x.begin(`,"t":{"f":[`)
		x.raw(first)
		versioned, err := x.below(t, top, ownFace, nil)
		if err != nil {
			return false, err
		}
		if top.versions {
			versioned = append(versioned, top.h)
		}
		if len(versioned) > 0 {
			x.begin(`],"f2":[`)
			if err := x.versions(t, versioned, ownFace); err != nil {
				return false, err
			}
		}
		w.WriteString("]}")
	}
	if len(p.Body) > 0 {
		w.WriteByte(',')
		w.Write(p.Body)
	}
	return true, w.WriteByte('}')
}

// seen is how u sees the topmost node of what a packet lists; nil if it must not see it.
func (t *tx) seen(n *node, u userID) ([]byte, error) {
	if n.owner == u {
		return n.appendJSON(nil, ownFace), nil
	}
	for up := n; up != nil; {
		var in inShare
		ok, err := t.load(inShareKey(u, up.h), &in)
		if err != nil {
			return nil, err
		}
		if ok && up == n {
			return sharedTop(n, &in), nil
		}
		if ok {
			return n.appendJSON(nil, ownFace), nil
		}
		if up.parent == "" {
			break
		}
		if up, err = t.node(up.parent); err != nil {
			return nil, err
		}
	}
	return nil, nil
}

// snText is how clients are given the number of an event.
func snText(seq uint64) string { return b64.EncodeToString(binary.BigEndian.AppendUint64(nil, seq)) }

func parseSN(s string) (uint64, error) {
	b, err := unb64(s)
	if err != nil || len(b) != 8 {
		return 0, BadArgs
	}
	return binary.BigEndian.Uint64(b), nil
}

// listener is whose events are asked for: an account's, or, of a public folder, its owner's numbers but none of the events.
type listener struct {
	user   userID
	public bool
}

func (s *Server) listener(t *tx, r *http.Request) (*listener, error) {
	q := r.URL.Query()
	c := call{s: s, t: t}
	if sid := q.Get("sid"); sid != "" {
		var err error
		if c.sid, err = unb64(sid); err != nil || len(c.sid) == 0 {
			return nil, BadSession
		}
	}
	if n := q.Get("n"); n != "" {
		c.public = clip(n, handleLen)
	}
	if err := c.enter(); err != nil {
		return nil, err
	}
	switch {
	case c.folder != nil:
		return &listener{user: c.folder.owner, public: true}, nil
	case c.account != nil:
		return &listener{user: c.account.User}, nil
	}
	return nil, BadSession
}

// serveEvents answers sc and wsc: what happened since a number, or where to wait for more.
func (s *Server) serveEvents(w http.ResponseWriter, r *http.Request, both bool) {
	name := "sc"
	if both {
		name = "wsc"
	}
	if s.faults.pseudo(w, r, name) {
		return
	}
	q := r.URL.Query()
	if q.Get("c") != "" && !both {
		s.serveAlerts(w, r)
		return
	}
	s.answerEvents(w, r, both, "")
}

// answerEvents writes the events after sn. If there are none it writes none, or, if that is empty, where to wait.
func (s *Server) answerEvents(w http.ResponseWriter, r *http.Request, both bool, none string) {
	begun := false
	err := s.view(func(t *tx) error {
		l, err := s.listener(t, r)
		if err != nil {
			return err
		}
		sn, err := parseSN(r.URL.Query().Get("sn"))
		if err != nil {
			return err
		}
		k, err := t.counters(l.user)
		if err != nil {
			return err
		}
		if sn < k.Low || sn > k.Seq {
			return TooMany
		}
		wait := `"w":` + quote(s.base(r)+"/w/"+s.ticket(l.user, sn))
		if sn == k.Seq || l.public {
			if none != "" {
				answer(w, []byte(none))
				return nil
			}
			answer(w, []byte("{"+wait+`,"sn":"`+snText(sn)+`"}`))
			return nil
		}
		begun = true
		w.Header().Set("Content-Type", "application/json")
		out := bufio.NewWriterSize(&patient{w: w}, 64<<10)
		last, err := writePackets(t, l.user, sn, out)
		if err != nil {
			return err
		}
		out.WriteByte(']')
		if both {
			out.WriteString(`,"w":` + quote(s.base(r)+"/w/"+s.ticket(l.user, last)))
			if last < k.Seq {
				out.WriteString(`,"ir":1`)
			}
		}
		out.WriteString(`,"sn":"` + snText(last) + `"}`)
		return out.Flush()
	})
	if err == nil {
		return
	}
	if begun {
		panic(http.ErrAbortHandler)
	}
	var code Code
	if !errors.As(err, &code) {
		s.log.Error("events could not be read", "err", err)
	}
	bare(w, codeOf(err))
}

// writePackets writes an account's packets after a number and returns that of the last, but no more than one answer should hold.
func writePackets(t *tx, u userID, after uint64, w *bufio.Writer) (last uint64, err error) {
	w.WriteString(`{"a":[`)
	last = after
	n, size, comma := 0, 0, false
	err = t.scan(eventKey(u, 0)[:1+userLen], eventKey(u, after+1), true, func(rest, v []byte) error {
		var p packet
		if err := json.Unmarshal(v, &p); err != nil {
			return err
		}
		if (n >= maxPackets || size > maxAnswer) && p.Tree == "" { // the halves of a move stay together
			return errStop
		}
		wrote, err := p.write(t, u, w, comma)
		if err != nil {
			return err
		}
		comma = comma || wrote
		n++
		size += len(v)
		last = binary.BigEndian.Uint64(rest)
		return nil
	})
	if errors.Is(err, errStop) {
		err = nil
	}
	return last, err
}

// serveAlerts answers that there are no alerts.
func (s *Server) serveAlerts(w http.ResponseWriter, r *http.Request) {
	err := s.view(func(t *tx) error { _, err := s.listener(t, r); return err })
	if err != nil {
		bare(w, codeOf(err))
		return
	}
	answer(w, []byte(`{"c":[],"u":[],"lsn":"AAAAAAAAAAA","fsn":"AAAAAAAAAAA","ltd":0}`))
}

// serveIdle answers what one client asks beside: whether the account is being worked at. It never is.
func (s *Server) serveIdle(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Length", "2")
	w.Write([]byte{0, 0})
}

// trimEvents forgets the oldest events of an account beyond what is kept.
func (s *Server) trimEvents(u userID) error {
	for {
		var more bool
		unlock := s.locks.lock(u)
		err := s.update(func(t *tx) error {
			k, err := t.counters(u)
			if err != nil || k.Seq-k.Low <= maxHistory {
				return err
			}
			end := min(k.Seq-maxHistory, k.Low+5000)
			more = end < k.Seq-maxHistory
			for ; k.Low < end; k.Low++ {
				if err := t.remove(eventKey(u, k.Low+1)); err != nil {
					return err
				}
			}
			return t.putCounters(u, k)
		})
		unlock()
		if err != nil || !more {
			return err
		}
	}
}
