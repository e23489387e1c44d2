package remote

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

// Kind says what sort of failure an error is; package fs maps each kind to one errno.
type Kind uint8

// The kinds of errors.
const (
	Other        Kind = iota // anything without a better word
	NotExist                 // no such inode, name, object
	Exist                    // the name or object is there already
	NotDir                   // a directory was needed
	IsDir                    // a directory was not allowed
	NotEmpty                 // the directory still has names
	Invalid                  // the request makes no sense
	NameTooLong              // a name over 255 bytes
	TooLarge                 // a size or count beyond a limit
	Permission               // not allowed
	ReadOnly                 // the mount or the vault does not take changes
	NoSpace                  // the local disk or the journal is full
	Quota                    // the store's quota is used up
	NoAttr                   // no such extended attribute
	NotSupported             // megafs or the format can't do that
	Integrity                // bytes are not what some key holder wrote: tampering or damage
	Unreachable              // the store did not answer
	Timeout                  // the deadline passed
	Busy                     // in use by somebody else
	Locked                   // a passphrase or key is wrong or missing
	Conflict                 // somebody else committed first
	Stale                    // the handle or position is of another life
	Canceled                 // the caller gave up
	IO                       // the local disk failed
	TooManyLinks             // an inode has as many names as it can
	FileTooBig               // past the largest file there can be
	OutOfRange               // a result or argument does not fit
	NoData                   // no data from there on (SEEK_DATA, SEEK_HOLE)
)

var kindText = [...]string{
	"failed", "does not exist", "already exists", "is not a directory", "is a directory",
	"is not empty", "is invalid", "name too long", "too large", "permission denied",
	"read-only", "no space left", "quota used up", "no such attribute", "not supported",
	"integrity violation", "store unreachable", "timed out", "busy", "locked",
	"conflict", "stale", "canceled", "input/output error", "too many links", "file too large", "out of range", "no data there",
}

// String returns the kind in words.
func (k Kind) String() string {
	if int(k) < len(kindText) {
		return kindText[k]
	}
	return fmt.Sprintf("kind %d", uint8(k))
}

// Error is the one error value of megafs: what was done to what, how it failed, and why.
type Error struct {
	Op     string // what was attempted, such as "open vault"
	Object string // on what: an object name, an inode number; never a file's name or content
	Kind   Kind
	Err    error // the cause, or nil
}

// E makes an Error. A zero kind is taken over from err when that has one.
func E(op, object string, kind Kind, err error) *Error {
	if kind == Other && err != nil {
		kind = KindOf(err)
	}
	return &Error{Op: op, Object: object, Kind: kind, Err: err}
}

// Error implements error.
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString(e.Op)
	if e.Object != "" {
		b.WriteString(" " + e.Object)
	}
	if e.Kind != Other || e.Err == nil {
		b.WriteString(": " + e.Kind.String())
	}
	if e.Err != nil {
		b.WriteString(": " + e.Err.Error())
	}
	return b.String()
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// KindOf returns the kind of the outermost Error in err's chain that has one, or Other.
func KindOf(err error) Kind {
	for err != nil {
		var e *Error
		if !errors.As(err, &e) {
			return Other
		}
		if e.Kind != Other {
			return e.Kind
		}
		err = e.Err
	}
	return Other
}

// Is reports whether err's kind is k.
func Is(err error, k Kind) bool { return err != nil && KindOf(err) == k }

// GoneError is why a commit is Stale: it refers to content that the remote has given up since nothing referred to it any more. What is
// still readable of it must be stored anew.
type GoneError struct{ Objects []ObjectID }

func (e *GoneError) Error() string {
	return fmt.Sprintf("%d content objects were collected as garbage", len(e.Objects))
}

// CameOutError is that a commit took place and came to something else than was asked for, in a store that has rules of its own, such as for names that
// are taken. The batch is Ops, and the position is Pos.
type CameOutError struct {
	Pos Position
	Ops []Op
}

func (e *CameOutError) Error() string { return "the commit came to something else than was asked for" }

// LaterError is that the store gives nothing until a time, which may be the zero time if it is not known.
type LaterError struct {
	Until time.Time
	Err   error
}

func (e *LaterError) Error() string { return e.Err.Error() }
func (e *LaterError) Unwrap() error { return e.Err }
