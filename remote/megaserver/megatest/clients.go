package megatest

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// Program returns a program's path.
func Program(t *testing.T, name string) string {
	t.Helper()
	if testing.Short() {
		t.Skip("takes others' programs")
	}
	p, err := exec.LookPath(name)
	if err != nil {
		if os.Getenv("CI") != "" {
			t.Fatalf("%s is not installed (scripts/test does that)", name)
		}
		t.Skipf("%s is not installed", name)
	}
	return p
}

// Cached is a client that scripts/install got.
func Cached(t *testing.T, name string) string {
	t.Helper()
	if testing.Short() {
		t.Skip("takes others' programs")
	}
	d, err := os.UserCacheDir()
	must(t, err)
	p := filepath.Join(d, "megafs-test", name)
	if _, err := os.Stat(p); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatalf("%s is not there (scripts/test gets it): %v", name, err)
		}
		t.Skipf("%s is not there; scripts/test gets it", name)
	}
	return p
}
