package megaserver

import (
	"bytes"
	"crypto/tls"
	"net"
	"os"
	"testing"
	"time"

	"megafs/remote/blob"
	"megafs/remote/megaserver/megatest"
)

// foreign is a server where the clients look for MEGA's.
type foreign struct {
	*megatest.Place
	s     *Server
	links chan string
}

// newForeign is called inside.
func newForeign(t *testing.T) *foreign {
	t.Helper()
	f := &foreign{Place: megatest.New(t), links: make(chan string, 10)}
	store, err := blob.Dir(f.Path("blobs"), blob.DirOptions{Create: true})
	must(t, err)
	f.s, err = New(Options{
		State: f.Path("state"), Blobs: store, Wait: 2 * time.Second,
		Mail: func(_, link string) error { f.links <- link; return nil },
	})
	must(t, err)
	l, err := net.Listen("tcp", "127.0.0.1:443")
	must(t, err)
	h := HTTPServer(f.s, &tls.Config{Certificates: []tls.Certificate{f.Cert}})
	go h.ServeTLS(l, "", "")
	t.Cleanup(func() { h.Close(); f.s.Close(); store.Close() })
	return f
}

// same compares a file with what it must hold.
func (f *foreign) same(name string, want []byte) {
	f.Helper()
	got, err := os.ReadFile(f.Path(name))
	must(f.T, err)
	if !bytes.Equal(got, want) {
		f.Fatalf("%d bytes that differ from the %d there should be", len(got), len(want))
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func pattern(n int) []byte { return megatest.Pattern(n) }
