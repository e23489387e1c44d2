package megaserver

import (
	"path/filepath"
	"strings"
	"testing"

	"megafs/remote/megaserver/megatest"
)

// TestMegajs lets megajs do all it can do.
func TestMegajs(t *testing.T) {
	megatest.Program(t, "node")
	where := megatest.Cached(t, "megajs")
	flow, err := filepath.Abs("testdata/megajs/flow.mjs")
	must(t, err)
	megatest.Inside(t, func(t *testing.T) {
		f := newForeign(t)
		for v, email := range map[int]string{1: "v1@example.com", 2: "v2@example.com"} {
			must(t, f.s.AddAccount(NewAccount{Email: email, Password: "correct horse battery", Name: "Al", Version: v}))
			out := f.Run("node", flow, where, email, "correct horse battery", f.Dir)
			if !strings.HasSuffix(out, "done\n") {
				t.Fatalf("megajs: %s", out)
			}
		}
	})
}
