// Package blob is where a vault's sealed objects lie: one narrow contract, the stores that keep it, and what wraps them.
//
// # The contract
//
// An object has a name and bytes, and never changes. Put makes it if there is none of that name: whole or not at all, and
// durable before it returns. Of many that race for one name exactly one wins; that is the only synchronisation a vault uses.
// Reads see what was put. Nothing here knows what the bytes mean, so nothing here can tell right bytes from wrong ones of the
// same length: that is the reader's work.
//
// After a Put that failed with anything but Exist the object may be there or not, but never in part. Exist, too, is said only
// of an object that is durable.
//
// # Stores
//
// Dir keeps objects as files of a folder, S3 in a bucket, Mem in memory. Retry, Leave, Limit, Metrics and Paced wrap a Store and are one;
// the usual order is Retry(Metrics(Leave(Limit(store)))), so that each attempt is counted, a waiting one holds no slot, and one that
// was left because the store does not answer holds its slot until it ends. Paced goes around all: it holds up requests whose context spends a Budget. Probe asks a
// store at run time whether it keeps the contract; package blobtest holds the suite that each store passes.
//
// # The folder
//
// An object is written to a random name in the sub-folder tmp, synced, linked to its name (link fails when the name is taken),
// and the folder that holds the name is synced, as are the folders above when they are new. A folder whose sync failed takes no
// more objects until the store is opened anew: the kernel forgets what it could not write, so a second sync that succeeds proves nothing.
//
// All access goes through os.Root, which lets no symbolic link lead out; links inside are not followed either. Files that no
// object can be called after are passed over and never touched. The folder's path is looked at again once a second, and before
// the store says that something isn't there, so a disk that was unmounted is Unreachable and not empty; it is taken
// back when it holds at least one of the top-level folders known from before.
//
// # The bucket
//
// Put is one conditional PUT (If-None-Match: *) with SHA-256 and CRC32C of the bytes. A 412 is Exist, a 409 is sent again. An answer that was lost
// is Unreachable or Timeout, and whether the object is there is Retry's to find out. A 404 in which no S3 server speaks is Unreachable, too. A server that ignores the condition is
// found by Probe and refused. Bodies are read and written in place, so no buffers are needed beside the caller's. The server is given 10 s for a connection,
// 30 s to begin an answer, and is given up when less than 30 KiB come or go in 30 s, waiting for Rates not counted; so S3 needs no Leave, which would give up
// what a slow line carries. It is spoken to with TLS
// 1.2 or later; without, only when the connection's other end is this machine. Redirects are not followed. Rates bounds the bytes of bodies.
// A bucket that is not there is Unreachable, never an empty store. Listings out of order are ErrStoreContract.
//
// # State and locks
//
// dirStore.mu owns which folder is open and what is known of its sub-folders; fileCache.mu owns the open files and is taken
// alone or inside dirStore.mu. Neither is held over reading, writing or syncing. The wrappers hold no lock over a call.
// No goroutines outlive a call, but those of calls that Leave gave up, until the store lets them go.
//
// # Not supported
//
// A name that is also the folder of another (a and a/b): stores may refuse the second with Invalid. Folders on file systems without hard
// links (FAT, exFAT): NotSupported. Folders shared by several local users: modes are 0700 and 0600. A disk call that hangs in the
// kernel (a dead NFS server mounted hard) can't be given up by ctx, unless Leave is around the store; a GetRange not even then. Deletions are not synced and may come undone by a power cut.
// Emptied sub-folders stay.
//
// Of megafs it imports package remote only; minio-go speaks S3, x/time/rate keeps rates.
package blob
