package megaserver

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"strings"

	"megafs/crypto/megacrypt"
)

const (
	maxEmail = 190
	maxName  = 1000
	maxKey   = 4096 // characters of a key, in Base64
)

func random(n int) []byte {
	b := make([]byte, n)
	rand.Read(b)
	return b
}

// newHandle makes a handle of n bytes that check finds free.
func newHandle(n int, taken func(string) (bool, error)) (string, error) {
	for {
		h := b64.EncodeToString(random(n))
		if used, err := taken(h); err != nil || !used {
			return h, err
		}
	}
}

func (t *tx) newNode() (handle, error) {
	return newHandle(6, func(h string) (bool, error) {
		v, err := t.value(whereKey(h))
		return v != nil, err
	})
}

// newAccount makes an account and its roots.
func (t *tx) newAccount() (*account, error) {
	u, err := newHandle(8, func(h string) (bool, error) {
		v, err := t.value(accountKey(h))
		return v != nil, err
	})
	if err != nil {
		return nil, err
	}
	a := &account{User: u, Made: t.now.Unix()}
	for i, h := range []*handle{&a.Drive, &a.Vault, &a.Rubbish} {
		if *h, err = t.newNode(); err != nil {
			return nil, err
		}
		if err := t.putNode(&node{h: *h, owner: u, kind: byte(driveRoot + i), made: a.Made}); err != nil {
			return nil, err
		}
	}
	return a, t.putCounters(u, &counters{})
}

func cleanEmail(s string) (string, error) {
	s = strings.ToLower(strings.TrimSpace(s))
	if len(s) < 3 || len(s) > maxEmail || !strings.Contains(s, "@") || strings.ContainsAny(s, "\t\r\n\x00 ") {
		return "", BadArgs
	}
	return s, nil
}

// runUserPut is the command up, which makes accounts, confirms them, changes passwords, and stores keys and attributes.
func runUserPut(c *call, raw []byte) (result, error) {
	var f map[string]json.RawMessage
	if err := args(raw, &f); err != nil {
		return result{}, err
	}
	field := func(name string) string {
		var s string
		json.Unmarshal(f[name], &s)
		return s
	}
	for _, name := range []string{"k", "uh", "crv", "hak", "ts", "pubk", "privk", "c"} {
		if v := field(name); len(v) > maxKey || !isB64(v) {
			return result{}, BadArgs
		}
	}
	if code := field("c"); code != "" {
		return confirmOld(c, code, field("uh"))
	}
	if c.account == nil {
		return signUpBare(c, field("k"), field("ts"))
	}
	a := *c.account
	if key := field("k"); key != "" {
		if err := newPassword(c, &a, key, field("uh"), field("crv"), field("mfa")); err != nil {
			return result{}, err
		}
	}
	if v := field("pubk"); v != "" {
		if _, err := megacrypt.ParsePublicKey(v); err != nil || a.Public != "" && a.Public != v {
			return result{}, BadArgs
		}
		a.Public = v
	}
	if v := field("privk"); v != "" {
		a.Private = v
	}
	if v, ok := f["name"]; ok {
		var name string
		if json.Unmarshal(v, &name) != nil || len(name) > maxName {
			return result{}, BadArgs
		}
		a.Name = name
	}
	changes := map[string]string{}
	for name, v := range f {
		if !isAttribute(name) {
			continue
		}
		var s string
		if json.Unmarshal(v, &s) != nil || !attributeFits(name, s) {
			return result{}, BadArgs
		}
		changes[name] = s
	}
	if err := c.t.putAccount(&a); err != nil {
		return result{}, err
	}
	c.account = &a
	for name, v := range changes {
		if _, err := c.setAttribute(name, v); err != nil {
			return result{}, err
		}
	}
	return text(quote(a.User))
}

// signUpBare makes an account that has no address yet.
func signUpBare(c *call, key, challenge string) (result, error) {
	if c.s.opts.Closed {
		return result{}, NoAccess
	}
	k, err := unb64(key)
	if err != nil || len(k) != 16 {
		return result{}, BadArgs
	}
	ts, err := unb64(challenge)
	if err != nil || len(ts) != 32 {
		return result{}, BadArgs
	}
	a, err := c.t.newAccount()
	if err != nil {
		return result{}, err
	}
	a.Key, a.Challenge = key, challenge
	return result{text: quote(a.User)}, c.t.putAccount(a)
}

// newPassword takes the master key under a new password's key, and what proves that password.
func newPassword(c *call, a *account, key, auth, random, pin string) error {
	if k, err := unb64(key); err != nil || len(k) != 16 {
		return BadArgs
	}
	if a.Email != "" {
		if auth == "" {
			return BadArgs // or nobody could log in any more
		}
		if err := secondFactor(c.t, a, pin); err != nil {
			return err
		}
	}
	a.Key = key
	if auth == "" {
		return nil
	}
	uh, err := unb64(auth)
	if err != nil {
		return BadArgs
	}
	if random != "" {
		crv, err := unb64(random)
		if err != nil || len(crv) != 16 || len(uh) != 16 {
			return BadArgs
		}
		h := sha256.Sum256(uh)
		a.Version, a.Salt, a.AuthHash = 2, saltOf(crv), h[:16]
	} else {
		if len(uh) != 8 {
			return BadArgs
		}
		h := sha256.Sum256(uh)
		a.Version, a.Salt, a.AuthHash = 1, nil, h[:]
	}
	if a.Email != "" {
		return c.endSessions(func(id string) bool { return id != c.session.ID })
	}
	return nil
}

func saltOf(random []byte) []byte {
	s := megacrypt.SaltV2([16]byte(random))
	return s[:]
}

// runConfirmRequest is uc and uc2: it sends the link that confirms an address.
func runConfirmRequest(c *call, raw []byte) (result, error) {
	var f struct {
		A         string `json:"a"`
		C         string `json:"c"`
		Name      string `json:"n"`
		Email     string `json:"m"`
		Random    string `json:"crv"`
		HashOfKey string `json:"hak"`
		Key       string `json:"k"`
	}
	if err := args(raw, &f); err != nil {
		return result{}, err
	}
	name, err1 := unb64(f.Name)
	mail, err2 := unb64(f.Email)
	if err1 != nil || err2 != nil || len(name) > maxName || bytes.ContainsAny(name, "\t\r\n\x00") {
		return result{}, BadArgs
	}
	email, err := cleanEmail(string(mail))
	if err != nil {
		return result{}, err
	}
	if c.account.Email != "" {
		return result{}, Exists
	}
	if other, err := c.t.byEmail(email); err != nil {
		return result{}, err
	} else if other != nil {
		return result{}, Exists
	}
	p := signUp{User: c.account.User, Email: email, Name: string(name), Made: c.t.now.Unix()}
	var code []byte
	if f.A == "uc" {
		v, err := unb64(f.C)
		if err != nil || len(v) != 32 {
			return result{}, BadArgs
		}
		p.Version, p.Key, p.Challenge = 1, b64.EncodeToString(v[:16]), b64.EncodeToString(v[16:])
		code = v
	} else {
		crv, err1 := unb64(f.Random)
		hak, err2 := unb64(f.HashOfKey)
		key, err3 := unb64(f.Key)
		if err1 != nil || err2 != nil || err3 != nil || len(crv) != 16 || len(hak) != 16 || len(key) != 16 {
			return result{}, BadArgs
		}
		p.Version, p.Key, p.Salt, p.Hash = 2, f.Key, saltOf(crv), hak
		code = []byte("ConfirmCodeV2")
	}
	code = append(bytes.Clone(code), random(15)...)
	code = append(code, email+"\t"+string(name)...)
	code = append(code, random(8)...)
	h := sha256.Sum256(code)
	if err := c.t.store(signUpKey(h[:]), p); err != nil {
		return result{}, err
	}
	if p.Version == 1 {
		a := *c.account
		a.Key = p.Key
		if err := c.t.putAccount(&a); err != nil {
			return result{}, err
		}
		c.account = &a
	}
	link := c.s.opts.Links + "#confirm" + b64.EncodeToString(code)
	c.t.after = append(c.t.after, func() { c.s.mail(email, link) })
	return done, nil
}

// mail hands a link to whoever delivers it.
func (s *Server) mail(email, link string) {
	if s.opts.Mail == nil {
		s.log.Warn("a sign-up waits for this link to be opened", "email", email, "link", link)
		return
	}
	if err := s.opts.Mail(email, link); err != nil {
		s.log.Error("a confirmation link could not be delivered", "err", err)
	}
}

func (c *call) signUp(code string) (*signUp, []byte, error) {
	b, err := unb64(code)
	if err != nil {
		return nil, nil, BadArgs
	}
	h := sha256.Sum256(b)
	var p signUp
	ok, err := c.t.load(signUpKey(h[:]), &p)
	if err != nil {
		return nil, nil, err
	}
	if !ok {
		return nil, nil, NoEntry
	}
	return &p, signUpKey(h[:]), nil
}

// runConfirmLook is ud: what a confirmation code of version 1 says.
func runConfirmLook(c *call, raw []byte) (result, error) {
	var f struct {
		C string `json:"c"`
	}
	if err := args(raw, &f); err != nil {
		return result{}, err
	}
	p, _, err := c.signUp(f.C)
	if err != nil {
		return result{}, err
	}
	if p.Version != 1 {
		return result{}, BadArgs
	}
	return text(`["` + b64.EncodeToString([]byte(p.Email)) + `","` + b64.EncodeToString([]byte(p.Name)) + `","` + p.User + `","` + p.Key + `","` + p.Challenge + `"]`)
}

// confirmOld is up with a code of version 1, which the client has checked against the password.
func confirmOld(c *call, code, auth string) (result, error) {
	p, key, err := c.signUp(code)
	if err != nil {
		return result{}, err
	}
	uh, err := unb64(auth)
	if err != nil || p.Version != 1 || len(uh) != 8 {
		return result{}, BadArgs
	}
	h := sha256.Sum256(uh)
	p.Hash = h[:]
	return result{text: quote(p.User)}, c.confirm(p, key)
}

// runConfirm is ud2: it confirms an address with a code of version 2.
func runConfirm(c *call, raw []byte) (result, error) {
	var f struct {
		C string `json:"c"`
	}
	if err := args(raw, &f); err != nil {
		return result{}, err
	}
	p, key, err := c.signUp(f.C)
	if err != nil {
		return result{}, err
	}
	if p.Version != 2 {
		return result{}, BadArgs
	}
	r := result{text: `["` + b64.EncodeToString([]byte(p.Email)) + `","` + b64.EncodeToString([]byte(p.Name)) + `","` + p.User + `",2]`}
	return r, c.confirm(p, key)
}

func (c *call) confirm(p *signUp, key []byte) error {
	other, err := c.t.byEmail(p.Email)
	if err != nil {
		return err
	}
	if other != nil {
		return Exists
	}
	a, err := c.t.account(p.User)
	if err != nil {
		return err
	}
	if a == nil {
		return NoEntry
	}
	if a.Email != "" {
		return Exists
	}
	a.Email, a.Version, a.Key, a.AuthHash, a.Salt = p.Email, p.Version, p.Key, p.Hash, p.Salt
	if a.Name == "" {
		a.Name = p.Name
	}
	if err := c.t.remove(key); err != nil {
		return err
	}
	if err := c.t.put(emailKey(p.Email), []byte(p.User)); err != nil {
		return err
	}
	if c.account != nil && c.account.User == a.User {
		c.account = a
	}
	return c.t.putAccount(a)
}
