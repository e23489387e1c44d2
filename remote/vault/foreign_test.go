package vault

import (
	"bytes"
	"strings"
	"testing"
)

// TestP4_V14V15V17Foreign puts each object of the vault, and each of another one with the same passphrase, into each place of the vault, as it is and
// with its class and id made to fit.
func TestP4_V14V15V17Foreign(t *testing.T) {
	both(t, func(t *testing.T, on kind) {
		s, other := newScene(t, on), newScene(t, on)
		state, turn := quickDir(t), 0
		for _, name := range machines {
			if loaded, read := s.meet(t, name, s.store, state); loaded != nil || read != nil {
				t.Fatal(name, loaded, read)
			}
		}
		for _, place := range s.store.Names() {
			own := bytesOf(t, s.store, place)
			put := func(from string, b []byte) {
				if bytes.Equal(b, own) {
					return
				}
				s.store.Poke(place, b)
				turn++
				name := machines[turn%len(machines)]
				loaded, read := s.meet(t, name, s.store, state)
				switch {
				case strings.HasPrefix(place, "o/") && (loaded != nil || read == nil):
					t.Errorf("%s: %s in the place of %s: %v, read: %v", name, from, place, loaded, read)
				case strings.HasPrefix(place, "l/") && s.looksAt(name, place) && loaded == nil:
					t.Errorf("%s: %s is taken in the place of %s", name, from, place)
				}
				if turn%3 == 0 {
					if f := s.audit(t, s.store, state); !found(f, place) {
						t.Errorf("%s in the place of %s is no damage: %v", from, place, f)
					}
				}
			}
			kinds := map[string]bool{}
			for of, from := range map[string]*scene{"": s, "another vault's ": other} {
				for _, n := range from.store.Names() {
					if kind := n[:3]; of == "" && n == place || of != "" && kinds[kind] {
						continue
					} else if of != "" {
						kinds[kind] = true
					}
					o := bytesOf(t, from.store, n)
					put(of+n, o)
					if len(o) > 48 && !strings.HasPrefix(n, "k/") && !strings.HasPrefix(place, "k/") {
						o[4] = own[4] // the class
						copy(o[16:48], own[16:48])
						put(of+n+", relabelled", o)
					}
				}
			}
			s.store.Poke(place, own)
		}
	})
}

// looksAt reports whether a machine's load must come by an entry: those that it knew already are not read again, except for the newest.
func (s *scene) looksAt(machine, name string) bool {
	seq, _ := number(name, "l/")
	from := s.know[machine].trust.Head.Seq
	if machine == freshMachine || machine == treeless {
		// It begins at the newest snapshot, with the entry that announces that.
		from = s.head.Seq - 1
	}
	return seq >= from
}
