package main

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestDocuments holds the documents against the tree: the tests that SEMANTICS.md names exist, and each package has a doc.go.
func TestDocuments(t *testing.T) {
	const root = "../.."
	tests := map[string]bool{}
	declared := regexp.MustCompile(`(?m)^func (Test\w+|Fuzz\w+)\(`)
	err := filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (d.Name() == "testdata" || d.Name() == ".git"):
			return fs.SkipDir
		case strings.HasSuffix(p, "_test.go"):
			b, err := os.ReadFile(p)
			for _, m := range declared.FindAllStringSubmatch(string(b), -1) {
				tests[m[1]] = true
			}
			return err
		case strings.HasSuffix(p, ".go"):
			if _, err := os.Stat(filepath.Join(filepath.Dir(p), "doc.go")); err != nil && !strings.Contains(p, "/scripts/") {
				t.Errorf("%s has no doc.go beside it", p)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(filepath.Join(root, "SEMANTICS.md"))
	if err != nil {
		t.Fatal(err)
	}
	named := regexp.MustCompile(`\b(?:Test|Fuzz)[A-Z]\w+`).FindAllString(string(b), -1)
	for _, n := range named {
		if !tests[n] {
			t.Errorf("SEMANTICS.md names %s, which is no test", n)
		}
	}
	if len(named) < 20 || len(tests) < 100 {
		t.Errorf("found %d names and %d tests only", len(named), len(tests))
	}
}
