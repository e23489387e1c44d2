package mega_test

import (
	"context"
	"log/slog"
	"net/http/httptest"
	"testing"
	"time"

	"megafs/remote"
	"megafs/remote/blob"
	"megafs/remote/mega"
	"megafs/remote/megaserver"
	"megafs/remote/remotetest"
)

// TestRemote holds an account on megafs serve against the contract of remote.Remote.
func TestRemote(t *testing.T) {
	remotetest.Run(t, func(t *testing.T) func() remote.Remote {
		s, err := megaserver.New(megaserver.Options{Blobs: blob.Mem(), Wait: 20 * time.Second})
		if err != nil {
			t.Fatal(err)
		}
		h := httptest.NewServer(s)
		t.Cleanup(func() {
			h.CloseClientConnections()
			h.Close()
			s.Close()
		})
		if err := s.AddAccount(megaserver.NewAccount{Email: "me@example.com", Password: "a password"}); err != nil {
			t.Fatal(err)
		}
		session, err := mega.Login(context.Background(), mega.Credentials{URL: h.URL, Email: "me@example.com", Password: []byte("a password")})
		if err != nil {
			t.Fatal(err)
		}
		return func() remote.Remote {
			own := *session
			r, err := mega.Open(mega.Options{Session: &own, StateDir: t.TempDir(), Log: slog.New(slog.DiscardHandler), Retry: 5 * time.Second})
			if err != nil {
				t.Fatal(err)
			}
			return r
		}
	})
}
