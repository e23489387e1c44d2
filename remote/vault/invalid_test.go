package vault

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"math"
	"runtime"
	"strings"
	"testing"

	"megafs/crypto"
	"megafs/remote"
	"megafs/remote/wire"
)

// Entries that are authentic, since a holder of the keys sealed them, and say what no entry may: by a mistake, or in bad faith.

// tells makes the next entry of encoded Ops that were not checked, n of them as it says, after a good one in the same batch.
func (w *world) tells(pos remote.Position, raw []byte, n int) {
	good := wire.AppendOp(nil, &remote.Op{Kind: remote.OpNode, Ino: 77, Attr: remote.Attr{Type: remote.File}})
	e := &entry{seq: pos.Seq + 1, prev: pos.Hash, device: remote.DeviceID{9}, dev: link{Seq: 1}, parts: 1, ops: append(good, raw...), n: n + 1,
		keyring: link{w.ring.Generation(), w.ring.Hash()}}
	w.store.Poke(logName(e.seq), e.seal(w.ring.Keys()))
}

// rejects holds a machine that knows the vault, and one that does not, against an entry after pos that makes no sense.
func (w *world) rejects(t *testing.T, what string, pos remote.Position) {
	t.Helper()
	for _, known := range []bool{true, false} {
		v := w.open(w.store, t.TempDir())
		start := remote.Position{}
		if known {
			next := bytesOf(t, w.store, logName(pos.Seq+1))
			w.store.Poke(logName(pos.Seq+1), nil)
			_, start = w.load(v, start)
			w.store.Poke(logName(pos.Seq+1), next)
		}
		m := w.sink()
		got, err := v.Load(ctx, start, m)
		if wantErr(t, err, ErrInvalidEntry); t.Failed() {
			t.Fatal("that was", what)
		}
		for _, op := range m.ops {
			if op.Ino == 77 {
				t.Errorf("%s: a part of the batch was told", what)
			}
		}
		if got != pos || v.Head() != pos || v.State() == nil {
			t.Errorf("%s: at %v", what, got)
		}
		// What was known is still there to be asked.
		if err := v.Close(); err != nil {
			t.Error(err)
		}
	}
	if f := audit(t, w.open(w.store, t.TempDir())); !found(f, logName(pos.Seq+1)) {
		t.Errorf("%s: no damage: %v", what, f)
	}
}

// linkNamed encodes a link with any name that a byte can tell the length of.
func linkNamed(kind remote.OpKind, name string) []byte {
	op := remote.Op{Kind: kind, Parent: remote.Root, Ino: 77, Name: strings.Repeat("n", max(1, len(name)))}
	b := wire.AppendOp(nil, &op)
	at := bytes.Index(b, append([]byte{byte(len(op.Name))}, op.Name...))
	tail := bytes.Clone(b[at+1+len(op.Name):])
	return append(append(append(b[:at], byte(len(name))), name...), tail...)
}

// TestP4_V61HostileNames: names that no directory can have. The entry is refused whole, and machines stay at the one before.
func TestP4_V61HostileNames(t *testing.T) {
	both(t, func(t *testing.T, on kind) {
		w, _, pos := begun(t, on)
		if op, _, err := wire.DecodeOp(linkNamed(remote.OpLink, "fine")); err != nil || op.Name != "fine" {
			t.Fatal("forged wrongly:", op, err)
		}
		for _, name := range []string{"", "/", "a/b", "/etc/passwd", "../../x", ".", "..", "\x00", "a\x00b", strings.Repeat("/", 255)} {
			for _, k := range []remote.OpKind{remote.OpLink, remote.OpUnlink} {
				w.tells(pos, linkNamed(k, name), 1)
				w.rejects(t, "the name "+name, pos)
			}
		}
		for _, name := range []string{"", "\x00", "user.\x00"} {
			op := remote.Op{Kind: remote.OpNoXattr, Ino: 77, Name: strings.Repeat("n", max(1, len(name)))}
			b := wire.AppendOp(nil, &op)
			b = append(append(b[:len(b)-len(op.Name)-1], byte(len(name))), name...)
			w.tells(pos, b, 1)
			w.rejects(t, "the xattr "+name, pos)
		}
		// Bytes that are no UTF-8 are a name like any other, and so is the longest.
		for i, name := range []string{"\xff\xfe", strings.Repeat("\x80", 255), "\x1b[31m\n", " ", "..."} {
			next := remote.Position{Seq: pos.Seq + 1}
			w.tells(pos, linkNamed(remote.OpLink, name), 1)
			w.entered(next.Seq, bytesOf(t, w.store, logName(next.Seq)))
			if m, got := w.load(w.open(w.store, t.TempDir()), remote.Position{}); got.Seq != next.Seq || m.ops[len(m.ops)-1].Name != name {
				t.Error("a good name was refused:", i)
			}
		}
	})
}

// TestP4_V64SymlinkBait: targets longer than any, empty, or with a NUL. Others are data, wherever they lead.
func TestP4_V64SymlinkBait(t *testing.T) {
	both(t, func(t *testing.T, on kind) {
		w, _, pos := begun(t, on)
		link := func(target string) []byte {
			good := remote.Attr{Type: remote.Symlink, Target: "t", Size: 1}
			b := wire.AppendOp(nil, &remote.Op{Kind: remote.OpNode, Ino: 78, Attr: good})
			return append(binary.AppendUvarint(b[:len(b)-2], uint64(len(target))), target...)
		}
		for _, target := range []string{"", "\x00", "/etc\x00/passwd", strings.Repeat("t", 4096), strings.Repeat("../", 30_000)} {
			w.tells(pos, link(target), 1)
			w.rejects(t, "a link", pos)
		}
		for _, target := range []string{"/etc/shadow", "../../../../../../etc/shadow", "/proc/self/mem", strings.Repeat("t", 4095), "\xff"} {
			w.tells(pos, link(target), 1)
			w.entered(pos.Seq+1, bytesOf(t, w.store, logName(pos.Seq+1)))
			if m, _ := w.load(w.open(w.store, t.TempDir()), remote.Position{}); m.ops[len(m.ops)-1].Attr.Target != target {
				t.Error("a target was changed:", m.ops)
			}
		}
	})
}

// TestP4_V63NumberTraps: offsets and lengths that overflow, sizes beyond the largest file, and counts of what is not there. They are refused, and
// nothing is allocated by what they claim.
func TestP4_V63NumberTraps(t *testing.T) {
	w, _, pos := begun(t, mem)
	uv := func(n ...uint64) (b []byte) {
		for _, x := range n {
			b = binary.AppendUvarint(b, x)
		}
		return b
	}
	ino := []byte{0, 77}
	raw := func(kind byte, parts ...[]byte) []byte {
		return append([]byte{kind}, bytes.Join(append([][]byte{ino}, parts...), nil)...)
	}
	id := bytes.Repeat([]byte{7}, 32)
	file := wire.AppendOp(nil, &remote.Op{Kind: remote.OpNode, Ino: 77, Attr: remote.Attr{Type: remote.File}})
	k := w.ring.Keys()
	for what, forge := range map[string]func(){
		"a size of 2^63":              func() { w.tells(pos, append(file[:len(file)-1:len(file)-1], uv(1<<63)...), 1) },
		"a cut at 2^63":               func() { w.tells(pos, raw(4, uv(1<<63)), 1) },
		"an extent that ends at 2^63": func() { w.tells(pos, raw(5, []byte{1}, uv(1, math.MaxInt64)), 1) },
		"an extent that overflows":    func() { w.tells(pos, raw(5, []byte{1}, uv(math.MaxUint64, math.MaxUint64)), 1) },
		"an extent of no length":      func() { w.tells(pos, raw(5, []byte{1}, uv(0, 0)), 1) },
		"inline bytes of 2^62":        func() { w.tells(pos, raw(5, []byte{2}, uv(0, 1<<62)), 1) },
		"a place beyond its object":   func() { w.tells(pos, raw(5, []byte{3}, uv(0, 2), id, uv(1), []byte{0}, uv(16383)), 1) },
		"more of an object than it has": func() {
			w.tells(pos, raw(5, []byte{3}, uv(0, 1<<40), id, uv(1), []byte{255}, uv(0)), 1)
		},
		"an xattr of 2^40 bytes":  func() { w.tells(pos, raw(6, []byte{1, 'x'}, uv(1<<40)), 1) },
		"fewer Ops than are":      func() { w.tells(pos, file, 0) },
		"no inode":                func() { w.tells(pos, []byte{4, 0, 0, 0}, 1) },
		"a device number of 2^24": func() { w.tells(pos, append(append([]byte{8}, make([]byte, 16)...), uv(1<<24)...), 1) },
		"part 3 of 2":             func() { w.forge(pos, part(9, link{Seq: 1}, 3, 2, node(1))) },
		"a body of nothing": func() {
			sealed, _ := k.Seal(crypto.ClassLog, u64(pos.Seq+1), make([]byte, 16))
			w.store.Poke(logName(pos.Seq+1), sealed)
		},
	} {
		forge()
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		w.rejects(t, what, pos)
		runtime.ReadMemStats(&after)
		if n := after.TotalAlloc - before.TotalAlloc; n > 4<<20 {
			t.Errorf("%s: %d bytes allocated", what, n)
		}
	}
	// More Ops than there are run into the padding, which looks like a kind that nobody knows yet.
	w.tells(pos, nil, 65534)
	m := w.sink()
	if got, err := w.open(w.store, t.TempDir()).Load(ctx, remote.Position{}, m); !errors.Is(err, ErrUnsupported) || got != pos || len(m.ops) != 2 {
		t.Error("65535 Ops of which there is one:", got, err)
	}
	// One part of 65535: it waits for the others, and keeps nothing for them.
	w.forge(pos, part(9, link{Seq: 1}, 0, math.MaxUint16, node(1)))
	if m, got := w.load(w.open(w.store, t.TempDir()), remote.Position{}); got != pos || len(m.ops) != 2 {
		t.Error("told a part of a batch:", got, len(m.ops))
	}
}

// TestP4_V61V63Snapshots: announced snapshots whose parts hold what no Op may be, or whose tables claim what is not there. The log is told instead.
func TestP4_V61V63Snapshots(t *testing.T) {
	both(t, func(t *testing.T, on kind) {
		for what, c := range map[string]struct {
			records []byte
			claim   uint32 // of the records' length; 0: the true one
			parts   uint32 // that the root claims; 0: the true number
		}{
			"a name":             {records: linkNamed(remote.OpLink, "../x")},
			"no Op":              {records: []byte("\xff\xff\xff")},
			"a torn Op":          {records: linkNamed(remote.OpLink, "name")[:4]},
			"2^32-1 bytes":       {records: linkNamed(remote.OpLink, "name"), claim: math.MaxUint32},
			"a byte too many":    {records: linkNamed(remote.OpLink, "name"), claim: 509},
			"2^32-1 parts":       {records: linkNamed(remote.OpLink, "name"), parts: math.MaxUint32},
			"as many as can be":  {records: linkNamed(remote.OpLink, "name"), parts: maxParts},
			"parts without what": {records: linkNamed(remote.OpLink, "name"), parts: 2},
		} {
			w, a, pos := begun(t, on)
			pos = commits(t, a, pos, 1, 3)
			k := w.ring.Keys()
			n := uint32(len(c.records))
			if c.claim > 0 {
				n = c.claim
			}
			padded := append(bytes.Clone(c.records), make([]byte, bucket(len(c.records))-len(c.records))...)
			sealed, id := k.Seal(crypto.ClassSnapshotPart, partCtx(pos.Seq, 0), binary.BigEndian.AppendUint32(padded, n))
			w.store.Poke(partName(id), sealed)
			r := &root{at: link(pos), digest: sha256.Sum256(c.records), parts: []partRef{{id, sha256.Sum256(sealed), 1}}}
			body := r.encode(k.Vault())
			if c.parts > 0 {
				binary.BigEndian.PutUint32(body[rootHead-4:], c.parts)
			}
			rootSealed, rid := k.Seal(crypto.ClassSnapshotRoot, u64(pos.Seq), body)
			w.store.Poke(rootName(pos.Seq, rid), rootSealed)
			a.commitMu.Lock()
			end, err := a.commit(ctx, pos, []*entry{{typ: entrySnapshot, parts: 1, about: link{pos.Seq, sha256.Sum256(rootSealed)}, root: rid}})
			a.commitMu.Unlock()
			must(t, err)
			m, got := w.load(w.open(w.store, t.TempDir()), remote.Position{})
			if got != end || len(m.batches) != int(end.Seq) {
				t.Errorf("%s: at %v, told %d batches", what, got, len(m.batches))
			}
			if f := audit(t, a); len(f) == 0 {
				t.Errorf("%s: no damage", what)
			}
		}
	})
}
