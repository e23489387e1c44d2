// Package control is how the commands of megafs talk to the process that serves a mount.
//
// # Who may talk
//
// The socket lies in a folder of the user's own, which is opened once, checked (a real directory, ours, closed to others)
// and used through its descriptor. Its mode is 0600, and whoever connects is asked for by the kernel: only the user whose process it
// is, and root, are answered. No call returns a key, and none takes one.
//
// # The exchange
//
// One connection is one request and one response, each a line of JSON. A request has at most 64 KiB and is nested at most 16
// deep; it has five seconds to arrive and so has the response to be taken. Eight are answered at a time. A request that waits for
// uploads gives its place back while it waits (64 may wait) and ends when the one who asked goes away.
//
// # Concurrency
//
// A Server has a goroutine that accepts, one for each connection, and one more for each request that waits. Close ends
// all of them. There are no locks; two channels count places.
//
// It imports nothing of the project.
package control
