package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"megafs/remote/blob/blobtest"
)

// onS3 returns a machine whose vault is in a bucket, with files that have its passphrase and recovery key.
func onS3(t *testing.T) (m *machine, srv *blobtest.S3Server, pass string) {
	t.Helper()
	m = newMachine(t)
	srv = blobtest.NewS3Server(t)
	m.url = srv.URL()
	pass, _ = m.init()
	return m, srv, pass
}

// status returns what a mount tells of itself.
func (m *machine) status() (s status) {
	m.t.Helper()
	out := m.want(0, "", "status", "--json", m.mnt)
	if err := json.Unmarshal([]byte(out), &s); err != nil {
		m.t.Fatal(err, out)
	}
	return s
}

// TestS3Trees copies a tree into a bucket and finds it there again on a machine that knows nothing but the passphrase.
func TestS3Trees(t *testing.T) {
	m, _, pass := onS3(t)
	m.mount("--passphrase-file", pass)
	root := strings.TrimSpace(m.sh("go env GOROOT"))
	src := root + "/src/net"
	if os.Getenv("MEGAFS_TEST_FULL") != "" {
		src = root
	}
	m.sh(fmt.Sprintf("cp -a %s $M/tree; head -c 9000000 /dev/urandom >big; cp big $M/big", src))
	m.want(0, "", "sync", m.mnt)
	s := m.status()
	if s.Requests["put"] == 0 || s.Bytes["put"] < 9_000_000 || s.BytesUp != s.Bytes["put"] {
		t.Errorf("requests are not counted: %+v", s)
	}
	m.want(0, " put (", "status", m.mnt)
	cmdline, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", s.PID))
	if err != nil || strings.Contains(string(cmdline), "testsecret") {
		t.Errorf("%v: the command line is %q", err, cmdline)
	}
	m.umount()
	m.mount("--passphrase-file", pass)
	m.same(src, m.mnt+"/tree")
	m.umount()
	contains(t, filepath.Join(m.home, ".local"), "testsecret")
	m.wipe(".cache/megafs/*")
	m.wipe(".local/state/megafs/*")
	m.mount("--passphrase-file", pass, "--trust-first-use")
	m.same(src, m.mnt+"/tree")
	m.sh("cmp big $M/big; rm -rf $M/tree")
	m.umount()
	m.want(0, "0 damaged", "vault", "verify", "--passphrase-file", pass, m.url)
}

// TestS3Limits changes how fast a mount may send while it sends, and looks that it heeds that.
func TestS3Limits(t *testing.T) {
	m, _, pass := onS3(t)
	m.mount("--passphrase-file", pass, "--upload-limit", "16K")
	m.want(0, "up    16.0 KiB/s\ndown  no limit", "limit", m.mnt)
	m.sh("head -c 3000000 /dev/urandom >$M/f")
	m.want(6, "", "umount", "--wait=2s", m.mnt) // at that rate it takes 3 minutes; and it stays mounted
	m.until("something is being sent", func() bool { return m.status().Waiting > 0 })
	m.want(0, "up    no limit\ndown  1.0 MiB/s", "limit", "--upload-limit", "0", "--download-limit", "1M", m.mnt)
	m.want(0, "", "sync", m.mnt)
	m.want(0, "limits: no limit up, 1.0 MiB/s down", "status", m.mnt)
	m.want(2, "at least 16.0 KiB", "limit", "--upload-limit", "1", m.mnt)
	m.umount()
	m.want(2, "is a folder", "mount", "--upload-limit", "1M", "--remote", "dir:"+m.home+"/v", m.mnt)
}

// TestS3RelativeFile: a file that the environment names by a relative path is the one in the user's working directory.
func TestS3RelativeFile(t *testing.T) {
	m, _, pass := onS3(t)
	file := filepath.Join(m.home, "credentials")
	text := "[default]\naws_access_key_id = test\naws_secret_access_key = testsecret\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	here, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	if file, err = filepath.Rel(here, file); err != nil {
		t.Fatal(err)
	}
	m.env = []string{"AWS_ACCESS_KEY_ID=", "AWS_SECRET_ACCESS_KEY=", "AWS_SHARED_CREDENTIALS_FILE=" + file}
	m.mount("--passphrase-file", pass)
	m.sh("echo a >$M/f")
	m.umount()
}

// TestS3Refusals: what can't hold a vault, or can't be asked, is refused with words that help.
func TestS3Refusals(t *testing.T) {
	m, srv, pass := onS3(t)
	m.want(1, "not empty", "vault", "init", "--state", m.home+"/other", "--passphrase-file", pass, m.url)
	m.want(5, "make the bucket", "vault", "init", "--passphrase-file", pass, "s3://"+srv.Addr+"/nobucket/x")
	m.want(2, "credentials do not belong in a URL", "vault", "init", "s3://key:word@host/bucket")
	m.env = []string{"AWS_SECRET_ACCESS_KEY=wrong"}
	m.want(1, "look at the credentials", "vault", "init", "--passphrase-file", pass, srv.URL())
	m.env = []string{"AWS_ACCESS_KEY_ID=", "AWS_SECRET_ACCESS_KEY=", "AWS_SHARED_CREDENTIALS_FILE=/nonexistent"}
	m.want(3, "set AWS_ACCESS_KEY_ID", "mount", "--remote", m.url, m.mnt)
	m.env = nil
	// A server that answers everything with success overwrites what it should refuse.
	var store blobtest.Overwriter
	careless := httptest.NewServer(&store)
	defer careless.Close()
	url := strings.Replace(careless.URL, "http", "s3", 1) + "/bucket/x"
	m.want(1, "choose another", "vault", "init", "--passphrase-file", pass, url)
	if store.Puts.Load() == 0 {
		t.Error("it was not asked")
	}
	deaf := httptest.NewServer(http.NotFoundHandler())
	deaf.Close()
	m.want(5, "look at the network", "vault", "init", "--passphrase-file", pass, strings.Replace(deaf.URL, "http", "s3", 1)+"/bucket/x")
}
