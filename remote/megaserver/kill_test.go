package megaserver

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"megafs/remote/blob"
)

const killEnv = "MEGAFS_TEST_KILLED"

// TestKilledServer is the server that TestKill kills; by itself it does nothing.
func TestKilledServer(t *testing.T) {
	dir := os.Getenv(killEnv)
	if dir == "" {
		return
	}
	store, err := blob.Dir(filepath.Join(dir, "files"), blob.DirOptions{Create: true})
	must(t, err)
	s, err := New(Options{State: dir, Blobs: store})
	must(t, err)
	if os.Getenv(killEnv+"_FIRST") != "" {
		must(t, s.AddAccount(NewAccount{Email: "al@example.com", Password: testPassword}))
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	fmt.Printf("listening %s\n", l.Addr())
	HTTPServer(s, nil).Serve(l)
}

// killable begins a server in another process and returns its URL and how to kill it.
func killable(t *testing.T, dir string, first bool) (string, func()) {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^TestKilledServer$", "-test.v")
	cmd.Env = append(os.Environ(), killEnv+"="+dir)
	if first {
		cmd.Env = append(cmd.Env, killEnv+"_FIRST=1")
	}
	out, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	killed := false
	kill := func() {
		if !killed {
			killed = true
			cmd.Process.Kill()
			io.Copy(io.Discard, out)
			cmd.Wait()
		}
	}
	t.Cleanup(kill)
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		if addr, ok := strings.CutPrefix(lines.Text(), "listening "); ok {
			return "http://" + addr, kill
		}
	}
	t.Fatal("the server did not begin")
	return "", nil
}

// acknowledged is what a server said it has.
type acknowledged struct {
	folders map[string]bool
	files   map[string][]byte // by handle
	upload  string            // a URL that has the first half of half
	half    []byte
}

// TestKill kills the server at any moment while clients change things. What was answered is there afterwards, and what was not is there
// whole or not at all.
func TestKill(t *testing.T) {
	dir := t.TempDir()
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 2))
	url, kill := killable(t, dir, true)
	c := &client{T: t, url: url}
	c.logIn("al@example.com", testPassword, "")
	ack := acknowledged{folders: map[string]bool{}, files: map[string][]byte{}, half: pattern(600_000)}
	for range 3 {
		var u struct{ P string }
		c.ask(&u, `{"a":"u","s":%d}`, len(ack.half))
		if s, _ := c.post(u.P+"/0", ack.half[:300_000]); s != 200 {
			t.Fatal(s)
		}
		ack.upload = strings.TrimPrefix(u.P, url)
		stop := make(chan struct{})
		ended := make(chan struct{})
		choices := rand.New(rand.NewPCG(rnd.Uint64(), 3))
		go func() { defer close(ended); c.change(&ack, choices, stop) }()
		time.Sleep(time.Duration(300+rnd.IntN(900)) * time.Millisecond) // any moment will do
		kill()
		close(stop)
		<-ended
		url, kill = killable(t, dir, false)
		c.url = url
		c.hold(&ack)
	}
}

// change changes things until it can't any more, and notes what was acknowledged.
func (c *client) change(ack *acknowledged, rnd *rand.Rand, stop chan struct{}) {
	send := func(path string, body []byte) ([]byte, bool) {
		r, err := http.Post(c.url+path, "", bytes.NewReader(body))
		if err != nil {
			return nil, false
		}
		defer r.Body.Close()
		b, err := io.ReadAll(r.Body)
		return b, err == nil && r.StatusCode == 200
	}
	cut := func(b []byte, key string) string {
		_, rest, _ := strings.Cut(string(b), `"`+key+`":"`)
		v, _, _ := strings.Cut(rest, `"`)
		return v
	}
	for i := 0; ; i++ {
		select {
		case <-stop:
			return
		default:
		}
		c.id++
		cs := "/cs" + c.query()
		switch rnd.IntN(3) {
		case 0:
			b, ok := send(cs, []byte(`[{"a":"p","t":"`+c.root+`","n":[{"h":"xxxxxxxx","t":1,"a":"QQ","k":"QQ"}]}]`))
			if !ok {
				return
			}
			ack.folders[cut(b, "h")] = true
		case 1:
			data := pattern(1 + rnd.IntN(50_000))
			b, ok := send(cs, fmt.Appendf(nil, `[{"a":"u","s":%d}]`, len(data)))
			if !ok {
				return
			}
			token, ok := send(strings.TrimPrefix(cut(b, "p"), c.url)+"/0", data)
			if !ok {
				return
			}
			c.id++
			b, ok = send("/cs"+c.query(), fmt.Appendf(nil, `[{"a":"p","t":%q,"n":[{"h":%q,"t":0,"a":"QQ","k":"QQ"}]}]`, c.root, token))
			if !ok {
				return
			}
			ack.files[cut(b, "h")] = data
		case 2:
			for h := range ack.folders {
				// From the moment it is asked for nobody knows; once it is answered it is gone.
				delete(ack.folders, h)
				if _, ok := send(cs, []byte(`[{"a":"d","n":"`+h+`"}]`)); !ok {
					return
				}
				ack.folders[h] = false
				break
			}
		}
	}
}

// hold holds a server against what it acknowledged.
func (c *client) hold(ack *acknowledged) {
	c.Helper()
	x := c.tree()
	for h, there := range ack.folders {
		if (x.find(h) != nil) != there {
			c.Fatalf("the folder %s: there %v, to be there %v", h, x.find(h) != nil, there)
		}
	}
	var used int64
	for _, n := range x.F {
		used += n.S
		if n.T == fileNode {
			if got := c.get(n.H); int64(len(got)) != n.S {
				c.Fatalf("a file of %d bytes has %d", n.S, len(got))
			}
		}
	}
	for h, data := range ack.files {
		if x.find(h) == nil || !bytes.Equal(c.get(h), data) {
			c.Fatalf("the file %s is not what it was", h)
		}
	}
	var q struct{ Cstrg int64 }
	if c.ask(&q, `{"a":"uq"}`); q.Cstrg != used {
		c.Fatalf("%d bytes are counted, %d are there", q.Cstrg, used)
	}
	status, token := c.post(c.url+ack.upload+"/300000", ack.half[300_000:])
	if status != 200 || len(token) != 36 {
		c.Fatalf("an upload that was half done can't go on: %d %q", status, token)
	}
	var r struct{ F []shown }
	c.ask(&r, `{"a":"p","t":%q,"n":[{"h":%q,"t":0,"a":"QQ","k":"QQ"}]}`, c.root, token)
	if !bytes.Equal(c.get(r.F[0].H), ack.half) {
		c.Fatal("an upload over two lives of the server differs")
	}
	c.Logf("%d files and %d folders hold", len(ack.files), len(ack.folders))
}
