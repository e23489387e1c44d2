package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/urfave/cli/v2"

	"megafs/remote"
	"megafs/remote/vault"
)

var headCommand = &cli.Command{
	Name: "head", Usage: "the newest state that this machine knows of, to hold against another machine's", ArgsUsage: "[URL]",
	Flags: append(remoteFlags(), &cli.BoolFlag{Name: "json", Usage: "for scripts"}),
	Description: "A store can show two machines different histories. It is found out when they are held against each other: by the four words, which are the\n" +
		"same where the same was seen, or with the token and megafs vault compare on the other machine. The token is no secret; take it over by a way\n" +
		"that the store has no hand in. A machine that never saw the vault is best begun with it: megafs mount --invite TOKEN.\n\n" +
		"   megafs vault head s3://s3.example.com/bucket/vault",
	Action: func(c *cli.Context) error {
		return lookAt(c, func(x *openVault) error {
			away, err := x.follow(c)
			if err != nil {
				return err
			}
			i := x.vault.Info()
			h := headReport{i.Head, i.HeadTime, x.vault.Words(), x.vault.Token().String(), i.Violation, away}
			if c.Bool("json") {
				return json.NewEncoder(c.App.Writer).Encode(h)
			}
			h.print(c.App.Writer, time.Now())
			return nil
		})
	},
}

// headReport is what megafs vault head tells.
type headReport struct {
	Head      uint64    `json:"head"`
	Time      time.Time `json:"time,omitzero"`
	Words     string    `json:"words"`
	Token     string    `json:"token"`
	Violation string    `json:"violation,omitempty"`
	Away      bool      `json:"away"` // the store did not answer
}

func (h headReport) print(w io.Writer, now time.Time) {
	when := "at a time that is not known"
	if !h.Time.IsZero() {
		when = fmt.Sprintf("%s, %s", h.Time.Local().Format(time.DateTime), ago(now.Sub(h.Time)))
	}
	fmt.Fprintf(w, "head   %d, made %s\nwords  %s\ntoken  %s\n", h.Head, when, h.Words, h.Token)
	if h.Away {
		fmt.Fprintln(w, "The store does not answer; this is what was seen last.")
	}
	if h.Violation != "" {
		fmt.Fprintf(w, "READ-ONLY %s\n", h.Violation)
	}
}

// ago says how long ago something was.
func ago(d time.Duration) string {
	switch {
	case d < -time.Minute:
		return "which is yet to come by this machine's clock"
	case d < time.Minute:
		return "just now"
	case d < 2*time.Hour:
		return fmt.Sprintf("%d minutes ago", d/time.Minute)
	case d < 48*time.Hour:
		return fmt.Sprintf("%d hours ago", d/time.Hour)
	}
	return fmt.Sprintf("%d days ago", d/(24*time.Hour))
}

// follow brings what is remembered to the log's end. away says that the store does not answer. A vault that was caught stands still.
func (x *openVault) follow(c *cli.Context) (away bool, err error) {
	err = x.vault.Follow(c.Context)
	switch {
	case remote.Is(err, remote.ReadOnly):
		err = nil
	case remote.Is(err, remote.Unreachable) || remote.Is(err, remote.Timeout):
		if x.vault.Info().Head > 0 {
			away, err = true, nil
		}
	}
	return away, err
}

var compareCommand = &cli.Command{
	Name: "compare", Usage: "hold another machine's head against what this one knows", ArgsUsage: "TOKEN [URL]",
	Flags: append(remoteFlags(), &cli.BoolFlag{Name: "json", Usage: "for scripts"}),
	Description: "TOKEN is what megafs vault head prints on the other machine. It says one of\n" +
		"   same      both have seen the same\n" +
		"   ancestor  the other has seen a part of what this one has\n" +
		"   newer     the other has seen more than the store shows here; if that stays so when both were online a while, the store hides it\n" +
		"   fork      the store shows the two different histories: exit code 4\n\n" +
		"   megafs vault compare mgh1-... s3://s3.example.com/bucket/vault",
	Action: func(c *cli.Context) error {
		if c.NArg() < 1 || c.NArg() > 2 {
			return usage("it takes a TOKEN and a URL; see megafs vault compare --help")
		}
		token, err := vault.ParseToken(c.Args().First())
		if err != nil {
			return usageError{err}
		}
		p, err := profileOf(c, c.Args().Get(1))
		if err != nil {
			return err
		}
		return lookAtProfile(c, p, func(x *openVault) error {
			if _, err := x.follow(c); err != nil {
				return err
			}
			r, err := x.vault.Compare(c.Context, token)
			if err != nil {
				return err
			}
			if c.Bool("json") {
				err = json.NewEncoder(c.App.Writer).Encode(struct {
					Relation vault.Relation `json:"relation"`
					Here     uint64         `json:"here"`
					There    uint64         `json:"there"`
				}{r, x.vault.Info().Head, token.Seq})
			} else {
				fmt.Fprintf(c.App.Writer, "%s: here entry %d, there %d\n", r, x.vault.Info().Head, token.Seq)
			}
			if err == nil && r == vault.Fork {
				err = remote.E("compare", x.p.URL, remote.Integrity, errors.New("the store shows the two machines different histories; both should stop writing, and each keep what it has, until it is known which is the true one"))
			}
			return err
		})
	},
}

// invite returns the token that a command was given for a vault that this machine never saw.
func invite(c *cli.Context) (*vault.Token, error) {
	s := c.String("invite")
	if s == "" {
		return nil, nil
	}
	t, err := vault.ParseToken(s)
	if err != nil {
		return nil, usageError{err}
	}
	return &t, nil
}
