package writeback

import "testing"

// TestDue: a vault of up to half a million inodes gets a snapshot after a thousand commits or a hundred thousand changes, a larger one after more.
func TestDue(t *testing.T) {
	for _, x := range []struct {
		commits, ops int
		inodes       uint64
		want         bool
	}{
		{999, 99_999, 0, false}, {1000, 0, 0, true}, {0, 100_000, 0, true},
		{1000, 0, 500_000, true}, {1000, 100_000, 10_000_000, false}, {19_999, 2_499_999, 10_000_000, false},
		{20_000, 0, 10_000_000, true}, {0, 2_500_000, 10_000_000, true},
	} {
		if got := due(x.commits, x.ops, x.inodes); got != x.want {
			t.Errorf("%+v: %v", x, got)
		}
	}
}
