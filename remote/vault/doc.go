// Package vault is megafs's own encrypted format over a blob store: a remote.Remote that tells the store nothing it needn't know and believes
// it nothing it can't prove.
//
// # What lies in the store
//
//	k/<generation>        the keyring: who can unlock the vault, and the keys of its epochs (package crypto)
//	l/<number>            the log: one sealed entry each, from 1 on
//	o/<2 hex>/<id>        content: up to 256 chunks of 16 KiB, packed from whole files and parts of files; the 2 are the id's first
//	s/r/<number>-<id>     snapshots: a root
//	s/p/<id>              and its parts
//	h/i/<number>-<id>     the hashes of the log's entries up to one, when those are removed
//	h/s/<number>-<id>     and segments of 4096 of them, from 0 on
//
// Numbers are 16 hexadecimal digits, ids 64, all in lower case. Nothing is ever overwritten. A store that is a folder may have other files and folders beside these, which
// mean nothing. The keyring with the highest generation is the one in force; its object's generation is the one in its name.
//
// # The log
//
// An entry's plaintext, integers big-endian:
//
//	u16 version = 1 | 32 vault id | u64 number | 32 hash of the entry before |
//	16 device | u64 number among the device's entries, from 1 | 32 hash of the device's entry before |
//	i64 time (ns) | u64 keyring generation | 32 keyring hash | u32 epoch |
//	u64 number, 32 root hash of the newest snapshot announced |
//	u16 part | u16 parts | u8 type | by type:
//	    0 batch part            u16 n | n Ops (package wire)
//	    1 snapshot announcement u64 number of the state | 32 hash of the sealed root | 32 root id
//	    2 keyring change        u64 generation | 32 hash
//	    3 mark                  u64 floor | 32 id, 32 SHA-256 of the sealed history up to floor; zeros without floor |
//	                            u32 n | n items: u8 1 content, 2 part, 3 root, 4 history, 5 segment | u64 number, of 3..5 only | 32 id
//	    4 mark done             u64 number of the mark's entry
//	zeros up to the bucket of the length
//
// The bucket of n is 512 for n <= 512. For more let e be the position of n's highest bit (n >= 2^e) and s the number of bits of e; the bucket is n rounded up to a
// multiple of 2^(e-s) (Padmé). An entry's plaintext is at most 1 MiB.
//
// It is sealed as a log object with the number as context. H(0) = SHA-256("megafs-vault/1 genesis\0" || vault id) and
// H(n) = SHA-256("megafs-vault/1 entry\0" || sealed bytes of entry n). "Hash of the entry before" and "hash of the device's entry before" are such H; the
// first entry of a device has 32 zeros for the latter, as every entry has for number and hash of a snapshot as long as none was announced. The hashes of keyrings,
// roots and parts are plain SHA-256 of the object. Keyring generation and hash are those in force when the entry was made, in a keyring change the
// new ones; generations never fall, and an entry that names the present generation must have its hash. The epoch is the one in the entry's own sealed header, and at
// least the last one whose first entry, as the keyring has it, is not after the entry.
//
// Create-if-absent of the next number is the only synchronisation there is. A batch too big for one entry is spread over entries that lie directly
// one after the other, from one device, with part 0, 1, ... of the same parts; the other types have part 0 of 1. A batch that is broken off, by the log's end or by any entry
// that is not its next part, never happened.
//
// # Snapshots
//
// A snapshot is the state after entry n as Ops in canonical order (devices by number; inodes by number, each with its xattrs and extents;
// names by directory and byte order), cut between Ops into parts of less than 4 MiB. It counts only if entry n+1 announces it. A part's plaintext is
// Ops, zeros up to the bucket of their length, u32 length of the Ops. A root's plaintext: u16 version = 1 | 32 vault id | u64 n, 32 H(n) | u64 keyring
// generation, 32 hash | 32 SHA-256 of all Ops | u64 n, 32 root hash of the snapshot before | u32 parts | per part 32 id, 32 SHA-256 sealed, u32 number of Ops | zeros up
// to the bucket of the length. The id in a root's name, and that of a part, is the one in its sealed header.
//
// Whoever reads from a snapshot on goes on with the entries after n. What a file's extents leave out is a hole; snapshots have no Ops for holes.
//
// # Garbage
//
// A mark gives objects up: no later entry may refer to its items, and one that does is refused as ErrInvalidEntry by those who followed the log from the mark
// on. The log is in one order for all, and who commits has read all of it, so a writer can't refer to what was given up without knowing; it stores
// that content anew, and its commit that was under way fails, since the mark took its place. So what is given up may be removed at any
// time after, whatever clocks say. That it is not at once is for readers that have not looked for a while. When all is removed, another entry says so;
// any machine may go on with what another began.
//
// What is given up are objects that a listing shows and nothing needs: content that neither a chosen snapshot, nor an entry after it, nor this machine's
// tree and journal refers to; snapshots but the chosen one, the two newest, one in each eighth of the time that is kept, and the one that the log begins with;
// their parts; histories that are replaced; and content that no entry refers to when it has been there for a while, for it may be on its way. The chosen snapshot is the newest that was announced before the time that is kept, so that all states
// since stay whole. A listing is a hint only: what is needed is never given up, whatever it shows. When somebody else commits first, what he
// refers to is taken into account before the mark is tried again; after another mark or snapshot, all is looked at anew.
// How old a state or a mark is the entries' clocks say. One that is ahead of ours, or of an entry before, is not believed: that entry counts as made at the
// time of the next one, or now. So another's wrong clock makes nothing go early; one's own, when it is ahead, takes from what is kept of the past, never from the present.
//
// A mark with a floor lets the log up to that entry go, of which there is a snapshot. Before that the snapshots concerned are held against a replay of the log, a later one
// must be there too, and the history is stored and read back. The entries go the oldest first. A history's plaintext: u16 version = 1 |
// 32 vault id | u64 floor | per full 4096 entries 32 id, 32 SHA-256 of the sealed segment | 32 hashes of the rest | zeros up to the bucket of
// the length; its context is u64 floor and a zero byte. Segment k's plaintext is H(4096k+1) to H(4096k+4096), its context u64 k. A machine that remembers an entry that is
// removed looks it up there, and goes on after the floor; it is not taken for one that never saw the vault. Without a history that has the
// entry the store is caught in a gap, with one that has another a fork. Having leapt, it takes a new name: what was done in its name there it can't tell.
//
// A vault whose log begins later than with entry 1 has an entry with a floor that allows it.
//
// A snapshot that the log announces and no mark gave up is kept also when the store does not show it just now. Entries that were removed and are there again
// go in the next run; the log begins after the last that is missing.
//
// # The past
//
// Past walks over the log that is left. The state after an entry is the newest snapshot up to it and the batches from there on, held against the hashes
// of that walk. Content that a mark gave up may be gone.
//
// # A second reader
//
// scripts/decode reads vaults by this text, that of package crypto and that of package wire, and shares no code with the program. What it needs
// to know and they do not say is a mistake in them. testdata/golden is a vault that both must read for ever.
//
// # What is remembered
//
// The state folder's trust files hold the newest entry that was verified, the keyring in force, this device's name, number and newest entry, and
// the hashes of what was sent without an answer. The newest entry is compared with the store's when a vault is loaded, before anything is told, and
// again once a minute and after each commit. A position newer than it, of a tree or a snapshot, is reached by walking there from it. So the
// store can't go back or change to another history. A store that is caught makes the vault read-only, over restarts, until somebody accepts
// its history; the next load then begins anew. A machine whose tree is lost is told a state as new as what it remembers, or none. Nothing that may
// just be slow is held against a store: what must be there and is not is asked for again for a third of a second.
//
// An entry is put only after one that was found to be there a minute ago at most, by the time of day too, before and after: a machine that slept could else put one where the log
// was removed meanwhile, and nobody would see it.
//
// Before its first commit a machine asks the store whether it keeps its contract (blob.Probe), and remembers that it does. Where names can be taken twice it commits nothing: there is no
// mode for one writer alone, which another machine would have to know of.
//
// Entries in this device's name that were not sent from here are a copy's of the state folder. The device then takes a new name, and commits nothing
// until it is registered anew, for the copy makes the same inode numbers.
//
// A keyring that the log names and this process does not have is fetched; one that the log does not name, since its maker died before that, must
// follow the named one link by link.
//
// # Heads
//
// What no machine can see alone, that the store shows another one another history for ever, comes out when two hold their heads against each other. A token
// names a place: vault, number, 16 bytes of its entry's hash, and the keyring's generation, 64 bytes, then 6 bytes of the SHA-256 of "mgh1-" and these; it is written as "mgh1-" and
// all 70 in base32 of lower-case letters and 2 to 7, without padding. Words are 44 bits of an HMAC of the place under a key of the first epoch. Compare counts what lies between the
// token's place and the head only if each entry leads to the next, or a history leads there; it leaves no mark, for who made the token is not known here.
// A machine that never saw the vault can be given a token instead of believing what it is shown: that place then is the newest entry it remembers.
// Nobody notices a store that always shows the same: how old its newest entry is, by its maker's clock, is remembered to be told.
//
// # Not in this version
//
// Objects of which little is used are not packed anew. The format allows it: store what is used again, commit extents that lie there, and let the old be collected. But as
// long as the past is kept that takes room instead of giving it back, and copies that wait in other machines' journals would have to be stored again.
//
// Keys are not rotated by any command yet; entries under withdrawn epochs are refused all the same, and a vault rotated by a newer megafs is ErrUnsupported until it is opened
// with the new keys. A read of some chunks of a content object does not notice that others are missing, or that something follows the last; Verify does.
//
// # Locks
//
// commitMu makes commits and loadMu makes loads one at a time; neither is taken with the other. mu guards what is known of log and trust and is
// taken last. No request to the store is made under mu, but the trust files are written under it. The keyring is an atomic pointer.
// A load and a commit may overlap; whichever is further ahead stays.
//
// The package imports remote and its codecs, blob and crypto, and nothing above them.
package vault
