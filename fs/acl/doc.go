// Package acl is about POSIX access control lists: how extended attributes carry them, what they mean for a mode, and how new
// files come by them (IEEE 1003.1e draft 17, acl(5)).
//
// A List that Parse returned is valid: its entries are sorted, each of the three entries of a mode is there once, a mask is there when
// users or groups are named. All functions are pure; a List is not changed once made.
//
// It knows neither inodes nor callers, and the kernel is who checks permissions. It imports nothing of megafs.
package acl
