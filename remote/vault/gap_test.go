package vault

import (
	"errors"
	"runtime"
	"strings"
	"testing"

	"megafs/remote"
	"megafs/remote/blob"
)

// TestP4_V18EveryGap removes each entry, with all later ones in place. A machine that must come by there stops right before it, read-only, and
// an audit finds that entry and no other.
func TestP4_V18EveryGap(t *testing.T) {
	both(t, func(t *testing.T, on kind) {
		s := newScene(t, on)
		for seq := uint64(1); seq < s.head.Seq; seq++ {
			name := logName(seq)
			good := bytesOf(t, s.store, name)
			s.store.Poke(name, nil)
			for _, machine := range machines {
				loaded, _ := s.meet(t, machine, s.store, t.TempDir())
				if s.looksAt(machine, name) {
					if !errors.Is(loaded, ErrGap) {
						t.Errorf("%s, entry %d: %v", machine, seq, loaded)
					}
				}
			}
			if f := s.audit(t, s.store, t.TempDir()); !found(f, name) {
				t.Errorf("entry %d is missing and no damage: %v", seq, f)
			}
			// Without snapshots, everybody who begins anew comes by.
			e := &evil{Store: s.store, list: func(prefix string, _ func(blob.Info) error) (bool, error) { return prefix == rootPrefix, nil }}
			v := s.machine(freshMachine, e, t.TempDir())
			m := s.sink()
			got, err := v.Load(ctx, remote.Position{}, m)
			if wantErr(t, err, ErrGap); got.Seq != seq-1 || v.Head().Seq != seq-1 || len(m.batches) != int(seq-1) || v.State() == nil {
				t.Errorf("entry %d: at %d, told %d batches", seq, got.Seq, len(m.batches))
			}
			s.store.Poke(name, good)
		}
		// Several in a row, and all but the newest.
		for seq := uint64(2); seq < s.head.Seq; seq++ {
			s.store.Poke(logName(seq), nil)
			v := s.machine(headMachine, s.store, t.TempDir())
			if f := audit(t, v, s.content...); !found(f, logName(seq)) {
				t.Errorf("entries 2 to %d are missing: %v", seq, f)
			}
		}
	})
}

// TestP4_V51EndlessObjects makes one object of each kind five gigabytes long. Nothing of that is read or kept, and each is tampering.
func TestP4_V51EndlessObjects(t *testing.T) {
	for kind, on := range map[string]kind{"mem": mem, "dir": dir} {
		t.Run(kind, func(t *testing.T) { // not beside others: what is measured is all of the process
			names := newScene(t, on).store.Names()
			for i := range names {
				s := newScene(t, on)
				name := s.store.Names()[i]
				if i+1 < len(names) && strings.HasPrefix(names[i+1], name[:3]) {
					continue // the newest of each kind
				}
				big := enormous(t, s.store, name, 5<<30)
				for _, machine := range machines {
					var before, after runtime.MemStats
					runtime.ReadMemStats(&before)
					loaded, read := s.meet(t, machine, big, t.TempDir())
					runtime.ReadMemStats(&after)
					if n := after.TotalAlloc - before.TotalAlloc; n > 8<<20 {
						t.Errorf("%s, %s: %d bytes allocated", machine, name, n)
					}
					switch {
					case strings.HasPrefix(name, "l/"):
						if !errors.Is(loaded, ErrTampered) || !errors.Is(loaded, ErrLimit) {
							t.Errorf("%s, %s: %v", machine, name, loaded)
						}
					case strings.HasPrefix(name, "k/") && machine == midMachine:
						if !errors.Is(loaded, ErrKeyringTampered) || !errors.Is(loaded, ErrLimit) {
							t.Errorf("%s, %s: %v", machine, name, loaded)
						}
					case strings.HasPrefix(name, "o/"):
						// Chunks are read by their place; what follows the last is not looked at.
					case loaded != nil || read != nil:
						t.Errorf("%s, %s: %v, %v", machine, name, loaded, read)
					}
				}
				if f := s.audit(t, big, t.TempDir()); !found(f, name) {
					t.Errorf("%s is no damage: %v", name, f)
				}
			}
		})
	}
}
