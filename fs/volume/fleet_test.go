package volume

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"megafs/crypto"
	"megafs/fs/tree"
	"megafs/remote"
	"megafs/remote/blob"
	"megafs/remote/vault"
)

// sailor is a machine of a fleet on a real vault, which sends and hears what others did while it works, over a way to the store that has trouble, and
// is killed and comes back.
type sailor struct {
	*member
	way    *flaky
	gate   *gate
	va     *vault.Vault
	trust  string // the vault's state folder
	down   bool
	open   []*Handle
	unsure map[uint64]bool // tokens that a power cut may take
	old    string          // a copy of the tree index of some time ago
}

// squadron is a fleet of such.
type squadron struct {
	*fleet
	store blob.Store
	ring  *crypto.Keyring
	all   []*sailor

	removed, cut int // objects and log entries that were collected
}

func newSquadron(t *testing.T, seed uint64, n int) *squadron {
	crypto.CheapKDFForTests(t)
	q := &squadron{store: blob.Mem(), fleet: &fleet{t: t, rng: rand.New(rand.NewPCG(seed, 8)), alive: map[uint64]string{}}}
	first := t.TempDir()
	var err error
	q.ring, _, err = vault.Create(ctx, q.store, first, crypto.NewSecret([]byte("correct horse battery staple nine")), "", crypto.DefaultKDF)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for _, s := range q.all {
			s.stop()
		}
	})
	for i := range n {
		q.join(string(rune('A'+i)), first)
		first = t.TempDir()
	}
	return q
}

// join adds a machine.
func (q *squadron) join(name, trust string) *sailor {
	m := &member{machine: &machine{t: q.t, disk: vfs.NewCrashableMem(), cache: q.t.TempDir()}, f: q.fleet, name: name}
	m.stateDir()
	s := &sailor{member: m, way: &flaky{Store: q.store, rng: rand.New(rand.NewPCG(q.rng.Uint64(), 9))}, trust: trust, down: true, unsure: map[uint64]bool{}}
	settle, max := time.Duration(1+q.rng.IntN(20))*time.Millisecond, time.Duration(20+q.rng.IntN(50))*time.Millisecond
	m.over = func(o *Options) {
		o.Remote, o.Register, o.Settle, o.MaxAge, o.Poll = s.gate, s.va.Register, settle, max, 5*time.Millisecond
		o.LocalStore = len(q.all)%2 == 0
	}
	q.all, q.fleet.all = append(q.all, s), append(q.fleet.all, m)
	s.back(q)
	return s
}

// back opens a machine that is down.
func (s *sailor) back(q *squadron) {
	s.t.Helper()
	va, err := vault.Open(ctx, s.way, vault.Options{StateDir: s.trust, Keyring: q.ring, TrustFirstUse: true, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		s.t.Fatal(err)
	}
	s.va, s.gate = va, &gate{Remote: va}
	s.start()
	s.down = false
}

// stop ends a machine in order.
func (s *sailor) stop() {
	if s.down {
		return
	}
	s.down = true
	for _, h := range s.open {
		h.Close()
	}
	s.open = nil
	s.Volume.Close(ctx)
	s.va.Close()
}

func (s *sailor) copyOf(dir string) string {
	to := s.t.TempDir()
	if err := os.CopyFS(to, os.DirFS(dir)); err != nil {
		s.t.Fatal(err)
	}
	return to
}

// dies ends a machine in the midst of what it does. With its power gone only what was synced stays for sure. The tree index, which nobody syncs for its
// own sake, may be there, be gone, or be as it was some time ago.
func (s *sailor) dies(power bool) {
	percent := 100
	if power {
		percent = s.f.rng.IntN(101)
		for k := range s.unsure {
			delete(s.f.alive, k)
		}
	}
	clear(s.unsure)
	s.way.set(0, 0, true)
	s.gate.mu.Lock()
	s.gate.dead = true // the tree index that is kept must not be newer than the journal
	s.gate.mu.Unlock()
	disk := s.disk.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: percent, RNG: s.f.rng})
	trust := s.copyOf(s.trust)
	s.stop()
	s.disk, s.trust = disk, trust
	fate := "kept"
	switch s.f.rng.IntN(4) {
	case 0:
		fate, s.cache = "lost", s.t.TempDir()
	case 1:
		if s.old != "" {
			fate, s.cache = "old", s.copyOf(s.old)
		}
	}
	s.f.say("%s dies; power cut: %v; tree %s", s.name, power, fate)
}

// act does one thing, or something with an open file. The machine hears nothing new meanwhile.
func (s *sailor) act() {
	s.gate.mu.Lock()
	defer s.gate.mu.Unlock()
	next := s.f.next
	defer func() {
		for k := next + 1; k <= s.f.next; k++ {
			s.unsure[k] = true
		}
	}()
	r := s.f.rng
	if r.IntN(6) > 0 {
		s.member.act()
		return
	}
	if len(s.open) < 3 {
		if _, names := s.look(); len(names) > 0 {
			if x := names[r.IntN(len(names))]; x.typ == remote.File {
				h, err := s.Open(ctx, x.ino, true, false)
				if err != nil {
					s.t.Fatal(err)
				}
				s.f.say("%s opens %s (%d)", s.name, x.path, x.ino)
				s.open = append(s.open, h)
			}
		}
		return
	}
	i := r.IntN(len(s.open))
	h := s.open[i]
	if n, err := s.tree.Node(h.node()); err != nil {
		s.t.Fatalf("%s: an open file is gone: %v\n%s", s.name, err, s.f.told())
	} else if n.Links > 0 {
		s.f.say("%s writes the open file %d", s.name, h.node())
		s.putIn(h, uint64(r.IntN(6)))
	}
	if r.IntN(2) == 0 {
		s.f.say("%s closes %d", s.name, h.node())
		h.Close()
		s.open = append(s.open[:i], s.open[i+1:]...)
	}
}

// collect is what a mount does in the background, with nothing kept of the past. What cannot be done just now is no failure; damage is.
func (q *squadron) collect(s *sailor, grace time.Duration) {
	s.t.Helper()
	c, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	r, err := s.va.Collect(c, vault.GCOptions{
		Grace: grace, Hold: s.Objects, Turn: s.Turn,
		Replica: func() (vault.Replica, error) { return tree.Open(tree.Options{Memory: 8 << 20}) },
	})
	s.f.say("%s collects, grace %v: %d given up, %d removed, %d entries cut: %v", s.name, grace, r.Marked, r.Removed, r.LogPruned, err)
	if remote.Is(err, remote.Integrity) {
		s.t.Fatalf("%s collects: %v\n%s", s.name, err, s.f.told())
	}
	q.removed += r.Removed
	q.cut += int(r.LogPruned)
}

// settle mends all that is broken, lets all machines send and hear everything, and compares them.
func (q *squadron) settle() {
	q.t.Helper()
	q.say("all settle")
	for _, s := range q.all {
		s.way.set(0, 0, false)
		if s.down {
			s.back(q)
		}
		for _, h := range s.open {
			h.Close()
		}
		s.open = nil
	}
	end := time.Now().Add(time.Minute)
	for quiet := 0; quiet < 2; {
		for _, s := range q.all {
			s.drain()
		}
		// All have the newest entry, twice, and nothing to send.
		quiet++
		for _, s := range q.all {
			if d := s.tree.Stat(); d.Inodes+d.Names > 0 || s.tree.Position() != q.all[0].tree.Position() {
				quiet = 0
				s.eng.Kick()
			}
		}
		if time.Now().After(end) {
			for _, s := range q.all {
				q.say("%s at %d has %+v, %s", s.name, s.tree.Position().Seq, s.tree.Stat(), s.Status().LastError)
			}
			q.t.Fatalf("the machines don't come to an end\n%s", q.told())
		}
		time.Sleep(time.Millisecond) // let the engines look; what is waited for is above
	}
	for _, s := range q.all {
		if err := s.va.State(); err != nil {
			q.t.Fatalf("%s takes it for an attack: %v\n%s", s.name, err, q.told())
		}
	}
	q.agree()
}

// log tells what is in the vault.
func (q *squadron) log() string {
	va, err := vault.Open(ctx, q.store, vault.Options{StateDir: q.t.TempDir(), Keyring: q.ring, TrustFirstUse: true, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		return err.Error()
	}
	defer va.Close()
	var l lister
	_, err = va.Load(ctx, remote.Position{}, &l)
	return fmt.Sprint(strings.Join(l, "\n"), "\n", err)
}

// lister is a Sink that writes down what it hears.
type lister []string

func (l *lister) Reset() error { return nil }

func (l *lister) Apply(b remote.Batch) error {
	line := fmt.Sprintf("%d by %x:", b.Pos.Seq, b.Device[:2])
	for _, o := range b.Ops {
		line += fmt.Sprintf(" %d(%d", o.Kind, o.Ino)
		if o.Parent != 0 {
			line += fmt.Sprintf(" %d/%s", o.Parent, o.Name)
		}
		line += ")"
	}
	*l = append(*l, line)
	return nil
}

// TestP2Fleet lets two to four machines with one vault do random things at once, each over a way to the store that is slow, fails, breaks off in the midst,
// loses answers, repeats requests and goes away, and is killed, loses its power or its tree index, and comes back, snapshots and collects garbage. In the end all see the same tree, a new
// machine too; every byte is somewhere that was written and not removed by a machine which saw it; nobody took anything for an attack, and verification finds no
// damage. MEGAFS_FLEET_SECONDS sets how long, MEGAFS_FLEET_SEEDS how many runs, MEGAFS_FLEET_SEED repeats one, as far as time lets it.
func TestP2Fleet(t *testing.T) {
	number := func(name string) uint64 { n, _ := strconv.ParseUint(os.Getenv(name), 10, 64); return n }
	seed, runs, seconds := number("MEGAFS_FLEET_SEED"), number("MEGAFS_FLEET_SEEDS"), number("MEGAFS_FLEET_SECONDS")
	if seed != 0 {
		runs = 1
	}
	if runs == 0 && seconds == 0 {
		seconds = 15
	}
	end := time.Now().Add(time.Duration(seconds) * time.Second)
	for i := uint64(0); i < runs || runs == 0 && time.Now().Before(end); i++ {
		s := seed
		if s == 0 {
			s = rand.Uint64()
		}
		if !t.Run(fmt.Sprintf("seed=%d", s), func(t *testing.T) { fleetRun(t, s) }) {
			return
		}
	}
}

func fleetRun(t *testing.T, seed uint64) {
	q := newSquadron(t, seed, 2+int(seed%3))
	r := q.rng
	defer func() {
		if t.Failed() {
			t.Log(q.log())
		}
	}()
	for range 150 {
		s := q.all[r.IntN(len(q.all))]
		if s.down {
			if r.IntN(6) == 0 {
				s.way.set(0, 0, false) // one that lost its tree has to have the store
				s.back(q)
				q.say("%s is back", s.name)
			}
			continue
		}
		switch k := r.IntN(40); {
		case k < 3:
			percent, slow, away := r.IntN(60), time.Duration(r.IntN(4))*time.Millisecond, r.IntN(3) == 0
			q.say("%s: %d%% trouble, slow %v, away %v", s.name, percent, slow, away)
			s.way.set(percent, slow, away)
		case k < 6:
			q.say("%s: all well", s.name)
			s.way.set(0, 0, false)
		case k < 12:
			s.eng.Kick()
			if r.IntN(2) == 0 {
				time.Sleep(time.Duration(r.IntN(5)) * time.Millisecond) // for variety, not for order
			}
		case k < 14:
			c, cancel := context.WithTimeout(ctx, 200*time.Millisecond)
			err := s.Drain(c)
			cancel()
			q.say("%s drain: %v", s.name, err)
		case k == 14:
			if err := s.SyncDir(ctx, remote.Root); err != nil {
				t.Fatal(err)
			}
			clear(s.unsure)
			q.say("%s sync", s.name)
		case k == 15:
			s.dies(r.IntN(2) == 0)
		case k == 16:
			q.say("%s restarts", s.name)
			s.stop()
			if r.IntN(2) == 0 {
				s.old = s.copyOf(s.cache)
			}
			clear(s.unsure)
			s.way.set(0, 0, false)
			s.back(q)
		case k == 17 && r.IntN(4) == 0:
			q.settle()
			if r.IntN(2) == 0 {
				// All have sent all, so what nobody refers to may go at once.
				q.collect(s, 0)
				q.settle()
			}
		case k == 18:
			// What waits elsewhere may share what is given up here; that it is not removed before is what the grace is for.
			q.collect(s, time.Hour)
		case k == 19:
			q.say("%s asks for a snapshot", s.name)
			s.Snapshot()
		default:
			s.act()
		}
		if t.Failed() {
			return
		}
	}
	q.settle()
	for _, s := range q.all[:2] {
		s.Snapshot()
		q.settle()
	}
	q.collect(q.all[0], 0)
	q.settle()
	q.join("new", t.TempDir())
	q.settle()
	t.Logf("%d objects and %d entries were collected", q.removed, q.cut)
	last := q.all[len(q.all)-1]
	if _, err := last.va.Verify(ctx, last.tree.Referenced, func(d vault.Damage) { t.Error(d) }); err != nil {
		t.Error(err)
	}
}
