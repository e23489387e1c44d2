package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// serving is a megafs serve.
type serving struct {
	cmd *exec.Cmd
	url string
}

func (m *machine) serving(args ...string) *serving {
	m.t.Helper()
	c := m.command(bin, append([]string{"serve"}, args...)...)
	out, err := c.StdoutPipe()
	if err != nil {
		m.t.Fatal(err)
	}
	c.Stderr = os.Stderr
	if err := c.Start(); err != nil {
		m.t.Fatal(err)
	}
	m.t.Cleanup(func() { c.Process.Kill(); c.Wait() })
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		if url, ok := strings.CutPrefix(lines.Text(), "serving at "); ok {
			return &serving{c, url}
		}
	}
	m.t.Fatal("megafs serve does not serve")
	return nil
}

// TestServe lets megafs serve run, be administered, be killed, and end.
func TestServe(t *testing.T) {
	m := &machine{t: t, home: t.TempDir()}
	state := filepath.Join(m.home, "server")
	pw := filepath.Join(m.home, "pw")
	if err := os.WriteFile(pw, []byte("correct horse battery\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	m.want(2, "--tls-cert", "serve", "--state", state, "--listen", "0.0.0.0:0")
	m.want(2, "come together", "serve", "--state", state, "--tls-cert", "x")
	m.want(0, "", "serve", "account", "add", "--state", state, "--password-file", pw, "al@example.com")
	m.want(1, "exists", "serve", "account", "add", "--state", state, "--password-file", pw, "al@example.com")
	flags := []string{"--state", state, "--listen", "127.0.0.1:0", "--self-signed", "--outbox", filepath.Join(m.home, "outbox")}
	s := m.serving(flags...)
	m.want(0, "", "serve", "account", "add", "--state", state, "--password-file", pw, "--quota", "1G", "bo@example.com")
	m.want(1, "exist", "serve", "account", "quota", "--state", state, "nobody@example.com", "2G")
	m.want(0, "", "serve", "account", "quota", "--state", state, "al@example.com", "2G")
	m.want(0, "", "serve", "account", "block", "--state", state, "bo@example.com")

	pem, err := os.ReadFile(filepath.Join(state, "server.pem"))
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}, ForceAttemptHTTP2: true, DisableKeepAlives: true}}
	ask := func() {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		r, err := http.NewRequestWithContext(ctx, "POST", s.url+"/cs?id=1", strings.NewReader(`[{"a":"us0","user":"al@example.com"}]`))
		if err != nil {
			t.Fatal(err)
		}
		resp, err := client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		if err != nil || !strings.HasPrefix(string(b), `[{"v":2,"s":"`) || resp.ProtoMajor != 1 {
			t.Fatalf("%s: %q, %v", resp.Proto, b, err)
		}
	}
	ask()
	s.cmd.Process.Kill()
	s.cmd.Wait()
	list := m.want(0, "al@example.com  0 of 2147483648 bytes", "serve", "account", "list", "--state", state)
	if !strings.Contains(list, "blocked") {
		t.Fatalf("after a kill: %s", list)
	}
	s = m.serving(flags...)
	ask()
	m.want(1, "another megafs serve", "serve", "--state", state, "--listen", "127.0.0.1:0")
	m.want(0, "", "serve", "account", "unblock", "--state", state, "bo@example.com")
	s.cmd.Process.Signal(syscall.SIGTERM)
	if err := s.cmd.Wait(); err != nil {
		t.Fatalf("SIGTERM: %v", err)
	}
}
