package megaserver

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"sort"
	"strings"
	"testing"

	"megafs/remote/blob"
)

// FuzzCommands sends anything as a batch, with and without a session. The answer is a number or a list of the same length, compact, without the words
// that one client can't read, and the server goes on: its account has its roots and its counts are right.
func FuzzCommands(f *testing.F) {
	s, err := New(Options{Blobs: blob.Mem()})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { s.Close() })
	const sid = "QUJDREVGR0hJSktMTU5PUA"
	var a *account
	enter := func(t *tx) error { // anew each time, for it may have been ended
		raw, _ := unb64(sid)
		c := call{t: t}
		return c.begin(&session{User: a.User}, raw)
	}
	err = s.update(func(t *tx) (err error) {
		if a, err = t.newAccount(); err != nil {
			return err
		}
		a.Email = "al@example.com"
		return t.putAccount(a)
	})
	if err != nil {
		f.Fatal(err)
	}
	const drive = "DrIvEdRi" // stands for the drive's handle, which is another in each process
	var all []string
	for name := range commands {
		all = append(all, `{"a":"`+name+`"}`)
	}
	sort.Strings(all)
	f.Add([]byte("["+strings.Join(all, ",")+"]"), true)
	f.Add([]byte(`[{"a":"p","t":"`+drive+`","i":"x","vb":0,"n":[{"h":"xxxxxxxx","t":1,"a":"QQ","k":"QQ","fa":null,"p":"","ov":""}],"cr":[["AAAAAAAA"],[""],[0,0,"QQ"]]}]`), true)
	f.Add([]byte(`[{"a":"m","n":"`+drive+`","t":"`+drive+`"},{"a":"d","n":"`+drive+`","v":1},{"a":"a","n":"`+drive+`","attr":"QQ"}]`), true)
	f.Add([]byte(`[{"a":"s2","n":"`+drive+`","s":[{"u":"EXP","r":0}],"ok":"QQ","ha":"QQ","cr":[[],[],[]]},{"a":"l","n":"`+drive+`"},{"a":"u","s":0,"v":2},{"a":"ufa","s":1}]`), true)
	f.Add([]byte(`[{"a":"us","user":"a@b.c","uh":"QQ","mfa":"1"},{"a":"up","k":"QQ","ts":"QQ","name":"x"},{"a":"upv","+x":["QQ"]},{"a":"k","nk":["`+drive+`","QQ"]}]`), false)
	f.Fuzz(func(t *testing.T, body []byte, session bool) {
		if err := s.update(enter); err != nil {
			t.Fatal(err)
		}
		body = bytes.ReplaceAll(body, []byte(drive), []byte(a.Drive))
		url := "/cs?id=1&v=3"
		if session {
			url += "&sid=" + sid
		}
		w := httptest.NewRecorder()
		s.ServeHTTP(w, httptest.NewRequest(http.MethodPost, url, bytes.NewReader(body)))
		var in, out []json.RawMessage
		got := w.Body.Bytes()
		if w.Code != 200 || len(got) == 0 || got[0] != '-' && got[0] != '[' {
			t.Fatalf("%d %q", w.Code, got)
		}
		if got[0] == '[' {
			if err := json.Unmarshal(got, &out); err != nil {
				t.Fatalf("%v: %q", err, got)
			}
			if json.Unmarshal(body, &in) != nil || len(in) != len(out) {
				t.Fatalf("%d slots for %d commands: %q", len(out), len(in), got)
			}
			for _, x := range out {
				if s := string(x); s == "true" || s == "false" || s == "null" || s == "{}" || s == `""` {
					t.Fatalf("a slot of %s: %q", s, got)
				}
			}
		}
		err := s.view(func(x *tx) error {
			b, err := x.account(a.User)
			if err != nil || b == nil {
				t.Fatalf("the account is gone: %v", err)
			}
			k, err := x.counters(a.User)
			if err != nil {
				return err
			}
			for i, h := range []handle{a.Drive, a.Vault, a.Rubbish} {
				n, err := x.node(h)
				if err != nil || n == nil {
					t.Fatalf("a root is gone: %v", err)
				}
				u, err := x.usage(n)
				if err != nil {
					return err
				}
				if u != k.Roots[i] {
					t.Fatalf("counted %+v, there are %+v", k.Roots[i], u)
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	})
}
