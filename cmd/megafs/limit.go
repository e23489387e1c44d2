package main

import (
	"fmt"

	"github.com/urfave/cli/v2"

	"megafs/cmd/megafs/control"
	"megafs/remote/blob"
)

// s3Help says how a bucket is named and unlocked, for the commands that take a URL.
const s3Help = "A bucket is s3://host[:port]/bucket[/prefix]; add ?region=R, ?path-style=true or ?ca=FILE if the server wants it.\n" +
	"Its credentials come from AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY or ~/.aws/credentials (AWS_PROFILE chooses), never\n" +
	"from an argument. The bucket must be there."

var (
	uploadLimit   = &cli.StringFlag{Name: "upload-limit", Usage: "send at most `SIZE` a second to a bucket or a MEGA account; 0 is as fast as it goes"}
	downloadLimit = &cli.StringFlag{Name: "download-limit", Usage: "fetch at most `SIZE` a second from a bucket or a MEGA account; 0 is as fast as it goes"}
)

var limitCommand = &cli.Command{
	Name: "limit", Usage: "show or change how fast a mount may send and fetch", ArgsUsage: "[MOUNTPOINT]",
	Description: "Holds until it is unmounted, and for what is on its way, too; the bytes of content count. Without a flag it tells the limits.\n\n" +
		"   megafs limit --upload-limit 500K\n" +
		"   megafs limit --upload-limit 0 --download-limit 0 ~/mega   # as fast as it goes",
	Flags: []cli.Flag{uploadLimit, downloadLimit},
	Action: func(c *cli.Context) error {
		mnt, err := argument(c, "MOUNTPOINT", false)
		if err != nil {
			return err
		}
		up, down, err := limits(c, -1)
		if err != nil {
			return err
		}
		m, _, err := find(c.Context, mnt)
		if err != nil {
			return err
		}
		r := control.Request{Op: opLimit}
		if up >= 0 {
			r.Up = &up
		}
		if down >= 0 {
			r.Down = &down
		}
		var b bounds
		if err := m.Call(c.Context, r, &b); err != nil {
			return err
		}
		fmt.Fprintf(c.App.Writer, "up    %s\ndown  %s\n", perSecond(b.Up), perSecond(b.Down))
		return nil
	},
}

// limits reads the two flags; one that was not given is otherwise.
func limits(c *cli.Context, otherwise int64) (up, down int64, err error) {
	read := func(flag string) int64 {
		if err != nil || !c.IsSet(flag) {
			return otherwise
		}
		var n int64
		if n, err = parseSize(c.String(flag)); err == nil && n > 0 && n < blob.MinRate {
			err = usage("--%s is 0 or at least %s a second", flag, formatSize(blob.MinRate))
		}
		return n
	}
	up = read("upload-limit")
	down = read("download-limit")
	return up, down, err
}

// bounds are the bytes a second that may go and come; 0 is as many as it goes.
type bounds struct {
	Up   int64 `json:"up"`
	Down int64 `json:"down"`
}

// String tells the bounds behind the traffic, if there are any.
func (b bounds) String() string {
	if b == (bounds{}) {
		return ""
	}
	return fmt.Sprintf(" (limits: %s up, %s down)", perSecond(b.Up), perSecond(b.Down))
}

func perSecond(n int64) string {
	if n == 0 {
		return "no limit"
	}
	return formatSize(n) + "/s"
}

func (x *served) limits() (b bounds) {
	b.Up, b.Down = x.rates.Get()
	return b
}

// limit changes the bounds that a request names, and tells what they are then.
func (x *served) limit(r control.Request) (bounds, error) {
	if r.Up == nil && r.Down == nil {
		return x.limits(), nil
	}
	if x.s.Profile.Dir != "" {
		return bounds{}, usage("limits are for buckets and MEGA accounts; this is a vault in a folder")
	}
	up, down := int64(-1), int64(-1)
	if r.Up != nil {
		up = max(*r.Up, 0)
	}
	if r.Down != nil {
		down = max(*r.Down, 0)
	}
	x.rates.Set(up, down)
	return x.limits(), nil
}
