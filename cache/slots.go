package cache

import (
	"hash/maphash"
	"math/bits"

	"megafs/remote"
)

// runKey names a run.
type runKey struct {
	object remote.ObjectID
	run    uint8 // the first chunk's number divided by runChunks
}

// slot is the record of a slot. Bit i of have, busy and seen is the run's chunk i.
type slot struct {
	key   runKey
	gen   uint32 // counts what was taken away: a reader that began before must not judge what it read
	have  uint8  // chunks that are there; 0 and not busy: the slot is free
	busy  uint8  // chunks that are being written
	seen  uint8  // chunks that were read
	freq  uint8  // how often a chunk was read again, up to maxFreq; the CLOCK hand takes it down
	dirty bool   // badger does not have it so; it is in slabs.dirty
}

const (
	maxFreq = 3
	reach   = 128 // slots that the CLOCK hand passes before it takes the best of them
)

// place is where chunks of a run are, as long as gen is the slot's.
type place struct {
	slot uint32
	gen  uint32
	have uint8
}

// split returns the run of a chunk and the chunk's place in it.
func split(o remote.ObjectID, chunk int) (runKey, int) {
	return runKey{o, uint8(chunk / runChunks)}, chunk % runChunks
}

// mask has the bits of n chunks from at on.
func mask(at, n int) uint8 { return uint8(1<<n-1) << at }

func (s *slabs) hash(k runKey) uint64 { return maphash.Comparable(s.seed, k) }

// find returns the slot of a run. Called with mu held.
func (s *slabs) find(k runKey) (uint32, bool) {
	i, ok := s.at[s.hash(k)]
	return i, ok && s.all[i].key == k
}

// lookup says where chunks of a run are, for reading them.
func (s *slabs) lookup(k runKey, want uint8) place {
	s.mu.Lock()
	defer s.mu.Unlock()
	i, ok := s.find(k)
	if !ok {
		return place{}
	}
	x := &s.all[i]
	want &= x.have
	if want&x.seen != 0 && x.freq < maxFreq {
		x.freq++
	}
	x.seen |= want
	return place{i, x.gen, x.have}
}

// has reports whether a chunk is there.
func (s *slabs) has(o remote.ObjectID, chunk int) bool {
	k, at := split(o, chunk)
	s.mu.Lock()
	defer s.mu.Unlock()
	i, ok := s.find(k)
	return ok && s.all[i].have&mask(at, 1) != 0
}

// drop takes a chunk away that did not open, and reports whether it was still what p said.
func (s *slabs) drop(p place, at int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	x := &s.all[p.slot]
	if s.frozen || x.gen != p.gen || x.have&mask(at, 1) == 0 {
		return false
	}
	s.take(p.slot, mask(at, 1))
	return true
}

// forget takes a chunk away that did not open when it came from the source.
func (s *slabs) forget(o remote.ObjectID, chunk int) {
	k, at := split(o, chunk)
	s.mu.Lock()
	defer s.mu.Unlock()
	if i, ok := s.find(k); ok && !s.frozen && s.all[i].have&mask(at, 1) != 0 {
		s.take(i, mask(at, 1))
	}
}

// take takes chunks from a slot. Called with mu held.
func (s *slabs) take(i uint32, chunks uint8) {
	x := &s.all[i]
	x.gen++
	x.have &^= chunks
	x.seen &^= chunks
	s.note(i)
	if x.have|x.busy == 0 {
		s.release(i)
	}
}

// release makes a slot free that holds nothing. Called with mu held.
func (s *slabs) release(i uint32) {
	x := &s.all[i]
	if h := s.hash(x.key); s.at[h] == i {
		delete(s.at, h)
	}
	x.key, x.seen, x.freq = runKey{}, 0, 0
	s.free = append(s.free, i)
}

// note puts a slot on the list of what badger is to be told. Called with mu held.
func (s *slabs) note(i uint32) {
	if x := &s.all[i]; !x.dirty {
		x.dirty = true
		s.dirty = append(s.dirty, i)
		if len(s.dirty) == batch {
			select {
			case s.kick <- struct{}{}:
			default:
			}
		}
	}
}

// reserve finds or makes a slot for chunks of a run, and returns those that the caller is to write: neither there nor being
// written by somebody else. It returns false if there is no room. commit must follow when todo is not 0.
func (s *slabs) reserve(k runKey, want uint8) (i uint32, todo uint8, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for grown := false; ; grown = true {
		if s.frozen || !s.admits {
			return 0, 0, false
		}
		h := s.hash(k)
		i, ok = s.at[h]
		if ok && s.all[i].key != k { // another run with the same hash
			if s.all[i].busy != 0 {
				return 0, 0, false
			}
			s.evict(i)
			ok = false
		}
		if !ok && len(s.free) == 0 && !grown && s.mayGrow() {
			s.mu.Unlock()
			s.extend()
			s.mu.Lock()
			continue
		}
		if !ok {
			if i, ok = s.vacant(); !ok {
				return 0, 0, false
			}
			s.all[i].key = k
			s.at[h] = i
		}
		x := &s.all[i]
		todo = want &^ (x.have | x.busy)
		x.busy |= todo
		return i, todo, true
	}
}

// commit ends the writing of chunks that reserve returned. seen are those that somebody has read already.
func (s *slabs) commit(i uint32, todo, seen uint8, written bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	x := &s.all[i]
	x.busy &^= todo
	if written && !s.frozen {
		x.have |= todo
		x.seen |= seen & todo
		s.note(i)
	} else if x.have|x.busy == 0 && !s.frozen {
		s.release(i)
	}
}

// vacant takes a free slot, or frees one. Called with mu held.
func (s *slabs) vacant() (uint32, bool) {
	if len(s.free) == 0 {
		i, ok := s.victim()
		if !ok {
			return 0, false
		}
		s.evict(i)
	}
	i := s.free[len(s.free)-1]
	s.free = s.free[:len(s.free)-1]
	return i, true
}

// victim moves the CLOCK hand to the next slot that was not read again lately. Called with mu held.
func (s *slabs) victim() (best uint32, ok bool) {
	for range min(reach, len(s.all)) {
		if s.hand >= uint32(len(s.all)) {
			s.hand = 0
		}
		i := s.hand
		s.hand++
		x := &s.all[i]
		if x.busy != 0 {
			continue
		}
		if x.freq == 0 {
			return i, true
		}
		x.freq--
		if !ok || x.freq < s.all[best].freq {
			best, ok = i, true
		}
	}
	return best, ok
}

// evict empties a slot. Called with mu held.
func (s *slabs) evict(i uint32) {
	s.take(i, s.all[i].have)
	s.evictions.Add(1)
}

// restore takes a record that badger has, and reports whether it is of use.
func (s *slabs) restore(i uint32, k runKey, have uint8) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if i >= uint32(len(s.all)) || have == 0 || have > mask(0, runChunks) || k.run >= remote.MaxChunks/runChunks || s.all[i].have != 0 {
		return false
	}
	h := s.hash(k)
	if _, ok := s.at[h]; ok {
		return false
	}
	s.all[i].key, s.all[i].have = k, have
	s.at[h] = i
	return true
}

// restored lists the slots that are free once all records are read.
func (s *slabs) restored() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := len(s.all) - 1; i >= 0; i-- {
		if s.all[i].have == 0 {
			s.free = append(s.free, uint32(i))
		}
	}
}

// record is what badger is told of a slot.
type record struct {
	slot uint32
	key  runKey
	have uint8
}

// changes returns up to n records that badger does not have.
func (s *slabs) changes(n int) []record {
	s.mu.Lock()
	defer s.mu.Unlock()
	n = min(n, len(s.dirty))
	out := make([]record, 0, n)
	for _, i := range s.dirty[:n] {
		x := &s.all[i]
		x.dirty = false
		out = append(out, record{i, x.key, x.have})
	}
	s.dirty = append(s.dirty[:0], s.dirty[n:]...)
	return out
}

// changeAll makes changes return every slot in use.
func (s *slabs) changeAll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range s.all {
		if x := &s.all[i]; x.have != 0 && !x.dirty {
			x.dirty = true
			s.dirty = append(s.dirty, uint32(i))
		}
	}
}

// leading returns how many chunks from at on are in have, without a gap.
func leading(have uint8, at int) int { return bits.TrailingZeros8(^(have >> at)) }
