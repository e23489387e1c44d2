package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/urfave/cli/v2"
	"golang.org/x/sys/unix"

	"megafs/fs/tree"
	"megafs/fs/writeback"
	"megafs/remote"
)

var restoreCommand = &cli.Command{
	Name: "restore", Usage: "bring back a file or folder as it was", ArgsUsage: "PATH", Flags: append(pastFlags(),
		&cli.StringFlag{Name: "at", Usage: "the `TIME`: \"2026-01-31 14:00\", or how long ago, as 3h or 2d", Required: true},
		&cli.StringFlag{Name: "to", Usage: "write it to `PATH`, anywhere; default: where it was"}),
	Description: "Writes what PATH was at that time, with all that is in it, to where it was or to --to. Nothing that is there now is replaced.\n" +
		"megafs history tells which times there are.\n\n" +
		"   megafs restore --at \"2026-01-31 14:00\" ~/mega/letters\n" +
		"   megafs restore --at 2d --to ~/mega/letters.old ~/mega/letters\n" +
		"   megafs restore --at 2d --to /tmp/letters --remote dir:/backup/vault letters",
	Action: restore,
}

func restore(c *cli.Context) error {
	path, err := argument(c, "PATH", true)
	if err != nil {
		return err
	}
	at, err := moment(c.String("at"), time.Now())
	if err != nil {
		return err
	}
	to := c.String("to")
	if to == "" && c.String("remote") != "" {
		return usage("say where to with --to; the vault is not mounted")
	}
	if to == "" {
		to = path
	}
	if to, err = filepath.Abs(to); err != nil {
		return err
	}
	if _, err := os.Lstat(to); err == nil {
		return remote.E("restore", to, remote.Exist, errors.New("nothing is replaced; say another place with --to, or move what is there away"))
	}
	p, names, err := pastOf(c, path)
	if err != nil {
		return err
	}
	return lookAtProfile(c, p, func(x *openVault) error {
		past, err := x.vault.Past(c.Context, nil)
		if err != nil {
			return err
		}
		seq, err := past.At(at)
		if err != nil {
			return err
		}
		r, err := newReplica(p.Cache, 32<<20)
		if err != nil {
			return err
		}
		defer r.Close()
		from := past.Remote(seq)
		if _, err := from.Load(c.Context, remote.Position{}, r); err != nil {
			return err
		}
		n, err := lookUp(r.Tree, names)
		if err != nil {
			return remote.E("restore", path, remote.KindOf(err), errors.New("it was not there at that time; megafs history tells when it was"))
		}
		w := &restorer{ctx: c.Context, tree: r.Tree, from: from, links: map[remote.Ino]string{}}
		// Beside its place first, so that what was broken off is not taken for whole.
		part := to + ".megafs-restore"
		if err := w.node(n, part); err != nil {
			os.RemoveAll(part)
			return err
		}
		if err := moveNew(part, to); err != nil {
			return remote.E("restore", to, remote.Other, fmt.Errorf("it is whole, but lies in %s: %w", part, err))
		}
		fmt.Fprintf(os.Stderr, "%s is as it was at %s: %d files and folders, %s\n", to, past.Time(seq).Local().Format(time.DateTime), w.count, formatSize(int64(w.bytes)))
		return nil
	})
}

// moveNew moves something to a name that nothing has.
func moveNew(from, to string) error {
	err := unix.Renameat2(unix.AT_FDCWD, from, unix.AT_FDCWD, to, unix.RENAME_NOREPLACE)
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOSYS) { // a file system that has no such rename
		if _, err := os.Lstat(to); err == nil {
			return unix.EEXIST
		}
		err = os.Rename(from, to)
	}
	return err
}

// restorer writes inodes of the past to files.
type restorer struct {
	ctx   context.Context
	tree  *tree.Tree
	from  remote.Remote
	links map[remote.Ino]string // where files with several names are
	count int
	bytes uint64
}

func (w *restorer) node(n tree.Node, to string) (err error) {
	if err := w.ctx.Err(); err != nil {
		return remote.E("restore", to, remote.Canceled, err)
	}
	if first, ok := w.links[n.Ino]; ok {
		return os.Link(first, to)
	}
	w.count++
	switch n.Type {
	case remote.Dir:
		if err := os.Mkdir(to, 0o700); err != nil {
			return err
		}
		list, err := w.tree.List(n.Ino)
		if err != nil {
			return err
		}
		for _, d := range list {
			child, err := w.tree.Node(d.Ino)
			if err != nil {
				return err
			}
			if err := w.node(child, filepath.Join(to, d.Name)); err != nil {
				return err
			}
		}
	case remote.File:
		err = w.file(n, to)
	case remote.Symlink:
		err = os.Symlink(n.Target, to)
	default:
		err = unix.Mknod(to, modes[n.Type]|0o600, int(n.Rdev))
	}
	if err != nil {
		return err
	}
	if n.Type != remote.Dir && n.Links > 1 {
		w.links[n.Ino] = to
	}
	return w.attributes(n, to)
}

var modes = map[remote.Type]uint32{remote.Fifo: unix.S_IFIFO, remote.Socket: unix.S_IFSOCK, remote.CharDev: unix.S_IFCHR, remote.BlockDev: unix.S_IFBLK}

// attributes sets what an inode has beside its content. Owners are for root to give.
func (w *restorer) attributes(n tree.Node, to string) error {
	if err := os.Lchown(to, int(n.UID), int(n.GID)); err != nil && os.Geteuid() == 0 {
		return err
	}
	if n.Type != remote.Symlink {
		if err := unix.Chmod(to, uint32(n.Mode)); err != nil {
			return err
		}
	}
	names, err := w.tree.Xattrs(n.Ino)
	if err != nil {
		return err
	}
	for _, x := range names {
		v, err := w.tree.Xattr(n.Ino, x)
		if err != nil {
			return err
		}
		if err := unix.Lsetxattr(to, x, v, 0); err != nil && !errors.Is(err, unix.EPERM) && !errors.Is(err, unix.ENOTSUP) {
			return fmt.Errorf("set an extended attribute: %w", err)
		}
	}
	t := []unix.Timespec{unix.NsecToTimespec(int64(n.Atime)), unix.NsecToTimespec(int64(n.Mtime))}
	return unix.UtimesNanoAt(unix.AT_FDCWD, to, t, unix.AT_SYMLINK_NOFOLLOW)
}

// restoreStep is how much of a file is read at once.
const restoreStep = 1 << 20

func (w *restorer) file(n tree.Node, to string) (err error) {
	f, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if err := f.Truncate(int64(n.Size)); err != nil {
		return err
	}
	spans, err := w.tree.Data(n.Ino, 0, n.Size)
	if err != nil {
		return err
	}
	buf := make([]byte, restoreStep)
	for _, s := range spans {
		for off := s.Off; off < s.End; {
			b := buf[:min(restoreStep, s.End-off)]
			pieces, err := w.tree.Content(n.Ino, off, off+uint64(len(b)))
			if err == nil {
				err = writeback.Fill(w.ctx, nil, w.read, off, b, pieces)
			}
			if err == nil {
				_, err = f.WriteAt(b, int64(off))
			}
			if err != nil {
				return err
			}
			off += uint64(len(b))
			w.bytes += uint64(len(b))
		}
	}
	return f.Sync()
}

// read reads stored content, and opens it.
func (w *restorer) read(ctx context.Context, ref remote.Ref, dst []byte) error {
	first := int(ref.Off) / remote.ChunkSize
	n := (int(ref.Off)+len(dst)-1)/remote.ChunkSize - first + 1
	sealed, plain := make([]byte, n*remote.SealedChunk), make([]byte, n*remote.ChunkSize)
	if err := w.from.Fetch(ctx, ref, first, n, sealed); err != nil {
		return err
	}
	for i := range n {
		if err := w.from.Open(ref, first+i, sealed[i*remote.SealedChunk:][:remote.SealedChunk], plain[i*remote.ChunkSize:][:remote.ChunkSize]); err != nil {
			return err
		}
	}
	copy(dst, plain[int(ref.Off)-first*remote.ChunkSize:])
	return nil
}
