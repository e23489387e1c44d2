package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestP4_V23VaultHeads holds two machines' heads against each other, on the command line: while both see one history, while one is behind, and when the store shows them two.
// A machine that is new is let in with a token, into nothing older.
func TestP4_V23VaultHeads(t *testing.T) {
	a, b := newMachine(t), newMachine(t)
	dir := filepath.Join(a.home, "vault")
	a.url = "dir:" + dir
	_, key := a.init()                              // which costs less to unlock with
	b.url = "dir:" + filepath.Join(b.home, "vault") // its view of the store
	shows := func(from string) {
		t.Helper()
		if err := os.RemoveAll(filepath.Join(b.home, "vault")); err != nil {
			t.Fatal(err)
		}
		b.sh("cp -a " + from + " vault")
	}
	head := func(m *machine) (h headReport) {
		t.Helper()
		if err := json.Unmarshal([]byte(m.want(0, "", "vault", "head", "--json", "--recovery-file", key, m.url)), &h); err != nil {
			t.Fatal(err)
		}
		return h
	}
	compare := func(m *machine, h headReport, code int, says string) {
		t.Helper()
		m.want(code, says, "vault", "compare", "--recovery-file", key, h.Token, m.url)
	}
	write := func(m *machine, script string) {
		t.Helper()
		m.mount("--recovery-file", key)
		m.sh(script)
		m.umount()
	}
	write(a, "echo one >$M/one")
	before := filepath.Join(a.home, "before")
	a.sh("cp -a vault before")
	write(a, "echo two >$M/two")
	now := head(a)
	if out := a.want(0, now.Words, "vault", "head", "--recovery-file", key, a.url); !strings.Contains(out, now.Token) || !strings.Contains(out, "just now") {
		t.Error(out)
	}

	// A new machine, and a store that went back.
	shows(before)
	b.want(1, "--invite", "vault", "head", "--recovery-file", key, b.url)
	b.want(4, "older state", "mount", "--recovery-file", key, "--invite", now.Token, "--remote", b.url, b.mnt)
	b.want(2, "no token", "mount", "--recovery-file", key, "--invite", now.Token[1:], "--remote", b.url, b.mnt)
	shows(dir)
	b.mount("--recovery-file", key, "--invite", now.Token)
	b.sh("test -e $M/two")
	if out := b.want(0, "state     entry", "status", b.mnt); !strings.Contains(out, "ago") && !strings.Contains(out, "just now") {
		t.Error(out)
	}
	b.umount()
	compare(b, now, 0, "ancestor") // mounting registered it
	compare(a, head(b), 0, "newer")

	// Two histories.
	write(a, "echo three >$M/three")
	write(a, "echo more >>$M/three")
	write(b, "echo four >$M/four")
	compare(a, head(b), 4, "fork")
	compare(b, head(a), 4, "fork")
	if out, code := a.megafs("vault", "compare", "--json", "--recovery-file", key, head(b).Token, a.url); code != 4 || !strings.Contains(out, `"relation":"fork"`) {
		t.Error(code, out)
	}
	compare(a, now, 0, "ancestor")
	a.want(0, "There is nothing to accept", "vault", "accept", "--yes", "--recovery-file", key, a.url)

	// The store changes over to the other one under a machine that knows better. That is noticed, and stays so until somebody accepts it.
	shows(dir)
	b.want(4, "another history", "vault", "head", "--recovery-file", key, b.url)
	b.mount("--recovery-file", key)
	b.want(0, "read-only", "status", b.mnt)
	b.sh("cat $M/four; echo five >$M/five")
	b.want(1, "vault accept", "sync", b.mnt)
	b.want(0, "still to be sent", "umount", b.mnt)
	b.want(0, "READ-ONLY", "vault", "head", "--recovery-file", key, b.url)
	b.want(1, "not accepted", "vault", "accept", "--recovery-file", key, b.url)
	b.want(0, "", "vault", "accept", "--yes", "--recovery-file", key, b.url)
	b.mount("--recovery-file", key)
	b.sh("test -e $M/three; if test -e $M/four; then false; fi; test $(cat $M/five) = five") // what waited in the journal is sent now
	b.umount()
	b.want(0, "0 damaged", "vault", "verify", "--recovery-file", key, b.url)
}
