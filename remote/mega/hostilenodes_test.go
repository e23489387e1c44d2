package mega

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"testing"

	"megafs/crypto/megacrypt"
	"megafs/remote"
)

// TestM04M34M36HostileNodes: another node's attributes make a node undecryptable; versions, however many, are no names in a directory; and attributes that
// decrypt by luck give a name, and content no trust.
func TestM04M34M36HostileNodes(t *testing.T) {
	_, sealed, k := sealedContent(1000)
	other := megacrypt.NewFileKey()
	e := newEvil(t)
	e.data = sealed
	mixed := fileNode("mixed000", evilRoot, "mixed", k, 1000)
	mixed["a"] = fileNode("x", evilRoot, "other", other, 5)["a"]                                                                            // M04
	nodes := []map[string]any{fileNode("filefile", evilRoot, "file", k, 1000), mixed, fileNode("lucky000", evilRoot, "lucky", other, 1000)} // M36: a key with right attributes, and another's content
	for i := range 20_000 {
		nodes = append(nodes, fileNode(fmt.Sprintf("v%07d", i), "filefile", "file", k, 1000)) // M34
	}
	e.tree(nodes...)
	r := e.open(Options{})
	s := e.load(r)
	if l := s.list(); len(l) != 3 || len(s.names) != 3 || l[0] != "(undecryptable mixed000)" {
		t.Fatalf("%d names: %q", len(s.names), l)
	}
	if _, err := fetch(r, s, s.names["1/file"]); err != nil {
		t.Error(err)
	}
	if got, err := fetch(r, s, s.names["1/lucky"]); !remote.Is(err, remote.Integrity) || len(got) > 0 {
		t.Error(len(got), err)
	}
}

// TestM14ZeroTailTrimmed fixes what MEGA's format lets through: zeros at the end of the last block, and no more.
func TestM14ZeroTailTrimmed(t *testing.T) {
	const n = 160
	k := megacrypt.NewFileKey()
	c := k.Cipher()
	plain := append(bytes.Repeat([]byte{7}, n-16+1), make([]byte, 15)...) // 15 zeros end it
	k.Meta = c.Meta([]megacrypt.ChunkMAC{c.ChunkMAC(plain)})
	for cut, passes := range map[int]bool{0: true, 15: true, 16: false} {
		e := newEvil(t)
		e.data = make([]byte, n)
		c.XOR(e.data, plain, 0)
		e.data = e.data[:n-cut]
		e.tree(fileNode("filefile", evilRoot, "file", k, n-cut))
		r := e.open(Options{})
		s := e.load(r)
		if _, err := fetch(r, s, s.names["1/file"]); (err == nil) != passes {
			t.Errorf("%d bytes cut: %v", cut, err)
		}
	}
}

// TestM17Gaps: a file whose MAC comes out right only when a late chunk is left out is not read.
func TestM17Gaps(t *testing.T) {
	const n = 1 << 20
	plain := bytes.Repeat([]byte{3}, n)
	k := megacrypt.NewFileKey()
	c := k.Cipher()
	var macs []megacrypt.ChunkMAC
	for i := range megacrypt.Chunks(n) - 1 {
		a, b := megacrypt.ChunkBorders(i, n)
		macs = append(macs, c.ChunkMAC(plain[a:b]))
	}
	k.Meta = c.Meta(macs)
	e := newEvil(t)
	e.data = make([]byte, n)
	c.XOR(e.data, plain, 0)
	e.tree(fileNode("filefile", evilRoot, "file", k, n))
	r := e.open(Options{})
	s := e.load(r)
	if got, err := fetch(r, s, s.names["1/file"]); !remote.Is(err, remote.Integrity) || len(got) > 0 {
		t.Error(len(got), err)
	}
}

// TestM37Line: a server whose certificate is nobody's, or that speaks TLS 1.0 only, is told nothing.
func TestM37Line(t *testing.T) {
	for _, most := range []uint16{tls.VersionTLS13, tls.VersionTLS10} {
		asked := false
		h := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked = true }))
		h.TLS = &tls.Config{MinVersion: tls.VersionTLS10, MaxVersion: most}
		h.Config.ErrorLog = log.New(io.Discard, "", 0)
		h.StartTLS()
		a, err := newAPI(h.URL, nil)
		if most == tls.VersionTLS10 {
			a, err = newAPI(h.URL, h.Client()) // whose certificate is known
		}
		if err != nil {
			t.Fatal(err)
		}
		a.retry = 1
		if _, err := a.call(context.Background(), command{"a": "us0", "user": "me@example.com"}); err == nil || asked {
			t.Errorf("TLS up to %x: %v, asked %v", most, err, asked)
		}
		h.Close()
	}
}

// TestM05AttributesFlipped flips each bit of a file's attributes: it has another name or can't be decrypted, and never leads to anything but its own content.
func TestM05AttributesFlipped(t *testing.T) {
	plain, sealed, k := sealedContent(100)
	e := newEvil(t)
	e.data = sealed
	good := fileNode("goodgood", evilRoot, "good", k, 100)
	a, err := megacrypt.Decode(good["a"].(string), 1<<10)
	if err != nil {
		t.Fatal(err)
	}
	nodes := []map[string]any{good}
	for i := range 8 * len(a) {
		b := bytes.Clone(a)
		b[i/8] ^= 1 << (i % 8)
		n := fileNode(fmt.Sprintf("f%07d", i), evilRoot, "flipped", k, 100)
		n["a"] = megacrypt.Encode(b)
		nodes = append(nodes, n)
	}
	e.tree(nodes...)
	r := e.open(Options{})
	s := e.load(r)
	if len(s.list()) != len(nodes) {
		t.Errorf("%d of %d nodes are shown", len(s.list()), len(nodes))
	}
	readable := 0
	for name, ino := range s.names {
		if !remote.ValidName(name[2:]) {
			t.Errorf("%q", name)
		}
		if got, err := fetch(r, s, ino); err == nil && bytes.Equal(got, plain) {
			readable++
		} else if !remote.Is(err, remote.Integrity) {
			t.Errorf("%q: %d bytes, %v", name, len(got), err)
		}
	}
	if readable == 0 || readable == len(nodes) {
		t.Errorf("%d of %d can be read", readable, len(nodes))
	}
}
