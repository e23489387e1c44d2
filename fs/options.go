package fs

import (
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"megafs/remote"
)

// attachment is how to mount.
type attachment struct {
	flags      uintptr // MS_*
	fsName     string
	allowOther bool
	nonempty   bool
}

// flagWords are the options that are flags of a mount, by the bit they set.
var flagWords = []struct {
	word, not string
	bit       uintptr
}{
	{"ro", "rw", unix.MS_RDONLY},
	{"noexec", "exec", unix.MS_NOEXEC},
	{"noatime", "atime", unix.MS_NOATIME},
	{"nodiratime", "diratime", unix.MS_NODIRATIME},
	{"nosymfollow", "symfollow", unix.MS_NOSYMFOLLOW},
	{"sync", "async", unix.MS_SYNCHRONOUS},
	{"dirsync", "", unix.MS_DIRSYNC},
	{"nosuid", "", unix.MS_NOSUID},
	{"nodev", "", unix.MS_NODEV},
}

// ignored are options that hold anyway or that only fstab's readers care about.
var ignored = []string{"defaults", "default_permissions", "acl", "relatime", "auto", "noauto", "user", "nouser", "users", "_netdev", "nofail"}

// CheckOptions checks lists of options, as mount -o has them, before anything is done for a mount with them.
func CheckOptions(lists []string) error {
	_, err := (&Options{Extra: lists}).parse()
	return err
}

// parse checks the options. Programs with other rights never come from the vault (nosuid), nor do devices (nodev), and modes
// are always the kernel's to check: no option turns these off.
func (o *Options) parse() (*attachment, error) {
	how := &attachment{fsName: o.FsName, allowOther: o.AllowOther, flags: unix.MS_NOSUID | unix.MS_NODEV}
	bad := func(format string, a ...any) (*attachment, error) {
		return nil, remote.E("mount", o.MountPoint, remote.Invalid, fmt.Errorf(format, a...))
	}
	if strings.ContainsFunc(o.FsName, func(r rune) bool { return r < ' ' || r == 0x7f || r == ',' || r == '\\' }) {
		return bad("the file system's name %q has characters that mount does not take", o.FsName)
	}
next:
	for _, word := range splitOptions(o.Extra) {
		for _, f := range flagWords {
			switch word {
			case f.word:
				how.flags |= f.bit
				continue next
			case f.not:
				how.flags &^= f.bit
				continue next
			}
		}
		switch {
		case word == "allow_other":
			how.allowOther = true
		case word == "nonempty":
			how.nonempty = true
		case word == "suid" || word == "dev":
			return bad("-o %s is not possible: programs and devices from a store never get rights of their own", word)
		case slices.Contains(ignored, word), strings.HasPrefix(word, "x-"), strings.HasPrefix(word, "comment="):
		default:
			return bad("-o %s is not known; known are ro, rw, noexec, exec, noatime, nodiratime, nosymfollow, sync, dirsync, allow_other and nonempty", word)
		}
	}
	if o.ReadOnly {
		how.flags |= unix.MS_RDONLY
	}
	return how, nil
}

// splitOptions takes lists apart: -o a,b -o c.
func splitOptions(lists []string) (words []string) {
	for _, l := range lists {
		for w := range strings.SplitSeq(l, ",") {
			if w = strings.TrimSpace(w); w != "" {
				words = append(words, w)
			}
		}
	}
	return words
}

// data are the file system's own options.
func (how *attachment) data() []string {
	d := []string{"default_permissions", fmt.Sprintf("max_read=%d", maxWrite)}
	if how.allowOther {
		d = append(d, "allow_other")
	}
	return d
}

// helperOptions are all options, as fusermount3 takes them.
func (how *attachment) helperOptions() []string {
	d := append(how.data(), "fsname="+how.fsName, "subtype="+subtype)
	for _, f := range flagWords {
		if how.flags&f.bit != 0 {
			d = append(d, f.word)
		}
	}
	return d
}
