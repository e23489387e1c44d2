package vault

import (
	"crypto/sha256"
	"testing"

	"megafs/crypto"
	"megafs/remote"
	"megafs/remote/blob"
	"megafs/remote/wire"
)

// Here are entries and snapshots such as only a holder of the keys could make, by a mistake or in bad faith.

// forge makes the entry after pos.
func (w *world) forge(pos remote.Position, e *entry) remote.Position {
	e.seq, e.prev, e.keyring = pos.Seq+1, pos.Hash, link{w.ring.Generation(), w.ring.Hash()}
	if e.parts == 0 {
		e.parts = 1
	}
	sealed := e.seal(w.ring.Keys())
	w.store.Poke(logName(e.seq), sealed)
	w.entered(e.seq, sealed)
	return remote.Position{Seq: e.seq, Hash: e.hash}
}

// part returns a batch's part with one Op.
func part(device byte, dev link, i, n uint16, op remote.Op) *entry {
	return &entry{device: remote.DeviceID{device}, dev: dev, part: i, parts: n, ops: wire.AppendOp(nil, &op), n: 1}
}

// TestP4_V22DeviceChain: each device's entries are a chain of their own; two that claim one place in it are of two histories.
func TestP4_V22DeviceChain(t *testing.T) {
	both(t, func(t *testing.T, on kind) {
		for name, second := range map[string]func(h [32]byte) link{
			"same number": func([32]byte) link { return link{Seq: 1} },
			"skipped":     func(h [32]byte) link { return link{3, h} },
			"other hash":  func([32]byte) link { return link{2, [32]byte{1}} },
			"in order":    func(h [32]byte) link { return link{2, h} },
		} {
			w, a, pos := begun(t, on)
			one := part(9, link{Seq: 1}, 0, 1, node(1))
			w.forge(w.forge(pos, one), part(9, second(one.hash), 0, 1, node(2)))
			_, err := a.Load(ctx, pos, w.sink())
			if name == "in order" {
				if err != nil {
					t.Fatal(name, err)
				}
				continue
			}
			wantErr(t, err, ErrFork)
		}
	})
}

// TestPartsThatDoNotBelong: parts of two devices, or of two batches of one device, are no batch, though their numbers fit.
func TestPartsThatDoNotBelong(t *testing.T) {
	both(t, func(t *testing.T, on kind) {
		for name, c := range map[string]struct {
			device byte
			parts  uint16
			ops    int
		}{"two devices": {8, 2, 1}, "two batches": {9, 3, 1}, "one batch": {9, 2, 3}} {
			w, a, pos := begun(t, on)
			one := part(9, link{Seq: 1}, 0, 2, node(1))
			at := w.forge(pos, one)
			dev := link{2, one.hash}
			if c.device != 9 {
				dev = link{Seq: 1}
			}
			at = w.forge(at, part(c.device, dev, 1, c.parts, node(2)))
			end := w.forge(at, part(7, link{Seq: 1}, 0, 1, node(3)))
			m, got := w.load(a, pos)
			if got != end || len(m.ops) != c.ops {
				t.Error(name, len(m.ops), got)
			}
		}
	})
}

// TestP4_V37Divergent: announced snapshots that are not the state they say they are. The log counts.
func TestP4_V37Divergent(t *testing.T) {
	both(t, func(t *testing.T, on kind) {
		for name, spoil := range map[string]func(r *root){
			"digest": func(r *root) { r.digest[0] ^= 1 },
			"place":  func(r *root) { r.at.Hash[0] ^= 1 },
			"hash":   func(r *root) { r.parts[0].hash[0] ^= 1 },
			"none":   func(*root) {},
		} {
			w, a, pos := begun(t, on)
			pos = commits(t, a, pos, 1, 3)
			k := w.ring.Keys()
			op := node(1)
			records := wire.AppendOp(nil, &op)
			padded := append(append([]byte(nil), records...), make([]byte, bucket(len(records))-len(records))...)
			sealed, id := k.Seal(crypto.ClassSnapshotPart, partCtx(pos.Seq, 0), append(padded, 0, 0, 0, byte(len(records))))
			w.store.Poke(partName(id), sealed)
			r := &root{at: link(pos), digest: sha256.Sum256(records), parts: []partRef{{id, sha256.Sum256(sealed), 1}}}
			spoil(r)
			rootSealed, rid := k.Seal(crypto.ClassSnapshotRoot, u64(pos.Seq), r.encode(k.Vault()))
			w.store.Poke(rootName(pos.Seq, rid), rootSealed)
			a.commitMu.Lock()
			end, err := a.commit(ctx, pos, []*entry{{typ: entrySnapshot, parts: 1, about: link{pos.Seq, sha256.Sum256(rootSealed)}, root: rid}})
			a.commitMu.Unlock()
			if err != nil {
				t.Fatal(err)
			}
			m, got := w.load(w.open(w.store, t.TempDir()), remote.Position{})
			want := 5 // the log's own
			if name == "none" {
				want = 1
			}
			if got != end || len(m.ops) != want {
				t.Error(name, got, len(m.ops))
			}
			if f := audit(t, a); len(f) == 0 && name != "none" || len(f) > 0 && name == "none" {
				t.Error(name, "- an audit finds", f)
			}
		}
	})
}

// TestCommitOvertakesLoad: a commit that takes place while a load ends is not forgotten by it.
func TestCommitOvertakesLoad(t *testing.T) {
	both(t, func(t *testing.T, on kind) {
		w, a, pos := begun(t, on)
		a.gapSeen = false
		overtaken := false
		s := &evil{Store: w.store}
		s.list = func(prefix string, _ func(blob.Info) error) (bool, error) {
			if prefix == "l/" && !overtaken {
				overtaken = true
				pos = commits(t, a, pos, 1, 1)
			}
			return false, nil
		}
		w.give(a, s)
		w.load(a, pos)
		if !overtaken || a.Head() != pos {
			t.Fatal(overtaken, a.Head(), pos)
		}
		commits(t, a, pos, 2, 1)
	})
}
