package blob_test

import (
	"context"
	"testing"

	"megafs/remote"
	"megafs/remote/blob"
)

// failing is a store whose calls fail as it is told.
type failing struct {
	blob.Store
	err error
}

func (f *failing) Get(context.Context, string, int64) ([]byte, error) { return nil, f.err }

// TestAway: a store is away from the first call that had no answer until one has, be it that there is no such object.
func TestAway(t *testing.T) {
	var m blob.Meter
	f := &failing{Store: blob.Mem()}
	s := blob.Metrics(f, &m)
	for _, k := range []struct {
		kind remote.Kind
		away bool
	}{{remote.Canceled, false}, {remote.NotExist, false}, {remote.Timeout, true}, {remote.Canceled, true}, {remote.Unreachable, true}, {remote.Exist, false}, {remote.Unreachable, true}} {
		f.err = remote.E("get", "", k.kind, nil)
		s.Get(ctx, "a", 1)
		if a := m.Snapshot().Away; (a > 0) != k.away {
			t.Errorf("after %v it is away for %v", k.kind, a)
		}
	}
	if s.Usage(ctx); m.Snapshot().Away == 0 {
		t.Error("a store that tells its usage counts as there")
	}
	if s.Size(ctx, "a"); m.Snapshot().Away > 0 {
		t.Error("a store that answers counts as away")
	}
}
