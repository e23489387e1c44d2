package main

import (
	"errors"
	"os"
	"os/exec"
	"slices"
	"time"

	"github.com/urfave/cli/v2"
	"golang.org/x/sys/unix"
)

// condition is what became of a mount point.
type condition int

const (
	unmounted condition = iota // no megafs is mounted there
	answers
	silent // its process takes requests, or would, and does not answer them: it is stopped, say
	lost   // the process that served it is gone
)

// lookTime is how long a mount may take to answer; a machine that is very busy needs some of it to start the child.
const lookTime = 3 * time.Second

// lookAtMount finds out what a mount point is in. It never waits for long, but what it asks may: a process whose request is not answered can't be
// ended, not even by kill -9, until whoever should answer goes on or dies. So a child asks, and is left behind.
func lookAtMount(mnt string) condition {
	if !slices.Contains(mounts(), mnt) {
		return unmounted
	}
	self, err := os.Executable()
	if err != nil {
		return answers
	}
	child := exec.Command(self, lookCommand.Name, "--", mnt)
	child.SysProcAttr = &unix.SysProcAttr{Setsid: true} // whoever ends this command's group does not wait for it
	if err := child.Start(); err != nil {
		return answers
	}
	ended := make(chan error, 1)
	go func() { ended <- child.Wait() }()
	select {
	case <-ended:
		if child.ProcessState.ExitCode() == exitLost {
			return lost
		}
		return answers
	case <-time.After(lookTime):
		child.Process.Kill() // it ends when it can
		return silent
	}
}

// exitLost is the exit code of the child that looked at a mount point whose process is gone.
const exitLost = 101

// lookCommand is the child that asks a mount for what the kernel never keeps: attributes may still be there when the process is not.
var lookCommand = &cli.Command{
	Name: "look-child", Hidden: true,
	Action: func(c *cli.Context) error {
		var st unix.Statfs_t
		if errors.Is(unix.Statfs(c.Args().First(), &st), unix.ENOTCONN) {
			os.Exit(exitLost)
		}
		return nil
	},
}
