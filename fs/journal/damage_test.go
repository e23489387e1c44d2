package journal

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"megafs/remote"
)

// tiny are options with the smallest segments.
func tiny(fs vfs.FS) Options {
	o := small(fs)
	o.SegmentSize = minSegment
	return o
}

// sample is a journal of several segments, one of a second life among them.
type sample struct {
	mem    *vfs.MemFS
	want   []rec
	proven []Seq // by record: up to which its durable number says records were safe
}

func newSample(t testing.TB, clean bool) sample {
	var c sample
	c.mem = vfs.NewCrashableMem()
	j, _ := mustOpen(t, tiny(c.mem))
	for i := range Seq(36) {
		if i == 6 {
			if err := j.Close(); err != nil {
				t.Fatal(err)
			}
			j, _ = mustOpen(t, tiny(c.mem))
		}
		c.proven = append(c.proven, j.Stat().Durable)
		p := payload(0, i, int(i*i*7%1000))
		s, l, err := j.Append(Kind(i+1), p)
		if err != nil {
			t.Fatal(err)
		}
		c.want = append(c.want, rec{s, Kind(i + 1), l, string(p)})
		if i%6 == 5 {
			if err := j.Sync(ctx, s); err != nil {
				t.Fatal(err)
			}
		}
	}
	if !clean {
		if err := j.Sync(ctx, j.Stat().Last); err != nil {
			t.Fatal(err)
		}
		j.work.Wait()
		return c
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	for i := range c.proven {
		c.proven[i] = Seq(len(c.want))
	}
	return c
}

// data returns the content of the named file, to be changed.
func data(t testing.TB, mem *vfs.MemFS, name string) []byte {
	b, err := mem.UnsafeGetFileDataBuffer(mem.PathJoin(small(nil).Dir, name))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// check opens the damaged journal: it must refuse, or give all records but those from lost on, if nothing behind proves
// that these were durable.
func (c sample) check(t testing.TB, mem *vfs.MemFS, lost Seq, what string) (refused bool) {
	t.Helper()
	j, got, err := reopen(tiny(mem))
	if err != nil {
		wantKind(t, err, remote.Integrity)
		return true
	}
	defer j.Close()
	if len(got) > len(c.want) || !slices.Equal(got, c.want[:len(got)]) {
		t.Fatalf("%s: other records were replayed than were written", what)
	}
	if len(got) == len(c.want) {
		return false
	}
	if Seq(len(got)) != lost-1 {
		t.Fatalf("%s: %d records are left, not up to %d", what, len(got), lost-1)
	}
	for i := lost; i < Seq(len(c.want)); i++ { // record i+1
		if c.proven[i] >= lost {
			t.Fatalf("%s: %d records are left silently, though %d proves that %d were durable", what, len(got), i+1, c.proven[i])
		}
	}
	return false
}

// hit returns the first record that is lost with the byte at off of the segment.
func (c sample) hit(number uint64, off int) Seq {
	for _, r := range c.want {
		if r.loc.Segment > number || r.loc.Segment == number && off < int(r.loc.Off)-recHead+int(recordSize(int(r.loc.Len))) {
			return r.seq
		}
	}
	return Seq(len(c.want) + 1)
}

// TestV68FlippedBytes flips every byte of a journal that was closed, and of one that was not.
func TestV68FlippedBytes(t *testing.T) {
	for _, clean := range []bool{true, false} {
		t.Run(fmt.Sprintf("clean=%v", clean), func(t *testing.T) {
			t.Parallel()
			c := newSample(t, clean)
			names, _ := c.mem.List(small(nil).Dir)
			refused := 0
			for _, name := range names {
				if name == reserveName {
					continue // nothing is in there
				}
				number, _, ok := parseName(name)
				if !ok || !strings.HasSuffix(name, ".seg") {
					t.Fatal(name)
				}
				orig := data(t, c.mem, name)
				for i := range orig {
					if orig[i] == 0 && i%64 != 0 && bytes.Count(orig[i:min(i+100, len(orig))], []byte{0}) == min(100, len(orig)-i) {
						continue // nothing is there
					}
					if !clean && i > segStart && i%5 != 0 {
						continue
					}
					mem := whole(c.mem)
					data(t, mem, name)[i] ^= 1 << (i % 8)
					if c.check(t, mem, c.hit(number, i), fmt.Sprintf("%s, byte %d", name, i)) {
						refused++
						if after, _ := mem.List(small(nil).Dir); len(after) != len(names) {
							t.Fatal("a refusal removed files")
						}
						data(t, mem, name)[i] ^= 1 << (i % 8)
						if i%101 == 0 && c.check(t, mem, Seq(len(c.want)+1), "healed") {
							t.Fatal("a refusal changed files")
						}
					}
				}
			}
			if refused < 1000 {
				t.Fatalf("only %d bytes matter", refused)
			}
		})
	}
}

// TestV68MissingPieces cuts, removes and exchanges segments.
func TestV68MissingPieces(t *testing.T) {
	c := newSample(t, true)
	dir := small(nil).Dir
	names, _ := c.mem.List(dir)
	names = slices.DeleteFunc(names, func(n string) bool { return n == reserveName })
	if len(names) < 3 {
		t.Fatal(names)
	}
	refuse := func(mem *vfs.MemFS, what string) {
		t.Helper()
		if _, _, err := reopen(tiny(mem)); !remote.Is(err, remote.Integrity) {
			t.Fatalf("%s: %v", what, err)
		}
	}
	for _, name := range names {
		number, _, _ := parseName(name)
		b := data(t, c.mem, name)
		for n := 0; n < len(b); n += 501 {
			mem := whole(c.mem)
			f, err := mem.Create(mem.PathJoin(dir, name), vfs.WriteCategoryUnspecified)
			if err != nil {
				t.Fatal(err)
			}
			f.Write(append([]byte(nil), b[:n]...))
			f.Close()
			if lost := c.hit(number, n); n < segStart+noteSize && int(number) < len(names) || n < segStart {
				refuse(mem, fmt.Sprintf("%s cut at %d", name, n))
			} else if j, got, err := reopen(tiny(mem)); err != nil {
				wantKind(t, err, remote.Integrity)
			} else {
				// The newest may lose its end unnoticed, as if it had never been; others what is behind their end.
				if n := Seq(len(got)); n != Seq(len(c.want)) && (int(number) < len(names) || n != lost-1) {
					t.Fatalf("%s cut at %d: %d records", name, n, len(got))
				}
				j.Close()
			}
		}
		if number < 3 {
			mem := whole(c.mem)
			mem.Remove(mem.PathJoin(dir, name))
			refuse(mem, name+" is missing")
		}
	}
	mem := whole(c.mem)
	a, b := mem.PathJoin(dir, segName(1)), mem.PathJoin(dir, segName(2))
	mem.Rename(a, "state/x")
	mem.Rename(b, a)
	mem.Rename("state/x", b)
	refuse(mem, "segments exchanged")

	o := tiny(whole(c.mem))
	o.Key[9]++
	if _, _, err := reopen(o); !remote.Is(err, remote.Integrity) {
		t.Fatal("another key:", err)
	}
}

// TestV68ReadVerifies: a record that was changed on the disk after it was replayed is not given out.
func TestV68ReadVerifies(t *testing.T) {
	c := newSample(t, true)
	j, _ := mustOpen(t, tiny(c.mem))
	defer j.Close()
	a, b := c.want[3].loc, c.want[4].loc
	file := data(t, c.mem, segName(a.Segment))
	for i := int(a.Off) - recHead; i < int(a.Off)+int(a.Len)+tagSize; i++ {
		file[i] ^= 4
		wantKind(t, j.ReadAt(a, 0, make([]byte, a.Len)), remote.Integrity)
		file[i] ^= 4
	}
	copy(file[b.Off-recHead:], file[a.Off-recHead:int(a.Off)+int(recordSize(int(a.Len)))-recHead])
	wantKind(t, j.ReadAt(Loc{b.Segment, b.Off, a.Len}, 0, nil), remote.Integrity)
	if err := j.ReadAt(a, 0, make([]byte, a.Len)); err != nil {
		t.Fatal(err)
	}
}

// FuzzSegmentName: a file of the folder is taken for a segment only under the one name of that segment.
func FuzzSegmentName(f *testing.F) {
	for _, s := range []string{segName(1), spareName(maxNumber - 1), segName(maxNumber), "000000000000.seg", "00000000000A.seg", "1.seg", "+00000000001.seg", ".seg"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		n, spare, ok := parseName(s)
		if ok && (n == 0 || n >= maxNumber || s != map[bool]string{false: segName(n), true: spareName(n)}[spare]) {
			t.Errorf("%q is segment %d", s, n)
		}
	})
}

// FuzzSegment writes foreign bytes into a journal: Open refuses or gives a prefix of what was written, and never panics.
func FuzzSegment(f *testing.F) {
	c := newSample(f, true)
	f.Add([]byte("hello"), uint32(0), false)
	f.Add(make([]byte, 4096), uint32(5000), false)
	f.Add(data(f, c.mem, segName(1))[segStart:], uint32(segStart+64), true)
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, 1, 0, 0, 0}, uint32(segStart), true)
	f.Fuzz(func(t *testing.T, foreign []byte, off uint32, second bool) {
		mem := whole(c.mem)
		name := segName(1)
		if second {
			name = segName(2)
		}
		b := data(t, mem, name)
		copy(b[int(off)%len(b):], foreign)
		j, got, err := reopen(tiny(mem))
		if err != nil {
			wantKind(t, err, remote.Integrity)
			return
		}
		j.Close()
		if len(got) > len(c.want) || !slices.Equal(got, c.want[:len(got)]) {
			t.Fatal("other records were replayed than were written")
		}
	})
}
