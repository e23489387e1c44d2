package remote

import "time"

// Ino is an inode number. The upper 24 bits are the number of the device (machine) that
// made the inode, the lower 40 a counter of that device, so devices never collide.
type Ino uint64

// Root is the root directory's inode number. It exists in every vault from the start.
const Root Ino = 1

// InoBits is how many low bits of an Ino are the device's own counter.
const InoBits = 40

// Device returns the number of the device that made the inode.
func (i Ino) Device() uint32 { return uint32(i >> InoBits) }

// Type is what an inode is.
type Type uint8

// The types of inodes.
const (
	File Type = iota + 1
	Dir
	Symlink
	Fifo
	Socket
	CharDev
	BlockDev
)

// Time is a moment in nanoseconds since 1970, as POSIX keeps them; negative is before.
type Time int64

// TimeOf converts a time.Time.
func TimeOf(t time.Time) Time { return Time(t.UnixNano()) }

// Limits of what a vault takes.
const (
	MaxName    = 255       // bytes in a name
	MaxTarget  = 4095      // bytes in a symbolic link's target
	MaxXattr   = 64 << 10  // bytes in an xattr's value
	MaxXattrs  = 64 << 10  // bytes of all xattrs' names of an inode
	MaxSize    = 1<<63 - 1 // bytes in a file
	MaxInline  = 2 << 10   // bytes of content kept in the log itself
	ChunkSize  = 16 << 10  // bytes of plaintext sealed as one
	MaxChunks  = 256       // chunks in a content object
	MaxContent = ChunkSize * MaxChunks
)

// Attr is all of an inode but its names, xattrs and content.
type Attr struct {
	Type   Type
	Mode   uint16 // permission bits, setuid, setgid, sticky: 07777
	UID    uint32
	GID    uint32
	Rdev   uint32
	Size   uint64 // a file's length in bytes; a symlink's target length; 0 for others
	Atime  Time
	Mtime  Time
	Ctime  Time
	Btime  Time   // birth
	Target string // a symbolic link's
}

// ObjectID names a content object.
type ObjectID [32]byte

// Ref says where sealed content lies: a piece of an object's plaintext.
type Ref struct {
	Object ObjectID
	Epoch  uint32 // of the key
	Chunks uint16 // in the whole object, 1..256
	Off    uint32 // of the first byte, in the object's plaintext
}

// Extent is a run of a file's bytes and where they are. Exactly one of these holds: Hole is true (zeros);
// Inline is not nil and has Len bytes; or Ref is where they are.
type Extent struct {
	Off    uint64 // in the file
	Len    uint64
	Hole   bool
	Inline []byte
	Ref    Ref
}

// End returns the offset after the last byte.
func (e Extent) End() uint64 { return e.Off + e.Len }

// Slice returns the part of e that lies in [from, to), which must not be empty.
func (e Extent) Slice(from, to uint64) Extent {
	from, to = max(from, e.Off), min(to, e.End())
	skip := from - e.Off
	e.Off, e.Len = from, to-from
	switch {
	case e.Hole:
	case e.Inline != nil:
		e.Inline = e.Inline[skip : skip+e.Len]
	default:
		e.Ref.Off += uint32(skip)
	}
	return e
}

// ValidName reports whether a name may stand in a directory: 1 to 255 bytes, any but '/' and NUL, not "." or "..".
func ValidName(n string) bool {
	if n == "" || len(n) > MaxName || n == "." || n == ".." {
		return false
	}
	for i := 0; i < len(n); i++ {
		if n[i] == '/' || n[i] == 0 {
			return false
		}
	}
	return true
}
