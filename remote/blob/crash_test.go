package blob

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"syscall"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"megafs/remote"
)

// body is the one content that name has in these tests.
func body(name string) []byte { return bytes.Repeat([]byte(name+" "), 2000) }

// script puts objects in new and old folders, one of them twice, and deletes one. It returns which were acknowledged.
func script(s Store) (acked map[string]bool) {
	ctx := context.Background()
	acked = map[string]bool{}
	for _, name := range []string{"k/1", "l/1", "l/2", "o/ab/x", "o/ab/y", "o/cd/z", "l/2", "top", "delete l/1", "o/ef/again"} {
		if name == "delete l/1" {
			s.Delete(ctx, "l/1")
			delete(acked, "l/1")
		} else if err := s.Put(ctx, name, body(name)); err == nil || remote.Is(err, remote.Exist) {
			acked[name] = true
		}
	}
	return acked
}

// TestP1CrashAnywhere cuts the power before each call to the disk, keeps none, a part or all of what was not synced, and looks at
// what is there then: every acknowledged object whole, and none torn. It then goes on with the same work on the same folder.
func TestP1CrashAnywhere(t *testing.T) {
	ctx := context.Background()
	for cut := 0; ; cut++ {
		mem := vfs.NewCrashableMem()
		var rest []*vfs.MemFS
		calls := 0
		s, err := openDir("mem", tap(memPlace{mem}, func(op, name string) error {
			if calls++; calls <= cut {
				return nil
			}
			if calls == cut+1 {
				for _, percent := range []int{0, 30, 70, 100} {
					rest = append(rest, mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: percent, RNG: rand.New(rand.NewPCG(uint64(cut), uint64(percent)))}))
				}
			}
			return syscall.EIO
		}))
		if err != nil {
			t.Fatal(err)
		}
		acked := script(s)
		for i, m := range rest {
			after, err := openDir("mem", memPlace{m})
			if err != nil {
				t.Fatal(err)
			}
			for name := range acked {
				if got, err := after.Get(ctx, name, 1<<20); err != nil || !bytes.Equal(got, body(name)) {
					t.Fatalf("cut %d.%d: acknowledged %s: %d bytes, %v", cut, i, name, len(got), err)
				}
			}
			if err := after.List(ctx, "", "", func(o Info) error {
				got, err := after.Get(ctx, o.Name, 1<<20)
				if err == nil && !bytes.Equal(got, body(o.Name)) {
					err = errors.New("torn")
				}
				return err
			}); err != nil {
				t.Fatalf("cut %d.%d: %v", cut, i, err)
			}
			if again := script(after); len(again) != 7 {
				t.Fatalf("cut %d.%d: goes on with %v", cut, i, again)
			}
		}
		if rest == nil {
			if cut < 100 || len(acked) != 7 {
				t.Fatalf("the script has %d calls, acknowledged %v", calls, acked)
			}
			t.Logf("%d calls", calls)
			return
		}
	}
}

// TestP1ExistIsDurable: who is told Exist builds on the object, so it must survive, also when its maker died before syncing.
func TestP1ExistIsDurable(t *testing.T) {
	ctx := context.Background()
	mem := vfs.NewCrashableMem()
	dead := false
	first, err := openDir("mem", tap(memPlace{mem}, func(op, name string) error {
		if dead = dead || op == "sync folder" && name == "o/ab"; dead {
			return syscall.EIO
		}
		return nil
	}))
	if err != nil {
		t.Fatal(err)
	}
	if err := first.Put(ctx, "o/ab/x", body("o/ab/x")); !remote.Is(err, remote.IO) {
		t.Fatal(err)
	}
	if _, err := memDisk(memPlace{mem}).stat("o/ab/x"); err != nil {
		t.Fatal("the test has no point:", err)
	}
	second, err := openDir("mem", memPlace{mem})
	if err != nil {
		t.Fatal(err)
	}
	if err := second.Put(ctx, "o/ab/x", body("o/ab/x")); !remote.Is(err, remote.Exist) {
		t.Fatal(err)
	}
	third, err := openDir("mem", memPlace{mem.CrashClone(vfs.CrashCloneCfg{})})
	if err != nil {
		t.Fatal(err)
	}
	if got, err := third.Get(ctx, "o/ab/x", 1<<20); err != nil || !bytes.Equal(got, body("o/ab/x")) {
		t.Fatal(len(got), err)
	}
}

// TestFailedSync: a sync that failed is not made good by a later one that does not.
func TestFailedSync(t *testing.T) {
	ctx := context.Background()
	for _, test := range []struct {
		op, name string
		later    remote.Kind // of a Put to the same name, when the disk says that it is well again
		other    remote.Kind // of one to another name of the folder
	}{
		{"sync", tmpDir, remote.Other, remote.Other}, // nothing of that file is used
		{"sync folder", "o/ab", remote.IO, remote.IO},
		{"sync folder", "o", remote.IO, remote.IO},
		{"sync folder", ".", remote.IO, remote.IO},
	} {
		t.Run(test.op+" "+test.name, func(t *testing.T) {
			failed := 0
			s, err := openDir("mem", tap(memPlace{vfs.NewCrashableMem()}, func(op, name string) error {
				if op == test.op && (name == test.name || strings.HasPrefix(name, test.name+"/")) && failed == 0 {
					failed++
					return syscall.EIO
				}
				return nil
			}))
			if err != nil {
				t.Fatal(err)
			}
			if err := s.Put(ctx, "o/ab/x", body("x")); !remote.Is(err, remote.IO) || failed != 1 {
				t.Fatal(err, failed)
			}
			for name, want := range map[string]remote.Kind{"o/ab/x": test.later, "o/ab/y": test.other} {
				if err := s.Put(ctx, name, body("x")); remote.KindOf(err) != want || (err == nil) != (want == remote.Other) {
					t.Errorf("%s: %v", name, err)
				}
			}
		})
	}
}

// TestDiskErrors: what the disk says, what the user is told, and that nothing is there under the name afterwards.
func TestDiskErrors(t *testing.T) {
	ctx := context.Background()
	for _, test := range []struct {
		op    string
		errno syscall.Errno
		kind  remote.Kind
		mend  string
	}{
		{"write", syscall.ENOSPC, remote.NoSpace, "make room"},
		{"sync", syscall.ENOSPC, remote.NoSpace, "make room"},
		{"close", syscall.EDQUOT, remote.NoSpace, "quota"},
		{"create", syscall.EACCES, remote.Permission, "owner and mode"},
		{"create", syscall.EROFS, remote.ReadOnly, "--read-only"},
		{"mkdir", syscall.EROFS, remote.ReadOnly, "--read-only"},
		{"mkdir", syscall.EPERM, remote.Permission, "owner and mode"},
		{"link", syscall.EPERM, remote.NotSupported, "hard links"},
		{"link", syscall.EOPNOTSUPP, remote.NotSupported, "hard links"},
		{"link", syscall.EXDEV, remote.NotSupported, "one file system"},
		{"create", syscall.EMFILE, remote.Busy, "ulimit"},
		{"write", syscall.EIO, remote.IO, "check the disk"},
		{"open folder", syscall.ESTALE, remote.Unreachable, "connected"},
		{"create", syscall.ENOTCONN, remote.Unreachable, "connected"},
	} {
		t.Run(fmt.Sprint(test.op, " ", test.errno), func(t *testing.T) {
			armed := false
			dir := t.TempDir()
			s, err := openDir(dir, tap(osPlace(dir), func(op, name string) error {
				if armed && op == test.op {
					return test.errno
				}
				return nil
			}))
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			armed = true
			err = s.Put(ctx, "o/ab/x", body("x"))
			if !remote.Is(err, test.kind) || !strings.Contains(err.Error(), test.mend) || !errors.Is(err, test.errno) {
				t.Errorf("%v", err)
			}
			armed = false
			if _, err := s.Size(ctx, "o/ab/x"); !remote.Is(err, remote.NotExist) {
				t.Error("there:", err)
			}
			n := 0
			s.eachEntry(tmpDir, func(folder, entry) { n++ })
			if n != 0 {
				t.Error("left in tmp:", n)
			}
			if err := s.Put(ctx, "o/ab/x", body("x")); err != nil {
				t.Error("when it is well again:", err)
			}
		})
	}
}
