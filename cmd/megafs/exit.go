package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/urfave/cli/v2"

	"megafs/cmd/megafs/control"
	"megafs/crypto"
	"megafs/remote"
)

// The exit codes. They are part of what scripts rely on and never change.
const (
	exitDone        = 0
	exitFailed      = 1
	exitUsage       = 2
	exitLocked      = 3
	exitIntegrity   = 4
	exitUnreachable = 5
	exitPending     = 6
)

const exitHelp = `Exit codes:
  0  done
  1  failed
  2  wrong usage
  3  wrong passphrase or log-in
  4  integrity violation: the store's bytes are not what was written
  5  store unreachable
  6  still pending: not everything has been sent yet`

// usageError is a mistake in the words of the command line.
type usageError struct{ error }

func usage(format string, a ...any) error { return usageError{fmt.Errorf(format, a...)} }

// exitCode is the one table from errors to exit codes.
func exitCode(err error) int {
	var u usageError
	var f *control.Failure
	switch {
	case err == nil:
		return exitDone
	case errors.As(err, &u):
		return exitUsage
	case errors.As(err, &f):
		return f.Code
	case errors.Is(err, crypto.ErrUnlock):
		return exitLocked
	case errors.Is(err, errPending), errors.Is(err, context.DeadlineExceeded):
		return exitPending
	}
	switch remote.KindOf(err) {
	case remote.Locked:
		return exitLocked
	case remote.Integrity:
		return exitIntegrity
	case remote.Unreachable:
		return exitUnreachable
	}
	return exitFailed
}

// errPending says that something is not sent yet.
var errPending = errors.New("not everything has been sent yet")

var exitCodesCommand = &cli.Command{
	Name: "exit-codes", Usage: "what megafs's exit codes mean",
	Action: func(c *cli.Context) error { fmt.Fprintln(c.App.Writer, exitHelp); return nil },
}
