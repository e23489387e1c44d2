package journal

import (
	"fmt"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"pgregory.net/rapid"

	"megafs/remote"
)

// TestModel does random things to a journal and a list.
func TestModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		mem := vfs.NewCrashableMem()
		o := small(mem)
		j, _, err := reopen(o)
		if err != nil {
			t.Fatal(err)
		}
		var model []rec // by seq, from 1
		trimmed := Seq(1)
		t.Repeat(map[string]func(*rapid.T){
			"append": func(t *rapid.T) {
				kind := Kind(rapid.IntRange(1, 255).Draw(t, "kind"))
				p := payload(0, Seq(len(model)), rapid.IntRange(0, 9000).Draw(t, "size"))
				room := j.Room()
				add := j.Append
				if rapid.Bool().Draw(t, "freeing") {
					add = j.AppendFreeing
				}
				s, l, err := add(kind, p[:len(p)/3], p[len(p)/3:])
				if remote.Is(err, remote.NoSpace) && room < int64(len(p)) {
					return
				}
				if err != nil || s != Seq(len(model)+1) {
					t.Fatal(s, err)
				}
				model = append(model, rec{s, kind, l, string(p)})
			},
			"split": func(t *rapid.T) {
				body := payload(0, Seq(len(model)), rapid.IntRange(0, 30000).Draw(t, "size"))
				piece := rapid.IntRange(200, 9000).Draw(t, "piece")
				head := func(off int) []byte { return payload(1, Seq(off), off%50) }
				want := splits(Seq(len(model)+1), 9, body, piece, head)
				room := j.Room()
				got, err := j.AppendSplit(9, body, piece, head)
				if len(got) < len(want) && (!remote.Is(err, remote.NoSpace) || room >= int64(len(body)+len(want)*(segStart+200))) || len(got) == len(want) && err != nil {
					t.Fatalf("%d of %d records, %v, with room for %d", len(got), len(want), err, room)
				}
				at := 0
				for i, a := range got {
					want[i].loc = a.Loc
					if a.Seq != want[i].seq || a.Off != at || len(head(at))+a.Len != len(want[i].payload) {
						t.Fatalf("record %d is %+v", want[i].seq, a)
					}
					at += a.Len
				}
				model = append(model, want[:len(got)]...)
			},
			"sync": func(t *rapid.T) {
				s := Seq(rapid.IntRange(0, len(model)).Draw(t, "seq"))
				if err := j.Sync(ctx, s); err != nil || j.Stat().Durable < s {
					t.Fatal(err)
				}
			},
			"trim": func(t *rapid.T) {
				s := Seq(rapid.IntRange(0, len(model)+2).Draw(t, "before"))
				if err := j.Trim(s); err != nil {
					t.Fatal(err)
				}
				trimmed = max(trimmed, min(s, Seq(len(model)+1)))
			},
			"read": func(t *rapid.T) {
				if len(model) < int(trimmed) {
					return
				}
				r := model[rapid.IntRange(int(trimmed), len(model)).Draw(t, "seq")-1]
				off := rapid.IntRange(0, len(r.payload)).Draw(t, "off")
				dst := make([]byte, rapid.IntRange(0, len(r.payload)-off).Draw(t, "len"))
				if err := j.ReadAt(r.loc, off, dst); err != nil || string(dst) != r.payload[off:off+len(dst)] {
					t.Fatal(err)
				}
			},
			"reopen": func(t *rapid.T) {
				if err := j.Close(); err != nil {
					t.Fatal(err)
				}
				var got []rec
				var err error
				if j, got, err = reopen(o); err != nil {
					t.Fatal(err)
				}
				first := len(model) - len(got) + 1
				if first > int(trimmed) || fmt.Sprint(got) != fmt.Sprint(model[first-1:]) {
					t.Fatalf("%d of %d records, trimmed before %d", len(got), len(model), trimmed)
				}
			},
			"": func(t *rapid.T) {
				st := j.Stat()
				if st.Last != Seq(len(model)) || st.Bytes > st.Limit || st.Used > st.Bytes || st.First > max(trimmed, 1) || st.Trimmed > trimmed {
					t.Fatalf("%+v with %d records, trimmed before %d", st, len(model), trimmed)
				}
				var bytes int64
				for _, s := range *j.live.Load() {
					info, err := s.f.Stat()
					if err != nil || info.Size() != s.size {
						t.Fatalf("segment %d has %d bytes, thought %d", s.number, info.Size(), s.size)
					}
					bytes += s.size
				}
				if bytes > st.Bytes {
					t.Fatalf("%d bytes in segments, %+v", bytes, st)
				}
			},
		})
		if err := j.Close(); err != nil {
			t.Fatal(err)
		}
	})
}

// TestTrimAtLimit: Trim, which takes room before it frees any, leaves a full journal below its limit. Many lives leave many segments that end early.
func TestTrimAtLimit(t *testing.T) {
	o := small(vfs.NewCrashableMem())
	o.Limit += 8 << 10 // the reserve's
	j, _, err := reopen(o)
	check := func() {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		if s := j.Stat(); s.Bytes > s.Limit {
			t.Fatalf("%+v", s)
		}
	}
	again := func() {
		t.Helper()
		check()
		if err = j.Close(); err == nil {
			j, _, err = reopen(o)
		}
		check()
	}
	put := func(n int) {
		t.Helper()
		_, _, err = j.Append(1, payload(0, j.Stat().Last, n))
		check()
	}
	split := func(n, piece int) {
		t.Helper()
		_, err = j.AppendSplit(9, payload(0, j.Stat().Last, n), piece, func(off int) []byte { return payload(1, Seq(off), off%50) })
		if remote.Is(err, remote.NoSpace) {
			err = nil
		}
		check()
	}
	for _, n := range []int{0, 3418, 6666} {
		put(n)
	}
	split(4602, 320)
	put(3642)
	split(30000, 200)
	split(30000, 203)
	again()
	put(4431)
	again()
	put(1)
	again()
	err = j.Trim(51)
	again()
	put(266)
	again()
	err = j.Trim(108)
	check()
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
}
