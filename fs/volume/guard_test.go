package volume

import (
	"errors"
	"testing"

	"megafs/remote"
)

// guarded is a remote in which some inodes can't be changed.
type guarded struct {
	remote.Remote
	fixed map[remote.Ino]bool
}

func (g *guarded) Guard(ino remote.Ino) error {
	if g.fixed[ino] {
		return remote.E("change", "", remote.Permission, errors.New("not yours"))
	}
	return nil
}

// TestGuarded: nothing changes an inode that its remote lets nobody change, nor the names in such a directory, nor the name that leads to it; the rest is free.
func TestGuarded(t *testing.T) {
	b := newBench(t)
	dir := b.mk(remote.Root, "dir", remote.Dir)
	empty, file := b.mk(dir, "empty", remote.Dir), b.mk(dir, "file", remote.File)
	own := b.mk(remote.Root, "own", remote.File)
	b.mk(remote.Root, "sub", remote.Dir)
	b.write(file, 0, []byte("theirs"))
	if err := b.Setxattr(ctx, file, "user.a", []byte("b"), 0); err != nil {
		t.Fatal(err)
	}
	b.drain()
	b.remount(func(o *Options) {
		o.Remote = &guarded{o.Remote, map[remote.Ino]bool{dir: true, empty: true, file: true}}
	})
	size, mode := uint64(0), uint16(0o600)
	open := func(write, trunc bool) error {
		h, err := b.Open(ctx, file, write, trunc)
		if err == nil {
			h.Close()
		}
		return err
	}
	last := func(_ Stat, err error) error { return err }
	rename := func(p1 remote.Ino, n1 string, p2 remote.Ino, n2 string, flags uint32) error {
		return b.Rename(ctx, p1, n1, p2, n2, flags, Caller{})
	}
	for what, err := range map[string]error{
		"open to write": open(true, false), "open to cut": open(false, true),
		"cut": last(b.Setattr(ctx, file, SetAttr{Size: &size})), "mode": last(b.Setattr(ctx, dir, SetAttr{Mode: &mode})),
		"xattr": b.Setxattr(ctx, file, "user.a", nil, 0), "no xattr": b.Removexattr(ctx, file, "user.a"),
		"make": last(b.Make(ctx, dir, "new", remote.File, 0o600, 0, "", Caller{})), "without a name": last(b.Tmpfile(ctx, dir, 0o600, Caller{})),
		"link out": last(b.Link(ctx, file, remote.Root, "name")), "link in": last(b.Link(ctx, own, dir, "name")),
		"unlink": b.Unlink(ctx, dir, "file"), "rmdir": b.Rmdir(ctx, dir, "empty"), "rmdir of the top": b.Rmdir(ctx, remote.Root, "dir"),
		"rename": rename(dir, "file", dir, "x", 0), "out": rename(dir, "file", remote.Root, "x", 0), "in": rename(remote.Root, "own", dir, "x", 0),
		"the top": rename(remote.Root, "dir", remote.Root, "x", 0), "over": rename(remote.Root, "own", dir, "file", 0), "over the top": rename(remote.Root, "sub", remote.Root, "dir", 0),
		"exchange": rename(remote.Root, "own", dir, "file", RenameExchange), "exchange of the top": rename(remote.Root, "sub", remote.Root, "dir", RenameExchange),
	} {
		if !remote.Is(err, remote.Permission) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if got := b.read(file); string(got) != "theirs" {
		t.Errorf("%q", got)
	}
	// What is copied out of it stays when it goes: it is here.
	from, err1 := b.Open(ctx, file, false, false)
	to, err2 := b.Open(ctx, own, true, false)
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	if n, err := b.CopyRange(ctx, from, 0, to, 0, 100); n != 6 || err != nil {
		t.Error(n, err)
	}
	if pieces, err := b.tree.Content(own, 0, 6); err != nil || len(pieces) != 1 || pieces[0].Ext != nil {
		t.Error("a copy hangs on what is not here", pieces, err)
	}
	from.Close()
	to.Close()
	if err := errors.Join(open(false, false), rename(remote.Root, "own", remote.Root, "x", 0), rename(remote.Root, "x", remote.Root, "sub", RenameExchange), b.Rmdir(ctx, remote.Root, "x")); err != nil {
		t.Error(err)
	}
}
