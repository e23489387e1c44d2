package main

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestTimeTravel: history tells what became of a path, restore brings it back, and a mount of the past shows all as it was, beside the mount of the present.
func TestTimeTravel(t *testing.T) {
	m := newMachine(t)
	m.mount()
	now := func() string { return time.Now().Format(time.RFC3339Nano) }
	m.sh("mkdir -m 750 $M/d; head -c 300000 /dev/urandom >$M/d/f; chmod 640 $M/d/f; touch -d '2020-02-02 02:02:02' $M/d/f; ln $M/d/f $M/d/g; ln -s f $M/d/l; " +
		"truncate -s 3M $M/d/holes; echo end >>$M/d/holes; setfattr -n user.x -v y $M/d/f; cp -a $M/d " + m.home + "/d1; echo small >$M/small")
	m.want(0, "", "sync", m.mnt)
	t1 := now()
	m.sh("echo more >>$M/d/f; mv $M/small $M/moved; cp -a $M/d " + m.home + "/d2")
	m.want(0, "", "sync", m.mnt)
	t2 := now()
	m.sh("rm -r $M/d")
	m.want(0, "", "sync", m.mnt)

	var h []revision
	out := m.want(0, "", "history", "--json", m.mnt+"/d/f")
	if err := json.Unmarshal([]byte(out[strings.IndexByte(out, '['):]), &h); err != nil {
		t.Fatal(err, out)
	}
	what := ""
	for _, v := range h {
		what += v.What + " "
	}
	if !strings.HasPrefix(what, "made ") || !strings.Contains(what, "changed") || !strings.HasSuffix(what, "removed ") || h[0].Time.IsZero() {
		t.Error(what, h)
	}
	m.want(0, "removed", "history", m.mnt+"/d")
	m.want(1, "does not have it", "history", m.mnt+"/never")
	m.want(2, "no time", "restore", "--at", "soon", m.mnt+"/d")
	m.want(1, "begins at", "restore", "--at", "2001-01-01", m.mnt+"/d")
	m.want(1, "was not there", "restore", "--at", t2, m.mnt+"/small")

	m.want(0, "is as it was", "restore", "--at", t1, "--to", m.home+"/back", m.mnt+"/d")
	m.same(m.home+"/d1", m.home+"/back")
	m.want(0, "is as it was", "restore", "--at", t2, m.mnt+"/d")
	m.same(m.home+"/d2", m.mnt+"/d")
	if m.sh("stat -c %i $M/d/f $M/d/g | uniq | wc -l") != "1\n" {
		t.Error("two names of one file are two files")
	}
	m.want(1, "nothing is replaced", "restore", "--at", t1, m.mnt+"/d")

	then := filepath.Join(m.home, "then")
	if err := os.Mkdir(then, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { exec.Command("umount", "-l", then).Run() })
	m.want(1, "begins at", "mount", "--at", "2001-01-01", then)
	m.want(0, "is mounted", "mount", "--at", t1, then)
	m.same(m.home+"/d1", then+"/d")
	if got := m.sh("cat " + then + "/small; ls " + then + "; touch " + then + "/x 2>&1 || true"); !strings.HasPrefix(got, "small\nd\nsmall\n") || !strings.Contains(got, "Read-only") {
		t.Errorf("%q", got)
	}
	m.sh("echo on >$M/on; rm $M/moved")
	m.want(0, "", "sync", m.mnt)
	m.same(m.home+"/d1", then+"/d")
	m.want(0, "", "umount", then)
	if left, _ := filepath.Glob(filepath.Join(m.home, ".cache/megafs/*/at-*")); len(left) > 0 {
		t.Error(left)
	}
	m.umount()
	m.want(0, "is as it was", "restore", "--at", t1, "--to", m.home+"/away", "--remote", "dir:"+filepath.Join(m.home, ".local/share/megafs/vault"), "d/l")
	m.want(0, "0 damaged", "vault", "verify")
}

func TestMoment(t *testing.T) {
	at := time.Date(2026, 5, 4, 3, 2, 1, 0, time.Local)
	for s, want := range map[string]time.Time{
		"2d": at.Add(-48 * time.Hour), "90m": at.Add(-90 * time.Minute), "2026-01-31": time.Date(2026, 1, 31, 0, 0, 0, 0, time.Local),
		"2026-01-31 14:05": time.Date(2026, 1, 31, 14, 5, 0, 0, time.Local), "2026-01-31T14:05:06Z": time.Date(2026, 1, 31, 14, 5, 6, 0, time.UTC),
	} {
		if got, err := moment(s, at); err != nil || !got.Equal(want) {
			t.Error(s, got, err)
		}
	}
	for _, s := range []string{"", "0", "yesterday", "-2d", "2026-13-01", "14:05"} {
		if got, err := moment(s, at); err == nil {
			t.Error(s, got)
		}
	}
}
