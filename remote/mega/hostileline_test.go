package mega

import (
	"context"
	"crypto/tls"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"testing"

	"megafs/remote"
)

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
