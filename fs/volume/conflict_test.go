package volume

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"megafs/fs/tree"
	"megafs/remote"
)

// paths tells all names of a machine, and what is there: a file's content, a directory's mode.
func (m *member) paths() string {
	m.t.Helper()
	_, names := m.look()
	all := map[string]string{}
	for _, x := range names {
		path := regexp.MustCompile(`\d{4}-\d\d-\d\d`).ReplaceAllString(x.path, "DATE")
		all[path] = "/"
		n, err := m.tree.Node(m.inner(x.ino))
		if err != nil {
			m.t.Fatal(err)
		}
		if n.Type == remote.File {
			b := make([]byte, n.Size)
			if k, err := m.read(ctx, m.inner(x.ino), b, 0); err != nil || k != len(b) {
				m.t.Fatal(k, err)
			}
			all[path] = "=" + string(b)
			if n.Links > 1 {
				all[path] += fmt.Sprint("*", n.Links)
			}
		}
		if n.Mode != 0o755 {
			all[path] += fmt.Sprintf(" %o", n.Mode)
		}
		if n.Xattrs > 0 {
			x, _ := m.tree.Xattrs(m.inner(x.ino))
			all[path] += " " + strings.Join(x, ",")
		}
	}
	var out []string
	for _, p := range slices.Sorted(maps.Keys(all)) {
		out = append(out, strings.TrimSuffix(p[1:]+all[p], "/"))
	}
	return strings.Join(out, "; ")
}

// do is a shell of a few words for what the tests of pairs do.
func (m *member) do(line string) {
	m.t.Helper()
	at := func(path string) (remote.Ino, string) {
		dir := remote.Root
		parts := strings.Split(path, "/")
		for _, p := range parts[:len(parts)-1] {
			dir = m.find(dir, p)
		}
		return dir, parts[len(parts)-1]
	}
	must := func(err error) {
		m.t.Helper()
		if err != nil {
			m.t.Fatalf("%s: %s: %v", m.name, line, err)
		}
	}
	for _, cmd := range strings.Split(line, "; ") {
		w := strings.Fields(cmd)
		if len(w) == 0 {
			continue
		}
		dir, name := at(w[1])
		there := func() remote.Ino { return m.find(dir, name) }
		switch w[0] {
		case "mkdir", "write":
			ino, err := m.tree.Lookup(dir, name)
			if err != nil {
				typ := map[bool]remote.Type{true: remote.Dir, false: remote.File}[w[0] == "mkdir"]
				s, err := m.Make(ctx, dir, name, typ, 0o755, 0, "", Caller{})
				must(err)
				m.Forget(s.Ino, 1)
				ino = s.Ino
			}
			if w[0] == "write" {
				h, err := m.Open(ctx, ino, true, false)
				must(err)
				_, err = h.WriteAt(ctx, []byte(w[2]), uint64(len(w)-3)*2, false)
				must(err)
				h.Close()
			}
		case "rm":
			must(m.Unlink(ctx, dir, name))
		case "rmdir":
			must(m.Rmdir(ctx, dir, name))
		case "mv":
			d2, n2 := at(w[2])
			must(m.Rename(ctx, dir, name, d2, n2, 0, Caller{}))
		case "ln":
			d2, n2 := at(w[2])
			s, err := m.Link(ctx, there(), d2, n2)
			must(err)
			m.Forget(s.Ino, 1)
		case "chmod":
			mode := uint16(0o700)
			_, err := m.Setattr(ctx, there(), SetAttr{Mode: &mode})
			must(err)
		case "touch":
			when := remote.Time(12345)
			_, err := m.Setattr(ctx, there(), SetAttr{Mtime: &when})
			must(err)
		case "cut":
			size := uint64(1)
			_, err := m.Setattr(ctx, there(), SetAttr{Size: &size})
			must(err)
		case "xattr":
			must(m.Setxattr(ctx, there(), w[2], []byte(m.name), 0))
		default:
			m.t.Fatal(cmd)
		}
	}
}

func (m *member) find(dir remote.Ino, name string) remote.Ino {
	m.t.Helper()
	ino, err := m.tree.Lookup(dir, name)
	if err != nil {
		m.t.Fatalf("%s: %s: %v", m.name, name, err)
	}
	return ino
}

// TestP2Pairs lets machine A and machine B do one thing each to the same tree; A's is committed first. With a restart of B, with and without its
// tree, before it hears of A's, the outcome is the same. Only when B gets its lost tree from a snapshot, later than what it had seen, more comes of
// it: then nobody knows what A changed, so what B removed comes back, and what both may have changed is there twice. Nothing that was written is lost.
func TestP2Pairs(t *testing.T) {
	for i, c := range []struct{ what, begin, a, b, want string }{
		{"content, content", "write f.txt old", "write f.txt AAAA", "write f.txt BB", "f (conflict B DATE).txt=BBd; f.txt=AAAA"},
		{"content, content elsewhere", "write f 0123456789", "write f AA", "write f BB 1 1", "f=AA23456789; f (conflict B DATE)=0123BB6789"},
		{"the same content", "write f old", "write f new", "write f new", "f=new"},
		{"content, truncation", "write f old", "write f AAAA", "cut f", "f=AAAA; f (conflict B DATE)=o"},
		{"content, attributes", "write f old", "write f newer", "chmod f; touch f", "f=newer 700"},
		{"attributes, content", "write f old", "chmod f", "write f newer", "f=newer 700"},
		{"xattrs", "write f old", "xattr f user.a; xattr f user.c", "xattr f user.b; xattr f user.c", "f=old user.a,user.b,user.c"},
		{"removal, content", "write f old", "rm f", "write f new", "f=new"},
		{"removal, truncation and content", "write f old", "rm f", "cut f; write f new", "f=new"},
		{"content, removal", "write f old", "write f new", "rm f", "f=new"},
		{"attributes, removal", "write f old", "chmod f", "rm f", ""},
		{"removal, attributes", "write f old", "rm f", "chmod f", ""},
		{"removal, rename", "write f old", "rm f", "mv f g", "g=old"},
		{"rename, removal", "write f old", "mv f g", "rm f", "g=old"},
		{"change and removal, rename", "write f old", "cut f; chmod f; rm f", "mv f g", "g=old"},
		{"rename, change and removal", "write f old", "mv f g", "cut f; chmod f; xattr f user.a; rm f", "g=old"},
		{"rename, content", "write f old", "mv f g", "write f new", "g=new"},
		{"content, rename", "write f old", "write f new", "mv f g", "g=new"},
		{"rename, rename", "write f old", "mv f g", "mv f h", "g=old"},
		{"rename to the same", "write f old", "mv f g", "mv f g", "g=old"},
		{"link, rename", "write f old", "ln f g", "mv f h", "g=old*2; h=old*2"},
		{"link, removal", "write f old", "ln f g", "rm f", "g=old"},
		{"both names removed", "write f old; ln f g", "rm f", "rm g", "g=old"},
		{"conflict of a file with two names", "write f old; ln f g", "write f AA", "write g BB", "f=AAd*2; f (conflict B DATE)=BBd; g=AAd*2"},
		{"new, new", "", "write n.txt A", "write n.txt B", "n (conflict B DATE).txt=B; n.txt=A"},
		{"new file, new directory", "", "write n A", "mkdir n; write n/x B", "n=A; n (conflict B DATE); n (conflict B DATE)/x=B"},
		{"new directories", "", "mkdir d; write d/x A; write d/a A", "mkdir d; write d/x B; write d/b B; mkdir d/e", "d; d/a=A; d/b=B; d/e; d/x=A; d/x (conflict B DATE)=B"},
		{"both replaced", "write f old", "write t A; mv t f", "write u B; mv u f", "f=A; f (conflict B DATE)=B"},
		{"replaced, content", "write f old", "write t A; mv t f", "write f B", "f=A; f (conflict B DATE)=Bld"},
		{"content, replaced", "write f old", "write f A", "write t B; mv t f", "f=Ald; f (conflict B DATE)=B"},
		{"renamed to a new name", "write f old", "write g A", "mv f g", "g=A; g (conflict B DATE)=old"},
		{"directory removed, file put in", "mkdir d", "rmdir d", "write d/f B", "d; d/f=B"},
		{"file put in, directory removed", "mkdir d", "write d/f A", "rmdir d", "d; d/f=A"},
		{"two levels removed, file put in", "mkdir d; mkdir d/e; write d/e/x old", "rm d/e/x; rmdir d/e; rmdir d", "write d/e/f B", "d; d/e; d/e/f=B"},
		{"all removed, content", "mkdir d; write d/f old; write d/g old", "rm d/f; rm d/g; rmdir d", "write d/f new", "d; d/f=new"},
		{"file put in, directory replaced", "mkdir d", "write d/f A", "rmdir d; write d B", "d; d (conflict B DATE)=B; d/f=A"},
		{"directories into each other", "mkdir x; mkdir y; write x/in-x 1; write y/in-y 2", "mv x y/x", "mv y x/y", "y; y/in-y=2; y/x; y/x/in-x=1"},
		{"directories into each other, deeper", "mkdir x; mkdir y; mkdir y/z", "mv x y/z/x", "mkdir n; mv y n/y; mv n x/n", "y; y/z; y/z/x; y/z/x/n"},
		{"directory renamed twice", "mkdir d; write d/f old", "mv d e", "mv d g; write g/n B", "e; e/f=old; e/n=B"},
		{"moved, filled", "mkdir d", "mv d e", "write d/f B", "e; e/f=B"},
		{"name reused", "write f old", "mv f g", "mv f h; write f B", "f=B; g=old"},
	} {
		for _, how := range []string{"running", []string{"restarted", "tree lost"}[i%2], behindSnapshot} {
			t.Run(c.what+", "+how, func(t *testing.T) {
				t.Parallel()
				f := newFleet(t, 1, 2)
				a, b := f.all[0], f.all[1]
				a.do(c.begin)
				a.drain()
				b.pull()
				b.mem.SetAway(true)
				a.do(c.a)
				b.do(c.b)
				a.drain()
				b.mem.SetAway(false)
				if how != "running" {
					b.Volume.Close(ctx)
					if how != "restarted" {
						b.cache = t.TempDir()
					}
					if how == behindSnapshot {
						b.over = func(o *Options) { o.Remote = condensed{o.Remote} }
					}
					b.start()
				}
				b.drain()
				b.fsck()
				f.settle()
				got := b.paths()
				if how == behindSnapshot {
					for _, line := range []string{c.a, c.b} {
						for _, w := range regexp.MustCompile(`write \S+ (\w+)`).FindAllStringSubmatch(line, -1) {
							if !strings.Contains(got, w[1]) {
								t.Errorf("%s was written after B's last look, and is lost: %s", w[1], got)
							}
						}
					}
				} else if got != c.want {
					t.Errorf("%s\nwant %s", got, c.want)
				}
			})
		}
	}
}

const behindSnapshot = "tree lost, log gone"

// condensed is a remote whose whole past is in one snapshot, for who begins anew.
type condensed struct{ remote.Remote }

func (c condensed) Load(ctx context.Context, from remote.Position, s remote.Sink) (remote.Position, error) {
	if from.Seq > 0 {
		return c.Remote.Load(ctx, from, s)
	}
	t, err := tree.Open(tree.Options{Memory: 8 << 20})
	if err != nil {
		return from, err
	}
	defer t.Close()
	head, err := c.Remote.Load(ctx, from, t)
	if err != nil {
		return from, err
	}
	if err := s.Reset(); err != nil {
		return from, err
	}
	err = t.Ops(func(op remote.Op) error { return s.Apply(remote.Batch{Ops: []remote.Op{op}}) })
	if err == nil {
		err = s.Apply(remote.Batch{Pos: head})
	}
	return head, err
}

// TestP2OpenFile has a file open for reading and writing while another machine's content takes its name: both handles go on with what was
// written here, which is the conflict copy's.
func TestP2OpenFile(t *testing.T) {
	f := newFleet(t, 1, 2)
	a, b := f.all[0], f.all[1]
	a.do("write f " + strings.Repeat("o", 100))
	a.drain()
	b.pull()
	s, err := b.Lookup(ctx, remote.Root, "f")
	if err != nil {
		t.Fatal(err)
	}
	h, err := b.Open(ctx, s.Ino, true, false)
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	for round := range 2 {
		want := fmt.Sprintf("%doooBB", round)
		if _, err := h.WriteAt(ctx, []byte(want), 0, false); err != nil {
			t.Fatal(err)
		}
		a.do(fmt.Sprintf("write f AA%d", round))
		a.drain()
		b.pull()
		got := make([]byte, 100)
		if n, err := h.ReadAt(ctx, got, 0); n != 100 || err != nil || !bytes.HasPrefix(got, []byte(want)) {
			t.Fatalf("%d %v %q", n, err, got)
		}
		if _, err := h.WriteAt(ctx, []byte("more"), 50, false); err != nil {
			t.Fatal(err)
		}
		now, err := b.Lookup(ctx, remote.Root, "f")
		if err != nil || now.Ino == s.Ino {
			t.Fatal("the name leads to the number that is open", err)
		}
		b.Forget(now.Ino, 1)
		if st, err := b.Getattr(ctx, s.Ino); err != nil || st.Ino != s.Ino {
			t.Fatal(st, err)
		}
	}
	f.settle()
	got := a.paths()
	if !strings.Contains(got, "f=AA1o") || !strings.Contains(got, "f (conflict B DATE)=1oooBBo") || strings.Count(got, "conflict") != 1 || !strings.Contains(got, "omoreo") {
		t.Error(got)
	}
}

// TestConflictLabels makes names of hosts fit for names of files.
func TestConflictLabels(t *testing.T) {
	for host, want := range map[string]string{"box.example.org": "box", "a/b\x00(c)": "a-b--c-", "\xff": "-", strings.Repeat("ä", 100): strings.Repeat("ä", 30)} {
		if got := hostLabel(host); got != want {
			t.Errorf("%q: %q", host, got)
		}
	}
	if hostLabel("") == "" {
		t.Error("a host without a name")
	}
}

// TestP2HeldFile has a file open that is kept back while others are sent, so that the journal's note lists it; then another machine's content
// makes a conflict copy of it. After a restart, with and without the tree, the copy has what was written.
func TestP2HeldFile(t *testing.T) {
	for _, lost := range []bool{false, true} {
		f := newFleet(t, 1, 2)
		a, b := f.all[0], f.all[1]
		a.do("write f " + strings.Repeat("o", 20))
		a.drain()
		b.pull()
		b.over = func(o *Options) { o.Settle = time.Nanosecond }
		b.Volume.Close(ctx)
		b.start()
		h, err := b.Open(ctx, b.find(remote.Root, "f"), true, false)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := h.WriteAt(ctx, []byte("BBB"), 0, false); err != nil {
			t.Fatal(err)
		}
		b.sends("write g other")
		a.do("write f AAA")
		a.drain()
		b.pull()
		want := b.paths()
		h.Close()
		b.mem.SetAway(true)
		b.Volume.Close(ctx)
		b.mem.SetAway(false)
		if lost {
			b.cache = t.TempDir()
		}
		b.over = nil
		b.start()
		if got := b.paths(); got != want || !strings.Contains(got, "f (conflict B DATE)=BBBooo") {
			t.Errorf("tree lost: %v: restarted with %s\nwant %s", lost, got, want)
		}
		f.settle()
	}
}

// TestP2HeldFileRemoved is the same with a file that the other machine removes: it stays, and is sent with its name or not at all.
func TestP2HeldFileRemoved(t *testing.T) {
	f := newFleet(t, 1, 3)
	a, b := f.all[0], f.all[1]
	a.do("write f old")
	a.drain()
	b.pull()
	b.over = func(o *Options) { o.Settle = time.Nanosecond }
	b.Volume.Close(ctx)
	b.start()
	h, err := b.Open(ctx, b.find(remote.Root, "f"), true, false)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := h.WriteAt(ctx, []byte("BBB"), 0, false); err != nil {
		t.Fatal(err)
	}
	a.do("rm f")
	a.drain()
	b.pull()
	b.sends("write g other")
	a.pull()
	f.all[2].pull()
	h.Close()
	f.settle()
	if got := a.paths(); got != "f=BBB; g=other" {
		t.Error(got)
	}
}

// sends does something and waits until the machine commits.
func (m *member) sends(what string) {
	m.t.Helper()
	entries := len(m.f.store.Batches())
	m.do(what)
	for end := time.Now().Add(20 * time.Second); len(m.f.store.Batches()) == entries; time.Sleep(time.Millisecond) {
		if m.eng.Kick(); time.Now().After(end) {
			m.t.Fatal("nothing is sent while a file is open")
		}
	}
}

// TestP2HeldAgain has a file sent, changed by another machine, and then changed here and kept back, while the journal still has the records of what was sent: after a
// restart these are not laid over what the other machine did.
func TestP2HeldAgain(t *testing.T) {
	f := newFleet(t, 1, 2)
	a, b := f.all[0], f.all[1]
	a.do("write f " + strings.Repeat("o", 10) + "; write z zzz")
	a.drain()
	b.pull()
	b.over = func(o *Options) { o.Settle = time.Nanosecond }
	b.Volume.Close(ctx)
	b.start()
	edit := func(name, what string, off uint64) {
		h, err := b.Open(ctx, b.find(remote.Root, name), true, false)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(h.Close)
		if _, err := h.WriteAt(ctx, []byte(what), off, false); err != nil {
			t.Fatal(err)
		}
	}
	edit("z", "B", 0) // keeps the journal from being trimmed
	b.sends("write f BB")
	a.pull()
	a.do("write f AA")
	a.drain()
	b.pull()
	edit("f", "CC", 8)
	b.sends("write g other")
	want := "f=AAooooooCC; g=other; z=Bzz"
	if got := b.paths(); got != want {
		t.Fatal(got)
	}
	b.over = nil
	for _, lost := range []bool{false, true} {
		b.mem.SetAway(true)
		b.Volume.Close(ctx)
		b.mem.SetAway(false)
		if lost {
			b.cache = t.TempDir()
		}
		b.start()
		if got := b.paths(); got != want {
			t.Errorf("tree lost: %v: %s", lost, got)
		}
	}
	f.settle()
}

// TestP2HeldName has a new file kept back, which gets a conflict name since another machine took its own, and then other attributes: the record that made it is superfluous
// then, and the name must not need it.
func TestP2HeldName(t *testing.T) {
	for _, dir := range []bool{false, true} {
		f := newFleet(t, 1, 2)
		a, b := f.all[0], f.all[1]
		b.over = func(o *Options) { o.Settle = time.Nanosecond }
		b.Volume.Close(ctx)
		b.start()
		d := remote.Root
		if dir {
			b.do("mkdir f") // what is in it goes into the other machine's
			d = b.find(d, "f")
			a.do("mkdir f")
		}
		s, err := b.Make(ctx, d, "f", remote.File, 0o755, 0, "", Caller{})
		if err != nil {
			t.Fatal(err)
		}
		defer b.Forget(s.Ino, 1)
		h, err := b.Open(ctx, s.Ino, true, false)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := h.WriteAt(ctx, []byte("BBB"), 0, false); err != nil {
			t.Fatal(err)
		}
		if !dir {
			a.do("write f AAA")
		}
		a.drain()
		b.pull()
		mode := uint16(0o700)
		if _, err := b.Setattr(ctx, b.inner(s.Ino), SetAttr{Mode: &mode}); err != nil {
			t.Fatal(err)
		}
		b.sends("write g other")
		want := b.paths()
		h.Close()
		b.over = nil
		for _, lost := range []bool{false, true} {
			b.mem.SetAway(true)
			b.Volume.Close(ctx)
			b.mem.SetAway(false)
			if lost {
				b.cache = t.TempDir()
			}
			b.start()
			if got := b.paths(); got != want || !strings.Contains(got, "=BBB 700") {
				t.Errorf("tree lost: %v: restarted with %s\nwant %s", lost, got, want)
			}
		}
		f.settle()
	}
}
