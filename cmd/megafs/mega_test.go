package main

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"megafs/remote/blob"
	"megafs/remote/blob/blobtest"
	"megafs/remote/megaserver"
)

// megaMachine is a machine that is logged in to an account on a server of its own.
func megaMachine(t *testing.T) (*machine, *megaserver.Server) {
	t.Helper()
	m, s, addr := megaAccount(t)
	m.logIn(addr)
	return m, s
}

// megaAccount is a machine, and a server with an account at an address.
func megaAccount(t *testing.T) (*machine, *megaserver.Server, string) {
	t.Helper()
	return megaAccountBehind(t, func(h http.Handler) http.Handler { return h })
}

// megaAccountBehind is megaAccount on a server to which requests come by way of what wrap returns.
func megaAccountBehind(t *testing.T, wrap func(http.Handler) http.Handler) (*machine, *megaserver.Server, string) {
	t.Helper()
	m := newMachine(t)
	s, err := megaserver.New(megaserver.Options{Blobs: blob.Mem()})
	if err != nil {
		t.Fatal(err)
	}
	h := httptest.NewServer(wrap(s))
	t.Cleanup(func() {
		m.end()
		h.CloseClientConnections()
		h.Close()
		s.Close()
	})
	if err := s.AddAccount(megaserver.NewAccount{Email: "me@example.com", Password: "a password"}); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(m.home, "pass"), []byte("a password\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return m, s, strings.TrimPrefix(h.URL, "http://")
}

// logIn logs in to megaAccount's account at an address.
func (m *machine) logIn(addr string) {
	m.t.Helper()
	m.url = "mega:"
	m.want(0, "is logged in", "login", "--passphrase-file", filepath.Join(m.home, "pass"), "mega+http://me@example.com@"+addr)
}

// servedMachine is a machine, and a megafs serve of its own, with an account.
func servedMachine(t *testing.T) (m *machine, url string) {
	t.Helper()
	m = newMachine(t)
	pass, server := filepath.Join(m.home, "pass"), filepath.Join(m.home, "server")
	if err := os.WriteFile(pass, []byte("a password\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	m.want(0, "", "serve", "account", "add", "--state", server, "--password-file", pass, "me@example.com")
	s := m.serving("--state", server, "--listen", "127.0.0.1:0", "--rate", "0")
	t.Cleanup(m.end) // before the server goes
	return m, s.url
}

// TestG3Mega mounts an account that is 20 ms away and works in it as on a disk: cp -a, rsync -a twice, git, and all of it again after a fresh log-in.
func TestG3Mega(t *testing.T) {
	m, _, addr := megaAccount(t)
	m.logIn(blobtest.NewLine(t, addr, blobtest.LineOptions{RoundTrip: lineTrip, Rate: lineRate}).Addr)
	m.want(0, "me@example.com", "whoami")
	m.mount()
	m.sh(`mkdir src; cd src; mkdir -p a/b c; echo hello >a/x; head -c 3000000 /dev/urandom >a/b/big; : >c/empty; ln -s ../a/x c/link; chmod 600 a/x; touch -d '2001-02-03 04:05:06.789' a/b/big; setfattr -n user.k -v v a/x || true`)
	m.sh(`cp -a src "$M/copy"; rsync -a src/ "$M/sync/"`)
	m.sh(`test -z "$(rsync -ai src/ "$M/sync/")"; rsync -aic src/ "$M/copy/"; diff -r --no-dereference src "$M/copy"; diff -r --no-dereference src "$M/sync"`)
	m.sh(`cd "$M"; git init -q repo; cd repo; git config user.email a@b.c; git config user.name n; cp -r ../copy/a .; git add .; git commit -qm one; git mv a/x y; git commit -qm two; cd ..; git clone -q repo clone; git -C clone fsck --strict 2>&1`)
	if out, err := m.command("ln", filepath.Join(m.mnt, "copy/a/x"), filepath.Join(m.mnt, "hard")).CombinedOutput(); err == nil {
		t.Errorf("a hard link was made: %s", out)
	}
	m.sh(`sqlite3 "$M/db" "create table t(a); insert into t values (1); begin; insert into t select a+1 from t; commit"; cp "$M/db" db`)
	m.sh(`mv "$M/sync" "$M/copy/moved"; rm -r "$M/copy/moved/a/b"`)
	m.want(0, "requests", "status", m.mnt)
	m.want(0, "\"state\"", "status", "--json", m.mnt)
	m.want(0, "", "why", filepath.Join(m.mnt, "copy/a/x"))
	m.umount()
	for _, how := range []string{"cache", "state"} {
		if how == "state" {
			m.wipe(".local/state/megafs/*")
			m.want(3, "nobody is logged in", "mount", "--remote", "mega:", m.mnt)
			b, err := os.ReadFile(filepath.Join(m.home, ".config/megafs/mega-account"))
			if err != nil {
				t.Fatal(err)
			}
			m.want(0, "is logged in", "login", "--passphrase-file", filepath.Join(m.home, "pass"), strings.TrimSpace(string(b)))
		}
		m.wipe(".cache/megafs/*")
		m.mount()
		m.sh(`test -z "$(rsync -aOic src/ "$M/copy/" | tee /dev/stderr)"; git -C "$M/clone" fsck --strict 2>&1; cmp db "$M/db"; test "$(sqlite3 "$M/db" 'pragma integrity_check; select count(*) from t' | tr '\n' ' ')" = "ok 2 "; test -e "$M/copy/moved/c/empty"; test ! -e "$M/copy/moved/a/b"`)
		m.umount()
	}
}

// TestMegaTransferQuota: while the account may download nothing, a read fails or waits as the mount was told, and status has the time that is left.
func TestMegaTransferQuota(t *testing.T) {
	m, s := megaMachine(t)
	m.mount()
	m.sh(`head -c 300000 /dev/urandom >f; cp f "$M/f"`)
	m.umount()
	m.wipe(".cache/megafs/*")
	m.want(2, "--over-quota is fail or wait", "mount", "--over-quota=never", "--remote", m.url, m.mnt)
	m.mount()
	s.Faults().Add(megaserver.Fault{On: "dl", Status: 509, TimeLeft: 7200})
	if out, err := m.command("cat", filepath.Join(m.mnt, "f")).CombinedOutput(); err == nil || !strings.Contains(string(out), "quota exceeded") {
		t.Errorf("%v\n%.200s", err, out)
	}
	m.want(0, "2h0m0s until there is some again", "status", m.mnt)
	m.umount()
	m.mount("--over-quota=wait")
	s.Faults().Add(megaserver.Fault{On: "dl", Status: 509, TimeLeft: 1, Times: 2})
	hits := s.Faults().Hits()
	m.sh(`cmp f "$M/f"`)
	if s.Faults().Hits() != hits+2 {
		t.Error("the quota was not used up")
	}
	m.umount()
}

// TestMegaLimits changes how fast a mounted account may send and fetch while it does, and looks that it heeds that.
func TestMegaLimits(t *testing.T) {
	m, _ := megaMachine(t)
	m.mount("--upload-limit", "16K")
	m.want(0, "up    16.0 KiB/s\ndown  no limit", "limit", m.mnt)
	m.sh(`head -c 3000000 /dev/urandom >f; cp f "$M/f"`)
	m.want(6, "", "umount", "--wait=2s", m.mnt) // at that rate it takes 3 minutes; and it stays mounted
	m.want(0, "up    no limit\ndown  no limit", "limit", "--upload-limit", "0", m.mnt)
	m.want(0, "", "sync", m.mnt)
	m.umount()
	m.wipe(".cache/megafs/*")
	m.mount("--download-limit", "16K")
	m.want(0, "limits: no limit up, 16.0 KiB/s down", "status", m.mnt)
	read := m.command("cmp", "f", filepath.Join(m.mnt, "f"))
	read.Dir = m.home
	if err := read.Start(); err != nil {
		t.Fatal(err)
	}
	m.until("something came", func() bool { return m.status().Requests["download"] > 0 })
	if came := m.status().BytesDown; came > 1<<20 {
		t.Errorf("%d bytes came at once", came)
	}
	m.want(0, "down  no limit", "limit", "--download-limit", "0", m.mnt)
	if err := read.Wait(); err != nil {
		t.Error(err)
	}
	m.want(2, "at least 16.0 KiB", "limit", "--upload-limit", "1", m.mnt)
	m.umount()
}

// TestPublicFileLink mounts the link of a file, in both forms, as somebody who has no account; and links that lead nowhere.
func TestPublicFileLink(t *testing.T) {
	m, _ := megaMachine(t)
	m.mount("--delete=permanent")
	m.sh(`head -c 20000000 /dev/urandom >big; touch -d '2001-02-03 04:05:06' big; cp -p big "$M/big"; : >"$M/empty"`)
	m.want(0, "", "sync", m.mnt)
	link := func(name string) string {
		out, err := m.command(bin, "link", filepath.Join(m.mnt, name)).Output()
		if err != nil {
			t.Fatal(err)
		}
		return strings.TrimSpace(string(out))
	}
	big, empty := link("big"), link("empty")
	m.want(1, "files only", "link", m.mnt)
	base, rest, _ := strings.Cut(big, "/file/")
	handle, key, _ := strings.Cut(rest, "#")
	m.umount()
	m.wipe(".local/state/megafs/*") // and with it the log-in
	for _, l := range []string{big, base + "/#!" + handle + "!" + key} {
		m.want(0, base+"/file/"+handle+" is mounted", "mount", l, m.mnt)
		m.sh(`test "$(ls "$M")" = big; cmp big "$M/big"; test "$(stat -c %Y big)" = "$(stat -c %Y "$M/big")"; ! touch "$M/new" 2>/dev/null; ! rm -f "$M/big" 2>/dev/null; cmp big "$M/big"`)
		m.want(1, "public link", "link", filepath.Join(m.mnt, "big"))
		m.umount()
	}
	m.want(0, "is mounted", "mount", "--remote", empty, "--download-limit", "1M", m.mnt)
	m.sh(`test -e "$M/empty"; test ! -s "$M/empty"`)
	m.want(0, "1.0 MiB/s down", "status", m.mnt)
	m.umount()
	m.want(3, "not the right one", "mount", base+"/file/"+handle+"#"+strings.Repeat("ab", 21)+"A", m.mnt)
	m.want(1, "leads to nothing", "mount", base+"/file/AAAAAAAA#"+key, m.mnt)
	m.want(1, "leads to nothing", "mount", base+"/folder/AAAAAAAA#"+key[:21]+"A", m.mnt)
	m.want(2, "with a password is not supported", "mount", "https://mega.nz/#P!AgEAAAAA", m.mnt)
	m.want(2, "it is not whole", "mount", base+"/file/"+handle+"#"+key[:42], m.mnt)
	m.want(2, "has no key", "mount", base+"/file/"+handle, m.mnt)
	m.want(2, "not both", "mount", "--remote", "mega:", big, m.mnt)
	contains(t, filepath.Join(m.home, ".local"), key)
}
