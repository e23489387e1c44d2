package megaserver

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"
)

// ticket names an account and an event in a URL that only this server can have made.
func (s *Server) ticket(u userID, seq uint64) string {
	b := binary.BigEndian.AppendUint64([]byte(u), seq)
	return b64.EncodeToString(append(b, s.sign("wait", b)...))
}

func (s *Server) sign(what string, b []byte) []byte {
	m := hmac.New(sha256.New, s.secret)
	m.Write([]byte(what + ":"))
	m.Write(b)
	return m.Sum(nil)[:16]
}

// serveWait holds the request until the account has an event that is newer than the ticket's, or for a while.
func (s *Server) serveWait(w http.ResponseWriter, r *http.Request, rest string) {
	deadlines(w, s.opts.Wait+time.Minute, s.opts.Wait+time.Minute)
	if s.faults.pseudo(w, r, "w") {
		return
	}
	b, err := unb64(strings.Trim(rest, "/"))
	if err != nil || len(b) != userLen+8+16 || !hmac.Equal(b[userLen+8:], s.sign("wait", b[:userLen+8])) {
		http.NotFound(w, r)
		return
	}
	u, seq := string(b[:userLen]), binary.BigEndian.Uint64(b[userLen:])
	full := r.URL.Query().Has("sn") // the variant whose answer brings the events
	if full {
		if sn, err := parseSN(r.URL.Query().Get("sn")); err == nil {
			seq = sn
		}
	}
	io.Copy(io.Discard, http.MaxBytesReader(w, r.Body, 64<<10))
	if !s.await(r, u, seq) {
		answer(w, []byte("0"))
		return
	}
	deadlines(w, time.Minute, time.Minute)
	if full {
		s.answerEvents(w, r, true, "0")
		return
	}
	answer(w, []byte("0"))
}

// await waits for an event after seq and reports whether there is one.
func (s *Server) await(r *http.Request, u userID, seq uint64) bool {
	timer := time.NewTimer(s.opts.Wait)
	defer timer.Stop()
	for {
		news, leave := s.events.join(u)
		if news == nil {
			return false // too many wait already
		}
		newer := false
		err := s.view(func(t *tx) error {
			k, err := t.counters(u)
			newer = err == nil && k.Seq > seq
			return err
		})
		if err != nil || newer {
			leave()
			return newer
		}
		select {
		case <-news:
			leave()
		case <-timer.C:
			leave()
			return false
		case <-r.Context().Done():
			leave()
			return false
		case <-s.ctx.Done():
			leave()
			return false
		}
	}
}

// notifier wakes those who wait for an account's events.
type notifier struct {
	mu    sync.Mutex
	m     map[userID]chan struct{}
	count map[userID]int
}

// join returns a channel that is closed at the account's next event, nil if too many wait, and how to leave.
func (n *notifier) join(u userID) (<-chan struct{}, func()) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.count == nil {
		n.count = map[userID]int{}
	}
	if n.count[u] >= maxWaiters {
		return nil, nil
	}
	n.count[u]++
	c := n.m[u]
	if c == nil {
		c = make(chan struct{})
		n.m[u] = c
	}
	return c, func() {
		n.mu.Lock()
		defer n.mu.Unlock()
		if n.count[u]--; n.count[u] == 0 {
			delete(n.count, u)
			delete(n.m, u)
		}
	}
}

func (s *Server) wakeUp(users map[userID]struct{}) {
	s.events.mu.Lock()
	defer s.events.mu.Unlock()
	for u := range users {
		if c := s.events.m[u]; c != nil {
			close(c)
			delete(s.events.m, u)
		}
	}
}
