package volume

import (
	"maps"

	"megafs/fs/acl"
	"megafs/remote"
)

// crashList is the access control list of scripts.
var crashList = acl.List{{Tag: acl.UserObj, Perm: 6}, {Tag: acl.User, Perm: 4, ID: 5}, {Tag: acl.GroupObj, Perm: 4}, {Tag: acl.Mask, Perm: 4}, {Tag: acl.Other, Perm: 0}}

// doFile does what do leaves to it.
//
//	alloc P MODE OFF LEN | append P LEN | reopen P (with O_TRUNC) | part P Q OFF OFF2 LEN (copy, as much as is one change) | hpart H Q OFF OFF2 LEN (from an open file)
//	htrunc H SIZE | whiteout P Q | times P SECONDS | acl P | dacl P (the default list of a directory)
func (l *life) doFile(f []string, at func(int) (remote.Ino, string, remote.Ino, *thing, *thing), arg func(int) int) error {
	v := l.v
	open := func(ino remote.Ino, trunc bool) (*Handle, error) { return v.Open(ctx, ino, true, trunc) }
	part := func(from *Handle, src *thing) error {
		_, _, to, _, dst := at(2)
		w, err := open(to, false)
		if err != nil {
			return err
		}
		defer w.Close()
		off, off2 := arg(3), arg(4)
		m, err := v.copyPart(ctx, from, uint64(off), w, uint64(off2), uint64(arg(5)))
		if n := int(m); n > 0 {
			dst.data = resize(dst.data, max(len(dst.data), off2+n))
			copy(dst.data[off2:], src.data[off:off+n])
		}
		return err
	}
	switch f[0] {
	case "alloc":
		_, _, ino, _, t := at(1)
		h, err := open(ino, false)
		if err != nil {
			return err
		}
		defer h.Close()
		mode, off, n := uint32(arg(2)), arg(3), arg(4)
		if mode&(zeroRange|punchHole) != 0 {
			clear(t.data[min(len(t.data), off):min(len(t.data), off+n)])
		}
		if mode&keepSize == 0 {
			t.data = resize(t.data, max(len(t.data), off+n))
		}
		return h.Allocate(ctx, mode, uint64(off), uint64(n))
	case "reopen":
		_, _, ino, _, t := at(1)
		t.data = nil
		h, err := open(ino, true)
		if err == nil {
			h.Close()
		}
		return err
	case "append":
		_, _, ino, _, t := at(1)
		h, err := open(ino, false)
		if err != nil {
			return err
		}
		defer h.Close()
		l.writes++
		data := pattern(arg(2), l.writes)
		t.data = append(t.data[:len(t.data):len(t.data)], data...)
		_, _, err = h.Append(ctx, data, false)
		return err
	case "part":
		_, _, from, _, src := at(1)
		h, err := open(from, false)
		if err != nil {
			return err
		}
		defer h.Close()
		return part(h, src)
	case "hpart":
		h := l.handles[f[1]]
		return part(h.Handle, h.t)
	case "htrunc":
		h := l.handles[f[1]]
		size := uint64(arg(2))
		h.t.data = resize(h.t.data, arg(2))
		_, err := v.Setattr(ctx, h.Ino(), SetAttr{Size: &size})
		return err
	case "whiteout":
		p, pn, _, pd, old := at(1)
		q, qn, _, qd, other := at(2)
		if other != nil {
			other.links--
		}
		pd.kids[pn] = &thing{typ: remote.CharDev, links: 1}
		qd.kids[qn] = old
		return v.Rename(ctx, p, pn, q, qn, RenameWhiteout, Caller{})
	case "times":
		_, _, ino, _, _ := at(1)
		when := remote.Time(arg(2)) * 1e9
		_, err := v.Setattr(ctx, ino, SetAttr{Atime: &when, Mtime: &when})
		return err
	case "acl", "dacl":
		_, _, ino, _, t := at(1)
		name := acl.Access
		if f[0] == "dacl" {
			name = acl.Default
		} else {
			t.mode = t.mode&^0o777 | 0o640
		}
		if t.xattrs == nil {
			t.xattrs = map[string]string{}
		}
		t.xattrs[name] = string(crashList.Bytes())
		return v.Setxattr(ctx, ino, name, crashList.Bytes(), 0)
	}
	panic(f[0])
}

func init() {
	maps.Copy(crashScripts, map[string]string{
		"zeros":     "make a; write a 0 15000; write a 15000 9000; drain; alloc a 16 10000 12000; alloc a 1 0 90000; alloc a 17 23000 5000; fsync a; append a 10; drain; reopen a; append a 700; drain",
		"parts":     "make a; write a 0 15000; write a 15000 15000; drain; make b; part a b 5000 300 20000; fsync b; write a 17000 20; part a b 14000 20000 3000; unlink a; drain; part b b 0 30000 9000; drain",
		"heldparts": "make a; write a 0 15000; drain; open h a; make b; unlink a; syncdir; hpart h b 1000 600 9000; htrunc h 5000; drain; tmpfile t; part b b 0 20000 500; hwrite t 0 5000; hpart t b 0 0 900; htrunc t 3000; hlink t c; syncdir; close h; close t; drain",
		"lists":     "mkdir d; dacl d; make d/a; fsync d/a; make b; acl b; times b 77; drain; rename d/a e; whiteout e b; syncdir; acl b; drain",
	})
}
