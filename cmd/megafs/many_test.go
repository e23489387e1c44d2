package main

import (
	"bufio"
	"context"
	"fmt"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"megafs/crypto"
	"megafs/fs/volume"
	"megafs/remote"
	"megafs/remote/blob"
	"megafs/remote/vault"
)

// perDir is how many files TestP7ManyFiles has in a directory.
const perDir = 500

// manyFiles makes a vault of n small files in a folder, without a kernel between, and a snapshot every so often.
func manyFiles(t *testing.T, dir, passphrase string, n int) {
	t.Helper()
	ctx := context.Background()
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	store, err := blob.Dir(dir, blob.DirOptions{Create: true})
	check(err)
	state, log := t.TempDir(), slog.New(slog.DiscardHandler)
	ring, _, err := vault.Create(ctx, store, state, crypto.NewSecret([]byte(passphrase)), "", crypto.DefaultKDF)
	check(err)
	va, err := vault.Open(ctx, store, vault.Options{StateDir: state, Keyring: ring, Log: log})
	check(err)
	defer va.Close()
	v, err := volume.Open(ctx, volume.Options{
		Remote: va, Register: va.Register, StateDir: state, CacheDir: t.TempDir(), LocalStore: true, Memory: 1 << 30, Log: log,
	})
	check(err)
	defer v.Close(ctx)
	var parent remote.Ino
	for i := range n {
		if i%perDir == 0 {
			d, err := v.Make(ctx, remote.Root, fmt.Sprintf("dir%06d", i/perDir), remote.Dir, 0o755, 0, "", volume.Caller{})
			check(err)
			parent = d.Ino
		}
		f, err := v.Make(ctx, parent, fmt.Sprintf("some file %06d.txt", i%perDir), remote.File, 0o644, 0, "", volume.Caller{})
		check(err)
		h, err := v.Open(ctx, f.Ino, true, false)
		check(err)
		_, err = h.WriteAt(ctx, fmt.Appendf(nil, "this is file %d", i), 0, false)
		check(err)
		h.Close()
		v.Forget(f.Ino, 1)
	}
	check(v.Drain(ctx))
}

// peak is the most memory that a process had so far, in bytes.
func peak(t *testing.T, pid int) (n int64) {
	t.Helper()
	f, err := os.Open(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		if v, ok := strings.CutPrefix(s.Text(), "VmHWM:"); ok {
			n, err = strconv.ParseInt(strings.Fields(v)[0], 10, 64)
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	return n << 10
}

// TestP7ManyFiles mounts a vault of many files on a machine that never saw it, and again with what it knows by then, walks all of it, and reads here and there:
// memory stays below what was given, or below 80 MiB. There are 20 000 files; MEGAFS_TEST_FILES says another number, and with a million of them a file of 4 GiB is copied too.
func TestP7ManyFiles(t *testing.T) {
	n := 20_000
	if s := os.Getenv("MEGAFS_TEST_FILES"); s != "" {
		var err error
		if n, err = strconv.Atoi(s); err != nil {
			t.Fatal(err)
		}
	}
	for _, memory := range []string{"256M", "64M"} { // the default, and little
		t.Run(memory, func(t *testing.T) {
			testManyFiles(t, n, memory)
		})
	}
}

func testManyFiles(t *testing.T, n int, memory string) {
	const passphrase = "many files in one vault for a test"
	m := newMachine(t)
	dir := filepath.Join(m.home, "vault")
	begun := time.Now()
	manyFiles(t, dir, passphrase, n)
	t.Logf("%d files made in %v", n, time.Since(begun).Round(time.Millisecond))
	pass := filepath.Join(m.home, "pass")
	if err := os.WriteFile(pass, []byte(passphrase+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	m.url = "dir:" + dir
	limit, err := parseSize(memory)
	if err != nil {
		t.Fatal(err)
	}
	timed := func(what string, fn func()) {
		start := time.Now()
		fn()
		took := time.Since(start).Round(time.Millisecond)
		rss := peak(t, m.pid())
		t.Logf("%s: %v, peak RSS %d MiB of %s", what, took, rss>>20, memory)
		// With little memory, what somebody committed at once and is loaded at once can be a few MiB more: see SEMANTICS.md.
		if rss > max(limit, 80<<20) {
			t.Errorf("%s: %d MiB of memory, %s were given", what, rss>>20, memory)
		}
	}
	mount := func() { m.mount("--passphrase-file", pass, "--trust-first-use", "--memory", memory) }
	timed("fresh mount", mount)
	walk := func() {
		files := 0
		err := filepath.WalkDir(m.mnt, func(_ string, d fs.DirEntry, err error) error {
			if err == nil && d.Type().IsRegular() && d.Name() != "big" {
				files++
			}
			return err
		})
		if err != nil || files != n {
			t.Fatalf("%d files, %v", files, err)
		}
	}
	timed("find", walk)
	timed("10 000 random stats and reads", func() {
		seed := rand.Uint64()
		t.Log("seed", seed)
		r := rand.New(rand.NewPCG(seed, 0))
		for range 10_000 {
			i := r.IntN(n)
			p := filepath.Join(m.mnt, fmt.Sprintf("dir%06d", i/perDir), fmt.Sprintf("some file %06d.txt", i%perDir))
			if _, err := os.Stat(p); err != nil {
				t.Fatal(err)
			}
			if b, err := os.ReadFile(p); err != nil || string(b) != fmt.Sprintf("this is file %d", i) {
				t.Fatal(string(b), err)
			}
		}
	})
	if n >= 1_000_000 {
		timed("a copy of 4 GiB", func() { m.sh(`head -c 4G /dev/zero > "$M/big"; cmp -n 4G "$M/big" /dev/zero`) })
	}
	m.umount()
	timed("mount with a known tree", mount)
	timed("ls", func() {
		if list, err := os.ReadDir(m.mnt); err != nil || len(list) < n/perDir {
			t.Fatal(len(list), err)
		}
	})
	timed("find again", walk)
	m.umount()
}
