package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"testing"

	"megafs/cmd/megafs/control"
)

// FuzzSize: what is taken for a size is one, and a plain number means itself.
func FuzzSize(f *testing.F) {
	for _, s := range []string{"", "64M", "1.5G", "10 GiB", "-1", "1e30", "inf", "nan", "0x10p1", "K", "1T", "9007199254740993", " 5b ", "1KiBB"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		n, err := parseSize(s)
		if err != nil {
			return
		}
		if n < 0 || n > 1<<60 {
			t.Errorf("%q is %d", s, n)
		}
		if want, err := strconv.ParseInt(s, 10, 53); err == nil && n != want {
			t.Errorf("%q is %d", s, n)
		}
		if again, err := parseSize(strconv.FormatInt(n, 10)); err != nil || n < 1<<53 && again != n {
			t.Errorf("%d is no size: %v", n, err)
		}
		formatSize(n)
	})
}

// FuzzURL: what is taken for a remote is an absolute folder or a place in a bucket, and its URL means the same again.
func FuzzURL(f *testing.F) {
	for _, s := range []string{"", "dir:", "dir:/a/../b", "dir:relative", "mega:", "dir:/a\x00b", "DIR:/x", "dir:dir:/x", "file:///x", "s3://h/b", "s3://H:9/b/p?region=r&path-style=1&ca=/x", "s3://u:p@h/b",
		"mega:me@example.com", "mega://me@example.com@h:1", "mega+http://a@b@127.0.0.1", "https://mega.nz/folder/abcdefgh#AAAAAAAAAAAAAAAAAAAAAA"} {
		f.Add(s, "", "")
	}
	f.Add("dir:/a", "state", "/cache")
	f.Fuzz(func(t *testing.T, url, state, cache string) {
		p, err := newProfile(url, state, cache)
		if err != nil {
			return
		}
		if p.Mega != nil && p.Mega.Link != "" {
			return // its URL has no key any more, and is no remote
		}
		if n := len(p.Dir); (p.Mega == nil) == ((n == 0) == (p.S3 == nil)) {
			t.Errorf("%q is not one of a folder, a bucket and an account: %+v", url, p)
		}
		for _, d := range []string{p.Dir, p.State, p.Cache, p.KeyFile} {
			if d == "" && (p.S3 != nil || p.Mega != nil) {
				continue
			}
			if !filepath.IsAbs(d) || filepath.Clean(d) != d {
				t.Errorf("%q has the folder %q", url, d)
			}
		}
		again, err := newProfile(p.URL, state, cache)
		if err != nil {
			t.Fatal(err)
		}
		p.Embedded = false
		if !reflect.DeepEqual(again, p) {
			t.Errorf("%+v became %+v", p, again)
		}
	})
}

// FuzzMounts: whatever a mount point is called, it is found among the mounts as it is called.
func FuzzMounts(f *testing.F) {
	for _, s := range []string{"/mnt", "/with space", "/new\nline\ttab", `/back\slash\040`, "/no\u00a0break", "/\u3000", "/\v\f\r", "/ - fuse.mega x", "/\xff"} {
		f.Add(s, "36 35 98:0 / /mnt1 rw,noatime master:1 - ext3 /dev/root rw\n")
	}
	f.Add("/x", "garbage - fuse.mega \n - \n 1 2 3 4 5 - fuse.mega")
	escape := strings.NewReplacer(" ", `\040`, "\t", `\011`, "\n", `\012`, `\`, `\134`, "#", `\043`)
	f.Fuzz(func(t *testing.T, mnt, rest string) {
		mnt = "/" + strings.ReplaceAll(mnt, "\x00", "")
		line := fmt.Sprintf("%s\n36 35 0:30 / %s rw,nosuid shared:1 - fuse.mega %s rw\n", rest, escape.Replace(mnt), "dir:/x")
		list := parseMounts(line)
		if len(list) == 0 || list[len(list)-1] != mnt {
			t.Errorf("%q is among the mounts as %q", mnt, list)
		}
	})
}

// FuzzWait: --wait takes a duration or nothing.
func FuzzWait(f *testing.F) {
	for _, s := range []string{"true", "5s", "-1h", "1", "", "9999999h"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		var w waitFlag
		if err := w.Set(s); err == nil && w.d < 0 {
			t.Errorf("%q is a wait of %v", s, w.d)
		}
	})
}

// FuzzPassphraseLine: a passphrase is the first line of what a file or a program gives.
func FuzzPassphraseLine(f *testing.F) {
	for _, s := range []string{"", "\n", "a phrase\n", "a\r\nb", "no end", strings.Repeat("x", 5000)} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := firstLine(bytes.NewReader(b))
		if err != nil {
			return
		}
		if s.Len() == 0 || s.Len() > maxPassphrase || bytes.ContainsAny(s.Bytes(), "\n") || !bytes.HasPrefix(b, s.Bytes()) {
			t.Errorf("%q of %q", s.Bytes(), b)
		}
	})
}

// FuzzStatus shows what a process answered that may be another version's, or none of ours.
func FuzzStatus(f *testing.F) {
	whole, err := json.Marshal(status{Remote: "dir:/x", MountPoint: "/mnt", PID: 7})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(whole)
	f.Add([]byte(`{"uploading":[{"bytes":-1}],"failed":[{"inode":1,"reason":"x"}],"journal_bytes":-9223372036854775808}`))
	f.Add([]byte(`null`))
	f.Fuzz(func(t *testing.T, b []byte) {
		m := mounted{Peer: &control.Peer{}}
		if json.Unmarshal(b, &m.status) != nil {
			return
		}
		if err := m.show(io.Discard, false); err != nil {
			t.Error(err)
		}
		if err := m.show(io.Discard, true); err != nil {
			t.Error(err)
		}
	})
}
