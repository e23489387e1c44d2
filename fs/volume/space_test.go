package volume

import (
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"megafs/remote/remotetest"
)

// TestIndexCounts gives cached blocks what the tree index leaves of the cache's size, and at least a half.
func TestIndexCounts(t *testing.T) {
	cache := t.TempDir()
	open := func() int64 {
		t.Helper()
		v, err := Open(ctx, Options{Remote: remotetest.NewStore().Open(), StateDir: t.TempDir(), CacheDir: cache, CacheSize: 80 << 20, Poll: -1, Log: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		defer v.Close(ctx)
		return v.Status().Cache.Limit
	}
	if got := open(); got > 80<<20 || got < 79<<20 {
		t.Error("with an index of nothing:", got)
	}
	ballast := func(n int) {
		if err := os.WriteFile(filepath.Join(cache, "tree", "ballast"), make([]byte, n), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	ballast(20 << 20)
	if got := open(); got > 56<<20 || got < 55<<20 {
		t.Error("with an index of 20 MiB:", got)
	}
	ballast(60 << 20)
	if got := open(); got != 40<<20 {
		t.Error("with an index of 60 MiB:", got)
	}
}
