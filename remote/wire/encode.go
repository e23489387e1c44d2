package wire

import (
	"encoding/binary"
	"math/bits"

	"megafs/remote"
)

// AppendOp appends op to b. It panics if Check refuses op: what can't be read back must not be written.
func AppendOp(b []byte, op *remote.Op) []byte {
	must(Check(op))
	b = append(b, byte(op.Kind))
	switch op.Kind {
	case remote.OpNode:
		b = appendAttr(appendIno(b, op.Ino), &op.Attr)
	case remote.OpLink, remote.OpUnlink:
		b = appendName(appendIno(appendIno(b, op.Parent), op.Ino), op.Name)
	case remote.OpCut:
		b = binary.AppendUvarint(appendIno(b, op.Ino), op.Cut)
	case remote.OpExtent:
		b = appendExtent(appendIno(b, op.Ino), &op.Extent)
	case remote.OpXattr:
		b = appendName(appendIno(b, op.Ino), op.Name)
		b = append(binary.AppendUvarint(b, uint64(len(op.Value))), op.Value...)
	case remote.OpNoXattr:
		b = appendName(appendIno(b, op.Ino), op.Name)
	case remote.OpDevice:
		b = binary.AppendUvarint(append(b, op.Device[:]...), uint64(op.Number))
	}
	return b
}

// AppendOps appends the number of ops and the ops to b. It panics like AppendOp.
func AppendOps(b []byte, ops []remote.Op) []byte {
	b = binary.AppendUvarint(b, uint64(len(ops)))
	for i := range ops {
		b = AppendOp(b, &ops[i])
	}
	return b
}

// AppendAttr appends a to b. It panics if CheckAttr refuses a.
func AppendAttr(b []byte, a *remote.Attr) []byte {
	must(CheckAttr(a))
	return appendAttr(b, a)
}

// AppendExtent appends e to b. It panics if CheckExtent refuses e.
func AppendExtent(b []byte, e *remote.Extent) []byte {
	must(CheckExtent(e))
	return appendExtent(b, e)
}

func must(err error) {
	if err != nil {
		panic("wire: encoding what was not checked: " + err.Error())
	}
}

func appendIno(b []byte, ino remote.Ino) []byte {
	b = binary.AppendUvarint(b, uint64(ino.Device()))
	return binary.AppendUvarint(b, uint64(ino)&maxCounter)
}

func appendName(b []byte, name string) []byte {
	return append(append(b, byte(len(name))), name...)
}

func appendAttr(b []byte, a *remote.Attr) []byte {
	b = binary.BigEndian.AppendUint16(b, uint16(a.Type)<<12|a.Mode)
	b = binary.AppendUvarint(b, uint64(a.UID))
	b = binary.AppendUvarint(b, uint64(a.GID))
	// Most inodes have most of their times close to the last change, so differences to it are short.
	b = binary.BigEndian.AppendUint64(b, uint64(a.Ctime))
	b = binary.AppendVarint(b, int64(a.Mtime-a.Ctime))
	b = binary.AppendVarint(b, int64(a.Atime-a.Ctime))
	b = binary.AppendVarint(b, int64(a.Btime-a.Ctime))
	switch a.Type {
	case remote.File:
		b = binary.AppendUvarint(b, a.Size)
	case remote.Symlink:
		b = append(binary.AppendUvarint(b, uint64(len(a.Target))), a.Target...)
	case remote.CharDev, remote.BlockDev:
		b = binary.AppendUvarint(b, uint64(a.Rdev))
	}
	return b
}

func appendExtent(b []byte, e *remote.Extent) []byte {
	b = append(b, formOf(e))
	b = binary.AppendUvarint(b, e.Off)
	b = binary.AppendUvarint(b, e.Len)
	switch formOf(e) {
	case formInline:
		b = append(b, e.Inline...)
	case formRef:
		b = append(b, e.Ref.Object[:]...)
		b = binary.AppendUvarint(b, uint64(e.Ref.Epoch))
		b = append(b, byte(e.Ref.Chunks-1))
		b = binary.AppendUvarint(b, uint64(e.Ref.Off))
	}
	return b
}

// Size returns exactly how many bytes AppendOp appends for a valid op.
func Size(op *remote.Op) int {
	switch op.Kind {
	case remote.OpNode:
		return 1 + sizeIno(op.Ino) + sizeAttr(&op.Attr)
	case remote.OpLink, remote.OpUnlink:
		return 1 + sizeIno(op.Parent) + sizeIno(op.Ino) + 1 + len(op.Name)
	case remote.OpCut:
		return 1 + sizeIno(op.Ino) + sizeUvarint(op.Cut)
	case remote.OpExtent:
		return 1 + sizeIno(op.Ino) + sizeExtent(&op.Extent)
	case remote.OpXattr:
		return 1 + sizeIno(op.Ino) + 1 + len(op.Name) + sizeUvarint(uint64(len(op.Value))) + len(op.Value)
	case remote.OpNoXattr:
		return 1 + sizeIno(op.Ino) + 1 + len(op.Name)
	case remote.OpDevice:
		return 1 + len(op.Device) + sizeUvarint(uint64(op.Number))
	}
	return 0
}

func sizeUvarint(n uint64) int { return (bits.Len64(n|1) + 6) / 7 }

func sizeVarint(n int64) int { return sizeUvarint(uint64(n<<1) ^ uint64(n>>63)) }

func sizeIno(ino remote.Ino) int {
	return sizeUvarint(uint64(ino.Device())) + sizeUvarint(uint64(ino)&maxCounter)
}

func sizeAttr(a *remote.Attr) int {
	n := 2 + sizeUvarint(uint64(a.UID)) + sizeUvarint(uint64(a.GID)) + 8 +
		sizeVarint(int64(a.Mtime-a.Ctime)) + sizeVarint(int64(a.Atime-a.Ctime)) + sizeVarint(int64(a.Btime-a.Ctime))
	switch a.Type {
	case remote.File:
		n += sizeUvarint(a.Size)
	case remote.Symlink:
		n += sizeUvarint(uint64(len(a.Target))) + len(a.Target)
	case remote.CharDev, remote.BlockDev:
		n += sizeUvarint(uint64(a.Rdev))
	}
	return n
}

func sizeExtent(e *remote.Extent) int {
	n := 1 + sizeUvarint(e.Off) + sizeUvarint(e.Len)
	switch formOf(e) {
	case formInline:
		n += len(e.Inline)
	case formRef:
		n += len(e.Ref.Object) + sizeUvarint(uint64(e.Ref.Epoch)) + 1 + sizeUvarint(uint64(e.Ref.Off))
	}
	return n
}
