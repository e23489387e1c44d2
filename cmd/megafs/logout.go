package main

import (
	"errors"
	"fmt"
	"os"

	"github.com/urfave/cli/v2"

	"megafs/remote"
	"megafs/remote/mega"
)

// accountFlags are those that say which account.
func accountFlags(more ...cli.Flag) []cli.Flag {
	return append([]cli.Flag{
		&cli.StringFlag{Name: "state", Usage: "`DIR` of the journal and of what is remembered of the account"},
		&cli.StringFlag{Name: "cache", Usage: "`DIR` of the tree index and cached blocks"},
	}, more...)
}

// accountOf returns the profile of the account that a command names, by default the one that was logged in last.
func accountOf(c *cli.Context) (*profile, error) {
	who, err := argument(c, "URL", false)
	if err != nil {
		return nil, err
	}
	if who == "" {
		who = "mega:"
	}
	p, err := profileOf(c, who)
	if err == nil && (p.Mega == nil || p.Mega.Link != "") {
		err = usage("an account is %s", megaForms)
	}
	return p, err
}

var logoutCommand = &cli.Command{
	Name: "logout", Usage: "end the session of a MEGA account", ArgsUsage: "[URL]",
	Description: "Ends the session at the server and forgets it. What was not sent stays in the journal, and is sent after the next log-in.",
	Flags:       accountFlags(&cli.BoolFlag{Name: "forget", Usage: "forget also how the account was known, as after a change of password"}),
	Action: func(c *cli.Context) error {
		p, err := accountOf(c)
		if err != nil {
			return err
		}
		lock, err := lockState(p.State, "")
		if err != nil {
			return err
		}
		defer lock.release()
		s, err := p.session()
		if err == nil {
			if err = s.Logout(c.Context, nil); err != nil {
				fmt.Fprintln(os.Stderr, "The server could not be told; the session is only forgotten here:", err)
			}
		} else if !c.Bool("forget") {
			return err
		}
		if err := mega.ForgetSession(p.State); err != nil {
			return err
		}
		if c.Bool("forget") {
			if err := mega.ForgetPins(p.State); err != nil {
				return err
			}
		}
		if loggedIn() == p.URL {
			if err := os.Remove(accountFile()); err != nil && !errors.Is(err, os.ErrNotExist) {
				return remote.E("forget the account", "", remote.IO, err)
			}
		}
		return nil
	},
}
