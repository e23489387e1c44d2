package fs

import (
	"math"
	"syscall"
	"testing"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"

	"megafs/remote"
)

func TestTimes(t *testing.T) {
	for _, x := range []struct {
		t    remote.Time
		sec  int64
		nsec uint32
	}{
		{0, 0, 0},
		{1, 0, 1},
		{-1, -1, 999999999},
		{-1e9, -1, 0},
		{-1e9 - 1, -2, 999999999},
		{1.5e9, 1, 500000000},
		{math.MaxInt64, 9223372036, 854775807},
		{math.MinInt64, -9223372037, 145224192},
		{math.MinInt64 + 1, -9223372037, 145224193},
	} {
		if s, n := split(x.t); int64(s) != x.sec || n != x.nsec {
			t.Errorf("split(%d) = %d, %d, want %d, %d", x.t, int64(s), n, x.sec, x.nsec)
		}
		if got := join(uint64(x.sec), x.nsec); got != x.t {
			t.Errorf("join(%d, %d) = %d, want %d", x.sec, x.nsec, got, x.t)
		}
	}
	for _, x := range []struct {
		sec  int64
		nsec uint32
		want remote.Time
	}{
		{9223372036, 854775808, math.MaxInt64},
		{9223372037, 0, math.MaxInt64},
		{math.MaxInt64, 0, math.MaxInt64},
		{-9223372037, 145224191, math.MinInt64},
		{-9223372038, 999999999, math.MinInt64},
		{math.MinInt64, 0, math.MinInt64},
	} {
		if got := join(uint64(x.sec), x.nsec); got != x.want {
			t.Errorf("join(%d, %d) = %d, want %d", x.sec, x.nsec, got, x.want)
		}
	}
}

func TestTypes(t *testing.T) {
	for typ := remote.File; typ <= remote.BlockDev; typ++ {
		if bits := formatOf(typ); bits == 0 || typeOf(bits|0o7777) != typ {
			t.Errorf("type %d has bits %o, which are type %d", typ, bits, typeOf(bits))
		}
	}
	if typeOf(0o644) != remote.File {
		t.Error("mknod without a type makes no file")
	}
	if typeOf(syscall.S_IFMT) != 0 || formatOf(0) != 0 || formatOf(200) != 0 {
		t.Error("a type that does not exist")
	}
}

func TestSetAttr(t *testing.T) {
	in := fuse.SetAttrInCommon{Mode: syscall.S_IFREG | 0o4755, Size: 7, Atime: 1, Atimensec: 2, Mtime: 3}
	in.Uid, in.Gid = 5, 6
	now := remote.Time(99 * time.Second)
	if a := setAttr(&in, now); a.Mode != nil || a.UID != nil || a.GID != nil || a.Size != nil || a.Atime != nil || a.Mtime != nil || a.KillPriv {
		t.Errorf("set without being asked to: %+v", a)
	}
	in.Valid = fuse.FATTR_MODE | fuse.FATTR_UID | fuse.FATTR_GID | fuse.FATTR_SIZE | fuse.FATTR_ATIME | fuse.FATTR_MTIME | fuse.FATTR_MTIME_NOW | fuse.FATTR_KILL_SUIDGID
	a := setAttr(&in, now)
	if *a.Mode != 0o4755 || *a.UID != 5 || *a.GID != 6 || *a.Size != 7 || *a.Atime != 1e9+2 || *a.Mtime != now || !a.KillPriv {
		t.Errorf("got %+v", a)
	}
}

// TestShortTTL: while the kernel can't be told of changes one by one, it may keep nothing for long.
func TestShortTTL(t *testing.T) {
	c := testConn(nil)
	if c.ttl(attrTTL) != attrTTL {
		t.Error("short without a reason")
	}
	c.short.Store(time.Now().Add(time.Hour).UnixNano())
	if c.ttl(attrTTL) != shortTTL || c.ttl(time.Millisecond) != time.Millisecond {
		t.Error("not short")
	}
	c.short.Store(time.Now().Add(-time.Hour).UnixNano())
	if c.ttl(attrTTL) != attrTTL {
		t.Error("short for ever")
	}
}
