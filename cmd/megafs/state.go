package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"megafs/remote"
)

// stateLock keeps others off a state folder while it is in use.
type stateLock struct{ f *os.File }

// holder is what the lock file says of who has it.
type holder struct {
	PID        int    `json:"pid"`
	MountPoint string `json:"mountpoint"`
}

// lockState takes a state folder, or says who has it.
func lockState(dir, mountPoint string) (*stateLock, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, remote.E("make the state folder", dir, remote.IO, err)
	}
	if err := private(dir); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, remote.E("lock the state folder", dir, remote.IO, err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		var h holder
		b, _ := io.ReadAll(io.LimitReader(f, 1<<16))
		f.Close()
		json.Unmarshal(b, &h)
		if h.MountPoint == "" {
			return nil, remote.E("use the state folder", dir, remote.Busy, fmt.Errorf("a megafs command, process %d, is using it; wait for it to end", h.PID))
		}
		return nil, remote.E("use the state folder", dir, remote.Busy, fmt.Errorf("process %d has the vault mounted on %s; unmount that first, or use the mount there is", h.PID, h.MountPoint))
	}
	b, _ := json.Marshal(holder{os.Getpid(), mountPoint})
	f.Truncate(0)
	f.WriteAt(b, 0)
	return &stateLock{f}, nil
}

func (l *stateLock) release() { l.f.Close() }

// private fails for a folder that others could change or read.
func private(dir string) error {
	var st unix.Stat_t
	if err := unix.Lstat(dir, &st); err != nil {
		return remote.E("look at", dir, remote.IO, err)
	}
	switch {
	case st.Mode&unix.S_IFMT != unix.S_IFDIR:
		return remote.E("use", dir, remote.NotDir, errors.New("it must be a folder, not a link to one"))
	case int(st.Uid) != os.Geteuid():
		return remote.E("use", dir, remote.Permission, errors.New("the folder belongs to somebody else"))
	case st.Mode&0o022 != 0:
		return remote.E("use", dir, remote.Permission, fmt.Errorf("others may write there; chmod 700 %s", dir))
	}
	return nil
}

// mounts returns the mount points of megafs on this machine.
func mounts() []string {
	b, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil
	}
	return parseMounts(string(b))
}

// parseMounts finds the mount points of megafs in the text of a mountinfo. Its fields end at a space and at nothing else: names may have other
// characters that count as white space.
func parseMounts(text string) (out []string) {
	for line := range strings.SplitSeq(text, "\n") {
		left, right, ok := strings.Cut(line, " - ")
		f := strings.Split(left, " ")
		if ok && len(f) >= 5 && strings.HasPrefix(right, "fuse.mega ") {
			out = append(out, unescape(f[4]))
		}
	}
	return out
}

// unescape undoes mountinfo's octal escapes.
func unescape(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+3 < len(s) {
			if c, err := strconv.ParseUint(s[i+1:i+4], 8, 8); err == nil {
				b.WriteByte(byte(c))
				i += 3
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// cleanStale takes away what a serving process left that died.
func cleanStale(mnt string) error {
	if lookAtMount(mnt) == lost {
		return detach(mnt, true)
	}
	return nil
}

// detach unmounts, with the helper of the FUSE tools where we may not ourselves.
func detach(mnt string, lazy bool) error {
	flags := unix.UMOUNT_NOFOLLOW
	if lazy {
		flags |= unix.MNT_DETACH
	}
	err := unix.Unmount(mnt, flags)
	if err == nil || !errors.Is(err, unix.EPERM) {
		if err != nil {
			err = remote.E("unmount", mnt, remote.Busy, err)
		}
		return err
	}
	arg := "-u"
	if lazy {
		arg = "-uz"
	}
	if out, err := exec.Command("fusermount3", arg, "--", mnt).CombinedOutput(); err != nil {
		return remote.E("unmount", mnt, remote.Busy, errors.New(strings.TrimSpace(string(out))))
	}
	return nil
}
