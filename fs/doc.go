// Package fs is the kernel's face: it answers FUSE requests from a Volume and tells the kernel what others changed.
//
// # Invariants
//
// A nodeid is an inode number, which is never used twice, so its generation is always the same. Every reply that shows
// an inode under a name adds one reference to the table of known inodes and keeps one pin of the volume; FORGET gives
// both back, and so does the end of the mount for what is left.
//
// The kernel keeps names and attributes for an hour, the absence of a name for five minutes, and pages until an open
// finds another Stat.Version. That is safe because every foreign change reaches Changed, and the kernel drops what its own
// changes touch. Two things it can't know, so the inode is invalidated as though somebody else had changed it: that an open
// which cut a file took setuid or setgid away (before the open is answered), and that an append came to lie elsewhere than the
// kernel thought the file's end was (by the worker).
//
// Names, modes, sticky bits and access control lists are checked by the kernel (default_permissions is always on), with one gap: a file
// that CREATE finds there already was never checked, so CREATE answers ESTALE and the kernel looks again. The umask comes with
// the request, because it counts only where the directory has no default list; that setgid goes when somebody outside the group
// sets a list, the kernel says with the request. It keeps lists until the inode is invalidated.
//
// # Goroutines and locks
//
// Requests run in goroutines of package fuse, bounded by the bytes in flight. One more goroutine, the
// invalidation worker, is the only one that sends notifications, but for those of attributes alone: the others wait for locks that the
// kernel may hold while it waits for an answer, so no handler sends one, and the worker holds no lock and answers no request. Its queue is bounded. When it
// overflows, everything the kernel knows is invalidated instead, and times are short until that is done.
//
// Each table (known inodes, files, directories, the queue) has a lock of its own, held for a map access and never while
// another is taken or the volume is called. A directory handle's lock is held over Volume.List and Volume.Lookup, which
// answer from local state.
//
// # Waiting
//
// A READ that finds an end which a cut has just moved is answered 20 ms after the cut was, for the kernel takes what is missing for a hole as long as
// it does not know the new size.
//
// Only reads and fsync give in to a signal, never before a second has passed, and only to a signal that asks for it: runtimes
// preempt their threads with signals, and a request that fails each time never ends. A read that the cache can't
// answer has Options.ReadTimeout, then fails with ETIMEDOUT or EIO; it is never short and never zeros. Nothing that
// changes something is ever interrupted.
//
// # Not supported
//
// File capabilities (EOPNOTSUPP; mounts are nosuid), ioctls (ENOTTY), locks that other machines see (flock and
// fcntl locks hold on one machine), the kernel's write-back cache, poll. Reading does not change atime.
// sync(2) and syncfs(2) make the kernel
// write what is dirty, but do not reach a FUSE file system like this one; fsync(2) does. Asynchronous direct I/O is done one request after the
// other, because the kernel keeps stale pages with CAP_ASYNC_DIO. The name .go-fuse-epoll-hack can't
// exist in the root. Times lie between the years 1677 and 2262; others are moved to the nearest. ".." has no inode
// number in listings. With Options.Debug names are logged.
//
// It must not import package cmd, nor journal, tree, cache and writeback, which are the volume's.
package fs
