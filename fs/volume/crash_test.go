package volume

import (
	"context"
	"encoding/binary"
	"errors"
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
	"time"

	"github.com/dgraph-io/badger/v4"

	"megafs/crypto"
	"megafs/remote"
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
	home, err := os.MkdirTemp(dir, "")
	if err != nil {
		t.Fatal(err)
	}
	store := blob.Mem()
	ring, _, err := vault.Create(ctx, store, home, crypto.NewSecret([]byte("correct horse battery staple nine")), "", crypto.DefaultKDF)
	if err != nil {
		t.Fatal(err)
	}
	e := &enumeration{seen: map[uint64]bool{}, fresh: map[uint64]bool{}, hash: maphash.MakeSeed(), seed: seed}
	e.first = image{disk: newCrashDisk(), store: store, trust: map[string]string{}}
	for _, f := range []string{"trust-0", "trust-1"} {
		b, err := os.ReadFile(home + "/" + f)
		if err != nil {
			t.Fatal(err)
		}
		e.first.trust[f] = string(b)
	}
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
	l.disk.tap, l.store.tap = nil, nil
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

// index is the tree index that a mode finds.
func (c *crasher) index(im *image, mode string) *index {
	switch mode {
	case "gone":
		return nil
	case "old":
		return c.trees[c.rng(mode+im.at).IntN(im.tree+1)]
	}
	return c.trees[im.tree]
}

// which says which of the states that an image may show a machine shows.
func (l *life) which(im *image, data bool) (int, error) {
	got, err := l.see(data)
	if err != nil {
		return 0, err
	}
	states := l.states
	if !data {
		states = l.bare
	}
	for k := im.hi; k >= im.lo; k-- {
		if states[k] == got {
			return k, nil
		}
	}
	for k := range states {
		if states[k] == got {
			return 0, fmt.Errorf("state %d is shown; at least %d was promised, and %d was the last", k, im.lo, im.hi)
		}
	}
	return 0, fmt.Errorf("a state is shown that never was; against state %d of %d to %d:\n%s", im.lo, im.lo, im.hi, diff(states[im.lo], got))
}

// check starts a machine from an image and looks whether all is there, then whether all comes to the remote.
func (e *enumeration) check(c *crasher, im *image, mode string, dbs []*badger.DB) error {
	l, err := c.start(im, c.index(im, mode), dbs[0])
	if err == nil && mode == "old" {
		err = l.tearTrust(c.rng("tear " + im.at))
	}
	if err != nil {
		return err
	}
	defer l.close()
	if mode == "offline" {
		l.store.off = remote.E("ask the store", "", remote.Unreachable, errors.New("on purpose"))
	}
	err = l.open(false)
	if mode == "offline" && remote.Is(err, remote.Unreachable) && !c.trees[im.tree].has(im.store) {
		// The index is older than the store, and may be older than the journal. With the store it is another state.
		return nil
	}
	if err != nil {
		return err
	}
	k, err := l.which(im, mode != "offline")
	if err != nil {
		return fmt.Errorf("at the start: %w", err)
	}
	l.store.off = nil
	want := l.states[k]
	if mode == "offline" {
		if s, err := l.see(true); err != nil || s != want {
			return fmt.Errorf("once the store answers: %w\n%s", err, diff(want, s))
		}
	}
	wait, cancel := context.WithTimeout(ctx, time.Minute) // of virtual time
	defer cancel()
	if err := l.v.Drain(wait); err != nil {
		return fmt.Errorf("drain: %w", err)
	}
	if s, err := l.see(true); err != nil || s != want {
		return fmt.Errorf("after all was sent: %w\n%s", err, diff(want, s))
	}
	synctest.Wait() // the round that brought it ends
	if s := l.v.Status(); s.State != "online" || s.LastError != "" {
		return fmt.Errorf("status %+v", s)
	}
	return e.others(c, l.store.MemStore, want, dbs[1])
}

// has reports whether an index is as new as a store's log.
func (x *index) has(s *blob.MemStore) bool {
	log := 0
	for _, n := range s.Names() {
		if strings.HasPrefix(n, "l/") {
			log++
		}
	}
	for _, p := range x.kv {
		if p[0] == "mp" {
			return binary.BigEndian.Uint64([]byte(p[1])) == uint64(log)
		}
	}
	return false
}

// abandoned has a new machine look at the store as each image has it: the one that was cut never comes back. The store has a state that was
// there, but that parts of it may be older where a script lets files be held back.
func (e *enumeration) abandoned(c *crasher, images []image, script string, db *badger.DB) error {
	strict := c.path == "" && !strings.Contains(script, "wait") && !strings.Contains(script, "kick")
	for i := range images {
		im := &images[i]
		key := e.storeKey(im.store, "")
		if e.fresh[key] {
			continue
		}
		e.fresh[key] = true
		s, err := c.look(im.store, db)
		if err == nil && strict && !slices.Contains(c.states[:min(im.hi+1, len(c.states))], s) {
			err = errors.New("a state that never was:\n" + s)
		}
		if err != nil {
			return fmt.Errorf("seed %d, %s: a new machine, when the other was cut at %s%s: %w", e.seed, c.script, c.path, im.at, err)
		}
	}
	return nil
}

func (e *enumeration) storeKey(store *blob.MemStore, want string) uint64 {
	var h maphash.Hash
	h.SetSeed(e.hash)
	for _, n := range store.Names() {
		h.WriteString(n)
	}
	h.WriteString(want)
	return h.Sum64()
}

// others has a new machine look at a store, where it must see what is wanted.
func (e *enumeration) others(c *crasher, store *blob.MemStore, want string, db *badger.DB) error {
	key := e.storeKey(store, want)
	if e.fresh[key] {
		return nil
	}
	e.fresh[key] = true
	s, err := c.look(store, db)
	if err == nil && s != want {
		err = errors.New("differs\n" + diff(want, s))
	}
	if err != nil {
		return fmt.Errorf("a new machine: %w", err)
	}
	return nil
}

// look tells what a new machine sees in a store, and verifies it.
func (c *crasher) look(store *blob.MemStore, db *badger.DB) (string, error) {
	l, err := c.start(&image{disk: newCrashDisk(), store: store}, nil, db)
	if err != nil {
		return "", err
	}
	defer l.close()
	if err := l.open(true); err != nil {
		return "", err
	}
	s, err := l.see(true)
	if err != nil {
		return "", err
	}
	var damages []string
	sum, err := l.va.Verify(ctx, l.v.tree.Referenced, func(d vault.Damage) { damages = append(damages, fmt.Sprint(d)) })
	if err == nil && (len(damages) > 0 || sum.Foreign > 0) {
		err = fmt.Errorf("verify: %v %+v", damages, sum)
	}
	return s, err
}
