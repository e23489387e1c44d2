package main

import (
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// person is somebody at a terminal in which a command runs.
type person struct {
	m   *machine
	tty *os.File
	cmd *exec.Cmd

	mu  sync.Mutex
	saw strings.Builder
}

// sits starts a command in a terminal of its own.
func (m *machine) sits(args ...string) *person {
	m.t.Helper()
	tty, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		m.t.Skip("needs terminals: ", err)
	}
	m.t.Cleanup(func() { tty.Close() })
	var n int
	raw, err := tty.SyscallConn()
	if err != nil {
		m.t.Fatal(err)
	}
	raw.Control(func(fd uintptr) {
		if err = unix.IoctlSetPointerInt(int(fd), unix.TIOCSPTLCK, 0); err == nil {
			n, err = unix.IoctlGetInt(int(fd), unix.TIOCGPTN)
		}
	})
	if err != nil {
		m.t.Fatal(err)
	}
	theirs, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		m.t.Fatal(err)
	}
	defer theirs.Close()
	p := &person{m: m, tty: tty, cmd: m.command(bin, args...)}
	p.cmd.Stdin, p.cmd.Stdout, p.cmd.Stderr = theirs, theirs, theirs
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := p.cmd.Start(); err != nil {
		m.t.Fatal(err)
	}
	go func() {
		b := make([]byte, 1024)
		for {
			n, err := tty.Read(b)
			p.mu.Lock()
			p.saw.Write(b[:n])
			p.mu.Unlock()
			if err != nil {
				return
			}
		}
	}()
	return p
}

func (p *person) text() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.saw.String()
}

// sees waits until a pattern is on the screen, and returns its groups.
func (p *person) sees(pattern string) []string {
	p.m.t.Helper()
	re := regexp.MustCompile(pattern)
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		if g := re.FindStringSubmatch(p.text()); g != nil {
			return g
		}
	}
	p.m.t.Fatalf("%s does not come:\n%s", pattern, p.text())
	return nil
}

func (p *person) types(s string) { p.tty.WriteString(s) }

// ends waits for the command's end.
func (p *person) ends(code int) {
	p.m.t.Helper()
	p.cmd.Wait()
	if got := p.cmd.ProcessState.ExitCode(); got != code {
		p.m.t.Fatalf("exit code %d, want %d:\n%s", got, code, p.text())
	}
}

// TestPassphraseOnTerminal sets new passphrases as a person does, who is told what is asked for.
func TestPassphraseOnTerminal(t *testing.T) {
	m := newMachine(t)
	url, old := "dir:"+m.home+"/v", m.home+"/old"
	if err := os.WriteFile(old, []byte("lantern gravel ointment velvet crumb\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	out := m.want(0, "Recovery key: ", "vault", "init", "--show-recovery", "--passphrase-file", old, url)
	rec := strings.TrimSpace(out[strings.Index(out, "Recovery key: ")+14:])
	m.want(2, "--new-passphrase-file", "vault", "passwd", "--passphrase-file", old, url)
	p := m.sits("vault", "recover", url)
	p.sees("Recovery key: $")
	p.types(rec + "\n")
	pass := p.sees(`new passphrase.*write it down:\s+(\S+)\s`)[1]
	p.sees(`Type it.*: $`)
	p.types(pass + "\n")
	p.ends(0)
	m.want(3, "", "vault", "info", "--passphrase-file", old, url)
	m.want(0, "head", "vault", "info", "--passphrase-command", "echo "+pass, url)
	if strings.Contains(p.text(), "new vault") {
		t.Error("it says that a vault is made:\n", p.text())
	}
}

// TestFirstUseOnTerminal makes a vault as a person does: a drawn passphrase, typed back, and a recovery key shown once. Neither the
// screen nor a folder keeps what was typed.
func TestFirstUseOnTerminal(t *testing.T) {
	m := newMachine(t)
	p := m.sits("mount", m.mnt)
	pass := p.sees(`write it down:\s+(\S+)\s`)[1]
	p.sees(`Type it.*: $`)
	p.types("short\n")
	p.sees(`guessed[^\n]*\n[^\n]*Type it.*: $`)
	p.types(pass + "\n")
	rec := p.sees(`write it down:\s+((?:[A-Z2-7]{4}-){13}[A-Z2-7]{4})`)[1]
	p.ends(0)
	p.sees("is mounted on")
	if n := strings.Count(p.text(), pass); n != 1 {
		t.Errorf("the passphrase is %d times on the screen", n)
	}
	m.sh("echo x >$M/f")
	m.umount()
	if k := m.dirs(".config/megafs/*"); len(k) > 0 {
		t.Error("a key file was made:", k)
	}
	for _, d := range []string{".local", ".cache"} {
		contains(t, m.home+"/"+d, pass, rec)
	}

	p = m.sits("mount", m.mnt)
	p.sees("Passphrase: $")
	p.types("wrong\n")
	p.ends(3)
	p = m.sits("mount", m.mnt)
	p.sees("Passphrase: $")
	p.types("\x03") // Ctrl-C
	p.ends(1)

	p = m.sits("mount", m.mnt)
	p.sees("Passphrase: $")
	p.types(pass + "\n")
	p.ends(0)
	m.umount()
	m.want(3, "--passphrase-file", "mount", m.mnt) // nobody there to ask
	if err := os.WriteFile(m.home+"/rec", []byte(rec+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	m.mount("--recovery-file", m.home+"/rec")
	if got := m.sh("cat $M/f"); got != "x\n" {
		t.Errorf("%q", got)
	}
	m.umount()

	m.wipe(".local/state/megafs/*")
	p = m.sits("mount", m.mnt)
	p.sees("Passphrase: $")
	p.types(pass + "\n")
	p.sees(`never seen this vault.*\[y/N\] $`)
	p.types("n\n")
	p.ends(1)
	p = m.sits("mount", m.mnt)
	p.sees("Passphrase: $")
	p.types(pass + "\n")
	p.sees(`\[y/N\] $`)
	p.types("y\n")
	p.ends(0)
	m.umount()
}
