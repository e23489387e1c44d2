package volume

import (
	"context"

	"megafs/remote"
)

// What collecting garbage needs of a volume, beside the remote.

// Objects tells every content object that the tree refers to, what is sent and what is not, some more than once.
func (v *Volume) Objects(yield func(remote.ObjectID)) error { return v.tree.Objects(yield) }

// Turn runs fn, which commits something to the remote, while nothing else is sent.
func (v *Volume) Turn(ctx context.Context, fn func() error) error { return v.eng.Turn(ctx, fn) }

// Snapshot asks for a snapshot, to be made when all is sent.
func (v *Volume) Snapshot() { v.eng.Snapshot() }
