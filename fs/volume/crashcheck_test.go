package volume

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/maphash"
	"slices"
	"strings"
	"testing/synctest"
	"time"

	"github.com/dgraph-io/badger/v4"

	"megafs/remote"
	"megafs/remote/blob"
	"megafs/remote/vault"
)

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
		l.store.off.Store(true)
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
	l.store.off.Store(false)
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
