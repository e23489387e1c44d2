// Package mega is the client of a MEGA account, or of a public folder or file: a remote.Remote whose store is a server that speaks MEGA's API.
//
// # How it fits
//
// MEGA knows nodes by handles, and a file's content only as a whole: each new content is a new node, which may stand in the place of an older one as its
// newer version. megafs knows inodes, and content by pieces. Between the two stands the index, a database in the state folder: which inode is which
// node, with its key, its attributes and the name by which it is shown, in one transaction with the place in the server's events (sn) up to which that
// holds. Whatever changes the index also makes a batch of Ops, numbered on; Load hands out those that the tree does not have. A tree
// that is lost, or lags far behind, is told again from the index, without the server. The index is as precious as the journal, whose
// records speak of its inodes.
//
// The first tree goes past the index: nodes come in any order, and are spooled while memory has what hangs where (firstTree); then the index is written in the
// order of its keys, at once. A tree beyond the memory there is for that, or read again, is staged in the index (staging).
//
// A file's content is an object: the node's, when somebody else made it, or a random number, when it was uploaded from here, for its extents are stated
// before it has a node. Its pieces are the 4 MiB that a Ref can name.
//
// # Invariants
//
//   - An inode has one node at most. A node that another client puts in the place of a file as its newer version takes over the inode.
//   - Before the server is asked to make a node, what it is meant to be is in the index (intent), under its wrapped key, which is random. So a node
//     whose making was not answered is known again when it is seen, and no file is made twice. If it comes after a commit began that does without it,
//     and its inode has another node or needs none, it is a stray: it is never shown, and goes to the rubbish bin. A week later it can't come any more, and is
//     forgotten.
//   - Commands bear a tag that is the index's own. What comes of them, and was not noted since no answer came or the process ended, is told as this device's,
//     apart from what others did; but what the server tells of a node that moved is how it is by now, so nothing is taken for gone or replaced by them (applyOurs). What comes of them later, when all was planned anew, is undone (belated.go).
//   - A commit is a list of commands, of which each leaves a tree. What each did is in the index and told as a batch of this device's, whether the rest
//     succeeds or not. When it came out otherwise than planned, Commit says to what (remote.CameOutError).
//   - Replacing content is one command, which makes a new version; nothing is removed before what replaces it is there. What is removed goes to the rubbish bin
//     unless Options.Delete says otherwise.
//   - Content is uploaded under a key that is made for it. When it is uploaded anew, whatever the reason, it gets another: one key and nonce never meet two
//     contents. An upload that was cut goes on under its key, also in the next process, but a chunk only with the content that it had when it was first sent: its MAC is in the index before it
//     is sent, and held against what is to be sent. An index that may have been put back as it was before (epoch) lets none go on.
//   - A copy has the key of its original, whose stored bytes it shares, so its wrapped key is not its own, and its intent bears its mark as well. It is made before what it is a copy of is replaced or
//     removed; when the server does not make it, the content is sent.
//   - Only keys that were made in this process are ever encrypted under the master key (wrapOwn), but that of a node that is copied: it was decrypted with the master key before, so what is sent is
//     the text that the server has. Keys of nodes are never written back otherwise.
//   - No byte of a file up to Options.Verify is given out before the whole of it was held against its key. Of a larger file, the first reading gives out
//     what it reads, and knows at the end whether it was right; then a wrong file is poisoned: neither read, nor served from the cache. After that reading each chunk is
//     held against its MAC. The cache holds content under a key of this machine's (sealer).
//   - Before anything else is asked, the generation of the account's own key set is held against the highest that was seen (admit). That set is never written.
//   - What is in another's share (node.shared) stays there, and nothing changes it: the volume asks Guard, a commit leaves it out (yield), and no command
//     that names it is sent (send). It is no node that was made here, nor the original of a copy. A share's key opens nothing
//     outside of shares, and encrypts nothing.
//   - A log-in is tried once, and what is wrong with its answer can't be seen from outside.
//   - URLs that the server names lead to its own hosts, over https, or are not followed.
//
// # Names
//
// A node's name may be anything, and be there twice. What no directory can have is shown escaped (present), and of nodes with the same name all but the oldest
// with a mark behind it (twin), on all machines alike; when the oldest goes, the next gets the plain name. Names made here that are not UTF-8 have their exact bytes in an
// attribute of ours. Shares hang in "Shared with me", a folder with a handle that no node can have and an inode number of its own device. Nodes whose key or attributes make no sense are shown as "(undecryptable HANDLE)", without permissions.
//
// Attributes of ours, beside the name "n" and the fingerprint "c" that the official clients use: "mfs", the inode's attributes as package wire encodes
// them; "mfx", extended attributes; "mfn"; "mfc", the mark of a copy. When another client changed content or time since, "c" and the node's own size go before "mfs".
//
// # Locks
//
// Remote.turn is held by whoever changes the index or talks about changes with the server: Load and Commit, over I/O, with deadlines. downloads.mu and
// uploads.mu guard their maps, file.mu one file's MACs and URL; file.mu comes before downloads.mu. No lock but turn is held over I/O, but for the
// records of a file that was verified or condemned.
//
// Goroutines: one that waits at the server for news, and those that download; Close ends them. While the whole tree is told, one reads the index; Load ends it.
//
// Content, and nothing else, goes and comes at Options.Pace. The time of a request stands still while that is waited for (allowance).
//
// It imports remote, remote/wire, remote/spool, remote/bulk and crypto/megacrypt.
package mega
