package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const testPassphrase = "lantern gravel ointment velvet crumb"

// init makes a vault at m.url with the one passphrase, in m's name, and returns files with that and with the recovery key.
func (m *machine) init() (pass, key string) {
	m.t.Helper()
	pass, key = filepath.Join(m.home, "pass"), filepath.Join(m.home, "key")
	if err := os.WriteFile(pass, []byte(testPassphrase+"\n"), 0o600); err != nil {
		m.t.Fatal(err)
	}
	out := m.want(0, "Recovery key: ", "vault", "init", "--show-recovery", "--passphrase-file", pass, m.url)
	_, recovery, _ := strings.Cut(out, "Recovery key: ")
	if err := os.WriteFile(key, []byte(strings.TrimSpace(recovery)+"\n"), 0o600); err != nil {
		m.t.Fatal(err)
	}
	return pass, key
}

// objects returns the files of a vault's folder.
func objects(t *testing.T, root string) (names []string) {
	t.Helper()
	err := filepath.WalkDir(root, func(p string, e os.DirEntry, err error) error {
		if err == nil && e.Type().IsRegular() {
			n, _ := filepath.Rel(root, p)
			names = append(names, n)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}

// TestP4_V43Replaced puts another vault, with the same passphrase, where one is known. No command takes it for that, whatever it is told to
// trust, and with the true one back all goes on.
func TestP4_V43Replaced(t *testing.T) {
	m, other := newMachine(t), newMachine(t)
	v := filepath.Join(m.home, "v")
	m.url, other.url = "dir:"+v, "dir:"+v
	pass, key := m.init() // passphrases cost a second each; where it does not matter the recovery key unlocks
	m.mount("--recovery-file", key)
	m.sh("echo mine >$M/file")
	m.umount()
	rename := func(from, to string) {
		t.Helper()
		if err := os.Rename(from, to); err != nil {
			t.Fatal(err)
		}
	}
	rename(v, v+".mine")
	other.init()
	m.want(4, "another vault", "mount", "--remote", m.url, "--passphrase-file", pass, m.mnt)
	m.want(4, "another vault", "vault", "verify", "--passphrase-file", pass, "--trust-first-use", m.url)
	m.wipe(".local/state/megafs/*/trust-*")
	m.want(4, "another vault", "mount", "--remote", m.url, "--passphrase-file", pass, "--trust-first-use", m.mnt)
	rename(v, v+".other")
	rename(v+".mine", v)
	m.mount("--recovery-file", key, "--trust-first-use")
	if got := m.sh("cat $M/file"); got != "mine\n" {
		t.Errorf("%q", got)
	}
	m.umount()
}

// TestP4_V44Emptied takes all objects out of the embedded vault's folder. Mounting makes no new vault there.
func TestP4_V44Emptied(t *testing.T) {
	m := newMachine(t)
	m.mount()
	m.sh("echo mine >$M/file")
	m.umount()
	v := filepath.Join(m.home, ".local/share/megafs/vault")
	if err := os.CopyFS(v+".kept", os.DirFS(v)); err != nil {
		t.Fatal(err)
	}
	for _, n := range objects(t, v) {
		os.Remove(filepath.Join(v, n))
	}
	m.want(1, "no vault here", "mount", m.mnt)
	m.want(1, "no vault here", "mount", "--trust-first-use", m.mnt)
	if left := objects(t, v); len(left) > 0 {
		t.Error("made:", left)
	}
	os.RemoveAll(v)
	if err := os.Rename(v+".kept", v); err != nil {
		t.Fatal(err)
	}
	m.mount()
	if got := m.sh("cat $M/file"); got != "mine\n" {
		t.Errorf("%q", got)
	}
	m.umount()
}

// TestP4_V72Verify damages each object of a vault in turn. The audit names it and ends with the exit code for that, and is content when it is mended.
func TestP4_V72Verify(t *testing.T) {
	m := newMachine(t)
	v := filepath.Join(m.home, "v")
	m.url = "dir:" + v
	_, key := m.init()
	m.mount("--recovery-file", key)
	m.sh("head -c 100000 /dev/urandom >$M/large; echo small >$M/small; mkdir $M/dir")
	m.umount()
	verify := []string{"vault", "verify", "--recovery-file", key, m.url}
	m.want(0, " 0 damaged", verify...)
	kinds := map[string]bool{}
	for _, n := range objects(t, v) {
		if kinds[n[:1]] {
			continue
		}
		kinds[n[:1]] = true
		p := filepath.Join(v, n)
		good, err := os.ReadFile(p)
		if err != nil {
			t.Fatal(err)
		}
		spoil := func(b []byte, name, says string) {
			t.Helper()
			if b == nil {
				err = os.Remove(p)
			} else {
				err = os.WriteFile(p, b, 0o600)
			}
			if err != nil {
				t.Fatal(err)
			}
			out, code := m.megafs(verify...)
			if code == 0 || !strings.Contains(out, says) {
				t.Errorf("%s of %s: exit code %d\n%s", name, n, code, out)
			}
			if n[0] != 'k' && code != 4 {
				t.Errorf("%s of %s: exit code %d", name, n, code)
			}
			if err := os.WriteFile(p, good, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		flipped := append([]byte(nil), good...)
		flipped[len(flipped)-9] ^= 1
		says := n
		if n[0] == 'k' {
			says = "" // it does not come to an audit
		}
		spoil(flipped, "a bit", says)
		spoil(good[:len(good)-1], "the last byte", says)
		spoil(nil, "all", says)
	}
	if len(kinds) != 3 {
		t.Error(kinds)
	}
	m.want(0, " 0 damaged", verify...)
}
