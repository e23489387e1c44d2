package mega

import (
	"context"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"megafs/crypto/megacrypt"
	"megafs/remote"
)

// Session is a log-in that is kept. It holds the master key: whoever has it has the account.
type Session struct {
	URL    string        `json:"url"`
	Email  string        `json:"email"`
	User   string        `json:"user"` // handle
	SID    string        `json:"sid"`
	Master megacrypt.Key `json:"-"`
	Pins   Pins          `json:"pins"`
}

// Pins are what an account must not change behind its owner's back: then the server may be after the password.
type Pins struct {
	Version int    `json:"version"`           // of how the password is used
	Salt    string `json:"salt,omitempty"`    // of version 2
	Modulus string `json:"modulus,omitempty"` // hash of the RSA key's
	User    string `json:"user"`

	Generation uint32 `json:"generation,omitempty"` // of the account's own key set, the highest that was seen
}

// sessionFile is the session in a state folder, readable by its owner only.
const sessionFile = "session.json"

// pinsFile is what of a session stays after a log-out.
const pinsFile = "pins.json"

type storedSession struct {
	Session
	Master string `json:"master"`
}

// Save keeps a session in a folder.
func (s *Session) Save(dir string) error {
	b, err := json.Marshal(storedSession{*s, megacrypt.Encode(s.Master[:])})
	if err != nil {
		return err
	}
	return keep("keep the session", dir, sessionFile, b)
}

// keep writes a file of a state folder, of which a crash or a full disk leaves the old or the new.
func keep(op, dir, name string, b []byte) error {
	failed := func(err error) error { return remote.E(op, dir, remote.IO, err) }
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return failed(err)
	}
	f, err := os.CreateTemp(dir, name+".*") // made with mode 0600
	if err != nil {
		return failed(err)
	}
	defer os.Remove(f.Name())
	_, err = f.Write(b)
	if err == nil {
		err = f.Sync()
	}
	err = errors.Join(err, f.Close())
	if err == nil {
		err = os.Rename(f.Name(), filepath.Join(dir, name))
	}
	if err != nil {
		return failed(err)
	}
	return nil
}

// LoadSession returns the session that was kept in a folder.
func LoadSession(dir string) (*Session, error) {
	path := filepath.Join(dir, sessionFile)
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		return nil, remote.E("open the account", "", remote.Locked, errors.New("nobody is logged in; run megafs login"))
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG || int(st.Uid) != os.Geteuid() || st.Mode&0o077 != 0 {
		return nil, remote.E("read the session", path, remote.Locked, errors.New("others can read it, or it is not yours; log in again"))
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, remote.E("read the session", path, remote.IO, err)
	}
	var s storedSession
	if err := json.Unmarshal(b, &s); err != nil {
		return nil, remote.E("read the session", path, remote.Locked, errors.New("it is damaged; log in again"))
	}
	k, err := megacrypt.DecodeExact(s.Master, 16)
	if err != nil {
		return nil, remote.E("read the session", path, remote.Locked, errors.New("it is damaged; log in again"))
	}
	s.Session.Master = megacrypt.Key(k)
	return &s.Session, nil
}

// ForgetSession removes a kept session, and keeps what was pinned; if that can't be, it keeps both.
func ForgetSession(dir string) error {
	if s, err := LoadSession(dir); err == nil {
		b, err := json.Marshal(s.Pins)
		if err != nil {
			return err
		}
		if err := keep("keep how the account was known", dir, pinsFile, b); err != nil {
			return err
		}
	}
	if err := os.Remove(filepath.Join(dir, sessionFile)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return remote.E("forget the session", dir, remote.IO, err)
	}
	return nil
}

// KeptPins returns what is known of an account from earlier log-ins, or nil.
func KeptPins(dir string) (*Pins, error) {
	if s, err := LoadSession(dir); err == nil {
		return &s.Pins, nil
	}
	path := filepath.Join(dir, pinsFile)
	b, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	var p Pins
	if err == nil {
		err = json.Unmarshal(b, &p)
	}
	if err != nil {
		return nil, remote.E("read how the account was known", path, remote.IO, fmt.Errorf("to trust what the server says of it now, run megafs logout --forget: %w", err))
	}
	return &p, nil
}

// Local derives a key for what is kept on this machine.
func (s *Session) Local(purpose string) (k [32]byte) {
	b, err := hkdf.Key(sha256.New, s.Master[:], []byte(s.User), "megafs mega local "+purpose, len(k))
	if err != nil {
		panic(err) // the length is right
	}
	copy(k[:], b)
	return k
}

// Credentials are what a log-in takes.
type Credentials struct {
	URL      string // of the server; "" is MEGA's
	Email    string
	Password []byte
	Code     func() (string, error) // asked for the second factor's six digits, when they are needed; may be nil
	Pins     *Pins                  // of an earlier log-in; nil
	Client   *http.Client           // nil: a plain one
}

// errRefused is the one error of a log-in whose answer is void, whatever the cause, so that a server learns nothing from it.
func errRefused() error {
	return remote.E("log in", "", remote.Integrity, errors.New("the server's answer does not fit this account; nothing was sent after it. If it happens again the account or the server was tampered with"))
}

// Login logs in. Each attempt sends the same requests whatever the server does, and none follows one that failed. It is tried once: repeating is the
// user's decision.
func Login(ctx context.Context, c Credentials) (*Session, error) {
	a, err := newAPI(c.URL, c.Client)
	if err != nil {
		return nil, err
	}
	email := strings.ToLower(strings.TrimSpace(c.Email))
	raw, err := a.call(ctx, command{"a": "us0", "user": email})
	if err != nil {
		return nil, err
	}
	var pre struct {
		V int    `json:"v"`
		S string `json:"s"`
	}
	if err := json.Unmarshal(raw, &pre); err != nil {
		return nil, errRefused()
	}
	if p := c.Pins; p != nil && (p.Version != pre.V || p.Salt != pre.S) {
		return nil, remote.E("log in", "", remote.Integrity, errors.New("the server wants the password in another form than before. After a change of password that is right: then run megafs logout --forget first. Else it is after your password"))
	}
	tries, err := passwordForms(pre.V, pre.S, email, c.Password)
	if err != nil {
		return nil, err
	}
	var reply struct{ CSID, TSID, PrivK, K, U string }
	var key megacrypt.Key
	for i, t := range tries {
		raw, err = a.logIn(ctx, email, t.hash, c.Code)
		if key = t.key; err == nil {
			break
		}
		if i == len(tries)-1 || !isCode(err, codeNoEntry) {
			if isCode(err, codeNoEntry) {
				err = remote.E("log in", "", remote.Locked, errors.New("wrong e-mail address or password"))
			}
			return nil, err
		}
	}
	if json.Unmarshal(raw, &reply) != nil {
		return nil, errRefused()
	}
	s := &Session{URL: a.base.String(), Email: email, User: reply.U, Pins: Pins{Version: pre.V, Salt: pre.S, User: reply.U}}
	sid, err := s.open(key, reply.K, reply.PrivK, reply.CSID, reply.TSID)
	if err != nil || c.Pins != nil && !s.Pins.fits(c.Pins) {
		return nil, errRefused()
	}
	if c.Pins != nil {
		s.Pins.Generation = c.Pins.Generation
	}
	s.SID = megacrypt.Encode(sid)
	return s, nil
}

func (p *Pins) fits(old *Pins) bool {
	return p.User == old.User && (old.Modulus == "" || subtle.ConstantTimeCompare([]byte(p.Modulus), []byte(old.Modulus)) == 1)
}

// form is a password as it is used: the key it gives, and what is sent.
type form struct {
	key  megacrypt.Key
	hash string
}

// passwordForms derives what a password comes to. Old accounts with passwords that are not ASCII were made in two ways.
func passwordForms(version int, salt, email string, password []byte) ([]form, error) {
	switch version {
	case 1:
		k := megacrypt.PasswordKeyV1(password)
		forms := []form{{k, megacrypt.HashV1(email, k)}}
		if old := megacrypt.LegacyPassword(string(password)); string(old) != string(password) {
			k := megacrypt.PasswordKeyV1(old)
			forms = append(forms, form{k, megacrypt.HashV1(email, k)})
		}
		return forms, nil
	case 2:
		s, err := megacrypt.DecodeExact(salt, 32)
		if err != nil {
			return nil, errRefused()
		}
		k, auth, err := megacrypt.DeriveV2(string(password), s)
		return []form{{k, megacrypt.Encode(auth[:])}}, err
	}
	return nil, remote.E("log in", "", remote.NotSupported, fmt.Errorf("the account's passwords are of version %d, which this megafs does not know", version))
}

// logIn sends the password's hash, and the second factor's code when the server asks for it.
func (a *api) logIn(ctx context.Context, email, hash string, code func() (string, error)) (json.RawMessage, error) {
	sek := make([]byte, 16)
	rand.Read(sek)
	c := command{"a": "us", "user": email, "uh": hash, "sek": megacrypt.Encode(sek)}
	raw, err := a.call(ctx, c)
	if !isCode(err, codeSecond) {
		return raw, err
	}
	if code == nil {
		return nil, err
	}
	pin, perr := code()
	if perr != nil {
		return nil, perr
	}
	c["mfa"] = pin
	raw, err = a.call(ctx, c)
	if isCode(err, codeFailed) {
		err = remote.E("log in", "", remote.Locked, errors.New("wrong code of the second factor"))
	}
	return raw, err
}

// open takes the master key and the session id out of the answer to a log-in.
func (s *Session) open(key megacrypt.Key, k, private, csid, tsid string) ([]byte, error) {
	master, err := key.UnwrapKey(k)
	if err != nil {
		return nil, megacrypt.ErrLogin
	}
	s.Master = master
	if csid == "" { // an account that has no RSA key yet
		sid, err := megacrypt.DecodeExact(tsid, megacrypt.SessionSize)
		if err != nil || megacrypt.CheckChallengeSession(master, sid) != nil || !megacrypt.Owns(sid, s.User) {
			return nil, megacrypt.ErrLogin
		}
		return sid, nil
	}
	rsa, err := megacrypt.OpenPrivateKey(master, private)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(rsa.Modulus())
	s.Pins.Modulus = hex.EncodeToString(sum[:])
	return rsa.OpenSession(csid, s.User)
}

// Logout ends the session at the server.
func (s *Session) Logout(ctx context.Context, client *http.Client) error {
	a, err := newAPI(s.URL, client)
	if err != nil {
		return err
	}
	a.sid = s.SID
	if _, err = a.call(ctx, command{"a": "sml"}); isCode(err, codeSession) {
		return nil
	}
	return err
}

// ForgetPins removes what is known of an account from earlier log-ins.
func ForgetPins(dir string) error {
	if err := os.Remove(filepath.Join(dir, pinsFile)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return remote.E("forget the account", dir, remote.IO, err)
	}
	return nil
}
