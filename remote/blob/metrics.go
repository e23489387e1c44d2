package blob

import (
	"context"
	"maps"
	"sync"
	"time"

	"megafs/remote"
)

// Stats are a store's figures since the Meter was made.
type Stats struct {
	Requests  map[string]uint64 `json:"requests"`   // by kind of call: put, get, range, size, list, delete, usage
	Errors    map[string]uint64 `json:"errors"`     // likewise; NotExist, Exist and Canceled are answers and not counted
	Bytes     map[string]uint64 `json:"bytes"`      // of objects and ranges, likewise
	BytesUp   uint64            `json:"bytes_up"`   // of objects that were put
	BytesDown uint64            `json:"bytes_down"` // of objects and ranges that were read
	InFlight  int               `json:"in_flight"`  // calls under way
	LastError *LastError        `json:"last_error,omitempty"`
	Away      time.Duration     `json:"away"` // since when calls fail because the store is not reached or does not answer; 0 when the last one did not
}

// LastError is the last error that was counted.
type LastError struct {
	Time    time.Time `json:"time"`
	Op      string    `json:"op"`
	Kind    string    `json:"kind"`
	Message string    `json:"message"`
}

// Meter collects a store's figures. The zero Meter is ready; it is safe for concurrent use and may serve several stores.
type Meter struct {
	mu     sync.Mutex
	s      Stats
	failed time.Time // when the first of the calls failed that had no answer; zero after one that had
}

// Snapshot returns the figures as they are now.
func (m *Meter) Snapshot() Stats {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := m.s
	s.Requests, s.Errors, s.Bytes = map[string]uint64{}, map[string]uint64{}, map[string]uint64{}
	maps.Copy(s.Requests, m.s.Requests)
	maps.Copy(s.Bytes, m.s.Bytes)
	maps.Copy(s.Errors, m.s.Errors)
	if !m.failed.IsZero() {
		s.Away = max(time.Since(m.failed), 1)
	}
	if s.LastError != nil {
		last := *s.LastError
		s.LastError = &last
	}
	return s
}

// begin counts a call; the returned function counts its end.
func (m *Meter) begin(op string) func(err error, up, down int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.s.Requests == nil {
		m.s.Requests, m.s.Errors, m.s.Bytes = map[string]uint64{}, map[string]uint64{}, map[string]uint64{}
	}
	m.s.Requests[op]++
	m.s.InFlight++
	return func(err error, up, down int) { m.end(op, err, up, down) }
}

func (m *Meter) end(op string, err error, up, down int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.s.InFlight--
	switch kind := remote.KindOf(err); {
	case err != nil && kind == remote.Canceled: // says nothing
	case err != nil && (kind == remote.Unreachable || kind == remote.Timeout):
		if m.failed.IsZero() {
			m.failed = time.Now()
		}
	case op != "usage": // which a store may answer without being asked, as S3 does
		m.failed = time.Time{}
	}
	if err == nil {
		if up+down > 0 {
			m.s.Bytes[op] += uint64(up + down)
		}
		m.s.BytesUp += uint64(up)
		m.s.BytesDown += uint64(down)
		return
	}
	kind := remote.KindOf(err)
	switch kind {
	case remote.NotExist, remote.Exist, remote.Canceled:
		return
	}
	m.s.Errors[op]++
	m.s.LastError = &LastError{time.Now(), op, kind.String(), err.Error()}
}

type metered struct {
	inner Store
	m     *Meter
}

// Metrics counts calls into a Meter.
func Metrics(inner Store, m *Meter) Store { return &metered{inner, m} }

// Put implements Store.
func (s *metered) Put(ctx context.Context, name string, data []byte) error {
	end := s.m.begin("put")
	err := s.inner.Put(ctx, name, data)
	end(err, len(data), 0)
	return err
}

// Get implements Store.
func (s *metered) Get(ctx context.Context, name string, limit int64) ([]byte, error) {
	end := s.m.begin("get")
	b, err := s.inner.Get(ctx, name, limit)
	end(err, 0, len(b))
	return b, err
}

// GetRange implements Store.
func (s *metered) GetRange(ctx context.Context, name string, off int64, dst []byte) error {
	end := s.m.begin("range")
	err := s.inner.GetRange(ctx, name, off, dst)
	end(err, 0, len(dst))
	return err
}

// Size implements Store.
func (s *metered) Size(ctx context.Context, name string) (int64, error) {
	end := s.m.begin("size")
	n, err := s.inner.Size(ctx, name)
	end(err, 0, 0)
	return n, err
}

// List implements Store. An error of fn is not the store's.
func (s *metered) List(ctx context.Context, prefix, after string, fn func(Info) error) error {
	end := s.m.begin("list")
	stopped := false
	err := s.inner.List(ctx, prefix, after, func(i Info) error {
		err := fn(i)
		stopped = err != nil
		return err
	})
	if stopped {
		end(nil, 0, 0)
	} else {
		end(err, 0, 0)
	}
	return err
}

// Delete implements Store.
func (s *metered) Delete(ctx context.Context, name string) error {
	end := s.m.begin("delete")
	err := s.inner.Delete(ctx, name)
	end(err, 0, 0)
	return err
}

// Usage implements Store.
func (s *metered) Usage(ctx context.Context) (remote.Usage, error) {
	end := s.m.begin("usage")
	u, err := s.inner.Usage(ctx)
	end(err, 0, 0)
	return u, err
}

// Close implements Store.
func (s *metered) Close() error { return s.inner.Close() }
