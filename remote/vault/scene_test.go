package vault

import (
	"errors"
	"fmt"
	"testing"

	"megafs/crypto"
	"megafs/remote"
	"megafs/remote/blob"
)

// scene is a vault with objects of each kind, what is true of it, and machines that knew it at some time.
type scene struct {
	*world
	head    remote.Position
	facts   map[string]string // the state at head
	content []stored
	know    map[string]knowledge
	newer   bool // what was tampered with may look as if a newer megafs had made it: the version in the clear part of a keyring
}

// knowledge is what a machine remembers: its trust file, its keyring, and where its tree is.
type knowledge struct {
	trust trust
	ring  *crypto.Keyring
	at    remote.Position
}

// The machines of a scene.
const (
	freshMachine = "fresh"  // has nothing but the keys
	midMachine   = "behind" // knew the vault before its newest keyring and snapshot
	headMachine  = "current"
	treeless     = "current, without its tree"
)

var machines = []string{freshMachine, midMachine, headMachine, treeless}

func newScene(t testing.TB, on kind) *scene {
	t.Helper()
	w, v, pos := begun(t, on)
	s := &scene{world: w, know: map[string]knowledge{}}
	s.content = []stored{w.storeContent(v, 1, 3), w.storeContent(v, 2, 5)}
	knows := func() knowledge { return knowledge{*v.trust, v.keyring(), pos} }
	first := *v.fresh()
	commit := func(i int) {
		t.Helper()
		c := s.content[i%2]
		ino := node(i).Ino
		var err error
		pos, err = v.Commit(ctx, pos, []remote.Op{
			node(i), {Kind: remote.OpLink, Parent: remote.Root, Ino: ino, Name: fmt.Sprint(canary, i)},
			{Kind: remote.OpExtent, Ino: ino, Extent: remote.Extent{Len: uint64(len(c.want)), Ref: c.ref}},
		})
		must(t, err)
	}
	commit(1)
	commit(2)
	pos = w.snapshot(v, pos)
	commit(3)
	behind := knows()
	behind.trust.Device, behind.trust.Number, behind.trust.Own = v.fresh().Device, 7, link{}
	s.know[midMachine] = behind
	object, next := repassed(t, w.ring)
	var err error
	pos, err = v.AddKeyring(ctx, pos, object, next)
	must(t, err)
	w.ring = next
	commit(4)
	pos = w.snapshot(v, pos)
	commit(5)
	s.head = pos
	s.know[headMachine] = knows()
	s.know[treeless] = knowledge{*v.trust, v.keyring(), remote.Position{}}
	first.Number, first.Probed = 8, true // or it would not even try to commit
	first.Keyring = link{next.Generation(), next.Hash()}
	s.know[freshMachine] = knowledge{first, next, remote.Position{}}
	m, _ := w.load(v, remote.Position{})
	s.facts = factsOf(m.ops)
	must(t, v.Close())
	return s
}

// factsOf says what some Ops come to: for each key the last one counts.
func factsOf(ops []remote.Op) map[string]string {
	facts := map[string]string{}
	for i := range ops {
		o := &ops[i]
		key := fmt.Sprint(o.Kind, o.Parent, o.Name, o.Extent.Off, o.Number)
		if o.Kind != remote.OpLink {
			key += fmt.Sprint(o.Ino)
		}
		facts[key] = string(encoded(ops[i : i+1]))
	}
	return facts
}

// machine returns one of the machines, met with a store.
func (s *scene) machine(name string, store blob.Store, stateDir string) *Vault {
	k := s.know[name]
	o := s.options(stateDir)
	o.Keyring = k.ring
	v := newVault(store, o)
	t := k.trust
	v.trust, v.snap = &t, t.Snap
	s.give(v, store)
	return v
}

// meet lets a machine load from a store that was tampered with and read all content. It ends at the head with the true state, or stands still
// before the damage with an integrity error, read-only. It returns that error, and the first one of reading.
func (s *scene) meet(t testing.TB, name string, store blob.Store, stateDir string) (loaded, read error) {
	t.Helper()
	v, from := s.machine(name, store, stateDir), s.know[name].at
	before := v.trust.Head
	m := s.sink()
	m.at = from
	got, err := v.Load(ctx, from, m)
	switch {
	case err == nil && got != s.head:
		t.Errorf("%s: ends at entry %d", name, got.Seq)
	case err == nil && from.Seq == 0:
		told := factsOf(m.ops)
		for k, f := range s.facts {
			if told[k] != f {
				t.Errorf("%s: told another state", name)
				break
			}
		}
		if len(told) != len(s.facts) {
			t.Errorf("%s: told %d facts, there are %d", name, len(told), len(s.facts))
		}
	case s.newer && errors.Is(err, ErrUnsupported) && remote.Is(err, remote.NotSupported):
	case err != nil:
		if !remote.Is(err, remote.Integrity) {
			t.Errorf("%s: not told as an integrity error: %v", name, err)
		}
		if v.State() == nil {
			t.Errorf("%s: not read-only after %v", name, err)
		}
		if len(m.ops) > 0 && got.Seq < before.Seq || got.Seq == 0 && len(m.ops) > 0 {
			t.Errorf("%s: left with the state of entry %d, and knew %d; %v", name, got.Seq, before.Seq, err)
		}
		if _, cerr := v.Commit(ctx, got, []remote.Op{node(99)}); !remote.Is(cerr, remote.ReadOnly) {
			t.Errorf("%s: commits after %v: %v", name, err, cerr)
		}
	}
	if v.trust.Head.Seq < before.Seq || v.trust.Head.Seq == before.Seq && v.trust.Head != before {
		t.Errorf("%s: went back to entry %d", name, v.trust.Head.Seq)
	}
	return err, s.readAll(t, v)
}

// readAll reads all content, chunk by chunk.
func (s *scene) readAll(t testing.TB, v *Vault) (first error) {
	t.Helper()
	for _, c := range s.content {
		for i := range int(c.ref.Chunks) {
			err := c.read(t, v, i, 1, i)
			if err != nil && (!errors.Is(err, ErrTampered) && !errors.Is(err, ErrMissing) || !remote.Is(err, remote.Integrity)) {
				t.Error("reading:", err)
			}
			if first == nil {
				first = err
			}
		}
	}
	return first
}

// audit is what megafs vault verify does, on a machine that knows the head.
func (s *scene) audit(t testing.TB, store blob.Store, stateDir string) []Damage {
	t.Helper()
	v := s.machine(treeless, store, stateDir)
	_, err := v.Load(ctx, remote.Position{}, s.sink())
	found := audit(t, v, s.content...)
	if err != nil {
		found = append(found, Damage{"state", err.Error()})
	}
	return found
}

// found reports whether an audit names an object.
func found(list []Damage, object string) bool {
	for _, d := range list {
		if d.Object == object {
			return true
		}
	}
	return false
}
