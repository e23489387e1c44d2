package volume

import (
	"bytes"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"megafs/crypto"
	"megafs/remote"
	"megafs/remote/blob"
	"megafs/remote/vault"
)

// TestGoldenDamage changes, cuts and removes every object of the golden vault: the decoder refuses each.
func TestGoldenDamage(t *testing.T) {
	if testing.Short() {
		t.Skip("runs the decoder some fifty times")
	}
	python := python(t)
	dir, _ := goldenCopy(t)
	recovery := filepath.Join(goldenDir, "recovery.txt")
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 1))
	refuse := func(what string) {
		t.Helper()
		if _, err := decode(t, python, dir, "--recovery", recovery); err == nil {
			t.Error("was read:", what)
		}
	}
	var files []string
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			files = append(files, path)
		}
		return err
	})
	if err != nil || len(files) < 15 {
		t.Fatal(len(files), err)
	}
	write := func(path string, b []byte) {
		t.Helper()
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for i, path := range files {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		at := r.IntN(len(b))
		bad := bytes.Clone(b)
		bad[at] ^= 1 << r.IntN(8)
		write(path, bad)
		refuse(fmt.Sprint(path, " with byte ", at, " changed"))
		switch i % 3 {
		case 0:
			write(path, b[:len(b)-1])
			refuse(path + " without its last byte")
		case 1:
			write(path, append(bytes.Clone(b), 0))
			refuse(path + " with a byte more")
		case 2:
			// The log's end may go: a reader without memory can't know of it.
			if os.Remove(path); filepath.Base(path) != "000000000000000a" {
				refuse("without " + path)
			}
		}
		write(path, b)
	}
	if _, err := decode(t, python, dir, "--recovery", recovery); err != nil {
		t.Fatal("the vault is whole again, and:", err)
	}
	a, b := filepath.Join(dir, "l/0000000000000003"), filepath.Join(dir, "l/0000000000000004")
	os.Rename(a, a+"x")
	os.Rename(b, a)
	os.Rename(a+"x", b)
	refuse("two log entries exchanged")
}

// TestDecoder changes a vault at random from two machines, and reads it with the decoder and with a third machine.
func TestDecoder(t *testing.T) {
	python := python(t)
	crypto.CheapKDFForTests(t) // the decoder uses the recovery key, which needs none
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 2))
	dir := filepath.Join(t.TempDir(), "vault")
	store, err := blob.Dir(dir, blob.DirOptions{Create: true})
	if err != nil {
		t.Fatal(err)
	}
	m := &box{t: t, store: store, state: t.TempDir(), cache: t.TempDir()}
	ring, recovery, err := vault.Create(ctx, store, m.state, crypto.NewSecret([]byte(goldenPassphrase)), "", goldenKDF)
	if err != nil {
		t.Fatal(err)
	}
	key := filepath.Join(t.TempDir(), "recovery")
	os.WriteFile(key, []byte(crypto.FormatRecovery(recovery)), 0o600)
	m.ring = ring
	m.open(false)
	compare := func(when string) {
		t.Helper()
		fresh := &box{t: t, store: store, ring: ring, state: t.TempDir(), cache: t.TempDir()}
		fresh.open(true)
		want := list(t, fresh.Volume)
		fresh.close()
		got, err := decode(t, python, dir, "--recovery", key)
		if err != nil {
			t.Fatal(when, err)
		}
		sameListing(t, got, want)
	}
	b := &bench{t: t, Volume: m.Volume}
	for round := range 3 {
		for range 8 {
			for range 40 {
				randomChange(t, r, m.Volume)
			}
			b.drain()
			if r.IntN(3) == 0 {
				m.snapshot()
			}
		}
		compare(fmt.Sprint("round ", round))
		m.close()
		m.state, m.cache = t.TempDir(), t.TempDir()
		m.open(false)
		b.Volume = m.Volume
	}

	// Content over two objects.
	b.write(b.mk(remote.Root, "large", remote.File), 12345, pattern(5<<20, 1))
	b.drain()

	// A batch over several entries, and the same broken off.
	head := m.tree.Position().Seq
	dirIno := b.mk(remote.Root, "many", remote.Dir)
	for i := range 20 {
		if err := m.Setxattr(ctx, b.mk(dirIno, fmt.Sprint(i), remote.File), "user.large", pattern(60_000, i), 0); err != nil {
			t.Fatal(err)
		}
	}
	b.drain()
	end := m.tree.Position().Seq
	if end < head+2 {
		t.Fatalf("entries %d to %d: one was enough", head, end)
	}
	m.close()
	compare("a batch of parts")
	if err := os.Remove(filepath.Join(dir, fmt.Sprintf("l/%016x", end))); err != nil {
		t.Fatal(err)
	}
	compare("a batch that was broken off")
}

// randomChange tries one; what may not happen does not.
func randomChange(t *testing.T, r *rand.Rand, v *Volume) {
	t.Helper()
	var dirs, all []remote.Ino
	type entry struct {
		parent remote.Ino
		name   string
	}
	var names []entry
	types := map[remote.Ino]remote.Type{}
	for todo := []remote.Ino{remote.Root}; len(todo) > 0; todo = todo[1:] {
		dirs = append(dirs, todo[0])
		l, err := v.List(ctx, todo[0])
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range l {
			names = append(names, entry{todo[0], d.Name})
			types[d.Ino] = d.Type
			all = append(all, d.Ino)
			if d.Type == remote.Dir {
				todo = append(todo, d.Ino)
			}
		}
	}
	dir := dirs[r.IntN(len(dirs))]
	name := fmt.Sprint("n", r.IntN(40))
	made := func(s Stat, err error) {
		if err == nil {
			v.Forget(s.Ino, 1)
		}
	}
	if len(names) < 5 || r.IntN(4) == 0 {
		kinds := []remote.Type{remote.File, remote.File, remote.File, remote.Dir, remote.Symlink, remote.Fifo, remote.CharDev}
		typ := kinds[r.IntN(len(kinds))]
		target := map[bool]string{true: "../x\xff"}[typ == remote.Symlink]
		made(v.Make(ctx, dir, name, typ, uint16(r.IntN(0o10000)), map[bool]uint32{true: 77}[typ == remote.CharDev], target, Caller{UID: r.Uint32N(3)}))
		return
	}
	a, b, ino := names[r.IntN(len(names))], names[r.IntN(len(names))], all[r.IntN(len(all))]
	switch k := r.IntN(9); {
	case k == 0:
		v.Rename(ctx, a.parent, a.name, dir, name, 0, Caller{})
	case k == 1:
		v.Rename(ctx, a.parent, a.name, b.parent, b.name, uint32(r.IntN(2))*RenameExchange, Caller{})
	case k == 2 && r.IntN(2) == 0:
		if v.Unlink(ctx, a.parent, a.name) != nil {
			v.Rmdir(ctx, a.parent, a.name)
		}
	case k == 3:
		made(v.Link(ctx, ino, dir, name))
	case k == 4:
		x := fmt.Sprint("user.", r.IntN(3))
		if r.IntN(3) == 0 {
			v.Removexattr(ctx, ino, x)
		} else {
			v.Setxattr(ctx, ino, x, pattern(r.IntN(300), r.IntN(9)), 0)
		}
	case k == 5:
		when, size := remote.Time(r.Int64()-1<<62), r.Uint64N(200_000)
		s := SetAttr{Mtime: &when}
		if types[ino] == remote.File && r.IntN(2) == 0 {
			s = SetAttr{Size: &size}
		}
		v.Setattr(ctx, ino, s)
	case types[ino] == remote.File:
		h, err := v.Open(ctx, ino, true, false)
		if err != nil {
			t.Fatal(err)
		}
		defer h.Close()
		off := r.Uint64N(150_000)
		switch r.IntN(4) {
		case 0:
			h.Allocate(ctx, 3, off, 1+r.Uint64N(60_000))
		case 1:
			v.CopyRange(ctx, h, r.Uint64N(100_000), h, off+200_000, 1+r.Uint64N(100_000))
		default:
			h.WriteAt(ctx, pattern(1+r.IntN(1<<(1+r.IntN(16))), r.IntN(250)), off, false)
		}
	}
}
