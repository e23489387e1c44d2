package main

import (
	"encoding/json"
	"fmt"
	"io"

	"github.com/urfave/cli/v2"

	"megafs/cmd/megafs/control"
	"megafs/fs/volume"
)

var statusCommand = &cli.Command{
	Name: "status", Usage: "what is cached, waiting, being sent, and what went wrong", ArgsUsage: "[MOUNTPOINT]",
	Description: "   megafs status\n   megafs status --json ~/mega | jq .dirty_bytes",
	Flags:       []cli.Flag{&cli.BoolFlag{Name: "json", Usage: "for scripts"}},
	Action: func(c *cli.Context) error {
		var list []mounted
		if c.NArg() > 0 {
			m, _, err := find(c.Context, c.Args().First())
			if err != nil {
				return err
			}
			list = []mounted{*m}
		} else if list = running(c.Context); len(list) == 0 {
			_, _, err := find(c.Context, "")
			return err
		}
		for _, m := range list {
			if c.Bool("json") {
				e := json.NewEncoder(c.App.Writer)
				e.SetIndent("", "  ")
				if err := e.Encode(m.status); err != nil {
					return err
				}
				continue
			}
			m.print(c.App.Writer)
		}
		return nil
	},
}

func (m *mounted) print(w io.Writer) {
	s := &m.status
	fmt.Fprintf(w, "%s on %s: %s (process %d)\n", s.Remote, s.MountPoint, s.State, s.PID)
	fmt.Fprintf(w, "  changes   %s\n", m.waiting())
	for _, u := range s.Uploading {
		fmt.Fprintf(w, "  sending   %s\n", formatSize(u.Bytes))
	}
	for _, f := range s.Failed {
		fmt.Fprintf(w, "  failed    inode %d: %s\n", f.Inode, f.Reason)
	}
	fmt.Fprintf(w, "  journal   %s of %s\n", formatSize(s.JournalBytes), formatSize(s.JournalLimit))
	fmt.Fprintf(w, "  cache     %s of %s\n", formatSize(s.CacheBytes), formatSize(s.CacheLimit))
	fmt.Fprintf(w, "  memory    %s of %s\n", formatSize(s.MemoryBytes), formatSize(s.MemoryLimit))
	if s.RemoteTotal > 0 {
		fmt.Fprintf(w, "  store     %s of %s used\n", formatSize(int64(s.RemoteUsed)), formatSize(int64(s.RemoteTotal)))
	}
	fmt.Fprintf(w, "  traffic   %s up, %s down\n", formatSize(int64(s.BytesUp)), formatSize(int64(s.BytesDown)))
	if s.LastError != "" {
		fmt.Fprintf(w, "  last error %s\n", s.LastError)
	}
}

var whyCommand = &cli.Command{
	Name: "why", Usage: "where a file's bytes are, and what it waits for", ArgsUsage: "PATH",
	Description: "   megafs why ~/mega/film.mkv",
	Flags:       []cli.Flag{&cli.BoolFlag{Name: "json", Usage: "for scripts"}},
	Action: func(c *cli.Context) error {
		if c.NArg() != 1 {
			return usage("why takes one path")
		}
		m, rel, err := find(c.Context, c.Args().First())
		if err != nil {
			return err
		}
		var y volume.Why
		if err := m.Call(c.Context, control.Request{Op: opWhy, Path: []byte(rel)}, &y); err != nil {
			return err
		}
		if c.Bool("json") {
			return json.NewEncoder(c.App.Writer).Encode(y)
		}
		fmt.Fprintf(c.App.Writer, "%q: %s\n", c.Args().First(), y.State)
		if y.Reason != "" {
			fmt.Fprintf(c.App.Writer, "  %s\n", y.Reason)
		}
		fmt.Fprintf(c.App.Writer, "  inode %d, %s: %s stored, %s only in the journal, %s holes\n",
			y.Inode, formatSize(int64(y.Size)), formatSize(int64(y.Stored)), formatSize(int64(y.Dirty)), formatSize(int64(y.Holes)))
		return nil
	},
}
