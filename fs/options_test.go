package fs

import (
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"megafs/remote"
)

func TestOptions(t *testing.T) {
	const always = unix.MS_NOSUID | unix.MS_NODEV
	for _, x := range []struct {
		extra []string
		ro    bool
		flags uintptr
		err   string // part of it; "" is none
	}{
		{nil, false, always, ""},
		{nil, true, always | unix.MS_RDONLY, ""},
		{[]string{"rw"}, true, always | unix.MS_RDONLY, ""},
		{[]string{"ro,noexec", "noatime, dirsync,"}, false, always | unix.MS_RDONLY | unix.MS_NOEXEC | unix.MS_NOATIME | unix.MS_DIRSYNC, ""},
		{[]string{"noexec,exec"}, false, always, ""},
		{[]string{"nosuid,nodev,defaults,_netdev,nofail,x-systemd.automount"}, false, always, ""},
		{[]string{"suid"}, false, 0, "never get rights"},
		{[]string{"noatime,dev"}, false, 0, "never get rights"},
		{[]string{"fsname=x"}, false, 0, "not known"},
		{[]string{"max_read=4096"}, false, 0, "not known"},
		{[]string{"fd=3"}, false, 0, "not known"},
		{[]string{"allow_othr"}, false, 0, "not known"},
	} {
		how, err := (&Options{Extra: x.extra, ReadOnly: x.ro}).parse()
		switch {
		case x.err != "":
			if !remote.Is(err, remote.Invalid) || !strings.Contains(err.Error(), x.err) {
				t.Errorf("%q: %v, want an error about %q", x.extra, err, x.err)
			}
		case err != nil:
			t.Errorf("%q: %v", x.extra, err)
		case how.flags != x.flags:
			t.Errorf("%q: flags %#x, want %#x", x.extra, how.flags, x.flags)
		}
	}
	for _, name := range []string{"a,allow_other", `a\`, "a\nb"} {
		if _, err := (&Options{FsName: name}).parse(); !remote.Is(err, remote.Invalid) {
			t.Errorf("a file system named %q: %v", name, err)
		}
	}
}

// TestHelperOptions: whoever mounts, modes are checked and programs get no rights of their own.
func TestHelperOptions(t *testing.T) {
	how, err := (&Options{FsName: "work", Extra: []string{"allow_other,nonempty,noexec"}}).parse()
	if err != nil {
		t.Fatal(err)
	}
	got := how.helperOptions()
	for _, want := range []string{"default_permissions", "nosuid", "nodev", "noexec", "allow_other", "fsname=work", "subtype=mega"} {
		if !slices.Contains(got, want) {
			t.Errorf("%q is missing in %q", want, got)
		}
	}
	if slices.Contains(got, "nonempty") {
		t.Error("fusermount3 knows no nonempty")
	}
}
