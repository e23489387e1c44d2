package wire

import (
	"encoding/binary"
	"errors"
	"math"

	"megafs/remote"
)

// minOp is the length of the shortest Op, a cut.
const minOp = 4

// DecodeOp reads one Op from the front of b and returns what follows it. Errors are as Check's; bytes that end too early or that
// are no canonical encoding are Invalid. The Op does not alias b, and the Value of an OpXattr is never nil.
func DecodeOp(b []byte) (op remote.Op, rest []byte, err error) {
	rest, err = decodeOp(b, &op)
	if err != nil {
		return remote.Op{}, nil, err
	}
	return op, rest, nil
}

// DecodeOps reads what AppendOps wrote. Nothing may follow. Errors and aliasing are as DecodeOp's.
func DecodeOps(b []byte) ([]remote.Op, error) {
	d := decoder{b: b}
	count := d.uvarint(uint64(len(b) / minOp))
	if d.err != nil {
		return nil, d.err
	}
	ops := make([]remote.Op, count)
	for i := range ops {
		if d.b, d.err = decodeOp(d.b, &ops[i]); d.err != nil {
			return nil, d.err
		}
	}
	if len(d.b) != 0 {
		return nil, malformed("bytes after the last op")
	}
	return ops, nil
}

// EachOp calls fn with each of the Ops that b is made of, and ends with fn's first error, as it is, or with one of its own, like DecodeOp's, at the
// first Op that is refused; those before it have been seen then. The pointer is good until fn returns; a copy of the Op
// may be kept, it does not alias b.
func EachOp(b []byte, fn func(*remote.Op) error) error {
	var op remote.Op
	for len(b) > 0 {
		var err error
		if b, err = decodeOp(b, &op); err != nil {
			return err
		}
		if err = fn(&op); err != nil {
			return err
		}
	}
	return nil
}

// DecodeAttr reads one Attr from the front of b and returns what follows it. Errors are as DecodeOp's.
func DecodeAttr(b []byte) (remote.Attr, []byte, error) {
	d := decoder{b: b}
	a := d.attr()
	if d.err == nil {
		d.err = CheckAttr(&a)
	}
	if d.err != nil {
		return remote.Attr{}, nil, d.err
	}
	return a, d.b, nil
}

// DecodeExtent reads one Extent from the front of b and returns what follows it. Errors are as DecodeOp's. Inline does not alias b.
func DecodeExtent(b []byte) (remote.Extent, []byte, error) {
	d := decoder{b: b}
	e := d.extent()
	if d.err == nil {
		d.err = CheckExtent(&e)
	}
	if d.err != nil {
		return remote.Extent{}, nil, d.err
	}
	return e, d.b, nil
}

// decodeOp sets all of op.
func decodeOp(b []byte, op *remote.Op) ([]byte, error) {
	d := decoder{b: b}
	*op = remote.Op{Kind: remote.OpKind(d.u8())}
	switch op.Kind {
	case remote.OpNode:
		op.Ino = d.ino()
		op.Attr = d.attr()
	case remote.OpLink, remote.OpUnlink:
		op.Parent = d.ino()
		op.Ino = d.ino()
		op.Name = d.name()
	case remote.OpCut:
		op.Ino = d.ino()
		op.Cut = d.uvarint(remote.MaxSize)
	case remote.OpExtent:
		op.Ino = d.ino()
		op.Extent = d.extent()
	case remote.OpXattr:
		op.Ino = d.ino()
		op.Name = d.name()
		op.Value = append([]byte{}, d.take(d.uvarint(remote.MaxXattr))...)
	case remote.OpNoXattr:
		op.Ino = d.ino()
		op.Name = d.name()
	case remote.OpDevice:
		copy(op.Device[:], d.take(uint64(len(op.Device))))
		op.Number = uint32(d.uvarint(maxDevice))
	}
	if d.err != nil {
		return nil, d.err
	}
	return d.b, Check(op)
}

// decoder reads the basic forms from the front of b. After the first error, which stays, all are zero.
type decoder struct {
	b   []byte
	err error
}

func malformed(why string) error {
	return remote.E("decode", "", remote.Invalid, errors.New(why))
}

func (d *decoder) fail(err error) {
	if d.err == nil {
		d.b, d.err = nil, err
	}
}

// take returns the next n bytes, which are still the input's, or nil.
func (d *decoder) take(n uint64) []byte {
	if d.err != nil || n > uint64(len(d.b)) {
		d.fail(malformed("ends too early"))
		return nil
	}
	p := d.b[:n]
	d.b = d.b[n:]
	return p
}

func (d *decoder) u8() byte {
	if p := d.take(1); p != nil {
		return p[0]
	}
	return 0
}

// uvarint reads a minimal uvarint of at most limit.
func (d *decoder) uvarint(limit uint64) uint64 {
	v, n := binary.Uvarint(d.b)
	switch {
	case d.err != nil:
		return 0
	case n == 0:
		d.fail(malformed("ends too early"))
		return 0
	case n < 0 || n > 1 && d.b[n-1] == 0:
		d.fail(malformed("a number is not minimal or over 64 bits"))
		return 0
	case v > limit:
		d.fail(remote.E("decode", "", remote.TooLarge, errors.New("a number is beyond its limit")))
		return 0
	}
	d.b = d.b[n:]
	return v
}

// svarint reads a signed number in zigzag form.
func (d *decoder) svarint() int64 {
	z := d.uvarint(math.MaxUint64)
	return int64(z>>1) ^ -int64(z&1)
}

func (d *decoder) ino() remote.Ino {
	device := d.uvarint(maxDevice)
	return remote.Ino(device<<remote.InoBits | d.uvarint(maxCounter))
}

func (d *decoder) name() string { return string(d.take(uint64(d.u8()))) }

func (d *decoder) attr() (a remote.Attr) {
	var tm uint16
	if p := d.take(2); p != nil {
		tm = binary.BigEndian.Uint16(p)
	}
	a.Type, a.Mode = remote.Type(tm>>12), tm&maxMode
	if a.Type < remote.File || a.Type > remote.BlockDev {
		d.fail(unknownType) // and what follows may be anything
	}
	a.UID = uint32(d.uvarint(math.MaxUint32))
	a.GID = uint32(d.uvarint(math.MaxUint32))
	if p := d.take(8); p != nil {
		a.Ctime = remote.Time(binary.BigEndian.Uint64(p))
	}
	a.Mtime = a.Ctime + remote.Time(d.svarint())
	a.Atime = a.Ctime + remote.Time(d.svarint())
	a.Btime = a.Ctime + remote.Time(d.svarint())
	switch a.Type {
	case remote.File:
		a.Size = d.uvarint(remote.MaxSize)
	case remote.Symlink:
		a.Target = string(d.take(d.uvarint(remote.MaxTarget)))
		a.Size = uint64(len(a.Target))
	case remote.CharDev, remote.BlockDev:
		a.Rdev = uint32(d.uvarint(math.MaxUint32))
	}
	return a
}

func (d *decoder) extent() (e remote.Extent) {
	form := d.u8()
	e.Off = d.uvarint(remote.MaxSize)
	e.Len = d.uvarint(remote.MaxSize)
	switch form {
	case formHole:
		e.Hole = true
	case formInline:
		if e.Len > remote.MaxInline {
			d.fail(longInline)
		}
		e.Inline = append([]byte{}, d.take(e.Len)...)
	case formRef:
		copy(e.Ref.Object[:], d.take(uint64(len(e.Ref.Object))))
		e.Ref.Epoch = uint32(d.uvarint(math.MaxUint32))
		e.Ref.Chunks = uint16(d.u8()) + 1
		e.Ref.Off = uint32(d.uvarint(remote.MaxContent))
	default:
		d.fail(refuse("extent", remote.NotSupported, "unknown form; a newer megafs may know it"))
	}
	return e
}
