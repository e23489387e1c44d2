// Package journal is the write-ahead journal of ops and dirty bytes, the one
// store on this machine that is precious: what it holds exists nowhere else yet.
//
// Records share one order, whatever they are about, so a crash leaves a prefix
// of what was appended. An appended record survives the death of the process; a
// record that Sync acknowledged survives a power cut.
//
// # On disk
//
// A folder of segments, <number>.seg, of spare files, <number>.spare, and a file
// named reserve. A segment is a header block and then records, each on a 16-byte boundary:
//
//	header  magic[8] version[4] 0[4] number[8] salt[32] tag[16], to 4096 bytes
//	record  length[4] kind[1] 0[3] seq[8] durable[8] | payload, zeros | tag[16]
//
// Integers are little-endian. A segment's key is HKDF-SHA256 of the journal's
// key with the segment's random salt and number; header and records are sealed
// with AES-256-GCM under it. The nonce of a record is its offset in the segment,
// which binds it to its place, and its first 24 bytes are additional data. A
// segment is only ever appended to in the life (from Open to Close or crash)
// that made its header, at growing offsets, so no nonce is used twice.
//
// Records of kind 0 are the journal's own and take no sequence number. Each says
// which segment came before, where that one ended, and which records are no longer
// needed. The first record of a segment is one, its opener; others are notes.
//
// # What a crash leaves
//
// Open follows the openers back from the newest segment. A link holds if the
// segment before verifies up to exactly the end that its successor names; the last
// segment counts up to its last good record. What lies behind that end is void:
// the next opener names the end, is on disk with the first acknowledged record of
// its segment, and so keeps records that were cut off once from coming back.
// Sequence numbers go on after the last good record.
//
// Each record carries the number that was known to be durable when it was written.
// When a verifying record behind the break says that a record before it was
// durable, then no power cut but damage took that record, and Open refuses with
// kind Integrity and changes nothing. Without such a proof the break is what a power
// cut may leave of unsynced pages. Close writes a note last, so that after a clean
// end every record has a proof. Not noticed: damage of the last synced records after a
// crash, when nothing newer was written; and the removal or the replay of the
// newest segments as a whole, since nothing outside says how new the journal should be.
//
// The name of a segment is durable before its first record, its header before its
// name, and a note that its records are not needed before it loses the name. So
// a file named as a segment has a good header, or it is damaged.
//
// # Space
//
// A segment's file is filled with zeros a step at a time (1 MiB of 32), just ahead
// of the records, and recycled as a whole once its records are not needed. Hence most
// fdatasyncs write no metadata, a mount that is idle holds two steps, and a full disk
// shows before a record is sealed. At most two spare files are kept. Room is what
// may still be appended; one step of Limit is kept for Trim, which writes before it
// frees. A recycled file keeps its old records until they are overwritten, but
// under a key that no header tells any more.
//
// The reserve is a step of zeros. When there is no room, on the disk or below Limit, it becomes
// a segment for records that give room back or are small and possible on a full disk too (AppendFreeing), and for
// the journal's own; data that finds such a segment active waits until the file can grow. A new reserve is made from what is
// freed then. What else needs the disk's last room can be told by Options.Grow. So removing goes on for some thousand names, and without end while the remote takes what was changed.
//
// # Failure
//
// When a sync or a write fails the journal has failed: nobody can know what the
// disk holds, and asking again would get a lying answer. Each later call but ReadAt
// returns that first error. Open drops clean pages before it reads, to see
// what is on the disk and not what the kernel wished were there. A full disk is not a
// failure: the record is not written, and the next goes to another segment.
//
// # Locks
//
// Journal.trimming is held through Trim; Journal.mu guards order and space, and is held
// over the write of a record and the zeros ahead of it, but never over a sync;
// segment.io is held for reading around I/O on a file, for writing to take the file
// away. In this order. Readers take only segment.io. Two goroutines exist at most: one that
// makes the next segment and one that syncs; Close waits for both.
//
// The package imports nothing of megafs but the error kinds of package remote. It does not
// lock its folder, and knows nothing of what records mean.
package journal
