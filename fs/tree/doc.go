// Package tree keeps the names, inodes and places of content of one volume.
//
// # Three layers
//
// The base is what the remote has at a position: a badger database, disposable, encrypted with a local
// key. Above it lie two layers in memory that hold only differences: live takes every local change, and
// frozen is what is being committed. A reading looks into live, then frozen, then base.
//
// So the last state known to be remote, the shadow of every dirty inode, is kept nowhere: it is what the base says. What is to be sent is the
// difference of frozen and base; a file that came and went is no difference. After a commit the same
// Ops are applied to the base and frozen is dropped; after a failed one live is laid over frozen and
// becomes live.
//
// # Invariants
//
//   - The base at a position is exactly what all batches up to it say. A batch is one transaction, or, when it is too
//     big for one, is bracketed by a mark; a base found with the mark is begun anew.
//   - A snapshot fills the base in one go, after all of it was told: see fill. Beside the database lies a mark meanwhile; a base found with it is begun anew, too. Key by key
//     it comes to what the Ops come to one by one.
//   - A Load over a base that has something leaves it as it was until all of a snapshot was told, which then takes its place with mu held: readers see the one or the other, and
//     a Load that breaks off before leaves the old base at its old position.
//   - An inode whose last name went stays readable while somebody pins it.
//   - live and frozen are bounded by the journal, whose records they index.
//   - Replaying the journal from any record at or before Needed gives the same layers, or ones that differ only by
//     what the base has by now.
//
// # Merging
//
// Merge tells what a batch of somebody else's makes of local changes that it meets, and changes nothing; Adopt takes both. Names come
// first. For each name that both sides stated, what only one side changed counts, and else the batch's: what was there here gets a conflict name, or, a new
// directory, goes into the one that is there. Then what is no tree, or would lose something, is mended one by one: what one
// side removed and the other gave content or names comes back; of two names of a directory and of a circle the local one goes. Each step moves towards the
// batch's tree, which is one, so it ends. Inodes come last: attributes field by field, xattrs one by one, and content as a whole.
//
// A Merge is in the journal when it is adopted, and a replay calls Merged with it: over a base that has the batch, and maybe later ones. Therefore it states anew all
// that the records before it could not do to such a base, such as changes of an inode that is gone there. Batches that only add other names to the same directories
// need no Merge; the counts of the live layer are differences and just add up.
//
// # Locks
//
// Tree.mu guards the layers; the base has transactions of its own. Apply, Freeze, Commit and Thaw
// take mu for writing, and so do local changes; readings share it. No I/O but badger's happens under it. Readings of all the base are made without mu; those from other
// goroutines than that of loads hold base.use, so that the base is not replaced below them.
//
// The package imports remote, its codecs, remote/spool and remote/bulk only; it knows the journal as a Place.
package tree
