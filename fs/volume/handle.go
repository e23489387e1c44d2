package volume

import (
	"context"
	"sync"

	"megafs/cache"
	"megafs/fs/journal"
	"megafs/fs/tree"
	"megafs/fs/writeback"
	"megafs/remote"
)

// Handle is an open file. Its methods may be called from many goroutines.
type Handle struct {
	v      *Volume
	ino    remote.Ino // the kernel's; see aliases
	write  bool
	stream cache.Stream

	mu       sync.Mutex
	reported bool // an earlier background error was returned once
}

// Open implements FS.
func (v *Volume) Open(ctx context.Context, ino remote.Ino, write, trunc bool) (*Handle, error) {
	n, err := v.tree.Node(v.inner(ino))
	if err != nil {
		return nil, err
	}
	switch {
	case n.Type == remote.Dir:
		return nil, remote.E("open", obj(ino), remote.IsDir, nil)
	case n.Type != remote.File:
		return nil, remote.E("open", obj(ino), remote.Invalid, nil)
	case v.o.ReadOnly && (write || trunc):
		return nil, remote.E("open", obj(ino), remote.ReadOnly, nil)
	}
	if write || trunc {
		if err := v.may(v.inner(ino)); err != nil {
			return nil, err
		}
	}
	if trunc {
		var zero uint64
		if _, err := v.Setattr(ctx, ino, SetAttr{Size: &zero}); err != nil {
			return nil, err
		}
	}
	v.mu.Lock()
	v.tree.Pin(v.inner(ino), 1)
	v.mu.Unlock()
	if write {
		v.handleMu.Lock()
		v.writing[ino]++
		v.handleMu.Unlock()
	}
	return &Handle{v: v, ino: ino, write: write}, nil
}

// node returns the inode in the tree.
func (h *Handle) node() remote.Ino { return h.v.inner(h.ino) }

// Ino returns the inode's number.
func (h *Handle) Ino() remote.Ino { return h.ino }

// Close ends the handle.
func (h *Handle) Close() {
	if h.write {
		h.v.handleMu.Lock()
		if h.v.writing[h.ino]--; h.v.writing[h.ino] <= 0 {
			delete(h.v.writing, h.ino)
		}
		h.v.handleMu.Unlock()
	}
	h.v.Forget(h.ino, 1)
}

// ReadAt reads up to len(dst) bytes at off. It returns fewer only at the end of the file.
func (h *Handle) ReadAt(ctx context.Context, dst []byte, off uint64) (int, error) {
	var n int
	for {
		ino := h.node()
		var err error
		n, err = h.v.read(ctx, ino, dst, off)
		if ino != h.node() {
			continue // what was read is another's by now
		}
		if err != nil {
			return 0, err
		}
		break
	}
	h.ahead(off, n)
	return n, nil
}

func (v *Volume) read(ctx context.Context, ino remote.Ino, dst []byte, off uint64) (int, error) {
	// A record may be trimmed between the look at where bytes are and the reading of them: then they are
	// somewhere else by now, and a second look finds them. It can't happen again and again without the file changing.
	for try := 0; ; try++ {
		node, err := v.tree.Node(ino)
		if err != nil {
			return 0, err
		}
		if off >= node.Size {
			return 0, nil
		}
		n := int(min(uint64(len(dst)), node.Size-off))
		pieces, err := v.tree.Content(ino, off, off+uint64(n))
		if err != nil {
			return 0, err
		}
		err = writeback.Fill(ctx, v.jour, v.cache.Read, off, dst[:n], pieces)
		if err == nil {
			return n, nil
		}
		if v.o.WaitQuota && v.later(ctx, err) {
			try = 0
			continue
		}
		if try >= 10 || !remote.Is(err, remote.Stale) {
			return 0, err
		}
	}
}

// ahead asks the cache for what will be read next.
func (h *Handle) ahead(off uint64, n int) {
	if h.v.o.LocalStore {
		return // the kernel asks for several pieces at a time, and a local disk needs no more
	}
	node, err := h.v.tree.Node(h.node())
	if err != nil {
		return
	}
	if node.Size <= smallFile {
		h.v.beside(node)
	}
	from, to := h.stream.Next(off, n, node.Size)
	if from >= to {
		return
	}
	pieces, err := h.v.tree.Content(h.node(), from, min(to, node.Size))
	if err != nil {
		return
	}
	var refs []remote.Extent
	for _, p := range pieces {
		if p.Ext != nil && !p.Ext.Hole && p.Ext.Inline == nil {
			refs = append(refs, *p.Ext)
		}
	}
	if len(refs) > 0 {
		h.v.cache.Prefetch(refs)
	}
}

// writePiece is how much of a write goes to one journal record: what must be opened to read one byte of it back.
const writePiece = 128 << 10

// WriteAt writes src at off. killPriv clears setuid and setgid.
func (h *Handle) WriteAt(ctx context.Context, src []byte, off uint64, killPriv bool) (int, error) {
	if len(src) == 0 {
		return 0, nil
	}
	if err := h.v.writable(ctx, int64(len(src))); err != nil {
		return 0, err
	}
	if err := h.v.fits(ctx, h.node(), off, uint64(len(src))); err != nil {
		return 0, err
	}
	h.v.mu.Lock()
	defer h.v.mu.Unlock()
	return h.writeLocked(src, off, killPriv)
}

// Append writes src at the file's end, wherever that is by now.
func (h *Handle) Append(ctx context.Context, src []byte, killPriv bool) (uint64, int, error) {
	if err := h.v.writable(ctx, int64(len(src))); err != nil {
		return 0, 0, err
	}
	if err := h.v.fits(ctx, h.node(), appended, uint64(len(src))); err != nil {
		return 0, 0, err
	}
	h.v.mu.Lock()
	defer h.v.mu.Unlock()
	node, err := h.v.tree.Node(h.node())
	if err != nil {
		return 0, 0, err
	}
	n, err := h.writeLocked(src, node.Size, killPriv)
	return node.Size, n, err
}

func (h *Handle) writeLocked(src []byte, off uint64, killPriv bool) (int, error) {
	v := h.v
	if off > remote.MaxSize || uint64(len(src)) > remote.MaxSize-off {
		return 0, remote.E("write", obj(h.ino), remote.FileTooBig, nil)
	}
	node, err := v.tree.Node(h.node())
	if err != nil {
		return 0, err
	}
	mode, now := node.Mode, v.now()
	if killPriv {
		mode = killed(mode)
	}
	if err := v.mark(); err != nil {
		return 0, err
	}
	done := 0
	records, err := v.jour.AppendSplit(recWrite, src, writePiece, func(at int) []byte {
		return appendWrite(nil, h.node(), off+uint64(at), now, mode)
	})
	for _, r := range records {
		v.lastSeq.Store(uint64(r.Seq))
		w := tree.Write{Ino: h.node(), Off: off + uint64(r.Off), Len: uint64(r.Len), Place: place(r.Loc), Time: now, Mode: mode}
		if err := v.tree.Written(uint64(r.Seq), v.o.Clock().UnixNano(), w); err != nil {
			return done, err
		}
		done += r.Len
	}
	if done > 0 {
		err = nil
	}
	return done, err
}

// Sync makes what was written durable: here, or at the remote when the volume is so configured. It returns an earlier failure
// to send the file once per handle.
func (h *Handle) Sync(ctx context.Context) error {
	if err := h.v.sync(ctx); err != nil {
		return err
	}
	return h.background()
}

// Flush is close(2) of one descriptor.
func (h *Handle) Flush(ctx context.Context) error { return h.background() }

func (h *Handle) background() error {
	if !h.write {
		return nil
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.reported {
		return nil
	}
	err := h.v.eng.Failed(h.node())
	h.reported = err != nil
	return err
}

func (v *Volume) syncTo(ctx context.Context, seq uint64) error {
	return v.jour.Sync(ctx, journal.Seq(seq))
}

// The modes of Allocate, as fallocate(2) has them.
const (
	keepSize  = 0x01
	punchHole = 0x02
	zeroRange = 0x10
)

// Allocate is fallocate(2): room is not set aside, for the store is elsewhere; holes and zeros are made.
func (h *Handle) Allocate(ctx context.Context, mode uint32, off, n uint64) error {
	v := h.v
	switch {
	case n == 0 || off > remote.MaxSize:
		return remote.E("allocate", obj(h.ino), remote.Invalid, nil)
	case n > remote.MaxSize-off:
		return remote.E("allocate", obj(h.ino), remote.FileTooBig, nil)
	case mode&^(keepSize|punchHole|zeroRange) != 0, mode&punchHole != 0 && mode != punchHole|keepSize:
		return remote.E("allocate", obj(h.ino), remote.NotSupported, nil)
	}
	if err := v.writable(ctx, 0); err != nil {
		return err
	}
	if mode&(punchHole|keepSize) == 0 {
		if err := v.fits(ctx, h.node(), off, n); err != nil {
			return err
		}
	}
	// Room that can't be there is refused, as a disk would.
	if s := v.StatFS(); mode&punchHole == 0 && n > s.Free {
		return remote.E("allocate", obj(h.ino), remote.NoSpace, nil)
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	node, err := v.tree.Node(h.node())
	if err != nil {
		return err
	}
	now := v.now()
	a := node.Attr
	a.Mtime, a.Ctime = now, now
	if mode&keepSize == 0 {
		a.Size = max(a.Size, off+n)
	}
	ops := []remote.Op{{Kind: remote.OpNode, Ino: h.node(), Attr: a}}
	if mode&(punchHole|zeroRange) != 0 && off < node.Size {
		ops = append(ops, remote.Op{Kind: remote.OpExtent, Ino: h.node(), Extent: remote.Extent{Off: off, Len: min(n, node.Size-off), Hole: true}})
	}
	if mode&punchHole != 0 {
		return v.free(ops...)
	}
	return v.change(ops...)
}

// Seek returns the next data, or the next hole, at or after off.
func (h *Handle) Seek(ctx context.Context, off uint64, hole bool) (uint64, error) {
	node, err := h.v.tree.Node(h.node())
	if err != nil {
		return 0, err
	}
	if off >= node.Size {
		return 0, remote.E("seek", obj(h.ino), remote.NoData, nil)
	}
	spans, err := h.v.tree.Data(h.node(), off, node.Size)
	if err != nil {
		return 0, err
	}
	if hole {
		if len(spans) > 0 && spans[0].Off == off {
			return spans[0].End, nil
		}
		return off, nil
	}
	if len(spans) == 0 {
		return 0, remote.E("seek", obj(h.ino), remote.NoData, nil)
	}
	return spans[0].Off, nil
}
