// Package megaserver is a server that speaks MEGA's API, for MEGA's own and other clients: accounts, nodes, versions, links, shares,
// transfers, events. It keeps what clients encrypted and can read none of it.
//
// # What is where
//
// Accounts, nodes, sessions, events and the accounting of bytes are records in a badger database, which syncs each commit; the bytes of files are
// objects in a blob.Store. A request's commands are one transaction (more if it writes more than 4 MiB), and the answer leaves when that is durable.
// A command checks everything before it writes anything, so one that fails leaves nothing behind in the transaction.
//
// A node's record lies under its parent's handle (c, parent, handle), so a folder is one scan, and another (h, handle) names the parent. An old version of
// a file lies under the next newer one. A node names its content, which copies share and count. A content's parts lie under its name by offset, each a range of a blob;
// they never overlap, whatever ranges the client sent and how often. The content is named by the upload that brought it, as are its blobs.
//
// Deleting takes the topmost node out of the tree, at once and whatever lies below; the collector takes it apart later. Every
// look-up goes up to a root, so what lies in it is not there for anybody.
//
// Events of an account are numbered. A moved tree is one event that is written out when it is sent, as it is then: no move is too large.
//
// # What survives
//
// After a kill at any point: all that was answered. Bytes are durable in the store before the part that names them is, parts before the
// node, and the node before the answer. What a crash leaves in the store without a part is found because its upload is marked when
// the server starts. The answers to repeated requests (same session, same id, same body) are kept for ten minutes, in the same transaction.
//
// # Locks
//
// An account's lock is held over its changing commands, those of accounts whose folders are shared with it too, in order of their handles, and over
// noting what was uploaded. openUpload.mu comes after it; accountLocks.mu, openUploads.mu, notifier.mu, gate.mu, work.mu and Faults.mu are taken last and alone, but that openUploads.mu
// is held over reading an upload's record. Transactions that meet all the same are tried again.
//
// # Bounds
//
// Bodies with commands have at most 32 MiB, pieces of files 4 MiB, and all that are in memory together Options.Memory. A tree is written while it is
// read. Waiting for events is bounded by time and by number for each account. Each read and write has a deadline.
//
// # Not supported
//
// Answered BadArgs: whatever is not in the table of commands, among it chats, albums, contacts, password recovery, payments, backups. Links that
// may be written to are NoAccess. A replaced file's public link stays with the old version.
//
// The package imports remote, remote/blob and crypto/megacrypt.
package megaserver
