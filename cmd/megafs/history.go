package main

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/urfave/cli/v2"

	"megafs/fs/tree"
	"megafs/remote"
	"megafs/remote/vault"
)

var historyCommand = &cli.Command{
	Name: "history", Usage: "when a file or folder was made, changed, removed", ArgsUsage: "PATH", Flags: append(pastFlags(),
		&cli.BoolFlag{Name: "json", Usage: "for scripts"}),
	Description: "Tells what became of a path as far back as the log is kept; what was changed and not sent yet is not in it. The path need not lead\n" +
		"anywhere now. Each time given can be used with restore --at and mount --at.\n\n" +
		"   megafs history ~/mega/letters/draft.odt\n   megafs history --remote dir:/backup/vault letters/draft.odt",
	Action: showHistory,
}

// revision is what a path led to from a moment on.
type revision struct {
	Time   time.Time `json:"time"`
	Entry  uint64    `json:"entry"`
	What   string    `json:"what"` // was, made, changed, attributes, replaced, removed
	Type   string    `json:"type,omitempty"`
	Size   uint64    `json:"size"`
	Mtime  time.Time `json:"mtime,omitzero"`
	Inode  uint64    `json:"inode,omitempty"`
	Device string    `json:"device,omitempty"` // which machine it was
}

// observer is a replica of the tree that watches a path.
type observer struct {
	vault.Replica
	tree     *tree.Tree
	names    []string
	ino      remote.Ino // what the path leads to; 0: nothing
	attr     remote.Attr
	versions []revision
}

func (o *observer) Reset() error {
	o.ino, o.versions = 0, nil
	return o.Replica.Reset()
}

func (o *observer) Apply(b remote.Batch) error {
	if err := o.Replica.Apply(b); err != nil || b.Pos.Seq == 0 {
		return err
	}
	content := false
	for i := range b.Ops {
		op := &b.Ops[i]
		content = content || op.Ino == o.ino && (op.Kind == remote.OpExtent || op.Kind == remote.OpCut)
	}
	n, err := lookUp(o.tree, o.names)
	if err != nil && !remote.Is(err, remote.NotExist) && !remote.Is(err, remote.NotDir) {
		return err
	}
	v := revision{Entry: b.Pos.Seq}
	switch {
	case err != nil && o.ino == 0:
		return nil
	case err != nil:
		v.What, n = "removed", tree.Node{}
	case o.ino == 0 && len(b.Ops) == 0:
		v.What = "was" // what the log begins with
	case o.ino == 0:
		v.What = "made"
	case n.Ino != o.ino:
		v.What = "replaced"
	case content || n.Size != o.attr.Size:
		v.What = "changed"
	case n.Attr != o.attr:
		v.What = "attributes"
	default:
		return nil
	}
	if b.Device != (remote.DeviceID{}) {
		v.Device = fmt.Sprintf("%x", b.Device[:4])
	}
	if o.ino, o.attr = n.Ino, n.Attr; n.Ino != 0 {
		v.Type, v.Size, v.Inode, v.Mtime = typeName[n.Type], n.Size, uint64(n.Ino), time.Unix(0, int64(n.Mtime))
	}
	o.versions = append(o.versions, v)
	return nil
}

var typeName = map[remote.Type]string{
	remote.File: "file", remote.Dir: "folder", remote.Symlink: "link", remote.Fifo: "fifo", remote.Socket: "socket", remote.CharDev: "device", remote.BlockDev: "device",
}

// lookUp follows names from the root.
func lookUp(t *tree.Tree, names []string) (tree.Node, error) {
	ino := remote.Root
	for _, name := range names {
		next, err := t.Lookup(ino, name)
		if err != nil {
			return tree.Node{}, err
		}
		ino = next
	}
	return t.Node(ino)
}

func showHistory(c *cli.Context) error {
	path, err := argument(c, "PATH", true)
	if err != nil {
		return err
	}
	p, names, err := pastOf(c, path)
	if err != nil {
		return err
	}
	return lookAtProfile(c, p, func(x *openVault) error {
		r, err := newReplica(p.Cache, 32<<20)
		if err != nil {
			return err
		}
		defer r.Close()
		o := &observer{Replica: r, tree: r.Tree, names: names}
		past, err := x.vault.Past(c.Context, o)
		if err != nil {
			return err
		}
		if len(o.versions) == 0 {
			return remote.E("look into the past", path, remote.NotExist, fmt.Errorf("the log, which is kept since %s, does not have it", past.Time(past.Begins()).Local().Format(time.DateTime)))
		}
		for i := range o.versions {
			o.versions[i].Time = past.Time(o.versions[i].Entry)
		}
		if c.Bool("json") {
			return json.NewEncoder(c.App.Writer).Encode(o.versions)
		}
		for _, v := range o.versions {
			size := ""
			if v.Type == "file" {
				size = formatSize(int64(v.Size))
			}
			// Rounded up, so that the time leads to this version and not to the one before.
			at := v.Time.Add(time.Second - 1).Local().Format(time.DateTime)
			fmt.Fprintf(c.App.Writer, "%s  %-10s %-6s %9s  %s\n", at, v.What, v.Type, size, v.Device)
		}
		return nil
	})
}
