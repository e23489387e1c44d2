package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"megafs/crypto/megacrypt"
	"megafs/remote/mega"
)

// truth is an account as its server has it, rubbish bin and older versions included, read after a log-in of its own by a client that keeps nothing.
type truth struct {
	nodes   map[string]*truthNode // by handle
	root    string
	rubbish string
}

type truthNode struct {
	H string `json:"h"`
	P string `json:"p"`
	T int    `json:"t"`
	A string `json:"a"`
	K string `json:"k"`
	S int64  `json:"s"`

	name    string
	content string // of a file
}

// truthReader asks a server.
type truthReader struct {
	*testing.T
	s *mega.Session
	n int
}

func readTruth(t *testing.T, url, email, password string) *truth {
	t.Helper()
	s, err := mega.Login(t.Context(), mega.Credentials{URL: url, Email: email, Password: []byte(password)})
	if err != nil {
		t.Fatal(err)
	}
	r := &truthReader{T: t, s: s}
	var all struct{ F, F2 []*truthNode }
	r.ask(map[string]any{"a": "f", "c": 1, "r": 1}, &all)
	x := &truth{nodes: map[string]*truthNode{}}
	for _, n := range append(all.F, all.F2...) {
		x.nodes[n.H] = n
		switch n.T {
		case 2:
			x.root = n.H
		case 4:
			x.rubbish = n.H
		case 0, 1:
			r.open(n)
		}
	}
	if err := s.Logout(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	return x
}

func (r *truthReader) ask(command map[string]any, into any) {
	r.Helper()
	body, err := json.Marshal([]any{command})
	if err != nil {
		r.Fatal(err)
	}
	r.n++
	resp, err := http.Post(fmt.Sprintf("%s/cs?id=%d&sid=%s", r.s.URL, r.n, r.s.SID), "application/json", bytes.NewReader(body))
	if err != nil {
		r.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	var out []json.RawMessage
	if err != nil || json.Unmarshal(b, &out) != nil || len(out) != 1 || json.Unmarshal(out[0], into) != nil {
		r.Fatalf("%v: %v, %.200s", command, err, b)
	}
}

// open decrypts a node, and a file's content.
func (r *truthReader) open(n *truthNode) {
	r.Helper()
	_, wrapped, _ := strings.Cut(n.K, ":")
	b, err := megacrypt.Decode(wrapped, 100)
	if err == nil {
		b, err = r.s.Master.Unwrap(b)
	}
	if err != nil {
		r.Fatalf("%s: %v", n.H, err)
	}
	var key megacrypt.Key
	var file megacrypt.FileKey
	if n.T == 1 {
		key, err = megacrypt.ParseFolderKey(b)
	} else {
		file, err = megacrypt.ParseFileKey(b)
		key = file.Key
	}
	if err != nil {
		r.Fatalf("%s: %v", n.H, err)
	}
	at, err := megacrypt.DecodeAttributes(key, n.A)
	if err != nil {
		r.Fatalf("%s: %v", n.H, err)
	}
	if n.name = at["n"]; n.T == 1 || n.S == 0 {
		return
	}
	var got struct{ G string }
	r.ask(map[string]any{"a": "g", "g": 1, "n": n.H}, &got)
	resp, err := http.Get(fmt.Sprintf("%s/0-%d", got.G, n.S-1))
	if err != nil {
		r.Fatal(err)
	}
	defer resp.Body.Close()
	p, err := io.ReadAll(resp.Body)
	if err != nil || int64(len(p)) != n.S {
		r.Fatalf("%s: %d bytes of %d, %v", n.H, len(p), n.S, err)
	}
	file.Cipher().XOR(p, p, 0)
	n.content = string(p)
}

// old reports whether a file is an older version of another.
func (x *truth) old(n *truthNode) bool {
	p := x.nodes[n.P]
	return p != nil && p.T == 0
}

// under reports whether a node is in a folder, at any depth, and whether other folders are between.
func (x *truth) under(n *truthNode, top string) (in, deep bool) {
	for range len(x.nodes) {
		if n.P == top {
			return true, deep
		}
		if n = x.nodes[n.P]; n == nil {
			return false, false
		}
		deep = deep || n.T == 1
	}
	return false, false
}

func (x *truth) path(n *truthNode) string {
	if n.P == x.root || x.nodes[n.P] == nil {
		return n.name
	}
	return path.Join(x.path(x.nodes[n.P]), n.name)
}

// live lists the tree: a line for each node that is no older version and not in the rubbish bin.
func (x *truth) live() []string {
	var out []string
	for _, n := range x.nodes {
		if in, _ := x.under(n, x.root); !in || x.old(n) || n.T > 1 {
			continue
		}
		out = append(out, treeLine(x.path(n), n.T == 1, n.content))
	}
	slices.Sort(out)
	return out
}

// twinMark is what a mount adds to a name that another node has.
var twinMark = regexp.MustCompile(` \([a-z2-7]{8}( \d+)?\)`)

// treeLine tells a file or folder, but for the marks of twins.
func treeLine(path string, dir bool, content string) string {
	path = twinMark.ReplaceAllString(path, "")
	if dir {
		return path + "/"
	}
	return fmt.Sprintf("%s %d %.20q %x", path, len(content), content, sha256.Sum256([]byte(content)))
}

// twinNumber counts twins of one second, in the order in which a machine came to know them.
var twinNumber = regexp.MustCompile(`( \([a-z2-7]{8}) \d+\)`)

// shown lists the mount as truth.live does; exactly leaves the marks of twins in names.
func (m *machine) shown(exactly bool) (out []string, err error) {
	err = filepath.WalkDir(m.mnt, func(p string, d fs.DirEntry, err error) error {
		if err != nil || p == m.mnt {
			return err
		}
		var content []byte
		if !d.IsDir() {
			if content, err = os.ReadFile(p); err != nil {
				return err
			}
		}
		rel := strings.TrimPrefix(p, m.mnt+"/")
		line := treeLine(rel, d.IsDir(), string(content))
		if exactly {
			line = twinNumber.ReplaceAllString(rel, "$1)") + ": " + line
		}
		out = append(out, line)
		return nil
	})
	slices.Sort(out)
	return out, err
}

func apart(a, b []string) string {
	var s strings.Builder
	for _, l := range a {
		if !slices.Contains(b, l) {
			fmt.Fprintf(&s, "- %s\n", l)
		}
	}
	for _, l := range b {
		if !slices.Contains(a, l) {
			fmt.Fprintf(&s, "+ %s\n", l)
		}
	}
	return s.String()
}
