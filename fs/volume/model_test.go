package volume

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"sort"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"megafs/fs/journal"
	"megafs/remote"
	"megafs/remote/remotetest"
)

// thing is an inode of the model.
type thing struct {
	typ    remote.Type
	mode   uint16
	data   []byte
	target string
	xattrs map[string]string
	kids   map[string]*thing
	links  int
}

// model is a file system as plain as can be.
type model struct{ root *thing }

func newModel() *model {
	return &model{&thing{typ: remote.Dir, mode: 0o755, kids: map[string]*thing{}, links: 1}}
}

// clone copies the model with its hard links.
func (m *model) clone() *model {
	seen := map[*thing]*thing{}
	var cp func(t *thing) *thing
	cp = func(t *thing) *thing {
		if c := seen[t]; c != nil {
			return c
		}
		c := *t
		seen[t] = &c
		c.data, c.xattrs = slices.Clone(t.data), maps.Clone(t.xattrs)
		if t.kids != nil {
			c.kids = map[string]*thing{}
			for n, k := range t.kids {
				c.kids[n] = cp(k)
			}
		}
		return &c
	}
	return &model{cp(m.root)}
}

// dump tells everything that can be seen, a line a name.
func (m *model) dump() string {
	var b strings.Builder
	var walk func(path string, t *thing)
	walk = func(path string, t *thing) {
		nlink := t.links
		if t.typ == remote.Dir {
			nlink = 2
			for _, k := range t.kids {
				if k.typ == remote.Dir {
					nlink++
				}
			}
		}
		fmt.Fprintf(&b, "%s %d %o %d %x %q %v\n", path, t.typ, t.mode, nlink, hash(t.data), t.target, sorted(t.xattrs))
		for _, n := range slices.Sorted(maps.Keys(t.kids)) {
			walk(path+"/"+n, t.kids[n])
		}
	}
	walk("", m.root)
	return b.String()
}

func sorted(x map[string]string) []string {
	var out []string
	for k, v := range x {
		out = append(out, k+"="+v)
	}
	sort.Strings(out)
	return out
}

func hash(b []byte) string {
	h := uint64(14695981039346656037)
	for _, c := range b {
		h = (h ^ uint64(c)) * 1099511628211
	}
	return fmt.Sprintf("%d:%016x", len(b), h)
}

// dump tells the same of a volume.
func (b *machine) dump() (string, error) {
	var out strings.Builder
	var walk func(path string, ino remote.Ino) error
	walk = func(path string, ino remote.Ino) error {
		s, err := b.Getattr(ctx, ino)
		if err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		var data []byte
		xs := map[string]string{}
		names, err := b.Listxattr(ctx, ino)
		if err != nil {
			return err
		}
		for _, n := range names {
			v, err := b.Getxattr(ctx, ino, n)
			if err != nil {
				return err
			}
			xs[n] = string(v)
		}
		if s.Type == remote.File {
			data = make([]byte, s.Size)
			n, err := b.read(ctx, b.inner(ino), data, 0)
			if err != nil || n != len(data) {
				return fmt.Errorf("%s: %d %w", path, n, err)
			}
		}
		fmt.Fprintf(&out, "%s %d %o %d %x %q %v\n", path, s.Type, s.Mode, s.Nlink, hash(data), s.Target, sorted(xs))
		if s.Type != remote.Dir {
			return nil
		}
		list, err := b.List(ctx, ino)
		if err != nil {
			return err
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

// machine is a volume whose disk can lose power.
type machine struct {
	t     *testing.T
	rng   *rand.Rand
	store *remotetest.Store
	mem   *remotetest.Mem
	disk  *vfs.MemFS
	cache string // "" : the tree index lies in memory and is gone with each life
	held  []held // files that are open, whether they have names or not
	// between is called with the model as it is between two changes of one step, of which a power cut may leave the first.
	between func()
	*Volume
}

func (b *machine) open() {
	b.t.Helper()
	b.store.SetFail(nil) // a tree that was lost is read again
	v, err := Open(ctx, Options{
		Remote: b.mem, StateDir: "/state", CacheDir: b.cache, JournalSize: 48 << 20, LocalStore: true,
		Settle: time.Duration(b.rng.IntN(4)+1) * time.Millisecond, MaxAge: 20 * time.Millisecond, Poll: -1, Log: slog.New(slog.DiscardHandler),
		JournalOptions: func(o *journal.Options) { o.FS, o.SegmentSize = b.disk, 4<<20 },
	})
	if err != nil {
		b.t.Fatal("open:", err)
	}
	b.Volume = v
}

// stateDir makes the folder of the state, durably.
func (b *machine) stateDir() {
	b.t.Helper()
	if err := b.disk.MkdirAll("/state", 0o700); err != nil {
		b.t.Fatal(err)
	}
	root, err := b.disk.OpenDir("/")
	if err == nil {
		err = root.Sync()
		root.Close()
	}
	if err != nil {
		b.t.Fatal(err)
	}
}

// TestModel does random things to a volume and to a model, with remounts, process deaths, power cuts, lost caches and an unwilling store in between.
// MEGAFS_MODEL_SECONDS sets how long, MEGAFS_MODEL_SEED repeats a run.
func TestModel(t *testing.T) {
	seconds, _ := strconv.Atoi(os.Getenv("MEGAFS_MODEL_SECONDS"))
	if seconds == 0 {
		seconds = 60
	}
	seed, _ := strconv.ParseUint(os.Getenv("MEGAFS_MODEL_SEED"), 10, 64)
	end := time.Now().Add(time.Duration(seconds) * time.Second)
	for round := 0; time.Now().Before(end) && !t.Failed(); round++ {
		s := seed
		if s == 0 {
			s = rand.Uint64()
		}
		t.Run(fmt.Sprintf("seed=%d", s), func(t *testing.T) { modelRun(t, s) })
		if seed != 0 {
			break
		}
	}
}

func modelRun(t *testing.T, seed uint64) {
	rng := rand.New(rand.NewPCG(seed, 1))
	b := &machine{t: t, rng: rng, store: remotetest.NewStore(), disk: vfs.NewCrashableMem()}
	if rng.IntN(2) == 0 {
		b.cache = t.TempDir()
	}
	b.mem = b.store.Open()
	b.stateDir()
	b.open()
	defer func() { b.Volume.Close(ctx) }()
	m := newModel()
	since := []*model{m.clone()} // states since the last one known to be durable
	b.between = func() { since = append(since, m.clone()) }
	check := func(when string) {
		t.Helper()
		got, err := b.dump()
		if err != nil {
			t.Fatalf("%s: %v", when, err)
		}
		if want := m.dump(); got != want {
			t.Fatalf("%s: differs\n%s", when, diff(want, got))
		}
	}
	for step := range 300 {
		switch k := rng.IntN(100); {
		case k < 2:
			t.Log(step, "remount")
			check(fmt.Sprint("step ", step))
			b.letGo()
			if err := b.Volume.Close(ctx); err != nil {
				t.Fatal(err)
			}
			b.open()
			check(fmt.Sprint("step ", step, " remounted"))
		case k < 4:
			// Power cut: what was synced survives, of the rest a prefix.
			t.Log(step, "power cut")
			b.store.SetDeaf(true)
			cut := b.disk.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: rng.IntN(101), RNG: rng})
			b.letGo()
			b.Volume.Close(ctx)
			b.store.SetDeaf(false)
			b.disk = cut
			if b.cache != "" && rng.IntN(2) == 0 {
				b.cache = t.TempDir()
			}
			b.open()
			got, err := b.dump()
			if err != nil {
				t.Fatal("after a power cut:", err)
			}
			found := -1
			for i := len(since) - 1; i >= 0 && found < 0; i-- {
				if since[i].dump() == got {
					found = i
				}
			}
			if found < 0 {
				t.Fatalf("step %d: after a power cut, none of the last %d states; against the newest:\n%s", step, len(since), diff(m.dump(), got))
			}
			m = since[found]
			since = []*model{m.clone()}
		case k < 6:
			kind := []string{"commit", "committed", "store", "load"}[rng.IntN(4)]
			t.Log(step, "fail", kind)
			left := rng.IntN(4)
			b.store.SetFail(func(_ context.Context, call string) error {
				if call == kind && left > 0 {
					left--
					return remote.E(call, "", remote.Unreachable, errors.New("on purpose"))
				}
				return nil
			})
		case k < 8:
			c, cancel := context.WithTimeout(ctx, 30*time.Second)
			t.Log(step, "drain")
			if err := b.Drain(c); err != nil {
				t.Fatal("drain:", err)
			}
			cancel()
		case k < 12:
			if err := b.SyncDir(ctx, remote.Root); err != nil {
				t.Fatal(err)
			}
			since = nil
		default:
			b.step(m)
		}
		since = append(since, m.clone())
	}
	check("end")
	b.letGo()
	b.store.SetFail(nil)
	c, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	if err := b.Drain(c); err != nil {
		t.Fatal("drain:", err)
	}
	b.Volume.Close(ctx)
	// Another machine, from nothing.
	b.mem, b.disk, b.cache = b.store.Open(), vfs.NewCrashableMem(), ""
	b.stateDir()
	b.open()
	check("on a new machine")
}

// step does one thing to both.
func (b *machine) step(m *model) {
	b.t.Helper()
	rng := b.rng
	type at struct {
		dir  *thing
		ino  remote.Ino
		name string
	}
	var dirs []at
	var walk func(t *thing, ino remote.Ino)
	walk = func(t *thing, ino remote.Ino) {
		dirs = append(dirs, at{t, ino, ""})
		for _, n := range slices.Sorted(maps.Keys(t.kids)) {
			if k := t.kids[n]; k.typ == remote.Dir {
				i, err := b.tree.Lookup(ino, n)
				if err != nil {
					b.t.Fatal(err)
				}
				walk(k, i)
			}
		}
	}
	walk(m.root, remote.Root)
	pick := func() at {
		d := dirs[rng.IntN(len(dirs))]
		d.name = string(rune('a' + rng.IntN(6)))
		return d
	}
	want := func(err error, k remote.Kind) bool {
		b.t.Helper()
		if k == remote.Other && err != nil || k != remote.Other && !remote.Is(err, k) {
			b.t.Fatalf("got %v, want %v", err, k)
		}
		return err == nil
	}
	p := pick()
	old := p.dir.kids[p.name]
	ino := remote.Ino(0)
	if old != nil {
		var err error
		if ino, err = b.tree.Lookup(p.ino, p.name); err != nil {
			b.t.Fatal(err)
		}
	}
	switch k := rng.IntN(22); k {
	case 0, 1, 2: // make
		typ := []remote.Type{remote.File, remote.File, remote.Dir, remote.Symlink}[rng.IntN(4)]
		nt := &thing{typ: typ, mode: 0o640, links: 1}
		if typ == remote.Dir {
			nt.kids = map[string]*thing{}
		}
		if typ == remote.Symlink {
			nt.target, nt.mode = "to/"+p.name, 0o777
		}
		kind := remote.Other
		if old != nil {
			kind = remote.Exist
		}
		s, err := b.Make(ctx, p.ino, p.name, typ, 0o640, 0, nt.target, Caller{})
		if want(err, kind) {
			p.dir.kids[p.name] = nt
			b.Forget(s.Ino, 1)
		}
	case 3, 4, 5, 6: // write
		if old == nil || old.typ != remote.File {
			return
		}
		off, n := rng.IntN(80_000), 1+rng.IntN(40_000)
		if rng.IntN(3) == 0 {
			off, n = rng.IntN(100), 1+rng.IntN(200)
		}
		data := pattern(n, rng.IntN(1000))
		b.t.Logf("write inode %d: %d at %d", ino, n, off)
		h, err := b.Open(ctx, ino, true, false)
		want(err, remote.Other)
		_, err = h.WriteAt(ctx, data, uint64(off), false)
		want(err, remote.Other)
		h.Close()
		if need := off + n; need > len(old.data) {
			old.data = append(old.data, make([]byte, need-len(old.data))...)
		}
		copy(old.data[off:], data)
	case 7: // truncate
		if old == nil || old.typ != remote.File {
			return
		}
		size := uint64(rng.IntN(100_000))
		b.t.Logf("truncate inode %d to %d", ino, size)
		_, err := b.Setattr(ctx, ino, SetAttr{Size: &size})
		want(err, remote.Other)
		old.data = append(old.data[:min(len(old.data), int(size))], make([]byte, max(0, int(size)-len(old.data)))...)
	case 8: // punch
		if old == nil || old.typ != remote.File || len(old.data) == 0 {
			return
		}
		off := rng.IntN(len(old.data))
		n := 1 + rng.IntN(60_000)
		b.t.Logf("punch inode %d: %d at %d", ino, n, off)
		h, err := b.Open(ctx, ino, true, false)
		want(err, remote.Other)
		want(h.Allocate(ctx, punchHole|keepSize, uint64(off), uint64(n)), remote.Other)
		h.Close()
		clear(old.data[off:min(len(old.data), off+n)])
	case 9: // remove
		switch {
		case old == nil:
			want(b.Unlink(ctx, p.ino, p.name), remote.NotExist)
		case old.typ == remote.Dir && len(old.kids) > 0:
			want(b.Rmdir(ctx, p.ino, p.name), remote.NotEmpty)
		case old.typ == remote.Dir:
			want(b.Rmdir(ctx, p.ino, p.name), remote.Other)
			delete(p.dir.kids, p.name)
		default:
			want(b.Unlink(ctx, p.ino, p.name), remote.Other)
			old.links--
			delete(p.dir.kids, p.name)
		}
	case 10, 11: // rename
		q := pick()
		flags := []uint32{0, 0, RenameNoReplace, RenameExchange}[rng.IntN(4)]
		err := b.Rename(ctx, p.ino, p.name, q.ino, q.name, flags, Caller{})
		if !want(err, renameKind(p.dir, old, q.dir, q.dir.kids[q.name], flags)) {
			return
		}
		other := q.dir.kids[q.name]
		if other == old {
			return
		}
		if flags == RenameExchange {
			p.dir.kids[p.name], q.dir.kids[q.name] = other, old
			return
		}
		if other != nil {
			other.links--
		}
		delete(p.dir.kids, p.name)
		q.dir.kids[q.name] = old
	case 12: // link
		if old == nil || old.typ == remote.Dir {
			return
		}
		q := pick()
		kind := remote.Other
		if q.dir.kids[q.name] != nil {
			kind = remote.Exist
		}
		_, err := b.Link(ctx, ino, q.ino, q.name)
		if want(err, kind) {
			q.dir.kids[q.name] = old
			old.links++
			b.Forget(ino, 1)
		}
	case 13: // attributes
		if old == nil {
			return
		}
		name := "user." + string(rune('a'+rng.IntN(3)))
		switch rng.IntN(3) {
		case 0:
			mode := uint16(rng.IntN(0o1000))
			_, err := b.Setattr(ctx, ino, SetAttr{Mode: &mode})
			want(err, remote.Other)
			old.mode = mode
		case 1:
			v := strings.Repeat("v", rng.IntN(300))
			want(b.Setxattr(ctx, ino, name, []byte(v), 0), remote.Other)
			if old.xattrs == nil {
				old.xattrs = map[string]string{}
			}
			old.xattrs[name] = v
		case 2:
			kind := remote.NoAttr
			if _, ok := old.xattrs[name]; ok {
				kind = remote.Other
			}
			if want(b.Removexattr(ctx, ino, name), kind) {
				delete(old.xattrs, name)
			}
		}
	case 14, 15, 16: // copy
		q := pick()
		src := q.dir.kids[q.name]
		if old == nil || old.typ != remote.File || src == nil || src.typ != remote.File {
			return
		}
		from, err := b.tree.Lookup(q.ino, q.name)
		want(err, remote.Other)
		b.copyPart(from, src, ino, old)
	case 17: // allocate
		if old == nil || old.typ != remote.File {
			return
		}
		b.allocate(ino, old)
	case 18: // open and write, at the end or after cutting all
		if old == nil || old.typ != remote.File {
			return
		}
		b.appendTo(ino, old)
	case 19: // leave a whiteout
		q := pick()
		err := b.Rename(ctx, p.ino, p.name, q.ino, q.name, RenameWhiteout, Caller{})
		if !want(err, renameKind(p.dir, old, q.dir, q.dir.kids[q.name], 0)) || q.dir.kids[q.name] == old {
			return
		}
		if other := q.dir.kids[q.name]; other != nil {
			other.links--
		}
		p.dir.kids[p.name] = &thing{typ: remote.CharDev, links: 1}
		q.dir.kids[q.name] = old
	case 20, 21: // what is open
		b.useHeld(p.dir, p.ino, p.name, ino, old)
	}
}

// renameKind says how a rename must end.
func renameKind(d1, a, d2, b *thing, flags uint32) remote.Kind {
	var inside func(t, what *thing) bool
	inside = func(t, what *thing) bool {
		if t == what {
			return true
		}
		for _, k := range t.kids {
			if k.typ == remote.Dir && inside(k, what) {
				return true
			}
		}
		return false
	}
	switch {
	case a == nil:
		return remote.NotExist
	case a.typ == remote.Dir && inside(a, d2):
		return remote.Invalid
	case flags == RenameExchange && b == nil:
		return remote.NotExist
	case flags == RenameNoReplace && b != nil:
		return remote.Exist
	case a == b:
		return remote.Other
	case flags == RenameExchange:
		if b.typ == remote.Dir && inside(b, d1) {
			return remote.Invalid
		}
		return remote.Other
	case b == nil:
		return remote.Other
	case a.typ == remote.Dir && b.typ != remote.Dir:
		return remote.NotDir
	case a.typ != remote.Dir && b.typ == remote.Dir:
		return remote.IsDir
	case b.typ == remote.Dir && len(b.kids) > 0:
		return remote.NotEmpty
	}
	return remote.Other
}

func diff(want, got string) string {
	w, g := strings.Split(want, "\n"), strings.Split(got, "\n")
	var b strings.Builder
	for _, l := range w {
		if !slices.Contains(g, l) {
			b.WriteString("- " + l + "\n")
		}
	}
	for _, l := range g {
		if !slices.Contains(w, l) {
			b.WriteString("+ " + l + "\n")
		}
	}
	return b.String()
}
