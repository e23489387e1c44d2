package remote

import "context"

// Sink takes what a remote says of its state. Calls come one at a time, in order.
type Sink interface {
	// Reset says that all that was known is void: the state at a position follows as Ops in any number of
	// batches with Pos zero, ended by one whose Pos is that position.
	Reset() error
	// Apply takes a batch. An error ends the load and is returned by it.
	Apply(Batch) error
}

// Via is a Sink that holds changes made over an earlier state. When a Load has to begin anew, it begins with a state no later than the
// one with number Via, if one is left: so the Sink sees what happened since step by step, and can tell what it changed from what others did.
// 0 asks for nothing.
type Via interface{ Via() uint64 }

// Piece is content to be stored: Len bytes that Read delivers from offset 0 on, or the error that they can't be had.
type Piece struct {
	Len  int // 1..MaxContent
	Read func(ctx context.Context, off int, dst []byte) error
}

// Remote is a store of one tree, seen through its keys. All methods may be called from many goroutines.
//
// Errors have kinds: Unreachable and Timeout when the store does not answer (the caller tries again later), Integrity
// when it answers wrongly, ReadOnly after a violation or without the right to write, Quota, NoSpace.
type Remote interface {
	// Load tells sink all that happened after from, up to the head it finds. From the zero Position, or one that the remote
	// no longer knows the successors of, it begins with sink.Reset. It returns the position reached, which on an error is that of
	// the last batch that sink took.
	Load(ctx context.Context, from Position, sink Sink) (Position, error)

	// Store seals and uploads pieces, several of them in one object where they fit, and returns where each lies.
	// When it returns without error all are durable. Each piece lies in one object. stored, if not nil, is told each sealed object
	// (for the cache), from any goroutine, before Store returns; it must not keep sealed.
	Store(ctx context.Context, pieces []Piece, stored func(ref Ref, sealed []byte)) ([]Ref, error)

	// Commit makes ops the batch after base. If the head is no longer base it fails with Conflict and nothing happened. On any
	// other error it is open whether the commit took place: Load tells.
	Commit(ctx context.Context, base Position, ops []Op) (Position, error)

	// Fetch reads sealed chunks first..first+n of the object of ref (its Off does not matter) as they are stored,
	// n*SealedChunk bytes, into dst.
	Fetch(ctx context.Context, ref Ref, first, n int, dst []byte) error

	// Open verifies and decrypts sealed chunk number i of the object of ref into dst, ChunkSize bytes. It does no I/O.
	Open(ref Ref, i int, sealed, dst []byte) error

	// Snapshot stores the whole state at pos, which ops yields in canonical order, so that later Loads need not begin at the first
	// commit. It is announced in the log as a commit of its own, whose position it returns.
	Snapshot(ctx context.Context, pos Position, ops func(yield func(Op) error) error) (Position, error)

	// Usage says how much room the store has.
	Usage(ctx context.Context) (Usage, error)

	// Device returns this device's id and number.
	Device() (DeviceID, uint32)

	// Close persists what the remote must remember locally.
	Close() error
}

// SealedChunk is the stored length of a chunk: its plaintext and the AEAD's tag.
const SealedChunk = ChunkSize + 16
