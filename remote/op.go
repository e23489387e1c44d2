package remote

// OpKind says which fact an Op states.
type OpKind uint8

// The kinds of Ops. Their numbers are part of the vault format.
const (
	// OpNode: inode Ino exists and has Attr. For a file whose Attr.Size is smaller than before, content from
	// there on is gone; larger, the new part is a hole.
	OpNode OpKind = iota + 1
	// OpLink: Name in directory Parent is inode Ino, whatever it was before.
	OpLink
	// OpUnlink: there is no Name in directory Parent. Ino is what it was, for the journal's readers.
	OpUnlink
	// OpCut: content of file Ino from byte Cut on is gone (it reads as a hole up to the file's size). Within a batch,
	// cuts of a file come before its extents.
	OpCut
	// OpExtent: the bytes Extent.Off..End of file Ino are those.
	OpExtent
	// OpXattr: inode Ino has the extended attribute Name with Value.
	OpXattr
	// OpNoXattr: inode Ino has no extended attribute Name.
	OpNoXattr
	// OpDevice: device Device has the number Number, which begins the inode numbers it makes.
	OpDevice
)

// Op states one fact about the tree. Which fields count depends on Kind.
type Op struct {
	Kind   OpKind
	Ino    Ino
	Parent Ino
	Name   string // of a directory entry or an xattr
	Attr   Attr
	Cut    uint64
	Extent Extent
	Value  []byte
	Device DeviceID
	Number uint32
}

// DeviceID is the random name of one state folder, that is, one machine's use of a vault.
type DeviceID [16]byte

// Position is a place in a remote's history: how many commits lie before it, and the hash of the last. The zero Position is before the first.
type Position struct {
	Seq  uint64
	Hash [32]byte
}

// Batch is Ops that hold together, and the position the remote has after them.
type Batch struct {
	Pos    Position
	Device DeviceID // who committed it
	Time   Time     // that device's clock
	Ops    []Op
}

// Usage is how much room a store has, in bytes. Total 0 means that nobody knows.
type Usage struct {
	Used  uint64
	Total uint64
	Free  uint64
	Quota bool // nothing beyond Free is taken
}
