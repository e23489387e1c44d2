package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"
	"golang.org/x/term"

	"megafs/cmd/megafs/control"
	"megafs/fs/volume"
)

var statusCommand = &cli.Command{
	Name: "status", Usage: "what is cached, waiting, being sent, and what went wrong", ArgsUsage: "[MOUNTPOINT]",
	Description: "   megafs status\n   megafs status --watch ~/mega\n   megafs status --json ~/mega | jq .dirty_bytes",
	Flags: []cli.Flag{
		&cli.BoolFlag{Name: "json", Usage: "for scripts"},
		&cli.BoolFlag{Name: "watch", Aliases: []string{"w"}, Usage: "show it anew every second, until everything is sent"},
	},
	Action: func(c *cli.Context) error {
		mnt, err := argument(c, "MOUNTPOINT", false)
		if err != nil {
			return err
		}
		for {
			list, err := chosen(c.Context, mnt)
			if err != nil {
				return err
			}
			if c.Bool("watch") && term.IsTerminal(int(os.Stdout.Fd())) {
				fmt.Fprint(c.App.Writer, "\x1b[H\x1b[2J")
			}
			dirty := 0
			for _, m := range list {
				dirty += m.DirtyFiles
				if err := m.show(c.App.Writer, c.Bool("json")); err != nil {
					return err
				}
			}
			if !c.Bool("watch") || dirty == 0 {
				return nil
			}
			time.Sleep(time.Second)
		}
	},
}

// chosen returns the mount that was asked for, or all of them.
func chosen(ctx context.Context, mnt string) ([]mounted, error) {
	if mnt == "" {
		if list := running(ctx); len(list) > 0 {
			return list, nil
		}
	}
	m, _, err := find(ctx, mnt)
	if err != nil {
		return nil, err
	}
	return []mounted{*m}, nil
}

func (m *mounted) show(w io.Writer, asJSON bool) error {
	if asJSON {
		e := json.NewEncoder(w)
		e.SetIndent("", "  ")
		return e.Encode(m.status)
	}
	m.print(w)
	return nil
}

func (m *mounted) print(w io.Writer) {
	s := &m.status
	fmt.Fprintf(w, "%s on %s: %s (process %d)\n", s.Remote, s.MountPoint, s.State, s.PID)
	if s.Away > 0 {
		fmt.Fprintf(w, "  store     has not answered for %v; changes wait in the journal, and are sent when it does\n", time.Duration(s.Away*float64(time.Second)).Round(time.Second))
	}
	if v := s.Vault; v != nil && !v.HeadTime.IsZero() {
		fmt.Fprintf(w, "  state     entry %d, made %s\n", v.Head, ago(time.Since(v.HeadTime)))
	}
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
	if s.OverQuota > 0 {
		fmt.Fprintf(w, "  quota     of transfers is used up; %v until there is some again\n", time.Duration(s.OverQuota*float64(time.Second)).Round(time.Second))
	}
	if s.RemoteTotal > 0 {
		fmt.Fprintf(w, "  store     %s of %s used\n", formatSize(int64(s.RemoteUsed)), formatSize(int64(s.RemoteTotal)))
	}
	fmt.Fprintf(w, "  traffic   %s up, %s down%s\n", formatSize(int64(s.BytesUp)), formatSize(int64(s.BytesDown)), s.Limits)
	fmt.Fprintf(w, "  requests  %s\n", s.requests())
	if g := s.GC; g != nil && g.Error != "" {
		fmt.Fprintf(w, "  garbage   not collected: %s\n", g.Error)
	} else if g != nil && g.Report != nil {
		fmt.Fprintf(w, "  garbage   %d objects removed, %d wait\n", g.Report.Removed, g.Report.Waiting)
	}
	if s.LastError != "" {
		fmt.Fprintf(w, "  last error %s\n", s.LastError)
	}
}

// requests tells what the store was asked, by kind, with the bytes that came or went.
func (s *status) requests() string {
	var parts []string
	for _, kind := range slices.Sorted(maps.Keys(s.Requests)) {
		p := fmt.Sprintf("%d %s", s.Requests[kind], kind)
		if n := s.Bytes[kind]; n > 0 {
			p += fmt.Sprintf(" (%s)", formatSize(int64(n)))
		}
		parts = append(parts, p)
	}
	if len(parts) == 0 {
		return "none yet"
	}
	return strings.Join(parts, ", ")
}

var whyCommand = &cli.Command{
	Name: "why", Usage: "where a file's bytes are, and what it waits for", ArgsUsage: "PATH",
	Description: "   megafs why ~/mega/film.mkv",
	Flags:       []cli.Flag{&cli.BoolFlag{Name: "json", Usage: "for scripts"}},
	Action: func(c *cli.Context) error {
		path, err := argument(c, "PATH", true)
		if err != nil {
			return err
		}
		m, rel, err := find(c.Context, path)
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
		fmt.Fprintf(c.App.Writer, "%q: %s\n", path, y.State)
		if y.Reason != "" {
			fmt.Fprintf(c.App.Writer, "  %s\n", y.Reason)
		}
		fmt.Fprintf(c.App.Writer, "  inode %d, %s: %s stored, %s only in the journal, %s holes\n",
			y.Inode, formatSize(int64(y.Size)), formatSize(int64(y.Stored)), formatSize(int64(y.Dirty)), formatSize(int64(y.Holes)))
		return nil
	},
}
