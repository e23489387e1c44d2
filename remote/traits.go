package remote

import "context"

// Traits say what a Remote can't keep, so that it is refused when it is asked for, and not when it is sent.
type Traits struct {
	WholeFiles bool // content is stored file by file; see WholeFiles
	OneName    bool // an inode has one name only: no hard links
	ReadOnly   bool // nothing can be changed
	Xattrs     int  // bytes of extended attributes, names and values, of an inode; 0: as many as Ops can state
}

// Limited is a Remote that can't keep everything.
type Limited interface{ Traits() Traits }

// TraitsOf returns what a Remote can't keep.
func TraitsOf(r Remote) Traits {
	if l, ok := r.(Limited); ok {
		return l.Traits()
	}
	return Traits{}
}

// Guarded is a Remote in which some inodes can't be changed while others can. They are somebody else's, who may take them back, so that nothing of one's own may hang on their content.
type Guarded interface {
	// Guard returns why nobody may change an inode, or the names in it, nil if they may be changed. It asks no server, and may be called from many goroutines.
	Guard(ino Ino) error
}

// WholeFiles is a Remote that knows the content of a file only as a whole, and takes its place in Store. Its Commit wants of each file either none
// of its content or all: extents of MaxContent bytes each, from the beginning to the end, as StoreFile returned them; a file of no bytes has none.
type WholeFiles interface {
	// StoreFile uploads size bytes, at least one, that read delivers from any offset, and returns where each piece of MaxContent bytes lies. The same
	// bytes must be delivered each time. ino is whose content it is, of which no other is stored at the same time: when it failed, also in an earlier process, StoreFile may go on from there,
	// if the bytes are still the same. What it returned before for that inode, and no Commit took, is void. stored is told what Store tells it.
	StoreFile(ctx context.Context, ino Ino, size uint64, read func(ctx context.Context, off uint64, dst []byte) error, stored func(ref Ref, sealed []byte)) ([]Ref, error)

	// CopyFile is StoreFile for content that the remote has: refs are its pieces of MaxContent bytes from the beginning to the end, of size bytes in all. It
	// returns nil if that is not all of one file's content, or none that can be copied now; then StoreFile is to store it. What comes to light only
	// when a Commit refers to the copy ends that with Conflict, and the next CopyFile returns nil.
	CopyFile(ctx context.Context, size uint64, refs []Ref) ([]Ref, error)
}
