package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestG2Megajs lets another client work in the account beside the mount: each reads what the other wrote, and sees what it renamed and removed.
func TestG2Megajs(t *testing.T) {
	missing := t.Skip
	if os.Getenv("CI") != "" {
		missing = t.Fatal
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		missing(err)
	}
	where := filepath.Join(cache, "megafs-test/megajs")
	node, err := exec.LookPath("node")
	if err != nil {
		missing("needs node: ", err)
	}
	if _, err := os.Stat(filepath.Join(where, "node_modules/megajs")); err != nil {
		missing("needs megajs; scripts/install gets it: ", err)
	}
	m, _ := megaMachine(t)
	m.mount()
	m.sh(`mkdir "$M/mine"; printf hello >"$M/mine/a"; head -c 2500000 /dev/urandom >"$M/mine/b"; : >"$M/mine/empty"; head -c 400000 /dev/urandom >"$M/mine/part"`)
	m.want(0, "", "sync", m.mnt)
	m.sh(`printf changed | dd of="$M/mine/part" bs=1 seek=200000 conv=notrunc status=none; chmod 640 "$M/mine/b"`)
	m.want(0, "", "sync", m.mnt)
	b, err := os.ReadFile(filepath.Join(m.home, ".config/megafs/mega-account"))
	if err != nil {
		t.Fatal(err)
	}
	server := "http://" + strings.TrimSpace(string(b))[len("mega+http://me@example.com@"):]
	sums := m.sh(`cp -a "$M/mine" mine; cd mine; for f in a b empty part; do echo $f $(sha256sum <$f | cut -d' ' -f1); done`)
	out, err := m.command(node, "testdata/megajs.mjs", where, server, "me@example.com", "a password").CombinedOutput()
	if err != nil {
		t.Fatalf("megajs: %v\n%s", err, out)
	}
	if string(out) != sums {
		t.Errorf("megajs reads\n%s, the mount has\n%s", out, sums)
	}
	m.until("what megajs did", func() bool {
		_, err := os.Stat(filepath.Join(m.mnt, "mine/renamed"))
		_, gone := os.Stat(filepath.Join(m.mnt, "mine/a"))
		return err == nil && os.IsNotExist(gone)
	})
	m.sh(`cmp mine/b "$M/mine/renamed"; test "$(stat -c %a "$M/mine/renamed")" = 640
for n in 0 1 131071 131072 3000000; do python3 -c "import sys; n=int(sys.argv[1]); sys.stdout.buffer.write(bytes(i*7&255 for i in range(n)))" $n | cmp - "$M/js ü/f$n"; done; test "$(ls "$M/js ü" | wc -l)" = 5`)
	m.umount()
}
