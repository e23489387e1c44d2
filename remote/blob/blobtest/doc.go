// Package blobtest is the suite that every blob store passes.
//
// It imports blob and remote, and is imported by tests only.
package blobtest
