package megaserver

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"megafs/crypto/megacrypt"
	"megafs/remote/blob"
)

// world is a server in this process.
type world struct {
	*testing.T
	s     *Server
	store *blob.MemStore
	url   string
	mu    sync.Mutex
	clock time.Time
	links []string
}

func init() {
	one := sync.OnceValues(func() (key struct {
		private *megacrypt.PrivateKey
		public  *megacrypt.PublicKey
	}, err error) {
		key.private, key.public, err = megacrypt.NewPrivateKey()
		return key, err
	})
	newPrivateKey = func() (*megacrypt.PrivateKey, *megacrypt.PublicKey, error) {
		key, err := one()
		return key.private, key.public, err
	}
}

const testPassword = "correct horse battery"

func newWorld(t *testing.T, change func(*Options)) *world {
	t.Helper()
	w := &world{T: t, store: blob.Mem(), clock: time.Unix(1_800_000_000, 0)}
	o := Options{Blobs: w.store, Now: w.now, Wait: 10 * time.Second, Mail: func(_, link string) error { w.links = append(w.links, link); return nil }}
	if change != nil {
		change(&o)
	}
	var err error
	w.s, err = New(o)
	must(t, err)
	h := httptest.NewServer(w.s)
	w.url = h.URL
	t.Cleanup(func() { w.s.EndWaits(); h.Close(); w.s.Close() })
	return w
}

func (w *world) now() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.clock
}

func (w *world) pass(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.clock = w.clock.Add(d)
}

// user adds an account and logs in.
func (w *world) user(name string) *client {
	w.Helper()
	must(w.T, w.s.AddAccount(NewAccount{Email: name + "@example.com", Password: testPassword, Name: name}))
	c := &client{T: w.T, url: w.url}
	c.logIn(name+"@example.com", testPassword, "")
	return c
}

// client is the least client that can be.
type client struct {
	*testing.T
	url    string
	sid    string
	user   string
	master megacrypt.Key
	v      int
	n      string
	id     int
	root   string
	bin    string
}

func (c *client) post(url string, body []byte) (int, []byte) {
	c.Helper()
	r, err := http.Post(url, "", bytes.NewReader(body))
	must(c.T, err)
	defer r.Body.Close()
	b, err := io.ReadAll(r.Body)
	must(c.T, err)
	return r.StatusCode, b
}

func (c *client) query() string {
	q := "?id=" + strconv.Itoa(c.id)
	if c.sid != "" {
		q += "&sid=" + c.sid
	}
	if c.n != "" {
		q += "&n=" + c.n
	}
	if c.v != 0 {
		q += "&v=" + strconv.Itoa(c.v)
	}
	return q
}

// batch sends commands and returns their slots, or the number that the whole was answered with.
func (c *client) batch(commands ...string) []json.RawMessage {
	c.Helper()
	c.id++
	status, b := c.post(c.url+"/cs"+c.query(), []byte("["+strings.Join(commands, ",")+"]"))
	if status != 200 {
		c.Fatalf("status %d: %s", status, b)
	}
	var slots []json.RawMessage
	if json.Unmarshal(b, &slots) != nil {
		return []json.RawMessage{b}
	}
	return slots
}

// do sends a command.
func (c *client) do(format string, a ...any) string {
	c.Helper()
	return string(c.batch(fmt.Sprintf(format, a...))[0])
}

// fails sends a command that must be answered with a code.
func (c *client) fails(code Code, format string, a ...any) {
	c.Helper()
	if got := c.do(format, a...); got != strconv.Itoa(int(code)) {
		c.Fatalf(format+" was answered %s, not %d", append(a, got, code)...)
	}
}

// ask sends a command and reads its result.
func (c *client) ask(v any, format string, a ...any) {
	c.Helper()
	got := c.do(format, a...)
	if err := json.Unmarshal([]byte(got), v); err != nil {
		c.Fatalf(format+" was answered %s", append(a, got)...)
	}
}

func (c *client) logIn(email, password, pin string) {
	c.Helper()
	var salt struct {
		V int
		S string
	}
	c.ask(&salt, `{"a":"us0","user":%q}`, email)
	if salt.V != 2 {
		c.Fatalf("us0: %+v", salt)
	}
	b, err := unb64(salt.S)
	must(c.T, err)
	key, auth, err := megacrypt.DeriveV2(password, b)
	must(c.T, err)
	var in struct{ CSID, PrivK, K, U string }
	c.ask(&in, `{"a":"us","user":%q,"uh":%q,"mfa":%q}`, email, b64.EncodeToString(auth[:]), pin)
	c.user = in.U
	c.master, err = key.UnwrapKey(in.K)
	must(c.T, err)
	private, err := megacrypt.OpenPrivateKey(c.master, in.PrivK)
	must(c.T, err)
	sid, err := private.OpenSession(in.CSID, in.U)
	must(c.T, err)
	c.sid = b64.EncodeToString(sid)
	t := c.tree()
	for _, n := range t.F {
		switch n.T {
		case driveRoot:
			c.root = n.H
		case rubbishRoot:
			c.bin = n.H
		}
	}
}

// shown is a node as the server shows it.
type shown struct {
	H, P, U, A, K, FA, SU, SK string
	T                         int
	S, TS                     int64
	I, R                      *int
}

type shownTree struct {
	F, F2 []shown
	SN    string
	ST    string
	PH    []struct{ H, PH string }
	OK    []struct{ H, HA, K string }
	S     []struct{ H, U string }
}

func (c *client) tree() shownTree {
	c.Helper()
	var t shownTree
	c.ask(&t, `{"a":"f","c":1}`)
	return t
}

// find returns the node called h, nil if there is none.
func (t shownTree) find(h string) *shown {
	for _, l := range [][]shown{t.F, t.F2} {
		for i := range l {
			if l[i].H == h {
				return &l[i]
			}
		}
	}
	return nil
}

func (c *client) mkdir(parent string) string {
	c.Helper()
	var r struct{ F []shown }
	c.ask(&r, `{"a":"p","t":%q,"n":[{"h":"xxxxxxxx","t":1,"a":"QUFBQQ","k":"QUFBQQ"}]}`, parent)
	return r.F[0].H
}

// send uploads bytes in one request and returns the token.
func (c *client) send(data []byte) string {
	c.Helper()
	var u struct{ P string }
	c.ask(&u, `{"a":"u","s":%d}`, len(data))
	status, token := c.post(u.P+"/0", data)
	if status != 200 || len(token) != 36 {
		c.Fatalf("upload: %d %s", status, token)
	}
	return string(token)
}

// put makes a file of bytes; more is what else the element has.
func (c *client) put(parent string, data []byte, more string) string {
	c.Helper()
	var r struct{ F []shown }
	c.ask(&r, `{"a":"p","t":%q,"n":[{"h":%q,"t":0,"a":"QUFBQQ","k":"QUFBQQ"%s}]}`, parent, c.send(data), more)
	return r.F[0].H
}

// get downloads a file.
func (c *client) get(h string) []byte {
	c.Helper()
	var g struct{ G string }
	c.ask(&g, `{"a":"g","g":1,"n":%q}`, h)
	status, b := c.post(g.G, nil)
	if status != 200 {
		c.Fatalf("download: %d", status)
	}
	return b
}

// events returns the packets after sn and the next sn.
func (c *client) events(sn string) (packets []map[string]json.RawMessage, next string) {
	c.Helper()
	_, b := c.post(c.url+"/sc?sn="+sn+"&sid="+c.sid, nil)
	var r struct {
		A  []map[string]json.RawMessage
		SN string
	}
	if err := json.Unmarshal(b, &r); err != nil {
		c.Fatalf("sc: %s", b)
	}
	return r.A, r.SN
}

// names lists what kinds packets are of.
func names(packets []map[string]json.RawMessage) string {
	var s []string
	for _, p := range packets {
		s = append(s, strings.Trim(string(p["a"]), `"`))
	}
	return strings.Join(s, " ")
}
