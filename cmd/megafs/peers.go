package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"megafs/cmd/megafs/control"
	"megafs/remote"
)

// mounted is a serving process and what it said of itself.
type mounted struct {
	*control.Peer
	status
}

// askTimeout is how long a serving process may take to tell its status: it answers from memory.
const askTimeout = 5 * time.Second

// running returns all mounts of this user that answer.
func running(ctx context.Context) []mounted {
	var out []mounted
	for _, p := range control.Peers(control.Folders()) {
		c, cancel := context.WithTimeout(ctx, askTimeout)
		m := mounted{Peer: p}
		if err := p.Call(c, control.Request{Op: opStatus}, &m.status); err == nil {
			out = append(out, m)
		}
		cancel()
	}
	return out
}

// realParent returns the absolute path of something, with no symbolic links in the folders that lead there, as the kernel
// names mount points. What is there itself may be a link, or nothing. Folders that do not exist stay as they are.
func realParent(path string) (string, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return "", err
	}
	dir, err := filepath.EvalSymlinks(filepath.Dir(abs))
	if err != nil {
		return abs, nil
	}
	return filepath.Join(dir, filepath.Base(abs)), nil
}

// within reports whether an absolute path is a folder or lies in it.
func within(path, dir string) bool {
	rel, err := filepath.Rel(dir, path)
	return err == nil && rel != ".." && !strings.HasPrefix(rel, "../")
}

// find returns the mount that a path lies in, and the path within it. An empty path means the only mount there is.
func find(ctx context.Context, path string) (*mounted, string, error) {
	return findBehind(ctx, path, 40)
}

// findBehind is find that follows so many links to a mount.
func findBehind(ctx context.Context, path string, links int) (*mounted, string, error) {
	all := running(ctx)
	if path == "" {
		switch len(all) {
		case 0:
			return nil, "", remote.E("find a mount", "", remote.NotExist, errors.New("no vault is mounted by this user"))
		case 1:
			return &all[0], "", nil
		}
		var where []string
		for _, m := range all {
			where = append(where, m.MountPoint)
		}
		return nil, "", usage("several vaults are mounted; say which: %s", strings.Join(where, ", "))
	}
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, "", err
	}
	// The path as it is written comes first: it needs no answer of the mount.
	tries := []string{abs}
	if p, err := realParent(abs); err == nil {
		tries = append(tries, p)
	}
	var best *mounted
	var in string
	for i := range all {
		for _, p := range tries {
			if within(p, all[i].MountPoint) && (best == nil || len(all[i].MountPoint) > len(best.MountPoint)) {
				best = &all[i]
				in, _ = filepath.Rel(best.MountPoint, p)
			}
		}
	}
	if best == nil {
		at := tries[len(tries)-1]
		for _, m := range mounts() {
			if within(at, m) {
				return nil, "", noMount(path, m, lookAtMount(m))
			}
		}
		// Only now: a link in a mount is what was asked for, and a mount that does not answer must not be asked where one leads.
		if to, err := os.Readlink(at); err == nil && links > 0 {
			if !filepath.IsAbs(to) {
				to = filepath.Join(filepath.Dir(at), to)
			}
			return findBehind(ctx, to, links-1)
		}
		return nil, "", noMount(path, "", unmounted)
	}
	return best, in, nil
}

// noMount says why a path leads to no process that answers, and what to do. mnt is the mount point it lies in, if there is one.
func noMount(path, mnt string, c condition) error {
	kind, say := remote.NotExist, errors.New("no vault is mounted there by this user")
	switch c {
	case lost:
		say = fmt.Errorf("the process that served %s is gone; mount it again, what was not sent is in the journal", mnt)
	case silent:
		kind, say = remote.Busy, fmt.Errorf("the process that serves %s does not answer; if it is stopped, let it go on (kill -CONT), or take the mount away with megafs umount --lazy", mnt)
	}
	return remote.E("find a mount", path, kind, say)
}

// waiting tells in words what a mount has not sent yet.
func (m *mounted) waiting() string {
	if m.DirtyFiles == 0 {
		return "everything is sent"
	}
	s := fmt.Sprintf("%d changed files and folders, %s, are still to be sent", m.DirtyFiles, formatSize(m.DirtyBytes))
	if m.LastError != "" {
		s += "; the store does not take them: " + m.LastError
	}
	return s
}
