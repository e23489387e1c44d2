package fs

import (
	"bytes"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// FuzzOptions: whatever words come after -o, programs and devices of a store get no rights, and the helper is told nothing but options.
func FuzzOptions(f *testing.F) {
	f.Add("ro,noexec", "megafs")
	f.Add("suid", "")
	f.Add(" rw , x-foo=bar,comment=,user", "a b")
	f.Add("allow_other,nonempty,async", "a,dev")
	f.Fuzz(func(t *testing.T, extra, name string) {
		o := Options{Extra: []string{extra}, FsName: name, ReadOnly: len(extra)%2 == 0}
		how, err := o.parse()
		if err != nil {
			return
		}
		if must := uintptr(unix.MS_NOSUID | unix.MS_NODEV); how.flags&must != must || o.ReadOnly && how.flags&unix.MS_RDONLY == 0 {
			t.Errorf("flags %x", how.flags)
		}
		list := strings.Join(how.helperOptions(), ",")
		for _, w := range strings.Split(list, ",") {
			if w == "suid" || w == "dev" || w == "exec" && how.flags&unix.MS_NOEXEC != 0 {
				t.Errorf("%q among %q", w, list)
			}
		}
		if strings.ContainsAny(list, "\n\x00\\") || strings.Count(list, "fsname=") != 1+strings.Count(name, "fsname=") {
			t.Errorf("%q", list)
		}
	})
}

// FuzzThreadStatus reads what the kernel tells of a thread: signals that wait are seen whatever stands around them.
func FuzzThreadStatus(f *testing.F) {
	f.Add([]byte("Name:\tx\nGroups:\t1 2 3\n"), []byte("SigIgn:\t0000000000001000\n"))
	f.Add(bytes.Repeat([]byte("Groups: 12345678\t"), 5000), []byte(nil))
	f.Fuzz(func(t *testing.T, before, after []byte) {
		if bytes.Contains(before, []byte("Sig")) || bytes.Contains(after, []byte("Sig")) {
			return
		}
		status := append(append(bytes.Clone(before), "\nSigPnd:\t0000000000000002\n"...), after...)
		if !asking(status) {
			t.Error("an interrupt that waits was not seen")
		}
		asking(before)
	})
}
