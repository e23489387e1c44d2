package volume

import (
	"bytes"
	"testing"

	"megafs/fs/journal"
	"megafs/fs/tree"
	"megafs/remote"
)

// FuzzRecord reads foreign journal records: each is refused, or is what would be written.
func FuzzRecord(f *testing.F) {
	f.Add(append(appendWrite(nil, 7, 100, -5, 0o644), "bytes"...))
	f.Add(append(appendWrite(nil, 7, 1<<63-2, 0, 0), "bytes"...))
	f.Add(note{pos: remote.Position{Seq: 1}, upto: 2, next: 3, held: tree.Held{Inodes: []remote.Ino{4}, Names: []tree.HeldName{{Parent: 1, Name: "n"}}}}.append(nil))
	f.Add(note{}.append(nil))
	f.Add([]byte{0})
	f.Fuzz(func(t *testing.T, b []byte) {
		if w, err := decodeWrite(b); err == nil {
			if again := appendWrite(nil, w.ino, w.off, w.time, w.mode); !bytes.HasPrefix(b, again) || w.off+uint64(len(b)-writeHead) > remote.MaxSize {
				t.Errorf("%+v", w)
			}
		}
		if n, err := decodeNote(b); err == nil && !bytes.Equal(n.append(nil), b) {
			t.Errorf("%+v", n)
		}
		for kind := range journal.Kind(5) {
			new(log).take(journal.Record{Kind: kind, Payload: b})
		}
	})
}
