package volume

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"megafs/fs/journal"
	"megafs/remote"
	"megafs/remote/remotetest"
)

// fleet is some machines that share a store, and what was written on them.
type fleet struct {
	t     *testing.T
	rng   *rand.Rand
	store *remotetest.Store
	all   []*member
	next  uint64
	alive map[uint64]string // tokens that were written and not removed by anybody who saw them, and how they came to be
	trace []string
}

// member is one of them. Nothing of its files is sent before it is asked to.
type member struct {
	*machine
	f    *fleet
	name string
	over func(*Options) // what else, if anything, it is opened with
}

func newFleet(t *testing.T, seed uint64, n int) *fleet {
	f := &fleet{t: t, rng: rand.New(rand.NewPCG(seed, 7)), store: remotetest.NewStore(), alive: map[uint64]string{}}
	for i := range n {
		m := &member{machine: &machine{t: t, store: f.store, mem: f.store.Open(), disk: vfs.NewCrashableMem(), cache: t.TempDir()}, f: f, name: string(rune('A' + i))}
		m.stateDir()
		f.all = append(f.all, m)
		m.start()
	}
	t.Cleanup(func() {
		for _, m := range f.all {
			m.Volume.Close(ctx)
		}
	})
	return f
}

func (m *member) start() {
	m.t.Helper()
	o := Options{
		Remote: m.mem, StateDir: "/state", CacheDir: m.cache, JournalSize: 32 << 20, LocalStore: true, Host: m.name,
		Settle: time.Hour, MaxAge: time.Hour, Poll: time.Nanosecond, Log: slog.New(slog.DiscardHandler),
		JournalOptions: func(o *journal.Options) { o.FS, o.SegmentSize = m.disk, 2<<20 },
	}
	if m.over != nil {
		m.over(&o)
	}
	v, err := Open(ctx, o)
	if err != nil {
		m.t.Fatalf("%s: open: %v\n%s", m.name, err, m.f.told())
	}
	m.Volume = v
}

func (f *fleet) told() string { return strings.Join(f.trace, "\n") }

func (f *fleet) say(format string, a ...any) { f.trace = append(f.trace, fmt.Sprintf(format, a...)) }

// drain sends all.
func (m *member) drain() {
	m.t.Helper()
	c, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	if err := m.Drain(c); err != nil {
		m.t.Fatalf("%s: drain: %v\n%s", m.name, err, m.f.told())
	}
}

// still runs fn while the engine takes nothing in: a base that was begun anew is merged with what was changed here, too.
func (m *member) still(fn func() error) error {
	m.t.Helper()
	c, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	seen := errors.New("nothing was committed") // so nothing is loaded afterwards
	var err error
	if turn := m.eng.Turn(c, func() error { err = fn(); return seen }); turn != seen {
		return turn
	}
	return err
}

// pull makes the machine see all that the store has.
func (m *member) pull() {
	m.t.Helper()
	b := m.f.store.Batches()
	head := b[len(b)-1].Pos.Seq
	for end := time.Now().Add(20 * time.Second); m.tree.Position().Seq < head; time.Sleep(100 * time.Microsecond) {
		m.eng.Kick()
		if time.Now().After(end) {
			m.t.Fatalf("%s: never sees entry %d: %v\n%s", m.name, head, m.Status().LastError, m.f.told())
		}
	}
	if err := m.still(func() error { return nil }); err != nil {
		m.t.Fatal(err)
	}
}

// fsck compares what counts say with what is there.
func (m *member) fsck() {
	m.t.Helper()
	if err := m.still(m.consistent); err != nil {
		m.t.Fatalf("%s: %v\n%s", m.name, err, m.f.told())
	}
}

func (m *member) consistent() error {
	links, subs := map[remote.Ino]uint32{}, map[remote.Ino]uint32{}
	seen := map[remote.Ino]bool{}
	dirs := []remote.Ino{remote.Root}
	for i := 0; i < len(dirs); i++ {
		d := dirs[i]
		if seen[d] {
			return fmt.Errorf("directory %d twice", d)
		}
		seen[d] = true
		list, err := m.List(ctx, d)
		if err != nil {
			return fmt.Errorf("list %d: %w", d, err)
		}
		for _, e := range list {
			if e.Type != remote.Dir {
				links[m.inner(e.Ino)]++
				continue
			}
			subs[d]++
			if n, err := m.tree.Node(e.Ino); err != nil || n.Parent != d {
				return fmt.Errorf("directory %d in %d: %+v %w", e.Ino, d, n, err)
			}
			dirs = append(dirs, e.Ino)
		}
	}
	for _, d := range dirs {
		if n, err := m.tree.Node(d); err != nil || n.Subdirs != subs[d] || n.Links != 1 {
			return fmt.Errorf("directory %d has %d subdirectories: %+v %w", d, subs[d], n, err)
		}
	}
	for i, l := range links {
		if n, err := m.tree.Node(i); err != nil || n.Links != l {
			return fmt.Errorf("inode %d has %d names: %+v %w", i, l, n, err)
		}
	}
	return nil
}

// at is a name on a machine, and the kernel's number of what it leads to.
type at struct {
	dir  remote.Ino
	name string
	ino  remote.Ino
	typ  remote.Type
	path string
}

func (m *member) look() (dirs []at, names []at) {
	dirs = []at{{ino: remote.Root, typ: remote.Dir}}
	for i := 0; i < len(dirs); i++ {
		list, _ := m.List(ctx, dirs[i].ino)
		for _, e := range list {
			x := at{dirs[i].ino, e.Name, e.Ino, e.Type, dirs[i].path + "/" + e.Name}
			names = append(names, x)
			if e.Type == remote.Dir {
				dirs = append(dirs, x)
			}
		}
	}
	return dirs, names
}

const slot = 16

// tokens are what a file holds, by slot.
func (m *member) tokens(ino remote.Ino) []uint64 {
	ino = m.inner(ino)
	n, err := m.tree.Node(ino)
	if err != nil || n.Type != remote.File {
		return nil
	}
	b := make([]byte, n.Size)
	for try := 0; ; try++ {
		k, err := m.read(ctx, ino, b, 0)
		if err == nil && k == len(b) {
			break
		}
		if !remote.Is(err, remote.Unreachable) || try == 50 { // a store that has trouble
			m.t.Fatalf("%s: read %d: %d %v\n%s", m.name, ino, k, err, m.f.told())
		}
	}
	var out []uint64
	for off := 0; off+slot <= len(b); off += slot {
		out = append(out, binary.BigEndian.Uint64(b[off:]))
	}
	return out
}

// gone notes that a machine does away with what it sees.
func (m *member) gone(tokens ...uint64) {
	for _, x := range tokens {
		delete(m.f.alive, x)
	}
}

func (m *member) removes(x at) {
	if n, err := m.tree.Node(m.inner(x.ino)); err == nil && n.Links == 1 {
		m.gone(m.tokens(x.ino)...)
	}
}

// act does one random thing. What may not be is refused.
func (m *member) act() {
	r := m.f.rng
	dirs, names := m.look()
	d := dirs[r.IntN(len(dirs))]
	name := string(rune('a'+r.IntN(6))) + []string{"", ".txt"}[r.IntN(2)]
	made := func(s Stat, err error) {
		if err == nil {
			m.Forget(s.Ino, 1)
		}
	}
	if len(names) == 0 || r.IntN(6) == 0 {
		typ := []remote.Type{remote.File, remote.File, remote.Dir, remote.Dir, remote.Symlink}[r.IntN(5)]
		s, err := m.Make(ctx, d.ino, name, typ, 0o755, 0, map[bool]string{true: "t" + m.name}[typ == remote.Symlink], Caller{})
		m.f.say("%s make %s/%s type %d: %d %v", m.name, d.path, name, typ, s.Ino, err)
		made(s, err)
		if err == nil && typ == remote.File {
			m.put(s.Ino, 0)
		}
		return
	}
	x := names[r.IntN(len(names))]
	switch k := r.IntN(12); k {
	case 0, 1:
		y := names[r.IntN(len(names))]
		if r.IntN(3) == 0 {
			d, name = at{ino: y.dir}, y.name
		}
		if old, err := m.tree.Lookup(d.ino, name); err == nil && old != m.inner(x.ino) {
			before := m.tokens(m.outer(old))
			n, _ := m.tree.Node(old)
			if err := m.Rename(ctx, x.dir, x.name, d.ino, name, 0, Caller{}); err == nil && n.Links == 1 {
				m.f.say("%s rename %s (%d) over %s/%s (%d)", m.name, x.path, x.ino, d.path, name, old)
				m.gone(before...)
			}
			return
		}
		err := m.Rename(ctx, x.dir, x.name, d.ino, name, 0, Caller{})
		m.f.say("%s rename %s (%d) to %s/%s (%d): %v", m.name, x.path, x.ino, d.path, name, d.ino, err)
	case 2:
		y := names[r.IntN(len(names))]
		err := m.Rename(ctx, x.dir, x.name, y.dir, y.name, RenameExchange, Caller{})
		m.f.say("%s exchange %s and %s: %v", m.name, x.path, y.path, err)
	case 3, 4:
		if x.typ == remote.Dir {
			err := m.Rmdir(ctx, x.dir, x.name)
			m.f.say("%s rmdir %s: %v", m.name, x.path, err)
			return
		}
		m.removes(x)
		err := m.Unlink(ctx, x.dir, x.name)
		m.f.say("%s unlink %s (%d): %v", m.name, x.path, x.ino, err)
	case 5:
		s, err := m.Link(ctx, x.ino, d.ino, name)
		m.f.say("%s link %s (%d) to %s/%s: %v", m.name, x.path, x.ino, d.path, name, err)
		made(s, err)
	case 6:
		mode := uint16(r.IntN(0o1000))
		m.Setattr(ctx, x.ino, SetAttr{Mode: &mode})
		m.f.say("%s chmod %s (%d)", m.name, x.path, x.ino)
	case 7:
		if r.IntN(2) == 0 {
			m.Setxattr(ctx, x.ino, fmt.Sprint("user.", r.IntN(2)), []byte(fmt.Sprint(r.IntN(100))), 0)
		} else {
			m.Removexattr(ctx, x.ino, fmt.Sprint("user.", r.IntN(2)))
		}
		m.f.say("%s xattr %s (%d)", m.name, x.path, x.ino)
	case 8:
		if x.typ == remote.File {
			n := uint64(r.IntN(4) * slot)
			if old := m.tokens(x.ino); uint64(len(old)) > n/slot {
				m.gone(old[n/slot:]...)
			}
			m.Setattr(ctx, x.ino, SetAttr{Size: &n})
			m.f.say("%s truncate %s (%d) %d", m.name, x.path, x.ino, n)
		}
	default:
		if x.typ == remote.File {
			m.f.say("%s write %s (%d)", m.name, x.path, x.ino)
			off := uint64(r.IntN(6))
			if r.IntN(10) == 0 {
				off += 8 << 10 // 128 KiB away: stored in objects
			}
			m.put(x.ino, off)
		}
	}
}

// put writes one token, if the file was not removed since it was looked for.
func (m *member) put(ino remote.Ino, at uint64) {
	h, err := m.Open(ctx, ino, true, false)
	if remote.Is(err, remote.NotExist) {
		return
	}
	if err != nil {
		m.t.Fatal(err)
	}
	defer h.Close()
	m.putIn(h, at)
}

// putIn writes one token into an open file.
func (m *member) putIn(h *Handle, at uint64) {
	if old := m.tokens(h.ino); uint64(len(old)) > at {
		m.gone(old[at])
	}
	m.f.next++
	b := make([]byte, slot)
	binary.BigEndian.PutUint64(b, m.f.next)
	if _, err := h.WriteAt(ctx, b, at*slot, false); err != nil {
		m.t.Fatal(err)
	}
	m.f.alive[m.f.next] = fmt.Sprintf("token %d at %d of %d on %s, line %d", m.f.next, at, h.node(), m.name, len(m.f.trace))
}

// again ends a machine without sending anything and starts it.
func (m *member) again() {
	var before string
	var seq remote.Position
	err := m.still(func() (err error) {
		seq = m.tree.Position()
		before, err = m.dump()
		return err
	})
	if err != nil {
		m.t.Fatal(err)
	}
	m.Volume.Close(ctx)
	lost := m.f.rng.IntN(3) == 0
	if lost {
		m.cache = m.t.TempDir()
	}
	m.f.say("%s restarts at %d, tree lost: %v", m.name, seq.Seq, lost)
	m.start()
	if batches := m.f.store.Batches(); batches[len(batches)-1].Pos == seq {
		if after, err := m.dump(); err != nil || after != before {
			m.t.Fatalf("%s: restarted (tree lost: %v): %v\n%s\n%s", m.name, lost, err, diff(before, after), m.f.told())
		}
	}
}

// settle lets all machines send and see everything, and compares them.
func (f *fleet) settle() {
	f.t.Helper()
	f.store.SetFail(nil)
	for range 2 {
		for _, m := range f.all {
			m.drain()
		}
	}
	for _, m := range f.all {
		m.pull()
		m.drain()
	}
	for _, m := range f.all {
		m.pull()
	}
	f.agree()
}

// agree compares all machines, and looks whether something was lost.
func (f *fleet) agree() {
	f.t.Helper()
	want, err := f.all[0].dump()
	if err != nil {
		f.t.Fatalf("%v\n%s", err, f.told())
	}
	for _, m := range f.all {
		m.fsck()
		if st, failed := m.eng.State(); len(failed) > 0 {
			f.t.Fatalf("%s: %v %v\n%s", m.name, st.Last, failed, f.told())
		}
		if got, err := m.dump(); err != nil || got != want {
			f.t.Fatalf("%s differs from %s: %v\n%s\n%s", m.name, f.all[0].name, err, diff(want, got), f.told())
		}
	}
	there := map[uint64]bool{}
	_, names := f.all[0].look()
	for _, x := range names {
		for _, k := range f.all[0].tokens(x.ino) {
			there[k] = true
		}
	}
	for k, how := range f.alive {
		if !there[k] {
			f.t.Errorf("lost: %s", how)
		}
	}
	if f.t.Failed() {
		f.t.Fatalf("\n%s\n%s", want, f.told())
	}
}

// TestP2Merge lets two to four machines do random things to one tree, see each other at random times, and restart in between. In the end all see the
// same, and every byte is somewhere that was written and not removed by a machine which saw it.
// MEGAFS_MERGE_SEEDS sets how many runs, MEGAFS_MERGE_SEED repeats one.
func TestP2Merge(t *testing.T) {
	runs, _ := strconv.Atoi(os.Getenv("MEGAFS_MERGE_SEEDS"))
	if runs == 0 {
		runs = 18
	}
	seed, _ := strconv.ParseUint(os.Getenv("MEGAFS_MERGE_SEED"), 10, 64)
	if seed != 0 {
		runs = 1
	}
	for range runs {
		s := seed
		if s == 0 {
			s = rand.Uint64()
		}
		if !t.Run(fmt.Sprintf("seed=%d", s), func(t *testing.T) { mergeRun(t, s) }) {
			return
		}
	}
}

func mergeRun(t *testing.T, seed uint64) {
	f := newFleet(t, seed, 2+int(seed%3))
	var floor, told atomic.Uint64 // told: of parts of snapshots
	if seed%5 == 0 {              // the log is shortened now and then
		for _, m := range f.all {
			m.over = func(o *Options) {
				o.Remote = &shortened{Remote: o.Remote, floor: &floor, between: func(int) error {
					if n := told.Add(1); (n*n+seed)%97 == 0 {
						return remote.E("read a snapshot", "", remote.Unreachable, errors.New("on purpose"))
					}
					return nil
				}}
			}
			m.Volume.Close(ctx)
			m.start()
		}
	}
	for range 60 {
		m := f.all[f.rng.IntN(len(f.all))]
		switch k := f.rng.IntN(40); {
		case k < 2:
			f.say("%s drain", m.name)
			m.drain()
		case k < 4:
			f.say("%s pull", m.name)
			m.pull()
		case k == 4:
			m.again()
		case k == 5:
			f.say("the next answer to a commit is lost")
			var lost atomic.Bool // asked by the machines' goroutines
			f.store.SetFail(func(_ context.Context, call string) error {
				if call == "committed" && !lost.Swap(true) {
					return remote.E(call, "", remote.Unreachable, errors.New("on purpose"))
				}
				return nil
			})
		case k == 6:
			f.say("all settle")
			f.settle()
		case k < 9 && seed%5 == 0:
			all := f.store.Batches()
			floor.Store(all[len(all)-1].Pos.Seq)
			f.say("the log is shortened to %d", floor.Load())
		default:
			m.act()
		}
		m.fsck()
	}
	f.settle()
}
