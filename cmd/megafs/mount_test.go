package main

import (
	"crypto/sha256"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestFirstUse makes the embedded vault, uses it, and finds everything again.
func TestFirstUse(t *testing.T) {
	m := newMachine(t)
	out := m.want(0, "is mounted on", "mount", m.mnt)
	if !strings.Contains(out, ".key") {
		t.Error("it does not say where the key file is:\n", out)
	}
	keys := m.dirs(".config/megafs/*.key")
	if fi, err := os.Stat(keys[0]); err != nil || fi.Mode().Perm() != 0o600 {
		t.Error("key file:", fi.Mode(), err)
	}
	m.sh("echo hello >$M/file; mkdir $M/dir; ln -s ../file $M/dir/link; ln $M/file $M/dir/hard; setfattr -n user.x -v y $M/file")
	m.want(0, "online", "status")
	m.want(0, "inode", "why", m.mnt+"/file")
	m.want(0, "", "sync", m.mnt)
	m.want(1, "process", "mount", m.mnt+"/dir") // the state folder is in use
	m.umount()
	m.want(0, "0 damaged", "vault", "verify")
	m.want(0, "keyring", "vault", "info")
	m.mount()
	if got := m.sh("cat $M/dir/link; stat -c %h $M/file; getfattr --absolute-names --only-values -n user.x $M/file"); got != "hello\n2\ny" {
		t.Errorf("%q", got)
	}
	m.umount()
	// Another machine needs the key and trust.
	m.wipe(".local/state/megafs/*")
	m.wipe(".cache/megafs/*")
	m.want(1, "--trust-first-use", "mount", m.mnt)
	m.mount("--trust-first-use")
	if got := m.sh("cat $M/file"); got != "hello\n" {
		t.Errorf("%q", got)
	}
	m.umount()
}

// TestPasswords changes a passphrase, and sets one with the recovery key.
func TestPasswords(t *testing.T) {
	m := newMachine(t)
	m.url = "dir:" + filepath.Join(m.home, "v")
	file := func(name, text string) string {
		p := filepath.Join(m.home, name)
		if err := os.WriteFile(p, []byte(text+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		return p
	}
	one, two, three := file("1", "lantern gravel ointment velvet crumb"), file("2", "saddle pepper quartz mitten river"), file("3", "goblin teapot harvest ladder moss")
	m.want(1, "guess", "vault", "init", "--passphrase-file", file("w", "password"), m.url)
	os.RemoveAll(filepath.Join(m.home, "v"))
	out := m.want(0, "Recovery key: ", "vault", "init", "--show-recovery", "--passphrase-file", one, m.url)
	rec := file("r", strings.TrimSpace(out[strings.Index(out, "Recovery key: ")+14:]))
	m.want(3, "", "mount", "--remote", m.url, "--passphrase-file", two, m.mnt)
	m.want(0, "changed", "vault", "passwd", "--passphrase-file", one, "--new-passphrase-file", two, m.url)
	m.want(3, "", "vault", "info", "--passphrase-file", one, m.url)
	m.want(0, "changed", "vault", "recover", "--recovery-file", rec, "--new-passphrase-file", three, m.url)
	m.mount("--passphrase-file", three)
	m.sh("echo x >$M/x")
	m.umount()
	m.want(0, "0 damaged", "vault", "verify", "--passphrase-command", "cat "+three, m.url)
}

// TestTrees copies a real tree with cp, rsync and tar, and compares it at once, after a remount, without caches, and on a new machine.
func TestTrees(t *testing.T) {
	m := newMachine(t)
	m.mount()
	root := strings.TrimSpace(m.sh("go env GOROOT"))
	src := root + "/src/net"
	if os.Getenv("MEGAFS_TEST_FULL") != "" {
		src = root
	}
	m.sh(fmt.Sprintf("cp -a %s $M/cp; mkdir $M/rsync; rsync -aH %s/ $M/rsync/; mkdir $M/tar; tar -C %s -cf - . | tar -C $M/tar -xf -", src, src, src))
	check := func() {
		t.Helper()
		for _, d := range []string{"cp", "rsync", "tar"} {
			m.same(src, m.mnt+"/"+d)
		}
	}
	check()
	m.umount()
	m.mount()
	check()
	m.umount()
	m.wipe(".cache/megafs/*")
	m.mount()
	check()
	m.umount()
	m.wipe(".local/state/megafs/*")
	m.mount("--trust-first-use")
	check()
	m.sh("rm -rf $M/cp; mv $M/rsync $M/moved; rm -rf $M/tar")
	m.umount()
	m.mount()
	m.same(src, m.mnt+"/moved")
	m.umount()
	m.want(0, "0 damaged", "vault", "verify")
}

// TestTools lets git and sqlite work.
func TestTools(t *testing.T) {
	m := newMachine(t)
	m.mount()
	repo, _ := filepath.Abs("../..")
	m.sh(fmt.Sprintf(`cd $M; git config --global user.email a@b; git config --global user.name n; git config --global safe.directory '*'
		git init -q r; cp -a %s/fs %s/crypto r/; cd r; git add .; git commit -qm one; echo x >>fs/doc.go; git commit -qam two; git gc -q; git fsck --strict; git status --short
		git clone -q . ../c; cd ../c; git checkout -q HEAD~1; git status --short`, repo, repo))
	for _, mode := range []string{"wal", "delete"} {
		out := m.sh(fmt.Sprintf(`sqlite3 $M/%s.db "pragma journal_mode=%s; create table t(a integer primary key, b blob);
			insert into t(b) select randomblob(500) from generate_series(1,3000); delete from t where a %% 3 = 0; vacuum; pragma integrity_check;"`, mode, mode))
		if !strings.Contains(out, "ok") {
			t.Error(mode, out)
		}
	}
	m.umount()
	m.mount()
	m.sh("cd $M/r; git fsck --strict; git status --short; cd ../c; git fsck")
	for _, mode := range []string{"wal", "delete"} {
		if out := m.sh(fmt.Sprintf(`sqlite3 $M/%s.db "pragma integrity_check; select count(*) from t"`, mode)); out != "ok\n2000\n" {
			t.Error(mode, out)
		}
	}
	m.umount()
}

// TestP5Canary looks for names, contents and the passphrase in everything that lies on the disk.
func TestP5Canary(t *testing.T) {
	m := newMachine(t)
	m.url = "dir:" + filepath.Join(m.home, "v")
	pass := filepath.Join(t.TempDir(), "p")
	os.WriteFile(pass, []byte("CANARYPHRASE gravel ointment velvet\n"), 0o600)
	m.want(0, "", "vault", "init", "--passphrase-file", pass, m.url)
	m.mount("--passphrase-file", pass, "--cache-size", "128M")
	m.sh(`mkdir $M/CANARYDIR; for i in $(seq 200); do echo CANARYTEXT$i >$M/CANARYDIR/CANARYNAME$i; done
		for i in $(seq 60000); do echo CANARYBLOCK; done >$M/big; setfattr -n user.CANARYATTR -v CANARYVALUE $M/big; ln -s CANARYTARGET $M/link; mv $M/big $M/CANARYBIG; cat $M/CANARYBIG >/dev/null`)
	m.umount()
	m.mount("--passphrase-file", pass, "--cache-size", "128M")
	m.sh(`cat $M/CANARYBIG >/dev/null; echo CANARYLAST >$M/last`)
	m.kill9()
	exec.Command("umount", "-l", m.mnt).Run()
	for _, d := range []string{"v", ".local", ".cache"} {
		contains(t, filepath.Join(m.home, d), "CANARY")
	}
}

// TestBigFile writes a file that is larger than memory and journal together, and reads it back at once, after a remount, and on a new machine. It has
// 256 MiB; 4 GiB with MEGAFS_TEST_FULL=1.
func TestBigFile(t *testing.T) {
	m := newMachine(t)
	size := int64(256 << 20)
	if os.Getenv("MEGAFS_TEST_FULL") != "" {
		size = 4 << 30
	}
	m.mount("--journal-size", "128M")
	big := filepath.Join(m.mnt, "big")
	sum := func(r io.Reader) string {
		t.Helper()
		h := sha256.New()
		if n, err := io.Copy(h, r); err != nil || n != size {
			t.Fatal(n, err)
		}
		return fmt.Sprintf("%x", h.Sum(nil))
	}
	read := func() string {
		t.Helper()
		f, err := os.Open(big)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		return sum(f)
	}
	source := func() io.Reader { return io.LimitReader(rand.NewChaCha8([32]byte{1}), size) }
	f, err := os.Create(big)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.CopyBuffer(struct{ io.Writer }{f}, source(), make([]byte, 1<<20)); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	want := sum(source())
	if read() != want {
		t.Fatal("at once")
	}
	m.umount()
	m.mount()
	if read() != want {
		t.Fatal("after a remount")
	}
	m.umount()
	m.wipe(".local/state/megafs/*")
	m.wipe(".cache/megafs/*")
	m.mount("--trust-first-use")
	if read() != want {
		t.Fatal("on a new machine")
	}
	m.umount()
}
