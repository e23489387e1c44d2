package mega

import (
	"bytes"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/binary"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"megafs/crypto/megacrypt"
	"megafs/remote"
)

// TestM20M21M22LoginOracle: whatever is wrong with the answer to a log-in, the error is the same, and nothing more is sent.
func TestM20M21M22LoginOracle(t *testing.T) {
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

// keySet seals a key set of a generation as the official clients do.
func keySet(t *testing.T, user string, generation uint32) string {
	t.Helper()
	return keySetWith(t, user, generation, nil)
}

// keySetWith is keySet with more records.
func keySetWith(t *testing.T, user string, generation uint32, more []byte) string {
	t.Helper()
	handle, err := megacrypt.DecodeExact(user, 8)
	if err != nil {
		t.Fatal(err)
	}
	plain := []byte{1, 0, 0, 1, 1}
	plain = append(append(plain, 3, 0, 0, 8), handle...)
	plain = binary.BigEndian.AppendUint32(append(plain, 4, 0, 0, 4), generation)
	plain = append(plain, more...)
	key, err := hkdf.Key(sha256.New, evilMaster[:], nil, "\x01", 16)
	if err != nil {
		t.Fatal(err)
	}
	block, _ := aes.NewCipher(key)
	gcm, _ := cipher.NewGCM(block)
	nonce := bytes.Repeat([]byte{byte(generation)}, 12)
	return megacrypt.Encode(gcm.Seal(append([]byte{20, 0}, nonce...), nonce, plain, nil))
}

// TestM33KeySetRolledBack: once a generation of the account's key set was seen, an older one, none, and one that can't be read are refused, also after a restart and
// the next log-in, and nothing else is asked of that server.
func TestM33KeySetRolledBack(t *testing.T) {
	e := newEvil(t)
	e.tree(folderNode("folder00", evilRoot, "folder"))
	var set any = keySet(t, evilUser, 5)
	e.cs["uga"] = func(c command) any {
		if c["u"] != evilUser || c["ua"] != "^!keys" {
			t.Errorf("%v", c)
		}
		if s, ok := set.(string); ok {
			return map[string]any{"av": s, "v": "x"}
		}
		return set
	}
	dir := t.TempDir()
	if err := e.session().Save(dir); err != nil {
		t.Fatal(err)
	}
	session := func() *Session {
		s, err := LoadSession(dir)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	load := func(with any) error {
		set = with
		e.log = nil
		r, err := Open(Options{Session: session(), StateDir: dir, Log: slog.New(slog.DiscardHandler), Retry: time.Millisecond})
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		_, err = r.Load(context.Background(), remote.Position{}, &state{})
		if err != nil {
			if _, cerr := r.Commit(context.Background(), r.x.meta.position(), nil); remote.KindOf(cerr) != remote.KindOf(err) {
				t.Errorf("a commit: %v", cerr)
			}
			for _, c := range e.log {
				if c != "uga" {
					t.Errorf("the server was asked %q", c)
				}
			}
		}
		return err
	}
	for _, step := range []struct {
		what string
		set  any
		pass bool
	}{
		{"none at first", -9, true},
		{"one that can't be read at first", "AAAA", true},
		{"the first", keySet(t, evilUser, 5), true},
		{"the same", keySet(t, evilUser, 5), true},
		{"an older one", keySet(t, evilUser, 4), false},
		{"none", -9, false},
		{"unknown", -2, false},
		{"one that can't be read", keySet(t, evilUser, 5)[:70] + "AAAA", false},
		{"another user's", keySet(t, "AAAAAAAAAAA", 6), false},
		{"no object", []int{1}, false},
		{"a newer one", keySet(t, evilUser, 7), true},
		{"what was the newest before", keySet(t, evilUser, 5), false},
	} {
		if err := load(step.set); (err == nil) != step.pass || !step.pass && !remote.Is(err, remote.Integrity) {
			t.Errorf("%s: %v", step.what, err)
		}
	}
	if err := load(-3); !remote.Is(err, remote.Unreachable) {
		t.Errorf("a server that is busy: %v", err)
	}
	if err := ForgetSession(dir); err != nil {
		t.Fatal(err)
	}
	if p, err := KeptPins(dir); p == nil || p.Generation != 7 {
		t.Errorf("after a log-out: %+v %v", p, err)
	}
}

// TestPinsStay: what an account was known by is not lost by a log-out that can't write it down, and never passed over when it is damaged.
func TestPinsStay(t *testing.T) {
	dir := t.TempDir()
	s := Session{User: evilUser, Pins: Pins{User: evilUser, Version: 2}}
	if err := s.Save(dir); err != nil {
		t.Fatal(err)
	}
	known := func(when string) {
		t.Helper()
		if p, err := KeptPins(dir); err != nil || p == nil || *p != s.Pins {
			t.Errorf("%s: %+v %v", when, p, err)
		}
	}
	path := filepath.Join(dir, pinsFile)
	if err := os.Mkdir(path, 0o700); err != nil { // nothing can be written there
		t.Fatal(err)
	}
	if err := ForgetSession(dir); !remote.Is(err, remote.IO) {
		t.Errorf("a log-out that keeps nothing: %v", err)
	}
	known("after it")
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := ForgetSession(dir); err != nil {
		t.Fatal(err)
	}
	known("after a log-out")
	if err := os.Truncate(path, 20); err != nil {
		t.Fatal(err)
	}
	if p, err := KeptPins(dir); !remote.Is(err, remote.IO) || !strings.Contains(err.Error(), "logout --forget") {
		t.Errorf("damaged: %+v %v", p, err)
	}
	if left, err := filepath.Glob(filepath.Join(dir, "*.json.*")); err != nil || len(left) > 0 {
		t.Errorf("left over: %v %v", left, err)
	}
}
