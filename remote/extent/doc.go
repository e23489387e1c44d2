// Package extent keeps ordered runs of a file's bytes that do not overlap: which bytes are where.
//
// Runs is the general form, whose values mean something to its user only; Map is the form over
// remote.Extent. Both are pure data: no I/O, no locks; a user that shares one guards it.
//
// It imports remote only.
package extent
