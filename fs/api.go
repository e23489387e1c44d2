package fs

import (
	"context"

	"megafs/fs/volume"
	"megafs/remote"
)

// Volume is a file system without a kernel: what volume.FS says of each method holds here. Of makes one of a *volume.Volume.
type Volume interface {
	Lookup(ctx context.Context, parent remote.Ino, name string) (volume.Stat, error)
	Again(ctx context.Context, ino remote.Ino, up bool) (volume.Stat, error)
	Getattr(ctx context.Context, ino remote.Ino) (volume.Stat, error)
	Setattr(ctx context.Context, ino remote.Ino, s volume.SetAttr) (volume.Stat, error)
	Make(ctx context.Context, parent remote.Ino, name string, t remote.Type, mode uint16, rdev uint32, target string, c volume.Caller) (volume.Stat, error)
	Tmpfile(ctx context.Context, parent remote.Ino, mode uint16, c volume.Caller) (volume.Stat, error)
	Link(ctx context.Context, ino, parent remote.Ino, name string) (volume.Stat, error)
	Unlink(ctx context.Context, parent remote.Ino, name string) error
	Rmdir(ctx context.Context, parent remote.Ino, name string) error
	Rename(ctx context.Context, p1 remote.Ino, n1 string, p2 remote.Ino, n2 string, flags uint32, c volume.Caller) error
	Readlink(ctx context.Context, ino remote.Ino) (string, error)
	List(ctx context.Context, dir remote.Ino) ([]volume.Dirent, error)
	Forget(ino remote.Ino, n uint64)
	Open(ctx context.Context, ino remote.Ino, write, trunc bool) (Handle, error)
	CopyRange(ctx context.Context, from Handle, off uint64, to Handle, off2, n uint64) (uint64, error)
	Getxattr(ctx context.Context, ino remote.Ino, name string) ([]byte, error)
	Setxattr(ctx context.Context, ino remote.Ino, name string, value []byte, flags uint32) error
	Listxattr(ctx context.Context, ino remote.Ino) ([]string, error)
	Removexattr(ctx context.Context, ino remote.Ino, name string) error
	StatFS() volume.StatFS
	SyncDir(ctx context.Context, ino remote.Ino) error
}

// Handle is an open file, as *volume.Handle is one.
type Handle interface {
	ReadAt(ctx context.Context, dst []byte, off uint64) (int, error)
	WriteAt(ctx context.Context, src []byte, off uint64, killPriv bool) (int, error)
	Append(ctx context.Context, src []byte, killPriv bool) (off uint64, n int, err error)
	Sync(ctx context.Context) error
	Flush(ctx context.Context) error
	Allocate(ctx context.Context, mode uint32, off, n uint64) error
	Seek(ctx context.Context, off uint64, hole bool) (uint64, error)
	Ino() remote.Ino
	Close()
}

// Of returns v as this package needs it.
func Of(v *volume.Volume) Volume { return real{v} }

type real struct{ *volume.Volume }

func (r real) Open(ctx context.Context, ino remote.Ino, write, trunc bool) (Handle, error) {
	h, err := r.Volume.Open(ctx, ino, write, trunc)
	if err != nil {
		return nil, err
	}
	return h, nil
}

func (r real) CopyRange(ctx context.Context, from Handle, off uint64, to Handle, off2, n uint64) (uint64, error) {
	f, ok1 := from.(*volume.Handle)
	t, ok2 := to.(*volume.Handle)
	if !ok1 || !ok2 {
		return 0, remote.E("copy", "", remote.NotSupported, nil)
	}
	return r.Volume.CopyRange(ctx, f, off, t, off2, n)
}
