package volume

import (
	"bytes"
	"hash/maphash"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"

	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/options"
	"golang.org/x/sys/unix"

	"megafs/crypto"
)

// index is what a tree index holds, as its owner wrote it; badger's own files are another test's business.
type index struct {
	version uint64
	kv      [][2]string
}

// version is that of the last change of a database. Badger's MaxVersion races with writes.
func version(db *badger.DB) uint64 {
	tx := db.NewTransaction(false)
	defer tx.Discard()
	return tx.ReadTs()
}

func readIndex(db *badger.DB) *index {
	x := &index{}
	err := db.View(func(tx *badger.Txn) error {
		x.version = tx.ReadTs()
		it := tx.NewIterator(badger.DefaultIteratorOptions)
		defer it.Close()
		for it.Rewind(); it.Valid(); it.Next() {
			v, err := it.Item().ValueCopy(nil)
			if err != nil {
				return err
			}
			x.kv = append(x.kv, [2]string{string(it.Item().Key()), string(v)})
		}
		return nil
	})
	if err != nil {
		panic(err)
	}
	return x
}

func (x *index) write(db *badger.DB) error {
	if err := db.DropAll(); err != nil || x == nil {
		return err
	}
	return db.Update(func(tx *badger.Txn) error {
		for _, p := range x.kv {
			if err := tx.Set([]byte(p[0]), []byte(p[1])); err != nil {
				return err
			}
		}
		return nil
	})
}

// newIndexDB opens an empty database in memory that costs little.
func newIndexDB() (*badger.DB, error) {
	return badger.Open(badger.DefaultOptions("").WithLogger(nil).WithInMemory(true).WithCompression(options.None).
		WithNumVersionsToKeep(1).WithDetectConflicts(false).WithMemTableSize(512 << 10).WithNumMemtables(2).WithNumCompactors(0).
		WithBaseTableSize(1 << 20).WithNumLevelZeroTables(50).WithNumLevelZeroTablesStall(100).WithBlockCacheSize(0).WithIndexCacheSize(0).
		WithMetricsEnabled(false).WithValueThreshold(32 << 10).WithNumGoroutines(1))
}

// folder is a copy of a folder's files by path, taken while they are in use. Files end with nothing but zeros at times; those are left out.
type folder map[string]sparse

type sparse struct {
	size int64
	data []byte
}

func readFolder(t *testing.T, dir string) folder {
	f := folder{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		name, _ := filepath.Rel(dir, path)
		f[name], err = readSparse(path)
		return err
	})
	if err != nil {
		t.Error(err)
	}
	return f
}

func readSparse(path string) (s sparse, err error) {
	f, err := os.Open(path)
	if err != nil {
		return s, err
	}
	defer f.Close()
	if s.size, err = f.Seek(0, io.SeekEnd); err != nil {
		return s, err
	}
	for off := int64(0); off < s.size; {
		from, err := unix.Seek(int(f.Fd()), off, unix.SEEK_DATA)
		if err != nil {
			break // a hole up to the end
		}
		if off, err = unix.Seek(int(f.Fd()), from, unix.SEEK_HOLE); err != nil {
			return s, err
		}
		s.data = append(s.data, make([]byte, off-int64(len(s.data)))...)
		if _, err := f.ReadAt(s.data[from:off], from); err != nil && err != io.EOF {
			return s, err
		}
	}
	s.data = bytes.TrimRight(s.data, "\x00")
	return s, nil
}

func (f folder) write(dir string) error {
	for name, s := range f {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			return err
		}
		if err := os.WriteFile(path, s.data, 0o600); err != nil {
			return err
		}
		if err := os.Truncate(path, s.size); err != nil {
			return err
		}
	}
	return nil
}

// TestP1CrashFolders does what TestP1CrashEnumeration does with badger's and the cache's real files: at some calls their folder is copied as it is,
// and the machine comes back with that copy, an older one, or one of the two parts.
func TestP1CrashFolders(t *testing.T) {
	crypto.CheapKDFForTests(t)
	dir := shm(t)
	e := &enumeration{seen: map[uint64]bool{}, fresh: map[uint64]bool{}, hash: maphash.MakeSeed(), seed: 1}
	ring := e.begin(t, dir)
	names := []string{"names", "overwrite", "snapshot", "unlinked", "trim"}
	if testing.Short() {
		names = names[:2]
	}
	for _, name := range names {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				db, err := newIndexDB() // stays empty
				if err != nil {
					t.Fatal(err)
				}
				defer db.Close()
				dbs := []*badger.DB{db, db}
				c := &crasher{t: t, ring: ring, dir: dir, seed: e.seed, script: name, real: true}
				l, err := c.start(&e.first, nil, db)
				if err != nil {
					t.Fatal(err)
				}
				defer l.close()
				l.model = newModel()
				if err := l.open(false); err != nil {
					t.Fatal(err)
				}
				s, err := l.see(true)
				if err != nil {
					t.Fatal(err)
				}
				l.note(s)
				l.tapAll()
				l.run(crashScripts[name])
				l.tapNone()
				l.close()
				for i := range l.images {
					im := l.images[i]
					rng := c.rng("way " + im.at)
					way := []string{"as it was", "older", "the tree alone", "the cache alone"}[rng.IntN(4)]
					switch way {
					case "older":
						im.folder = l.images[rng.IntN(i+1)].folder
					case "the tree alone", "the cache alone":
						part := folder{}
						for n, f := range im.folder {
							if (filepath.Dir(n) == "tree") == (way == "the tree alone") {
								part[n] = f
							}
						}
						im.folder = part
					}
					im.hi = min(im.hi, len(c.states)-1)
					e.states++
					if err := e.check(c, &im, "kept", dbs); err != nil {
						t.Fatalf("seed %d, %s, cut at %s, folder %s: %v", e.seed, name, im.at, way, err)
					}
				}
			})
		})
	}
	t.Logf("seed %d: %d crash states", e.seed, e.states)
}
