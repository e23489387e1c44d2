package megaserver

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"strconv"
	"time"

	"megafs/crypto/megacrypt"
)

// runLogInSalt is us0. For an address that nobody has it answers with a salt that stays the same, so that it tells nothing.
func runLogInSalt(c *call, raw []byte) (result, error) {
	var f struct {
		User string `json:"user"`
	}
	if err := args(raw, &f); err != nil {
		return result{}, err
	}
	email, err := cleanEmail(f.User)
	if err != nil {
		return result{}, err
	}
	a, err := c.t.byEmail(email)
	if err != nil {
		return result{}, err
	}
	salt := c.s.noSalt(email)
	if a != nil {
		if a.Version == 1 {
			return text(`{"v":1}`)
		}
		salt = a.Salt
	}
	return text(`{"v":2,"s":"` + b64.EncodeToString(salt) + `"}`)
}

func (s *Server) noSalt(email string) []byte {
	m := hmac.New(sha256.New, s.secret)
	m.Write([]byte("salt " + email))
	return m.Sum(nil)
}

// runLogIn is us: a log-in with a password, one to an account that has no address yet, or a look at a session.
func runLogIn(c *call, raw []byte) (result, error) {
	var f struct {
		User   string `json:"user"`
		Hash   string `json:"uh"`
		Key    string `json:"sek"`
		Device string `json:"si"`
		Pin    any    `json:"mfa"`
	}
	if err := args(raw, &f); err != nil {
		return result{}, err
	}
	if !isB64(f.Key) || len(f.Key) > 64 || len(f.Device) > 64 || !isB64(f.Device) {
		return result{}, BadArgs
	}
	if f.User == "" {
		if c.account == nil {
			return result{}, BadSession
		}
		return text(`{"privk":"` + c.account.Private + `","u":"` + c.account.User + `","ach":0,"sek":"` + c.session.Key + `"}`)
	}
	var a *account
	var err error
	if isUser(f.User) {
		if a, err = c.t.account(f.User); err == nil && (a == nil || a.Email != "") {
			return result{}, NoEntry
		}
	} else {
		pin, _ := f.Pin.(string)
		a, err = c.password(f.User, f.Hash, pin)
	}
	if err != nil {
		return result{}, err
	}
	if a.Blocked {
		return result{}, Blocked
	}
	s := session{User: a.User, Agent: c.agent, From: c.from, Key: f.Key, Device: f.Device}
	if a.Public == "" {
		ts, err := unb64(a.Challenge)
		if err != nil || len(ts) != 32 {
			return result{}, Internal
		}
		sid, err := megacrypt.ChallengeSession(ts, a.User)
		if err != nil {
			return result{}, Internal
		}
		if err := c.begin(&s, sid); err != nil {
			return result{}, err
		}
		return text(`{"tsid":"` + b64.EncodeToString(sid) + `","k":"` + a.Key + `","u":"` + a.User + `"}`)
	}
	sid, err := megacrypt.NewSession(a.User)
	if err != nil {
		return result{}, Internal
	}
	public, err := megacrypt.ParsePublicKey(a.Public)
	if err != nil {
		return result{}, Internal
	}
	sealed, err := public.SealSession(sid)
	if err != nil {
		return result{}, Internal
	}
	if err := c.begin(&s, sid); err != nil {
		return result{}, err
	}
	out := `{"csid":"` + sealed + `","privk":"` + a.Private + `","k":"` + a.Key + `","u":"` + a.User + `","ach":0`
	if f.Key != "" {
		out += `,"sek":"` + f.Key + `"`
	}
	return text(out + "}")
}

// password checks what proves a password, then the second factor. All ways to fail look the same and take the same steps.
func (c *call) password(user, hash, pin string) (*account, error) {
	email, err := cleanEmail(user)
	if err != nil {
		return nil, NoEntry
	}
	if !c.s.gate.mayGuess(email) {
		return nil, RateLimit
	}
	a, err := c.t.byEmail(email)
	if err != nil {
		return nil, err
	}
	uh, err := unb64(hash)
	if err != nil {
		uh = nil
	}
	h := sha256.Sum256(uh)
	want := make([]byte, len(h))
	if a != nil {
		want = a.AuthHash
	}
	if subtle.ConstantTimeCompare(h[:min(len(want), len(h))], want) != 1 || a == nil || len(want) == 0 || len(uh) == 0 {
		c.s.gate.wrong(email)
		return nil, NoEntry
	}
	if err := secondFactor(c.t, a, pin); err != nil {
		if pin != "" {
			c.s.gate.wrong(email)
		}
		return nil, err
	}
	return a, nil
}

// begin makes a session.
func (c *call) begin(s *session, sid []byte) error {
	h := sha256.Sum256(sid)
	s.ID = b64.EncodeToString(h[:8])
	s.Made = c.t.now.Unix()
	s.Used = s.Made
	if err := c.t.store(sessionKey(h[:]), s); err != nil {
		return err
	}
	return c.t.put(sessionsKey(s.User, s.ID), h[:])
}

// endSessions ends those sessions of the account that which names.
func (c *call) endSessions(which func(id string) bool) error {
	var ids, hashes []string
	err := c.t.scan(sessionsKey(c.account.User, ""), nil, true, func(rest, v []byte) error {
		if which(string(rest)) {
			ids, hashes = append(ids, string(rest)), append(hashes, string(v))
		}
		return nil
	})
	if err != nil {
		return err
	}
	for i := range ids {
		if err := c.t.remove(sessionsKey(c.account.User, ids[i])); err != nil {
			return err
		}
		if err := c.t.remove(sessionKey([]byte(hashes[i]))); err != nil {
			return err
		}
	}
	return nil
}

// runLogOut is sml.
func runLogOut(c *call, _ []byte) (result, error) {
	return done, c.endSessions(func(id string) bool { return id == c.session.ID })
}

// runSessions is usl.
func runSessions(c *call, _ []byte) (result, error) {
	b := []byte{'['}
	err := c.t.scan(sessionsKey(c.account.User, ""), nil, true, func(rest, v []byte) error {
		var s session
		ok, err := c.t.load(sessionKey(append([]byte{}, v...)), &s)
		if err != nil || !ok {
			return err
		}
		if len(b) > 1 {
			b = append(b, ',')
		}
		b = append(b, '[')
		b = strconv.AppendInt(b, s.Made, 10)
		b = append(b, ',')
		b = strconv.AppendInt(b, s.Used, 10)
		current := 0
		if s.ID == c.session.ID {
			current = 1
		}
		b = append(b, ","+quote(s.Agent)+","+quote(s.From)+`,"",`+strconv.Itoa(current)+`,"`+s.ID+`",1,"`+s.Device+`"]`...)
		return nil
	})
	return result{text: string(append(b, ']'))}, err
}

// runEndSessions is usr.
func runEndSessions(c *call, raw []byte) (result, error) {
	var f struct {
		Others int      `json:"ko"`
		IDs    []string `json:"s"`
	}
	if err := args(raw, &f); err != nil {
		return result{}, err
	}
	named := map[string]bool{}
	for _, id := range f.IDs {
		named[id] = true
	}
	return done, c.endSessions(func(id string) bool { return named[id] || f.Others == 1 && id != c.session.ID })
}

// step is the length of a time step of one-time passwords.
const step = 30 * time.Second

func hashOf(b []byte) []byte {
	h := sha256.Sum256(b)
	return h[:]
}
