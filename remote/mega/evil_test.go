package mega

import (
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
	ul   func(path string, body []byte) (status int, answer string)
	log  []string
	got  []command
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
	body, err := io.ReadAll(r.Body)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
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
			e.got = append(e.got, c)
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
	case strings.HasPrefix(r.URL.Path, "/ul/") && e.ul != nil:
		status, answer := e.ul(r.URL.Path, body)
		w.WriteHeader(status)
		io.WriteString(w, answer)
	case strings.HasPrefix(r.URL.Path, "/ul/"):
		io.WriteString(w, strings.Repeat("x", tokenSize))
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
	if o.StateDir == "" {
		o.StateDir = e.t.TempDir() // an index in memory takes its first tree in the way of large ones
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
