// Package wire is the one encoding of remote.Op, remote.Attr and remote.Extent. Log entries, snapshots, the journal and
// the tree index all hold Ops in this form and none has another.
//
// # Invariants
//
// The encoding is canonical: each valid value has exactly one encoding, and the decoder refuses every other string of bytes. So
// encodings may be hashed and compared. Whatever the decoder accepts passes Check, and whatever passes Check can be encoded
// and comes back equal (in the fields that count for its kind; the others come back zero). There is one set of rules, and
// writers and readers share it.
//
// What wire does not know is the tree: whether an inode exists, whether directories form cycles, whether extents overlap.
//
// Decoded values never alias the input; it may be reused at once. No allocation is larger than the input allows: the length
// of a string is compared with what is left of the input before the string is made, and a count likewise.
//
// All functions are pure and may be called from many goroutines. The package imports megafs/remote only. Errors never hold
// names or contents.
//
// # Basic forms
//
//	u8       one byte
//	u16      2 bytes, big-endian
//	i64      8 bytes, big-endian, two's complement
//	uvarint  an unsigned number below 2^64, least significant 7 bits first, one group to a byte; the top bit (0x80) is set in
//	         all bytes but the last. It must be minimal: a last byte of 0x00 is refused unless it is the only byte. At most 10 bytes,
//	         of which the tenth is 0x01.
//	svarint  a signed 64-bit number d as uvarint z: z = 2d for d >= 0 and z = -2d-1 for d < 0 (zigzag: 0, -1, 1, -2, ... are
//	         0, 1, 2, 3, ...)
//	bytes n  n bytes as they are
//
// An inode number, which is device*2^40 + counter, is
//
//	uvarint  device, below 2^24
//	uvarint  counter, below 2^40
//
// and not zero in both. The root, 1, is the two bytes 00 01.
//
// # Attr
//
//	u16      type*4096 + mode; type 1..7 (file, directory, symlink, fifo, socket, character device, block device), mode 0..4095
//	uvarint  uid, below 2^32
//	uvarint  gid, below 2^32
//	i64      ctime, in nanoseconds since 1970 like all times here
//	svarint  mtime - ctime   } these three differences are taken modulo 2^64,
//	svarint  atime - ctime   } into -2^63 .. 2^63-1, so that any two times have one
//	svarint  btime - ctime   }
//
// and then, by type,
//
//	file               uvarint  size, at most 2^63-1
//	symlink            uvarint  length of the target, 1..4095
//	                   bytes    the target, no byte of it zero
//	character device,  uvarint  rdev, below 2^32
//	block device
//	others             nothing
//
// A symlink's size is its target's length; sizes, targets and rdevs of types that have none are zero or empty. Check refuses
// others, since they would come back changed.
//
// # Extent
//
//	u8       form: 1 hole, 2 inline, 3 reference
//	uvarint  offset in the file
//	uvarint  length, at least 1; offset + length is at most 2^63-1
//
// and then, by form,
//
//	hole       nothing
//	inline     bytes    the content, of the length given, which is at most 2048
//	reference  bytes 32 object id
//	           uvarint  epoch, below 2^32
//	           u8       number of chunks in the object minus 1
//	           uvarint  offset in the object's plaintext; offset + length is at most chunks*16384
//
// # Op
//
//	u8       kind
//
// and then, by kind,
//
//	1 node     inode, Attr
//	2 link     inode of the parent, inode, name
//	3 unlink   inode of the parent, inode, name
//	4 cut      inode, uvarint offset, at most 2^63-1
//	5 extent   inode, Extent
//	6 xattr    inode, name, uvarint length of the value (at most 65536), the value
//	7 noxattr  inode, name
//	8 device   bytes 16 device id, uvarint number, 1..2^24-1
//
// A name is u8 length, at least 1, and so many bytes. In link and unlink it contains neither 0x2f ('/') nor 0x00 and is neither
// "." nor ".."; in xattr and noxattr it contains no 0x00. It is not necessarily UTF-8.
//
// # What Ops mean
//
// A reader takes the Ops of a batch in their order:
//
//	node     the inode exists and has these attributes; its type never changes. When a file's size falls, its content from the new size on is
//	         gone for good; when it grows, the new part is a hole
//	link     the name in the parent is that inode, whatever it was before
//	unlink   the parent has no such name; the inode is for information
//	cut      the file's content from the offset on is gone, and reads as zeros up to the size
//	extent   these bytes of the file are a hole, these bytes, or those in the plaintext of a content object
//	xattr    the inode has this extended attribute, and with noxattr it has none of that name
//	device   the inode numbers with this device number are made by that device
//
// Bytes that no extent gives are a hole, and zero. At a batch's end an inode without a name, other than the root, is gone with all that belongs
// to it. Ops on inodes that do not exist mean nothing. The inodes of files have as many links as names.
//
// # Lists
//
// A counted list (AppendOps, DecodeOps) is
//
//	uvarint  number of Ops
//	         the Ops
//
// and an uncounted one (EachOp) is Ops, one after another. Either ends exactly where its bytes end.
//
// # Versions
//
// Each form begins with a tag: an Op with its kind, an Extent with its form, an Attr with its type, whose values
// 8..15 (that is, a first byte from 0x80 on) are free. The layout behind a tag never changes. A new layout, or a new field, takes a
// new tag, and a reader that does not know a tag refuses the whole with kind NotSupported rather than guess.
package wire
