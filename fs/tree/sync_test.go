package tree

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"megafs/remote"
)

// TestSyncOlderLogs: after a Sync nothing of the index waits to be written, also not what badger has in a full table in memory that
// it did not come to write yet. After a power cut it would be missing below newer records and a newer position.
func TestSyncOlderLogs(t *testing.T) {
	dir := t.TempDir()
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil || st.Type == unix.TMPFS_MAGIC {
		t.Skip("needs a disk: ", err)
	}
	tr, err := Open(Options{Dir: dir, Memory: 8 << 20})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { tr.Close() }()
	at := func(n uint64) remote.Position { return remote.Position{Seq: n, Hash: [32]byte{byte(n)}} }
	if err := tr.Apply(remote.Batch{Pos: at(1), Ops: []remote.Op{{Kind: remote.OpNode, Ino: remote.Root, Attr: remote.Attr{Type: remote.Dir, Mode: 0o755}}}}); err != nil {
		t.Fatal(err)
	}
	// What badger will call its first table can't be made, so the full one stays in memory.
	table := filepath.Join(dir, "000001.sst")
	if err := os.Mkdir(table, 0o700); err != nil {
		t.Fatal(err)
	}
	defer os.Remove(table) // badger tries again until it can
	b := remote.Batch{Pos: at(2)}
	for i := range remote.Ino(6000) {
		ino := 1<<remote.InoBits + i + 1
		b.Ops = append(b.Ops,
			remote.Op{Kind: remote.OpNode, Ino: ino, Attr: remote.Attr{Type: remote.File, Mode: 0o644, Size: 2000}},
			remote.Op{Kind: remote.OpExtent, Ino: ino, Extent: remote.Extent{Len: 2000, Inline: make([]byte, 2000)}},
			remote.Op{Kind: remote.OpLink, Ino: ino, Parent: remote.Root, Name: fmt.Sprint("f", i)})
	}
	if err := tr.Apply(b); err != nil {
		t.Fatal(err)
	}
	if err := tr.Sync(); err != nil {
		t.Fatal(err)
	}
	logs, err := filepath.Glob(filepath.Join(dir, "*.mem"))
	if err != nil || len(logs) < 2 {
		t.Fatal("no table was full: ", logs, err)
	}
	for _, log := range logs {
		f, err := os.Open(log)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		var c unix.Cachestat_t
		if err := unix.Cachestat(uint(f.Fd()), &unix.CachestatRange{}, &c, 0); err != nil {
			t.Skip("needs a kernel that tells of pages: ", err)
		}
		if c.Dirty+c.Writeback > 0 {
			t.Errorf("%s: %d pages are not on disk", filepath.Base(log), c.Dirty+c.Writeback)
		}
	}
}
