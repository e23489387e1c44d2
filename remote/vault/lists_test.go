package vault

import (
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"

	"megafs/crypto"
	"megafs/remote/blob"
)

// TestP4_V31ListHidesSome: a listing that leaves out the newest of each kind, or every other name, or all.
func TestP4_V31ListHidesSome(t *testing.T) {
	both(t, func(t *testing.T, on kind) {
		s := newScene(t, on)
		newest := map[string]bool{}
		kinds := map[string]string{}
		for _, n := range s.store.Names() {
			delete(newest, kinds[n[:3]])
			kinds[n[:3]], newest[n] = n, true
		}
		i := 0
		for what, hides := range map[string]func(name string) bool{
			"the newest of each kind": func(n string) bool { return newest[n] && !strings.HasPrefix(n, keyringPrefix) },
			"every other":             func(string) bool { i++; return i%2 == 0 },
			"all":                     func(string) bool { return true },
		} {
			e := &evil{Store: s.store}
			e.list = func(prefix string, fn func(blob.Info) error) (bool, error) {
				return true, s.store.List(ctx, prefix, "", func(o blob.Info) error {
					if hides(o.Name) {
						return nil
					}
					return fn(o)
				})
			}
			for _, name := range machines {
				if loaded, read := s.meet(t, name, e, t.TempDir()); loaded != nil || read != nil {
					t.Errorf("%s hidden from the machine that is %s: %v, %v", what, name, loaded, read)
				}
			}
		}
	})
}

// TestP4_V32EndlessLists: a listing with ever so many names that look like snapshots', and keyrings'. Work and memory stay within bounds, and the
// vault opens.
func TestP4_V32EndlessLists(t *testing.T) {
	s := newScene(t, mem)
	gets := 0
	e := &evil{Store: s.store}
	e.get = func(string) ([]byte, bool, error) { gets++; return nil, false, nil }
	e.list = func(prefix string, fn func(blob.Info) error) (bool, error) {
		var id [32]byte
		for i := range 200_000 {
			binary.BigEndian.PutUint32(id[:], uint32(i))
			name := fmt.Sprintf("%s%016x", prefix, uint64(i)+100)
			if prefix == rootPrefix {
				name = rootName(uint64(i%1000), crypto.ID(id))
			}
			if err := fn(blob.Info{Name: name}); err != nil {
				return true, err
			}
		}
		return false, nil
	}
	for _, name := range machines {
		gets = 0
		runtime.GC()
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		if loaded, read := s.meet(t, name, e, t.TempDir()); loaded != nil || read != nil {
			t.Error(name, loaded, read)
		}
		runtime.GC()
		runtime.ReadMemStats(&after)
		if gets > 1000 {
			t.Errorf("%s: %d objects were asked for", name, gets)
		}
		if grown := int64(after.HeapSys) - int64(before.HeapSys); grown > 32<<20 {
			t.Errorf("%s: the heap grew by %d bytes", name, grown)
		}
	}
	// Keyrings are asked for by number, the newest few of those listed.
	gets = 0
	if _, _, err := ReadKeyring(ctx, e, t.TempDir()); gets > keyringTries {
		t.Error(gets, err)
	}
}

// TestP4_V32PlantedFiles: what lies in the folder and is no object: links, folders, pipes, names of all sorts. None is read, written or removed.
func TestP4_V32PlantedFiles(t *testing.T) {
	both(t, func(t *testing.T, on kind) {
		d, ok := on(t).(*dirPlace)
		if !ok {
			return // only a folder has such things
		}
		d.Close()
		s := newScene(t, on)
		planted := plant(t, s.store.(*dirPlace))
		for _, name := range machines {
			if loaded, read := s.meet(t, name, s.store, t.TempDir()); loaded != nil || read != nil {
				t.Error(name, loaded, read)
			}
		}
		if f := s.audit(t, s.store, t.TempDir()); len(f) != 0 {
			t.Error("planted files are no damage:", f)
		}
		planted()
	})
}

// TestP4_V33FutureEntries: copies of each entry at each of some later places, and far away. None is taken for the next, and the log goes on.
func TestP4_V33FutureEntries(t *testing.T) {
	both(t, func(t *testing.T, on kind) {
		s := newScene(t, on)
		end := s.head.Seq
		for seq := uint64(1); seq <= end; seq++ {
			b := bytesOf(t, s.store, logName(seq))
			for _, far := range []uint64{end + 2, end + 5, end + 17, 1 << 40, 1<<64 - 1} {
				s.store.Poke(logName(far), b)
			}
			for _, name := range machines {
				if loaded, read := s.meet(t, name, s.store, t.TempDir()); loaded != nil || read != nil {
					t.Errorf("%s, copies of entry %d: %v, %v", name, seq, loaded, read)
				}
			}
		}
		// As the next one it is no entry either.
		s.store.Poke(logName(end+1), bytesOf(t, s.store, logName(end)))
		for _, name := range machines {
			loaded, _ := s.meet(t, name, s.store, t.TempDir())
			wantErr(t, loaded, ErrTampered)
		}
	})
}

// TestP4_V33ClaimedAsHead: the true entry of a later place, with the one before it missing. A machine that begins sees the gap; one that runs has no
// news, and should it commit into the gap, it sees the fork.
func TestP4_V33ClaimedAsHead(t *testing.T) {
	both(t, func(t *testing.T, on kind) {
		w, a, start := begun(t, on)
		b, pos, _ := w.second()
		end := commits(t, b, pos, 1, 3)
		w.store.Poke(logName(end.Seq-1), nil)
		twin := w.open(w.store, t.TempDir())
		got, err := twin.Load(ctx, start, w.sink())
		if wantErr(t, err, ErrGap); got.Seq != end.Seq-2 || twin.State() == nil {
			t.Fatal(got, twin.State())
		}
		if _, got = w.load(a, start); got.Seq != end.Seq-2 {
			t.Fatal(got)
		}
		got = commits(t, a, got, 10, 1)
		_, err = a.Load(ctx, got, w.sink())
		wantErr(t, err, ErrFork)
	})
}

// TestP4_V12NoPlainFile puts into each object's place in the folder what is no plain file: a folder, a pipe, a link to nothing, to another object, to the
// same bytes elsewhere. Nothing of it is followed or waited for: it is damage, like any other.
func TestP4_V12NoPlainFile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScene(t, dir)
		d := s.store.(*dirPlace)
		names := d.Names()
		outside := filepath.Join(t.TempDir(), "copy")
		for i, name := range names {
			good := bytesOf(t, s.store, name)
			p := d.File(name)
			must(t, os.WriteFile(outside, good, 0o600))
			for what, put := range map[string]func() error{
				"a folder":             func() error { return os.Mkdir(p, 0o700) },
				"a pipe":               func() error { return syscall.Mkfifo(p, 0o600) },
				"a link to nothing":    func() error { return os.Symlink("nothing", p) },
				"a link to itself":     func() error { return os.Symlink(filepath.Base(p), p) },
				"a link to the same":   func() error { return os.Symlink(outside, p) },
				"a link to another":    func() error { return os.Symlink(d.File(names[(i+1)%len(names)]), p) },
				"a link to a terminal": func() error { return os.Symlink("/dev/tty", p) },
			} {
				must(t, os.Remove(p))
				must(t, put())
				for _, machine := range machines {
					if what == "a folder" && name == logName(s.head.Seq) && s.know[machine].trust.Head.Seq < s.head.Seq {
						continue // an entry that is not there, and nobody here knew of it
					}
					loaded, read := s.meet(t, machine, s.store, t.TempDir())
					switch {
					case strings.HasPrefix(name, "o/") && (loaded != nil || read == nil):
						t.Errorf("%s: %s for %s: %v, read: %v", machine, what, name, loaded, read)
					case strings.HasPrefix(name, "l/") && s.looksAt(machine, name) && loaded == nil:
						t.Errorf("%s: %s for %s is taken", machine, what, name)
					case strings.HasPrefix(name, "s/") && loaded != nil:
						t.Errorf("%s: %s for %s: %v", machine, what, name, loaded)
					}
				}
				if f := s.audit(t, s.store, t.TempDir()); !found(f, name) {
					t.Errorf("%s for %s is no damage: %v", what, name, f)
				}
				must(t, os.Remove(p))
				must(t, os.WriteFile(p, good, 0o600))
			}
		}
	})
}
