// Package cache keeps sealed chunks of content near: on disk as they were received, and the few in use opened in
// memory. It fetches what is missing, once however many ask, and what will be asked for next.
//
// # What is trusted
//
// Nothing on disk. An object is immutable and its chunk i has one valid sealed form, so whatever a slot holds either opens
// as exactly the chunk that was asked for or does not open. Each read opens (verifies and decrypts) again; bytes that do not open are
// dropped and fetched anew, and only when fetched bytes do not open either, the read fails with kind Integrity. Hence
// no write is synced, a torn or stale slot is a miss, and plaintext exists in memory only.
//
// # On disk
//
// A folder with these names in it; others are neither touched nor counted:
//
//	lock     held with flock while a Cache is open
//	slab-N   slots of 4 sealed chunks (65 600 bytes), 1023 of them in a file, made and allocated when first needed
//	index/   a badger database: slot number -> object, run, which chunks are valid
//	clean    a MAC of all of index/, written by Close, removed by Open
//
// A run is 4 adjacent chunks of an object; it has one slot or none, and a bitmap says which of its chunks are there. badger's keys are slot
// numbers and not objects: a reused slot then overwrites its record instead of leaving a
// deletion behind, so the database has at most one live record a slot and its size a bound. The same records lie in memory without
// pointers, about 75 bytes a run, so badger is read once, at Open, and written in batches by one goroutine.
//
// badger may end the process when a table is damaged. So it is given only files that verify against the MAC of a clean
// Close; without one, after a crash or any damage or with another key, the folder is wiped and the cache begins anew. For the same reason badger
// is not written to when the disk is nearly full: it writes through mmap, where a full disk is a fatal signal.
//
// # Space
//
// Limit covers the slabs and the index. The index gets a share of it (see layout); when its files outgrow the share, the
// database is emptied and written again from memory. Slots are chosen for reuse with the CLOCK algorithm: what was read once, however big, goes before what was
// read twice. Growing stops, and the cache keeps to the slabs it has, when the disk has little room left.
//
// # Memory
//
// Of Options.Memory one half is for opened chunks (those that were used in part, and read-ahead that found no slot), one half for fetches: a fetch takes its bytes
// before it begins and gives them back when all who waited have opened what they need. Beside that: the index, badger (about 15 MiB and more with
// larger limits), and for each running Read a run (64 KiB) and a chunk (16 KiB).
//
// # Goroutines and locks
//
// Options.Parallel fetchers, and one writer of the index; Close ends them. With Options.Near a Read starts a
// goroutine for a fetch that nobody has begun: waking a fetcher and being woken by it takes as long as a local disk does. No Read
// is in a Source call itself, which may not heed its context: a fetch that hangs keeps its memory, and the Reads that wait for it leave in time. Each lock owns one piece of state:
//
//	fetcher.mu  queues, fetches under way, the fetches' memory
//	slabs.grow  making a slab
//	slabs.mu    the records of slots and the CLOCK hand
//	shard.mu    opened chunks, by shard
//
// They are taken in this order. No lock but slabs.grow is held over I/O, none over Source calls.
//
// A reader looks a slot up, reads it without a lock, and opens what it got. If the slot was reused meanwhile the chunk does not open; the
// record's generation tells that from damage.
//
// The package imports nothing of megafs but package remote.
package cache
