package main

import (
	"fmt"
	"os"
	"os/exec"
	"time"

	"github.com/urfave/cli/v2"
	"golang.org/x/sys/unix"

	"megafs/remote"
)

// check is one thing that doctor looks at: what it found, and the mend if that is bad.
type check struct {
	what, found, mend string
}

var doctorCommand = &cli.Command{
	Name: "doctor", Usage: "look for what keeps megafs from working, and say the mend", Flags: remoteFlags(),
	Action: func(c *cli.Context) error {
		p, err := profileOf(c, "")
		if err != nil {
			return err
		}
		bad := 0
		for _, k := range examine(p) {
			mark := "ok  "
			if k.mend != "" {
				mark, bad = "BAD ", bad+1
			}
			fmt.Fprintf(c.App.Writer, "%s %-14s %s\n", mark, k.what, k.found)
			if k.mend != "" {
				fmt.Fprintf(c.App.Writer, "     -> %s\n", k.mend)
			}
		}
		if bad > 0 {
			return remote.E("doctor", "", remote.Other, fmt.Errorf("%d things to mend", bad))
		}
		return nil
	},
}

func examine(p *profile) []check {
	var out []check
	f, err := os.OpenFile("/dev/fuse", os.O_RDWR, 0)
	switch {
	case err == nil:
		f.Close()
		out = append(out, check{"fuse", "/dev/fuse can be opened", ""})
	case os.IsNotExist(err):
		out = append(out, check{"fuse", "/dev/fuse is missing", "load the kernel module: modprobe fuse (in a container: run it with --device /dev/fuse)"})
	default:
		out = append(out, check{"fuse", err.Error(), "let this user open /dev/fuse: chmod 666 /dev/fuse, or be root"})
	}
	if path, err := exec.LookPath("fusermount3"); err == nil {
		out = append(out, check{"fusermount3", path, ""})
	} else if os.Geteuid() != 0 {
		out = append(out, check{"fusermount3", "not found", "install it: apt-get install fuse3"})
	} else {
		out = append(out, check{"fusermount3", "not found; root does not need it", ""})
	}
	if y := time.Now().Year(); y < 2025 || y > 2100 {
		out = append(out, check{"clock", time.Now().Format(time.DateTime), "set the clock; file times come from it"})
	} else {
		out = append(out, check{"clock", time.Now().Format(time.DateTime), ""})
	}
	for _, d := range []struct{ name, path string }{{"vault", p.Dir}, {"state", p.State}, {"cache", p.Cache}} {
		if d.path == "" {
			continue // a bucket
		}
		out = append(out, room(d.name, d.path))
	}
	if err := private(p.State); err != nil && !remote.Is(err, remote.IO) {
		out = append(out, check{"state", err.Error(), "make the folder yours: chown and chmod 700 it"})
	}
	for _, m := range mounts() {
		switch lookAtMount(m) {
		case lost:
			out = append(out, check{"mount", m + " has lost its process", "megafs umount " + m})
		case silent:
			out = append(out, check{"mount", m + " does not answer", "if its process is stopped, let it go on (kill -CONT); else megafs umount --lazy " + m})
		case answers:
			out = append(out, check{"mount", m + " answers", ""})
		}
	}
	return out
}

// room looks whether a folder's disk has any left.
func room(name, path string) check {
	dir := path
	var st unix.Statfs_t
	for unix.Statfs(dir, &st) != nil && dir != "/" {
		dir = parent(dir)
	}
	free := int64(st.Bavail) * st.Bsize
	c := check{name, fmt.Sprintf("%s, %s free", path, formatSize(free)), ""}
	switch {
	case free < 256<<20:
		c.mend = "make room on that disk; changes can't be kept without"
	case unix.Access(dir, unix.W_OK) != nil:
		c.mend = "this user can't write there; check owner and mode"
	}
	return c
}

func parent(p string) string {
	for i := len(p) - 1; i > 0; i-- {
		if p[i] == '/' {
			return p[:i]
		}
	}
	return "/"
}
