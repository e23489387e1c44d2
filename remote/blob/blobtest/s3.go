package blobtest

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"megafs/remote/blob"
)

// S3Server is a versitygw on this machine with a bucket.
type S3Server struct {
	Addr string // host:port
	Env  []string
	n    atomic.Int32
}

const s3Bucket = "bucket"

// versitygw finds the program: named by the environment, installed, or where scripts/install puts it.
func versitygw() string {
	if p := os.Getenv("MEGAFS_VERSITYGW"); p != "" {
		return p
	}
	if p, err := exec.LookPath("versitygw"); err == nil {
		return p
	}
	if d, err := os.UserCacheDir(); err == nil {
		if p := filepath.Join(d, "megafs-test", "versitygw"); exec.Command(p, "--version").Run() == nil {
			return p
		}
	}
	return ""
}

// NewS3Server starts a server, which ends with the test, and sets the test's environment to its credentials.
func NewS3Server(t testing.TB) *S3Server {
	t.Helper()
	prog := versitygw()
	if prog == "" {
		if os.Getenv("CI") != "" {
			t.Fatal("versitygw is missing; scripts/test installs it")
		}
		t.Skip("versitygw is missing; scripts/test installs it")
	}
	root := t.TempDir()
	if err := os.Mkdir(filepath.Join(root, s3Bucket), 0o755); err != nil {
		t.Fatal(err)
	}
	// A port that was free a moment ago may be taken by now: then another.
	for range 5 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		s := &S3Server{Addr: l.Addr().String(), Env: []string{"AWS_ACCESS_KEY_ID=test", "AWS_SECRET_ACCESS_KEY=testsecret"}}
		l.Close()
		var out bytes.Buffer
		cmd := exec.Command(prog, "--access", "test", "--secret", "testsecret", "--port", s.Addr, "--keep-alive", "--quiet", "--health", "/health", "posix", root)
		cmd.Stdout, cmd.Stderr = &out, &out
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		ended := make(chan struct{})
		go func() { cmd.Wait(); close(ended) }()
		if s.answers(ended) {
			t.Setenv("AWS_ACCESS_KEY_ID", "test")
			t.Setenv("AWS_SECRET_ACCESS_KEY", "testsecret")
			t.Cleanup(func() { cmd.Process.Kill(); <-ended })
			return s
		}
		cmd.Process.Kill()
		<-ended
		t.Logf("versitygw did not start: %s", out.String())
	}
	t.Fatal("versitygw does not start")
	return nil
}

func (s *S3Server) answers(ended chan struct{}) bool {
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); {
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
		r, _ := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+s.Addr+"/health", nil)
		resp, err := http.DefaultClient.Do(r)
		cancel()
		if err == nil {
			resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return true
			}
		}
		select {
		case <-ended:
			return false
		case <-time.After(20 * time.Millisecond):
		}
	}
	return false
}

// URL is that of a place in the bucket where nothing lies yet.
func (s *S3Server) URL() string { return s.Over(s.Addr) }

// Over is URL by another address, as that of a Line to the server.
func (s *S3Server) Over(addr string) string {
	return fmt.Sprintf("s3://%s/%s/place/%d", addr, s3Bucket, s.n.Add(1))
}

// Open returns a store in such a place.
func (s *S3Server) Open(t testing.TB, o blob.S3Options) blob.Store {
	t.Helper()
	p, err := blob.ParseS3(s.URL())
	if err != nil {
		t.Fatal(err)
	}
	st, err := blob.S3(p, o)
	if err != nil {
		t.Fatal(err)
	}
	return st
}
