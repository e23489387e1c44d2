package megaserver

import (
	"fmt"

	"megafs/crypto/megacrypt"
	"megafs/remote"
)

// NewAccount is an account that is made at the server, not by a client's sign-up.
type NewAccount struct {
	Email, Password, Name string
	Version               int   // of how the password becomes a key, 1 or 2; 0: 2
	Quota                 int64 // 0: the server's default
}

// newPrivateKey takes a while, so tests give all their accounts one key.
var newPrivateKey = megacrypt.NewPrivateKey

// AddAccount makes a confirmed account with all the keys that a client would have made.
func (s *Server) AddAccount(n NewAccount) error {
	email, err := cleanEmail(n.Email)
	if err != nil {
		return remote.E("add account", n.Email, remote.Invalid, fmt.Errorf("not an e-mail address"))
	}
	if n.Password == "" || n.Quota < 0 || len(n.Name) > maxName {
		return remote.E("add account", email, remote.Invalid, fmt.Errorf("a password is needed, a quota can't be negative, a name has at most %d bytes", maxName))
	}
	master := megacrypt.NewKey()
	private, public, err := newPrivateKey()
	if err != nil {
		return remote.E("add account", email, remote.Other, err)
	}
	made := account{
		Email: email, Name: n.Name, Version: n.Version, Quota: n.Quota, Public: public.Encode(), Private: private.Seal(master),
		Challenge: b64.EncodeToString(megacrypt.NewSelfChallenge(master)),
	}
	if made.Version == 0 {
		made.Version = 2
	}
	if err := made.setPassword(n.Password, master); err != nil {
		return remote.E("add account", email, remote.Other, err)
	}
	err = s.update(func(t *tx) error {
		if other, err := t.byEmail(email); err != nil {
			return err
		} else if other != nil {
			return remote.E("add account", email, remote.Exist, nil)
		}
		a, err := t.newAccount()
		if err != nil {
			return err
		}
		out := made
		out.User, out.Made, out.Drive, out.Vault, out.Rubbish = a.User, a.Made, a.Drive, a.Vault, a.Rubbish
		if err := t.put(emailKey(email), []byte(a.User)); err != nil {
			return err
		}
		return t.putAccount(&out)
	})
	return err
}

// setPassword wraps the master key, as a client does.
func (a *account) setPassword(password string, master megacrypt.Key) error {
	if a.Version == 1 {
		key := megacrypt.PasswordKeyV1([]byte(password))
		a.Key = b64.EncodeToString(key.Wrap(master[:]))
		hash, err := unb64(megacrypt.HashV1(a.Email, key))
		a.AuthHash = hashOf(hash)
		return err
	}
	a.Salt = saltOf(random(16))
	key, auth, err := megacrypt.DeriveV2(password, a.Salt)
	if err != nil {
		return err
	}
	a.Key = b64.EncodeToString(key.Wrap(master[:]))
	h := megacrypt.HashedAuth(auth)
	a.AuthHash = h[:]
	return nil
}

// SetQuota says how many bytes an account may have; 0: the server's default.
func (s *Server) SetQuota(email string, bytes int64) error {
	if bytes < 0 {
		return remote.E("set quota", email, remote.Invalid, nil)
	}
	return s.change("set quota", email, func(a *account) { a.Quota = bytes })
}

// Block shuts an account out, or lets it in again.
func (s *Server) Block(email string, blocked bool) error {
	return s.change("block account", email, func(a *account) { a.Blocked = blocked })
}

func (s *Server) change(op, email string, fn func(*account)) error {
	return s.update(func(t *tx) error {
		a, err := t.who(email)
		if err != nil {
			return err
		}
		if a == nil {
			return remote.E(op, email, remote.NotExist, nil)
		}
		fn(a)
		return t.putAccount(a)
	})
}

// AccountInfo is what an administrator sees of an account.
type AccountInfo struct {
	Email   string `json:"email"`
	Used    int64  `json:"used"`
	Quota   int64  `json:"quota"`
	Files   int64  `json:"files"`
	Blocked bool   `json:"blocked"`
}

// Accounts calls fn for each confirmed account.
func (s *Server) Accounts(fn func(AccountInfo) error) error {
	return s.view(func(t *tx) error {
		return t.scan([]byte("e"), nil, true, func(rest, v []byte) error {
			a, err := t.account(string(v))
			if err != nil || a == nil {
				return err
			}
			k, err := t.counters(a.User)
			if err != nil {
				return err
			}
			i := AccountInfo{Email: a.Email, Used: k.used(), Quota: s.quota(a), Blocked: a.Blocked}
			for _, r := range k.Roots {
				i.Files += r.Files
			}
			return fn(i)
		})
	})
}
