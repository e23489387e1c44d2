package main

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// soon bounds what should be answered at once, which is a second; the rest is for machines that do much else.
const soon = 10 * time.Second

// program is one that was started and may hang.
type program struct {
	m    *machine
	what string
	cmd  *exec.Cmd
	out  bytes.Buffer
	done chan struct{}
}

func (m *machine) start(name string, args ...string) *program {
	m.t.Helper()
	p := &program{m: m, what: strings.Join(append([]string{filepath.Base(name)}, args...), " "), cmd: m.command(name, args...), done: make(chan struct{})}
	p.cmd.Stdout, p.cmd.Stderr, p.cmd.Dir = &p.out, &p.out, m.home
	p.cmd.WaitDelay = time.Second
	if err := p.cmd.Start(); err != nil {
		m.t.Fatal(err)
	}
	go func() {
		p.cmd.Wait()
		close(p.done)
	}()
	return p
}

// ends waits for the program's end and returns its exit code, and how long that took.
func (p *program) ends(within time.Duration) (code int, took time.Duration) {
	p.m.t.Helper()
	begun := time.Now()
	select {
	case <-p.done:
		return p.cmd.ProcessState.ExitCode(), time.Since(begun)
	case <-time.After(within):
		p.cmd.Process.Kill()
		p.m.t.Fatalf("%s does not end within %v", p.what, within)
		return 0, 0
	}
}

// interrupt sends a signal once the program had time to begin, unless it ended by itself.
func (p *program) interrupt(s syscall.Signal) (took time.Duration) {
	p.m.t.Helper()
	select {
	case <-p.done:
		return 0
	case <-time.After(500 * time.Millisecond):
	}
	p.cmd.Process.Signal(s)
	_, took = p.ends(soon)
	return took
}

// TestP6HungStore mounts a vault on a disk that stops answering one kind of request after the other, in the kernel, where no context reaches. Whatever
// hangs, what is known here is answered: while nothing is to be sent and while something is, by a mount that was there before and by one that is made then. Who waits
// for the store can be ended by a signal. When the store is back everything is sent.
//
// All kinds hang together; with MEGAFS_TEST_FULL=1 also each alone, and a read is waited for until its time is over.
func TestP6HungStore(t *testing.T) {
	asRoot(t)
	full := os.Getenv("MEGAFS_TEST_FULL") != ""
	cases := map[string][]string{"everything": diskKinds}
	if full {
		for _, k := range diskKinds {
			cases[k] = []string{k}
		}
	}
	for name, kinds := range cases {
		t.Run(name, func(t *testing.T) { testHung(t, kinds, full) })
	}
}

func testHung(t *testing.T, kinds []string, full bool) {
	m := newMachine(t)
	disk, dir := m.hungDisk("disk")
	m.url = "dir:" + dir + "/v"
	m.want(0, ".key", "vault", "init", m.url)
	m.mount()
	m.sh("head -c 3M /dev/urandom >$M/cold; echo warm >$M/warm; sha256sum <$M/cold >sum")
	m.umount()
	m.wipe(".cache/megafs/*/blocks")
	m.mount()
	m.sh("cat $M/warm >/dev/null")

	slowest := time.Duration(0)
	answers := func(name string, args ...string) {
		t.Helper()
		p := m.start(name, args...)
		code, took := p.ends(soon)
		if code != 0 {
			t.Errorf("%s: exit code %d\n%s", p.what, code, p.out.String())
		}
		slowest = max(slowest, took)
	}
	local := func(when string) {
		t.Helper()
		slowest = 0
		answers("ls", "-l", m.mnt)
		answers("stat", m.mnt+"/cold")
		answers("df", m.mnt)
		answers("cat", m.mnt+"/warm")
		answers("bash", "-c", "echo more >>$0/dirty; sync $0/dirty; mv $0/dirty $0/d; mv $0/d $0/dirty", m.mnt)
		answers(bin, "status", m.mnt)
		answers(bin, "why", m.mnt+"/dirty")
		t.Logf("%s: the slowest answer took %v", when, slowest.Round(time.Millisecond))
	}

	disk.stall(kinds...)
	local("idle")
	m.until("the store is asked, or all is sent", func() bool {
		out, _ := m.megafs("status", m.mnt)
		return disk.hit() || strings.Contains(out, "everything is sent")
	})
	local("while changes wait")
	t.Logf("cat after an interrupt: %v", m.start("cat", m.mnt+"/cold").interrupt(syscall.SIGINT).Round(time.Millisecond))
	t.Logf("cat after a kill: %v", m.start("cat", m.mnt+"/cold").interrupt(syscall.SIGKILL).Round(time.Millisecond))
	local("while reads wait")
	t.Logf("sync after an interrupt: %v", m.start(bin, "sync", m.mnt).interrupt(syscall.SIGINT).Round(time.Millisecond))
	wait := m.start(bin, "umount", "--wait", m.mnt)
	t.Logf("umount --wait after an interrupt: %v", wait.interrupt(syscall.SIGINT).Round(time.Millisecond))
	if m.pid() != 0 { // else nothing was to be waited for
		p := m.start(bin, "umount", m.mnt)
		code, took := p.ends(soon)
		t.Logf("umount: %v", took.Round(time.Millisecond))
		if code != 0 {
			t.Fatalf("umount: exit code %d\n%s", code, p.out.String())
		}
	}

	// A known vault mounts without the store; one that is not known can't, which can be broken off.
	p := m.start(bin, "mount", "--remote", m.url, m.mnt)
	code, took := p.ends(time.Minute)
	t.Logf("mount of a known vault: %v", took.Round(time.Millisecond))
	if code != 0 {
		t.Fatalf("mount: exit code %d\n%s", code, p.out.String())
	}
	local("after a mount without the store")
	key := m.dirs(".config/megafs/*.key")[0]
	other := []string{"mount", "--remote", m.url, "--state", m.home + "/other.state", "--cache", m.home + "/other.cache", "--passphrase-file", key, "--trust-first-use"}
	mnt2 := filepath.Join(m.home, "mnt2")
	os.Mkdir(mnt2, 0o755)
	t.Cleanup(func() { exec.Command("umount", "-l", mnt2).Run() })
	fresh := m.start(bin, append(other, mnt2)...)
	t.Logf("mount of an unknown vault after an interrupt: %v", fresh.interrupt(syscall.SIGINT).Round(time.Millisecond))
	if len(kinds) > 1 {
		p := m.start(bin, append(other, mnt2)...)
		code, took := p.ends(2 * time.Minute)
		if code != exitUnreachable || !strings.Contains(p.out.String(), "does not answer") {
			t.Errorf("mount of an unknown vault: exit code %d\n%s", code, p.out.String())
		}
		t.Logf("mount of an unknown vault: it failed after %v", took.Round(time.Millisecond))
	}
	if len(kinds) > 1 && full {
		begun := time.Now()
		if _, err := os.ReadFile(m.mnt + "/cold"); !errors.Is(err, syscall.EIO) && !errors.Is(err, syscall.ETIMEDOUT) {
			t.Errorf("a read that nobody answers: %v", err)
		}
		t.Logf("a read that nobody answers: it failed after %v", time.Since(begun).Round(time.Millisecond))
	}

	disk.stall()
	exec.Command(bin, "umount", mnt2).Run()
	m.want(0, "", "sync", "--timeout", "2m", m.mnt)
	m.sh("sha256sum <$M/cold | cmp - sum; grep more $M/dirty >/dev/null")
	m.umount()
	m.want(0, "0 damaged", "vault", "verify", m.url)
}
