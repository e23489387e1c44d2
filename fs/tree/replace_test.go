package tree

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"

	"megafs/remote"
)

// teller is a remote that begins anew: with a snapshot in parts, and what else it is asked to tell.
type teller struct {
	remote.Remote
	tell func(remote.Sink) error
}

func (r teller) Load(_ context.Context, from remote.Position, s remote.Sink) (remote.Position, error) {
	if err := s.Reset(); err != nil {
		return from, err
	}
	return remote.Position{}, r.tell(s)
}

// TestReplace: a base that others look at, with local changes over it, is what it was until a snapshot that is to take its place was told to the end, whether it fills it in one go or
// not; and stays so with its position when that breaks off. A load that goes back behind what was there, and says that this is void, empties it.
func TestReplace(t *testing.T) {
	for _, how := range []string{"in one go", "out of order", "little memory", "no memory", "breaks off", "void", "goes on"} {
		t.Run(how, func(t *testing.T) {
			ops := snapshotOf(rand.New(rand.NewPCG(5, 6)))
			x, err := Open(Options{Dir: t.TempDir()})
			must(t, err)
			defer x.Close()
			must(t, x.Reset())
			old := remote.Op{Kind: remote.OpNode, Ino: 99<<remote.InoBits + 1, Attr: remote.Attr{Type: remote.File}}
			must(t, x.Apply(remote.Batch{Ops: []remote.Op{
				{Kind: remote.OpNode, Ino: remote.Root, Attr: remote.Attr{Type: remote.Dir}}, old, {Kind: remote.OpLink, Parent: remote.Root, Name: "old", Ino: old.Ino},
			}}))
			from := remote.Position{Seq: 5}
			must(t, x.Apply(remote.Batch{Pos: from}))
			mine := remote.Op{Kind: remote.OpNode, Ino: 99<<remote.InoBits + 2, Attr: remote.Attr{Type: remote.File}}
			must(t, x.Local(1, 1, []remote.Op{mine, {Kind: remote.OpLink, Parent: remote.Root, Name: "mine", Ino: mine.Ino}}))
			there := func(when string, want ...string) {
				t.Helper()
				for _, name := range want {
					if _, err := x.Lookup(remote.Root, name); err != nil {
						t.Fatal(when, name, err)
					}
				}
			}
			before, resets := dump(t, x), x.Resets()
			x.Changes()
			x.memory = 8 << 20
			parts := append([]remote.Op{}, ops...)
			if last := len(parts) - 1; how == "out of order" {
				parts[last-1], parts[last] = parts[last], parts[last-1]
			} else if how == "no memory" {
				x.memory = 0
			}
			if how == "little memory" {
				x.memory = 100 << 10
			}
			x.base.filled = false
			broken := errors.New("broken off")
			pos := remote.Position{Seq: 9}
			if how == "void" {
				pos.Seq = 3
			}
			moved, err := x.Load(context.Background(), teller{tell: func(s remote.Sink) error {
				for i := 0; i < len(parts); i += 50 {
					must(t, s.Apply(remote.Batch{Ops: parts[i:min(i+50, len(parts))]}))
					there(fmt.Sprint("after part ", i), "old", "mine")
					if x.Position() != from || dump(t, x) != before {
						t.Fatal("the base is another before the snapshot is whole")
					}
				}
				if how == "breaks off" {
					return broken
				}
				must(t, s.Apply(remote.Batch{Pos: pos}))
				if how == "void" || how == "goes on" {
					must(t, s.Reset())
					return broken
				}
				return nil
			}}, x)
			switch how {
			case "breaks off":
				if moved || err != broken || x.Position() != from || dump(t, x) != before || x.Resets() != resets {
					t.Fatal(moved, err, x.Position())
				}
				there("afterwards", "old", "mine")
				return
			case "void":
				if _, lerr := x.Lookup(remote.Root, "0000"); !moved || !errors.Is(err, broken) || x.Position().Seq != 0 || lerr == nil || x.Resets() == resets {
					t.Fatal(moved, err, x.Position(), lerr)
				}
				return
			case "goes on":
				if err != broken {
					t.Fatal(err)
				}
			default:
				must(t, err)
			}
			if partial, err := x.Partial(); err != nil || partial != (how == "goes on") {
				t.Fatal(partial, err)
			}
			slow, err := Open(Options{})
			must(t, err)
			defer slow.Close()
			must(t, slow.Reset())
			must(t, slow.Apply(remote.Batch{Ops: ops}))
			must(t, slow.Apply(remote.Batch{Pos: pos}))
			if how != "goes on" {
				_, err = slow.Load(context.Background(), nothing{}, slow)
				must(t, err)
			}
			if c := x.Changes(); !moved || x.Position() != pos || dump(t, x) != dump(t, slow) || x.Resets() == resets || len(c) == 0 || c[0] != (Changed{}) {
				t.Fatal("the base is not what the snapshot says:", moved, x.Position(), c)
			}
			if x.base.filled == (how == "out of order" || how == "no memory") {
				t.Fatal("filled:", x.base.filled)
			}
			there("afterwards", "mine")
			if _, err := x.Lookup(remote.Root, "old"); err == nil {
				t.Fatal("old is still there")
			}
		})
	}
}

// nothing is a remote without news.
type nothing struct{ remote.Remote }

func (nothing) Load(_ context.Context, from remote.Position, _ remote.Sink) (remote.Position, error) {
	return from, nil
}
