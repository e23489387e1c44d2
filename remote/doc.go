// Package remote is the vocabulary that all rooms of megafs speak: inode
// numbers, names, attributes, extents, the Op, the Batch, the Position, error
// kinds, and Remote, the narrow waist between the file system and a store.
//
// # State, not history
//
// An Op says what a thing is from now on, not what somebody did to it: this
// inode has these attributes, this name in this directory is that inode, these
// bytes of this file lie there. Applying an Op twice is the same as applying it
// once, and applying an old Op followed by all later ones gives the last state.
// Everything that must survive a crash rests on that: a journal may be replayed
// from too early a record, a plan may be committed twice, and a snapshot is no
// format of its own but a long list of Ops.
//
// # Batches are atomic
//
// Ops come in batches, and a batch is seen whole or not at all. Inside a batch
// the order of Ops carries no meaning beyond this: for one key (an inode's
// attributes, one name, one xattr, one byte of content) the last Op wins. The rules of a
// tree (each name leads to an inode, a directory has one name, no cycles, only
// empty directories vanish) hold between batches, so a swap of two names or the move of a whole
// subtree needs no safe order and no temporary names.
//
// An inode without a name does not exist: when a batch takes the last name of an inode, the
// inode is gone at the batch's end. (A file that is unlinked while it is open lives on in the
// machine that holds it open; that is no business of the remote.)
//
// # Identity
//
// Everything is keyed by inode number; numbers are never used twice. Names are looked up at the moment
// of use, never stored as paths.
//
// Package remote imports nothing of megafs.
package remote
