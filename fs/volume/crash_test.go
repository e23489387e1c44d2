package volume

import (
	"fmt"
	"hash/maphash"
	"maps"
	"os"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/dgraph-io/badger/v4"

	"megafs/crypto"
	"megafs/remote/blob"
	"megafs/remote/vault"
)

// The ways a machine comes back. The tree index is disposable: it may be as it was, older, or gone.
var crashModes = []string{"kept", "gone", "old", "offline"}

// TestP1CrashEnumeration runs scripts on a volume over a real vault and cuts the power at every call to the journal's disk and to the store: before
// it, in the midst of it, after it; with all, nothing or some of what was not synced. The machine then starts with its tree index as it was, an older one,
// or none, and perhaps without the store. It must show a state that was there: the last one that was promised to be durable or a later one,
// to the last byte and time. Then it sends everything, and a new machine must see the same in a vault that verifies. Some machines are cut again while they
// come back.
//
// MEGAFS_CRASH_STATES sets how many states are checked at least, MEGAFS_CRASH_SEED the chances, MEGAFS_CRASH repeats one state.
func TestP1CrashEnumeration(t *testing.T) {
	number := func(env string, def uint64) uint64 {
		if s := os.Getenv(env); s != "" {
			n, err := strconv.ParseUint(s, 10, 64)
			if err != nil {
				t.Fatal(env, err)
			}
			return n
		}
		return def
	}
	want, seed := int(number("MEGAFS_CRASH_STATES", 20_000)), number("MEGAFS_CRASH_SEED", 1)
	defer debug.SetGCPercent(debug.SetGCPercent(400))
	crypto.CheapKDFForTests(t)
	dir := shm(t)
	e := &enumeration{seen: map[uint64]bool{}, fresh: map[uint64]bool{}, hash: maphash.MakeSeed(), seed: seed}
	ring := e.begin(t, dir)
	run := func(name, script string) {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := &crasher{t: t, ring: ring, dir: dir, seed: seed, script: name}
				e.script(c, script)
			})
		})
	}
	if again := os.Getenv("MEGAFS_CRASH"); again != "" {
		f := strings.Fields(again)
		if len(f) != 4 {
			t.Fatal("MEGAFS_CRASH is: seed script cut mode")
		}
		var err error
		if e.seed, err = strconv.ParseUint(f[0], 10, 64); err != nil {
			t.Fatal(err)
		}
		seed, e.only, e.mode = e.seed, strings.Split(f[2], ">"), f[3]
		script := crashScripts[f[1]]
		if g, ok := strings.CutPrefix(f[1], "generated-"); ok {
			n, err := strconv.ParseUint(g, 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			script = generated(n)
		}
		t.Log(script)
		run(f[1], script)
		if e.states == 0 {
			t.Fatal("there is no such state")
		}
		return
	}
	for _, name := range slices.Sorted(maps.Keys(crashScripts)) {
		run(name, crashScripts[name])
	}
	named := e.states
	if testing.Short() {
		want = 0
	}
	for n := seed * 1000; (e.states < want || n < seed*1000+5) && !t.Failed(); n++ {
		run(fmt.Sprint("generated-", n), generated(n))
	}
	t.Logf("seed %d: %d distinct crash states (%d of them of scripts with names), at %d cuts; %d stores looked at by a new machine; %s",
		seed, e.states, named, e.cuts, len(e.fresh), e.counts())
}

// begin makes the vault and the machine that all scripts begin with.
func (e *enumeration) begin(t *testing.T, dir string) *crypto.Keyring {
	home, err := os.MkdirTemp(dir, "")
	if err != nil {
		t.Fatal(err)
	}
	store := blob.Mem()
	ring, _, err := vault.Create(ctx, store, home, crypto.NewSecret([]byte("correct horse battery staple nine")), "", crypto.DefaultKDF)
	if err != nil {
		t.Fatal(err)
	}
	e.first = image{disk: newCrashDisk(), store: store, trust: map[string]string{}}
	for _, f := range []string{"trust-0", "trust-1"} {
		b, err := os.ReadFile(home + "/" + f)
		if err != nil {
			t.Fatal(err)
		}
		e.first.trust[f] = string(b)
	}
	return ring
}

// shm returns a folder for small files that are synced often.
func shm(t *testing.T) string {
	dir, err := os.MkdirTemp("/dev/shm", "megafs-crash-")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// enumeration is what all scripts share.
type enumeration struct {
	first  image
	seed   uint64
	hash   maphash.Seed
	seen   map[uint64]bool
	fresh  map[uint64]bool // stores in which a new machine saw the right state
	states int
	cuts   int
	count  map[string]int
	only   []string // if not empty, the one state to check
	mode   string
}

func (e *enumeration) counts() string { return fmt.Sprint(e.count) }

// script lives a script and checks all images of it.
func (e *enumeration) script(c *crasher, script string) {
	dbs := make([]*badger.DB, 2)
	for i := range dbs {
		db, err := newIndexDB()
		if err != nil {
			c.t.Fatal(err)
		}
		defer db.Close()
		dbs[i] = db
	}
	e.live(c, &e.first, nil, script, newModel(), dbs, 0)
}

// live starts a machine from an image, cuts it at every call while it opens and does the script, and checks what is left each time.
func (e *enumeration) live(c *crasher, from *image, x *index, script string, m *model, dbs []*badger.DB, depth int) {
	l, err := c.start(from, x, dbs[0])
	if err != nil {
		c.t.Fatal(err)
	}
	defer l.close()
	l.model = m
	if depth > 0 {
		l.tapAll() // what the first start may show is not known before it is there
	}
	if err := l.open(false); err != nil {
		c.t.Fatal(err)
	}
	synctest.Wait()
	if depth == 0 {
		s, err := l.see(true)
		if err != nil {
			c.t.Fatal(err)
		}
		l.note(s)
		l.tapAll()
	}
	l.run(script)
	l.tapNone()
	l.close()
	if err := e.abandoned(c, l.images, script, dbs[1]); err != nil {
		c.t.Error(err)
	}
	at := ""
	for i := range l.images {
		im := &l.images[i]
		if im.hi >= len(c.states) {
			im.hi = len(c.states) - 1
		}
		if a, _, _ := strings.Cut(im.at, "/"); a != at {
			at = a
			e.cuts++
		}
		if len(e.only) > 0 {
			if im.at == e.only[depth] {
				e.one(c, im, e.mode, dbs, depth)
			}
			continue
		}
		// Each image comes back with its index, and in one of the other ways.
		rng := c.rng("mode " + im.at)
		if testing.Short() && rng.IntN(20) > 0 {
			continue
		}
		e.one(c, im, "kept", dbs, depth)
		e.one(c, im, crashModes[1+rng.IntN(len(crashModes)-1)], dbs, depth)
		if depth == 0 && rng.IntN(60) == 0 {
			e.one(c, im, "again", dbs, depth)
		}
	}
}

// one checks an image in one mode, unless it was checked before.
func (e *enumeration) one(c *crasher, im *image, mode string, dbs []*badger.DB, depth int) {
	if len(e.only) > depth+1 {
		mode = "again"
	}
	key := im.fingerprint(e.hash, mode, c.trees)
	if e.seen[key] || c.t.Failed() {
		return
	}
	e.seen[key] = true
	if mode == "again" {
		e.again(c, im, dbs, depth)
		return
	}
	e.states++
	if e.count == nil {
		e.count = map[string]int{}
	}
	e.count[mode]++
	if err := e.check(c, im, mode, dbs); err != nil {
		c.t.Errorf("cut at %s, %s: %v\nrepeat with: MEGAFS_CRASH='%d %s %s%s %s' go test ./fs/volume -run TestP1CrashEnumeration",
			im.at, mode, err, e.seed, c.script, c.path, im.at, mode)
	}
}

// again cuts a machine that comes back from a cut and goes on.
func (e *enumeration) again(c *crasher, im *image, dbs []*badger.DB, depth int) {
	x := c.index(im, "old")
	l, err := c.start(im, x, dbs[0])
	if err != nil {
		c.t.Fatal(err)
	}
	err = l.open(false)
	var k int
	if err == nil {
		k, err = l.which(im, true)
	}
	l.close()
	if err != nil {
		return // the same image is checked by itself, and says so better
	}
	d := &crasher{t: c.t, ring: c.ring, dir: c.dir, seed: c.seed, script: c.script, path: c.path + im.at + ">", trees: slices.Clone(c.trees[:im.tree+1])}
	d.states, d.bare, d.models = []string{c.states[k]}, []string{c.bare[k]}, []*model{c.models[k]}
	e.live(d, im, x, "make zz; write zz 0 5000; syncdir; drain", c.models[k].clone(), dbs, depth+1)
}
