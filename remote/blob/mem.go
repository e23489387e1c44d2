package blob

import (
	"bytes"
	"context"
	"maps"
	"slices"
	"strings"
	"sync"

	"megafs/remote"
)

// MemStore is a Store in memory.
type MemStore struct {
	mu      sync.RWMutex
	objects map[string][]byte // the slices never change
	sorted  []string          // the names in order, or nil when that must be found anew; never changed in place
}

// Mem returns an empty store in memory.
func Mem() *MemStore { return &MemStore{objects: map[string][]byte{}} }

// Snapshot returns what the store holds now, for Restore. It costs no copy of the bytes.
func (s *MemStore) Snapshot() *MemStore { return s.Clone() }

// Clone returns a store of its own with the same objects.
func (s *MemStore) Clone() *MemStore {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return &MemStore{objects: maps.Clone(s.objects), sorted: s.sorted}
}

// Restore makes the store hold what another holds.
func (s *MemStore) Restore(from *MemStore) {
	c := from.Clone()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.objects, s.sorted = c.objects, c.sorted
}

// Poke sets an object's bytes, whatever was there, under any name; nil removes it. It is for tests of hostile stores.
func (s *MemStore) Poke(name string, data []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sorted = nil
	if data == nil {
		delete(s.objects, name)
		return
	}
	s.objects[name] = bytes.Clone(data)
}

// Names returns the names of all objects in order. The caller must not change the slice.
func (s *MemStore) Names() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.sorted == nil {
		s.sorted = slices.Sorted(maps.Keys(s.objects))
	}
	return s.sorted
}

// Put implements Store.
func (s *MemStore) Put(ctx context.Context, name string, data []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := check(ctx, "put", name); err != nil {
		return err
	}
	if _, ok := s.objects[name]; ok {
		return remote.E("put", name, remote.Exist, nil)
	}
	s.objects[name] = append([]byte{}, data...)
	s.sorted = nil
	return nil
}

func (s *MemStore) get(ctx context.Context, op, name string) ([]byte, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if err := check(ctx, op, name); err != nil {
		return nil, err
	}
	b, ok := s.objects[name]
	if !ok {
		return nil, remote.E(op, name, remote.NotExist, nil)
	}
	return b, nil
}

// Get implements Store.
func (s *MemStore) Get(ctx context.Context, name string, limit int64) ([]byte, error) {
	b, err := s.get(ctx, "get", name)
	if err == nil && int64(len(b)) > limit {
		err = tooLarge(name)
	}
	if err != nil {
		return nil, err
	}
	return bytes.Clone(b), nil
}

// GetRange implements Store.
func (s *MemStore) GetRange(ctx context.Context, name string, off int64, dst []byte) error {
	b, err := s.get(ctx, "get range", name)
	if err == nil {
		err = checkRange(name, off, len(dst), int64(len(b)))
	}
	if err != nil {
		return err
	}
	copy(dst, b[off:])
	return nil
}

// Size implements Store.
func (s *MemStore) Size(ctx context.Context, name string) (int64, error) {
	b, err := s.get(ctx, "size", name)
	return int64(len(b)), err
}

// List implements Store.
func (s *MemStore) List(ctx context.Context, prefix, after string, fn func(Info) error) error {
	if err := checkPrefix(ctx, prefix); err != nil {
		return err
	}
	names := s.Names()
	i, _ := slices.BinarySearch(names, max(prefix, after))
	for _, n := range names[i:] {
		if n <= after {
			continue
		}
		if !strings.HasPrefix(n, prefix) {
			break
		}
		if err := checkCtx(ctx, "list", prefix); err != nil {
			return err
		}
		s.mu.RLock()
		b, ok := s.objects[n]
		s.mu.RUnlock()
		if !ok {
			continue
		}
		if err := fn(Info{n, int64(len(b))}); err != nil {
			return err
		}
	}
	return nil
}

// Delete implements Store.
func (s *MemStore) Delete(ctx context.Context, name string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := check(ctx, "delete", name); err != nil {
		return err
	}
	delete(s.objects, name)
	s.sorted = nil
	return nil
}

// Usage implements Store. Nobody knows how much memory there is in all.
func (s *MemStore) Usage(ctx context.Context) (u remote.Usage, err error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	for _, b := range s.objects {
		u.Used += uint64(len(b))
	}
	return u, checkCtx(ctx, "usage", "")
}

// Close implements Store. It does nothing, so that a test can open again what it closed.
func (s *MemStore) Close() error { return nil }
