package journal

import (
	"fmt"
	"math/rand/v2"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"megafs/remote"
)

// tapFS calls tap before each call that changes the disk; an error of tap is the call's result.
type tapFS struct {
	vfs.FS
	mu  sync.Mutex
	tap func(op, name string) error
}

func (t *tapFS) call(op, name string) error {
	t.mu.Lock()
	tap := t.tap
	t.mu.Unlock()
	if tap == nil {
		return nil
	}
	return tap(op, t.FS.PathBase(name))
}

func (t *tapFS) set(tap func(op, name string) error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.tap = tap
}

func (t *tapFS) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	if err := t.call("create", name); err != nil {
		return nil, err
	}
	f, err := t.FS.Create(name, c)
	return t.wrap(f, name, err)
}

func (t *tapFS) OpenReadWrite(name string, c vfs.DiskWriteCategory, o ...vfs.OpenOption) (vfs.File, error) {
	f, err := t.FS.OpenReadWrite(name, c, o...)
	return t.wrap(f, name, err)
}

func (t *tapFS) OpenDir(name string) (vfs.File, error) {
	f, err := t.FS.OpenDir(name)
	return t.wrap(f, name, err)
}

func (t *tapFS) Rename(from, to string) error {
	if err := t.call("rename", from); err != nil {
		return err
	}
	return t.FS.Rename(from, to)
}

func (t *tapFS) Remove(name string) error {
	if err := t.call("remove", name); err != nil {
		return err
	}
	return t.FS.Remove(name)
}

func (t *tapFS) wrap(f vfs.File, name string, err error) (vfs.File, error) {
	if err != nil {
		return nil, err
	}
	return &tapFile{f, t, name}, nil
}

// lateError is returned after the call was done.
type lateError struct{ error }

type tapFile struct {
	vfs.File
	t    *tapFS
	name string
}

func (f *tapFile) WriteAt(p []byte, off int64) (int, error) {
	err := f.t.call("write", f.name)
	if late, ok := err.(lateError); ok {
		f.File.WriteAt(p, off)
		return 0, late.error
	}
	if err != nil {
		return 0, err
	}
	return f.File.WriteAt(p, off)
}

func (f *tapFile) Sync() error {
	if err := f.t.call("sync", f.name); err != nil {
		return err
	}
	return f.File.Sync()
}

func (f *tapFile) SyncData() error {
	if err := f.t.call("syncdata", f.name); err != nil {
		return err
	}
	return f.File.SyncData()
}

// small are the options that tests use: segments of 24 KiB in steps of 8.
func small(fs vfs.FS) Options {
	return Options{FS: fs, Dir: "state/journal", Key: [32]byte{1, 2, 3}, SegmentSize: 24 << 10, Limit: 7 * 24 << 10}
}

// whole copies a crashable file system as it is, without a crash.
func whole(m *vfs.MemFS) *vfs.MemFS {
	return m.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 100, RNG: rand.New(rand.NewPCG(1, 1))})
}

type rec struct {
	seq     Seq
	kind    Kind
	loc     Loc
	payload string
}

// reopen opens a journal and returns what it replays.
func reopen(o Options) (*Journal, []rec, error) {
	var got []rec
	j, err := Open(o, func(r Record) error {
		got = append(got, rec{r.Seq, r.Kind, r.Loc, string(r.Payload)})
		return nil
	})
	return j, got, err
}

func mustOpen(t testing.TB, o Options) (*Journal, []rec) {
	t.Helper()
	j, got, err := reopen(o)
	if err != nil {
		t.Fatal(err)
	}
	return j, got
}

// payload makes what record seq of a life holds.
func payload(life int, seq Seq, size int) []byte {
	p := make([]byte, size)
	r := rand.New(rand.NewPCG(uint64(life), uint64(seq)))
	for i := range p {
		p[i] = byte(r.Uint32())
	}
	return append(p, fmt.Sprintf("life %d record %d", life, seq)...)
}

var errDisk = &os.PathError{Op: "write", Path: "x", Err: syscall.EIO}

// TestP1FaultyDisk lets each call that changes the disk fail once, in three ways. What was not acknowledged may be missing, nothing else.
func TestP1FaultyDisk(t *testing.T) {
	full := &os.PathError{Op: "write", Path: "x", Err: syscall.ENOSPC}
	io := &os.PathError{Op: "write", Path: "x", Err: syscall.EIO}
	for _, way := range []struct {
		name string
		err  error
		late bool // the disk did it nevertheless
	}{{"full", full, false}, {"broken", io, false}, {"full, yet written", full, true}} {
		t.Run(way.name, func(t *testing.T) {
			t.Parallel()
			sticky := 0
			for at := 0; ; at++ {
				mem := vfs.NewCrashableMem()
				fs := &tapFS{FS: mem}
				j, _ := mustOpen(t, small(fs))
				var mu sync.Mutex
				var hit atomic.Pointer[string]
				calls := 0
				fs.set(func(op, name string) error {
					mu.Lock()
					defer mu.Unlock()
					if calls++; calls != at+1 {
						return nil
					}
					what := op + " " + name
					hit.Store(&what)
					if way.late && op == "write" {
						return lateError{way.err}
					}
					return way.err
				})
				what := func() string {
					if p := hit.Load(); p != nil {
						return *p
					}
					return "none"
				}
				var want []string
				var failed error
				trimmed := Seq(1)
				for i := range 60 {
					p := payload(0, Seq(i), i*331%2600)
					add := j.Append
					if i%4 == 3 {
						add = j.AppendFreeing
					}
					s, _, err := add(1, p)
					switch {
					case err != nil && failed != nil:
						if err != failed {
							t.Fatalf("after %v: %v", failed, err)
						}
					case err == nil && failed == nil:
						want = append(want, string(p))
						if s != Seq(len(want)) {
							t.Fatalf("record %d is %d", len(want), s)
						}
					case remote.Is(err, remote.NoSpace) && way.err == full && hit.Load() != nil:
					case remote.Is(err, remote.IO) && hit.Load() != nil:
						if j.mu.Lock(); j.failed != nil {
							failed = err
						}
						j.mu.Unlock()
					default:
						t.Fatalf("call %d (%s): record %d: %v", at, what(), i, err)
					}
					if i%7 == 6 {
						if err := j.Sync(ctx, Seq(len(want))); err != nil && failed == nil {
							wantKind(t, err, remote.IO)
							failed = err
						} else if (err == nil) != (failed == nil) {
							t.Fatal(err, failed)
						}
					}
					if i%20 == 19 && len(want) > 5 {
						before := Seq(len(want) - 5)
						if err := j.Trim(before); err != nil && hit.Load() == nil {
							t.Fatal(err)
						} else if err != nil {
							if j.mu.Lock(); j.failed != nil {
								failed = j.failed
							}
							j.mu.Unlock()
						}
						trimmed = max(trimmed, before)
					}
				}
				if err := j.Close(); err != nil && failed == nil && hit.Load() == nil {
					t.Fatal(err)
				}
				if failed != nil {
					sticky++
				}
				if hit.Load() == nil {
					break
				}
				fs.set(nil)
				j, got := mustOpen(t, small(mem))
				last := int(j.Stat().Last)
				if last != len(want) && !(failed != nil && last >= int(trimmed)-1 && last <= len(want)+1) {
					t.Fatalf("call %d (%s): %d records of %d, failed: %v", at, what(), last, len(want), failed)
				}
				for _, r := range got {
					if int(r.seq) <= len(want) && r.payload != want[r.seq-1] {
						t.Fatalf("call %d (%s): record %d is another", at, what(), r.seq)
					}
				}
				if last >= int(trimmed) && (len(got) == 0 || got[0].seq > trimmed) {
					t.Fatalf("call %d (%s): records begin at %v, trimmed before %d", at, what(), got[:min(1, len(got))], trimmed)
				}
				mustAppend(t, j, "more")
				if err := j.Close(); err != nil {
					t.Fatal(err)
				}
			}
			if way.err == io && sticky == 0 {
				t.Fatal("no error made the journal fail")
			}
		})
	}
}

// TestNonceIsSpent: a record that could not be written has used its place; the next goes to another segment.
func TestNonceIsSpent(t *testing.T) {
	fs := &tapFS{FS: vfs.NewCrashableMem()}
	j, _ := mustOpen(t, small(fs))
	defer j.Close()
	_, l := mustAppend(t, j, "x")
	failing := true
	fs.set(func(op, name string) error {
		if op == "write" && failing {
			failing = false
			return lateError{syscall.ENOSPC}
		}
		return nil
	})
	_, _, err := j.Append(1, []byte("y"))
	wantKind(t, err, remote.NoSpace)
	if s, next := mustAppend(t, j, "z"); s != 2 || next.Segment == l.Segment {
		t.Fatal(s, next)
	}
}

// TestP1SyncFailureSticks: once a sync has failed nothing is acknowledged any more, though the disk is well again.
func TestP1SyncFailureSticks(t *testing.T) {
	mem := vfs.NewCrashableMem()
	fs := &tapFS{FS: mem}
	j, _ := mustOpen(t, small(fs))
	first, l := mustAppend(t, j, "first")
	if err := j.Sync(ctx, first); err != nil {
		t.Fatal(err)
	}
	s, _ := mustAppend(t, j, "second")
	broken := true
	fs.set(func(op, _ string) error {
		if op == "syncdata" && broken {
			broken = false
			return errDisk
		}
		return nil
	})
	err := j.Sync(ctx, s)
	wantKind(t, err, remote.IO)
	for _, s := range []Seq{first, s} {
		if again := j.Sync(ctx, s); again != err {
			t.Fatal(again)
		}
	}
	if _, _, again := j.Append(1); again != err {
		t.Fatal(again)
	}
	if again := j.Trim(s); again != err {
		t.Fatal(again)
	}
	if j.Room() != 0 || j.Stat().Durable != first {
		t.Fatalf("%+v", j.Stat())
	}
	if err := j.ReadAt(l, 0, make([]byte, 5)); err != nil {
		t.Fatal(err)
	}
	wantKind(t, j.Close(), remote.IO)
	j, got := mustOpen(t, small(mem.CrashClone(vfs.CrashCloneCfg{})))
	defer j.Close()
	if len(got) != 1 || got[0].payload != "first" {
		t.Fatal(got)
	}
}
