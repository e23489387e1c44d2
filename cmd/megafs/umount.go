package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/urfave/cli/v2"

	"megafs/cmd/megafs/control"
	"megafs/remote"
)

var umountCommand = &cli.Command{
	Name: "umount", Aliases: []string{"unmount"}, Usage: "unmount, and say what is still to be sent", ArgsUsage: "MOUNTPOINT",
	Description: "What is not sent yet stays in the journal and is sent at the next mount; --wait sends it first.\n\n" +
		"   megafs umount ~/mega\n   megafs umount --wait ~/mega\n   megafs umount --wait=10m ~/mega",
	Flags: []cli.Flag{
		&cli.GenericFlag{Name: "wait", Usage: "send everything first, for at most `DURATION`", Value: &waitFlag{}},
		&cli.BoolFlag{Name: "lazy", Usage: "take it away although programs use it"},
	},
	Action: umount,
}

// waitFlag is --wait or --wait=DURATION.
type waitFlag struct {
	set bool
	d   time.Duration
}

func (w *waitFlag) Set(s string) (err error) {
	w.set = true
	if s != "true" {
		w.d, err = time.ParseDuration(s)
	}
	return err
}
func (w *waitFlag) String() string   { return "" }
func (w *waitFlag) IsBoolFlag() bool { return true }

func umount(c *cli.Context) error {
	if c.NArg() != 1 {
		return usage("umount takes one mount point")
	}
	mnt, err := filepath.Abs(c.Args().First())
	if err != nil {
		return err
	}
	if stale(mnt) {
		return detach(mnt, true)
	}
	m, rel, err := find(c.Context, mnt)
	if err != nil {
		return err
	}
	if rel != "." {
		return usage("%s is no mount point; the vault is mounted on %s", mnt, m.MountPoint)
	}
	w := c.Generic("wait").(*waitFlag)
	if w.set {
		if err := drain(c.Context, m, w.d); err != nil {
			return err
		}
	}
	if fresh, _, err := find(c.Context, mnt); err == nil {
		m = fresh
	}
	if err := detach(m.MountPoint, c.Bool("lazy")); err != nil {
		if users := usersOf(m.MountPoint); len(users) > 0 {
			err = remote.E("unmount", mnt, remote.Busy, fmt.Errorf("in use by %s; end them, or say --lazy", strings.Join(users, ", ")))
		}
		return err
	}
	// The process ends when its journal is closed; until then the next mount would find the state folder in use.
	for end := time.Now().Add(time.Minute); time.Now().Before(end) && syscall.Kill(m.PID(), 0) == nil; {
		time.Sleep(10 * time.Millisecond)
	}
	fmt.Fprintf(os.Stderr, "%s is unmounted; %s\n", m.MountPoint, m.waiting())
	return nil
}

// PID is the serving process.
func (m *mounted) PID() int { return m.Peer.PID }

// usersOf names the processes that have something in a mount open.
func usersOf(mnt string) []string {
	var out []string
	dirs, _ := filepath.Glob("/proc/[0-9]*")
	for _, d := range dirs {
		links, _ := filepath.Glob(d + "/fd/*")
		for _, l := range append(links, d+"/cwd", d+"/root") {
			if t, err := os.Readlink(l); err == nil && (t == mnt || strings.HasPrefix(t, mnt+"/")) {
				name, _ := os.ReadFile(d + "/comm")
				out = append(out, fmt.Sprintf("%s (process %s)", strings.TrimSpace(string(name)), filepath.Base(d)))
				break
			}
		}
	}
	return out
}

// drain waits until the remote has everything, telling a person how far it is. d 0 is without end.
func drain(ctx context.Context, m *mounted, d time.Duration) error {
	if d > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, d)
		defer cancel()
	}
	done := make(chan error, 1)
	go func() { done <- m.Call(ctx, control.Request{Op: opSync, Wait: true}, nil) }()
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	show := onTerminal()
	for {
		select {
		case err := <-done:
			if show {
				fmt.Fprint(os.Stderr, "\r\x1b[K")
			}
			if errors.Is(err, context.DeadlineExceeded) {
				return errors.Join(errPending, err)
			}
			return err
		case <-tick.C:
			if !show {
				continue
			}
			var s status
			c, cancel := context.WithTimeout(ctx, askTimeout)
			if m.Call(c, control.Request{Op: opStatus}, &s) == nil {
				m.status = s
				fmt.Fprintf(os.Stderr, "\r\x1b[K%s", m.waiting())
			}
			cancel()
		}
	}
}

var syncCommand = &cli.Command{
	Name: "sync", Usage: "wait until the remote has all that was written", ArgsUsage: "PATH",
	Description: "   megafs sync ~/mega && echo safe elsewhere\n   megafs sync --timeout 5m ~/mega",
	Flags:       []cli.Flag{&cli.DurationFlag{Name: "timeout", Usage: "wait for at most `DURATION`"}},
	Action: func(c *cli.Context) error {
		if c.NArg() > 1 {
			return usage("sync takes one path")
		}
		m, _, err := find(c.Context, c.Args().First())
		if err != nil {
			return err
		}
		return drain(c.Context, m, c.Duration("timeout"))
	},
}
