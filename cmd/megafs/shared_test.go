package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"megafs/crypto/megacrypt"
	"megafs/remote/mega"
	"megafs/remote/megaserver"
)

// sharer is another account that shares a folder as the official clients do.
type sharer struct {
	t     *testing.T
	s     *mega.Session
	n     int
	root  string
	share string // the folder
	key   megacrypt.Key
	nodes map[string][]byte // keys, in the order of their making
	order []string
}

func newSharer(t *testing.T, server *megaserver.Server, url string) *sharer {
	t.Helper()
	if err := server.AddAccount(megaserver.NewAccount{Email: "you@example.com", Password: "a password"}); err != nil {
		t.Fatal(err)
	}
	s, err := mega.Login(context.Background(), mega.Credentials{URL: url, Email: "you@example.com", Password: []byte("a password")})
	if err != nil {
		t.Fatal(err)
	}
	x := &sharer{t: t, s: s, key: megacrypt.NewKey(), nodes: map[string][]byte{}}
	var tree struct{ F []struct{ H, P string } }
	x.ask(&tree, map[string]any{"a": "f", "c": 1})
	x.root = tree.F[0].H
	return x
}

func (x *sharer) post(url string, body []byte) []byte {
	x.t.Helper()
	resp, err := http.Post(url, "", bytes.NewReader(body))
	if err != nil {
		x.t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		x.t.Fatal(err)
	}
	return b
}

func (x *sharer) ask(out any, command map[string]any) {
	x.t.Helper()
	x.n++
	body, _ := json.Marshal([]any{command})
	b := x.post(fmt.Sprintf("%s/cs?id=%d&sid=%s", x.s.URL, x.n, x.s.SID), body)
	var slots []json.RawMessage
	if err := json.Unmarshal(b, &slots); err != nil || out != nil && json.Unmarshal(slots[0], out) != nil || out == nil && string(slots[0]) != "0" {
		x.t.Fatalf("%v was answered %s", command["a"], b)
	}
}

// put makes a node; what is in the share has its key under that of the share, too.
func (x *sharer) put(parent string, key []byte, n map[string]any) string {
	x.t.Helper()
	n["k"] = megacrypt.Encode(x.s.Master.Wrap(key))
	c := map[string]any{"a": "p", "t": parent, "n": []any{n}}
	if x.share != "" {
		c["cr"] = []any{[]string{x.share}, []string{""}, []any{0, 0, megacrypt.Encode(x.key.Wrap(key))}}
	}
	var made struct{ F []struct{ H string } }
	x.ask(&made, c)
	h := made.F[0].H
	x.nodes[h] = key
	x.order = append(x.order, h)
	return h
}

func (x *sharer) mkdir(parent, name string) string {
	k := megacrypt.NewKey()
	a, _ := megacrypt.Attributes{"n": name}.Encode(k)
	return x.put(parent, k[:], map[string]any{"h": "xxxxxxxx", "t": 1, "a": a})
}

func (x *sharer) file(parent, name string, data []byte, old string) string {
	x.t.Helper()
	k := megacrypt.NewFileKey()
	c := k.Cipher()
	var macs []megacrypt.ChunkMAC
	for i := range megacrypt.Chunks(int64(len(data))) {
		from, to := megacrypt.ChunkBorders(i, int64(len(data)))
		macs = append(macs, c.ChunkMAC(data[from:to]))
	}
	k.Meta = c.Meta(macs)
	sealed := make([]byte, len(data))
	c.XOR(sealed, data, 0)
	var up struct{ P string }
	x.ask(&up, map[string]any{"a": "u", "s": len(data)})
	token := x.post(up.P+"/0", sealed)
	a, _ := megacrypt.Attributes{"n": name}.Encode(k.Key)
	n := map[string]any{"h": string(token), "t": 0, "a": a}
	if len(token) == 36 && bytes.ContainsFunc(token, func(r rune) bool { return r > '~' || r < ' ' }) || len(token) != 36 {
		n["h"] = megacrypt.Encode(token)
	}
	if old != "" {
		n["ov"] = old
	}
	return x.put(parent, k.Pack(), n)
}

// with shares a folder, and all that was made so far, with the other account.
func (x *sharer) with(folder string, level int) {
	x.t.Helper()
	var pub struct{ PubK string }
	x.ask(&pub, map[string]any{"a": "uk", "u": "me@example.com"})
	p, err := megacrypt.ParsePublicKey(pub.PubK)
	if err != nil {
		x.t.Fatal(err)
	}
	m := make([]byte, len(p.N.Bytes())-2)
	rand.Read(m)
	copy(m, x.key[:])
	sealed := megacrypt.Encode(megacrypt.AppendMPI(nil, new(big.Int).Exp(new(big.Int).SetBytes(m), p.E, p.N)))
	var keys []any
	for i, h := range x.order {
		keys = append(keys, 0, i, megacrypt.Encode(x.key.Wrap(x.nodes[h])))
	}
	auth, _ := megacrypt.HandleAuth(x.s.Master, folder)
	x.ask(&struct{}{}, map[string]any{"a": "s2", "n": folder, "s": []any{map[string]any{"u": "me@example.com", "r": level, "k": sealed}},
		"ok": megacrypt.Encode(x.s.Master.Wrap(x.key[:])), "ha": auth, "cr": []any{[]string{folder}, x.order, keys}})
	x.share = folder
}

// TestShared mounts an account with which another shares a folder: it is read, followed while its owner changes it, takes no changes, is copied out of, and
// goes when it is shared no more.
func TestShared(t *testing.T) {
	m, server, addr := megaAccount(t)
	m.logIn(addr)
	x := newSharer(t, server, "http://"+addr)
	dir := x.mkdir(x.root, "docs")
	inner := x.mkdir(dir, "inner")
	big := make([]byte, 600_000)
	rand.Read(big)
	first := x.file(inner, "first", big, "")
	m.mount("--shared")
	top := filepath.Join(m.mnt, "Shared with me")
	in := func(name string) string { return filepath.Join(top, "docs", name) }
	shows := func(what, name string, want []byte) {
		t.Helper()
		m.until(what, func() bool {
			b, err := os.ReadFile(in(name))
			return want == nil && os.IsNotExist(err) || err == nil && want != nil && bytes.Equal(b, want)
		})
	}
	if l, err := os.ReadDir(top); err != nil || len(l) != 0 {
		t.Fatal(l, err)
	}
	x.with(dir, 2)
	shows("the share, while mounted", "inner/first", big)
	f, err := os.Open(in("inner/first"))
	if err != nil {
		t.Fatal(err)
	}
	part := make([]byte, 100)
	if _, err := f.ReadAt(part, 300_000); err != nil || !bytes.Equal(part, big[300_000:300_100]) {
		t.Error(err)
	}
	f.Close()
	x.file(dir, "later", []byte("later"), "")
	second := x.file(inner, "first", []byte("second"), first)
	x.ask(nil, map[string]any{"a": "m", "n": second, "t": dir})
	shows("new content in a file that moved", "first", []byte("second"))
	shows("a new file", "later", []byte("later"))
	server.Faults().Add(megaserver.Fault{On: "u", Code: -5, Times: 1 << 20}) // what is copied out is sent only when it is shared no more
	refused := m.sh(`cd "$M/Shared with me"; no() { if "$@" 2>>"$HOME/errors"; then echo "$@"; fi; }
no touch docs/new; no mkdir docs/dir; no rm docs/first; no mv docs/first docs/x; no mv docs/first "$M/x"; no mv docs "$M/docs"; no rmdir docs/inner
no ln -s x docs/link; no chmod 600 docs/first; no touch docs/first; no truncate -s 0 docs/first; no dd if=/dev/null of=docs/first status=none; no setfattr -n user.a -v b docs/first
echo own >"$M/own"; no mv "$M/own" docs/own; no rmdir docs; no mv ../"Shared with me" "$M/z"; ls docs docs/inner; cat "$M/own"; sed 's/.*: //; s/Permission denied/Operation not permitted/' "$HOME/errors" | sort -u
cp -r docs "$M/copy"; echo more >>"$M/copy/first"; cat "$M/copy/first"`)
	if refused != "docs:\nfirst\ninner\nlater\n\ndocs/inner:\nown\nOperation not permitted\nsecondmore\n" {
		t.Errorf("%s", refused)
	}
	x.ask(&struct{}{}, map[string]any{"a": "s2", "n": dir, "s": []any{map[string]any{"u": "me@example.com"}}})
	shows("shared no more", "first", nil)
	if l, err := os.ReadDir(top); err != nil || len(l) != 0 {
		t.Error(l, err)
	}
	server.Faults().Clear()
	m.want(0, "", "sync", m.mnt)
	m.sh(`test "$(cat "$M/copy/first")" = secondmore; test "$(ls "$M/copy")" = "first
inner
later"`)
	m.umount()
	m.want(2, "--shared is for MEGA accounts", "mount", "--shared", "--remote", "dir:"+m.home+"/vault", m.mnt)
}
