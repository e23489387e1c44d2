package wire

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"math"
	"reflect"
	"runtime"
	"strings"
	"testing"

	"megafs/remote"

	"pgregory.net/rapid"
)

var (
	anyIno = rapid.Custom(func(t *rapid.T) remote.Ino {
		return remote.Ino(rapid.Uint64Min(1).Draw(t, "ino"))
	})
	anyName = rapid.Custom(func(t *rapid.T) string {
		return string(rapid.SliceOfN(rapid.Byte(), 1, 255).Filter(func(b []byte) bool {
			return remote.ValidName(string(b))
		}).Draw(t, "name"))
	})
	anyTime = rapid.Custom(func(t *rapid.T) remote.Time {
		near := rapid.Int64Range(1.7e18, 1.7e18+1000)
		return remote.Time(rapid.OneOf(rapid.Int64(), near).Draw(t, "time"))
	})
	anyAttr = rapid.Custom(func(t *rapid.T) remote.Attr {
		a := remote.Attr{
			Type: remote.Type(rapid.IntRange(1, 7).Draw(t, "type")),
			Mode: rapid.Uint16Max(0o7777).Draw(t, "mode"),
			UID:  rapid.Uint32().Draw(t, "uid"), GID: rapid.Uint32().Draw(t, "gid"),
			Atime: anyTime.Draw(t, "atime"), Mtime: anyTime.Draw(t, "mtime"),
			Ctime: anyTime.Draw(t, "ctime"), Btime: anyTime.Draw(t, "btime"),
		}
		switch a.Type {
		case remote.File:
			a.Size = rapid.Uint64Max(remote.MaxSize).Draw(t, "size")
		case remote.Symlink:
			a.Target = strings.Repeat("../", rapid.IntRange(1, remote.MaxTarget/3).Draw(t, "target/3"))
			a.Size = uint64(len(a.Target))
		case remote.CharDev, remote.BlockDev:
			a.Rdev = rapid.Uint32().Draw(t, "rdev")
		}
		return a
	})
	anyExtent = rapid.Custom(func(t *rapid.T) remote.Extent {
		var e remote.Extent
		longest := uint64(remote.MaxSize)
		switch rapid.IntRange(formHole, formRef).Draw(t, "form") {
		case formHole:
			e.Hole = true
			e.Len = rapid.Uint64Range(1, longest).Draw(t, "len")
		case formInline:
			e.Inline = rapid.SliceOfN(rapid.Byte(), 1, remote.MaxInline).Draw(t, "inline")
			e.Len = uint64(len(e.Inline))
		case formRef:
			copy(e.Ref.Object[:], rapid.SliceOfN(rapid.Byte(), 32, 32).Draw(t, "object"))
			e.Ref.Epoch = rapid.Uint32().Draw(t, "epoch")
			e.Ref.Chunks = rapid.Uint16Range(1, remote.MaxChunks).Draw(t, "chunks")
			size := uint32(e.Ref.Chunks) * remote.ChunkSize
			e.Ref.Off = rapid.Uint32Range(0, size-1).Draw(t, "refoff")
			e.Len = rapid.Uint64Range(1, uint64(size-e.Ref.Off)).Draw(t, "len")
		}
		e.Off = rapid.Uint64Range(0, remote.MaxSize-e.Len).Draw(t, "off")
		return e
	})
	anyOp = rapid.Custom(func(t *rapid.T) remote.Op {
		op := remote.Op{Kind: remote.OpKind(rapid.IntRange(1, 8).Draw(t, "kind"))}
		if op.Kind != remote.OpDevice {
			op.Ino = anyIno.Draw(t, "ino")
		}
		switch op.Kind {
		case remote.OpNode:
			op.Attr = anyAttr.Draw(t, "attr")
		case remote.OpLink, remote.OpUnlink:
			op.Parent, op.Name = anyIno.Draw(t, "parent"), anyName.Draw(t, "name")
		case remote.OpCut:
			op.Cut = rapid.Uint64Max(remote.MaxSize).Draw(t, "cut")
		case remote.OpExtent:
			op.Extent = anyExtent.Draw(t, "extent")
		case remote.OpXattr:
			op.Name, op.Value = anyName.Draw(t, "name"), rapid.SliceOf(rapid.Byte()).Draw(t, "value")
		case remote.OpNoXattr:
			op.Name = anyName.Draw(t, "name")
		case remote.OpDevice:
			copy(op.Device[:], rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "device"))
			op.Number = rapid.Uint32Range(1, maxDevice).Draw(t, "number")
		}
		return op
	})
)

func TestRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		op := anyOp.Draw(t, "op")
		b := AppendOp([]byte("before"), &op)
		if b = b[len("before"):]; len(b) != Size(&op) {
			t.Fatalf("%d bytes, Size says %d", len(b), Size(&op))
		}
		whole := len(b)
		b = append(b, "after"...)
		got, rest, err := DecodeOp(b)
		if err != nil || string(rest) != "after" {
			t.Fatalf("rest %q, error %v", rest, err)
		}
		clear(b) // what was decoded does not alias it
		if !reflect.DeepEqual(got, op) {
			t.Fatalf("got %+v\nwant %+v", got, op)
		}
		b = AppendOp(nil, &op)
		for n := 0; n < whole; n += 1 + n/16 { // each of the first bytes, fewer of long strings
			if _, _, err := DecodeOp(b[:n]); !remote.Is(err, remote.Invalid) {
				t.Fatalf("%d of %d bytes: %v", n, whole, err)
			}
		}
	})
}

func TestRoundTripList(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		ops := rapid.SliceOfN(anyOp, 0, 20).Draw(t, "ops")
		b := AppendOps(nil, ops)
		got, err := DecodeOps(b)
		if err != nil || len(got) != len(ops) || len(ops) > 0 && !reflect.DeepEqual(got, ops) {
			t.Fatalf("got %+v, error %v", got, err)
		}
		if _, err := DecodeOps(append(b, 0)); !remote.Is(err, remote.Invalid) {
			t.Fatalf("with a byte more: %v", err)
		}
		got = got[:0]
		err = EachOp(b[1:], func(op *remote.Op) error { // 0..20 is one byte of count
			got = append(got, *op)
			return nil
		})
		if err != nil || len(ops) > 0 && !reflect.DeepEqual(got, ops) {
			t.Fatalf("one by one: got %+v, error %v", got, err)
		}
	})
}

func TestRoundTripParts(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, e := anyAttr.Draw(t, "attr"), anyExtent.Draw(t, "extent")
		b := AppendExtent(AppendAttr(nil, &a), &e)
		gotA, rest, errA := DecodeAttr(b)
		gotE, rest, errE := DecodeExtent(rest)
		if errA != nil || errE != nil || len(rest) != 0 {
			t.Fatal(errA, errE, rest)
		}
		clear(b)
		if gotA != a || !reflect.DeepEqual(gotE, e) {
			t.Fatalf("got %+v %+v", gotA, gotE)
		}
	})
}

func TestEachOpStops(t *testing.T) {
	op := remote.Op{Kind: remote.OpCut, Ino: 1}
	b := AppendOp(AppendOp(nil, &op), &op)
	full := remote.E("apply", "", remote.NoSpace, nil)
	calls := 0
	if err := EachOp(b, func(*remote.Op) error { calls++; return full }); err != full || calls != 1 {
		t.Errorf("%v after %d calls", err, calls)
	}
	calls = 0
	err := EachOp(append(b, 99), func(*remote.Op) error { calls++; return nil })
	if !remote.Is(err, remote.NotSupported) || calls != 2 {
		t.Errorf("%v after %d calls", err, calls)
	}
}

// goldenOps has an Op of each kind and form, with numbers that show the order of bytes.
func goldenOps() []remote.Op {
	var object remote.ObjectID
	var device remote.DeviceID
	for i := range object {
		object[i] = byte(0xa0 + i)
	}
	copy(device[:], object[:])
	ino := remote.Ino(3<<remote.InoBits | 300)
	times := remote.Attr{Mode: 0o644, UID: 1000, GID: 100, Ctime: 0x1122334455667788, Mtime: 0x1122334455667786, Atime: 0x1122334455667789, Btime: math.MinInt64}
	file, link, dev := times, times, times
	file.Type, file.Size = remote.File, remote.MaxSize
	link.Type, link.Target, link.Size = remote.Symlink, "a/b", 3
	dev.Type, dev.Rdev = remote.CharDev, 0x103
	return []remote.Op{
		{Kind: remote.OpNode, Ino: ino, Attr: file},
		{Kind: remote.OpNode, Ino: remote.Root, Attr: remote.Attr{Type: remote.Dir, Mode: 0o7755}},
		{Kind: remote.OpNode, Ino: ino, Attr: link},
		{Kind: remote.OpNode, Ino: ino, Attr: dev},
		{Kind: remote.OpLink, Parent: remote.Root, Ino: ino, Name: "na\xffme"},
		{Kind: remote.OpUnlink, Parent: remote.Root, Ino: ino, Name: "..."},
		{Kind: remote.OpCut, Ino: ino, Cut: 1 << 40},
		{Kind: remote.OpExtent, Ino: ino, Extent: remote.Extent{Off: 128, Len: remote.MaxSize - 128, Hole: true}},
		{Kind: remote.OpExtent, Ino: ino, Extent: remote.Extent{Off: 0, Len: 2, Inline: []byte("hi")}},
		{Kind: remote.OpExtent, Ino: ino, Extent: remote.Extent{Off: 16384, Len: 5, Ref: remote.Ref{Object: object, Epoch: 7, Chunks: 256, Off: remote.MaxContent - 5}}},
		{Kind: remote.OpXattr, Ino: ino, Name: "user./", Value: []byte{1, 2}},
		{Kind: remote.OpNoXattr, Ino: ino, Name: "user.."},
		{Kind: remote.OpDevice, Device: device, Number: 1<<24 - 1},
	}
}

var golden = []string{
	"0103ac0211a4e8076411223344556677880302f0a1cca9f5aee6dddd01ffffffffffffffff7f",
	"0100012fed00000000000000000000000000",
	"0103ac0231a4e8076411223344556677880302f0a1cca9f5aee6dddd0103612f62",
	"0103ac0261a4e8076411223344556677880302f0a1cca9f5aee6dddd018302",
	"02000103ac02056e61ff6d65",
	"03000103ac02032e2e2e",
	"0403ac02808080808020",
	"0503ac02018001fffeffffffffffff7f",
	"0503ac020200026869",
	"0503ac020380800105a0a1a2a3a4a5a6a7a8a9aaabacadaeafb0b1b2b3b4b5b6b7b8b9babbbcbdbebf07fffbffff01",
	"0603ac0206757365722e2f020102",
	"0703ac0206757365722e2e",
	"08a0a1a2a3a4a5a6a7a8a9aaabacadaeafffffff07",
}

func TestGolden(t *testing.T) {
	ops := goldenOps()
	for i := range ops {
		if got := hex.EncodeToString(AppendOp(nil, &ops[i])); got != golden[i] {
			t.Errorf("op %d:\n\t%q,", i, got)
		}
	}
}

// TestRefused feeds encodings that break one rule each, most of them built by hand from doc.go.
func TestRefused(t *testing.T) {
	ino := "\x03\x05"
	root := "\x00\x01"
	uv := func(n uint64) string { return string(binary.AppendUvarint(nil, n)) }
	attr := "\x11\xa4\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00" // a file 0644, up to the size
	link := "\x31\xff" + attr[2:]
	ref := strings.Repeat("o", 32) + "\x07\x00" // epoch 7, one chunk
	str := func(n string) string { return string(append([]byte{byte(len(n))}, n...)) }
	cases := []struct {
		what string
		op   string
		kind remote.Kind
	}{
		{"kind 0", "\x00" + ino + "\x00", remote.NotSupported},
		{"kind 9", "\x09" + ino + "\x00", remote.NotSupported},
		{"kind 255", "\xff", remote.NotSupported},
		{"inode 0", "\x04\x00\x00\x00", remote.Invalid},
		{"parent 0", "\x02\x00\x00" + ino + str("a"), remote.Invalid},
		{"linked inode 0", "\x02" + root + "\x00\x00" + str("a"), remote.Invalid},
		{"unlinked inode 0", "\x03" + root + "\x00\x00" + str("a"), remote.Invalid},
		{"inode's device 2^24", "\x04" + uv(1<<24) + "\x01\x00", remote.TooLarge},
		{"inode's counter 2^40", "\x04\x01" + uv(1<<40) + "\x00", remote.TooLarge},
		{"uvarint 80 00", "\x04\x80\x00\x01\x00", remote.Invalid},
		{"uvarint 81 00", "\x04\x81\x00\x01\x00", remote.Invalid},
		{"uvarint of 11 bytes", "\x04" + ino + strings.Repeat("\xff", 10) + "\x01", remote.Invalid},
		{"uvarint 2^64", "\x04" + ino + strings.Repeat("\xff", 9) + "\x02", remote.Invalid},
		{"cut at 2^63", "\x04" + ino + uv(1<<63), remote.TooLarge},

		{"name empty", "\x02" + root + ino + "\x00", remote.Invalid},
		{"name /", "\x02" + root + ino + str("/"), remote.Invalid},
		{"name a/b", "\x02" + root + ino + str("a/b"), remote.Invalid},
		{"name .", "\x02" + root + ino + str("."), remote.Invalid},
		{"name ..", "\x02" + root + ino + str(".."), remote.Invalid},
		{"name with NUL", "\x02" + root + ino + str("a\x00b"), remote.Invalid},
		{"name .. unlinked", "\x03" + root + ino + str(".."), remote.Invalid},
		{"name longer than the input", "\x02" + root + ino + "\xffa", remote.Invalid},
		{"xattr name empty", "\x06" + ino + "\x00\x00", remote.Invalid},
		{"xattr name with NUL", "\x07" + ino + str("\x00"), remote.Invalid},
		{"xattr value of 64 KiB + 1", "\x06" + ino + str("a") + uv(65537) + strings.Repeat("v", 65537), remote.TooLarge},
		{"xattr value longer than the input", "\x06" + ino + str("a") + "\x02v", remote.Invalid},

		{"attr type 0", "\x01" + ino + "\x01" + attr[1:] + "\x00", remote.NotSupported},
		{"attr type 8", "\x01" + ino + "\x81" + attr[1:] + "\x00", remote.NotSupported},
		{"attr type 15", "\x01" + ino + "\xf1" + attr[1:] + "\x00", remote.NotSupported},
		{"uid 2^32", "\x01" + ino + attr[:2] + uv(1<<32) + attr[3:] + "\x00", remote.TooLarge},
		{"gid 2^32", "\x01" + ino + attr[:3] + uv(1<<32) + attr[4:] + "\x00", remote.TooLarge},
		{"size 2^63", "\x01" + ino + attr + uv(1<<63), remote.TooLarge},
		{"rdev 2^32", "\x01" + ino + "\x61" + attr[1:] + uv(1<<32), remote.TooLarge},
		{"target empty", "\x01" + ino + link + "\x00", remote.Invalid},
		{"target with NUL", "\x01" + ino + link + str("/etc\x00"), remote.Invalid},
		{"target of 4096 bytes", "\x01" + ino + link + uv(4096) + strings.Repeat("t", 4096), remote.TooLarge},
		{"target of 64 KiB", "\x01" + ino + link + uv(65536) + strings.Repeat("t", 65536), remote.TooLarge},
		{"target of 4095 bytes that are not there", "\x01" + ino + link + uv(4095), remote.Invalid},

		{"extent of form 0", "\x05" + ino + "\x00\x00\x01", remote.NotSupported},
		{"extent of form 4", "\x05" + ino + "\x04\x00\x01", remote.NotSupported},
		{"hole of length 0", "\x05" + ino + "\x01\x00\x00", remote.Invalid},
		{"inline of length 0", "\x05" + ino + "\x02\x00\x00", remote.Invalid},
		{"reference of length 0", "\x05" + ino + "\x03\x00\x00" + ref + "\x00", remote.Invalid},
		{"hole that ends at 2^63", "\x05" + ino + "\x01" + uv(1) + uv(remote.MaxSize), remote.TooLarge},
		{"hole at 2^63", "\x05" + ino + "\x01" + uv(1<<63) + "\x01", remote.TooLarge},
		{"hole whose end overflows", "\x05" + ino + "\x01" + uv(math.MaxUint64) + uv(math.MaxUint64), remote.TooLarge},
		{"inline that ends at 2^63", "\x05" + ino + "\x02" + uv(remote.MaxSize) + "\x01i", remote.TooLarge},
		{"inline of 2049 bytes", "\x05" + ino + "\x02\x00" + uv(2049) + strings.Repeat("i", 2049), remote.TooLarge},
		{"inline of 2^62 bytes", "\x05" + ino + "\x02\x00" + uv(1<<62), remote.TooLarge},
		{"inline shorter than said", "\x05" + ino + "\x02\x00\x03hi", remote.Invalid},
		{"epoch 2^32", "\x05" + ino + "\x03\x00\x01" + ref[:32] + uv(1<<32) + "\x00\x00", remote.TooLarge},
		{"reference at its object's end", "\x05" + ino + "\x03\x00\x01" + ref + uv(16384), remote.Invalid},
		{"reference beyond its object", "\x05" + ino + "\x03\x00\x02" + ref + uv(16383), remote.Invalid},
		{"reference longer than its object", "\x05" + ino + "\x03\x00" + uv(remote.MaxSize) + ref + "\x00", remote.Invalid},
		{"reference offset 2^32", "\x05" + ino + "\x03\x00\x01" + ref + uv(1<<32), remote.TooLarge},

		{"device number 0", "\x08" + strings.Repeat("d", 16) + "\x00", remote.Invalid},
		{"device number 2^24", "\x08" + strings.Repeat("d", 16) + uv(1<<24), remote.TooLarge},
	}
	for _, c := range cases {
		t.Run(c.what, func(t *testing.T) {
			op, rest, err := DecodeOp([]byte(c.op))
			if !remote.Is(err, c.kind) || rest != nil || !reflect.DeepEqual(op, remote.Op{}) {
				t.Errorf("%+v, %q, %v; want kind %v", op, rest, err, c.kind)
			}
			if ops, err := DecodeOps(append([]byte{1}, c.op...)); err == nil || ops != nil {
				t.Errorf("in a list: %+v, %v", ops, err)
			}
		})
	}
}

func TestRefusedLists(t *testing.T) {
	cut := "\x04\x00\x01\x00"
	for _, c := range []struct{ what, list string }{
		{"nothing", ""},
		{"count 2^32", "\x80\x80\x80\x80\x10" + cut},
		{"count 2^64-1", strings.Repeat("\xff", 9) + "\x01" + cut},
		{"count not minimal", "\x81\x00" + cut},
		{"one op too few", "\x02" + cut + "\x04\x00\x01"},
		{"one op too many", "\x01" + cut + cut},
		{"none, and a byte", "\x00\x00"},
	} {
		if ops, err := DecodeOps([]byte(c.list)); err == nil || ops != nil {
			t.Errorf("%s: %v, %v", c.what, ops, err)
		}
	}
	if ops, err := DecodeOps([]byte("\x02" + cut + cut)); err != nil || len(ops) != 2 {
		t.Errorf("a good list: %v, %v", ops, err)
	}
}

// TestNoAllocationByClaim measures what hostile lengths make the decoder allocate.
func TestNoAllocationByClaim(t *testing.T) {
	for _, c := range []struct{ what, list string }{
		{"2^32 ops", "\x80\x80\x80\x80\x10" + "\x04\x00\x01\x00"},
		{"a value of 64 KiB", "\x01\x06\x00\x01\x01a\x80\x80\x04"},
		{"2047 bytes inline", "\x01\x05\x00\x01\x02\x00\xff\x0f"},
		{"a target of 4095 bytes", "\x01\x01\x00\x01\x31\xff" + strings.Repeat("\x00", 13) + "\xff\x1f"},
	} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		const runs = 100 // so that the odd allocation of somebody else does not count
		for range runs {
			if _, err := DecodeOps([]byte(c.list)); err == nil {
				t.Fatalf("%s: accepted", c.what)
			}
		}
		runtime.ReadMemStats(&after)
		if n := (after.TotalAlloc - before.TotalAlloc) / runs; n > 1024 {
			t.Errorf("%s: %d bytes allocated for %d bytes of input", c.what, n, len(c.list))
		}
	}
}

func TestCheck(t *testing.T) {
	long := strings.Repeat("n", 256)
	file := remote.Attr{Type: remote.File}
	with := func(a remote.Attr, f func(*remote.Attr)) remote.Op {
		f(&a)
		return remote.Op{Kind: remote.OpNode, Ino: 5, Attr: a}
	}
	extent := func(e remote.Extent) remote.Op { return remote.Op{Kind: remote.OpExtent, Ino: 5, Extent: e} }
	for _, c := range []struct {
		what string
		op   remote.Op
		kind remote.Kind
	}{
		{"name of 256 bytes", remote.Op{Kind: remote.OpLink, Parent: 1, Ino: 5, Name: long}, remote.NameTooLong},
		{"xattr name of 256 bytes", remote.Op{Kind: remote.OpXattr, Ino: 5, Name: long}, remote.NameTooLong},
		{"value", remote.Op{Kind: remote.OpXattr, Ino: 5, Name: "a", Value: make([]byte, 65537)}, remote.TooLarge},
		{"mode", with(file, func(a *remote.Attr) { a.Mode = 0o10000 }), remote.Invalid},
		{"type", with(file, func(a *remote.Attr) { a.Type = 8 }), remote.NotSupported},
		{"size", with(file, func(a *remote.Attr) { a.Size = 1 << 63 }), remote.TooLarge},
		{"size of a directory", with(file, func(a *remote.Attr) { a.Type, a.Size = remote.Dir, 4096 }), remote.Invalid},
		{"size of a symlink", with(file, func(a *remote.Attr) { a.Type, a.Target = remote.Symlink, "x" }), remote.Invalid},
		{"target of a file", with(file, func(a *remote.Attr) { a.Target = "x" }), remote.Invalid},
		{"rdev of a file", with(file, func(a *remote.Attr) { a.Rdev = 1 }), remote.Invalid},
		{"target", with(file, func(a *remote.Attr) { a.Type, a.Target = remote.Symlink, strings.Repeat("t", 4096) }), remote.TooLarge},
		{"hole with content", extent(remote.Extent{Len: 1, Hole: true, Inline: []byte("i")}), remote.Invalid},
		{"hole with a reference", extent(remote.Extent{Len: 1, Hole: true, Ref: remote.Ref{Chunks: 1}}), remote.Invalid},
		{"inline with a reference", extent(remote.Extent{Len: 1, Inline: []byte("i"), Ref: remote.Ref{Chunks: 1}}), remote.Invalid},
		{"inline of another length", extent(remote.Extent{Len: 2, Inline: []byte("i")}), remote.Invalid},
		{"no chunks", extent(remote.Extent{Len: 1}), remote.Invalid},
		{"257 chunks", extent(remote.Extent{Len: 1, Ref: remote.Ref{Chunks: 257}}), remote.Invalid},
		{"number", remote.Op{Kind: remote.OpDevice, Number: 1 << 24}, remote.Invalid},
	} {
		t.Run(c.what, func(t *testing.T) {
			err := Check(&c.op)
			if !remote.Is(err, c.kind) {
				t.Errorf("%v; want kind %v", err, c.kind)
			}
			if err != nil && strings.Contains(err.Error(), "nn") {
				t.Errorf("a name in %q", err)
			}
			defer func() {
				if recover() == nil {
					t.Error("was encoded")
				}
			}()
			AppendOp(nil, &c.op)
		})
	}
}

func seeds(f *testing.F) {
	ops := goldenOps()
	for i := range ops {
		f.Add(AppendOp(nil, &ops[i]))
	}
	f.Add(AppendOps(nil, ops))
	f.Add([]byte("\x80\x80\x80\x80\x10"))
}

func FuzzOp(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, b []byte) {
		op, rest, err := DecodeOp(b)
		if err != nil {
			return
		}
		if err := Check(&op); err != nil {
			t.Fatalf("accepted what Check refuses: %v", err)
		}
		used := b[:len(b)-len(rest)]
		if again := AppendOp(nil, &op); !bytes.Equal(again, used) || Size(&op) != len(used) {
			t.Fatalf("%x was read, %x is written, Size is %d", used, again, Size(&op))
		}
	})
}

func FuzzOps(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, b []byte) {
		if ops, err := DecodeOps(b); err == nil && !bytes.Equal(AppendOps(nil, ops), b) {
			t.Fatalf("%x is not what is written", b)
		}
		var again []byte
		err := EachOp(b, func(op *remote.Op) error {
			again = AppendOp(again, op)
			return nil
		})
		if !bytes.HasPrefix(b, again) || err == nil && len(again) != len(b) {
			t.Fatalf("%x was read, %x is written, error %v", b, again, err)
		}
	})
}

// FuzzExtent reads what the tree index has: extents and attributes, each in its one encoding.
func FuzzExtent(f *testing.F) {
	for _, op := range goldenOps() {
		switch op.Kind {
		case remote.OpExtent:
			f.Add(AppendExtent(nil, &op.Extent))
		case remote.OpNode:
			f.Add(AppendAttr(nil, &op.Attr))
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if e, rest, err := DecodeExtent(b); err == nil {
			if again := AppendExtent(nil, &e); !bytes.Equal(again, b[:len(b)-len(rest)]) || e.End() < e.Off || e.End() > remote.MaxSize {
				t.Fatalf("%x was read, %x is written", b, again)
			}
		}
		if a, rest, err := DecodeAttr(b); err == nil {
			if again := AppendAttr(nil, &a); !bytes.Equal(again, b[:len(b)-len(rest)]) {
				t.Fatalf("%x was read, %x is written", b, again)
			}
		}
	})
}
