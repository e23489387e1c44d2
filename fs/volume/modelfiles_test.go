package volume

import (
	"bytes"

	"megafs/remote"
)

// letGo closes all files that are held open.
func (b *machine) letGo() {
	for _, h := range b.held {
		h.Close()
	}
	b.held = nil
}

// must ends the test on an error.
func (b *machine) must(err error) {
	b.t.Helper()
	if err != nil {
		b.t.Fatal(err)
	}
}

// writer opens a file.
func (b *machine) writer(ino remote.Ino, trunc bool) *Handle {
	b.t.Helper()
	h, err := b.Open(ctx, ino, true, trunc)
	b.must(err)
	return h
}

// copyPart copies some bytes of a file into one, which may be the same.
func (b *machine) copyPart(from remote.Ino, src *thing, to remote.Ino, dst *thing) {
	off, off2, n := b.rng.IntN(60_000), b.rng.IntN(60_000), 1+b.rng.IntN(100_000)
	if b.rng.IntN(2) == 0 {
		off, off2 = 0, 0
	}
	if m := max(0, min(n, len(src.data)-off)); src == dst && off < off2+m && off2 < off+m {
		return // which the kernel refuses
	}
	b.t.Logf("copy inode %d from %d, %d bytes, to inode %d at %d", from, off, n, to, off2)
	r, err := b.Open(ctx, from, false, false)
	b.must(err)
	defer r.Close()
	w := b.writer(to, false)
	defer w.Close()
	n = max(0, min(n, len(src.data)-off))
	for done := 0; done < n; {
		m, err := b.Volume.copyPart(ctx, r, uint64(off+done), w, uint64(off2+done), uint64(n-done))
		b.must(err)
		if m == 0 {
			b.t.Fatalf("copied %d of %d", done, n)
		}
		dst.data = resize(dst.data, max(len(dst.data), off2+done+int(m)))
		copy(dst.data[off2+done:], bytes.Clone(src.data[off+done:off+done+int(m)]))
		done += int(m)
		b.between()
	}
}

// allocate makes room or zeros in a file.
func (b *machine) allocate(ino remote.Ino, t *thing) {
	mode := []uint32{0, keepSize, zeroRange, zeroRange, zeroRange | keepSize, zeroRange | keepSize}[b.rng.IntN(6)]
	off, n := b.rng.IntN(len(t.data)+20_000), 1+b.rng.IntN(50_000)
	b.t.Logf("allocate inode %d: mode %x, %d at %d", ino, mode, n, off)
	h := b.writer(ino, false)
	defer h.Close()
	b.must(h.Allocate(ctx, mode, uint64(off), uint64(n)))
	if mode&zeroRange != 0 {
		clear(t.data[min(len(t.data), off):min(len(t.data), off+n)])
	}
	if mode&keepSize == 0 {
		t.data = resize(t.data, max(len(t.data), off+n))
	}
}

// appendTo writes at a file's end, now and then after cutting all of it.
func (b *machine) appendTo(ino remote.Ino, t *thing) {
	trunc := b.rng.IntN(3) == 0 || len(t.data) > 1<<20
	n := 1 + b.rng.IntN(300)
	if b.rng.IntN(4) == 0 {
		n = 1 + b.rng.IntN(300_000) // several records
	}
	data := pattern(n, b.rng.IntN(1000))
	b.t.Logf("append %d to inode %d, cut before: %v", n, ino, trunc)
	h := b.writer(ino, trunc)
	defer h.Close()
	if trunc {
		t.data = nil
		b.between()
	}
	_, m, err := h.Append(ctx, data, false)
	b.must(err)
	if m != n {
		b.t.Fatalf("wrote %d of %d", m, n)
	}
	for t.data = t.data[:len(t.data):len(t.data)]; len(data) > 0; data = data[min(len(data), writePiece):] {
		t.data = append(t.data, data[:min(len(data), writePiece)]...)
		b.between()
	}
}

// useHeld opens a file, or makes one without a name, and keeps it open; or does something with one that is.
func (b *machine) useHeld(dir *thing, parent remote.Ino, name string, ino remote.Ino, old *thing) {
	if len(b.held) < 4 && b.rng.IntN(4) == 0 {
		if old == nil {
			s, err := b.Tmpfile(ctx, parent, 0o600, Caller{})
			b.must(err)
			b.t.Logf("inode %d without a name", s.Ino)
			b.held = append(b.held, held{b.writer(s.Ino, false), &thing{typ: remote.File, mode: 0o600}})
			b.Forget(s.Ino, 1)
		} else if old.typ == remote.File {
			b.t.Logf("hold inode %d", ino)
			b.held = append(b.held, held{b.writer(ino, false), old})
		}
		return
	}
	if len(b.held) == 0 {
		return
	}
	i := b.rng.IntN(len(b.held))
	h := b.held[i]
	switch b.rng.IntN(8) {
	case 0:
		b.t.Logf("let go of inode %d", h.Ino())
		h.Close()
		b.held = append(b.held[:i], b.held[i+1:]...)
		return
	case 1:
		size := uint64(b.rng.IntN(50_000))
		b.t.Logf("truncate open inode %d to %d", h.Ino(), size)
		_, err := b.Setattr(ctx, h.Ino(), SetAttr{Size: &size})
		b.must(err)
		h.t.data = resize(h.t.data, int(size))
	case 2:
		b.allocate(h.Ino(), h.t)
	case 3:
		b.appendTo(h.Ino(), h.t)
	case 4:
		_, err := b.Link(ctx, h.Ino(), parent, name)
		switch {
		case old != nil && remote.Is(err, remote.Exist), h.t.links == 0 && remote.Is(err, remote.NotExist):
			return // the latter when it had a name once
		case err != nil || old != nil:
			b.t.Fatal("link of an open file: ", err)
		}
		b.t.Logf("link open inode %d", h.Ino())
		b.Forget(h.Ino(), 1)
		h.t.links++
		dir.kids[name] = h.t
	case 5:
		if old != nil && old.typ == remote.File {
			b.copyPart(ino, old, h.Ino(), h.t)
		}
	case 6:
		if old != nil && old.typ == remote.File {
			b.copyPart(h.Ino(), h.t, ino, old)
		}
	}
	got := make([]byte, len(h.t.data)+10)
	n, err := h.ReadAt(ctx, got, 0)
	b.must(err)
	if !bytes.Equal(got[:n], h.t.data) {
		b.t.Fatalf("open inode %d has %s, want %s", h.Ino(), hash(got[:n]), hash(h.t.data))
	}
}
