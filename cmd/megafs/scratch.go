package main

import (
	"errors"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"megafs/remote"
)

// scratch is a folder in the cache that goes with who made it. It is locked meanwhile; one that is not was left by somebody who was killed.
type scratch struct {
	dir  string
	lock *os.File
}

func newScratch(cache, kind string) (*scratch, error) {
	if err := os.MkdirAll(cache, 0o700); err != nil {
		return nil, remote.E("make the cache folder", cache, remote.IO, err)
	}
	if err := private(cache); err != nil {
		return nil, err
	}
	sweepScratch(cache, kind)
	dir, err := os.MkdirTemp(cache, kind+"-")
	if err != nil {
		return nil, remote.E("make a folder", cache, remote.IO, err)
	}
	// The lock is held before it has the name that others look for.
	early := filepath.Join(dir, "locking")
	f, err := os.OpenFile(early, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err == nil {
		if err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err == nil {
			err = os.Rename(early, filepath.Join(dir, "in-use"))
		}
		if err != nil {
			f.Close()
		}
	}
	if err != nil {
		os.RemoveAll(dir)
		return nil, remote.E("lock a folder", dir, remote.IO, err)
	}
	return &scratch{dir, f}, nil
}

func sweepScratch(cache, kind string) {
	old, _ := filepath.Glob(filepath.Join(cache, kind+"-*"))
	for _, d := range old {
		f, err := os.OpenFile(filepath.Join(d, "in-use"), os.O_RDWR, 0)
		if err != nil {
			continue // being made just now
		}
		if unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) == nil {
			os.RemoveAll(d)
		}
		f.Close()
	}
}

func (s *scratch) remove() error {
	err := os.RemoveAll(s.dir)
	if err != nil {
		err = remote.E("remove", s.dir, remote.IO, err)
	}
	return errors.Join(err, s.lock.Close())
}
