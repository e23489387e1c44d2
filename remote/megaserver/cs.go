package megaserver

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"sort"
	"strconv"
	"time"

	"github.com/dgraph-io/badger/v4"
)

const (
	maxBody     = 32 << 20 // of a batch of commands
	maxCommands = 10000
	maxTx       = 4 << 20 // written by one transaction, before the commands that follow get the next one
	replayFor   = 10 * time.Minute
	maxReplay   = 1 << 20
)

// form is how the success of a command looks when the client speaks version 3 of the protocol.
type form uint8

const (
	plain  form = iota // the result
	tagged             // the sequence tag, or the result if it made no event
	paired             // both
)

// command is one of those that clients send.
type command struct {
	run     func(*call, []byte) (result, error)
	mutates bool
	form    form
	open    bool // needs no session
}

// call is a request and the command of it that is carried out.
type call struct {
	s       *Server
	t       *tx
	version int
	sid     []byte
	session *session // nil: none
	account *account // the session's, as of this transaction
	public  handle   // of the public folder that is looked at
	folder  *node    // its root
	base    string
	from    string
	agent   string

	tag  string // of the command, once it makes an event
	echo string
	name string
}

// batch is a parsed request.
type batch struct {
	items []item
	id    string // for the replay of answers
	body  []byte
}

type item struct {
	name string
	cmd  command
	ok   bool
	raw  json.RawMessage
	fail Code // what it is answered without being carried out; of a fault
}

func (b *batch) mutates() bool {
	for _, i := range b.items {
		if i.ok && i.cmd.mutates {
			return true
		}
	}
	return false
}

func (s *Server) serveCommands(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	if q.Has("wlt") {
		answer(w, []byte("1"))
		return
	}
	size := r.ContentLength
	if size < 0 || size > maxBody {
		size = maxBody
	}
	if s.bodies.Acquire(r.Context(), size) != nil {
		return
	}
	defer s.bodies.Release(size)
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil {
		bare(w, BadArgs)
		return
	}
	b, err := parse(body)
	if err != nil {
		bare(w, codeOf(err))
		return
	}
	b.id = q.Get("id")
	cut := s.faults.request(w, r, b)
	if cut.done {
		return
	}
	if !s.admit(w, r, b, cut.hashcash) {
		return
	}
	c := call{s: s, base: s.base(r), from: address(r), agent: clip(r.UserAgent(), 200)}
	c.version, _ = strconv.Atoi(q.Get("v"))
	if n := q.Get("n"); n != "" {
		if len(n) < handleLen {
			bare(w, BadArgs)
			return
		}
		c.public = n[:handleLen]
	}
	if sid := q.Get("sid"); sid != "" {
		if c.sid, err = unb64(sid); err != nil || len(c.sid) == 0 {
			bare(w, BadSession)
			return
		}
	}
	out := &reply{w: w, cut: cut}
	if err := s.carryOut(r, &c, b, out); err != nil {
		if out.begun {
			panic(http.ErrAbortHandler) // half an answer must not look whole
		}
		var code Code
		if !errors.As(err, &code) {
			s.log.Error("commands failed", "err", err)
		}
		bare(w, codeOf(err))
	}
}

// parse reads a batch. It is as tolerant as clients need: unknown fields and commands are no error here.
func parse(body []byte) (*batch, error) {
	var raws []json.RawMessage
	if err := json.Unmarshal(body, &raws); err != nil {
		return nil, BadArgs
	}
	if len(raws) == 0 || len(raws) > maxCommands {
		return nil, BadArgs
	}
	b := &batch{items: make([]item, len(raws)), body: body}
	for i, raw := range raws {
		var head struct {
			A string `json:"a"`
		}
		it := item{raw: raw}
		if json.Unmarshal(raw, &head) == nil {
			it.name = head.A
			it.cmd, it.ok = commands[head.A]
		}
		b.items[i] = it
	}
	return b, nil
}

func (s *Server) carryOut(r *http.Request, c *call, b *batch, out *reply) error {
	if !b.mutates() {
		return s.view(func(t *tx) error {
			c.t = t
			if err := c.enter(); err != nil {
				return err
			}
			results := make([]result, len(b.items))
			for i := range b.items {
				var err error
				if results[i], err = c.one(&b.items[i]); err != nil {
					return err
				}
			}
			return out.write(t, results)
		})
	}
	unlock, err := s.lockFor(c)
	if err != nil {
		return err
	}
	defer unlock()
	var replay []byte
	if c.sid != nil && b.id != "" {
		h := sha256.New()
		for _, p := range [][]byte{c.sid, []byte(b.id), []byte(c.public), []byte(strconv.Itoa(c.version)), b.body} {
			h.Write([]byte(strconv.Itoa(len(p)) + ":"))
			h.Write(p)
		}
		replay = replayKey(h.Sum(nil))
	}
	results := make([]result, len(b.items))
	var before []byte
	for next := 0; next < len(b.items); {
		from, streams := next, false
		err := s.update(func(t *tx) (err error) {
			c.t, next = t, from
			if from == 0 && replay != nil {
				if before, err = t.value(replay); err != nil || before != nil {
					next = len(b.items)
					return err
				}
			}
			if err := c.enter(); err != nil {
				return err
			}
			for ; next < len(b.items) && t.bytes < maxTx; next++ {
				if results[next], err = c.one(&b.items[next]); err != nil {
					return err
				}
			}
			for _, x := range results {
				streams = streams || x.stream != nil
			}
			if next == len(b.items) && replay != nil && !streams {
				if text := join(results); len(text) <= maxReplay {
					return t.SetEntry(badger.NewEntry(replay, text).WithTTL(replayFor))
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	if before != nil {
		out.whole(before)
		return nil
	}
	return s.view(func(t *tx) error { return out.write(t, results) })
}

// enter finds who asks.
func (c *call) enter() error {
	c.session, c.account, c.folder = nil, nil, nil
	if c.sid != nil {
		hash := sha256.Sum256(c.sid)
		var s session
		ok, err := c.t.load(sessionKey(hash[:]), &s)
		if err != nil {
			return err
		}
		if !ok {
			return BadSession
		}
		a, err := c.t.account(s.User)
		if err != nil {
			return err
		}
		if a == nil {
			return BadSession
		}
		if a.Blocked {
			return Blocked
		}
		c.session, c.account = &s, a
	}
	if c.public != "" {
		n, err := c.t.byLink(c.public)
		if err != nil {
			return err
		}
		if n == nil || !n.isFolder() {
			return NoEntry
		}
		c.folder = n
	}
	return nil
}

// one carries out a command. The error it returns, if any, is the whole request's.
func (c *call) one(it *item) (result, error) {
	c.tag, c.echo, c.name = "", "", it.name
	if it.fail != 0 {
		return result{text: strconv.Itoa(int(it.fail))}, nil
	}
	if !it.ok {
		return result{text: "-2"}, nil
	}
	if c.account == nil && !it.cmd.open {
		if !(c.folder != nil && publicCommands[it.name]) {
			return result{text: strconv.Itoa(int(BadSession))}, nil
		}
	}
	if it.cmd.mutates {
		var e struct {
			I any `json:"i"`
		}
		if json.Unmarshal(it.raw, &e) == nil {
			if s, ok := e.I.(string); ok && len(s) <= 32 {
				c.echo = s
			}
		}
	}
	r, err := it.cmd.run(c, it.raw)
	var code Code
	if errors.As(err, &code) {
		return result{text: strconv.Itoa(int(code))}, nil
	}
	if err != nil {
		return r, err
	}
	if c.version >= 3 && it.cmd.mutates && it.cmd.form != plain {
		tag := "0"
		if c.tag != "" {
			tag = `"` + c.tag + `"`
		}
		if it.cmd.form == paired {
			r.text = "[" + tag + "," + r.text + "]"
		} else if c.tag != "" {
			r.text = tag
		}
	}
	return r, nil
}

// args reads a command's fields.
func args(raw []byte, v any) error {
	if err := json.Unmarshal(raw, v); err != nil {
		return BadArgs
	}
	return nil
}

// head is what the packets of the command begin with; the first has its tag.
func (c *call) head(name string) (packetHead, error) {
	h := packetHead{Name: name, Echo: c.echo}
	if c.tag == "" {
		var err error
		if c.tag, err = c.t.nextTag(c.account.User); err != nil {
			return h, err
		}
		h.Tag = c.tag
	}
	return h, nil
}

// lockFor locks the account that asks and those whose folders it may change.
func (s *Server) lockFor(c *call) (func(), error) {
	if c.sid == nil {
		return func() {}, nil
	}
	set := map[userID]struct{}{}
	err := s.view(func(t *tx) error {
		c.t = t
		if err := c.enter(); err != nil {
			return err
		}
		set[c.account.User] = struct{}{}
		return t.scan(inShareKey(c.account.User, ""), nil, true, func(_, v []byte) error {
			var in inShare
			if err := json.Unmarshal(v, &in); err != nil {
				return err
			}
			set[in.Owner] = struct{}{}
			return nil
		})
	})
	if err != nil {
		return nil, err
	}
	users := make([]userID, 0, len(set))
	for u := range set {
		users = append(users, u)
	}
	sort.Strings(users)
	return s.locks.lock(users...), nil
}
