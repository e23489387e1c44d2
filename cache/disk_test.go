package cache

import (
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"megafs/remote"
)

// files returns all files of a folder.
func files(t *testing.T, dir string) map[string][]byte {
	t.Helper()
	out := map[string][]byte{}
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		b, err := os.ReadFile(p)
		name, _ := filepath.Rel(dir, p)
		out[name] = b
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// kept is the object that filled puts into a folder.
var kept = object(1, 96)

const keptSize = 96 * chunkSize

// filled makes a folder with an object in it and returns it.
func filled(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "cache")
	c := open(t, on(dir, &fake{}))
	check(t, c, kept, 0, keptSize)
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	if err := c.Close(); err != nil {
		t.Error("closed again:", err)
	}
	return dir
}

// TestReopen finds everything again.
func TestReopen(t *testing.T) {
	dir := filled(t)
	for range 3 {
		src := &fake{}
		o := on(dir, src)
		o.Admit = false // makes no difference for what is there
		c := open(t, o)
		check(t, c, kept, 0, keptSize)
		if got := src.requests(); len(got) != 0 {
			t.Error("requests", got)
		}
		check(t, c, object(2, 4), 0, 4*chunkSize)
		landed(t, c)
		check(t, c, object(2, 4), 0, 4*chunkSize)
		if got := src.requests(); len(got) != 2 {
			t.Error("without Admit:", got)
		}
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// TestP4Damage flips bits in slabs (V68): what does not open is fetched again and served from then on.
func TestP4Damage(t *testing.T) {
	dir := filled(t)
	p := filepath.Join(dir, slabFile(0))
	b, err := os.ReadFile(p)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < 24*slotSize; i += 3*sealedSize + 17 {
		b[i] ^= 0x10
	}
	mustWrite(t, p, b)
	src := &fake{}
	c := open(t, on(dir, src))
	check(t, c, kept, 0, keptSize)
	s := c.Stats()
	if want := uint64((96 + 2) / 3); s.Damaged != want || src.bytes != int(want)*sealedSize {
		t.Errorf("%d chunks damaged, %d bytes fetched, want %d chunks", s.Damaged, src.bytes, want)
	}
	check(t, c, kept, 0, keptSize)
	if n := src.bytes; n != int(s.Damaged)*sealedSize {
		t.Error("fetched again what had been fetched")
	}
}

// TestP4DamageEverywhere has both the disk and the store give wrong bytes: that is an error, until the store gives the right ones.
func TestP4DamageEverywhere(t *testing.T) {
	dir := filled(t)
	mustWrite(t, filepath.Join(dir, slabFile(0)), make([]byte, len(files(t, dir)[slabFile(0)])))
	src := &fake{spoil: func(b []byte) { b[0] ^= 1 }}
	c := open(t, on(dir, src))
	for range 2 {
		if err := c.Read(ctx, kept, make([]byte, 100)); !remote.Is(err, remote.Integrity) {
			t.Error(err)
		}
	}
	src.set(func(s *fake) { s.spoil = nil })
	check(t, c, kept, 0, keptSize)
}

// TestBeginAnew opens folders that a crash, a fault or somebody else left. None is an error, each read is right, and the cache is of use afterwards.
func TestBeginAnew(t *testing.T) {
	each := func(dir, prefix string, f func(p string)) {
		for name := range files(t, dir) {
			if strings.HasPrefix(name, prefix) {
				f(filepath.Join(dir, name))
			}
		}
	}
	for name, x := range map[string]struct {
		spoil func(dir string)
		key   byte
		keeps bool // what the folder had is still of use
	}{
		"untouched":    {func(dir string) {}, 3, true},
		"another key":  {func(dir string) {}, 4, false},
		"not closed":   {func(dir string) { os.Remove(filepath.Join(dir, cleanName)) }, 3, false},
		"mark changed": {func(dir string) { mustWrite(t, filepath.Join(dir, cleanName), make([]byte, 32)) }, 3, false},
		"mark is a link": {func(dir string) {
			os.Remove(filepath.Join(dir, cleanName))
			os.Symlink("/dev/zero", filepath.Join(dir, cleanName))
		}, 3, false},
		"index gone": {func(dir string) { os.RemoveAll(filepath.Join(dir, indexName)) }, 3, false},
		"index is a file": {func(dir string) {
			os.RemoveAll(filepath.Join(dir, indexName))
			mustWrite(t, filepath.Join(dir, indexName), nil)
		}, 3, false},
		"index cut":     {func(dir string) { each(dir, indexName, func(p string) { os.Truncate(p, 9) }) }, 3, false},
		"index is junk": {func(dir string) { each(dir, indexName, func(p string) { mustWrite(t, p, []byte("junk")) }) }, 3, false},
		"index has a bit off": {func(dir string) {
			each(dir, indexName+"/0", func(p string) { b, _ := os.ReadFile(p); b[len(b)/2] ^= 4; mustWrite(t, p, b) })
		}, 3, false},
		"a slab gone": {func(dir string) { os.Remove(filepath.Join(dir, slabFile(0))) }, 3, false},
		"a slab cut":  {func(dir string) { os.Truncate(filepath.Join(dir, slabFile(0)), 100) }, 3, false},
		"a slab is a folder": {func(dir string) {
			os.Remove(filepath.Join(dir, slabFile(0)))
			os.Mkdir(filepath.Join(dir, slabFile(0)), 0o700)
		}, 3, false},
		"a slab too many": {func(dir string) { mustWrite(t, filepath.Join(dir, slabFile(7)), []byte("x")) }, 3, true},
		"a slab is a link": {func(dir string) {
			os.Remove(filepath.Join(dir, slabFile(0)))
			os.Symlink(filepath.Join(dir, "..", "victim"), filepath.Join(dir, slabFile(0)))
		}, 3, false},
		"folder gone": {func(dir string) { os.RemoveAll(dir) }, 3, false},
		"open to all": {func(dir string) { os.Chmod(dir, 0o777) }, 3, true},
	} {
		t.Run(name, func(t *testing.T) {
			dir := filled(t)
			mine, victim := filepath.Join(dir, "mine"), filepath.Join(dir, "..", "victim")
			mustWrite(t, mine, []byte("mine"))
			mustWrite(t, victim, make([]byte, 1<<20))
			x.spoil(dir)
			src := &fake{}
			o := on(dir, src)
			o.Key[0] = x.key
			c := open(t, o)
			check(t, c, kept, 0, keptSize)
			if (src.bytes == 0) != x.keeps {
				t.Errorf("%d bytes fetched", src.bytes)
			}
			if err := c.Close(); err != nil {
				t.Fatal(err)
			}
			src.bytes = 0
			c = open(t, o)
			check(t, c, kept, 0, keptSize)
			if src.bytes != 0 {
				t.Error("nothing was kept afterwards")
			}
			if b, err := os.ReadFile(mine); err != nil && name != "folder gone" || err == nil && string(b) != "mine" {
				t.Error("a file of somebody else:", err)
			}
			if b, err := os.ReadFile(victim); err != nil || strings.Trim(string(b), "\x00") != "" {
				t.Error("something outside of the folder was written:", err)
			}
			if fi, err := os.Stat(dir); err != nil || fi.Mode().Perm() != 0o700 {
				t.Error(fi.Mode(), err)
			}
		})
	}
}

// TestKill opens copies of a folder that were taken while it was in use.
func TestKill(t *testing.T) {
	dir := t.TempDir()
	c := open(t, on(dir, &fake{}))
	r := rand.New(rand.NewPCG(1, 2))
	for i := range 3 {
		for range 100 {
			check(t, c, object(r.IntN(20), 256), r.IntN(remote.MaxContent-40000), 1+r.IntN(40000))
		}
		to := filepath.Join(t.TempDir(), "copy")
		if err := os.CopyFS(to, os.DirFS(dir)); err != nil {
			t.Fatal(err)
		}
		d := open(t, on(to, &fake{}))
		for n := range 20 {
			check(t, d, object(n, 256), r.IntN(remote.MaxContent-40000), 1+r.IntN(40000))
		}
		if err := d.Close(); err != nil {
			t.Error(i, err)
		}
	}
}

// TestP7Limit reads and Puts five times what the limit allows and looks at the folder all along.
func TestP7Limit(t *testing.T) {
	dir := t.TempDir()
	src := &fake{}
	o := on(dir, src)
	c := open(t, o)
	objects := 5 * minLimit / remote.MaxContent
	for i := range objects {
		if i%2 == 0 {
			check(t, c, object(i, 256), 0, remote.MaxContent)
		} else {
			c.Put(object(i, 256), sealObject(object(i, 256)))
		}
		if n, s := size(t, dir), c.Stats(); n > minLimit*105/100 || s.Bytes > s.Limit*105/100 {
			t.Fatalf("%d bytes on disk, limit %d, stats %+v", n, minLimit, s)
		}
	}
	if c.Stats().Evictions == 0 {
		t.Error("nothing was evicted")
	}
	src.bytes = 0
	check(t, c, object(objects-1, 256), 0, remote.MaxContent)
	if src.bytes != 0 {
		t.Error("what was Put last is not there")
	}
	c.Close()
	if n := size(t, dir); n > minLimit*105/100 {
		t.Errorf("%d bytes on disk after Close", n)
	}
	// A larger limit keeps all, a smaller one takes effect at once.
	for _, limit := range []int64{2 * minLimit, minLimit} {
		o.Limit = limit
		c = open(t, o)
		check(t, c, object(1000, 256), 0, remote.MaxContent)
		check(t, c, object(1001, 256), 0, remote.MaxContent)
		check(t, c, object(objects-1, 256), 0, remote.MaxContent)
		if n := size(t, dir); n > limit*105/100 {
			t.Errorf("%d bytes on disk, limit %d", n, limit)
		}
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// TestIndexShrinks overwrites records again and again: the database keeps to its share, and after it was begun anew it still has all.
func TestIndexShrinks(t *testing.T) {
	dir := t.TempDir()
	src := &fake{}
	c := open(t, on(dir, src))
	check(t, c, object(1, 256), 0, remote.MaxContent)
	for range 300 {
		c.disk.changeAll()
		c.index.flush()
		if n := c.dir.indexBytes(); n > c.index.share {
			t.Fatalf("the index has %d bytes of %d", n, c.index.share)
		}
	}
	if err := c.index.rewrite(); err != nil {
		t.Fatal(err)
	}
	c.Close()
	src.bytes = 0
	c = open(t, on(dir, src))
	check(t, c, object(1, 256), 0, remote.MaxContent)
	if src.bytes != 0 {
		t.Error(src.bytes, "bytes were lost")
	}
}

// TestScan reads a lot once: what had been read twice is still there.
func TestScan(t *testing.T) {
	src := &fake{}
	o := on(t.TempDir(), src)
	c := open(t, o)
	for range 3 {
		check(t, c, object(1, 64), 0, 64*chunkSize)
	}
	for i := range 4 {
		check(t, c, object(10+i, 256), 0, remote.MaxContent)
	}
	src.bytes = 0
	check(t, c, object(1, 64), 0, 64*chunkSize)
	if src.bytes != 0 {
		t.Errorf("%d bytes of what is in use made room for a scan", src.bytes)
	}
}

// TestFolders says what is an error of Open.
func TestFolders(t *testing.T) {
	dir := t.TempDir()
	src := &fake{}
	c := open(t, on(dir, src))
	check(t, c, object(1, 4), 0, 4*chunkSize)
	if _, err := Open(on(dir, src)); !remote.Is(err, remote.Busy) {
		t.Error("opened twice:", err)
	}
	c.Close()
	c = open(t, on(dir, src))
	check(t, c, object(1, 4), 0, 4*chunkSize)
	if n := len(src.requests()); n != 1 {
		t.Error("the second Open did harm:", src.requests())
	}
	c.Close()
	if os.Geteuid() == 0 {
		foreign := t.TempDir()
		if err := os.Chown(foreign, 12345, 12345); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(on(foreign, src)); !remote.Is(err, remote.Permission) {
			t.Error("somebody else's folder:", err)
		}
	}
	file := filepath.Join(t.TempDir(), "file")
	mustWrite(t, file, nil)
	if _, err := Open(on(file, src)); err == nil {
		t.Error("opened a file")
	}
	small := on(t.TempDir(), src)
	small.Limit = minLimit - 1
	c = open(t, small)
	check(t, c, object(1, 4), 0, 100)
	if n := size(t, small.Dir); n != 0 {
		t.Error(n, "bytes on disk with a limit that is too small")
	}
	if _, err := Open(Options{}); !remote.Is(err, remote.Invalid) {
		t.Error(err)
	}
}
