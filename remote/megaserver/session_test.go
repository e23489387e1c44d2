package megaserver

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"megafs/crypto/megacrypt"
)

// TestSignUp goes the way of version 2, with a log-in and an upgrade after it.
func TestSignUp(t *testing.T) {
	w := newWorld(t, nil)
	c := &client{T: t, url: w.url}
	master := megacrypt.NewKey()
	challenge := b64.EncodeToString(megacrypt.NewSelfChallenge(master))
	c.ask(&c.user, `{"a":"up","k":"AAAAAAAAAAAAAAAAAAAAAA","ts":%q}`, challenge)
	var in struct{ TSID, K, U string }
	c.ask(&in, `{"a":"us","user":%q}`, c.user)
	sid, err := unb64(in.TSID)
	must(t, err)
	must(t, megacrypt.CheckChallengeSession(master, sid))
	c.sid = in.TSID
	crv := [16]byte{1, 2, 3}
	salt := megacrypt.SaltV2(crv)
	key, auth, err := megacrypt.DeriveV2(testPassword, salt[:])
	must(t, err)
	hak := megacrypt.HashedAuth(auth)
	e := func(b []byte) string { return b64.EncodeToString(b) }
	uc2 := `{"a":"uc2","n":"` + e([]byte("Al")) + `","m":"` + e([]byte("AL@example.com")) + `","crv":"` + e(crv[:]) + `","hak":"` + e(hak[:]) + `","k":"` + e(key.Wrap(master[:])) + `","v":2}`
	if got := c.do("%s", uc2); got != "0" || len(w.links) != 1 {
		t.Fatalf("uc2: %s, %d links", got, len(w.links))
	}
	_, code, _ := strings.Cut(w.links[0], "#confirm")
	raw, err := unb64(code)
	must(t, err)
	if !strings.HasPrefix(string(raw), "ConfirmCodeV2") {
		t.Fatalf("the code: %q", raw)
	}
	c.fails(NoEntry, `{"a":"ud2","c":"AAAA"}`)
	stranger := &client{T: t, url: w.url, v: 3}
	stranger.fails(NoEntry, `{"a":"us","user":"al@example.com","uh":%q}`, e(auth[:]))
	if got := stranger.do(`{"a":"ud2","c":%q}`, code); got != `[0,["`+e([]byte("al@example.com"))+`","`+e([]byte("Al"))+`","`+c.user+`",2]]` {
		t.Fatalf("ud2: %s", got)
	}
	stranger.fails(NoEntry, `{"a":"ud2","c":%q}`, code)
	stranger.fails(NoEntry, `{"a":"us","user":%q}`, c.user) // no more without a password
	private, public, err := megacrypt.NewPrivateKey()
	must(t, err)
	c.ask(&in, `{"a":"us","user":"al@example.com","uh":%q}`, e(auth[:]))
	c.do(`{"a":"up","privk":%q,"pubk":%q}`, private.Seal(master), public.Encode())
	again := &client{T: t, url: w.url}
	again.logIn("al@example.com", testPassword, "")
	if again.master != master {
		t.Fatal("another master key")
	}
	if other := w.user("bo"); other.do("%s", uc2) != "-12" {
		t.Fatal("an address that is taken was to be confirmed again")
	}

	// Another password ends the other sessions, and the old one opens nothing.
	key, auth, err = megacrypt.DeriveV2("another", salt[:])
	must(t, err)
	again.do(`{"a":"up","k":%q,"uh":%q,"crv":%q}`, e(key.Wrap(master[:])), e(auth[:]), e(crv[:]))
	if got := c.do(`{"a":"ug"}`); got != "-15" {
		t.Fatalf("the other session: %s", got)
	}
	again.logIn("al@example.com", "another", "")
}

// TestLogInTellsNothing holds the ways in which a log-in fails against each other.
func TestLogInTellsNothing(t *testing.T) {
	w := newWorld(t, nil)
	w.user("al")
	c := &client{T: t, url: w.url}
	salt := func(email string) string { return c.do(`{"a":"us0","user":%q}`, email) }
	if one, two := salt("al@example.com"), salt("nobody@example.com"); len(one) != len(two) || two != salt("nobody@example.com") {
		t.Fatalf("%s and %s", one, two)
	}
	for _, email := range []string{"al@example.com", "nobody@example.com", "x"} {
		c.fails(NoEntry, `{"a":"us","user":%q,"uh":"AAAAAAAAAAAAAAAAAAAAAA"}`, email)
	}
	c.fails(NoEntry, `{"a":"us","user":"al@example.com"}`)
	for range guesses {
		c.do(`{"a":"us","user":"al@example.com","uh":"AAAAAAAAAAAAAAAAAAAAAA"}`)
	}
	c.fails(RateLimit, `{"a":"us","user":"al@example.com","uh":"AAAAAAAAAAAAAAAAAAAAAA"}`)
	w.pass(guessTime + time.Second)
	c.logIn("al@example.com", testPassword, "")
}

// TestSecondFactor turns it on, uses it, and turns it off.
func TestSecondFactor(t *testing.T) {
	w := newWorld(t, nil)
	c := w.user("al")
	var secret string
	c.ask(&secret, `{"a":"mfas"}`)
	var key []byte
	must(t, w.s.view(func(x *tx) error { a, err := x.account(c.user); key = a.Secret; return err }))
	pin := func() string { w.pass(step); return pinAt(key, w.now().Unix()/30) }
	c.fails(Failed, `{"a":"mfas","mfa":"000000x"}`)
	c.do(`{"a":"mfas","mfa":%q}`, pin())
	var salt struct{ S string }
	c.ask(&salt, `{"a":"us0","user":"al@example.com"}`)
	b, _ := unb64(salt.S)
	_, auth, err := megacrypt.DeriveV2(testPassword, b)
	must(t, err)
	uh := b64.EncodeToString(auth[:])
	c.fails(NeedsPin, `{"a":"us","user":"al@example.com","uh":%q}`, uh)
	c.fails(Failed, `{"a":"us","user":"al@example.com","uh":%q,"mfa":"x"}`, uh)
	p := pin()
	d := &client{T: t, url: w.url}
	d.logIn("al@example.com", testPassword, p)
	c.fails(Failed, `{"a":"us","user":"al@example.com","uh":%q,"mfa":%q}`, uh, p) // once is all a pin is good for
	if c.do(`{"a":"mfag","e":"al@example.com"}`) != "1" {
		t.Fatal("not told")
	}
	c.do(`{"a":"mfad","mfa":%q}`, pin())
	d.logIn("al@example.com", testPassword, "")

	// Sessions are listed and ended.
	var list [][]json.RawMessage
	c.ask(&list, `{"a":"usl","x":1}`)
	if len(list) != 3 {
		t.Fatalf("%d sessions", len(list))
	}
	c.do(`{"a":"usr","ko":1}`)
	if d.do(`{"a":"ug"}`) != "-15" {
		t.Fatal("a session that was ended goes on")
	}
	c.do(`{"a":"sml"}`)
	if c.do(`{"a":"ug"}`) != "-15" {
		t.Fatal("a session that ended itself goes on")
	}
}

// TestAttributes stores user attributes.
func TestAttributes(t *testing.T) {
	w := newWorld(t, nil)
	c, bo := w.user("al"), w.user("bo")
	c.v = 3
	sn := c.tree().SN
	var r []json.RawMessage
	c.ask(&r, `{"a":"upv","^!keys":["dmFsdWU",0],"+puEd255":["cHVi"]}`)
	if len(r) != 2 || string(r[0]) == "0" {
		t.Fatalf("%s", r)
	}
	c.v = 0
	var v map[string]string
	c.ask(&v, `{"a":"upv","^!keys":["dmFsdWU"]}`)
	c.fails(Expired, `{"a":"upv","^!keys":["b3RoZXI","stale"]}`)
	c.ask(&v, `{"a":"upv","^!keys":["b3RoZXI",%q]}`, v["^!keys"])
	var got struct{ AV, V string }
	c.ask(&got, `{"a":"uga","u":%q,"ua":"^!keys","v":1}`, c.user)
	if got.AV != "b3RoZXI" || got.V != v["^!keys"] {
		t.Fatalf("%+v", got)
	}
	bo.fails(NoAccess, `{"a":"uga","u":%q,"ua":"^!keys","v":1}`, c.user)
	c.fails(BadArgs, `{"a":"upv","x":["b3RoZXI"]}`)
	c.do(`{"a":"upr","ua":"^!keys"}`)
	c.fails(NoEntry, `{"a":"uga","u":%q,"ua":"^!keys","v":1}`, c.user)
	packets, _ := c.events(sn)
	if !strings.HasPrefix(names(packets), "ua ua ua") {
		t.Fatalf("%s", names(packets))
	}
}

// TestEvents waits for events in both ways, and sees what version 3 of the protocol says of them.
func TestEvents(t *testing.T) {
	w := newWorld(t, nil)
	c := w.user("al")
	c.v = 3
	x := c.tree()
	get := func(path string) string {
		_, b := c.post(w.url+path+"&sid="+c.sid, nil)
		return string(b)
	}
	first := get("/wsc?sn=" + x.SN)
	var r struct {
		W, SN string
		A     []json.RawMessage
	}
	must(t, json.Unmarshal([]byte(first), &r))
	if r.W == "" || r.SN != x.SN || strings.Contains(r.W, "?") || !strings.HasSuffix(first, `"sn":"`+x.SN+`"}`) {
		t.Fatalf("wsc: %s", first)
	}
	plainW, both := make(chan string, 1), make(chan string, 1)
	go func() { _, b := c.post(r.W, nil); plainW <- string(b) }()
	go func() { _, b := c.post(r.W+"?sn="+x.SN+"&sid="+c.sid, nil); both <- string(b) }()
	var made []json.RawMessage
	c.ask(&made, `{"a":"p","t":%q,"i":"me","n":[{"h":"AAAAAAAA","t":1,"a":"QQ","k":"QQ"},{"h":"AQAAAAAA","t":1,"a":"QQ","k":"QQ","p":"AAAAAAAA"}]}`, c.root)
	tag := string(made[0])
	if string(made[1]) != `{"e":[],"fh":[]}` || tag == "0" {
		t.Fatalf("p in version 3: %s", made)
	}
	if got := <-plainW; got != "0" {
		t.Fatalf("the wait: %s", got)
	}
	got := <-both
	if !strings.HasPrefix(got, `{"a":[{"a":"t","i":"me","st":`+tag+`,"t":{"f":[{`) || !strings.Contains(got, `"i":1}]}`) || !strings.Contains(got, `"w":"`) {
		t.Fatalf("the wait with events: %s", got)
	}
	must(t, json.Unmarshal([]byte(got), &r))
	if !strings.HasSuffix(got, `,"sn":"`+r.SN+`"}`) {
		t.Fatalf("sn isn't last: %s", got)
	}
	if got := get("/sc?c=50"); !strings.HasPrefix(got, `{"c":[]`) {
		t.Fatalf("alerts: %s", got)
	}
	if got := get("/sc?sn=" + snText(1<<40)); got != "-6" {
		t.Fatalf("from the future: %s", got)
	}
	if _, b := c.post(w.url+"/sc?sn="+x.SN+"&sid=AAAA", nil); string(b) != "-15" {
		t.Fatalf("no session: %s", b)
	}
	// What is too long ago is forgotten, which is said.
	must(t, w.s.update(func(x *tx) error {
		k, err := x.counters(c.user)
		k.Seq += maxHistory + 1
		if err != nil {
			return err
		}
		return x.putCounters(c.user, k)
	}))
	must(t, w.s.Sweep(context.Background()))
	if got := get("/sc?sn=" + x.SN); got != "-6" {
		t.Fatalf("long ago: %s", got)
	}
}

// TestReplay repeats requests whose answer was lost.
func TestReplay(t *testing.T) {
	w := newWorld(t, nil)
	c := w.user("al")
	body := []byte(`[{"a":"p","t":"` + c.root + `","n":[{"h":"xxxxxxxx","t":1,"a":"QQ","k":"QQ"}]}]`)
	url := w.url + "/cs?id=77&sid=" + c.sid
	w.s.Faults().Add(Fault{On: "p", Lost: true})
	if _, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(mustRequest(t, url, string(body))); err == nil {
		t.Fatal("the answer was to be lost")
	}
	_, one := c.post(url, body)
	_, two := c.post(url, body)
	if string(one) != string(two) || len(c.tree().F) != 4 {
		t.Fatalf("%s, then %s, and %d nodes", one, two, len(c.tree().F))
	}
	c.post(url, append(body, ' ')) // another request under the same number, as one client sends
	if len(c.tree().F) != 5 {
		t.Fatal("another request was taken for a repeated one")
	}
}

func mustRequest(t *testing.T, url, body string) *http.Request {
	t.Helper()
	r, err := http.NewRequest("POST", url, strings.NewReader(body))
	must(t, err)
	return r
}

// TestFaults lets every kind of fault happen, once.
func TestFaults(t *testing.T) {
	w := newWorld(t, nil)
	c := w.user("al")
	h := c.put(c.root, pattern(1000), "")
	f := w.s.Faults()
	f.Add(Fault{On: "uq", Code: TempUnavail, Times: 2})
	c.fails(TempUnavail, `{"a":"uq"}`)
	c.fails(TempUnavail, `{"a":"uq"}`)
	f.Add(Fault{Code: Again, Whole: true, Skip: 1})
	if s := c.batch(`{"a":"uq"}`, `{"a":"uq"}`); len(s) != 2 {
		t.Fatalf("%s", s)
	}
	if s := c.batch(`{"a":"uq"}`, `{"a":"uq"}`); len(s) != 1 || string(s[0]) != "-3" {
		t.Fatalf("%s", s)
	}
	var g struct{ G string }
	c.ask(&g, `{"a":"g","g":1,"n":%q}`, h)
	f.Add(Fault{On: "dl", Status: 509, TimeLeft: 60})
	r, err := http.Get(g.G)
	must(t, err)
	r.Body.Close()
	if r.StatusCode != 509 || r.Header["X-Mega-Time-Left"][0] != "60" {
		t.Fatalf("%d %v", r.StatusCode, r.Header)
	}
	f.Add(Fault{On: "dl", Truncate: 10})
	r, err = http.Get(g.G)
	must(t, err)
	var b strings.Builder
	_, err = io.Copy(&b, r.Body)
	r.Body.Close()
	if err == nil || b.Len() != 10 {
		t.Fatalf("a body that ends early: %d bytes, %v", b.Len(), err)
	}
	f.Add(Fault{On: "ul", Code: Failed})
	var u struct{ P string }
	c.ask(&u, `{"a":"u","s":1}`)
	if _, b := c.post(u.P+"/0", []byte("x")); string(b) != "-5" {
		t.Fatalf("%s", b)
	}
	f.Add(Fault{On: "us", Drop: true})
	if _, err := http.Post(w.url+"/cs?id=1", "", strings.NewReader(`[{"a":"us","user":"a@b.c"}]`)); err == nil {
		t.Fatal("the connection was to end")
	}
	if got := f.Hits(); got != 7 {
		t.Fatalf("%d hits", got)
	}
}

// TestHashcash lets a log-in compute.
func TestHashcash(t *testing.T) {
	w := newWorld(t, func(o *Options) { o.Hashcash = 255 })
	body := `[{"a":"us","user":"a@b.c","uh":"AAAAAAAAAAAAAAAAAAAAAA"}]`
	send := func(answer string) *http.Response {
		r := mustRequest(t, w.url+"/cs?id=1", body)
		if answer != "" {
			r.Header["X-Hashcash"] = []string{answer}
		}
		resp, err := http.DefaultClient.Do(r)
		must(t, err)
		resp.Body.Close()
		return resp
	}
	r := send("")
	if r.StatusCode != 402 || r.ContentLength != 0 {
		t.Fatalf("%d, %d bytes", r.StatusCode, r.ContentLength)
	}
	h, err := megacrypt.ParseHashcash(r.Header.Get("X-Hashcash"))
	must(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	answer, err := h.Solve(ctx)
	must(t, err)
	if r := send(answer); r.StatusCode != 200 {
		t.Fatalf("answered, and %d", r.StatusCode)
	}
	if r := send(answer); r.StatusCode != 402 {
		t.Fatalf("answered twice, and %d", r.StatusCode)
	}
	if r := send("1:" + strings.Repeat("A", 64) + ":AAAAAA"); r.StatusCode != 402 {
		t.Fatalf("another's challenge: %d", r.StatusCode)
	}
}

// TestRate sends more than is allowed.
func TestRate(t *testing.T) {
	w := newWorld(t, func(o *Options) { o.Rate, o.Burst = 1, 3 })
	c := &client{T: t, url: w.url}
	for range 3 {
		c.do(`{"a":"us0","user":"a@b.c"}`)
	}
	if got := c.do(`{"a":"us0","user":"a@b.c"}`); got != "-4" {
		t.Fatalf("the fourth: %s", got)
	}
	w.pass(time.Second)
	if got := c.do(`{"a":"us0","user":"a@b.c"}`); got == "-4" {
		t.Fatal("a second later still too fast")
	}
}

// TestForeignJSON sends what no client should.
func TestForeignJSON(t *testing.T) {
	w := newWorld(t, nil)
	c := w.user("al")
	for body, want := range map[string]string{
		``: "-2", `{}`: "-2", `[]`: "-2", `[{"a":"uq"}`: "-2", `"x"`: "-2", `[1]`: "[-2]", `[{}]`: "[-2]", `[{"a":5}]`: "[-2]", `[null]`: "[-2]",
		` [ { "a" : "log" , "x" : [ 1 , { } ] } ] `: "[0]", `[{"a":"p","t":1}]`: "[-2]", `[{"a":"p","t":"` + c.root + `","n":{}}]`: "[-2]",
		`[{"a":"p","t":"` + c.root + `","n":[{"h":"xxxxxxxx","t":1,"a":"Q\"","k":"QQ"}]}]`: "[-2]",
	} {
		if _, b := c.post(w.url+"/cs?id=1&sid="+c.sid, []byte(body)); string(b) != want {
			t.Errorf("%s was answered %s, not %s", body, b, want)
		}
	}
	var e error = NoEntry
	if codeOf(errors.Join(e)) != NoEntry || codeOf(errors.New("x")) != Again {
		t.Error("codes")
	}
}
