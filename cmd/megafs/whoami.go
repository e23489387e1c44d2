package main

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/urfave/cli/v2"

	"megafs/remote/mega"
)

var whoamiCommand = &cli.Command{
	Name: "whoami", Usage: "which MEGA account is logged in, and how full it is", ArgsUsage: "[URL]",
	Flags: accountFlags(&cli.BoolFlag{Name: "json", Usage: "for scripts"}),
	Action: func(c *cli.Context) error {
		p, err := accountOf(c)
		if err != nil {
			return err
		}
		s, err := p.session()
		if err != nil {
			return err
		}
		ctx, cancel := context.WithTimeout(c.Context, time.Minute)
		defer cancel()
		u, err := mega.Quota(ctx, s)
		if err != nil {
			return err
		}
		if c.Bool("json") {
			return json.NewEncoder(c.App.Writer).Encode(map[string]any{"email": s.Email, "url": p.URL, "server": s.URL, "used": u.Used, "total": u.Total})
		}
		fmt.Fprintf(c.App.Writer, "%s at %s: %s of %s used\n", s.Email, s.URL, formatSize(int64(u.Used)), formatSize(int64(u.Total)))
		return nil
	},
}
