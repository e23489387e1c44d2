package fs

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// holdersMost is how many programs an error names.
const holdersMost = 5

// holders names programs that have files of a mount open, mapped, or as their directory. It reads links only, which asks nothing of
// the mount, and sees what the caller may see: of other users' programs nothing.
func holders(dir string) string {
	within := func(path string) bool {
		rest, ok := strings.CutPrefix(path, dir)
		return ok && (rest == "" || rest[0] == '/' || rest[0] == ' ')
	}
	var names []string
	procs, _ := filepath.Glob("/proc/[0-9]*")
	for _, p := range procs {
		if len(names) > holdersMost {
			break
		}
		if holds(p, within) {
			comm, _ := os.ReadFile(p + "/comm")
			names = append(names, fmt.Sprintf("%q (%s)", bytes.TrimSpace(comm), filepath.Base(p)))
		}
	}
	switch {
	case len(names) == 0:
		return "programs"
	case len(names) > holdersMost:
		return strings.Join(names[:holdersMost], ", ") + " and others"
	}
	return strings.Join(names, ", ")
}

func holds(proc string, within func(string) bool) bool {
	for _, link := range []string{"/cwd", "/root", "/exe"} {
		if to, err := os.Readlink(proc + link); err == nil && within(to) {
			return true
		}
	}
	fds, _ := os.ReadDir(proc + "/fd")
	for _, fd := range fds {
		if to, err := os.Readlink(proc + "/fd/" + fd.Name()); err == nil && within(to) {
			return true
		}
	}
	maps, _ := os.ReadFile(proc + "/maps")
	for line := range bytes.Lines(maps) {
		if i := bytes.IndexByte(line, '/'); i >= 0 && within(string(bytes.TrimSpace(line[i:]))) {
			return true
		}
	}
	return false
}
