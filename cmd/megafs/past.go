package main

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"megafs/remote"
)

// pastFlags are those of commands that look at a path's past.
func pastFlags() []cli.Flag {
	return append(remoteFlags(), &cli.StringFlag{Name: "remote", Aliases: []string{"r"}, Usage: "`URL` of a vault that is not mounted; PATH then begins at its root", EnvVars: []string{"MEGAFS_REMOTE"}})
}

// pastOf finds the vault that a path lies in, and the path's names from its root.
func pastOf(c *cli.Context, path string) (p *profile, names []string, err error) {
	rel := path
	if url := c.String("remote"); url != "" {
		p, err = profileOf(c, url)
	} else {
		var m *mounted
		if m, rel, err = find(c.Context, path); err != nil {
			return nil, nil, err
		}
		if p, err = profileOf(c, m.Remote); err == nil && !c.IsSet("state") && m.StateDir != "" {
			p.State = m.StateDir
		}
	}
	for _, n := range strings.Split(filepath.ToSlash(rel), "/") {
		if n != "" && n != "." {
			names = append(names, n)
		}
	}
	return p, names, err
}

// moment reads a point in time: a date, a date and a time, or how long ago, such as 3h or 2d.
func moment(s string, now time.Time) (time.Time, error) {
	if d, err := age(s); err == nil && s != "0" {
		return now.Add(-d), nil
	}
	if t, err := time.Parse(time.RFC3339, s); err == nil {
		return t, nil
	}
	for _, layout := range []string{"2006-01-02 15:04:05", "2006-01-02 15:04", "2006-01-02T15:04:05", "2006-01-02T15:04", "2006-01-02"} {
		if t, err := time.ParseInLocation(layout, s, time.Local); err == nil {
			return t, nil
		}
	}
	return time.Time{}, usage("%q is no time; say \"2006-01-02 15:04\", or how long ago, as 3h or 2d", s)
}

// remembered copies what a state folder remembers of its vault, so that the vault may be mounted meanwhile.
func remembered(from, to string) error {
	files, _ := filepath.Glob(filepath.Join(from, "trust-*"))
	for _, f := range append(files, filepath.Join(from, "keyring")) {
		b, err := os.ReadFile(f)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err == nil {
			err = os.WriteFile(filepath.Join(to, filepath.Base(f)), b, 0o600)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// aside gives a mount of the past folders of its own, which go with it.
func (p *profile) aside() (q *profile, at *scratch, err error) {
	if at, err = newScratch(p.Cache, "at"); err != nil {
		return nil, nil, err
	}
	c := *p
	q = &c
	q.State, q.Cache = filepath.Join(at.dir, "state"), filepath.Join(at.dir, "cache")
	for _, d := range []string{q.State, q.Cache} {
		if err == nil {
			err = os.Mkdir(d, 0o700)
		}
	}
	if err == nil {
		err = remembered(p.State, q.State)
	}
	if err != nil {
		return nil, nil, errors.Join(err, at.remove())
	}
	return q, at, nil
}

// then makes the remote that a mount of the past serves.
func (x *served) then(ctx context.Context) (remote.Remote, error) {
	past, err := x.vault.Past(ctx, nil)
	if err != nil {
		return nil, err
	}
	seq, err := past.At(x.s.At)
	if err != nil {
		return nil, err
	}
	return past.Remote(seq), nil
}
