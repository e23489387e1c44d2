package vault

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"

	"megafs/crypto"
	"megafs/remote"
)

// masks are what bytes are changed by: the lowest bit, the highest, all.
var masks = []byte{0x01, 0x80, 0xff}

// spoiled calls f with each way to spoil an object a little: each byte changed, each prefix of it, each of some bytes more. Of positions it
// takes every step-th, and of masks one after the other unless all are asked for.
func spoiled(good []byte, step int, all bool, f func(what string, bad []byte)) {
	for i := 0; i < len(good); i += step {
		for k, m := range masks {
			if !all && k != (i/step)%len(masks) {
				continue
			}
			bad := bytes.Clone(good)
			bad[i] ^= m
			f(fmt.Sprintf("byte %d changed by %#02x", i, m), bad)
		}
		f(fmt.Sprintf("%d bytes of it", i), good[:i:i])
	}
	f("all but a byte of it", good[:len(good)-1:len(good)-1])
	for _, b := range []byte{0, 1, 0xff} {
		f(fmt.Sprintf("byte %#02x more", b), append(good[:len(good):len(good)], b))
	}
}

// TestP4_V16V34EveryByte spoils a little, in every way, each kind of small object: keyring, entries of each type, root and part of a
// snapshot. Machines see the true state or an error, and never another state.
func TestP4_V16V34EveryByte(t *testing.T) {
	both(t, func(t *testing.T, on kind) {
		s := newScene(t, on)
		step := 1
		if _, isDir := s.store.(*dirPlace); isDir || testing.Short() {
			step = 13
		}
		state, turn, cases := quickDir(t), 0, 0
		seen := map[string]bool{}
		names := s.store.Names()
		for i := len(names) - 1; i >= 0; i-- { // the newest of each kind
			name := names[i]
			kind := name[:3]
			good := bytesOf(t, s.store, name)
			if seq, ok := number(name, "l/"); ok {
				e, err := openEntry(s.ring.Keys(), seq, good)
				must(t, err)
				kind += fmt.Sprint(e.typ)
			}
			if strings.HasPrefix(name, "o/") || seen[kind] {
				continue
			}
			seen[kind] = true
			spoiled(good, step, step == 1, func(what string, bad []byte) {
				s.store.Poke(name, bad)
				turn++
				cases++
				if s.newer = strings.HasPrefix(name, "k/"); s.newer {
					s.meetKeyring(t, what, bad)
				}
				machine := machines[turn%len(machines)]
				loaded, read := s.meet(t, machine, s.store, state)
				switch {
				case read != nil:
					t.Errorf("%s, %s: content can't be read: %v", name, what, read)
				case strings.HasPrefix(name, "s/") && loaded != nil:
					t.Errorf("%s, %s: the log alone is not enough for %s: %v", name, what, machine, loaded)
				case strings.HasPrefix(name, "l/") && s.looksAt(machine, name) && loaded == nil:
					t.Errorf("%s, %s: taken by %s", name, what, machine)
				}
				if turn%11 == 0 {
					if f := s.audit(t, s.store, state); !found(f, name) {
						t.Errorf("%s, %s: no damage: %v", name, what, f)
					}
				}
			})
			s.store.Poke(name, good)
		}
		if len(seen) != 6 || cases < 6*2*600/step {
			t.Error("kinds of objects:", seen, "cases:", cases)
		}
	})
}

// meetKeyring lets a machine that has only the passphrase, or the copy of the keyring's key, take a spoiled keyring.
func (s *scene) meetKeyring(t *testing.T, what string, bad []byte) {
	t.Helper()
	object, _, err := ReadKeyring(ctx, s.store, "")
	if err != nil || !bytes.Equal(object, bad) {
		t.Errorf("keyring with %s: %d bytes read, %v", what, len(object), err)
	}
	krk := s.ring.KRK()
	defer krk.Wipe()
	_, err = crypto.OpenKeyring(object, krk)
	for _, want := range []error{crypto.ErrKeyringTampered, crypto.ErrKDFLimits, crypto.ErrLimit, crypto.ErrUnsupported, crypto.ErrFormatDowngrade} {
		if errors.Is(err, want) {
			return
		}
	}
	t.Errorf("keyring with %s: %v", what, err)
}

// TestP4_V01V02V06V08EveryByte does the same to content. A chunk is right or refused; what lies outside of it does not count.
func TestP4_V01V02V06V08EveryByte(t *testing.T) {
	both(t, func(t *testing.T, on kind) {
		w, v, _ := begun(t, on)
		c := w.storeContent(v, 1, 3)
		name := contentName(c.ref.Object)
		good := bytesOf(t, w.store, name)
		step := 1
		if _, isDir := w.store.(*dirPlace); isDir || testing.Short() {
			step = 29
		}
		wrong := 0
		spoiled(good, step, false, func(what string, bad []byte) {
			w.store.Poke(name, bad)
			err := c.read(t, v, 0, 1, 0)
			touched := len(bad) < len(good) || !bytes.Equal(bad[crypto.HeaderLen:len(good)], good[crypto.HeaderLen:])
			switch {
			case touched && (!errors.Is(err, ErrTampered) || !remote.Is(err, remote.Integrity)):
				t.Errorf("%s: %v", what, err)
			case !touched && err != nil:
				t.Errorf("%s, which is not read: %v", what, err)
			}
			if wrong++; wrong%97 == 0 || len(bad) > len(good) {
				if f := audit(t, v, c); !found(f, name) {
					t.Errorf("%s: no damage: %v", what, f)
				}
			}
		})
		w.store.Poke(name, good)
		must(t, c.read(t, v, 0, 1, 0))
	})
}
