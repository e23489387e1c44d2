package main

import (
	"bytes"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// TestStaleMount kills the serving process; the next mount takes the dead mount away.
func TestStaleMount(t *testing.T) {
	m := newMachine(t)
	m.mount()
	m.sh("echo kept >$M/f")
	m.kill9()
	m.mount()
	if got := m.sh("cat $M/f"); got != "kept\n" {
		t.Errorf("%q", got)
	}
	m.kill9()
	m.want(0, "", "umount", m.mnt)
	m.mount()
	m.umount()
}

// TestP1Kill9 kills megafs at random moments while files are copied in. Whatever was written before is there afterwards: each file that cp had finished is whole,
// none has bytes that were never its own, sending goes on, and the vault is whole.
// MEGAFS_TEST_KILLS sets how often, MEGAFS_TEST_SEED repeats a run.
func TestP1Kill9(t *testing.T) {
	m := newMachine(t)
	kills := 4
	if n, err := strconv.Atoi(os.Getenv("MEGAFS_TEST_KILLS")); err == nil {
		kills = n
	}
	rng := rand.New(rand.NewPCG(randomSeed(t), 0))
	src := strings.TrimSpace(m.sh("go env GOROOT")) + "/src/net"
	m.mount()
	for i := range kills {
		dst := filepath.Join(m.mnt, fmt.Sprint("copy", i))
		copied := make(chan []string, 1)
		go func() { copied <- copyTree(src, dst) }()
		time.Sleep(time.Duration(rng.IntN(2500)) * time.Millisecond)
		m.kill9()
		done := <-copied
		m.mount()
		for _, rel := range done {
			a, _ := os.ReadFile(filepath.Join(src, rel))
			b, err := os.ReadFile(filepath.Join(dst, rel))
			if err != nil || !bytes.Equal(a, b) {
				t.Fatalf("kill %d: %s was copied and is not whole: %d of %d bytes, %v", i, rel, len(b), len(a), err)
			}
		}
		// What was under way may be short, but not wrong.
		filepath.WalkDir(dst, func(p string, d fs.DirEntry, err error) error {
			if err != nil || !d.Type().IsRegular() {
				return nil
			}
			rel, _ := filepath.Rel(dst, p)
			a, _ := os.ReadFile(filepath.Join(src, rel))
			b, err := os.ReadFile(p)
			if err != nil || !bytes.HasPrefix(a, b) {
				t.Errorf("kill %d: %s is torn: %v", i, p, err)
			}
			return nil
		})
		t.Logf("kill %d: %d files were done", i, len(done))
		if i%3 == 2 {
			m.want(0, "", "sync", "--timeout", "2m", m.mnt)
		}
		if t.Failed() {
			break
		}
	}
	m.sh(fmt.Sprintf("rsync -a --delete %s/ $M/copy0/", src))
	m.umount()
	m.want(0, "0 damaged", "vault", "verify")
	m.wipe(".local/state/megafs/*")
	m.wipe(".cache/megafs/*")
	m.mount("--trust-first-use")
	m.same(src, m.mnt+"/copy0")
	m.umount()
}

// copyTree copies regular files until something fails, and returns those that were closed without an error.
func copyTree(src, dst string) (done []string) {
	filepath.WalkDir(src, func(p string, d fs.DirEntry, err error) error {
		rel, _ := filepath.Rel(src, p)
		to := filepath.Join(dst, rel)
		switch {
		case err != nil:
			return err
		case d.IsDir():
			return os.Mkdir(to, 0o755)
		case !d.Type().IsRegular():
			return nil
		}
		b, err := os.ReadFile(p)
		if err != nil {
			return err
		}
		if err := os.WriteFile(to, b, 0o644); err != nil {
			return err
		}
		done = append(done, rel)
		return nil
	})
	return done
}

// TestStoreTrouble takes the vault's folder away and back, and makes it read-only.
func TestStoreTrouble(t *testing.T) {
	m := newMachine(t)
	v := filepath.Join(m.home, ".local/share/megafs/vault")
	m.mount()
	m.sh("echo one >$M/one")
	m.want(0, "", "sync", m.mnt)
	if err := os.Rename(v, v+".away"); err != nil {
		t.Fatal(err)
	}
	m.sh("echo two >$M/two; cat $M/two; ls $M; df $M >/dev/null; stat $M/one >/dev/null")
	m.want(6, "", "sync", "--timeout", "3s", m.mnt)
	m.want(0, "store unreachable", "status")
	m.want(0, "still to be sent", "umount", m.mnt)
	// Without the store a known vault mounts with what is known, goes on, and sends when the store is back.
	m.want(0, "does not answer", "mount", m.mnt)
	m.sh("ls $M | grep one; stat $M/one; cat $M/two; echo three >$M/three")
	m.until("status says offline", func() bool { out, _ := m.megafs("status"); return strings.Contains(out, ": offline") })
	if err := os.Mkdir(v, 0o700); err != nil { // the place of the disk without the disk
		t.Fatal(err)
	}
	m.want(6, "", "sync", "--timeout", "2s", m.mnt)
	if err := os.Remove(v); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(v+".away", v); err != nil {
		t.Fatal(err)
	}
	m.want(0, "", "sync", "--timeout", "2m", m.mnt)
	m.umount()
	m.mount()
	if got := m.sh("cat $M/one $M/two $M/three"); got != "one\ntwo\nthree\n" {
		t.Errorf("%q", got)
	}
	m.umount()
	m.want(0, "0 damaged", "vault", "verify")
}

// TestRefusals goes through what can be wrong with a mount's words and places; each is told with its mend.
func TestRefusals(t *testing.T) {
	m := newMachine(t)
	m.mount()
	m.umount()
	full := filepath.Join(m.home, "full")
	os.MkdirAll(filepath.Join(full, "X"), 0o755)
	m.want(1, "", "mount", filepath.Join(m.home, "missing"))
	m.want(1, "empty", "mount", full)
	m.want(2, "", "mount")
	m.want(2, "dir:", "mount", "--remote", "ftp://x", m.mnt)
	m.want(2, "size", "mount", "--memory", "lots", m.mnt)
	m.want(2, "", "mount", "--no-such-flag", m.mnt)
	m.want(1, "megafs vault init", "mount", "--remote", "dir:"+filepath.Join(m.home, "nowhere"), m.mnt)
	os.MkdirAll(filepath.Join(m.home, "empty"), 0o755)
	m.want(1, "there is no vault here", "mount", "--remote", "dir:"+filepath.Join(m.home, "empty"), m.mnt)
	m.want(1, "not empty", "vault", "init", "dir:"+full)
	if len(mounts()) == 0 { // of whoever works on this machine
		m.want(1, "no vault is mounted", "status")
	}
	// A damaged keyring.
	k := m.dirs(".local/share/megafs/vault/k/*")[0]
	good, _ := os.ReadFile(k)
	bad := bytes.Clone(good)
	bad[len(bad)-5] ^= 1
	os.WriteFile(k, bad, 0o600)
	m.want(4, "keyring", "mount", m.mnt)
	os.WriteFile(k, good, 0o600)
	key := m.dirs(".config/megafs/*.key")[0]
	os.Rename(key, key+".away")
	m.want(3, "--passphrase-file", "mount", m.mnt)
	wrong := filepath.Join(m.home, "wrong")
	os.WriteFile(wrong, []byte("not the one\n"), 0o600)
	m.want(3, "", "mount", "--passphrase-file", wrong, m.mnt)
	os.Rename(key+".away", key)
	m.mount()
	m.umount()
}
