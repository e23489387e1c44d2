package volume

import (
	"megafs/fs/journal"
	"megafs/remote"
	"megafs/remote/wire"
)

// moveStep is how many bytes are moved while nobody else may change anything.
const moveStep = 1 << 20

// forward writes anew, at the journal's end, what the files without names have in records up to seq, so that these are not needed any more. It returns the
// last record that it wrote, or 0. After a crash nobody has such a file open, so what is written again is of use then only to one that gets a name later;
// the order in which it is written does not matter, for until then nothing of the file can be seen.
func (v *Volume) forward(inodes []remote.Ino, upto uint64) (last journal.Seq, err error) {
	for _, ino := range inodes {
		for more := true; more; {
			var seq journal.Seq
			seq, more, err = v.forwardStep(ino, upto)
			last = max(last, seq)
			if err != nil {
				return last, err
			}
		}
	}
	return last, nil
}

// forwardStep moves some of an inode's bytes, and with the last ones what else there is of it.
func (v *Volume) forwardStep(ino remote.Ino, upto uint64) (last journal.Seq, more bool, err error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	n, ops, runs, ok := v.tree.Resting(ino, upto)
	if !ok {
		return 0, false, nil
	}
	took := func(seq journal.Seq) {
		last = seq
		v.lastSeq.Store(uint64(seq))
	}
	moved := 0
	for _, r := range runs {
		if moved >= moveStep {
			return last, true, nil
		}
		b := make([]byte, r.Len)
		if err := v.jour.ReadAt(journal.Loc{Segment: r.Place.Segment, Off: r.Place.Off, Len: r.Place.Len}, int(r.Place.Skip), b); err != nil {
			return last, false, err
		}
		seq, loc, err := v.jour.Append(recWrite, appendWrite(nil, ino, r.Off, n.Mtime, n.Mode), b)
		if err != nil {
			return last, false, err
		}
		took(seq)
		v.tree.Moved(uint64(seq), ino, r.Off, r.Len, place(loc))
		moved += len(b)
	}
	// Last its attributes, over what a replay of the writes makes of them.
	for first := true; first || len(ops) > 0; first = false {
		part, size := []remote.Op{{Kind: remote.OpNode, Ino: ino, Attr: n.Attr}}, 0
		for len(ops) > 0 && len(part) < 128 && (size == 0 || size+len(ops[0].Value)+len(ops[0].Extent.Inline) < 8<<10) {
			size += 1 + len(ops[0].Value) + len(ops[0].Extent.Inline)
			part, ops = append(part, ops[0]), ops[1:]
		}
		seq, _, err := v.jour.Append(recOps, wire.AppendOps(nil, part))
		if err != nil {
			return last, false, err
		}
		took(seq)
		if err := v.tree.Restated(uint64(seq), part); err != nil {
			return last, false, err
		}
	}
	return last, false, nil
}
