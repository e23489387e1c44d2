package journal

import (
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"megafs/remote"
)

// splits are the records that AppendSplit is to make, from seq on.
func splits(seq Seq, kind Kind, body []byte, piece int, head func(int) []byte) (want []rec) {
	for off := 0; off < len(body); off += piece {
		b := body[off:min(len(body), off+piece)]
		want = append(want, rec{seq: seq, kind: kind, payload: string(head(off)) + string(b)})
		seq++
	}
	return want
}

// A large body goes over several segments, and into the file without zeros before it; what does not fit is told, and what fits is there.
func TestSplitOverSegments(t *testing.T) {
	mem := vfs.NewCrashableMem()
	o := small(mem)
	j, _ := mustOpen(t, o)
	head := func(off int) []byte { return []byte{byte(off), byte(off >> 8)} }
	body := payload(3, 1, 60_000)
	got, err := j.AppendSplit(5, body, 7000, head)
	want := splits(1, 5, body, 7000, head)
	if err != nil || len(got) != len(want) || got[0].Loc.Segment == got[len(got)-1].Loc.Segment {
		t.Fatal(got, err)
	}
	for i, a := range got {
		b := make([]byte, a.Loc.Len)
		if err := j.ReadAt(a.Loc, 0, b); err != nil || string(b) != want[i].payload {
			t.Fatal(i, err)
		}
	}
	more := payload(3, 2, 150_000)
	rest, err := j.AppendSplit(5, more, 7000, head)
	wantKind(t, err, remote.NoSpace)
	all := append(want, splits(Seq(len(want)+1), 5, more, 7000, head)[:len(rest)]...)
	if len(rest) == 0 || j.Stat().Last != Seq(len(all)) || j.Stat().Bytes > o.Limit {
		t.Fatalf("%d records, %+v", len(rest), j.Stat())
	}
	_, err = j.AppendSplit(0, body, 7000, head)
	wantKind(t, err, remote.Invalid)
	_, err = j.AppendSplit(5, body, 0, head)
	wantKind(t, err, remote.Invalid)
	_, err = j.AppendSplit(5, body, len(body), head)
	wantKind(t, err, remote.TooLarge)
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	j, replayed := mustOpen(t, o)
	defer j.Close()
	if len(replayed) != len(all) {
		t.Fatalf("%d of %d records were replayed", len(replayed), len(all))
	}
	for i := range all {
		if replayed[i].payload != all[i].payload {
			t.Fatalf("record %d is another", i+1)
		}
	}
}
