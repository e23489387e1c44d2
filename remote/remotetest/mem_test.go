package remotetest

import (
	"testing"

	"megafs/remote"
)

// TestMem holds Mem, which stands for other Remotes in tests, against the contract that those are held against.
func TestMem(t *testing.T) {
	Run(t, func(t *testing.T) func() remote.Remote {
		s := NewStore()
		return func() remote.Remote { return s.Open() }
	})
}
