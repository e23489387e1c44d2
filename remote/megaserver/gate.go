package megaserver

import (
	"net/http"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

const (
	maxAddresses = 10_000 // that rates are kept of
	guesses      = 20     // wrong passwords for one address in guessTime
	guessTime    = 10 * time.Minute
)

// gate keeps rates: of commands without a session, by network address, and of wrong passwords, by account.
type gate struct {
	mu      sync.Mutex
	limit   rate.Limit
	burst   int
	now     func() time.Time
	rates   map[string]*rate.Limiter
	guessed map[string]*guess
}

type guess struct {
	n     int
	since time.Time
}

func (s *Server) initGate() {
	g := &s.gate
	g.limit, g.burst, g.now = rate.Limit(s.opts.Rate), max(s.opts.Burst, 1), s.now
	g.rates, g.guessed = map[string]*rate.Limiter{}, map[string]*guess{}
}

func (g *gate) allow(addr string, n int) bool {
	if g.limit == 0 {
		return true
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	l := g.rates[addr]
	if l == nil {
		if len(g.rates) >= maxAddresses { // those that may send again are as good as new
			for a, old := range g.rates {
				if old.TokensAt(g.now()) >= float64(g.burst) {
					delete(g.rates, a)
				}
			}
			if len(g.rates) >= maxAddresses {
				return false
			}
		}
		l = rate.NewLimiter(g.limit, g.burst)
		g.rates[addr] = l
	}
	return l.AllowN(g.now(), n)
}

func (g *gate) mayGuess(email string) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	x := g.guessed[email]
	if x == nil {
		return true
	}
	if g.now().Sub(x.since) > guessTime {
		delete(g.guessed, email)
		return true
	}
	return x.n < guesses
}

func (g *gate) wrong(email string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	x := g.guessed[email]
	if x == nil {
		if len(g.guessed) >= maxAddresses {
			for e, old := range g.guessed {
				if g.now().Sub(old.since) > guessTime {
					delete(g.guessed, e)
				}
			}
			if len(g.guessed) >= maxAddresses {
				clear(g.guessed)
			}
		}
		x = &guess{since: g.now()}
		g.guessed[email] = x
	}
	x.n++
}

// guarded are the commands that count even with a session, which may be none's: they make accounts, sessions and mails.
var guarded = map[string]bool{"us": true, "us0": true, "up": true, "uc": true, "uc2": true, "ud": true, "ud2": true}

// admit lets a request with commands in, or answers it: too many from its address, or work to be done first.
func (s *Server) admit(w http.ResponseWriter, r *http.Request, b *batch, challenge int) bool {
	session := r.URL.Query().Get("sid") != ""
	counted := 0
	for _, i := range b.items {
		if !session || guarded[i.name] {
			counted++
		}
	}
	if counted > 0 && !s.gate.allow(address(r), min(counted, s.gate.burst)) {
		bare(w, RateLimit)
		return false
	}
	if !session {
		for _, i := range b.items {
			if i.name == "us" && challenge == 0 {
				challenge = s.opts.Hashcash
			}
		}
	}
	if challenge == 0 || s.work.done(r, challenge) {
		return true
	}
	w.Header()["X-Hashcash"] = []string{s.work.challenge(challenge)}
	w.Header().Set("Content-Length", "0")
	w.WriteHeader(http.StatusPaymentRequired)
	return false
}
