package blob_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"megafs/remote"
	"megafs/remote/blob"
	"megafs/remote/blob/blobtest"
)

// TestS3 holds a bucket of a real server against the contract, and lets it be probed.
func TestS3(t *testing.T) {
	srv := blobtest.NewS3Server(t)
	blobtest.Run(t, func(t *testing.T) blob.Store { return srv.Open(t, blob.S3Options{}) })
	s := srv.Open(t, blob.S3Options{})
	defer s.Close()
	if err := blob.Probe(ctx, s); err != nil {
		t.Error(err)
	}
}

// TestS3NoBucket: a bucket that is gone is no empty store.
func TestS3NoBucket(t *testing.T) {
	srv := blobtest.NewS3Server(t)
	p, _ := blob.ParseS3("s3://" + srv.Addr + "/other/x")
	s, err := blob.S3(p, blob.S3Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if _, err := s.Get(ctx, "a", 1); !remote.Is(err, remote.Unreachable) {
		t.Error("get:", err)
	}
	if _, err := s.Size(ctx, "a"); !remote.Is(err, remote.Unreachable) {
		t.Error("size:", err)
	}
	if err := s.List(ctx, "", "", func(blob.Info) error { return nil }); !remote.Is(err, remote.Unreachable) {
		t.Error("list:", err)
	}
}

// fake returns a store whose server is a function.
func fake(t *testing.T, h http.HandlerFunc) blob.Store {
	t.Helper()
	t.Setenv("AWS_ACCESS_KEY_ID", "a")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "b")
	srv := httptest.NewServer(h)
	t.Cleanup(srv.Close)
	p, err := blob.ParseS3(strings.Replace(srv.URL, "http", "s3", 1) + "/bucket")
	if err != nil {
		t.Fatal(err)
	}
	s, err := blob.S3(p, blob.S3Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// TestS3IgnoredCondition: a server that overwrites what it should refuse is found out.
func TestS3IgnoredCondition(t *testing.T) {
	s := fake(t, func(w http.ResponseWriter, r *http.Request) {})
	if err := blob.Probe(ctx, s); err == nil || !strings.Contains(err.Error(), blob.ErrStoreContract.Error()) {
		t.Error(err)
	}
}

// TestS3IgnoredRange: a server that sends all instead of a range is found out, and nobody gets other bytes.
func TestS3IgnoredRange(t *testing.T) {
	s := fake(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Last-Modified", time.Now().UTC().Format(http.TimeFormat))
		fmt.Fprint(w, "0123456789")
	})
	if err := s.GetRange(ctx, "a", 3, make([]byte, 2)); err == nil {
		t.Error("taken")
	}
}

// TestS3RetryAfter: a server that says when it wants to be asked again is not asked before.
func TestS3RetryAfter(t *testing.T) {
	s := fake(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Retry-After", "7")
		w.WriteHeader(http.StatusServiceUnavailable)
	})
	var waits []time.Duration
	r := blob.Retry(s, blob.RetryOptions{Attempts: 2, Sleep: func(_ context.Context, d time.Duration) { waits = append(waits, d) }})
	if _, err := r.Get(ctx, "a", 1); !remote.Is(err, remote.Unreachable) {
		t.Error(err)
	}
	if len(waits) != 1 || waits[0] < 7*time.Second {
		t.Error(waits)
	}
}

// TestParseS3 takes what is a place in a bucket, and nothing else.
func TestParseS3(t *testing.T) {
	for _, u := range []string{"s3://h/b", "s3://h:9/b/p/q?region=r", "s3://[::1]:9/b/x?path-style=true", "s3://h/b?ca=/f"} {
		p, err := blob.ParseS3(u)
		if err != nil || strings.ReplaceAll(p.String(), "%2F", "/") != u {
			t.Error(u, p, err)
		}
	}
	for _, u := range []string{"s3:b", "s3:///b", "s3://h", "http://h/b", "s3://k:s@h/b", "s3://h/b/../c", "s3://h/b//c", "s3://h/b?x=1", "s3://h/b?ca=f", "s3://h/b?region=a&region=b", "s3://h/b/p q"} {
		if p, err := blob.ParseS3(u); !remote.Is(err, remote.Invalid) {
			t.Error(u, p, err)
		} else if strings.Contains(err.Error(), "k:s") {
			t.Error("a secret is in:", err)
		}
	}
}

// TestS3Stranger: a 404 of somebody between here and the store is not taken for an object that is gone.
func TestS3Stranger(t *testing.T) {
	s := fake(t, func(w http.ResponseWriter, r *http.Request) { http.Error(w, "default backend", http.StatusNotFound) })
	if _, err := s.Get(ctx, "a", 1); !remote.Is(err, remote.Unreachable) {
		t.Error(err)
	}
	s = fake(t, func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusNotFound)
		fmt.Fprint(w, "<Error><Code>NoSuchKey</Code></Error>")
	})
	if _, err := s.Get(ctx, "a", 1); !remote.Is(err, remote.NotExist) {
		t.Error(err)
	}
}

// TestS3Plain: without TLS nothing is sent to another machine, whatever the name of this one is said to mean.
func TestS3Plain(t *testing.T) {
	t.Setenv("AWS_ACCESS_KEY_ID", "a")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "b")
	served := make(chan struct{}, 9)
	srv := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { served <- struct{}{} }))
	defer srv.Close()
	// A name that is no loopback address is spoken to with TLS, which this server has not.
	_, port, _ := strings.Cut(strings.TrimPrefix(srv.URL, "http://"), ":")
	for _, host := range []string{"localhost.localdomain", "127.0.0.1.nip.invalid", "0.0.0.0"} {
		p, err := blob.ParseS3("s3://" + host + ":" + port + "/bucket")
		if err != nil {
			t.Fatal(err)
		}
		s, err := blob.S3(p, blob.S3Options{})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.Get(ctx, "a", 1); !remote.Is(err, remote.Unreachable) {
			t.Error(host, err)
		}
		s.Close()
	}
	if len(served) > 0 {
		t.Error("a request went without TLS")
	}
}

// TestS3Rates lets uploads wait for so slow a rate that they would take hours, and lets them go by changing it.
func TestS3Rates(t *testing.T) {
	srv := blobtest.NewS3Server(t)
	rates := &blob.Rates{}
	rates.Set(blob.MinRate, 0)
	s := srv.Open(t, blob.S3Options{Rates: rates})
	defer s.Close()
	data := make([]byte, 64<<20)
	done := make(chan error, 2)
	for _, name := range []string{"a", "b"} {
		go func() { done <- s.Put(ctx, name, data) }()
	}
	select {
	case err := <-done:
		t.Fatal("it did not wait:", err)
	case <-time.After(300 * time.Millisecond):
	}
	if up, down := rates.Get(); up != blob.MinRate || down != 0 {
		t.Error(up, down)
	}
	rates.Set(0, -1)
	for range 2 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	// A call that waits for its turn ends with its context.
	rates.Set(-1, blob.MinRate)
	c, cancel := context.WithTimeout(ctx, 300*time.Millisecond)
	defer cancel()
	if err := s.GetRange(c, "a", 0, data); !remote.Is(err, remote.Timeout) {
		t.Error(err)
	}
}
