package remotetest

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var testFunction = regexp.MustCompile(`(?ms)^func (Test\w+)\([^\n]*(?:}$|\n.*?^})`)

// Tests returns the text of each test below a folder, by its package's path there and its name: "remote/vault.TestVia". It is for tables that say which tests
// show what.
func Tests(t *testing.T, root string) map[string]string {
	t.Helper()
	tests := map[string]string{}
	err := filepath.WalkDir(root, func(p string, e fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(p, "_test.go") {
			return err
		}
		src, err := os.ReadFile(p)
		dir, _ := filepath.Rel(root, filepath.Dir(p))
		for _, m := range testFunction.FindAllSubmatch(src, -1) {
			tests[filepath.ToSlash(dir)+"."+string(m[1])] = string(m[0])
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return tests
}
