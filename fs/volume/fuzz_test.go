package volume

import (
	"bytes"
	"reflect"
	"testing"

	"megafs/fs/journal"
	"megafs/fs/tree"
	"megafs/remote"
)

// FuzzRecord reads foreign journal records: each is refused, or is what would be written.
func FuzzRecord(f *testing.F) {
	f.Add(append(appendWrite(nil, 7, 100, -5, 0o644), "bytes"...))
	f.Add(append(appendWrite(nil, 7, 1<<63-2, 0, 0), "bytes"...))
	f.Add(note{pos: remote.Position{Seq: 1}, upto: 2, next: 3, held: tree.Held{Inodes: map[remote.Ino]uint64{4: 1}, Names: map[tree.HeldName]uint64{{Parent: 1, Name: "n"}: 2}}}.append(nil))
	f.Add(note{}.append(nil))
	f.Add(appendSent(nil, []tree.Sent{{Ino: 7, Object: remote.ObjectID{1}, Size: 5, Print: tree.Print{2}}, {Ino: 8}}))
	f.Add([]byte{0})
	f.Fuzz(func(t *testing.T, b []byte) {
		if w, err := decodeWrite(b); err == nil {
			if again := appendWrite(nil, w.ino, w.off, w.time, w.mode); !bytes.HasPrefix(b, again) || w.off+uint64(len(b)-writeHead) > remote.MaxSize {
				t.Errorf("%+v", w)
			}
		}
		for _, plain := range []bool{false, true} {
			n, err := decodeNote(b, plain)
			if err != nil {
				continue
			}
			if again, err := decodeNote(n.append(nil), false); err != nil || !reflect.DeepEqual(again, n) {
				t.Errorf("%+v", n)
			}
		}
		if all, err := decodeSent(b); err == nil && !bytes.Equal(appendSent(nil, all), b) {
			t.Errorf("%+v", all)
		}
		for kind := range recSent + 1 {
			new(log).take(journal.Record{Kind: kind, Payload: b})
		}
	})
}
