package mega

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"megafs/crypto/megacrypt"
	"megafs/remote"
)

// orderSink holds what it is told against the order of a snapshot.
type orderSink struct {
	t     *testing.T
	ino   remote.Ino
	link  *remote.Op
	nodes int
	links map[remote.Ino]string
	end   remote.Position
}

// Reset implements remote.Sink.
func (s *orderSink) Reset() error { return nil }

// Apply implements remote.Sink.
func (s *orderSink) Apply(b remote.Batch) error {
	if s.end = b.Pos; b.Pos != (remote.Position{}) && len(b.Ops) > 0 {
		s.t.Errorf("%d Ops are told with the end", len(b.Ops))
	}
	for i := range b.Ops {
		op := &b.Ops[i]
		switch op.Kind {
		case remote.OpNode:
			if s.link != nil || op.Ino <= s.ino {
				s.t.Errorf("inode %d after %d, %v", op.Ino, s.ino, s.link)
			}
			s.ino = op.Ino
			s.nodes++
		case remote.OpExtent:
			if s.link != nil || op.Ino != s.ino {
				s.t.Errorf("content of %d after %d", op.Ino, s.ino)
			}
		case remote.OpLink:
			if l := s.link; l != nil && (op.Parent < l.Parent || op.Parent == l.Parent && op.Name <= l.Name) {
				s.t.Errorf("%d %q after %d %q", op.Parent, op.Name, l.Parent, l.Name)
			}
			s.link = op
			s.links[op.Ino] = op.Name
		}
	}
	return nil
}

// TestTellAll: a first tree of more than one change and one batch is told whole, in the order of a snapshot; of nodes with one name in several changes each has one of its own.
func TestTellAll(t *testing.T) {
	t.Run("first tree", func(t *testing.T) { tellAll(t, Options{}) })
	t.Run("more than memory", func(t *testing.T) { tellAll(t, Options{Memory: 16 << 10}) })
	t.Run("a folder of more than memory", func(t *testing.T) { tellAll(t, Options{Memory: 600 << 10}) })
}

func tellAll(t *testing.T, o Options) {
	e := newEvil(t)
	const dirs, files, twins = 20, 500, 3
	var nodes []map[string]any
	add := func(h, parent, name string, file bool) {
		if file {
			nodes = append(nodes, fileNode(h, parent, name, megacrypt.NewFileKey(), 1))
			return
		}
		k := megacrypt.NewKey()
		a, err := megacrypt.Attributes{"n": name}.Encode(k)
		if err != nil {
			t.Fatal(err)
		}
		nodes = append(nodes, map[string]any{"h": h, "p": parent, "t": 1, "a": a, "k": own(k[:]), "ts": 1})
	}
	parent := evilRoot
	for d := range dirs {
		h := fmt.Sprintf("d%07d", d)
		add(h, parent, fmt.Sprint("dir ", dirs-d), false)
		for i := range files {
			add(fmt.Sprintf("f%03d%04d", d, i), h, fmt.Sprintf("file %d", i*7919%files), true)
		}
		if d%2 == 0 {
			parent = h
		}
	}
	for i := range twins {
		add(fmt.Sprintf("t%03d%04d", i, i), "d0000000", "file 0", true)
	}
	e.tree(nodes...)
	r := e.open(o)
	s := &orderSink{t: t, links: map[remote.Ino]string{}}
	pos, err := r.Load(t.Context(), remote.Position{}, s)
	if err != nil || pos != s.end || pos == (remote.Position{}) {
		t.Fatal(pos, s.end, err)
	}
	if want := dirs*(files+1) + twins; s.nodes != want+1 || len(s.links) != want {
		t.Errorf("%d inodes and %d names of %d", s.nodes, len(s.links), want)
	}
}

// TestFirstTreeCutShort: an index whose first tree was not written to the end begins anew.
func TestFirstTreeCutShort(t *testing.T) {
	e := newEvil(t)
	dir := t.TempDir()
	e.tree(fileNode("aaaaaaaa", evilRoot, "a", megacrypt.NewFileKey(), 1))
	r := e.open(Options{StateDir: dir})
	if l := e.load(r).list(); len(l) != 1 {
		t.Fatal(l)
	}
	life := r.x.meta.life
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	if err := mark(IndexDir(dir), true); err != nil {
		t.Fatal(err)
	}
	e.tree(fileNode("bbbbbbbb", evilRoot, "b", megacrypt.NewFileKey(), 1))
	r = e.open(Options{StateDir: dir})
	if r.x.meta.root != "" || r.x.meta.life == life {
		t.Error("what is known goes on")
	}
	if l := e.load(r).list(); len(l) != 1 || l[0] != "b" {
		t.Error(l)
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	life = r.x.meta.life
	r = e.open(Options{StateDir: dir})
	if r.x.meta.life != life || r.x.meta.sn != evilSN {
		t.Error("what is known does not last")
	}
}

// TestInodeOfAnother: an index in which a change was cut short between a node and the inode that it takes over knows neither of the two wrongly, and the next reading clears that.
func TestInodeOfAnother(t *testing.T) {
	e := newEvil(t)
	e.tree(fileNode("aaaaaaaa", evilRoot, "a", megacrypt.NewFileKey(), 1))
	r := e.open(Options{})
	ino := e.load(r).names["1/a"]
	w := newWrite()
	w.put(kstr(keyNode, "bbbbbbbb"), inoValue(ino))
	w.del(kstr(keyNode, "aaaaaaaa"))
	m := r.x.meta
	m.sn = ""
	if err := r.x.commit(w, m); err != nil {
		t.Fatal(err)
	}
	e.tree(fileNode("bbbbbbbb", evilRoot, "b", megacrypt.NewFileKey(), 1))
	if n, err := r.x.node("bbbbbbbb"); n != nil || err != nil {
		t.Fatal(n, err)
	}
	s := e.load(r)
	if len(s.list()) == 0 || s.names["1/b"] == ino || s.names["1/b"] == 0 {
		t.Error(s.names)
	}
	if n, err := r.x.nodeOf(ino); n != nil || err != nil {
		t.Error(n, err)
	}
}

// TestFirstTreeUnmarked: an index that can not be marked is not filled, and is filled later.
func TestFirstTreeUnmarked(t *testing.T) {
	e := newEvil(t)
	e.tree(fileNode("aaaaaaaa", evilRoot, "a", megacrypt.NewFileKey(), 1))
	r := e.open(Options{})
	f, err := newFirst(r)
	if err != nil || f == nil {
		t.Fatal(f, err)
	}
	defer f.close()
	f.root = &node{handle: evilRoot, folder: true, ino: remote.Root}
	// A mark that is a folder can not be written.
	if err := os.MkdirAll(filepath.Join(fillMark(r.x.dir), "x"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := f.fill(r.x.meta); err == nil || r.x.meta.root != "" {
		t.Error(err)
	}
	if err := os.RemoveAll(fillMark(r.x.dir)); err != nil {
		t.Fatal(err)
	}
	if l := e.load(r).list(); len(l) != 1 {
		t.Error(l)
	}
}

// TestPackHandle: numbers of handles are in the order of their texts, and lead back to them.
func TestPackHandle(t *testing.T) {
	last, text := uint64(0), ""
	for _, h := range []string{"--------", "-------0", "-0zzzzzz", "09AZ_az-", "AAAAAAAA", "AAAA_AAA", "AAAAaAAA", "_zzzzzzz", "a-------", "zzzzzzzz"} {
		n := packHandle(h)
		if unpackHandle(n) != h || !megacrypt.ValidHandle(h) || text != "" && (h > text) != (n > last) || n > firstHandle {
			t.Errorf("%q: %x %q", h, n, unpackHandle(n))
		}
		last, text = n, h
	}
}

// TestEachPart: what is said comes in order and whole, and an error of either side ends it and is returned; nothing goes on behind it.
func TestEachPart(t *testing.T) {
	broken := errors.New("broken")
	for _, c := range []struct{ say, breakSay, breakTake int }{{0, -1, -1}, {1, -1, -1}, {opsAtOnce, -1, -1}, {5*opsAtOnce + 3, -1, -1}, {5 * opsAtOnce, 3 * opsAtOnce, -1}, {5 * opsAtOnce, -1, 0}, {5 * opsAtOnce, -1, 2}} {
		ended := false
		said := func(say func(...remote.Op) error) error {
			defer func() { ended = true }()
			for i := range c.say {
				if i == c.breakSay {
					return broken
				}
				if err := say(remote.Op{Number: uint32(i)}); err != nil {
					return err
				}
			}
			return nil
		}
		next, parts := 0, 0
		err := eachPart(said, func(ops []remote.Op) error {
			if parts == c.breakTake {
				return broken
			}
			for _, op := range ops {
				if int(op.Number) != next {
					t.Fatal(op.Number, next)
				}
				next++
			}
			parts++
			return nil
		})
		if whole := c.breakSay < 0 && c.breakTake < 0; whole != (err == nil) || !whole && err != broken || whole && next != c.say || !ended {
			t.Errorf("%+v: %d of %d, %v", c, next, c.say, err)
		}
	}
}

// TestReadAgainRubbish: a tree that is read again, since the server has not all events any more, lists what is in the rubbish bin, too. What was moved there meanwhile is not shown, nor
// what is in it, and what was moved out of a folder that went there is.
func TestReadAgainRubbish(t *testing.T) {
	e := newEvil(t)
	k := megacrypt.NewFileKey()
	file := func(h, parent string) map[string]any { return fileNode(h, parent, h, k, 1) }
	folder := func(h, parent string) map[string]any { return folderNode(h, parent, h) }
	e.tree(folder("stays000", evilRoot), folder("goes0000", evilRoot), folder("within00", "goes0000"), file("filewith", "within00"), file("filegoes", evilRoot), file("filesave", "goes0000"),
		file("filestay", "stays000"))
	r := e.open(Options{})
	if got := e.load(r); len(got.names) != 7 {
		t.Fatal(got.names)
	}
	e.tree(folder("stays000", evilRoot), folder("goes0000", "rubbish0"), folder("within00", "goes0000"), file("filewith", "within00"), file("filegoes", "rubbish0"), file("filesave", "stays000"),
		file("filestay", "stays000"), folder("ringring", "ringrin2"), folder("ringrin2", "ringring"))
	r.x.meta.sn = ""
	got := e.load(r)
	stays := got.names["1/stays000"]
	if len(got.names) != 3 || got.names[fmt.Sprintf("%d/filesave", stays)] == 0 || got.names[fmt.Sprintf("%d/filestay", stays)] == 0 {
		t.Errorf("%v", got.names)
	}
	for _, h := range []string{"goes0000", "within00", "filewith", "filegoes"} {
		if n, err := r.x.node(h); n != nil || err != nil {
			t.Errorf("the index has %s, %v", h, err)
		}
	}
}
