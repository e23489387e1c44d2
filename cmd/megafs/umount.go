package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/urfave/cli/v2"
	"golang.org/x/sys/unix"

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
		if err == nil && w.d < 0 {
			err = errors.New("a wait can't be negative")
		}
	}
	return err
}
func (w *waitFlag) String() string   { return "" }
func (w *waitFlag) IsBoolFlag() bool { return true }

func umount(c *cli.Context) error {
	mnt, err := argument(c, "MOUNTPOINT", true)
	if err != nil {
		return err
	}
	if mnt, err = realParent(mnt); err != nil {
		return err
	}
	switch lookAtMount(mnt) {
	case lost:
		return detach(mnt, true)
	case silent: // else find says so, if it stays silent
		if !c.Bool("lazy") || c.IsSet("wait") {
			break
		}
		if err := detach(mnt, true); err != nil {
			return err
		}
		fmt.Fprintf(os.Stderr, "%s is taken away; its process did not answer, and has the journal until it ends\n", mnt)
		return nil
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
	ended, err := watch(m.Peer.PID)
	if err != nil {
		return err
	}
	defer ended.close()
	if err := detach(m.MountPoint, c.Bool("lazy")); err != nil {
		if users := usersOf(m.MountPoint); len(users) > 0 {
			err = remote.E("unmount", mnt, remote.Busy, fmt.Errorf("in use by %s; end them, or say --lazy", strings.Join(users, ", ")))
		}
		return err
	}
	// The process ends when its journal is closed; until then the next mount would find the state folder in use.
	if !c.Bool("lazy") && !ended.wait(time.Minute) {
		return remote.E("unmount", mnt, remote.Busy, fmt.Errorf("process %d has not ended: it still closes its journal, or a container or service that was started meanwhile still has the mount; the vault can be mounted again when it is done", m.Peer.PID))
	}
	fmt.Fprintf(os.Stderr, "%s is unmounted; %s\n", m.MountPoint, m.waiting())
	if w.set && m.DirtyFiles > 0 {
		return errPending
	}
	return nil
}

// process is one whose end is waited for. A number alone would not do: nobody may have taken note of its end yet, or it is another's by now.
type process struct{ fd int }

func watch(pid int) (process, error) {
	fd, err := unix.PidfdOpen(pid, 0)
	if errors.Is(err, unix.ESRCH) {
		return process{-1}, nil
	}
	return process{fd}, err
}

// wait reports whether the process ended in time.
func (p process) wait(d time.Duration) bool {
	if p.fd < 0 {
		return true
	}
	for end := time.Now().Add(d); ; {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(p.fd), Events: unix.POLLIN}}, int(max(0, time.Until(end).Milliseconds())))
		if !errors.Is(err, unix.EINTR) {
			return n > 0
		}
	}
}

func (p process) close() {
	if p.fd >= 0 {
		unix.Close(p.fd)
	}
}

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

// pending is errPending when the time to wait was over.
func pending(err error) error {
	if errors.Is(err, context.DeadlineExceeded) {
		return errPending
	}
	return err
}

// flush makes the kernel hand over what programs wrote into memory that they share with a file.
func flush(mnt string) {
	fd, err := unix.Open(mnt, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err == nil {
		unix.Syncfs(fd)
		unix.Close(fd)
	}
}

// drain waits until the remote has everything, telling a person how far it is. d 0 is without end.
func drain(ctx context.Context, m *mounted, d time.Duration) error {
	if d > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, d)
		defer cancel()
	}
	done := make(chan error, 1)
	go func() {
		flush(m.MountPoint)
		done <- m.Call(ctx, control.Request{Op: opSync, Wait: true}, nil)
	}()
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	show := onTerminal()
	for {
		select {
		case err := <-done:
			if show {
				fmt.Fprint(os.Stderr, "\r\x1b[K")
			}
			return pending(err)
		case <-ctx.Done(): // also when the kernel does not answer
			return pending(ctx.Err())
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
		path, err := argument(c, "PATH", false)
		if err != nil {
			return err
		}
		m, _, err := find(c.Context, path)
		if err != nil {
			return err
		}
		return drain(c.Context, m, c.Duration("timeout"))
	},
}
