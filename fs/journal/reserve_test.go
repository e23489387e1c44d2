package journal

import (
	"errors"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"megafs/remote"
)

// fullFS is a disk that has no room for longer files and new ones while it is full.
type fullFS struct {
	vfs.FS
	full atomic.Bool
}

func (d *fullFS) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	if d.full.Load() {
		return nil, syscall.ENOSPC
	}
	f, err := d.FS.Create(name, c)
	return &fullFile{f, d}, err
}

func (d *fullFS) OpenReadWrite(name string, c vfs.DiskWriteCategory, o ...vfs.OpenOption) (vfs.File, error) {
	f, err := d.FS.OpenReadWrite(name, c, o...)
	return &fullFile{f, d}, err
}

type fullFile struct {
	vfs.File
	d *fullFS
}

func (f *fullFile) WriteAt(p []byte, off int64) (int, error) {
	if info, err := f.Stat(); err != nil || f.d.full.Load() && off+int64(len(p)) > info.Size() {
		return 0, syscall.ENOSPC
	}
	return f.File.WriteAt(p, off)
}

// TestReserve: on a full disk there is room for what frees some, and not for data; after some was freed there is room again for as
// much; a new life finds the reserve; and once the disk has room, so has data.
func TestReserve(t *testing.T) {
	d := &fullFS{FS: vfs.NewCrashableMem()}
	o := Options{FS: d, Dir: "state/journal", SegmentSize: 8 << 20, Limit: 64 << 20}
	j, _ := mustOpen(t, o)
	mustAppend(t, j, "x")
	d.full.Store(true)
	fill := func() {
		t.Helper()
		for _, size := range []int{200_000, 1000, 0} { // the first makes the segment unusable, as its write fails half-way
			for {
				if _, _, err := j.Append(1, make([]byte, size)); err != nil {
					wantKind(t, err, remote.NoSpace)
					break
				}
			}
		}
	}
	freeing := func() (n int) {
		t.Helper()
		for {
			if _, _, err := j.AppendFreeing(2, make([]byte, 200)); err != nil {
				wantKind(t, err, remote.NoSpace)
				return n
			}
			if n++; n%100 == 0 {
				if _, _, err := j.Append(1, make([]byte, 100)); !remote.Is(err, remote.NoSpace) {
					t.Fatalf("data takes what is kept for freeing: %v", err)
				}
			}
		}
	}
	const most = 1 << 20 / 240
	for life := range 3 {
		fill()
		if n := freeing(); n < most*9/10 {
			t.Fatalf("life %d: %d records of %d", life, n, most)
		}
		if err := j.Sync(ctx, j.Stat().Last); err != nil {
			t.Fatal(err)
		}
		// What is trimmed gives the room back: the disk is full only for others.
		d.full.Store(false)
		if err := j.Trim(j.Stat().Last + 1); err != nil {
			t.Fatal(err)
		}
		d.full.Store(true)
		if life == 1 {
			last := j.Stat().Last
			if err := j.Close(); err != nil {
				t.Fatal(err)
			}
			if j, _ = mustOpen(t, o); j.Stat().Last != last {
				t.Fatal(j.Stat())
			}
		}
	}
	d.full.Store(false)
	for range 3 {
		if _, _, err := j.Append(1, make([]byte, 200_000)); err != nil {
			t.Fatal(err)
		}
	}
	last := j.Stat().Last
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	j, _ = mustOpen(t, o)
	defer j.Close()
	if st := j.Stat(); st.Last != last || st.Bytes > o.Limit {
		t.Fatalf("%+v, last was %d", st, last)
	}
}

// TestGrow: where the disk's last room is not for data, that fails as on a full disk, what frees room does not, and both go on when there is more.
func TestGrow(t *testing.T) {
	var tight atomic.Bool
	o := Options{FS: vfs.NewCrashableMem(), Dir: "state/journal", SegmentSize: 8 << 20, Limit: 64 << 20, Grow: func(n int64) error {
		if tight.Load() && n > 0 {
			return errors.New("not for you")
		}
		return nil
	}}
	j, _ := mustOpen(t, o)
	defer j.Close()
	mustAppend(t, j, "x")
	tight.Store(true)
	before := j.Stat().Bytes
	var err error
	for n := 0; err == nil && n < 1000; n++ {
		_, _, err = j.Append(1, make([]byte, 100_000))
	}
	wantKind(t, err, remote.NoSpace)
	if _, err := j.AppendSplit(1, make([]byte, 3<<20), 128<<10, func(int) []byte { return []byte("head") }); !remote.Is(err, remote.NoSpace) {
		t.Fatal(err)
	}
	if s := j.Stat(); s.Bytes != before {
		t.Errorf("the files grew from %d to %d bytes", before, s.Bytes)
	}
	for range 4000 {
		if _, _, err := j.AppendFreeing(2, make([]byte, 2000)); err != nil {
			t.Fatal(err)
		}
	}
	tight.Store(false)
	mustAppend(t, j, "y")
}
