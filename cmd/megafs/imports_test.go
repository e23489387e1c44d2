package main

import (
	"os/exec"
	"strings"
	"testing"
)

// layers says what each package may import of megafs. cmd may import all.
var layers = map[string][]string{
	"remote":                     {},
	"remote/wire":                {"remote"},
	"remote/extent":              {"remote"},
	"remote/spool":               {"remote"},
	"remote/bulk":                {"remote"},
	"remote/remotetest":          {"remote"},
	"remote/blob":                {"remote"},
	"remote/blob/blobtest":       {"remote", "remote/blob"},
	"remote/mega":                {"remote", "remote/wire", "crypto/megacrypt", "remote/spool", "remote/bulk"},
	"remote/vault":               {"remote", "remote/wire", "remote/blob", "crypto"},
	"remote/megaserver":          {"remote", "remote/blob", "crypto/megacrypt"},
	"remote/megaserver/megatest": {},
	"crypto":                     {},
	"crypto/megacrypt":           {},
	"cache":                      {"remote"},
	"fs/journal":                 {"remote"},
	"fs/tree":                    {"remote", "remote/wire", "remote/extent", "remote/spool", "remote/bulk"},
	"fs/writeback":               {"remote", "fs/tree", "fs/journal", "cache"},
	"fs/acl":                     {},
	"fs/volume":                  {"remote", "remote/wire", "fs/acl", "fs/tree", "fs/journal", "fs/writeback", "cache"},
	"fs":                         {"remote", "fs/acl", "fs/volume"},
}

// TestImportsPointDownwards holds the packages against the layers.
func TestImportsPointDownwards(t *testing.T) {
	out, err := exec.Command("go", "list", "-f", "{{.ImportPath}} {{join .Imports \" \"}}", "megafs/...").CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, line := range strings.Split(strings.TrimSpace(string(out)), "\n") {
		f := strings.Fields(line)
		pkg := strings.TrimPrefix(f[0], "megafs/")
		if strings.HasPrefix(pkg, "cmd/") || strings.HasPrefix(pkg, "scripts/") {
			continue
		}
		may, ok := layers[pkg]
		if !ok {
			t.Errorf("package %s is in no layer", pkg)
		}
		for _, i := range f[1:] {
			dep, ours := strings.CutPrefix(i, "megafs/")
			if !ours {
				continue
			}
			found := false
			for _, m := range may {
				found = found || m == dep
			}
			if !found {
				t.Errorf("%s imports %s", pkg, dep)
			}
		}
	}
}
