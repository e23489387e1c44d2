package vault

import (
	"testing"

	"megafs/remote"
	"megafs/remote/remotetest"
)

// TestRemote holds a vault against the contract of remote.Remote.
func TestRemote(t *testing.T) {
	remotetest.Run(t, func(t *testing.T) func() remote.Remote {
		w := newWorld(t, mem)
		n := uint32(0)
		return func() remote.Remote {
			state := w.state // of the machine that made the vault
			if n++; n > 1 {
				state = t.TempDir()
			}
			v := w.open(w.store, state)
			if _, pos := w.load(v, remote.Position{}); n > 1 {
				_, err := v.Register(ctx, pos, n)
				must(t, err)
			}
			return v
		}
	})
}
