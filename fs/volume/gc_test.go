package volume

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"megafs/crypto"
	"megafs/fs/journal"
	"megafs/fs/tree"
	"megafs/remote"
	"megafs/remote/blob"
	"megafs/remote/vault"
)

// boxes is a vault in a folder with two machines, each of which has sent what it has.
func boxes(t *testing.T) (dir, key string, a, b *box) {
	crypto.CheapKDFForTests(t)
	dir = filepath.Join(t.TempDir(), "vault")
	store, err := blob.Dir(dir, blob.DirOptions{Create: true})
	if err != nil {
		t.Fatal(err)
	}
	a = &box{t: t, store: store, state: t.TempDir(), cache: t.TempDir()}
	ring, recovery, err := vault.Create(ctx, store, a.state, crypto.NewSecret([]byte(goldenPassphrase)), "", goldenKDF)
	if err != nil {
		t.Fatal(err)
	}
	key = filepath.Join(t.TempDir(), "recovery")
	os.WriteFile(key, []byte(crypto.FormatRecovery(recovery)), 0o600)
	a.ring = ring
	a.open(false)
	b = &box{t: t, store: store, ring: ring, state: t.TempDir(), cache: t.TempDir()}
	b.open(false)
	return dir, key, a, b
}

// collect is what a mount does now and then, with nothing kept of the past.
func (m *box) collect(grace time.Duration) vault.GCReport {
	m.t.Helper()
	if _, err := m.vault.Load(ctx, m.tree.Position(), m.tree); err != nil {
		m.t.Fatal(err)
	}
	m.snapshot()
	r, err := m.vault.Collect(ctx, vault.GCOptions{
		Grace: grace, Hold: m.tree.Objects, State: m.tree.Ops, Pos: m.tree.Position(),
		Replica: func() (vault.Replica, error) { return tree.Open(tree.Options{Memory: 8 << 20}) },
	})
	if err != nil {
		m.t.Fatal(err)
	}
	if _, err := m.vault.Load(ctx, m.tree.Position(), m.tree); err != nil {
		m.t.Fatal(err)
	}
	return r
}

func contents(t *testing.T, dir string) (n int) {
	t.Helper()
	filepath.WalkDir(filepath.Join(dir, "o"), func(_ string, d os.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			n++
		}
		return nil
	})
	return n
}

// TestGCCopyInJournal: a copy waits in a machine's journal, which shares content that another machine removes and gives up meanwhile. The copy is whole in
// the end, whether the machine was running or away.
func TestGCCopyInJournal(t *testing.T) {
	for _, away := range []bool{false, true} {
		dir, key, a, m := boxes(t)
		x, y := &bench{t: t, Volume: a.Volume}, &bench{t: t, Volume: m.Volume}
		want := pattern(300_000, 4)
		from := x.mk(remote.Root, "from", remote.File)
		x.write(from, 0, want)
		x.drain()
		if _, err := m.vault.Load(ctx, m.tree.Position(), m.tree); err != nil {
			t.Fatal(err)
		}
		to := y.mk(remote.Root, "to", remote.File)
		src, err := m.Open(ctx, from, false, false)
		if err != nil {
			t.Fatal(err)
		}
		dst, err := m.Open(ctx, to, true, false)
		if err != nil {
			t.Fatal(err)
		}
		if n, err := m.CopyRange(ctx, src, 0, dst, 0, 1<<20); n != uint64(len(want)) || err != nil {
			t.Fatal(n, err)
		}
		src.Close()
		dst.Close()
		if away {
			m.close()
		}
		if err := a.Unlink(ctx, remote.Root, "from"); err != nil {
			t.Fatal(err)
		}
		x.drain()
		a.snapshot()
		before := contents(t, dir)
		if a.collect(24 * time.Hour); contents(t, dir) != before {
			t.Fatal("what a file without names has, which is open still, was given up")
		}
		a.close() // and with this it is gone
		a.open(false)
		x.Volume = a.Volume
		if r := a.collect(24 * time.Hour); r.Content == 0 || contents(t, dir) != before {
			t.Fatalf("away %v: %d objects, %+v", away, contents(t, dir), r)
		}
		if away {
			m.cache = t.TempDir() // not from there either
			m.open(false)
			y.Volume = m.Volume
		}
		y.drain()
		if !bytes.Equal(y.read(to), want) {
			t.Fatal("other bytes")
		}
		if n := contents(t, dir); n != before+1 {
			t.Fatal(n, "objects: the copy does not have its own")
		}
		if r := m.collect(0); r.Removed == 0 || contents(t, dir) != 1 {
			t.Fatalf("%+v", r)
		}
		readable(t, dir, key, m, map[string][]byte{"to": want})
		a.close()
		m.close()
	}
}

// readable has the vault read by the decoder, audited, and read by a machine that never saw it.
func readable(t *testing.T, dir, key string, m *box, want map[string][]byte) {
	t.Helper()
	fresh := &box{t: t, store: m.store, ring: m.ring, state: t.TempDir(), cache: t.TempDir()}
	fresh.open(true)
	listing := list(t, fresh.Volume)
	for name, b := range want {
		ino, err := fresh.tree.Lookup(remote.Root, name)
		if err != nil {
			t.Fatal(name, err)
		}
		if got := (&bench{t: t, Volume: fresh.Volume}).read(ino); !bytes.Equal(got, b) {
			t.Error(name, "has other bytes")
		}
	}
	if _, err := fresh.vault.Verify(ctx, fresh.tree.Referenced, func(d vault.Damage) { t.Error("audit:", d) }); err != nil {
		t.Error(err)
	}
	fresh.close()
	got, err := decode(t, python(t), dir, "--recovery", key)
	if err != nil {
		t.Fatal(err)
	}
	sameListing(t, got, listing)
}

// TestP4_V39AwayForLong: a machine with changes in its journal is away while the log it knew is removed. It finds what it remembers in the history, keeps its
// changes, and sends them; without the history it refuses.
func TestP4_V39AwayForLong(t *testing.T) {
	dir, key, a, m := boxes(t)
	x, y := &bench{t: t, Volume: a.Volume}, &bench{t: t, Volume: m.Volume}
	mine := pattern(50_000, 7)
	ino := y.mk(remote.Root, "mine", remote.File)
	y.write(ino, 0, mine)
	m.close()
	theirs := pattern(70_000, 8)
	for i := range 6 {
		name := "f" + string(rune('0'+i))
		x.write(x.mk(remote.Root, name, remote.File), 0, theirs)
		x.drain()
		if i < 5 {
			if err := a.Unlink(ctx, remote.Root, name); err != nil {
				t.Fatal(err)
			}
		}
		x.drain()
		a.collect(0)
	}
	if _, err := os.Stat(filepath.Join(dir, "l/0000000000000003")); !os.IsNotExist(err) {
		t.Fatal("the log was not shortened")
	}
	hist, _ := filepath.Glob(filepath.Join(dir, "h/i/*"))
	if len(hist) != 1 {
		t.Fatal(hist)
	}

	// Without the history.
	copied := filepath.Join(t.TempDir(), "state")
	if err := os.CopyFS(copied, os.DirFS(m.state)); err != nil {
		t.Fatal(err)
	}
	os.Rename(hist[0], hist[0]+".away")
	v, err := vault.Open(ctx, m.store, vault.Options{StateDir: copied, Keyring: m.ring})
	if err != nil {
		t.Fatal(err)
	}
	empty, err := tree.Open(tree.Options{Memory: 8 << 20})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := v.Load(ctx, remote.Position{}, empty); err == nil || !strings.Contains(err.Error(), vault.ErrGap.Error()) {
		t.Error("without the history:", err)
	}
	if _, err := decode(t, python(t), dir, "--recovery", key); err == nil {
		t.Error("the decoder reads a log whose beginning is missing")
	}
	empty.Close()
	os.Rename(hist[0]+".away", hist[0])

	m.open(false)
	y.Volume = m.Volume
	y.drain()
	if !bytes.Equal(y.read(ino), mine) {
		t.Error("the journal's bytes are lost")
	}
	a.collect(0)
	readable(t, dir, key, a, map[string][]byte{"mine": mine, "f5": theirs})
	a.close()
	m.close()
}

// TestSharedByConflictCopy: content that a conflict copy shares counts as referred to while the merge that made the copy is in the journal.
func TestSharedByConflictCopy(t *testing.T) {
	state, key := t.TempDir(), [32]byte{1}
	j, err := journal.Open(journal.Options{Dir: filepath.Join(state, "journal"), Key: key}, func(journal.Record) error { return nil })
	if err != nil {
		t.Fatal(err)
	}
	ref := remote.Ref{Object: remote.ObjectID{7}, Chunks: 2, Epoch: 1}
	m := &tree.Merge{Pos: remote.Position{Seq: 9}, Ops: []remote.Op{
		{Kind: remote.OpNode, Ino: 1 << remote.InoBits, Attr: remote.Attr{Type: remote.File, Size: 5}},
		{Kind: remote.OpExtent, Ino: 1 << remote.InoBits, Extent: remote.Extent{Len: 5, Ref: ref}},
	}}
	if _, _, err := j.Append(recMerge, append(mergeHead(0, 1), appendMerge(nil, m)...)); err != nil {
		t.Fatal(err)
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	var got []remote.ObjectID
	if err := Shared(state, key, func(id remote.ObjectID) { got = append(got, id) }); err != nil {
		t.Fatal(err)
	}
	if len(got) != 1 || got[0] != ref.Object {
		t.Error(got)
	}
}

// TestGCCopyTooLate: a copy waits in the journal of a machine that comes back after what it shares was removed elsewhere, given up, and collected. The copy is lost, and
// that is not hidden: it is kept back with the reason, and everything else is sent.
func TestGCCopyTooLate(t *testing.T) {
	_, _, a, m := boxes(t)
	x, y := &bench{t: t, Volume: a.Volume}, &bench{t: t, Volume: m.Volume}
	from := x.mk(remote.Root, "from", remote.File)
	x.write(from, 0, pattern(300_000, 4))
	x.drain()
	if _, err := m.vault.Load(ctx, m.tree.Position(), m.tree); err != nil {
		t.Fatal(err)
	}
	to := y.mk(remote.Root, "to", remote.File)
	src, err := m.Open(ctx, from, false, false)
	if err != nil {
		t.Fatal(err)
	}
	dst, err := m.Open(ctx, to, true, false)
	if err != nil {
		t.Fatal(err)
	}
	if n, err := m.CopyRange(ctx, src, 0, dst, 0, 1<<20); n != 300_000 || err != nil {
		t.Fatal(n, err)
	}
	src.Close()
	dst.Close()
	mine := pattern(50_000, 9)
	y.write(y.mk(remote.Root, "mine", remote.File), 0, mine)
	m.close()
	if err := a.Unlink(ctx, remote.Root, "from"); err != nil {
		t.Fatal(err)
	}
	x.drain()
	a.close() // nobody has it open any more
	a.open(false)
	for range 2 {
		a.collect(0)
	}
	m.cache = t.TempDir()
	m.open(false)
	y.Volume = m.Volume
	if err := m.Drain(ctx); err == nil {
		t.Error("all was sent, it says")
	}
	if s := m.Status(); len(s.Failed) != 1 || s.Failed[0].Inode != uint64(to) {
		t.Errorf("%+v", s)
	}
	if _, err := a.vault.Load(ctx, a.tree.Position(), a.tree); err != nil {
		t.Fatal(err)
	}
	ino, err := a.tree.Lookup(remote.Root, "mine")
	if err != nil {
		t.Fatalf("%v; %+v", err, m.Status())
	}
	if got := (&bench{t: t, Volume: a.Volume}).read(ino); !bytes.Equal(got, mine) {
		t.Error("other bytes")
	}
	a.close()
	m.close()
}
