package volume

import (
	"context"

	"megafs/remote"
)

// copyStep is how much CopyRange takes on at once.
const copyStep = 1 << 20

// CopyRange copies bytes between files. Setuid and setgid are the caller's to clear, as with a write.
// Stored content is shared, not copied; what is only here, or another's, is written again.
func (v *Volume) CopyRange(ctx context.Context, from *Handle, off uint64, to *Handle, off2, n uint64) (uint64, error) {
	var done uint64
	for done < n {
		part := min(n-done, 64*copyStep)
		m, err := v.copyPart(ctx, from, off+done, to, off2+done, part)
		done += m
		if err != nil && done == 0 {
			return 0, err
		}
		if err != nil || m == 0 {
			break
		}
	}
	return done, nil
}

func (v *Volume) copyPart(ctx context.Context, from *Handle, off uint64, to *Handle, off2, n uint64) (uint64, error) {
	src, err := v.tree.Node(from.node())
	if err != nil {
		return 0, err
	}
	if off >= src.Size {
		return 0, nil
	}
	n = min(n, src.Size-off)
	if off2 > remote.MaxSize || n > remote.MaxSize-off2 {
		return 0, remote.E("copy", obj(to.ino), remote.FileTooBig, nil)
	}
	if err := v.writable(ctx, 0); err != nil {
		return 0, err
	}
	if err := v.fits(ctx, to.node(), off2, n); err != nil {
		return 0, err
	}
	v.mu.Lock()
	pieces, err := v.tree.Content(from.node(), off, off+n)
	if err != nil {
		v.mu.Unlock()
		return 0, err
	}
	// As long as everything is stored it can be shared in one change. What nobody may change here is another's, who may take it back: a copy has to have it.
	lasts := v.may(from.node()) == nil
	var ops []remote.Op
	var shared uint64
	for _, p := range pieces {
		if p.Ext == nil {
			break
		}
		e := *p.Ext
		e.Off = off2 + (p.Off - off)
		ops = append(ops, remote.Op{Kind: remote.OpExtent, Ino: to.node(), Extent: e})
		shared = p.Off + p.Len - off
		if len(ops) >= 1024 {
			break
		}
	}
	if shared > 0 && from.ino != to.ino && lasts {
		defer v.mu.Unlock()
		dst, err := v.tree.Node(to.node())
		if err != nil {
			return 0, err
		}
		a, now := dst.Attr, v.now()
		a.Mtime, a.Ctime, a.Size = now, now, max(a.Size, off2+shared)
		ops = append([]remote.Op{{Kind: remote.OpNode, Ino: to.node(), Attr: a}}, ops...)
		return shared, v.change(ops...)
	}
	v.mu.Unlock()
	buf := make([]byte, min(n, copyStep))
	m, err := v.read(ctx, from.node(), buf, off)
	if err != nil || m == 0 {
		return 0, err
	}
	w, err := to.WriteAt(ctx, buf[:m], off2, false)
	return uint64(w), err
}
