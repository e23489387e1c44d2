package wire

import (
	"errors"
	"strings"

	"megafs/remote"
)

const (
	maxDevice  = 1<<(64-remote.InoBits) - 1
	maxCounter = 1<<remote.InoBits - 1
	maxMode    = 0o7777
	maxXName   = 255 // bytes in an xattr's name, as Linux has it
)

// refuse makes the error of a broken rule. It is given constant text only, so that no name or content gets into it.
func refuse(what string, kind remote.Kind, why string) error {
	return remote.E("check", what, kind, errors.New(why))
}

// Two rules that the decoder must look at before it can go on.
var (
	unknownType = refuse("attributes", remote.NotSupported, "unknown type of inode; a newer megafs may know it")
	longInline  = refuse("extent", remote.TooLarge, "inline content over 2 KiB")
)

// Check reports whether op can be encoded. The error is of kind NameTooLong for names over 255 bytes, TooLarge for sizes
// and lengths beyond a limit, NotSupported for an unknown kind of Op, and else Invalid. Fields that don't count for op's kind are not looked at.
func Check(op *remote.Op) error {
	switch op.Kind {
	case remote.OpNode:
		if err := checkIno(op.Ino); err != nil {
			return err
		}
		return CheckAttr(&op.Attr)
	case remote.OpLink, remote.OpUnlink:
		if err := checkIno(op.Parent); err != nil {
			return err
		}
		if err := checkIno(op.Ino); err != nil {
			return err
		}
		return checkName(op.Name)
	case remote.OpCut:
		if op.Cut > remote.MaxSize {
			return refuse("cut", remote.TooLarge, "offset over 2^63-1")
		}
		return checkIno(op.Ino)
	case remote.OpExtent:
		if err := checkIno(op.Ino); err != nil {
			return err
		}
		return CheckExtent(&op.Extent)
	case remote.OpXattr:
		if len(op.Value) > remote.MaxXattr {
			return refuse("xattr", remote.TooLarge, "value over 64 KiB")
		}
		fallthrough
	case remote.OpNoXattr:
		if err := checkIno(op.Ino); err != nil {
			return err
		}
		return checkXattrName(op.Name)
	case remote.OpDevice:
		if op.Number == 0 || op.Number > maxDevice {
			return refuse("device", remote.Invalid, "number not in 1..2^24-1")
		}
		return nil
	}
	return refuse("op", remote.NotSupported, "unknown kind; a newer megafs may know it")
}

func checkIno(ino remote.Ino) error {
	if ino == 0 {
		return refuse("inode number", remote.Invalid, "zero")
	}
	return nil
}

func checkName(name string) error {
	if len(name) > remote.MaxName {
		return refuse("name", remote.NameTooLong, "over 255 bytes")
	}
	if !remote.ValidName(name) {
		return refuse("name", remote.Invalid, `empty, ".", "..", or with '/' or NUL in it`)
	}
	return nil
}

func checkXattrName(name string) error {
	if len(name) > maxXName {
		return refuse("xattr", remote.NameTooLong, "name over 255 bytes")
	}
	if name == "" || strings.IndexByte(name, 0) >= 0 {
		return refuse("xattr", remote.Invalid, "name empty or with NUL in it")
	}
	return nil
}

// CheckAttr reports whether a can be encoded; errors are as Check's. Besides the limits it wants what remote.Attr promises: a symlink's
// Size is its Target's length, and Size, Target and Rdev are zero where the type has none. A value that came back changed would
// look dirty for ever to whoever compares states.
func CheckAttr(a *remote.Attr) error {
	if a.Type < remote.File || a.Type > remote.BlockDev {
		return unknownType
	}
	if a.Mode > maxMode {
		return refuse("attributes", remote.Invalid, "mode has bits beyond 07777")
	}
	if len(a.Target) > remote.MaxTarget {
		return refuse("attributes", remote.TooLarge, "target over 4095 bytes")
	}
	if (a.Type == remote.Symlink) != (a.Target != "") {
		return refuse("attributes", remote.Invalid, "a symlink without a target, or a target of something else")
	}
	if strings.IndexByte(a.Target, 0) >= 0 {
		return refuse("attributes", remote.Invalid, "target with NUL in it")
	}
	if a.Type == remote.File {
		if a.Size > remote.MaxSize {
			return refuse("attributes", remote.TooLarge, "size over 2^63-1")
		}
	} else if a.Size != uint64(len(a.Target)) {
		return refuse("attributes", remote.Invalid, "size is not the target's length, or not zero where there is no content")
	}
	if a.Rdev != 0 && !isDevice(a.Type) {
		return refuse("attributes", remote.Invalid, "rdev of something that is no device")
	}
	return nil
}

func isDevice(t remote.Type) bool { return t == remote.CharDev || t == remote.BlockDev }

// CheckExtent reports whether e can be encoded; errors are as Check's.
func CheckExtent(e *remote.Extent) error {
	if e.Len == 0 {
		return refuse("extent", remote.Invalid, "empty")
	}
	if e.Off > remote.MaxSize || e.Len > remote.MaxSize-e.Off {
		return refuse("extent", remote.TooLarge, "ends beyond 2^63-1")
	}
	switch formOf(e) {
	case formHole:
		if e.Inline != nil || e.Ref != (remote.Ref{}) {
			return refuse("extent", remote.Invalid, "a hole with content")
		}
	case formInline:
		if e.Ref != (remote.Ref{}) {
			return refuse("extent", remote.Invalid, "both inline and a reference")
		}
		if e.Len > remote.MaxInline {
			return longInline
		}
		if uint64(len(e.Inline)) != e.Len {
			return refuse("extent", remote.Invalid, "inline content of another length")
		}
	case formRef:
		if e.Ref.Chunks < 1 || e.Ref.Chunks > remote.MaxChunks {
			return refuse("extent", remote.Invalid, "number of chunks not in 1..256")
		}
		size := uint64(e.Ref.Chunks) * remote.ChunkSize
		if off := uint64(e.Ref.Off); off > size || e.Len > size-off {
			return refuse("extent", remote.Invalid, "ends beyond its object")
		}
	}
	return nil
}

// The forms of extents, as they are written.
const (
	formHole   = 1
	formInline = 2
	formRef    = 3
)

func formOf(e *remote.Extent) byte {
	switch {
	case e.Hole:
		return formHole
	case e.Inline != nil:
		return formInline
	}
	return formRef
}
