package volume

import (
	"context"

	"megafs/remote"
)

// Caller is who asks: the ids new inodes get and permission rules look at.
type Caller struct {
	UID, GID uint32
	PID      uint32
	Umask    uint16
}

// Stat is what stat(2) tells of an inode.
type Stat struct {
	remote.Attr
	Ino     remote.Ino
	Nlink   uint32
	Blocks  uint64 // of 512 bytes, holes not counted
	Version uint64 // changes with the content whenever somebody else changes it: KEEP_CACHE goes by it
}

// SetAttr says which attributes to set; nil leaves one alone.
type SetAttr struct {
	Mode         *uint16
	UID, GID     *uint32
	Size         *uint64
	Atime, Mtime *remote.Time
	// KillPriv clears setuid and, with group execution, setgid: a truncation by somebody who may not keep them.
	KillPriv bool
	// Outsider says that who asks is not in the inode's group: where privileges go, setgid goes without group execution, too.
	Outsider bool
}

// Dirent is one name of a directory.
type Dirent struct {
	Name string
	Ino  remote.Ino
	Type remote.Type
}

// StatFS is what statfs(2) tells, in bytes and inodes.
type StatFS struct {
	Total, Free uint64
	Files       uint64
}

// Flags of Rename.
const (
	RenameNoReplace = 1
	RenameExchange  = 2
	RenameWhiteout  = 4
)

// Change tells the kernel's face what somebody else changed, so that it can drop what the kernel keeps. The zero Change says that
// it may be anything.
type Change struct {
	Ino     remote.Ino // attributes or content of this inode changed; Content says which
	Content bool
	Parent  remote.Ino // if not 0: the name in this directory appeared, vanished or changed
	Name    string
}

// FS is what package fs needs of a volume; *Volume is the one implementation. All methods may be called from many goroutines.
// Errors are *remote.Error with a kind. Every inode number that Lookup, Again, Make, Link or Tmpfile returns is pinned once for the caller: it
// stays readable until Forget gives it back, with or without a name.
type FS interface {
	Lookup(ctx context.Context, parent remote.Ino, name string) (Stat, error)
	// Again finds an inode that has a name by its number alone, or the directory that a directory is in.
	Again(ctx context.Context, ino remote.Ino, up bool) (Stat, error)
	Getattr(ctx context.Context, ino remote.Ino) (Stat, error)
	Setattr(ctx context.Context, ino remote.Ino, s SetAttr) (Stat, error)
	// Make makes an inode of any type under a new name; Exist if the name is there. mode has the permission bits, of which
	// the directory's default access control list takes some away, or, without one, the umask; setgid directories give their group
	// on, and the bit to directories. target is a symlink's.
	Make(ctx context.Context, parent remote.Ino, name string, t remote.Type, mode uint16, rdev uint32, target string, c Caller) (Stat, error)
	// Tmpfile makes a file without a name in the directory's file system.
	Tmpfile(ctx context.Context, parent remote.Ino, mode uint16, c Caller) (Stat, error)
	Link(ctx context.Context, ino, parent remote.Ino, name string) (Stat, error)
	Unlink(ctx context.Context, parent remote.Ino, name string) error
	Rmdir(ctx context.Context, parent remote.Ino, name string) error
	Rename(ctx context.Context, p1 remote.Ino, n1 string, p2 remote.Ino, n2 string, flags uint32, c Caller) error
	Readlink(ctx context.Context, ino remote.Ino) (string, error)
	List(ctx context.Context, dir remote.Ino) ([]Dirent, error)
	// Retain pins an inode that was listed (READDIRPLUS); false if it is gone.
	Retain(ino remote.Ino) bool
	Forget(ino remote.Ino, n uint64)
	// Open opens a file. Handles are closed with Close; trunc cuts it to nothing first.
	Open(ctx context.Context, ino remote.Ino, write, trunc bool) (*Handle, error)
	Getxattr(ctx context.Context, ino remote.Ino, name string) ([]byte, error)
	// Setxattr flags are those of setxattr(2): 1 create, 2 replace; and XattrKillSetgid. Setting an access control list sets the mode.
	Setxattr(ctx context.Context, ino remote.Ino, name string, value []byte, flags uint32) error
	Listxattr(ctx context.Context, ino remote.Ino) ([]string, error)
	Removexattr(ctx context.Context, ino remote.Ino, name string) error
	StatFS() StatFS
	SyncDir(ctx context.Context, ino remote.Ino) error
}

// The methods of a *Handle:
//
//	ReadAt(ctx, dst []byte, off uint64) (int, error)          short only at the end of the file; no io.EOF
//	WriteAt(ctx, src []byte, off uint64, killPriv bool) (int, error)
//	Append is WriteAt at the file's end, atomically: Append(ctx, src, killPriv) (off uint64, n int, err error)
//	Sync(ctx) error                                            fsync; returns an earlier background error of the inode once
//	Flush(ctx) error                                           close(2) of one descriptor
//	Allocate(ctx, mode uint32, off, n uint64) error            fallocate(2)
//	Seek(ctx, off uint64, hole bool) (uint64, error)           remote.NoData past the last data
//	Ino() remote.Ino
//	Close()
//
// and of a volume, CopyRange(ctx, from *Handle, off uint64, to *Handle, off2, n uint64) (uint64, error).
