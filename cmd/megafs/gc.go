package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/urfave/cli/v2"

	"megafs/crypto"
	"megafs/fs/tree"
	"megafs/fs/volume"
	"megafs/remote"
	"megafs/remote/vault"
)

var gcCommand = &cli.Command{
	Name: "gc", Usage: "give back the room of what was removed or replaced", ArgsUsage: "[URL]", Flags: append(remoteFlags(),
		&cli.BoolFlag{Name: "dry-run", Usage: "only say what would go"},
		&cli.StringFlag{Name: "keep", Usage: "keep what was there so long ago, as 30d or 12h; 0 for nothing", Value: "30d"},
		&cli.StringFlag{Name: "grace", Usage: "how long content is given up before it is removed; 0 when no other machine has the vault mounted", Value: "24h"},
		&cli.BoolFlag{Name: "json", Usage: "for scripts"}),
	Description: "Removes content that no state younger than --keep has, superseded snapshots, and the log before them. What it gives up now is\n" +
		"removed by the first run after --grace. Other machines may write meanwhile; this one must not have the vault mounted. A mount does\n" +
		"the same by itself; see megafs mount --help.\n\n" +
		"   megafs vault gc --dry-run dir:/backup/vault\n   megafs vault gc --keep 0 --grace 0 dir:/backup/vault",
	Action: collect,
}

func collect(c *cli.Context) error {
	o := vault.GCOptions{DryRun: c.Bool("dry-run")}
	var err error
	if o.Keep, err = age(c.String("keep")); err == nil {
		o.Grace, err = age(c.String("grace"))
	}
	if err != nil {
		return err
	}
	return withVault(c, func(x *openVault) error {
		if err := x.vault.State(); err != nil {
			return err
		}
		t, pos, err := x.load(c)
		if err != nil {
			return err
		}
		defer t.Close()
		o.State, o.Pos = t.Ops, pos
		shared := map[remote.ObjectID]bool{}
		if err := volume.Shared(x.p.State, x.ring.Keys().Local("journal", [16]byte{}), func(id remote.ObjectID) { shared[id] = true }); err != nil {
			return err
		}
		o.Hold = func(yield func(remote.ObjectID)) error {
			for id := range shared {
				yield(id)
			}
			return t.Objects(yield)
		}
		o.Replica = func() (vault.Replica, error) { return newReplica(x.p.Cache, 32<<20) }
		young := openOrphans(filepath.Join(x.p.Cache, "orphans"), o.Grace, time.Now())
		o.Orphan = young.old
		var sum vault.GCReport
		for {
			r, err := x.vault.Collect(c.Context, o)
			if err != nil {
				return err
			}
			r.Marked, r.MarkedBytes, r.Content = r.Marked+sum.Marked, r.MarkedBytes+sum.MarkedBytes, r.Content+sum.Content
			r.Removed, r.RemovedBytes, r.LogPruned = r.Removed+sum.Removed, r.RemovedBytes+sum.RemovedBytes, r.LogPruned+sum.LogPruned
			sum = r
			if !r.More || o.DryRun {
				break
			}
		}
		if !o.DryRun {
			if err := young.save(); err != nil {
				return err
			}
		}
		if c.Bool("json") {
			return json.NewEncoder(c.App.Writer).Encode(sum)
		}
		verb := "given up"
		if o.DryRun {
			verb = "would be given up"
		}
		fmt.Fprintf(c.App.Writer, "%d objects of %s %s; %d objects and %d log entries of %s removed\n",
			sum.Marked, formatSize(sum.MarkedBytes), verb, sum.Removed, sum.LogPruned, formatSize(sum.RemovedBytes))
		if sum.Waiting > 0 {
			fmt.Fprintf(c.App.Writer, "%d objects wait to be removed; run this again after %s\n", sum.Waiting, sum.WaitingUntil.Local().Format(time.DateTime))
		}
		return nil
	})
}

// age reads a time span with days, which Go's has not.
func age(s string) (d time.Duration, err error) {
	if s == "0" {
		return 0, nil
	}
	if n, rerr := fmt.Sscanf(s, "%dd", &d); rerr == nil && n == 1 && s == fmt.Sprintf("%dd", d) && d < 36500 {
		d *= 24 * time.Hour
	} else {
		d, err = time.ParseDuration(s)
	}
	if err != nil || d < 0 {
		return 0, usage("%q is no time span; say 30d, 12h or 0", s)
	}
	return d, nil
}

// diskReplica is a tree in a folder of its own, which goes with it. Its key is nowhere but here.
type diskReplica struct {
	*tree.Tree
	at *scratch
}

func newReplica(cache string, memory int64) (*diskReplica, error) {
	at, err := newScratch(cache, "replay")
	if err != nil {
		return nil, err
	}
	key := crypto.NewVaultSecret()
	defer key.Wipe()
	t, err := tree.Open(tree.Options{Dir: filepath.Join(at.dir, "tree"), Key: [32]byte(key.Bytes()), Memory: memory})
	if err != nil {
		return nil, errors.Join(err, at.remove())
	}
	return &diskReplica{t, at}, nil
}

func (r *diskReplica) Close() error { return errors.Join(r.Tree.Close(), r.at.remove()) }
