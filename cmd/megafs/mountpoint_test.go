package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestP6StoppedProcess stops the process that serves a mount. Commands say so, and the mount can be taken away; none of them waits for the process, and
// what it had is there when the vault is mounted again.
func TestP6StoppedProcess(t *testing.T) {
	m := newMachine(t)
	m.mount()
	m.sh("echo kept >$M/f")
	pid := m.pid()
	exec.Command("kill", "-STOP", fmt.Sprint(pid)).Run()
	defer exec.Command("kill", "-9", fmt.Sprint(pid)).Run()
	ends := func(code int, says string, args ...string) {
		t.Helper()
		p := m.start(bin, args...)
		if got, _ := p.ends(soon); got != code || !strings.Contains(p.out.String(), says) {
			t.Fatalf("%s: exit code %d, want %d with %q\n%s", p.what, got, code, says, p.out.String())
		}
	}
	ends(1, "kill -CONT", "doctor")
	ends(0, "taken away", "umount", "--lazy", m.mnt)
	exec.Command("kill", "-CONT", fmt.Sprint(pid)).Run()
	m.until("the process ends", func() bool { _, err := os.Stat(fmt.Sprintf("/proc/%d", pid)); return err != nil })
	m.mount()
	if got := m.sh("cat $M/f"); got != "kept\n" {
		t.Errorf("%q", got)
	}
	m.kill9()
	m.want(1, "mount it again", "status", m.mnt)
	m.want(0, "", "umount", m.mnt)
}

// TestOddPaths names mount points and folders in ways that people do.
func TestOddPaths(t *testing.T) {
	m := newMachine(t)
	m.want(2, "empty", "mount", "")
	m.want(2, "not UTF-8", "mount", m.home+"/\xff")
	m.want(2, "not UTF-8", "vault", "init", "dir:"+m.home+"/\xff")
	m.want(2, "not UTF-8", "mount", "--log", m.home+"/\xff", m.mnt)
	m.want(2, "-o frob is not known", "mount", "-o", "ro,frob", m.mnt)
	if _, err := os.Stat(m.home + "/.local/share/megafs"); err == nil {
		t.Error("a vault was made")
	}
	m.mnt = filepath.Join(m.home, "a\n b\t\"c\"\\040 ö")
	os.Mkdir(m.mnt, 0o755)
	m.mount()
	link := filepath.Join(m.home, "link")
	os.Symlink(filepath.Base(m.mnt), link)
	os.Symlink("loop", filepath.Join(m.home, "loop"))
	m.sh(`echo x >"$M/x"; ln -s x "$M/l"`)
	m.want(1, "no vault is mounted", "status", filepath.Join(m.home, "loop"))
	m.want(0, "process", "status", link)
	m.want(0, "inode", "why", link+"/l")
	m.want(2, "empty", "sync", "")
	m.want(0, "everything is sent", "umount", "--wait", link)
}
