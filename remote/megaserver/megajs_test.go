package megaserver

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// cached is a client that scripts/install got.
func cached(t *testing.T, name string) string {
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

// TestMegajs lets megajs do all it can do.
func TestMegajs(t *testing.T) {
	program(t, "node")
	where := cached(t, "megajs")
	flow, err := filepath.Abs("testdata/megajs/flow.mjs")
	must(t, err)
	inside(t, func(t *testing.T) {
		f := newForeign(t)
		for v, email := range map[int]string{1: "v1@example.com", 2: "v2@example.com"} {
			must(t, f.s.AddAccount(NewAccount{Email: email, Password: "correct horse battery", Name: "Al", Version: v}))
			out := f.run("node", flow, where, email, "correct horse battery", f.dir)
			if !strings.HasSuffix(out, "done\n") {
				t.Fatalf("megajs: %s", out)
			}
		}
	})
}
