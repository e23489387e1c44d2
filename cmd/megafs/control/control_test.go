package control

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// start serves requests in a folder of the test's own.
func start(t *testing.T, answer func(context.Context, Request) (any, error)) (*Server, []string) {
	t.Helper()
	folders := []string{filepath.Join(t.TempDir(), "run")}
	s, err := Listen(folders, "one", Handler{
		Answer: answer,
		Waits:  func(r Request) bool { return r.Wait },
		Fail:   func(err error) *Failure { return &Failure{err.Error(), 5} },
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s, folders
}

func only(t *testing.T, folders []string) *Peer {
	t.Helper()
	peers := Peers(folders)
	if len(peers) != 1 {
		t.Fatalf("%d peers, want 1", len(peers))
	}
	return peers[0]
}

func TestCall(t *testing.T) {
	_, folders := start(t, func(_ context.Context, r Request) (any, error) {
		if string(r.Path) == "bad" {
			return nil, errors.New("no")
		}
		return map[string]any{"op": r.Op, "path": r.Path}, nil
	})
	p := only(t, folders)
	if p.PID != os.Getpid() {
		t.Errorf("peer is process %d, want %d", p.PID, os.Getpid())
	}
	var got Request
	path := "a\nb\"\xff"
	if err := p.Call(context.Background(), Request{Op: "why", Path: []byte(path)}, &got); err != nil {
		t.Fatal(err)
	}
	if got.Op != "why" || string(got.Path) != path {
		t.Errorf("got %+v", got)
	}
	var f *Failure
	if err := p.Call(context.Background(), Request{Op: "x", Path: []byte("bad")}, nil); !errors.As(err, &f) || f.Text != "no" || f.Code != 5 {
		t.Errorf("got %v, want the failure", err)
	}
}

// raw sends bytes and returns what comes back.
func raw(t *testing.T, folders []string, b []byte) string {
	t.Helper()
	c, err := net.Dial("unix", filepath.Join(folders[0], "one.sock"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(10 * time.Second))
	c.Write(b)
	c.(*net.UnixConn).CloseWrite()
	var out bytes.Buffer
	out.ReadFrom(c)
	return out.String()
}

func TestHostileRequests(t *testing.T) {
	_, folders := start(t, func(_ context.Context, r Request) (any, error) { return r.Op, nil })
	for _, tc := range []struct{ name, in, want string }{
		{"good", `{"op":"status"}` + "\n", `{"result":"status"}` + "\n"},
		{"nothing", "", ""},
		{"no end", `{"op":"status"}`, ""},
		{"not JSON", "GET / HTTP/1.1\n", "not a request"},
		{"unknown field", `{"op":"status","key":1}` + "\n", "not a request"},
		{"two", `{"op":"status"}{"op":"status"}` + "\n", "more than a request"},
		{"too large", `{"op":"` + strings.Repeat("x", maxRequest) + `"}` + "\n", "too large"},
		{"deep", `{"op":` + strings.Repeat("[", 17) + strings.Repeat("]", 17) + "}\n", "nested"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := raw(t, folders, []byte(tc.in)); !strings.Contains(got, tc.want) || (tc.want == "" && got != "") {
				t.Errorf("got %q, want %q", got, tc.want)
			}
		})
	}
}

func TestModes(t *testing.T) {
	_, folders := start(t, func(context.Context, Request) (any, error) { return nil, nil })
	for path, want := range map[string]os.FileMode{folders[0]: 0o700, filepath.Join(folders[0], "one.sock"): 0o600} {
		fi, err := os.Stat(path)
		if err != nil || fi.Mode().Perm() != want {
			t.Errorf("%s has mode %v, want %v (%v)", path, fi.Mode().Perm(), want, err)
		}
	}
}

func TestOpenFolderRefuses(t *testing.T) {
	dir := t.TempDir()
	os.Mkdir(filepath.Join(dir, "open"), 0o700)
	os.Chmod(filepath.Join(dir, "open"), 0o755)
	os.Mkdir(filepath.Join(dir, "real"), 0o700)
	os.Symlink("real", filepath.Join(dir, "link"))
	os.WriteFile(filepath.Join(dir, "file"), nil, 0o600)
	for name, ok := range map[string]bool{"open": false, "link": false, "file": false, "real": true, "new": true} {
		d, err := openFolder(filepath.Join(dir, name), true)
		if (err == nil) != ok {
			t.Errorf("%s: %v", name, err)
		}
		if err == nil {
			d.close()
		}
	}
}

// Requests that wait take no place from those that don't, and end when whoever asked goes away.
func TestWaiting(t *testing.T) {
	ended := make(chan struct{}, 100)
	started := make(chan struct{}, 100)
	_, folders := start(t, func(ctx context.Context, r Request) (any, error) {
		if r.Wait {
			started <- struct{}{}
			<-ctx.Done()
			ended <- struct{}{}
		}
		return "ok", nil
	})
	p := only(t, folders)
	ctx, cancel := context.WithCancel(context.Background())
	errs := make(chan error, 100)
	const n = maxActive * 2
	for range n {
		go func() { errs <- p.Call(ctx, Request{Op: "sync", Wait: true}, nil) }()
	}
	for range n {
		<-started
	}
	if err := p.Call(context.Background(), Request{Op: "status"}, nil); err != nil {
		t.Errorf("no answer beside %d that wait: %v", n, err)
	}
	cancel()
	for range n {
		if err := <-errs; !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
		<-ended
	}
}

func TestStaleSocket(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "run")
	os.Mkdir(dir, 0o700)
	path := filepath.Join(dir, "dead.sock")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	l.Close()
	if peers := Peers([]string{dir}); len(peers) != 0 {
		t.Errorf("%d peers, want none", len(peers))
	}
	if _, err := os.Lstat(path); err == nil {
		t.Error("the dead socket is still there")
	}
}

// FuzzResponse reads what another process answers.
func FuzzResponse(f *testing.F) {
	for _, s := range []string{`{}`, `{"result":{"x":1}}`, `{"failure":{"text":"no","code":4}}`, `{"failure":null,"result":null}`, `{"failure":{"code":1e99}}`, `[`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var r response
		if json.Unmarshal(b, &r) != nil {
			return
		}
		line, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		var again response
		if err := json.Unmarshal(line, &again); err != nil || (r.Failure == nil) != (again.Failure == nil) {
			t.Errorf("%s became %s: %v", b, line, err)
		}
	})
}

func FuzzControl(f *testing.F) {
	for _, s := range []string{`{"op":"status"}`, `{"op":"why","path":"YS9i"}`, `{"op":"x","wait":true}`, `[[[[`, `{"op":"\ud800"}`, `{"a":{"b":["\\"]}}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := parse(b)
		if err != nil {
			if !reflect.DeepEqual(r, Request{}) {
				t.Fatalf("%+v with %v", r, err)
			}
			return
		}
		// What was understood can be said, and is understood as the same.
		line, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		if again, err := parse(line); len(line) <= maxRequest && (err != nil || !reflect.DeepEqual(again, r)) {
			t.Fatalf("%+v became %+v (%v)", r, again, err)
		}
	})
}
