package vault

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"megafs/crypto"
	"megafs/remote"
)

// poisons are ways to damage an object; other is another one of its kind.
var poisons = map[string]func(r *rand.Rand, b, other []byte) []byte{
	"a bit":           func(r *rand.Rand, b, _ []byte) []byte { b[r.IntN(len(b))] ^= 1 << r.IntN(8); return b },
	"a bit in front":  func(r *rand.Rand, b, _ []byte) []byte { b[r.IntN(48)] ^= 1 << r.IntN(8); return b },
	"a run of zeros":  func(r *rand.Rand, b, _ []byte) []byte { clear(b[len(b)-20:]); return b },
	"all zeros":       func(_ *rand.Rand, b, _ []byte) []byte { return make([]byte, len(b)) },
	"cut":             func(r *rand.Rand, b, _ []byte) []byte { return b[:r.IntN(len(b))] },
	"emptied":         func(*rand.Rand, []byte, []byte) []byte { return []byte{} },
	"extended":        func(r *rand.Rand, b, _ []byte) []byte { return append(b, make([]byte, 1+r.IntN(40000))...) },
	"doubled":         func(_ *rand.Rand, b, _ []byte) []byte { return append(b, b...) },
	"another":         func(_ *rand.Rand, _, other []byte) []byte { return other },
	"gone":            func(*rand.Rand, []byte, []byte) []byte { return nil },
	"of other things": func(r *rand.Rand, b, _ []byte) []byte { return bytes.Repeat([]byte{byte(r.Uint32()) | 1}, len(b)) },
}

// poison damages an object, and reports false when that way changes nothing.
func (s *scene) poison(r *rand.Rand, way, name string) bool {
	own := bytesOf(s.t, s.store, name)
	var others []string
	for _, n := range s.store.Names() {
		if n[:3] == name[:3] && n != name {
			others = append(others, n)
		}
	}
	other := own
	if len(others) > 0 {
		other = bytesOf(s.t, s.store, others[r.IntN(len(others))])
	}
	bad := poisons[way](r, bytes.Clone(own), other)
	if bytes.Equal(bad, own) && bad != nil {
		return false
	}
	s.store.Poke(name, bad)
	return true
}

// hides reports whether damage to some objects keeps an audit from knowing of another one: a snapshot is known by the entry after its state, and
// its parts by its root.
func hides(damaged map[string]bool, name string) bool {
	if !strings.HasPrefix(name, "s/") {
		return false
	}
	for d := range damaged {
		if d != name && (strings.HasPrefix(d, "l/") || strings.HasPrefix(d, rootPrefix)) {
			return true
		}
	}
	return false
}

// TestP4_V72Poisoned damages each object in each way, and then several at once. An audit names every one.
func TestP4_V72Poisoned(t *testing.T) {
	both(t, func(t *testing.T, on kind) {
		seed := rand.Uint64()
		r := rand.New(rand.NewPCG(seed, 72))
		s := newScene(t, on)
		clean := s.store.Copy()
		names := clean.Names()
		state := quickDir(t)
		for _, name := range names {
			for way := range poisons {
				if !s.poison(r, way, name) {
					continue
				}
				if f := s.audit(t, s.store, state); !found(f, name) {
					t.Errorf("seed %d: %s of %s is no damage: %v", seed, way, name, f)
				}
				s.store.Poke(name, bytesOf(t, clean, name))
			}
		}
		for range 60 {
			damaged := map[string]bool{}
			for range 2 + r.IntN(4) {
				name := names[r.IntN(len(names))]
				for way := range poisons {
					if _, err := s.store.Size(ctx, name); err == nil && !damaged[name] && s.poison(r, way, name) {
						damaged[name] = true
					}
					break
				}
			}
			f := s.audit(t, s.store, state)
			for name := range damaged {
				if !found(f, name) && !hides(damaged, name) {
					t.Errorf("seed %d: of %v, %s is not found: %v", seed, damaged, name, f)
				}
			}
			for name := range damaged {
				s.store.Poke(name, bytesOf(t, clean, name))
			}
		}
		if f := s.audit(t, s.store, state); len(f) > 0 {
			t.Error("healed, and still:", f)
		}
	})
}

// history is what some machines do to a vault, all of it honest, with crashes.
type history struct {
	*world
	r        *rand.Rand
	machines []*Vault
	states   []string
	at       []remote.Position
	told     []*memory
	next     int
	content  []stored
	pass     int
}

func (h *history) join() {
	state := h.t.TempDir()
	v := h.open(h.store, state)
	m := h.sink()
	pos, err := v.Load(ctx, remote.Position{}, m)
	must(h.t, err)
	pos, err = v.Register(ctx, pos, uint32(len(h.machines)+2))
	must(h.t, err)
	h.machines, h.states = append(h.machines, v), append(h.states, state)
	h.at, h.told = append(h.at, pos), append(h.told, m)
}

// catchUp makes machine i know everything.
func (h *history) catchUp(i int) {
	var err error
	h.told[i].at = h.at[i] // of its own commits it is not told
	h.at[i], err = h.machines[i].Load(ctx, h.at[i], h.told[i])
	must(h.t, err)
}

func (h *history) step() {
	i := h.r.IntN(len(h.machines))
	v := h.machines[i]
	ops := []remote.Op{}
	for range 1 + h.r.IntN(5) {
		h.next++
		ops = append(ops, node(h.next), remote.Op{Kind: remote.OpLink, Parent: remote.Root, Ino: node(h.next).Ino, Name: fmt.Sprint(h.next)})
		if len(h.content) > 0 && h.r.IntN(3) == 0 {
			c := h.content[h.r.IntN(len(h.content))]
			ops = append(ops, remote.Op{Kind: remote.OpExtent, Ino: node(h.next).Ino, Extent: remote.Extent{Len: uint64(len(c.want)), Ref: c.ref}})
		}
	}
	var err error
	switch h.r.IntN(9) {
	case 0: // without looking: another may have been first
		var pos remote.Position
		if pos, err = v.Commit(ctx, h.at[i], ops); err == nil {
			h.at[i] = pos
		} else if remote.Is(err, remote.Conflict) {
			err = nil
		}
	case 1:
		h.content = append(h.content, h.storeContent(v, 1+h.r.IntN(3), h.next))
	case 2: // content that nobody will refer to, as a crash leaves it
		h.storeContent(v, 1, h.next)
	case 3:
		h.catchUp(i)
		h.at[i] = h.snapshot(v, h.at[i])
	case 4: // a snapshot that nobody announces, and one half of it
		h.catchUp(i)
		h.give(v, &evil{Store: h.store, put: func(n string, _ []byte) (bool, error) {
			return strings.HasPrefix(n, "l/") || strings.HasPrefix(n, rootPrefix) && h.r.IntN(2) == 0, remote.E("put", n, remote.Unreachable, nil)
		}})
		v.Snapshot(ctx, h.at[i], func(yield func(remote.Op) error) error { return yield(node(1)) })
		h.give(v, h.store)
	case 5:
		if h.pass++; h.pass > 3 {
			break
		}
		for k := range h.machines {
			h.catchUp(k)
		}
		object, next, rerr := h.ring.Repass(crypto.NewSecret([]byte(fmt.Sprint(passphrase, h.pass))), crypto.DefaultKDF)
		must(h.t, rerr)
		h.at[i], err = v.AddKeyring(ctx, h.at[i], object, next)
		h.ring = next
	case 6: // a machine restarts
		must(h.t, v.Close())
		h.machines[i] = h.open(h.store, h.states[i])
		h.catchUp(i)
	case 7: // a batch of several parts, and the machine dies after the first; sometimes
		h.catchUp(i)
		half := len(ops) / 2
		parts := append(split(ops[:half+1]), split(ops[half+1:])...)
		for k, p := range parts {
			p.part, p.parts = uint16(k), uint16(len(parts))
		}
		v.commitMu.Lock()
		h.at[i], err = v.commit(ctx, h.at[i], parts)
		v.commitMu.Unlock()
	default:
		h.catchUp(i)
		h.at[i], err = v.Commit(ctx, h.at[i], ops)
	}
	must(h.t, err)
}

// TestP4_V72Clean audits a hundred vaults that honest machines made and used. None has any damage.
func TestP4_V72Clean(t *testing.T) {
	both(t, func(t *testing.T, on kind) {
		n := 92
		if w, ok := on(t).(*dirPlace); ok {
			w.Close()
			n = 8
		}
		seed := rand.Uint64()
		entries, snapshots, garbage := uint64(0), 0, 0
		for i := range n {
			h := &history{world: newWorld(t, on), r: rand.New(rand.NewPCG(seed, uint64(i)))}
			for range 1 + h.r.IntN(3) {
				h.join()
			}
			for range 10 + h.r.IntN(20) {
				h.step()
			}
			h.store.Poke("leftover/of/another", []byte("program")) // a foreign name is none of ours
			// By one of those machines, and by one that has only the passphrase.
			h.catchUp(0)
			for _, v := range []*Vault{h.machines[0], h.open(h.store, t.TempDir())} {
				_, err := v.Load(ctx, remote.Position{}, h.sink())
				must(t, err)
				sum, err := v.Verify(ctx, func(yield func(remote.Extent) error) error {
					for _, c := range h.content {
						if err := yield(remote.Extent{Len: uint64(len(c.want)), Ref: c.ref}); err != nil {
							return err
						}
					}
					return nil
				}, func(d Damage) { t.Errorf("seed %d, vault %d: %v", seed, i, d) })
				must(t, err)
				if sum.Foreign != 1 || sum.Objects != len(h.content) || sum.Entries < 2 {
					t.Errorf("seed %d, vault %d: %+v", seed, i, sum)
				}
				entries, snapshots, garbage = entries+sum.Entries, snapshots+sum.Snapshots, garbage+sum.Garbage
			}
		}
		if snapshots == 0 || garbage == 0 || entries < uint64(20*n) {
			t.Errorf("seed %d: too little happened: %d entries, %d snapshots, %d leftovers", seed, entries, snapshots, garbage)
		}
	})
}

// TestP4_V72Forks: an audit by a machine that remembers the head finds another entry in its place, and a keyring's copy under another number.
func TestP4_V72Forks(t *testing.T) {
	both(t, func(t *testing.T, on kind) {
		w, a, _ := begun(t, on)
		b, pos, _ := w.second()
		w.load(a, remote.Position{})
		fork := w.store.Copy()
		mine := commits(t, a, pos, 1, 1)
		w.give(b, fork)
		commits(t, b, pos, 2, 1)
		w.store.Poke(logName(mine.Seq), bytesOf(t, fork, logName(mine.Seq)))
		if f := audit(t, a); len(f) != 1 || f[0].Object != logName(mine.Seq) {
			t.Error("a fork at the head:", f)
		}
		w, a, _ = begun(t, on)
		w.store.Poke(keyringName(7), bytesOf(t, w.store, keyringName(1)))
		if f := audit(t, a); len(f) != 1 || f[0].Object != keyringName(7) {
			t.Error("a copy of the keyring:", f)
		}
	})
}
