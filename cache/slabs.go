package cache

import (
	"errors"
	"fmt"
	"hash/maphash"
	"log/slog"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"megafs/remote"
)

// slabSlots is how many slots a slab has: what fits into 64 MiB.
const slabSlots = (64 << 20) / slotSize

// growPause is how long a cache that can't grow waits before it tries again.
const growPause = time.Minute

// slabs are the sealed chunks on disk.
type slabs struct {
	dir    *folder
	max    uint32 // slots that the limit allows
	admits bool
	log    *slog.Logger
	files  []atomic.Pointer[os.File]
	kick   chan struct{} // wakes the index's writer

	bytes     atomic.Int64 // length of all files
	evictions atomic.Uint64
	errors    atomic.Uint64
	told      atomic.Bool // a failed write was logged

	grow sync.Mutex // held while a slab is made

	mu     sync.Mutex
	seed   maphash.Seed
	at     map[uint64]uint32 // hash of a run -> its slot; the slot's record decides
	all    []slot            // slots that have a file
	free   []uint32
	dirty  []uint32
	hand   uint32
	pause  time.Time // no growing before
	frozen bool
}

func newSlabs(dir *folder, plan layout, admits bool, log *slog.Logger) *slabs {
	return &slabs{
		dir: dir, max: plan.slots, admits: admits, log: log, kick: make(chan struct{}, 1),
		files: make([]atomic.Pointer[os.File], (plan.slots+slabSlots-1)/slabSlots),
		seed:  maphash.MakeSeed(), at: make(map[uint64]uint32),
	}
}

func slabFile(k int) string { return fmt.Sprintf("%s%d", slabName, k) }

// slotsOf returns how many slots slab k has in the end.
func (s *slabs) slotsOf(k int) int { return min(slabSlots, int(s.max)-k*slabSlots) }

// open opens the slabs that are there and makes them fit the limit.
func (s *slabs) open() error {
	slots := 0
	for k := range s.files {
		f, err := s.dir.root.OpenFile(slabFile(k), os.O_RDWR|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
		if errors.Is(err, os.ErrNotExist) {
			break
		}
		if err != nil {
			return err
		}
		s.files[k].Store(f)
		fi, err := f.Stat()
		if err != nil {
			return err
		}
		if !fi.Mode().IsRegular() || slots != k*slabSlots {
			return errors.New("slabs are missing or too short")
		}
		n := min(int(fi.Size()/slotSize), s.slotsOf(k))
		if err := f.Truncate(int64(n) * slotSize); err != nil {
			return err
		}
		slots += n
		s.bytes.Add(int64(n) * slotSize)
	}
	s.all = make([]slot, slots)
	entries, err := s.dir.list(".")
	for _, e := range entries {
		var k int
		if n, scanErr := fmt.Sscanf(e.Name(), slabName+"%d", &k); strings.HasPrefix(e.Name(), slabName) &&
			(n != 1 || scanErr != nil || e.Name() != slabFile(k) || k < 0 || k >= len(s.files) || s.files[k].Load() == nil) {
			err = errors.Join(err, s.dir.root.RemoveAll(e.Name()))
		}
	}
	return err
}

// mayGrow reports whether there can be more slots. Called with mu held.
func (s *slabs) mayGrow() bool {
	return len(s.all) < int(s.max) && (s.pause.IsZero() || time.Now().After(s.pause))
}

// extend makes a slab, or the last one as long as it can be.
func (s *slabs) extend() {
	s.grow.Lock()
	defer s.grow.Unlock()
	s.mu.Lock()
	have := len(s.all)
	done := len(s.free) > 0 || !s.mayGrow() || s.frozen
	s.mu.Unlock()
	if done {
		return // somebody else did it
	}
	k := have / slabSlots
	old, size := int64(have-k*slabSlots)*slotSize, int64(s.slotsOf(k))*slotSize
	err := s.allocate(k, old, size)
	if err != nil {
		s.log.Warn("the cache on disk does not grow for now", "reason", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil {
		s.pause = time.Now().Add(growPause)
		return
	}
	s.bytes.Add(size - old)
	to := k*slabSlots + s.slotsOf(k)
	s.all = append(s.all, make([]slot, to-have)...)
	for i := to - 1; i >= have; i-- {
		s.free = append(s.free, uint32(i))
	}
}

// allocate brings the file of slab k from old to size bytes that the disk has set aside.
func (s *slabs) allocate(k int, old, size int64) error {
	if !s.dir.roomFor(size - old) {
		return errors.New("the disk is nearly full")
	}
	f := s.files[k].Load()
	if f == nil {
		var err error
		if f, err = s.dir.root.OpenFile(slabFile(k), os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600); err != nil {
			return err
		}
		s.files[k].Store(f)
	}
	err := unix.Fallocate(int(f.Fd()), 0, old, size-old)
	if errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.ENOSYS) {
		err = f.Truncate(size)
	}
	if err != nil {
		return errors.Join(err, f.Truncate(old))
	}
	return nil
}

// read reads n sealed chunks of a slot, from its chunk at on, into dst.
func (s *slabs) read(i uint32, at, n int, dst []byte) error {
	_, err := s.files[i/slabSlots].Load().ReadAt(dst[:n*sealedSize], int64(i%slabSlots)*slotSize+int64(at)*sealedSize)
	return err
}

// admit puts n sealed chunks of an object, from number first on, on disk as far as there is room, and reports whether
// all are there or on their way. seen says that somebody read them already.
func (s *slabs) admit(ref remote.Ref, first, n int, sealed []byte, seen bool) bool {
	all := true
	for i := first; i < first+n; {
		k, at := split(ref.Object, i)
		count := min(runChunks-at, first+n-i)
		if !s.admitRun(k, at, count, sealed[(i-first)*sealedSize:], seen) {
			all = false
		}
		i += count
	}
	return all
}

func (s *slabs) admitRun(k runKey, at, count int, sealed []byte, seen bool) bool {
	i, todo, ok := s.reserve(k, mask(at, count))
	if !ok || todo == 0 {
		return ok
	}
	var err error
	for c := at; c < at+count && err == nil; {
		n := leading(todo, c)
		if n > 0 {
			_, err = s.files[i/slabSlots].Load().WriteAt(sealed[(c-at)*sealedSize:][:n*sealedSize], int64(i%slabSlots)*slotSize+int64(c)*sealedSize)
		}
		c += max(n, 1)
	}
	var read uint8
	if seen {
		read = todo
	}
	s.commit(i, todo, read, err == nil)
	if err != nil && !errors.Is(err, os.ErrClosed) {
		s.errors.Add(1)
		if !s.told.Swap(true) {
			s.log.Warn("a chunk could not be written to the cache; this is told once", "reason", err)
		}
	}
	return err == nil
}

// freeze ends all change of the records.
func (s *slabs) freeze() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.frozen = true
}

func (s *slabs) close() {
	s.grow.Lock()
	defer s.grow.Unlock()
	for k := range s.files {
		if f := s.files[k].Load(); f != nil {
			f.Close() // reads under way end before, later ones fail
		}
	}
}
