package main

import (
	"errors"
	"fmt"
	"strings"

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

// argument returns a command's only argument, or "" when there need be none. Options behind it are not seen as such, so their
// place is told.
func argument(c *cli.Context, what string, must bool) (string, error) {
	name := c.Command.HelpName
	for _, a := range c.Args().Tail() {
		if strings.HasPrefix(a, "-") {
			return "", usage("options come before the %s: %s %s %s", what, name, a, what)
		}
	}
	if c.NArg() > 1 || must && c.NArg() == 0 {
		return "", usage("it takes one %s; see %s --help", what, name)
	}
	if c.NArg() > 0 && c.Args().First() == "" {
		return "", usage("the %s is empty; is a variable of the shell not set?", what)
	}
	return c.Args().First(), nil
}

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
	case errors.Is(err, errPending):
		return exitPending
	}
	switch remote.KindOf(err) {
	case remote.Locked:
		return exitLocked
	case remote.Integrity:
		return exitIntegrity
	case remote.Unreachable, remote.Timeout:
		return exitUnreachable
	}
	return exitFailed
}

// errPending says that something is not sent yet.
var errPending = errors.New("not everything has been sent yet")

var exitCodesCommand = &cli.Command{
	Name: "exit-codes", Usage: "what megafs's exit codes mean", Description: exitHelp,
	Action: func(c *cli.Context) error { fmt.Fprintln(c.App.Writer, exitHelp); return nil },
}
