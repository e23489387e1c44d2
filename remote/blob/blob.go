package blob

import (
	"context"
	"errors"

	"megafs/remote"
)

// Info is an object in a listing.
type Info struct {
	Name string
	Size int64
}

// Store keeps immutable named objects. It is safe for concurrent use.
//
// Errors are *remote.Error: NotExist, Exist, TooLarge, Integrity for an object that ends too early, Unreachable when
// the store is not there, Timeout and Canceled by ctx, NoSpace, Quota, Permission, ReadOnly.
type Store interface {
	// Put makes an object. Exist if the name is taken, whatever the bytes there. Durable on return.
	Put(ctx context.Context, name string, data []byte) error
	// Get returns a whole object; TooLarge, without reading it, if it is longer than limit.
	Get(ctx context.Context, name string, limit int64) ([]byte, error)
	// GetRange fills dst from byte off on; Integrity if the object ends before.
	GetRange(ctx context.Context, name string, off int64, dst []byte) error
	// Size returns an object's length.
	Size(ctx context.Context, name string) (int64, error)
	// List calls fn for each object whose name begins with prefix and comes after after, in byte order. fn's error ends it.
	List(ctx context.Context, prefix, after string, fn func(Info) error) error
	// Delete removes an object; one that is not there is no error.
	Delete(ctx context.Context, name string) error
	// Usage says how full the store is.
	Usage(ctx context.Context) (remote.Usage, error)
	Close() error
}

// MaxName is the longest name of an object, in bytes.
const MaxName = 256

// ValidName reports whether an object may be called so: segments of [a-z0-9-], divided by single slashes.
func ValidName(name string) bool {
	if name == "" || len(name) > MaxName || name[0] == '/' || name[len(name)-1] == '/' {
		return false
	}
	for i := 0; i < len(name); i++ {
		c := name[i]
		switch {
		case c >= 'a' && c <= 'z', c >= '0' && c <= '9', c == '-':
		case c == '/' && name[i-1] != '/':
		default:
			return false
		}
	}
	return true
}

func checkName(op, name string) error {
	if !ValidName(name) {
		return remote.E(op, "", remote.Invalid, errors.New("not a name for an object"))
	}
	return nil
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

// ErrContract says that a store does not keep the contract.
var ErrContract = errors.New("the store does not keep its contract")
