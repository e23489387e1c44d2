// Package bulk fills an empty badger database in one go: the tree index with a snapshot, an account's index with its first tree.
//
// Records come in streams, each in the order of its keys. They become tables of the lowest level at once: nothing is written twice, looked up or compacted. The
// database may be used by nobody else until Flush; what is there of a filling that was cut short is for the caller to know and to drop.
//
// A Writer belongs to one goroutine. It has one of its own, which hands to badger what was put before, so that both cores have work; Flush and Cancel end it.
//
// Room tells whether the disk has what any such database needs to be written to.
//
// Of megafs it imports the error kinds of package remote.
package bulk
