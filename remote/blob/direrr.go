package blob

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"

	"megafs/remote"
)

var (
	errNotPlain = errors.New("not a plain file: something else was put into the vault's folder under an object's name")
	errNotSound = errors.New("an earlier sync of this folder failed, so what it holds is in doubt: check the disk, then mount again")
)

// mends says for an errno what kind it is and what to do about it. The first that fits counts.
var mends = []struct {
	errs []error
	kind remote.Kind
	mend string
}{
	{[]error{syscall.ENOSPC}, remote.NoSpace, "the disk that holds the vault's folder is full, make room on it"},
	{[]error{syscall.EDQUOT}, remote.NoSpace, "this user's quota on the disk that holds the vault's folder is used up, make room or raise it"},
	{[]error{syscall.EROFS}, remote.ReadOnly, "the vault's folder lies on a read-only file system, mount that writable or the vault with --read-only"},
	{[]error{syscall.EXDEV, syscall.ENOTSUP, syscall.EMLINK, syscall.ENOSYS}, remote.NotSupported, "the vault must lie on one file system that has hard links, such as ext4, xfs, btrfs, zfs or NFS"},
	{[]error{syscall.EACCES, syscall.EPERM}, remote.Permission, "this user may not do that in the vault's folder, check the owner and mode of it and of all below"},
	{[]error{syscall.EMFILE, syscall.ENFILE}, remote.Busy, "too many open files, raise the limit (ulimit -n)"},
	{[]error{errNotPlain, syscall.ELOOP, syscall.EISDIR}, remote.Integrity, "the vault's folder was tampered with"},
	{[]error{syscall.ESTALE, syscall.ENODEV, syscall.ENXIO, syscall.ENOTCONN, syscall.ESHUTDOWN, syscall.ETIMEDOUT, syscall.EHOSTDOWN,
		syscall.EHOSTUNREACH, syscall.ENETUNREACH, syscall.ECONNREFUSED, syscall.ECONNRESET, syscall.EREMOTEIO, os.ErrClosed},
		remote.Unreachable, "the vault's folder does not answer, see whether its disk or server is connected"},
	{[]error{syscall.ENAMETOOLONG}, remote.NameTooLong, "the file system does not take names that long"},
	{[]error{syscall.ENOTDIR}, remote.Invalid, "a name is also the folder of another"},
	{[]error{fs.ErrNotExist}, remote.NotExist, ""},
	{[]error{fs.ErrExist}, remote.Exist, ""},
}

// diskErr gives an error of the disk its kind and its mend.
func diskErr(op, object string, err error) error {
	for _, m := range mends {
		for _, e := range m.errs {
			if !errors.Is(err, e) {
				continue
			}
			if m.mend != "" {
				err = fmt.Errorf("%s (%w)", m.mend, err)
			}
			return remote.E(op, object, m.kind, err)
		}
	}
	return remote.E(op, object, remote.IO, fmt.Errorf("%w; check the disk that holds the vault's folder", err))
}

// fail is diskErr, but says Unreachable when d is no longer the folder at the path: what went wrong then says nothing about the
// object, least of all that it does not exist.
func (s *dirStore) fail(d disk, op, object string, err error) error {
	var done *remote.Error
	if errors.As(err, &done) {
		return err
	}
	e := diskErr(op, object, err)
	switch remote.KindOf(e) {
	case remote.NotExist, remote.IO, remote.Unreachable, remote.Invalid, remote.Permission:
		if gone := s.still(d, op, object); gone != nil {
			return gone
		}
	}
	return e
}

func errClosed(op string) error {
	return remote.E(op, "", remote.Stale, errors.New("the store is closed"))
}
