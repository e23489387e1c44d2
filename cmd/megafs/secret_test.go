package main

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// TestPassphraseLeavesTheProcess looks through the memory, command line and environment of the process that serves a mount: the passphrase was
// never there, in the background or in the foreground. What is known to be there is found, so the search can find.
func TestPassphraseLeavesTheProcess(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root may look into the memory of a process that forbids it")
	}
	m := newMachine(t)
	m.url = "dir:" + filepath.Join(m.home, "v")
	const phrase = "ZEBRAPHRASE gravel ointment velvet"
	pass := filepath.Join(m.home, "pass")
	os.WriteFile(pass, []byte(phrase+"\n"), 0o600)
	m.want(0, "", "vault", "init", "--passphrase-file", pass, m.url)
	for _, foreground := range []bool{false, true} {
		if foreground {
			c := m.command(bin, "mount", "--foreground", "--remote", m.url, "--passphrase-file", pass, m.mnt)
			if err := c.Start(); err != nil {
				t.Fatal(err)
			}
			defer c.Wait()
			m.until("it is mounted", func() bool { return m.pid() == c.Process.Pid })
		} else {
			m.mount("--passphrase-file", pass)
		}
		pid := m.pid()
		m.sh("echo x >$M/NEEDLE-IN-MEMORY; ls -l $M")
		for _, f := range []string{"cmdline", "environ"} {
			b, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", pid, f))
			if err != nil || bytes.Contains(b, []byte("ZEBRA")) {
				t.Errorf("%s: %q, %v", f, b, err)
			}
		}
		found := search(t, pid, "ZEBRAPHRASE", "NEEDLE-IN-MEMORY")
		if found["ZEBRAPHRASE"] {
			t.Errorf("foreground %v: the passphrase is in the serving process's memory", foreground)
		}
		if !found["NEEDLE-IN-MEMORY"] {
			t.Error("the search finds nothing")
		}
		var lim unix.Rlimit
		if err := unix.Prlimit(pid, unix.RLIMIT_CORE, nil, &lim); err != nil || lim.Max != 0 {
			t.Error("core files are possible:", lim, err)
		}
		m.umount()
	}
}

// search looks for words in a process's memory.
func search(t *testing.T, pid int, words ...string) map[string]bool {
	t.Helper()
	maps, err := os.Open(fmt.Sprintf("/proc/%d/maps", pid))
	if err != nil {
		t.Fatal(err)
	}
	defer maps.Close()
	mem, err := os.Open(fmt.Sprintf("/proc/%d/mem", pid))
	if err != nil {
		t.Fatal(err)
	}
	defer mem.Close()
	found := map[string]bool{}
	const most = 1 << 20
	buf := make([]byte, most+64) // words may lie across two pieces
	for sc := bufio.NewScanner(maps); sc.Scan(); {
		var from, to int64
		var perm string
		if _, err := fmt.Sscanf(sc.Text(), "%x-%x %s", &from, &to, &perm); err != nil || !strings.HasPrefix(perm, "rw") {
			continue
		}
		for ; from < to; from += most {
			n, _ := mem.ReadAt(buf[:min(int64(len(buf)), to-from)], from)
			for _, w := range words {
				found[w] = found[w] || bytes.Contains(buf[:n], []byte(w))
			}
		}
	}
	return found
}

// TestLogIsBounded writes more than a log holds.
func TestLogIsBounded(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	l, err := openLog(path, false)
	if err != nil {
		t.Fatal(err)
	}
	defer l.close()
	line := append(bytes.Repeat([]byte("x"), 1023), '\n')
	for range 3*maxLog/len(line) + 7 {
		if n, err := l.Write(line); n != len(line) || err != nil {
			t.Fatal(n, err)
		}
	}
	for p, want := range map[string]int64{path: 7 << 10, path + ".old": maxLog} {
		fi, err := os.Stat(p)
		if err != nil || fi.Size() != want || fi.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %d bytes, mode %v; want %d", filepath.Base(p), err, fi.Size(), fi.Mode(), want)
		}
	}
}

func TestSizes(t *testing.T) {
	for in, want := range map[string]int64{"0": 0, "17": 17, "1k": 1 << 10, "1.5G": 3 << 29, "64MiB": 64 << 20, "2T": 2 << 40, " 3 M": -1, "": -1, "-1": -1, "K": -1, "NaN": -1, "Inf": -1, "9999999T": -1, "1X": -1} {
		got, err := parseSize(in)
		if err != nil {
			got = -1
		}
		if got != want {
			t.Errorf("%q is %d, want %d", in, got, want)
		}
	}
}

// TestPassphrases gives passphrases in files as editors and other systems leave them, and in files that are none.
func TestPassphrases(t *testing.T) {
	m := newMachine(t)
	m.url = "dir:" + filepath.Join(m.home, "v")
	const words = "lantern gravel ointment velvet crumb"
	file := func(text string) string {
		p := filepath.Join(m.home, "pass")
		if err := os.WriteFile(p, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return p
	}
	m.want(0, "", "vault", "init", "--passphrase-file", file(words+"\n"), m.url)
	m.want(0, "head", "vault", "info", "--passphrase-file", file(words+"\r\n"), m.url)
	m.want(0, "head", "vault", "info", "--passphrase-file", file(words), m.url)
	m.want(3, "line is empty", "vault", "info", "--passphrase-file", file(""), m.url)
	m.want(3, "right file", "vault", "info", "--passphrase-file", file(strings.Repeat("x", 1025)), m.url)
	m.want(3, "right file", "vault", "info", "--passphrase-file", file(strings.Repeat("x", 10000)+"\n"), m.url)
	m.want(3, "--passphrase-command", "vault", "info", "--passphrase-command", "exit 7", m.url)
}
