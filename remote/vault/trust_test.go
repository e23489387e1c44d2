package vault

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"megafs/remote"
)

// TestP4TrustFiles tears, edits and loses what a machine remembers.
func TestP4TrustFiles(t *testing.T) {
	both(t, func(t *testing.T, on kind) {
		w := newWorld(t, on)
		a := w.open(w.store, w.state)
		_, pos := w.load(a, remote.Position{})
		for i := range 3 {
			pos, _ = a.Commit(ctx, pos, []remote.Op{node(i + 1)})
		}
		a.Close()
		opts := Options{StateDir: w.state, Keyring: w.ring, Log: slog.New(slog.DiscardHandler)}
		files, _ := filepath.Glob(filepath.Join(w.state, "trust-*"))
		if len(files) != 2 {
			t.Fatal(files)
		}
		for _, f := range files {
			good, _ := os.ReadFile(f)
			os.WriteFile(f, good[:len(good)/2], 0o600)
			v, err := Open(ctx, w.store, opts)
			if err != nil {
				t.Fatal("with one torn:", err)
			}
			if _, err := v.Load(ctx, remote.Position{}, w.sink()); err != nil {
				t.Fatal(err)
			}
			os.WriteFile(f, good, 0o600)
		}
		for _, f := range files {
			b, _ := os.ReadFile(f)
			b[30] ^= 1
			os.WriteFile(f, b, 0o600)
		}
		if _, err := Open(ctx, w.store, opts); !errors.Is(err, ErrNotTrusted) {
			t.Fatal("both edited:", err)
		}
		for _, f := range files {
			os.Remove(f)
		}
		if _, err := Open(ctx, w.store, opts); !errors.Is(err, ErrNotTrusted) {
			t.Fatal("both lost:", err)
		}
	})
}
