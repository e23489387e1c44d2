// Command megafs mounts an end-to-end-encrypted store as a directory.
//
// One file holds one command. mount asks for the passphrase, unlocks the vault's key in a child process, and hands the key over a pipe to the
// process that serves the mount; the other commands talk to that one over the control socket, or open the vault themselves beside it, with a copy of
// what its state folder remembers (lookAt). What is made for one run lies in a scratch folder in the cache. Exit codes are in exit.go, what
// a URL, its folders and its key file are in profile.go. serve.go is the process behind a mount; the command serve, a server for MEGA's clients, is in megaserve.go,
// and its administration, by a socket in its folder or in the folder itself, in megaserveadmin.go.
package main
