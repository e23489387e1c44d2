package blob

import (
	"path"
	"strings"
	"testing"
)

// FuzzName: no name of an object leads out of the folder, or means the same as another.
func FuzzName(f *testing.F) {
	for _, s := range []string{"", "a", "a/b", "../a", "a/../b", "/a", "a//b", "a/", ".", "tmp/x", "l/0000000000000001", "A", "a\x00", "ä", strings.Repeat("a", 300)} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if !ValidName(s) {
			if validPath(s) && !strings.HasPrefix(s, tmpDir) {
				t.Errorf("%q is refused", s)
			}
			return
		}
		if path.Clean(s) != s || path.IsAbs(s) || strings.Contains(s, "..") || strings.ToLower(s) != s || len(s) > MaxName || strings.HasPrefix(s, tmpDir+"/") {
			t.Errorf("%q is taken", s)
		}
	})
}
