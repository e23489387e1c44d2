package main

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"megafs/crypto"
	"megafs/remote"
	"megafs/remote/blob"
	"megafs/remote/vault"
)

// manyInodes makes a vault in a folder that says it has n inodes: directories of perDir files, whose content is in objects that nobody stored. It has them by a snapshot,
// or by entries of the log and a snapshot.
func manyInodes(t *testing.T, dir, passphrase string, n int, logged bool) (files int) {
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
	defer store.Close()
	state, log := t.TempDir(), slog.New(slog.DiscardHandler)
	ring, _, err := vault.Create(ctx, store, state, crypto.NewSecret([]byte(passphrase)), "", crypto.DefaultKDF)
	check(err)
	va, err := vault.Open(ctx, store, vault.Options{StateDir: state, Keyring: ring, Log: log})
	check(err)
	defer va.Close()
	var none nothing
	pos, err := va.Load(ctx, remote.Position{}, none)
	check(err)
	pos, err = va.Register(ctx, pos, 1)
	check(err)
	device, number := va.Device()
	ino := func(i int) remote.Ino { return remote.Ino(uint64(number)<<remote.InoBits | uint64(i+1)) }
	const objectFiles = remote.MaxContent / (8 << 10)
	dirs := max(n/(perDir+1), 1)
	files = n - dirs
	each := (files + dirs - 1) / dirs
	at := remote.TimeOf(time.Now())
	root := remote.Attr{Type: remote.Dir, Mode: 0o755, Atime: at, Mtime: at, Ctime: at, Btime: at}
	// What there is of inode i, in the order of a snapshot; its name comes later there.
	inode := func(i int) []remote.Op {
		node := remote.Op{Kind: remote.OpNode, Ino: ino(i), Attr: root}
		if i < dirs {
			return []remote.Op{node}
		}
		i -= dirs
		node.Attr.Type, node.Attr.Mode, node.Attr.Size = remote.File, 0o644, 6000
		e := remote.Extent{Len: node.Attr.Size, Ref: remote.Ref{Epoch: 1, Chunks: remote.MaxChunks, Off: uint32(i%objectFiles) * (8 << 10)}}
		binary.BigEndian.PutUint64(e.Ref.Object[:], uint64(i/objectFiles)*0x9e3779b97f4a7c15) // as ids are: no two begin alike
		return []remote.Op{node, {Kind: remote.OpExtent, Ino: node.Ino, Extent: e}}
	}
	name := func(i int) remote.Op {
		if i < dirs {
			return remote.Op{Kind: remote.OpLink, Parent: remote.Root, Ino: ino(i), Name: fmt.Sprintf("dir%06d", i)}
		}
		i -= dirs
		return remote.Op{Kind: remote.OpLink, Parent: ino(i / each), Ino: ino(dirs + i), Name: fmt.Sprintf("some file %09d.txt", i)}
	}
	if logged {
		ops := []remote.Op{{Kind: remote.OpNode, Ino: remote.Root, Attr: root}}
		for i := range n {
			ops = append(append(ops, inode(i)...), name(i))
			if len(ops) > 30_000 || i == n-1 {
				pos, err = va.Commit(ctx, pos, ops)
				check(err)
				ops = ops[:0]
			}
		}
	}
	_, err = va.Snapshot(ctx, pos, func(yield func(remote.Op) error) error {
		check(yield(remote.Op{Kind: remote.OpDevice, Device: device, Number: number}))
		check(yield(remote.Op{Kind: remote.OpNode, Ino: remote.Root, Attr: root}))
		for i := range n {
			for _, op := range inode(i) {
				check(yield(op))
			}
		}
		for i := range n {
			check(yield(name(i)))
		}
		return nil
	})
	check(err)
	return files
}

// nothing is a Sink that takes nothing.
type nothing struct{}

func (nothing) Reset() error             { return nil }
func (nothing) Apply(remote.Batch) error { return nil }

// folderSize is how many files a folder has, and bytes in them.
func folderSize(t *testing.T, dir string) (files int, bytes int64) {
	t.Helper()
	err := filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		i, err := d.Info()
		if err == nil {
			files, bytes = files+1, bytes+i.Size()
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files, bytes
}

// cpuTime is how much of it a process used so far.
func cpuTime(t *testing.T, pid int) time.Duration {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(b), ") ")
	f := strings.Fields(rest)
	user, _ := strconv.ParseInt(f[11], 10, 64)
	system, _ := strconv.ParseInt(f[12], 10, 64)
	return time.Duration(user+system) * 10 * time.Millisecond // a tick is 1/100 s wherever Linux runs
}

// TestP7Inodes says what a vault with many inodes costs: it is mounted on a machine that never saw it, changed there, and mounted again. Memory stays below what was given. There
// are 50 000 inodes; MEGAFS_TEST_INODES says another number. ARCHITECTURE.md has what came of it for up to 10 000 000. With MEGAFS_TEST_INODES_DIR the vault is
// made in that folder, and one that is there already is used.
func TestP7Inodes(t *testing.T) {
	n := 50_000
	if s := os.Getenv("MEGAFS_TEST_INODES"); s != "" {
		var err error
		if n, err = strconv.Atoi(s); err != nil {
			t.Fatal(err)
		}
	}
	const passphrase, memory = "many inodes in one vault for a test", int64(256 << 20)
	m := newMachine(t)
	dir := os.Getenv("MEGAFS_TEST_INODES_DIR")
	if dir == "" {
		dir = filepath.Join(m.home, "vault")
	}
	dirs := max(n/(perDir+1), 1)
	if _, err := os.Stat(dir); err != nil {
		begun := time.Now()
		manyInodes(t, dir, passphrase, n, false)
		t.Logf("%d inodes made in %v", n, time.Since(begun).Round(time.Millisecond))
	}
	parts, bytes := folderSize(t, filepath.Join(dir, "s/p"))
	t.Logf("snapshot: %d parts, %.1f MB, %.1f bytes an inode", parts, float64(bytes)/1e6, float64(bytes)/float64(n))
	if os.Getenv("MEGAFS_TEST_INODES_DIR") != "" && os.Getenv("MEGAFS_TEST_INODES_MAKE") != "" {
		return
	}
	pass := filepath.Join(m.home, "pass")
	if err := os.WriteFile(pass, []byte(passphrase+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	m.url = "dir:" + dir
	timed := func(what string, fn func()) {
		t.Helper()
		start := time.Now()
		fn()
		took := time.Since(start).Round(time.Millisecond)
		pid := m.pid()
		rss := peak(t, pid)
		t.Logf("%s: %v, peak RSS %d MiB, %v of CPU so far", what, took, rss>>20, cpuTime(t, pid))
		if rss > memory {
			t.Errorf("%s: %d MiB of memory, %d were given", what, rss>>20, memory>>20)
		}
	}
	mount := func() { m.mount("--passphrase-file", pass, "--trust-first-use") }
	timed("fresh mount", mount)
	_, bytes = folderSize(t, m.dirs(".cache/megafs/*/tree")[0])
	t.Logf("tree index: %.1f MB, %.1f bytes an inode", float64(bytes)/1e6, float64(bytes)/float64(n))
	timed("ls of the root", func() {
		if l, err := os.ReadDir(m.mnt); err != nil || len(l) != dirs {
			t.Fatal(len(l), err)
		}
	})
	timed("ls -l of 20 directories", func() {
		for i := range 20 {
			d := filepath.Join(m.mnt, fmt.Sprintf("dir%06d", 1+i*(dirs-2)/21))
			l, err := os.ReadDir(d)
			if err != nil || len(l) == 0 {
				t.Fatal(len(l), err)
			}
			for _, e := range l {
				if i, err := e.Info(); err != nil || i.Size() != 6000 {
					t.Fatal(e, err)
				}
			}
		}
	})
	grown := func(what, script string) {
		t.Helper()
		_, before := folderSize(t, filepath.Join(dir, "l"))
		timed(what+", until it is sent", func() { m.sh(script); m.want(0, "", "sync", m.mnt) })
		_, after := folderSize(t, filepath.Join(dir, "l"))
		t.Logf("%s: the log grew by %d bytes", what, after-before)
	}
	grown("one file made", `echo one >$M/dir000000/one`)
	grown("100 files made", `for i in $(seq 100); do echo $i >$M/dir000000/new$i; done`)
	grown("one file removed", `rm $M/dir000000/one`)
	if s := m.want(0, "", "status", "--json", m.mnt); !strings.Contains(s, `"online"`) {
		t.Error(s)
	}
	m.umount()
	timed("mount with a known tree", mount)
	timed("ls of the root again", func() {
		if l, err := os.ReadDir(m.mnt); err != nil || len(l) != dirs {
			t.Fatal(len(l), err)
		}
	})
	m.umount()
}

// TestP7Collecting lets a mount collect garbage by itself, from a vault with many inodes in its log, of which nothing is kept of the past: memory stays below what was given. There are
// 20 000 inodes; MEGAFS_TEST_INODES says another number.
func TestP7Collecting(t *testing.T) {
	n := 20_000
	if s := os.Getenv("MEGAFS_TEST_INODES"); s != "" {
		var err error
		if n, err = strconv.Atoi(s); err != nil {
			t.Fatal(err)
		}
	}
	const passphrase, memory = "garbage in one vault for a test", int64(256 << 20)
	m := newMachine(t)
	dir := filepath.Join(m.home, "vault")
	manyInodes(t, dir, passphrase, n, true)
	entries, bytes := folderSize(t, filepath.Join(dir, "l"))
	t.Logf("%d entries of %.1f MB", entries, float64(bytes)/1e6)
	pass := filepath.Join(m.home, "pass")
	if err := os.WriteFile(pass, []byte(passphrase+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	m.url = "dir:" + dir
	mount := func(flags ...string) {
		m.mount(append([]string{"--passphrase-file", pass, "--trust-first-use"}, flags...)...)
	}
	mount()
	t.Logf("mounted: peak RSS %d MiB", peak(t, m.pid())>>20)
	m.sh("rm $M/dir000000/*0.txt; echo x >$M/new") // a first commit, without which no machine collects
	m.umount()
	mount("--gc-every", "1s", "--keep", "0", "--gc-grace", "0", "--gc-requests", "1000000", "--gc-bytes", "100G")
	start := time.Now()
	first := func() bool { _, err := os.Stat(filepath.Join(dir, "l", fmt.Sprintf("%016x", 1))); return err != nil }
	var s status
	for !first() {
		if time.Since(start) > 5*time.Minute {
			t.Fatalf("the log was not shortened: %+v", s.GC)
		}
		time.Sleep(50 * time.Millisecond)
		if err := json.Unmarshal([]byte(m.want(0, "", "status", "--json", m.mnt)), &s); err != nil {
			t.Fatal(err)
		}
		if s.GC != nil && s.GC.Error != "" {
			t.Fatal(s.GC.Error)
		}
	}
	rss := peak(t, m.pid())
	t.Logf("collected after %v: peak RSS %d MiB, %v of CPU", time.Since(start).Round(time.Millisecond), rss>>20, cpuTime(t, m.pid()))
	if rss > memory {
		t.Errorf("%d MiB of memory, %d were given", rss>>20, memory>>20)
	}
	if l, err := os.ReadDir(m.mnt); err != nil || len(l) == 0 {
		t.Error(len(l), err)
	}
	m.umount()
	m.wipe(".cache/megafs/*")
	mount()
	m.sh("test -e $M/new")
	m.umount()
}
