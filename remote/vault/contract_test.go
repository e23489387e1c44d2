package vault

import (
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"megafs/crypto"
	"megafs/remote"
)

// TestP4_V27IgnoredCondition: the vault was brought to a store that overwrites what is there. A machine that comes to it reads, and is refused its first
// commit before any; where the condition is kept it is asked for once, and then never again.
func TestP4_V27IgnoredCondition(t *testing.T) {
	both(t, func(t *testing.T, on kind) {
		w, a, pos := begun(t, on)
		pos = commits(t, a, pos, 1, 3)
		state := t.TempDir()
		b := w.open(w.store, state)
		w.give(b, &overwriting{w.store})
		before := w.store.Names()
		_, got := w.load(b, remote.Position{})
		for range 2 {
			_, err := b.Register(ctx, got, 2)
			if !errors.Is(err, ErrStoreContract) || !remote.Is(err, remote.ReadOnly) {
				t.Fatal(err)
			}
		}
		if now := w.store.Names(); strings.Join(now, " ") != strings.Join(before, " ") {
			t.Fatal("it changed what is there:", now)
		}
		if i := b.Info(); got != pos || i.Violation != "" || i.DeviceNo != 0 {
			t.Fatal(got, i)
		}
		probes := &evil{Store: w.store}
		var mu sync.Mutex
		n := 0
		probes.put = func(name string, _ []byte) (bool, error) {
			mu.Lock()
			defer mu.Unlock()
			if strings.HasPrefix(name, "probe/") {
				n++
			}
			return false, nil
		}
		w.give(b, probes)
		got, err := b.Register(ctx, got, 2)
		must(t, err)
		if n == 0 {
			t.Fatal("it did not ask")
		}
		must(t, b.Close())
		n = 0
		b = w.open(w.store, state)
		w.give(b, probes)
		w.load(b, got)
		commits(t, b, got, 1, 2)
		if n > 0 {
			t.Fatal("it asked again")
		}
	})
}

// TestP4_V49OtherFormats: each byte that says of what format something is, made less or more. All of it is sealed but for the keyring's and the sealed
// objects' own headers, so what comes of it is ErrTampered or, where one who holds the keys may have written it, ErrUnsupported, and nothing is tried another way.
func TestP4_V49OtherFormats(t *testing.T) {
	both(t, func(t *testing.T, on kind) {
		w, a, pos := begun(t, on)
		pos = w.snapshot(a, pos)
		entry, keys := bytesOf(t, w.store, logName(pos.Seq)), w.ring.Keys()
		for at := range 6 { // the mark, the class and the suite
			for _, by := range []int{-1, 1, 0x80} {
				b := append([]byte(nil), entry...)
				b[at] += byte(by)
				if _, err := openEntry(keys, pos.Seq, b); !errors.Is(err, ErrTampered) && !errors.Is(err, ErrUnsupported) {
					t.Error(at, by, err)
				}
			}
		}
		body, _, err := keys.Open(crypto.ClassLog, u64(pos.Seq), entry)
		must(t, err)
		for _, version := range []uint16{0, 2, 0xffff} {
			binary.BigEndian.PutUint16(body, version)
			sealed, _ := keys.Seal(crypto.ClassLog, u64(pos.Seq), body)
			if _, err := openEntry(keys, pos.Seq, sealed); !errors.Is(err, ErrUnsupported) {
				t.Error(version, err)
			}
			// A machine that meets it stops there and does not go around it.
			w.store.Poke(logName(pos.Seq), sealed)
			for _, from := range []remote.Position{{}, pos} {
				m := w.sink()
				if got, err := w.open(w.store, w.state).Load(ctx, from, m); err == nil || got.Seq >= pos.Seq && from.Seq == 0 {
					t.Error(version, from.Seq, got, err)
				}
			}
			w.store.Poke(logName(pos.Seq), entry)
		}
		// The keyring's own, in the clear.
		ring, _, err := ReadKeyring(ctx, w.store, "")
		must(t, err)
		for _, at := range []int{4, 6} {
			for version, want := range map[uint16]error{0: crypto.ErrFormatDowngrade, 2: crypto.ErrUnsupported, 0xffff: crypto.ErrUnsupported} {
				b := append([]byte(nil), ring...)
				binary.BigEndian.PutUint16(b[at:], version)
				if _, err := crypto.ReadKeyringHeader(b); !errors.Is(err, want) {
					t.Error(at, version, err)
				}
			}
		}
	})
}

// TestP4_V70WrongClocks: two machines whose clocks are decades off, and jump to and fro between any two commits. Times may be odd; nobody sees a rollback or a fork, and
// nothing is lost.
func TestP4_V70WrongClocks(t *testing.T) {
	both(t, func(t *testing.T, on kind) {
		w, a, _ := begun(t, on)
		b, pos, state := w.second()
		_, apos := w.load(a, remote.Position{})
		r := rand.New(rand.NewPCG(7, 70))
		var clocks [2]clock
		machines, at := []*Vault{a, b}, []remote.Position{apos, pos}
		for i, v := range machines {
			clocks[i].t = time.Unix(1.7e9, 0)
			v.o.Clock = clocks[i].now
		}
		const decade = 10 * 365 * 24 * time.Hour
		for n := range 60 {
			i := r.IntN(2)
			clocks[i].move(time.Duration(r.Int64N(int64(2*decade))) - decade)
			_, at[i] = w.load(machines[i], at[i])
			at[i] = commits(t, machines[i], at[i], n, 1)
			if n%20 == 10 {
				at[i] = w.snapshot(machines[i], at[i])
			}
		}
		for _, v := range append(machines, w.open(w.store, t.TempDir())) {
			m, got := w.load(v, remote.Position{})
			if nodes := factsOf(m.ops); len(nodes) < 60 || got.Seq < 60 || v.Info().Violation != "" {
				t.Fatal(len(nodes), got, v.Info())
			}
		}
		must(t, b.Close())
		c := w.open(w.store, state)
		if _, got := w.load(c, at[1]); c.Info().Violation != "" || got.Seq < at[1].Seq {
			t.Fatal(c.Info())
		}
	})
}
