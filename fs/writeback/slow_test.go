package writeback

import (
	"context"
	"testing"
	"time"

	"megafs/fs/journal"
	"megafs/fs/tree"
	"megafs/remote"
	"megafs/remote/remotetest"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// slow is a remote whose first commit gets nowhere, and whose others take long and get on.
type slow struct {
	remote.Remote
	step  time.Duration
	calls int
}

func (s *slow) Commit(ctx context.Context, base remote.Position, ops []remote.Op) (remote.Position, error) {
	s.calls++
	steps := 8
	if s.calls == 1 {
		<-ctx.Done()
	}
	for range steps {
		select {
		case <-ctx.Done():
			return base, remote.E("commit", "", remote.Canceled, ctx.Err())
		case <-time.After(s.step):
			remote.Progress(ctx)
		}
	}
	return s.Remote.Commit(ctx, base, ops)
}

// TestSlowCommit: a commit may take longer than the time after which one that gets nowhere is given up.
func TestSlowCommit(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	s := &slow{Remote: remotetest.NewStore().Open(), step: 20 * time.Millisecond}
	index, err := tree.Open(tree.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer index.Close()
	if _, err := index.Load(ctx, s, index); err != nil {
		t.Fatal(err)
	}
	jour, err := journal.Open(journal.Options{Dir: "/journal", FS: vfs.NewMem()}, func(journal.Record) error { return nil })
	if err != nil {
		t.Fatal(err)
	}
	defer jour.Close()
	seq, _, err := jour.Append(1, []byte("a file"))
	if err != nil {
		t.Fatal(err)
	}
	err = index.Local(uint64(seq), time.Now().UnixNano(), []remote.Op{
		{Kind: remote.OpNode, Ino: 1<<remote.InoBits | 1, Attr: remote.Attr{Type: remote.File, Mode: 0o600}},
		{Kind: remote.OpLink, Ino: 1<<remote.InoBits | 1, Parent: remote.Root, Name: "a"},
	})
	if err != nil {
		t.Fatal(err)
	}
	eng := Start(Options{
		Tree: index, Journal: jour, Remote: s, Poll: -1, NoteKind: 3, Timeout: 100 * time.Millisecond,
		Note: func(remote.Position, uint64, tree.Held) []byte { return []byte("note") },
	})
	defer eng.Close()
	if err := eng.Drain(ctx, uint64(seq), 0); err != nil {
		t.Fatal(err)
	}
}
