// Package remotetest has a Remote in memory, for tests of what stands above a store: it keeps the contract of remote.Remote and can be
// told to fail, but seals nothing. And it has the suite (Run) that states that contract, which every Remote passes, and reads
// the tests of the tree (Tests), for tables of what they show.
//
// It imports remote only and is imported by tests only.
package remotetest
