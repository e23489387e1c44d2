package writeback

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"megafs/fs/journal"
	"megafs/fs/tree"
	"megafs/remote"
	"megafs/remote/remotetest"
)

// TestTrimBesideWriter has a writer whose record is in the journal before the note of a commit, and who has not told the tree of it
// when the journal is trimmed. The record must be there still.
func TestTrimBesideWriter(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	disk, store := vfs.NewMem(), remotetest.NewStore().Open()
	index, err := tree.Open(tree.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer index.Close()
	if _, err := index.Load(ctx, store, index); err != nil {
		t.Fatal(err)
	}
	o := journal.Options{Dir: "/journal", FS: disk}
	jour, err := journal.Open(o, func(journal.Record) error { return nil })
	if err != nil {
		t.Fatal(err)
	}
	var late journal.Seq
	eng := Start(Options{
		Tree: index, Journal: jour, Remote: store, Poll: -1, NoteKind: 3,
		Note: func(remote.Position, uint64, tree.Held) []byte {
			late, _, err = jour.Append(2, []byte("written, and about to be told"))
			if err != nil {
				t.Error(err)
			}
			return []byte("note")
		},
	})
	seq, _, err := jour.Append(1, []byte("a file"))
	if err != nil {
		t.Fatal(err)
	}
	ino := remote.Ino(1<<remote.InoBits | 1)
	err = index.Local(uint64(seq), time.Now().UnixNano(), []remote.Op{
		{Kind: remote.OpNode, Ino: ino, Attr: remote.Attr{Type: remote.File, Mode: 0o600}},
		{Kind: remote.OpLink, Ino: ino, Parent: remote.Root, Name: "a"},
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := eng.Drain(ctx, uint64(seq), 0); err != nil {
		t.Fatal(err)
	}
	eng.Close()
	if err := jour.Close(); err != nil {
		t.Fatal(err)
	}
	var kept []journal.Seq
	jour, err = journal.Open(o, func(r journal.Record) error {
		kept = append(kept, r.Seq)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	defer jour.Close()
	if !slices.Contains(kept, late) {
		t.Errorf("record %d was trimmed before the tree knew of it; left are %d", late, kept)
	}
}
