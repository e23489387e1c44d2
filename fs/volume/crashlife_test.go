package volume

import (
	"errors"
	"fmt"
	"hash/maphash"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dgraph-io/badger/v4"

	"megafs/crypto"
	"megafs/fs/journal"
	"megafs/fs/tree"
	"megafs/remote"
	"megafs/remote/blob"
	"megafs/remote/vault"
)

// image is what a power cut, or the death of the process, leaves of a machine and its store.
type image struct {
	at     string // the call it was cut at, and which of several disks this is
	disk   *crashDisk
	store  *blob.MemStore
	trust  map[string]string // the vault's files in the state folder
	tree   int               // the index as it was, in crasher.trees
	lo, hi int               // the states it may show
	folder folder            // the cache's, if the crasher has real ones
}

// crasher cuts one script.
type crasher struct {
	t      *testing.T
	ring   *crypto.Keyring
	dir    string // for small real files
	seed   uint64
	script string

	path string // the cuts before, of a machine that came back
	real bool   // tree index and cache are real files, of which few images are taken

	trees  []*index
	states []string // what can be seen after each command, from 0
	bare   []string // the same without contents
	models []*model
}

// life is a machine from its start to its end, and a store.
type life struct {
	*crasher
	v     *Volume
	va    *vault.Vault
	model *model

	writes  int
	handles map[string]*held

	mu     sync.Mutex
	db     *badger.DB
	state  string
	cache  string // a folder; empty: in memory
	disk   *crashDisk
	store  *tapStore
	calls  map[string]int
	lo     int // the last state that is promised
	done   int // the last state whose command returned
	busy   bool
	images []image
}

// rng gives each place its own chance, so that one of them can be repeated alone.
func (c *crasher) rng(place string) *rand.Rand {
	var a, b uint64 = c.seed, 14695981039346656037
	for _, x := range []byte(c.script + "\x00" + place) {
		b = (b ^ uint64(x)) * 1099511628211
	}
	return rand.New(rand.NewPCG(a, b))
}

// start is a power-on: a machine with what an image left it, and the tree index that the mode gives it.
func (c *crasher) start(im *image, x *index, db *badger.DB) (*life, error) {
	l := &life{crasher: c, db: db, disk: im.disk.after(nil, 100), store: &tapStore{MemStore: im.store.Clone()}, calls: map[string]int{}, handles: map[string]*held{}}
	var err error
	if l.state, err = os.MkdirTemp(c.dir, ""); err != nil {
		return nil, err
	}
	if c.real {
		if l.cache, err = os.MkdirTemp(c.dir, ""); err != nil {
			return nil, err
		}
		if err := im.folder.write(l.cache); err != nil {
			return nil, err
		}
	}
	for name, data := range im.trust {
		if err := os.WriteFile(filepath.Join(l.state, name), []byte(data), 0o600); err != nil {
			return nil, err
		}
	}
	return l, x.write(db)
}

// open opens the vault and the volume.
func (l *life) open(fresh bool) error {
	var err error
	quiet := slog.New(slog.DiscardHandler)
	l.va, err = vault.Open(ctx, l.store, vault.Options{StateDir: l.state, Keyring: l.ring, TrustFirstUse: fresh, Log: quiet})
	if err != nil {
		return fmt.Errorf("open the vault: %w", err)
	}
	register := l.va.Register
	if fresh {
		register = nil
	}
	l.v, err = Open(ctx, Options{
		Remote: l.va, Register: register, StateDir: "/state", CacheDir: l.cache, CacheSize: 16 << 20, JournalSize: 16 << 20,
		LocalStore: !l.real, ReadOnly: fresh, Memory: 1 << 20,
		Settle: time.Second, MaxAge: 10 * time.Second, Poll: -1, MoveAt: 60 << 10, Log: quiet,
		JournalOptions: func(o *journal.Options) { o.FS, o.SegmentSize = l.disk, 24<<10 },
		TreeOptions: func(o *tree.Options) {
			if !l.real {
				o.DB = l.db
			}
		},
	})
	if err != nil {
		return fmt.Errorf("open the volume: %w", err)
	}
	return nil
}

// tearTrust damages the older one of the vault's two files, which is the one that would be overwritten next.
func (l *life) tearTrust(rng *rand.Rand) error {
	var counter [2]uint64
	var data [2][]byte
	for i := range data {
		var err error
		if data[i], err = os.ReadFile(filepath.Join(l.state, fmt.Sprint("trust-", i))); err != nil {
			return err
		}
		if len(data[i]) > 12 {
			fmt.Sscanf(string(data[i][12:]), `{"counter":%d`, &counter[i])
		}
	}
	old := 0
	if counter[1] < counter[0] {
		old = 1
	}
	return os.WriteFile(filepath.Join(l.state, fmt.Sprint("trust-", old)), data[old][:rng.IntN(len(data[old])+1)], 0o600)
}

func (l *life) close() {
	if l.state == "" {
		return
	}
	defer func() { l.state = "" }()
	for _, h := range l.handles {
		h.Close()
	}
	if l.v != nil {
		l.v.Close(ctx)
	}
	if l.va != nil {
		l.va.Close()
	}
	os.RemoveAll(l.state)
	if l.cache != "" {
		os.RemoveAll(l.cache)
	}
}

// see tells all that can be seen of a volume: names, inodes, attributes, and with data, contents.
func (l *life) see(data bool) (string, error) {
	var out strings.Builder
	var walk func(path string, ino remote.Ino) error
	walk = func(path string, ino remote.Ino) error {
		s, err := l.v.Getattr(ctx, ino)
		if err != nil {
			return fmt.Errorf("%q is listed, but: %w", path, err)
		}
		s.Version = 0
		content := "-"
		if data && s.Type == remote.File {
			b := make([]byte, s.Size)
			if n, err := l.v.read(ctx, ino, b, 0); err != nil || n != len(b) {
				return fmt.Errorf("%q, read %d of %d bytes: %w", path, n, len(b), err)
			}
			content = hash(b)
		}
		fmt.Fprintf(&out, "%s %+v %s\n", path, s, content)
		names, err := l.v.Listxattr(ctx, ino)
		if err != nil {
			return fmt.Errorf("%q xattrs: %w", path, err)
		}
		for _, n := range names {
			x, err := l.v.Getxattr(ctx, ino, n)
			if err != nil {
				return fmt.Errorf("%q xattr %s: %w", path, n, err)
			}
			fmt.Fprintf(&out, "%s %s=%s\n", path, n, hash(x))
		}
		if s.Type != remote.Dir {
			return nil
		}
		list, err := l.v.List(ctx, ino)
		if err != nil {
			return fmt.Errorf("%q list: %w", path, err)
		}
		for _, d := range list {
			if err := walk(path+"/"+d.Name, d.Ino); err != nil {
				return err
			}
		}
		return nil
	}
	err := walk("", remote.Root)
	return out.String(), err
}

// tapAll has every call of the life's disk and store looked at from now on.
func (l *life) tapAll() {
	tap := func(prefix string) *tapFunc {
		var f tapFunc = func(call, name string, torn func(*rand.Rand)) func() { return l.tap(prefix+call, name, torn) }
		return &f
	}
	l.disk.tap.Store(tap("j."))
	l.store.tap.Store(tap("s."))
}

// tapNone ends that.
func (l *life) tapNone() {
	l.disk.tap.Store(nil)
	l.store.tap.Store(nil)
}

// percents are the chances of what was not synced.
var percents = []int{0, 100, 50, 85}

// tap takes images before a call, with a part of it done, and after it.
func (l *life) tap(call, name string, torn func(*rand.Rand)) (after func()) {
	key := call + "." + name
	l.mu.Lock()
	l.calls[key]++
	key = fmt.Sprintf("%s.%d", strings.ReplaceAll(key, "/", "_"), l.calls[key])
	l.mu.Unlock()
	l.cut(key + "-")
	if torn != nil {
		torn(l.rng(key))
		l.cut(key + "~")
	}
	return func() { l.cut(key + "+") }
}

func (l *life) cut(at string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	var cache folder
	if l.real {
		if l.rng("folder "+at).IntN(12) > 0 {
			return
		}
		cache = readFolder(l.t, l.cache)
	}
	im := image{folder: cache, store: l.store.Clone(), trust: map[string]string{}, lo: l.lo, hi: l.done}
	if l.busy {
		im.hi++
	}
	files, err := os.ReadDir(l.state)
	if err != nil {
		l.t.Error(err)
	}
	for _, f := range files {
		b, err := os.ReadFile(filepath.Join(l.state, f.Name()))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			l.t.Error(err)
		}
		im.trust[f.Name()] = string(b)
	}
	if n := len(l.trees); n == 0 || l.trees[n-1].version != version(l.db) {
		l.trees = append(l.trees, readIndex(l.db))
	}
	im.tree = len(l.trees) - 1
	for i, p := range percents {
		im.at = fmt.Sprintf("%s/%d", at, i)
		im.disk = l.disk.after(l.rng(im.at), p)
		im := im
		if p == 100 {
			im.lo = l.done // the process alone died
		}
		l.images = append(l.images, im)
	}
}

// note keeps what can be seen after a command.
func (l *life) note(s string) {
	bare, err := l.see(false)
	if err != nil {
		l.t.Fatal(err)
	}
	l.states, l.bare, l.models = append(l.states, s), append(l.bare, bare), append(l.models, l.model.clone())
}

// run does a script's commands and notes what can be seen after each.
func (l *life) run(script string) {
	for _, cmd := range strings.Split(script, ";") {
		cmd = strings.TrimSpace(cmd)
		l.mu.Lock()
		l.busy = true
		l.mu.Unlock()
		if err := l.do(cmd); err != nil {
			l.t.Fatalf("%s: %v", cmd, err)
		}
		l.mu.Lock()
		l.busy = false
		l.done++
		if isSync(cmd) {
			l.lo = l.done
		}
		l.mu.Unlock()
		synctest.Wait()
		s, err := l.see(true)
		if err != nil {
			l.t.Fatalf("after %s: %v", cmd, err)
		}
		l.note(s)
		got, err := (&machine{Volume: l.v}).dump()
		if want := l.model.dump(); err != nil || got != want {
			l.t.Fatalf("after %s: %v; differs\n%s", cmd, err, diff(want, got))
		}
		time.Sleep(time.Millisecond) // of virtual time: each command has a time of its own
		synctest.Wait()
	}
}

// fingerprint tells whether two images are the same to whoever finds them.
func (im *image) fingerprint(seed maphash.Seed, mode string, trees []*index) uint64 {
	var h maphash.Hash
	h.SetSeed(seed)
	im.disk.fingerprint(&h)
	for _, n := range im.store.Names() {
		h.WriteString(n)
	}
	for _, f := range []string{"trust-0", "trust-1"} {
		h.WriteString(im.trust[f])
	}
	fmt.Fprint(&h, mode, im.lo)
	for _, p := range trees[im.tree].kv {
		h.WriteString(p[0])
		h.WriteString(p[1])
	}
	return h.Sum64()
}
