// Package cache keeps sealed chunks of content near: opened ones in memory, sealed ones in a slab on disk, with an index in badger.
//
// # Invariants
//
//   - A chunk is opened, and so verified, each time it comes from the slab or the store. What does not open in the slab is dropped and fetched
//     again; what does not open when it comes from the store is an Integrity error.
//   - Whether a chunk is there, the index in memory decides. It is read from badger once, at the start, and badger follows it later; a
//     slot that was given to other chunks before a crash does not open, which makes an outdated index harmless. So nothing is synced.
//   - The slab's size and badger's share together stay below Limit. Chunks and buffers in memory stay below Memory.
//   - A chunk is fetched by one goroutine at a time, whoever waits for it; one who stops waiting does not stop the others.
//
// # Locks
//
// Cache.mu guards the index in memory and the flights, and is not held over I/O. Memory's LRU has its own. A Stream has one too.
//
// The package imports remote only.
package cache
