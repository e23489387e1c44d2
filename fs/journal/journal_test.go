package journal

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"go.uber.org/goleak"

	"megafs/remote"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var ctx = context.Background()

func wantKind(t testing.TB, err error, kind remote.Kind) {
	t.Helper()
	if !remote.Is(err, kind) {
		t.Fatalf("error %v, want one of kind %q", err, kind)
	}
}

func mustAppend(t testing.TB, j *Journal, parts ...string) (Seq, Loc) {
	t.Helper()
	var p [][]byte
	for _, s := range parts {
		p = append(p, []byte(s))
	}
	s, l, err := j.Append(1, p...)
	if err != nil {
		t.Fatal(err)
	}
	return s, l
}

func TestP1ReopenedJournalHoldsAll(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "journal")
	o := Options{Dir: dir}
	j, got := mustOpen(t, o)
	if st := j.Stat(); len(got) != 0 || st.Bytes != 0 || st.First != 1 || st.Last != 0 {
		t.Fatalf("a new journal holds %v, %+v", got, st)
	}
	big := strings.Repeat("0123456789abcdef", MaxPayload/16)
	want := []rec{{1, 1, Loc{}, ""}, {2, 1, Loc{}, "one, two"}, {3, 1, Loc{}, big}, {4, 1, Loc{}, "end"}}
	for i, w := range want {
		s, l := mustAppend(t, j, w.payload[:len(w.payload)/2], "", w.payload[len(w.payload)/2:])
		if want[i].loc = l; s != w.seq || int(l.Len) != len(w.payload) {
			t.Fatalf("record %d is %d at %+v", w.seq, s, l)
		}
	}
	if st := j.Stat(); st.Durable != 0 || st.Last != 4 {
		t.Fatalf("before a sync: %+v", st)
	}
	if err := j.Sync(ctx, 2); err != nil {
		t.Fatal(err)
	}
	if st := j.Stat(); st.Durable != 4 || st.Used > st.Bytes || st.Bytes > 4<<20 {
		t.Fatalf("after a sync: %+v", st)
	}
	wantKind(t, j.Sync(ctx, 5), remote.Invalid)
	for range 2 {
		if err := j.Close(); err != nil {
			t.Fatal(err)
		}
		j, got = mustOpen(t, o)
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Fatal("other records were replayed than were written")
		}
		if st := j.Stat(); st.First != 1 || st.Last != 4 || st.Durable != 4 || st.OldestSegmentLast != 4 {
			t.Fatalf("after opening: %+v", st)
		}
	}
	if s, l := mustAppend(t, j, "next"); s != 5 || l.Segment == want[3].loc.Segment {
		t.Fatalf("record %d went to segment %d of a former life", s, l.Segment)
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	_, _, err := j.Append(1)
	wantKind(t, err, remote.Stale)
	wantKind(t, j.Sync(ctx, 1), remote.Stale)
	wantKind(t, j.Trim(1), remote.Stale)
	wantKind(t, j.ReadAt(want[1].loc, 0, nil), remote.Stale)
	wantKind(t, j.Close(), remote.Stale)
}

func TestC31FilesAreOurs(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "journal")
	j, _ := mustOpen(t, Options{Dir: dir})
	mustAppend(t, j, "x")
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	check := func(path string, mode os.FileMode) {
		info, err := os.Stat(path)
		if err != nil || info.Mode().Perm() != mode {
			t.Fatalf("%s: mode %v, %v", path, info.Mode(), err)
		}
	}
	check(dir, 0o700)
	names, _ := filepath.Glob(filepath.Join(dir, "*"))
	for _, n := range names {
		check(n, 0o600)
	}
	if err := os.Chmod(dir, 0o770); err != nil {
		t.Fatal(err)
	}
	_, err := Open(Options{Dir: dir}, nil)
	wantKind(t, err, remote.Permission)
}

func TestC33NothingPlainOnDisk(t *testing.T) {
	mem := vfs.NewCrashableMem()
	j, _ := mustOpen(t, small(mem))
	canary := "canary in a coal mine"
	mustAppend(t, j, canary)
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	names, _ := mem.List(small(mem).Dir)
	for _, n := range names {
		b, err := mem.UnsafeGetFileDataBuffer(mem.PathJoin(small(mem).Dir, n))
		if err != nil || len(b) == 0 || bytes.Contains(b, []byte(canary[:8])) {
			t.Fatalf("%s: %d bytes, %v", n, len(b), err)
		}
	}
}

func TestOptionsAndArguments(t *testing.T) {
	for _, o := range []Options{
		{},
		{Dir: "d", SegmentSize: 4096},
		{Dir: "d", SegmentSize: 2 << 30, Limit: 16 << 30},
		{Dir: "d", SegmentSize: 1 << 20, Limit: 3 << 20},
	} {
		o.FS = vfs.NewCrashableMem()
		_, err := Open(o, nil)
		wantKind(t, err, remote.Invalid)
	}
	j, _ := mustOpen(t, small(vfs.NewCrashableMem()))
	defer j.Close()
	_, _, err := j.Append(0, nil)
	wantKind(t, err, remote.Invalid)
	_, _, err = j.Append(1, make([]byte, 24<<10))
	wantKind(t, err, remote.TooLarge)
	_, l := mustAppend(t, j, "0123456789")
	for _, c := range []struct {
		loc    Loc
		off, n int
		kind   remote.Kind
	}{
		{l, -1, 1, remote.Invalid},
		{l, 0, 11, remote.Invalid},
		{l, 11, 0, remote.Invalid},
		{Loc{l.Segment, l.Off, 9}, 0, 9, remote.Integrity},
		{Loc{l.Segment, l.Off + 16, l.Len}, 0, 10, remote.Integrity},
		{Loc{l.Segment, 1 << 30, l.Len}, 0, 10, remote.Integrity},
		{Loc{l.Segment, 0, l.Len}, 0, 10, remote.Invalid},
		{Loc{l.Segment, segStart + recHead, linkSize}, 0, 10, remote.Integrity}, // the opener
		{Loc{l.Segment + 1, l.Off, l.Len}, 0, 10, remote.Stale},
	} {
		wantKind(t, j.ReadAt(c.loc, c.off, make([]byte, c.n)), c.kind)
	}
	dst := make([]byte, 3)
	if err := j.ReadAt(l, 4, dst); err != nil || string(dst) != "456" {
		t.Fatal(string(dst), err)
	}
}

func TestReplayErrorEndsOpen(t *testing.T) {
	mem := vfs.NewCrashableMem()
	j, _ := mustOpen(t, small(mem))
	mustAppend(t, j, "x")
	j.Close()
	stop := errors.New("stop")
	if _, err := Open(small(mem), func(Record) error { return stop }); err != stop {
		t.Fatal(err)
	}
	j, got := mustOpen(t, small(mem))
	defer j.Close()
	if len(got) != 1 {
		t.Fatal(got)
	}
}

// TestP7Full fills a journal to its limit: it says so before it writes, Room told, and trimming makes room again.
func TestP7Full(t *testing.T) {
	for more := int64(0); more < 24<<10; more += 4 << 10 {
		t.Run(fmt.Sprint(more), func(t *testing.T) {
			o := small(vfs.NewCrashableMem())
			o.Limit += more
			testFull(t, o)
		})
	}
}

func testFull(t *testing.T, o Options) {
	j, _ := mustOpen(t, o)
	var kept []Seq
	for round := range 6 {
		for i, size := 0, 5000; ; i++ {
			p := payload(0, j.Stat().Last+1, i*997%size)
			room := j.Room()
			s, _, err := j.Append(1, p)
			if err == nil {
				kept = append(kept, s)
				continue
			}
			wantKind(t, err, remote.NoSpace)
			if int64(len(p)) <= room {
				t.Fatalf("room for %d was told, %d did not fit", room, len(p))
			}
			if size == 1 {
				break
			}
			size = 1 // until nothing fits
		}
		st := j.Stat()
		if st.Bytes > o.Limit || st.Used < o.Limit/2 || st.Segments < 6 {
			t.Fatalf("full at %+v", st)
		}
		if err := j.Sync(ctx, st.Last); err != nil {
			t.Fatal(err)
		}
		if round%2 == 1 { // the same after opening, when the note needs a new segment
			if err := j.Close(); err != nil {
				t.Fatal(err)
			}
			j, _ = mustOpen(t, o)
			if room := j.Room(); room > 2*o.SegmentSize {
				t.Fatalf("room for %d in a full journal", room)
			}
		}
		for range 2 { // after opening, the first takes a segment itself
			before := j.Stat().Segments
			if err := j.Trim(j.Stat().OldestSegmentLast + 1); err != nil {
				t.Fatal(err)
			}
			if st := j.Stat(); st.Segments > before || st.Bytes > o.Limit {
				t.Fatalf("trimming frees nothing: %+v", st)
			}
		}
		if err := j.Trim(st.Last + 1); err != nil {
			t.Fatal(err)
		}
		if st := j.Stat(); st.Segments != 1 || st.First != st.Last+1 || st.Spares < maxSpares || st.Spares > maxSpares+1 {
			t.Fatalf("all is trimmed: %+v", st)
		}
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	j, got := mustOpen(t, o)
	defer j.Close()
	if st := j.Stat(); st.Last != kept[len(kept)-1] || len(got) != 0 {
		t.Fatalf("%d records of %d replayed, %+v", len(got), len(kept), st)
	}
}

// TestLowerLimit opens a journal that holds more than it now may: nothing goes in, but it can be trimmed.
func TestLowerLimit(t *testing.T) {
	o := small(vfs.NewCrashableMem())
	j, _ := mustOpen(t, o)
	for {
		if _, _, err := j.Append(1, make([]byte, 1000)); err != nil {
			break
		}
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	o.Limit = 4 * o.SegmentSize
	j, _ = mustOpen(t, o)
	defer j.Close()
	_, _, err := j.Append(1)
	wantKind(t, err, remote.NoSpace)
	if err := j.Trim(j.Stat().Last + 1); err != nil {
		t.Fatal(err)
	}
	if st := j.Stat(); st.Bytes > o.Limit || j.Room() == 0 {
		t.Fatalf("%+v", st)
	}
	mustAppend(t, j, "x")
}

func TestIdleJournalIsSmall(t *testing.T) {
	o := Options{Dir: t.TempDir()}
	for range 3 {
		j, _ := mustOpen(t, o)
		mustAppend(t, j, "x")
		if err := j.Close(); err != nil {
			t.Fatal(err)
		}
	}
	j, _ := mustOpen(t, o)
	defer j.Close()
	if st := j.Stat(); st.Bytes != 4<<20 || // three segments and the reserve
		st.Segments != 3 || j.Room() < 900<<20 {
		t.Fatalf("three records take %+v, room %d", st, j.Room())
	}
	if err := j.Trim(4); err != nil {
		t.Fatal(err)
	}
	if st := j.Stat(); st.Bytes != 2<<20 || st.First != 4 {
		t.Fatalf("no record takes %+v", st)
	}
}

// TestConcurrent lets writers, readers, trimming and looks at the state meet on a real file system.
func TestConcurrent(t *testing.T) {
	o := Options{Dir: t.TempDir(), SegmentSize: 64 << 10, Limit: 1 << 20}
	j, _ := mustOpen(t, o)
	var mu sync.Mutex
	synced := map[Seq]string{}
	var trimmed Seq
	var wg sync.WaitGroup
	for w := range 8 {
		wg.Go(func() {
			for i := range 150 {
				p := string(payload(w, Seq(i), i*37%3000))
				s, l, err := j.Append(Kind(w+1), []byte(p))
				if err != nil {
					t.Errorf("append: %v", err)
					return
				}
				buf := make([]byte, len(p))
				if err := j.ReadAt(l, 0, buf); err != nil && !remote.Is(err, remote.Stale) || err == nil && string(buf) != p {
					t.Errorf("read: %v", err)
				}
				if i%5 == 0 {
					if err := j.Sync(ctx, s); err != nil {
						t.Errorf("sync: %v", err)
					}
				}
				mu.Lock()
				synced[s] = p
				mu.Unlock()
				if i%10 == 9 && j.Room() < 512<<10 {
					before := j.Stat().Last - 20
					if err := j.Trim(before); err != nil {
						t.Errorf("trim: %v", err)
					}
					mu.Lock()
					trimmed = max(trimmed, before)
					mu.Unlock()
				}
			}
		})
	}
	wg.Wait()
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	j, got := mustOpen(t, o)
	defer j.Close()
	if len(got) == 0 || got[len(got)-1].seq != 1200 || got[0].seq > max(trimmed, 1) {
		t.Fatalf("%d records, trimmed before %d", len(got), trimmed)
	}
	for _, r := range got {
		if r.payload != synced[r.seq] {
			t.Fatalf("record %d is another", r.seq)
		}
	}
}

// stuck makes syncs wait.
type stuck struct {
	entered, leave chan struct{}
}

// TestP6SyncHonoursContext has a disk that does not answer: waiters leave when their context ends.
func TestP6SyncHonoursContext(t *testing.T) {
	fs := &tapFS{FS: vfs.NewCrashableMem()}
	j, _ := mustOpen(t, small(fs))
	s, _ := mustAppend(t, j, "x")
	g := stuck{make(chan struct{}, 9), make(chan struct{})}
	fs.set(func(op, _ string) error {
		if op == "syncdata" {
			g.entered <- struct{}{}
			<-g.leave
		}
		return nil
	})
	c, cancel := context.WithCancel(ctx)
	errs := make(chan error, 2)
	for range 2 {
		go func() { errs <- j.Sync(c, s) }()
	}
	<-g.entered
	cancel()
	for range 2 {
		wantKind(t, <-errs, remote.Canceled)
	}
	if st := j.Stat(); st.Durable != 0 {
		t.Fatalf("%+v", st)
	}
	close(g.leave)
	if err := j.Sync(ctx, s); err != nil {
		t.Fatal(err)
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestGroupCommit: callers that come while the disk is busy share the next sync.
func TestGroupCommit(t *testing.T) {
	fs := &tapFS{FS: vfs.NewCrashableMem()}
	j, _ := mustOpen(t, small(fs))
	defer j.Close()
	first, _ := mustAppend(t, j, "x")
	g := stuck{make(chan struct{}, 99), make(chan struct{})}
	fs.set(func(op, _ string) error {
		if op == "syncdata" {
			g.entered <- struct{}{}
			<-g.leave
		}
		return nil
	})
	var wg sync.WaitGroup
	sync1 := func(s Seq) {
		if err := j.Sync(ctx, s); err != nil {
			t.Error(err)
		}
	}
	wg.Go(func() { sync1(first) })
	<-g.entered
	for range 20 {
		s, _ := mustAppend(t, j, "y")
		wg.Go(func() { sync1(s) })
	}
	close(g.leave)
	wg.Wait()
	if n := len(g.entered); n != 1 || j.Stat().Durable != 21 {
		t.Fatalf("%d syncs more for 20 callers, %+v", n, j.Stat())
	}
}
