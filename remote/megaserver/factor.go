package megaserver

import (
	"crypto/hmac"
	"crypto/sha1"
	"crypto/subtle"
	"encoding/base32"
	"encoding/binary"
	"fmt"
)

// pinAt is the one-time password of a time step (RFC 6238 with its defaults).
func pinAt(secret []byte, at int64) string {
	m := hmac.New(sha1.New, secret)
	m.Write(binary.BigEndian.AppendUint64(nil, uint64(at)))
	h := m.Sum(nil)
	o := h[len(h)-1] & 15
	return fmt.Sprintf("%06d", binary.BigEndian.Uint32(h[o:])&0x7fffffff%1000000)
}

// checkPin returns the time step of a pin that is right now, one step early or late; a step counts once.
func checkPin(t *tx, a *account, pin string) (int64, bool) {
	now := t.now.Unix() / int64(step.Seconds())
	for at := now - 1; at <= now+1; at++ {
		if at > a.LastStep && subtle.ConstantTimeCompare([]byte(pinAt(a.Secret, at)), []byte(pin)) == 1 {
			return at, true
		}
	}
	return 0, false
}

// secondFactor asks for a pin if the account wants one.
func secondFactor(t *tx, a *account, pin string) error {
	if !a.Needs2 {
		return nil
	}
	if pin == "" {
		return NeedsPin
	}
	at, ok := checkPin(t, a, pin)
	if !ok {
		return Failed
	}
	a.LastStep = at
	return t.putAccount(a)
}

// runFactorSet is mfas: without a pin it makes a secret, with one it turns the second factor on.
func runFactorSet(c *call, raw []byte) (result, error) {
	var f struct {
		Pin string `json:"mfa"`
	}
	if err := args(raw, &f); err != nil {
		return result{}, err
	}
	a := *c.account
	if a.Needs2 {
		return result{}, Exists
	}
	if f.Pin == "" {
		a.Secret = random(32)
		c.account = &a
		return result{text: quote(base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(a.Secret))}, c.t.putAccount(&a)
	}
	if a.Secret == nil {
		return result{}, NoEntry
	}
	at, ok := checkPin(c.t, &a, f.Pin)
	if !ok {
		return result{}, Failed
	}
	a.Needs2, a.LastStep = true, at
	c.account = &a
	return done, c.t.putAccount(&a)
}

// runFactorGet is mfag: whether an account has a second factor. Only one's own is told.
func runFactorGet(c *call, raw []byte) (result, error) {
	if c.account.Needs2 {
		return text("1")
	}
	return text("0")
}

// runFactorEnd is mfad.
func runFactorEnd(c *call, raw []byte) (result, error) {
	var f struct {
		Pin string `json:"mfa"`
	}
	if err := args(raw, &f); err != nil {
		return result{}, err
	}
	a := *c.account
	if !a.Needs2 {
		return result{}, NoEntry
	}
	if err := secondFactor(c.t, &a, f.Pin); err != nil {
		return result{}, err
	}
	a.Needs2, a.Secret = false, nil
	c.account = &a
	return done, c.t.putAccount(&a)
}
