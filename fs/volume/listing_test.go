package volume

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"sort"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"megafs/remote"
)

// listed is one path of a listing, as scripts/decode prints it.
type listed struct {
	Path   string            `json:"path"`
	Ino    uint64            `json:"ino"`
	Type   string            `json:"type"`
	Mode   string            `json:"mode"`
	UID    uint32            `json:"uid"`
	GID    uint32            `json:"gid"`
	Mtime  int64             `json:"mtime"`
	Atime  int64             `json:"atime"`
	Ctime  int64             `json:"ctime"`
	Btime  int64             `json:"btime"`
	Size   uint64            `json:"size,omitempty"`
	Data   uint64            `json:"data,omitempty"` // bytes that are no hole
	SHA256 string            `json:"sha256,omitempty"`
	Target string            `json:"target,omitempty"`
	Rdev   uint32            `json:"rdev,omitempty"`
	Links  uint32            `json:"links,omitempty"`
	Xattrs map[string]string `json:"xattrs,omitempty"`

	raw string
}

var typeNames = map[remote.Type]string{
	remote.File: "file", remote.Dir: "dir", remote.Symlink: "symlink", remote.Fifo: "fifo", remote.Socket: "socket",
	remote.CharDev: "chardev", remote.BlockDev: "blockdev",
}

// escaped writes bytes that are no UTF-8 as \xNN and a backslash as two.
func escaped(s string) string {
	var b strings.Builder
	for len(s) > 0 {
		r, n := utf8.DecodeRuneInString(s)
		switch {
		case r == utf8.RuneError && n == 1:
			fmt.Fprintf(&b, `\x%02x`, s[0])
		case r == '\\':
			b.WriteString(`\\`)
		default:
			b.WriteString(s[:n])
		}
		s = s[n:]
	}
	return b.String()
}

// list is the listing of a whole volume, read as the kernel would have it read.
func list(t *testing.T, v *Volume) (out []listed) {
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	var walk func(path string, ino remote.Ino)
	walk = func(path string, ino remote.Ino) {
		s, err := v.Getattr(ctx, ino)
		must(err)
		l := listed{
			Path: escaped(path), raw: path, Ino: uint64(ino), Type: typeNames[s.Type], Mode: fmt.Sprintf("%04o", s.Mode), UID: s.UID, GID: s.GID,
			Mtime: int64(s.Mtime), Atime: int64(s.Atime), Ctime: int64(s.Ctime), Btime: int64(s.Btime), Rdev: s.Rdev, Target: escaped(s.Target),
		}
		if s.Type != remote.Dir {
			l.Links = s.Nlink
		}
		names, err := v.Listxattr(ctx, ino)
		must(err)
		for _, n := range names {
			x, err := v.Getxattr(ctx, ino, n)
			must(err)
			if l.Xattrs == nil {
				l.Xattrs = map[string]string{}
			}
			l.Xattrs[escaped(n)] = hex.EncodeToString(x)
		}
		if s.Type == remote.File {
			l.Size = s.Size
			spans, err := v.tree.Data(ino, 0, s.Size)
			must(err)
			for _, x := range spans {
				l.Data += x.End - x.Off
			}
			h, err := v.Open(ctx, ino, false, false)
			must(err)
			sum, buf := sha256.New(), make([]byte, 1<<20)
			for off := uint64(0); off < s.Size; {
				n, err := h.ReadAt(ctx, buf, off)
				must(err)
				if n == 0 {
					t.Fatal(l.Path, "ends too early")
				}
				sum.Write(buf[:n])
				off += uint64(n)
			}
			h.Close()
			l.SHA256 = hex.EncodeToString(sum.Sum(nil))
		}
		out = append(out, l)
		if s.Type != remote.Dir {
			return
		}
		dir, err := v.List(ctx, ino)
		must(err)
		for _, d := range dir {
			to := d.Name
			if ino != remote.Root {
				to = path + "/" + d.Name
			}
			walk(to, d.Ino)
		}
	}
	walk(".", remote.Root)
	sort.Slice(out, func(i, j int) bool { return out[i].raw < out[j].raw })
	for i := range out {
		out[i].raw = ""
	}
	return out
}

// sameListing compares listings path by path.
func sameListing(t *testing.T, got, want []listed) {
	t.Helper()
	if len(got) != len(want) {
		t.Errorf("%d paths, want %d", len(got), len(want))
	}
	for i := range min(len(got), len(want)) {
		if !reflect.DeepEqual(got[i], want[i]) {
			t.Errorf("got\n  %+v\nwant\n  %+v", got[i], want[i])
		}
	}
}

// extracted compares what the decoder gave out with a listing.
func extracted(t *testing.T, dir string, want []listed) {
	t.Helper()
	for _, l := range want {
		if strings.Contains(l.Path, `\`) {
			continue // escaped; the others do
		}
		path := filepath.Join(dir, l.Path)
		st, err := os.Lstat(path)
		switch l.Type {
		case "fifo", "socket", "chardev", "blockdev":
			if err == nil {
				t.Error("was made:", l.Path)
			}
			continue
		}
		if err != nil || l.Type != "symlink" && fmt.Sprintf("%04o", st.Mode().Perm()) != "0"+l.Mode[1:] || st.ModTime().UnixNano() != l.Mtime {
			t.Errorf("%q: %v %v", l.Path, st, err)
			continue
		}
		switch l.Type {
		case "file":
			b, err := os.ReadFile(path)
			if sum := sha256.Sum256(b); err != nil || hex.EncodeToString(sum[:]) != l.SHA256 {
				t.Errorf("%q has other content: %v", l.Path, err)
			}
		case "symlink":
			if to, err := os.Readlink(path); err != nil || escaped(to) != l.Target {
				t.Errorf("%q leads to %q: %v", l.Path, to, err)
			}
		}
	}
}

// python returns a Python that has what the decoder needs. Without one the test is skipped, but in CI it fails.
func python(t *testing.T) string {
	t.Helper()
	for _, p := range []string{"/usr/bin/python3", "python3"} {
		if exec.Command(p, "-c", "import argon2, cryptography.hazmat.primitives.ciphers.aead").Run() == nil {
			return p
		}
	}
	const need = "the decoder needs Python 3 with the modules cryptography and argon2; scripts/test installs them"
	if os.Getenv("CI") != "" {
		t.Fatal(need)
	}
	t.Skip(need)
	return ""
}

// decode runs the decoder on a vault's folder.
func decode(t *testing.T, python, folder string, args ...string) ([]listed, error) {
	t.Helper()
	c, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	script, err := filepath.Abs("../../scripts/decode")
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(c, python, append([]string{"-B", script, folder}, args...)...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	b, err := cmd.Output()
	if err != nil {
		return nil, errors.New(strings.TrimSpace(stderr.String()))
	}
	var out []listed
	if err := json.Unmarshal(b, &out); err != nil {
		t.Fatal(err)
	}
	return out, nil
}
