package fs

import (
	"errors"
	"fmt"
	"slices"
	"syscall"
	"testing"

	"github.com/hanwen/go-fuse/v2/fuse"

	"megafs/fs/volume"
	"megafs/remote"
)

// listener keeps the notifications it gets.
type listener struct {
	got    []string
	status fuse.Status
	epoch  error
	prune  fuse.Status
	pruned int
	during func()
}

func (l *listener) note(format string, a ...any) fuse.Status {
	l.got = append(l.got, fmt.Sprintf(format, a...))
	if l.during != nil {
		l.during()
	}
	return l.status
}

func (l *listener) InodeNotify(node uint64, off, length int64) fuse.Status {
	return l.note("inode %d from %d", node, off)
}

func (l *listener) EntryNotify(parent uint64, name string) fuse.Status {
	return l.note("name %s in %d", name, parent)
}

func (l *listener) PruneNotify(nodes []uint64) fuse.Status {
	l.pruned += len(nodes)
	return l.prune
}

func (l *listener) Epoch() error {
	l.note("all names")
	return l.epoch
}

func TestInvalidations(t *testing.T) {
	for _, x := range []struct {
		name    string
		changes []volume.Change
		want    []string
	}{
		{"nothing", nil, nil},
		{"attributes", []volume.Change{{Ino: 5}}, []string{"inode 5 from -1"}},
		{"content", []volume.Change{{Ino: 5, Content: true}}, []string{"inode 5 from 0"}},
		{"content, then attributes", []volume.Change{{Ino: 5, Content: true}, {Ino: 5}}, []string{"inode 5 from 0"}},
		{"attributes, then content", []volume.Change{{Ino: 5}, {Ino: 5, Content: true}}, []string{"inode 5 from 0"}},
		{"a name", []volume.Change{{Parent: 1, Name: "a"}}, []string{"inode 1 from -1", "name a in 1"}},
		{"a name twice and its inode", []volume.Change{{Parent: 1, Name: "a"}, {Parent: 1, Name: "a", Ino: 5, Content: true}},
			[]string{"inode 1 from -1", "inode 5 from 0", "name a in 1"}},
	} {
		c, l := testConn(nil), &listener{status: fuse.ENOENT} // the kernel need not know the thing
		c.inval.add(x.changes)
		if !c.inval.work(l) {
			t.Errorf("%s: the worker ends", x.name)
		}
		slices.Sort(l.got)
		if !slices.Equal(l.got, x.want) {
			t.Errorf("%s: %q, want %q", x.name, l.got, x.want)
		}
		if l.got = nil; !c.inval.work(l) || l.got != nil {
			t.Errorf("%s: sent twice", x.name)
		}
	}
}

func TestNamesComeFirst(t *testing.T) {
	c, l := testConn(nil), &listener{}
	c.inval.add([]volume.Change{{Parent: 1, Name: "a", Ino: 5, Content: true}})
	c.inval.work(l)
	if len(l.got) == 0 || l.got[0] != "name a in 1" {
		t.Error(l.got)
	}
}

// overflow queues more than the queue of a connection holds.
func overflow(c *conn) {
	c.inval.most = 10
	for i := range 20 {
		c.inval.add([]volume.Change{{Ino: remote.Ino(1000 + i)}})
	}
}

func TestOverflow(t *testing.T) {
	for _, epoch := range []error{nil, errors.New("an old kernel")} {
		c, l := testConn(nil), &listener{epoch: epoch}
		c.known.add(7)
		c.known.add(8)
		overflow(c)
		if c.ttl(entryTTL) != shortTTL {
			t.Error("times are long while changes are lost")
		}
		if len(c.inval.inodes)+len(c.inval.names) > 10 {
			t.Error("the queue has no bound")
		}
		c.inval.work(l)
		slices.Sort(l.got)
		if want := []string{"all names", "inode 1 from 0", "inode 7 from 0", "inode 8 from 0"}; !slices.Equal(l.got, want) {
			t.Errorf("%q, want %q", l.got, want)
		}
		if long := c.ttl(entryTTL) == entryTTL; long != (epoch == nil) {
			t.Errorf("epoch: %v, times are long: %v", epoch, long)
		}
		if c.inval.overflows.Load() != 1 {
			t.Error(c.inval.overflows.Load())
		}
		c.inval.add([]volume.Change{{Ino: 9}})
		if l.got = nil; !c.inval.work(l) || !slices.Equal(l.got, []string{"inode 9 from -1"}) {
			t.Errorf("after an overflow: %q", l.got)
		}
	}
}

// TestOverflowDuringAnOverflow: what overflows while everything is invalidated is not lost.
func TestOverflowDuringAnOverflow(t *testing.T) {
	c, l := testConn(nil), &listener{}
	overflow(c)
	l.during = func() {
		l.during = nil
		overflow(c)
	}
	c.inval.work(l)
	if c.ttl(entryTTL) != shortTTL {
		t.Error("times are long although an overflow is still to be mended")
	}
	l.got = nil
	c.inval.work(l)
	if !slices.Contains(l.got, "all names") || c.ttl(entryTTL) != entryTTL {
		t.Error(l.got)
	}
}

func TestWorkerEnds(t *testing.T) {
	c, l := testConn(nil), &listener{status: fuse.Status(syscall.ENODEV)}
	c.inval.start(l)
	c.inval.add([]volume.Change{{Ino: 5}, {Ino: 6}, {Parent: 1, Name: "a"}})
	c.inval.wg.Wait() // the connection is gone
	if len(l.got) != 1 {
		t.Error(l.got)
	}
	c.inval.close()

	c = testConn(nil)
	c.inval.start(&listener{})
	c.inval.close() // told to
	c.inval.add([]volume.Change{{Ino: 5}})
}

func TestPrune(t *testing.T) {
	c := testConn(nil)
	for i := range knownMost + 1000 {
		c.known.add(remote.Ino(i + 2))
	}
	l := &listener{}
	if !c.inval.work(l) || l.pruned != 1000+knownMost/8 {
		t.Errorf("asked for %d inodes", l.pruned)
	}
	l = &listener{prune: fuse.ENOSYS}
	if !c.inval.work(l) || l.pruned > pruneStep {
		t.Errorf("an old kernel was asked for %d", l.pruned)
	}
	if l = (&listener{prune: fuse.Status(syscall.ENODEV)}); c.inval.work(l) {
		t.Error("the connection is gone, the worker stays")
	}
}
