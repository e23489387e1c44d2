package blob

import (
	"bytes"
	"context"
	"errors"
	"maps"
	"sort"
	"strings"
	"sync"

	"megafs/remote"
)

// MemStore is a Store in memory.
type MemStore struct {
	mu      sync.RWMutex
	objects map[string][]byte
}

// Mem returns an empty store in memory.
func Mem() *MemStore { return &MemStore{objects: map[string][]byte{}} }

// Clone returns a store of its own with the same objects.
func (s *MemStore) Clone() *MemStore {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return &MemStore{objects: maps.Clone(s.objects)}
}

// Restore makes the store what another is.
func (s *MemStore) Restore(from *MemStore) {
	c := from.Clone()
	s.mu.Lock()
	s.objects = c.objects
	s.mu.Unlock()
}

// Poke sets an object's bytes, whatever was there: for tests of hostile stores. nil removes it.
func (s *MemStore) Poke(name string, data []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if data == nil {
		delete(s.objects, name)
		return
	}
	s.objects[name] = bytes.Clone(data)
}

// Names returns the names of all objects in order.
func (s *MemStore) Names() []string {
	s.mu.RLock()
	defer s.mu.RUnlock()
	var n []string
	for name := range s.objects {
		n = append(n, name)
	}
	sort.Strings(n)
	return n
}

// Put implements Store.
func (s *MemStore) Put(ctx context.Context, name string, data []byte) error {
	if err := errors.Join(checkName("put", name), checkCtx(ctx, "put", name)); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.objects[name]; ok {
		return remote.E("put", name, remote.Exist, nil)
	}
	s.objects[name] = bytes.Clone(data)
	return nil
}

func (s *MemStore) get(ctx context.Context, op, name string) ([]byte, error) {
	if err := errors.Join(checkName(op, name), checkCtx(ctx, op, name)); err != nil {
		return nil, err
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
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
		return nil, remote.E("get", name, remote.TooLarge, nil)
	}
	return bytes.Clone(b), err
}

// GetRange implements Store.
func (s *MemStore) GetRange(ctx context.Context, name string, off int64, dst []byte) error {
	b, err := s.get(ctx, "get", name)
	if err != nil {
		return err
	}
	if off < 0 || off+int64(len(dst)) > int64(len(b)) {
		return remote.E("get", name, remote.Integrity, errors.New("object too short"))
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
	for _, n := range s.Names() {
		if err := checkCtx(ctx, "list", prefix); err != nil {
			return err
		}
		if !strings.HasPrefix(n, prefix) || n <= after {
			continue
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
	if err := errors.Join(checkName("delete", name), checkCtx(ctx, "delete", name)); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.objects, name)
	return nil
}

// Usage implements Store.
func (s *MemStore) Usage(ctx context.Context) (u remote.Usage, err error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	for _, b := range s.objects {
		u.Used += uint64(len(b))
	}
	return u, checkCtx(ctx, "usage", "")
}

// Close implements Store.
func (s *MemStore) Close() error { return nil }
