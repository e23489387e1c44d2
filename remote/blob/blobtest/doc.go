// Package blobtest is the suite that every blob store passes, and stores with what only their owners can do to them.
//
// It imports blob and remote, and is imported by tests only.
package blobtest
