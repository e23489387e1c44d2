package mega

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"megafs/crypto/megacrypt"
	"megafs/remote"
)

// TestM20M21LoginOracle: whatever is wrong with the answer to a log-in, the error is the same, and nothing more is sent.
func TestM20M21LoginOracle(t *testing.T) {
	mk, _ := megacrypt.DecodeExact("x0KJv7hGYhov_Xh5kbyY9g", 16)
	key, pub, err := megacrypt.NewPrivateKey()
	if err != nil {
		t.Fatal(err)
	}
	password := []byte("password")
	pw := megacrypt.PasswordKeyV1(password)
	k := megacrypt.Encode(pw.Wrap(mk))
	seal := func(user string) string {
		sid, err := megacrypt.NewSession(user)
		if err != nil {
			t.Fatal(err)
		}
		s, err := pub.SealSession(sid)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	private := key.Seal(megacrypt.Key(mk))
	mauled := "A" + private[1:]
	if mauled == private {
		mauled = "B" + private[1:]
	}
	trace := ""
	for name, us := range map[string]any{
		"right":           map[string]any{"u": evilUser, "k": k, "privk": private, "csid": seal(evilUser)},
		"another's":       map[string]any{"u": evilUser, "k": k, "privk": private, "csid": seal("AAAAAAAAAAA")},
		"short":           map[string]any{"u": evilUser, "k": k, "privk": private, "csid": "AAgB"},
		"mauled key":      map[string]any{"u": evilUser, "k": k, "privk": mauled, "csid": seal(evilUser)},
		"no key":          map[string]any{"u": evilUser, "k": k, "csid": seal(evilUser)},
		"another master":  map[string]any{"u": evilUser, "k": megacrypt.Encode(mk), "privk": private, "csid": seal(evilUser)},
		"tsid":            map[string]any{"u": evilUser, "k": k, "tsid": strings.Repeat("A", 58)},
		"nothing":         map[string]any{"u": evilUser},
		"another account": map[string]any{"u": "BBBBBBBBBBB", "k": k, "privk": private, "csid": seal("BBBBBBBBBBB")},
		"no object":       []int{1},
	} {
		e := newEvil(t)
		e.cs["us0"] = func(command) any { return map[string]any{"v": 1} }
		e.cs["us"] = func(command) any { return us }
		_, err := Login(context.Background(), Credentials{URL: e.url, Email: "me@example.com", Password: password, Pins: &Pins{Version: 1, User: evilUser}})
		if name == "right" {
			if err != nil {
				t.Error(name, err)
			}
		} else if err == nil || err.Error() != errRefused().Error() {
			t.Errorf("%s: %v", name, err)
		}
		if got := strings.Join(e.log, " "); trace == "" {
			trace = got
		} else if got != trace {
			t.Errorf("%s: the server was asked %q, not %q", name, got, trace)
		}
	}
	// M22: for an account that is known another form of the password is asked for.
	e := newEvil(t)
	e.cs["us0"] = func(command) any { return map[string]any{"v": 1} }
	_, err = Login(context.Background(), Credentials{URL: e.url, Email: "me@example.com", Password: password, Pins: &Pins{Version: 2, Salt: "x", User: evilUser}})
	if !remote.Is(err, remote.Integrity) || len(e.log) != 1 {
		t.Error(err, e.log)
	}
}

// TestM23Hashcash: a proof of work beyond all reason is not tried.
func TestM23Hashcash(t *testing.T) {
	h := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c := megacrypt.NewHashcash(1, time.Now())
		w.Header()[megacrypt.HashcashHeader] = []string{c.String()}
		w.WriteHeader(402)
	}))
	defer h.Close()
	begin := time.Now()
	_, err := Login(context.Background(), Credentials{URL: h.URL, Email: "me@example.com", Password: []byte("x")})
	if err == nil || time.Since(begin) > 20*time.Second {
		t.Error(err, time.Since(begin))
	}
}
