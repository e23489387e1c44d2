package mega

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"megafs/crypto/megacrypt"
	"megafs/remote"
)

// evil is a server that answers as it is told, and keeps what it was asked.
type evil struct {
	t    *testing.T
	url  string
	mu   sync.Mutex
	cs   map[string]func(command) any // by command
	sc   []string                     // answers, one after another; then there is nothing new
	data []byte                       // ciphertext
	log  []string
}

func newEvil(t *testing.T) *evil {
	e := &evil{t: t, cs: map[string]func(command) any{}}
	h := httptest.NewServer(e)
	e.url = h.URL
	t.Cleanup(func() { h.CloseClientConnections(); h.Close() })
	e.cs["g"] = func(command) any { return map[string]any{"s": len(e.data), "g": e.url + "/dl"} }
	return e
}

// ServeHTTP implements http.Handler.
func (e *evil) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	e.mu.Lock()
	defer e.mu.Unlock()
	switch {
	case r.URL.Path == "/cs":
		var cs []command
		json.Unmarshal(body, &cs)
		out := []any{}
		for _, c := range cs {
			name := fmt.Sprint(c["a"])
			e.log = append(e.log, name)
			if f := e.cs[name]; f != nil {
				out = append(out, f(c))
			} else {
				out = append(out, -2)
			}
		}
		json.NewEncoder(w).Encode(out)
	case r.URL.Path == "/sc":
		if len(e.sc) == 0 {
			fmt.Fprintf(w, `{"w":"%s/wait"}`, e.url)
			return
		}
		io.WriteString(w, e.sc[0])
		e.sc = e.sc[1:]
	case r.URL.Path == "/wait":
		e.mu.Unlock()
		select {
		case <-r.Context().Done():
		case <-time.After(10 * time.Second):
		}
		e.mu.Lock()
	case strings.HasPrefix(r.URL.Path, "/dl/"):
		e.log = append(e.log, "dl")
		var a, b int
		fmt.Sscanf(r.URL.Path, "/dl/%d-%d", &a, &b)
		w.Write(e.data[min(a, len(e.data)):min(b+1, len(e.data))])
	}
}

const (
	evilUser = "5z_NX5Ahgz4"
	evilRoot = "rootroot"
	evilSN   = "AAAAAAAAAAA"
)

var evilMaster = megacrypt.Key{1, 2, 3}

// session is a log-in to the evil server.
func (e *evil) session() *Session {
	return &Session{URL: e.url, User: evilUser, SID: "sid", Master: evilMaster}
}

func (e *evil) open(o Options) *Remote {
	e.t.Helper()
	if o.Session == nil {
		o.Session = e.session()
	}
	o.Log, o.Retry = slog.New(slog.DiscardHandler), time.Millisecond
	r, err := Open(o)
	if err != nil {
		e.t.Fatal(err)
	}
	e.t.Cleanup(func() { r.Close() })
	return r
}

// tree makes the server list nodes.
func (e *evil) tree(nodes ...map[string]any) {
	all := append([]map[string]any{{"h": evilRoot, "p": "", "t": 2, "a": "", "k": "", "ts": 1}, {"h": "rubbish0", "p": "", "t": 4, "a": "", "k": "", "ts": 1}}, nodes...)
	e.cs["f"] = func(command) any { return map[string]any{"f": all, "ok": []any{}, "sn": evilSN} }
}

func own(key []byte) string { return evilUser + ":" + megacrypt.Encode(evilMaster.Wrap(key)) }

// fileNode is a file as the server lists it, with the key of its content.
func fileNode(h, parent, name string, k megacrypt.FileKey, size any) map[string]any {
	a, _ := megacrypt.Attributes{"n": name}.Encode(k.Key)
	return map[string]any{"h": h, "p": parent, "t": 0, "a": a, "k": own(k.Pack()), "s": size, "ts": 100}
}

func folderNode(h, parent, name string) map[string]any {
	k := megacrypt.NewKey()
	a, _ := megacrypt.Attributes{"n": name}.Encode(k)
	return map[string]any{"h": h, "p": parent, "t": 1, "a": a, "k": own(k[:]), "ts": 100}
}

// state is a tree as a sink sees it.
type state struct {
	names map[string]remote.Ino // parent/name
	attrs map[remote.Ino]remote.Attr
	exts  map[remote.Ino][]remote.Extent
}

func (s *state) Reset() error {
	*s = state{map[string]remote.Ino{}, map[remote.Ino]remote.Attr{}, map[remote.Ino][]remote.Extent{}}
	return nil
}

func (s *state) Apply(b remote.Batch) error {
	for _, op := range b.Ops {
		k := fmt.Sprintf("%d/%s", op.Parent, op.Name)
		switch op.Kind {
		case remote.OpNode:
			s.attrs[op.Ino] = op.Attr
		case remote.OpLink:
			s.names[k] = op.Ino
		case remote.OpUnlink:
			delete(s.names, k)
		case remote.OpExtent:
			s.exts[op.Ino] = append(s.exts[op.Ino], op.Extent)
		}
	}
	return nil
}

// list returns the names in the root.
func (s *state) list() []string {
	var out []string
	for _, k := range sorted(s.names) {
		if n, ok := strings.CutPrefix(k, "1/"); ok {
			out = append(out, n)
		}
	}
	return out
}

func (e *evil) load(r *Remote) *state {
	e.t.Helper()
	s := &state{}
	if _, err := r.Load(context.Background(), remote.Position{}, s); err != nil {
		e.t.Fatal(err)
	}
	return s
}

// sealedContent makes content and its key.
func sealedContent(n int) (plain, sealed []byte, k megacrypt.FileKey) {
	plain = make([]byte, n)
	for i := range plain {
		plain[i] = byte(i * 7)
	}
	k = megacrypt.NewFileKey()
	c := k.Cipher()
	var macs []megacrypt.ChunkMAC
	for i := range megacrypt.Chunks(int64(n)) {
		a, b := megacrypt.ChunkBorders(i, int64(n))
		macs = append(macs, c.ChunkMAC(plain[a:b]))
	}
	k.Meta = c.Meta(macs)
	sealed = make([]byte, n)
	c.XOR(sealed, plain, 0)
	return plain, sealed, k
}

// fetch reads a file through Fetch and Open.
func fetch(r *Remote, s *state, ino remote.Ino) ([]byte, error) {
	var out []byte
	for _, x := range s.exts[ino] {
		n := int(x.Ref.Chunks)
		sealed := make([]byte, n*remote.SealedChunk)
		if err := r.Fetch(context.Background(), x.Ref, 0, n, sealed); err != nil {
			return out, err
		}
		for i := range n {
			plain := make([]byte, remote.ChunkSize)
			if err := r.Open(x.Ref, i, sealed[i*remote.SealedChunk:][:remote.SealedChunk], plain); err != nil {
				return out, err
			}
			out = append(out, plain...)
		}
	}
	return out[:min(uint64(len(out)), s.attrs[ino].Size)], nil
}

// TestM01ToM10HostileTree lists what no client would make: what can be shown is, and nothing else is harmed.
func TestM01ToM10HostileTree(t *testing.T) {
	e := newEvil(t)
	good, other := megacrypt.NewFileKey(), megacrypt.NewFileKey()
	flipped := fileNode("flipped0", evilRoot, "flipped", good, 5)
	flipped["k"] = own(append([]byte{good.Pack()[0] ^ 1}, good.Pack()[1:]...)) // M01
	weak := fileNode("weakweak", evilRoot, "weak", good, 5)
	weak["k"] = own(bytes.Repeat(good.Pack()[:16], 2)) // M02
	swapped := fileNode("swapped0", evilRoot, "swapped", good, 5)
	swapped["k"] = own(other.Pack()) // M03
	foreign := fileNode("foreign0", evilRoot, "foreign", good, 5)
	foreign["k"] = "AAAAAAAAAAA:" + megacrypt.Encode(good.Pack()) // M31
	bomb := fileNode("bombbomb", evilRoot, "bomb", good, 5)
	bomb["a"] = strings.Repeat("A", 100<<10) // M30
	e.tree(
		fileNode("goodgood", evilRoot, "good", good, 5), flipped, weak, swapped, foreign, bomb,
		fileNode("slash000", evilRoot, "a/b", good, 5), fileNode("dots0000", evilRoot, "..", good, 5), fileNode("dot00000", evilRoot, ".", good, 5), // M06
		fileNode("empty000", evilRoot, "", good, 5), fileNode("nul00000", evilRoot, "a\x00b", good, 5), fileNode("long0000", evilRoot, strings.Repeat("ä", 300), good, 5),
		fileNode("twin0000", evilRoot, "twin", good, 5), fileNode("twin0001", evilRoot, "twin", good, 5), fileNode("esc00000", evilRoot, "a%2Fb", good, 5), // M07
		folderNode("selfself", "selfself", "self"), folderNode("ring0000", "ring0001", "r0"), folderNode("ring0001", "ring0000", "r1"), // M08
		fileNode("orphan00", "nowhere0", "orphan", good, 5), map[string]any{"h": "root2222", "p": "", "t": 2, "a": "", "k": "", "ts": 1},
		fileNode("version0", "goodgood", "old", good, 5), map[string]any{"h": "type9999", "p": evilRoot, "t": 9, "a": "", "k": ""}, // M09
		fileNode("goodgood", evilRoot, "again", other, 7),                                                                                                       // M10: the same handle twice; one of them is shown
		fileNode("neg00000", evilRoot, "neg", good, -5), fileNode("huge0000", evilRoot, "huge", good, 1e308), fileNode("text0000", evilRoot, "text", good, "x"), // M16
		map[string]any{"h": "bad", "p": evilRoot, "t": 0}, map[string]any{"h": 5},
	)
	r := e.open(Options{})
	s := e.load(r)
	for _, n := range []string{"a%2Fb", "%2E%2E", "%2E", "%", "a%00b", "twin", "(undecryptable flipped0)", "(undecryptable weakweak)", "(undecryptable swapped0)", "(undecryptable foreign0)"} {
		if _, ok := s.names["1/"+n]; !ok {
			t.Errorf("%q is not there", n)
		}
	}
	if l := s.list(); len(l) != 14 {
		t.Errorf("%d names: %q", len(l), l)
	}
	for k, ino := range s.names {
		_, name, _ := strings.Cut(k, "/")
		if !remote.ValidName(name) {
			t.Errorf("%q is shown", name)
		}
		if strings.HasPrefix(name, "(undecryptable") {
			if _, err := fetch(r, s, ino); !remote.Is(err, remote.Integrity) || s.attrs[ino].Mode != 0 {
				t.Errorf("%s: %v, mode %o", name, err, s.attrs[ino].Mode)
			}
		}
	}
	for _, c := range e.log { // M24
		if c != "f" && c != "g" {
			t.Error("the server was asked", c)
		}
	}
}

// TestM11ToM17HostileContent gives other bytes than those that were stored.
func TestM11ToM17HostileContent(t *testing.T) {
	plain, sealed, k := sealedContent(6_000_000)
	for _, mode := range []struct {
		name   string
		verify int64
	}{{"whole", 16 << 20}, {"stream", 1}} {
		for _, x := range []struct {
			name string
			do   func(e *evil, n map[string]any)
			good bool
		}{
			{"true", func(*evil, map[string]any) {}, true},
			{"flip at the end", func(e *evil, _ map[string]any) { e.data[len(e.data)-1] ^= 1 }, false},              // M11
			{"flip at the beginning", func(e *evil, _ map[string]any) { e.data[0] ^= 1 }, false},                    // M12
			{"smaller", func(e *evil, n map[string]any) { e.data = e.data[:5_000_000]; n["s"] = 5_000_000 }, false}, // M13
			{"short", func(e *evil, n map[string]any) { e.data = e.data[:5_000_000] }, false},
			{"another", func(e *evil, _ map[string]any) { _, e.data, _ = sealedContent(6_000_000) }, false}, // M29
		} {
			t.Run(mode.name+" "+x.name, func(t *testing.T) {
				e := newEvil(t)
				e.data = bytes.Clone(sealed)
				n := fileNode("filefile", evilRoot, "file", k, len(sealed))
				x.do(e, n)
				e.tree(n)
				r := e.open(Options{Verify: mode.verify})
				s := e.load(r)
				ino := s.names["1/file"]
				got, err := fetch(r, s, ino)
				switch {
				case x.good && (err != nil || !bytes.Equal(got, plain)):
					t.Error(err)
				case !x.good && err == nil:
					t.Error("it was read without an error")
				case !x.good && mode.name == "whole" && len(got) > 0:
					t.Errorf("%d bytes of it were given out", len(got))
				}
				if x.good {
					return
				}
				if _, err := fetch(r, s, ino); err == nil { // never again
					t.Error("the second reading succeeds")
				}
			})
		}
	}
	t.Run("empty", func(t *testing.T) { // M15: there is nothing to fetch, so it is noticed when it is listed
		e := newEvil(t)
		e.tree(fileNode("filefile", evilRoot, "file", k, 0))
		s := e.load(e.open(Options{}))
		if len(s.list()) != 1 || s.attrs[s.names["1/file"]].Mode != 0 {
			t.Errorf("%q, %+v", s.list(), s.attrs)
		}
	})
}

// TestM12RangesAfterAFullPass: once a large file was read as a whole, each chunk is held against its own MAC, also after the next start.
func TestM12RangesAfterAFullPass(t *testing.T) {
	_, sealed, k := sealedContent(6_000_000)
	e := newEvil(t)
	e.data = bytes.Clone(sealed)
	e.tree(fileNode("filefile", evilRoot, "file", k, len(sealed)))
	dir := t.TempDir()
	r, err := Open(Options{Session: e.session(), StateDir: dir, Verify: 1, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	s := e.load(r)
	ino := s.names["1/file"]
	if _, err := fetch(r, s, ino); err != nil {
		t.Fatal(err)
	}
	r.Close()
	r = e.open(Options{StateDir: dir, Verify: 1})
	e.mu.Lock()
	e.data[4_500_000] ^= 1
	e.mu.Unlock()
	buf := make([]byte, remote.SealedChunk)
	if err := r.Fetch(context.Background(), s.exts[ino][0].Ref, 3, 1, buf); err != nil {
		t.Error("an untouched range:", err)
	}
	off := (4_500_000 - remote.MaxContent) / remote.ChunkSize
	if err := r.Fetch(context.Background(), s.exts[ino][1].Ref, off, 1, buf); !remote.Is(err, remote.Integrity) {
		t.Error("a changed range:", err)
	}
}

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

// TestM25HostileEvents: events that make no sense leave a tree, and end.
func TestM25HostileEvents(t *testing.T) {
	e := newEvil(t)
	k := megacrypt.NewFileKey()
	e.tree(folderNode("folder00", evilRoot, "folder"), folderNode("folder01", "folder00", "inner"), fileNode("filefile", "folder01", "file", k, 0))
	r := e.open(Options{})
	s := e.load(r)
	packet := func(sn int, ps ...any) string {
		b, _ := json.Marshal(map[string]any{"a": ps, "sn": megacrypt.Encode([]byte{0, 0, 0, 0, 0, 0, 0, byte(sn)})})
		return string(b)
	}
	moved := folderNode("folder00", "folder01", "folder")
	e.mu.Lock()
	e.sc = []string{
		packet(1, map[string]any{"a": "zzz", "x": map[string]any{"y": []any{}}}, map[string]any{"a": 5}),
		packet(2, map[string]any{"a": "d", "n": evilRoot}, map[string]any{"a": "d", "n": "nobody00"}, map[string]any{"a": "u", "n": evilRoot, "at": "x"}),
		packet(3, map[string]any{"a": "t", "t": map[string]any{"f": []any{moved}}}), // into itself
		packet(4, map[string]any{"a": "t", "t": map[string]any{"f": []any{folderNode(evilRoot, "folder01", "root")}}}),
		packet(5, map[string]any{"a": "u", "n": "folder00", "at": "AAAA"}),
		packet(6, map[string]any{"a": "t", "t": map[string]any{"f": []any{fileNode("new00000", "nowhere0", "x", k, 5)}}}),
	}
	e.mu.Unlock()
	r.news.there.Store(true)
	pos := r.x.meta.position()
	if _, err := r.Load(context.Background(), pos, s); err != nil {
		t.Fatal(err)
	}
	if l := s.list(); len(l) != 1 || l[0] != "folder" || len(s.names) != 3 {
		t.Errorf("%v", s.names)
	}
	for _, bad := range []string{`{"a":[{"a":"t","t":5}],"sn":"` + evilSN + `"}`, strings.Repeat("[", 100_000), `{"a":[],"sn":"x"}`, `{"w":"http://169.254.169.254/x"}`, `{"w":"file:///etc/passwd"}`} {
		e.mu.Lock()
		e.sc = []string{bad}
		e.mu.Unlock()
		r.news.there.Store(true)
		if _, err := r.Load(context.Background(), r.x.meta.position(), s); !remote.Is(err, remote.Integrity) {
			t.Errorf("%.40s: %v", bad, err)
		}
	}
}

// TestM26URLs lets the server name URLs that lead elsewhere.
func TestM26URLs(t *testing.T) {
	for base, urls := range map[string]map[string]bool{
		DefaultURL: {
			"https://gfs1.userstorage.mega.co.nz/dl/x": true, "https://w.api.mega.nz/x": true, "http://gfs1.userstorage.mega.co.nz/dl/x": false, "https://mega.nz.example.com/": false,
			"https://evilmega.nz/": false, "https://127.0.0.1/": false, "file:///etc/passwd": false, "https://u@mega.nz/": false, "": false,
		},
		"https://cloud.example.org": {"https://cloud.example.org/dl": true, "https://x.cloud.example.org/dl": true, "https://example.org/": false, "http://cloud.example.org/": false, "https://mega.nz/": false},
		"http://127.0.0.1:8080":     {"http://127.0.0.1:9090/x": true, "http://localhost/x": true, "http://192.168.1.1/": false, "https://mega.nz/": false},
	} {
		a, err := newAPI(base, nil)
		if err != nil {
			t.Fatal(err)
		}
		for u, want := range urls {
			if _, err := a.allowed(u); (err == nil) != want {
				t.Errorf("%s from %s: %v", u, base, err)
			}
		}
	}
	for _, base := range []string{"http://cloud.example.org", "ftp://x", "https://u:p@x", "x"} { // M37
		if _, err := newAPI(base, nil); err == nil {
			t.Error(base, "is taken")
		}
	}
}

// TestM28EndlessRetries: a server that is busy for ever gets an error out of us in time.
func TestM28EndlessRetries(t *testing.T) {
	for _, code := range []int{-3, -4, -18} {
		e := newEvil(t)
		e.cs["f"] = func(command) any { return code }
		r := e.open(Options{})
		if _, err := r.Load(context.Background(), remote.Position{}, &state{}); !remote.Is(err, remote.Unreachable) {
			t.Error(code, err)
		}
	}
	e := newEvil(t)
	e.cs["f"] = func(command) any { return -15 }
	if _, err := e.open(Options{}).Load(context.Background(), remote.Position{}, &state{}); !remote.Is(err, remote.Locked) {
		t.Error(err)
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
