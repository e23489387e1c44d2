// Package volume is a whole file system without a kernel: it answers what package fs is
// asked, from the tree, the journal, the block cache and the remote.
//
// # Order of a change
//
// Every change of the tree takes the one lock mu, looks whether it may happen, appends a
// record to the journal, applies the same Ops to the tree, and lets go. So the journal's order is the
// order in which changes were seen, and a crash leaves a prefix of them. Nothing under mu waits
// for the network or for an fsync; writers that must be slowed down wait before they take it.
//
// One change waits for the disk under mu: a merge with what others did is synced before the base takes it, lest a power cut leave a base
// that has their changes and a journal that does not know what became of those made here.
//
// # Numbers
//
// The kernel's number of an inode is the tree's, but for files that are open when their local version becomes a conflict copy; see aliases.
//
// # Who waits for what
//
// Look-ups, attributes, listings and statfs are answered from local state. A read waits for the
// remote only when bytes are neither in the journal nor in the cache, and no longer than its
// deadline. Fsync waits for the local disk, or for the remote when the volume is so configured.
//
// Lock order: Volume.mu, then the tree's, then the journal's; quota.mu, which is never taken under Volume.mu, before the tree's. Handles have a lock of their own for
// read-ahead and errors, and neighbours one for what lies beside small files, rows one for those that
// follow; all are taken with none of these held.
//
// It must not import package fs or cmd.
package volume
