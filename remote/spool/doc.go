// Package spool keeps what is told once, and needed again in another order or several times, in a file instead of memory: a snapshot for the tree index, and
// an account's tree for its index.
//
// The file has no name, so it goes with the process. It is encrypted (AES-256-CTR) under a key that is nowhere but in this process; nobody else can write
// to it, so nothing is authenticated.
//
// A Spool belongs to one goroutine. It must not import what it is used by: the packages of trees and of remotes.
package spool
