package blob

import (
	"context"
	"errors"
	"math"
	"strings"

	"megafs/remote"
)

// Info is an object in a listing.
type Info struct {
	Name string
	Size int64 // in bytes
}

// Store keeps immutable named objects (see ValidName). It is safe for concurrent use.
//
// Errors are *remote.Error: Invalid for a name no object can have, NotExist, Exist, TooLarge, Integrity for an object that ends
// too early or is no plain object, Unreachable when the store is not there, Timeout and Canceled by ctx, NoSpace,
// Permission, ReadOnly, NotSupported, IO, and Stale after Close (a store in memory goes on).
type Store interface {
	// Put makes an object. Exist if the name is taken, whatever the bytes there, which stay. Durable on return. It does not keep
	// data, but after an error may read it for a while yet.
	Put(ctx context.Context, name string, data []byte) error
	// Get returns a whole object, which is the caller's. TooLarge if it is longer than limit, before more than limit is read.
	Get(ctx context.Context, name string, limit int64) ([]byte, error)
	// GetRange fills dst from byte off on. An object that ends before is Integrity ("object too short"), never a short read.
	GetRange(ctx context.Context, name string, off int64, dst []byte) error
	// Size returns an object's length.
	Size(ctx context.Context, name string) (int64, error)
	// List calls fn for each object whose name begins with prefix and is greater than after, in byte order, in bounded
	// memory. fn may call the store; its error ends the listing and is returned as it is. Objects that come or go meanwhile may
	// be seen or not. A prefix that no name can have is Invalid; more names than make sense are TooLarge.
	List(ctx context.Context, prefix, after string, fn func(Info) error) error
	// Delete removes an object; one that is not there is no error.
	Delete(ctx context.Context, name string) error
	// Usage says how full the store is.
	Usage(ctx context.Context) (remote.Usage, error)
	// Close ends the store; calls under way may fail.
	Close() error
}

// ErrStoreContract says that a store does not keep the contract. Its kind is remote.Other.
var ErrStoreContract = errors.New("the store does not keep its contract")

const (
	// MaxName is the longest name of an object, in bytes.
	MaxName = 256
	// maxSegment is the longest part between two slashes, for folders take no longer ones.
	maxSegment = 255
	// tmpDir is the first segment that no object has: a folder keeps unfinished objects there.
	tmpDir = "tmp"
)

// ValidName reports whether an object may be called so: 1 to 256 bytes, segments of [a-z0-9-] of at most 255 bytes, divided by
// single slashes, the first not "tmp".
func ValidName(name string) bool {
	first, _, _ := strings.Cut(name, "/")
	return validPath(name) && first != tmpDir
}

// validPath is ValidName without the reserve for unfinished objects.
func validPath(name string) bool {
	if name == "" || len(name) > MaxName {
		return false
	}
	start := 0
	for i := 0; i <= len(name); i++ {
		if i == len(name) || name[i] == '/' {
			if n := i - start; n == 0 || n > maxSegment {
				return false
			}
			start = i + 1
		} else if c := name[i]; (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' {
			return false
		}
	}
	return true
}

// check refuses a call whose name can't be an object's, or that nobody waits for any more.
func check(ctx context.Context, op, name string) error {
	if !ValidName(name) {
		return remote.E(op, "", remote.Invalid, errors.New("not a name for an object"))
	}
	return checkCtx(ctx, op, name)
}

// checkPrefix is check for listings.
func checkPrefix(ctx context.Context, prefix string) error {
	if prefix != "" && !validPath(strings.TrimSuffix(prefix, "/")) {
		return remote.E("list", "", remote.Invalid, errors.New("no name begins so"))
	}
	return checkCtx(ctx, "list", prefix)
}

func checkCtx(ctx context.Context, op, name string) error {
	switch err := ctx.Err(); {
	case err == nil:
		return nil
	case errors.Is(err, context.DeadlineExceeded):
		return remote.E(op, name, remote.Timeout, err)
	default:
		return remote.E(op, name, remote.Canceled, err)
	}
}

// checkRange refuses a range that reaches beyond size.
func checkRange(name string, off int64, n int, size int64) error {
	switch {
	case off < 0:
		return remote.E("get range", name, remote.Invalid, errors.New("range before the object's start"))
	case off > math.MaxInt64-int64(n) || off+int64(n) > size:
		return tooShort("get range", name)
	}
	return nil
}

func tooShort(op, name string) error {
	return remote.E(op, name, remote.Integrity, errors.New("object too short"))
}

func tooLarge(name string) error {
	return remote.E("get", name, remote.TooLarge, errors.New("object longer than its kind may be"))
}
