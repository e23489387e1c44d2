package main

import (
	"context"
	"fmt"
	"os"
	"strings"

	"github.com/urfave/cli/v2"

	"megafs/cmd/megafs/control"
	"megafs/remote"
)

var linkCommand = &cli.Command{
	Name: "link", Usage: "make, or take back, the public link of a file in a mounted MEGA account", ArgsUsage: "PATH",
	Description: "Whoever has the link can read the file, and its later versions need a link of their own.\n\n" +
		"   megafs link ~/mega/film.mkv\n   megafs link --remove ~/mega/film.mkv",
	Flags: []cli.Flag{&cli.BoolFlag{Name: "remove", Usage: "take the link back"}},
	Action: func(c *cli.Context) error {
		path, err := argument(c, "PATH", true)
		if err != nil {
			return err
		}
		m, rel, err := find(c.Context, path)
		if err != nil {
			return err
		}
		var link string
		if err := m.Call(c.Context, control.Request{Op: opLink, Path: []byte(rel), Lazy: c.Bool("remove")}, &link); err != nil {
			return err
		}
		if link != "" {
			fmt.Fprintln(c.App.Writer, link)
		}
		return nil
	},
}

// link makes a public link, or takes it back.
func (x *served) link(ctx context.Context, path string, remove bool) (string, error) {
	if x.mega == nil {
		return "", usage("links are for MEGA accounts; this is a vault")
	}
	y, err := x.volume.Why(ctx, path)
	if err != nil {
		return "", err
	}
	return x.mega.PublicLink(ctx, remote.Ino(y.Inode), remove)
}

// whatAndWhere returns the remote and the mount point that mount is given; a public link may stand before the mount point.
func whatAndWhere(c *cli.Context) (url, mnt string, err error) {
	link := c.Args().First()
	if c.NArg() != 2 || !strings.HasPrefix(link, "https://") && !strings.HasPrefix(link, "http://") {
		mnt, err = argument(c, "MOUNTPOINT", true)
		return c.String("remote"), mnt, err
	}
	if c.IsSet("remote") && os.Getenv("MEGAFS_REMOTE") == "" {
		return "", "", usage("what is mounted is the link or --remote, not both")
	}
	if !strings.Contains(link, "#") {
		return "", "", usage("the link has no key, which stands behind a #; quote it, or the shell may take it away")
	}
	if c.Args().Get(1) == "" {
		return "", "", usage("the MOUNTPOINT is empty; is a variable of the shell not set?")
	}
	return link, c.Args().Get(1), nil
}
