package main

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"megafs/remote"
	"megafs/remote/vault"
)

// vaultSize is how many bytes the embedded vault's files have.
func (m *machine) vaultSize() (n int64) {
	filepath.WalkDir(filepath.Join(m.home, ".local/share/megafs/vault"), func(_ string, d os.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			if i, err := d.Info(); err == nil {
				n += i.Size()
			}
		}
		return nil
	})
	return n
}

// TestGC: the room of removed files comes back, as a dry run said, and everything else is there.
func TestGC(t *testing.T) {
	m := newMachine(t)
	m.mount()
	m.sh("head -c 9000000 /dev/urandom >$M/gone; head -c 3000000 /dev/urandom >$M/stays; cp $M/stays $M/copy; sha256sum <$M/stays >$M/sum")
	m.want(0, "", "sync", m.mnt)
	m.sh("rm $M/gone $M/stays")
	m.want(1, "unmount", "vault", "gc")
	m.want(0, "", "umount", "--wait", m.mnt)
	size := m.vaultSize
	report := func(args ...string) (r vault.GCReport) {
		t.Helper()
		out := m.want(0, "{", append([]string{"vault", "gc", "--json"}, args...)...)
		if err := json.Unmarshal([]byte(out[strings.IndexByte(out, '{'):]), &r); err != nil {
			t.Fatal(err, out)
		}
		return r
	}
	before := size()
	if r := report(); r.Marked != 0 || size() < before {
		t.Errorf("younger than 30 days, and: %+v", r)
	}
	before = size()
	dry := report("--keep", "0", "--dry-run")
	if dry.Content == 0 || size() != before {
		t.Errorf("%d then %d bytes, %+v", before, size(), dry)
	}
	m.want(0, "wait to be removed", "vault", "gc", "--keep", "0")
	if r := report("--keep", "0", "--grace", "0"); r.Removed < dry.Content || size() > before-8_000_000 {
		t.Errorf("%d then %d bytes, %+v", before, size(), r)
	}
	m.want(0, "0 damaged", "vault", "verify")
	m.want(2, "time span", "vault", "gc", "--keep", "soon")
	m.mount()
	if got := m.sh("sha256sum <$M/copy | cmp - $M/sum && ls $M"); got != "copy\nsum\n" {
		t.Errorf("%q", got)
	}
	m.umount()
}

func TestAge(t *testing.T) {
	for s, want := range map[string]time.Duration{"0": 0, "30d": 720 * time.Hour, "12h": 12 * time.Hour, "1h30m": 90 * time.Minute} {
		if d, err := age(s); d != want || err != nil {
			t.Error(s, d, err)
		}
	}
	for _, s := range []string{"", "d", "-1d", "-1h", "1", "30dx", "99999999999d", "1d2h"} {
		if d, err := age(s); err == nil {
			t.Error(s, d)
		}
	}
}

// TestGCInBackground: two mounts of one vault collect all the time while files are written, read and removed on both. Room comes back without any command, and nothing else goes.
func TestGCInBackground(t *testing.T) {
	m := newMachine(t)
	other := filepath.Join(m.home, "other")
	flags := []string{"--gc-every", "300ms", "--keep", "0", "--gc-grace", "0", "--gc-requests", "10000000", "--gc-bytes", "1T"}
	m.mount(flags...)
	m.sh("mkdir " + other)
	t.Cleanup(func() { exec.Command("umount", "-l", other).Run() })
	two := append([]string{"mount", "--trust-first-use", "--state", filepath.Join(m.home, "state2"), "--cache", filepath.Join(m.home, "cache2")}, flags...)
	m.want(0, "is mounted", append(two, other)...)
	m.sh("mkdir $M/a $M/b; head -c 5000000 /dev/urandom >$M/a/stays; sha256sum <$M/a/stays >$M/sum")
	m.want(0, "", "sync", m.mnt)
	m.until("the other mount sees the folders", func() bool { _, err := os.Stat(filepath.Join(other, "sum")); return err == nil })
	for i := range 12 {
		m.sh("head -c 2000000 /dev/urandom >$M/a/gone; head -c 3000000 /dev/urandom >" + other + "/b/gone; sha256sum <$M/a/stays | cmp - $M/sum; sha256sum <" + other + "/a/stays | cmp - $M/sum")
		if i%3 == 2 {
			m.want(0, "", "sync", m.mnt)
			m.want(0, "", "sync", other)
		}
	}
	m.sh("rm $M/a/gone " + other + "/b/gone; head -c 100000 /dev/urandom >" + other + "/b/last; sha256sum <" + other + "/b/last >$M/sum2")
	m.want(0, "", "sync", m.mnt)
	m.want(0, "", "sync", other)
	m.until("room comes back", func() bool { return m.vaultSize() < 7_000_000 })
	if out := m.want(0, "garbage", "status", m.mnt); strings.Contains(out, "not collected") {
		t.Error(out)
	}
	m.want(0, "", "umount", "--wait", other)
	m.umount()
	m.want(0, "0 damaged", "vault", "verify")
	m.mount("--gc-every", "0")
	m.sh("sha256sum <$M/a/stays | cmp - $M/sum; sha256sum <$M/b/last | cmp - $M/sum2")
	if out := m.want(0, "", "status", m.mnt); strings.Contains(out, "garbage") {
		t.Error(out)
	}
	m.umount()
}

func TestOrphans(t *testing.T) {
	path := filepath.Join(t.TempDir(), "orphans")
	at := time.Now()
	one, two := remote.ObjectID{1}, remote.ObjectID{2}
	o := openOrphans(path, time.Hour, at)
	if o.old(one) {
		t.Error("old at first sight")
	}
	if err := o.save(); err != nil {
		t.Fatal(err)
	}
	o = openOrphans(path, time.Hour, at.Add(2*time.Hour))
	if !o.old(one) || o.old(two) {
		t.Error("not as old as they are")
	}
	if o = openOrphans(path, time.Hour, at.Add(-2*time.Hour)); o.old(one) {
		t.Error("old although the clock went back")
	}
	os.WriteFile(path, []byte("MGO1 something else"), 0o600)
	if o = openOrphans(path, 0, at); !o.old(one) {
		t.Error("without waiting everything is old")
	}
}
