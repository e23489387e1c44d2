package mega

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"megafs/crypto/megacrypt"
	"megafs/remote"
)

// TestM25HostileEvents: events that make no sense leave a tree, and end.
func TestM25HostileEvents(t *testing.T) {
	e := newEvil(t)
	k := megacrypt.NewFileKey()
	e.tree(folderNode("folder00", evilRoot, "folder"), folderNode("folder01", "folder00", "inner"), fileNode("filefile", "folder01", "file", k, 0))
	r := e.open(Options{})
	s := e.load(r)
	packet := func(sn int, ps ...any) string {
		b, _ := json.Marshal(map[string]any{"a": ps, "sn": megacrypt.Encode([]byte{0, 0, 0, 0, 0, 0, 0, byte(sn)})})
		return string(b)
	}
	moved := folderNode("folder00", "folder01", "folder")
	e.mu.Lock()
	e.sc = []string{
		packet(1, map[string]any{"a": "zzz", "x": map[string]any{"y": []any{}}}, map[string]any{"a": 5}),
		packet(2, map[string]any{"a": "d", "n": evilRoot}, map[string]any{"a": "d", "n": "nobody00"}, map[string]any{"a": "u", "n": evilRoot, "at": "x"}),
		packet(3, map[string]any{"a": "t", "t": map[string]any{"f": []any{moved}}}), // into itself
		packet(4, map[string]any{"a": "t", "t": map[string]any{"f": []any{folderNode(evilRoot, "folder01", "root")}}}),
		packet(5, map[string]any{"a": "u", "n": "folder00", "at": "AAAA"}),
		packet(6, map[string]any{"a": "t", "t": map[string]any{"f": []any{fileNode("new00000", "nowhere0", "x", k, 5)}}}),
	}
	e.mu.Unlock()
	r.news.there.Store(true)
	pos := r.x.meta.position()
	if _, err := r.Load(context.Background(), pos, s); err != nil {
		t.Fatal(err)
	}
	if l := s.list(); len(l) != 1 || l[0] != "folder" || len(s.names) != 3 {
		t.Errorf("%v", s.names)
	}
	for _, bad := range []string{`{"a":[{"a":"t","t":5}],"sn":"` + evilSN + `"}`, strings.Repeat("[", 100_000), `{"a":[],"sn":"x"}`, `{"w":"http://169.254.169.254/x"}`, `{"w":"file:///etc/passwd"}`} {
		e.mu.Lock()
		e.sc = []string{bad}
		e.mu.Unlock()
		r.news.there.Store(true)
		if _, err := r.Load(context.Background(), r.x.meta.position(), s); !remote.Is(err, remote.Integrity) {
			t.Errorf("%.40s: %v", bad, err)
		}
	}
}

// TestM32MassDisappearance: when much of the tree is gone at once that is no attack that could be told from a removal, but it is said in the log; and what comes back is
// there as it was. The rest of the row is shown by a test of volumes.
func TestM32MassDisappearance(t *testing.T) {
	e := newEvil(t)
	k := megacrypt.NewFileKey()
	var all []map[string]any
	for i := range 20 {
		d := fmt.Sprintf("folder%02d", i)
		all = append(all, folderNode(d, evilRoot, d), fileNode(fmt.Sprintf("file00%02d", i), d, "file", k, 5))
	}
	e.tree(all...)
	var log bytes.Buffer
	r, err := Open(Options{Session: e.session(), Log: slog.New(slog.NewTextHandler(&log, nil)), Retry: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	s := e.load(r)
	was := s.list()
	again := func(nodes []map[string]any) []string {
		t.Helper()
		e.mu.Lock()
		e.tree(nodes...)
		e.sc = []string{"-6"} // there is no list of what happened
		e.mu.Unlock()
		r.news.there.Store(true)
		if _, err := r.Load(context.Background(), r.x.meta.position(), s); err != nil {
			t.Fatal(err)
		}
		return s.list()
	}
	if l := again(all[2:]); len(l) != 19 || log.Len() > 0 {
		t.Errorf("one folder goes: %d names, the log has %q", len(l), log.String())
	}
	if l := again(all[22:]); len(l) != 9 || !strings.Contains(log.String(), "gone=20 known=39") {
		t.Errorf("half of the tree goes: %d names, the log has %q", len(l), log.String())
	}
	log.Reset()
	if l := again(all); !slices.Equal(l, was) || log.Len() > 0 {
		t.Errorf("it comes back: %q, the log has %q", l, log.String())
	}
}

// TestAnotherType: a client that writes attributes anew, without ours, makes a file of a symbolic link. It is another inode then: no inode changes its type, in no order of events, nor when the
// tree is read again.
func TestAnotherType(t *testing.T) {
	e := newEvil(t)
	k := megacrypt.NewFileKey()
	k.Meta = [8]byte{}
	link := func(more megacrypt.Attributes) map[string]any {
		n := fileNode("linklink", evilRoot, "link", k, 0)
		at := megacrypt.Attributes{}
		if more == nil {
			describe(at, "link", remote.Attr{Type: remote.Symlink, Mode: 0o777, Size: 1, Target: "x"}, nil)
		} else {
			maps.Copy(at, more)
		}
		n["a"], _ = at.Encode(k.Key)
		return n
	}
	plain := megacrypt.Attributes{"n": "link"}
	later := megacrypt.Attributes{"n": "link", "c": megacrypt.Fingerprint{Time: 1000}.Encode()}
	e.tree(link(nil))
	r := e.open(Options{})
	s := e.load(r)
	pos := r.x.meta.position()
	step := func(what string, want remote.Type) {
		t.Helper()
		types := map[remote.Ino]remote.Type{}
		for ino, a := range s.attrs {
			types[ino] = a.Type
		}
		var err error
		if pos, err = r.Load(t.Context(), pos, s); err != nil {
			t.Fatal(what, err)
		}
		for ino, was := range types {
			if a, ok := s.attrs[ino]; ok && a.Type != was {
				t.Errorf("%s: inode %x became another type", what, ino)
			}
		}
		ino := s.names["1/link"]
		if n, err := r.x.nodeOf(ino); len(s.names) != 1 || s.attrs[ino].Type != want || n == nil || n.parent != evilRoot {
			t.Errorf("%s: %v, %+v, %v", what, s.names, s.attrs[ino], err)
		}
		count := 0
		r.x.scan([]byte{keyIno}, func(_, _ []byte) error { count++; return nil })
		if count != 2 {
			t.Errorf("%s: the index has %d inodes", what, count)
		}
	}
	n := byte(0)
	told := func(what string, at map[string]any, want remote.Type) {
		t.Helper()
		n++
		e.sc = append(e.sc, event(megacrypt.Encode([]byte{7: n}), map[string]any{"a": "u", "n": "linklink", "at": at["a"]}))
		r.news.there.Store(true)
		step(what, want)
	}
	told("without ours", link(plain), remote.File)
	told("with a time", link(later), remote.File)
	told("a link again", link(nil), remote.Symlink)
	e.tree(link(plain))
	r.x.meta.sn = ""
	step("read again", remote.File)
	next, was := link(nil), link(plain)
	next["h"], was["p"] = "nextnext", "nextnext"
	e.sc = append(e.sc, event("AAAAAAAAAAE", map[string]any{"a": "t", "t": map[string]any{"f": []any{next}, "f2": []any{was}}}))
	r.news.there.Store(true)
	step("a new version", remote.Symlink)
	last := link(nil)
	last["h"], next["p"] = "lastlast", "lastlast"
	e.sc = append(e.sc, event("AAAAAAAAAAI", map[string]any{"a": "t", "t": map[string]any{"f": []any{last}, "f2": []any{next}}}, map[string]any{"a": "u", "n": "lastlast", "at": link(plain)["a"]}))
	r.news.there.Store(true)
	step("a new version with attributes that are written anew", remote.File)
}

// TestVersionReverted: another client makes a new version of a file and removes it again, and an older folder takes its name, all before it is told here. Each name leads to an inode that is
// known.
func TestVersionReverted(t *testing.T) {
	e := newEvil(t)
	k := megacrypt.NewFileKey()
	one, two := fileNode("fileone0", evilRoot, "name", k, 1), fileNode("filetwo0", evilRoot, "name", k, 1)
	older := folderNode("folder00", evilRoot, "name")
	older["ts"] = 50
	e.tree(one)
	r := e.open(Options{})
	s := e.load(r)
	old := fileNode("fileone0", "filetwo0", "name", k, 1)
	arrive := func(f, f2 any) map[string]any {
		return map[string]any{"a": "t", "t": map[string]any{"f": []any{f}, "f2": []any{f2}}}
	}
	e.sc = append(e.sc, event("AAAAAAAAAAE", arrive(two, old), arrive(one, map[string]any{}), map[string]any{"a": "d", "n": "filetwo0"}, arrive(older, map[string]any{})))
	r.news.there.Store(true)
	if _, err := r.Load(t.Context(), r.x.meta.position(), s); err != nil {
		t.Fatal(err)
	}
	if len(s.names) != 2 {
		t.Errorf("%v", s.names)
	}
	for name, ino := range s.names {
		if _, known := s.attrs[ino]; !known {
			t.Errorf("nothing was said of %s", name)
		}
	}
}

// TestBornAnew: a client that writes attributes anew gives a file another time of birth. Of two with one name the one that is older then has the plain name, as it has for whoever logs in anew.
func TestBornAnew(t *testing.T) {
	e := newEvil(t)
	k := megacrypt.NewFileKey()
	first, second := fileNode("firstfir", evilRoot, "name", k, 1), fileNode("secondse", evilRoot, "name", k, 2)
	second["ts"] = 200
	e.tree(first, second)
	r := e.open(Options{})
	s := e.load(r)
	a, _ := megacrypt.Attributes{"n": "name", "c": megacrypt.Fingerprint{Time: 300}.Encode()}.Encode(k.Key)
	e.sc = append(e.sc, event("AAAAAAAAAAE", map[string]any{"a": "u", "n": "firstfir", "at": a}))
	r.news.there.Store(true)
	if _, err := r.Load(t.Context(), r.x.meta.position(), s); err != nil {
		t.Fatal(err)
	}
	first["a"] = a
	fresh := e.load(e.open(Options{}))
	if !slices.Equal(s.list(), fresh.list()) || len(s.list()) != 2 {
		t.Errorf("%q, anew %q", s.list(), fresh.list())
	}
	for _, name := range s.list() {
		if got, want := s.attrs[s.ino(name)].Size, fresh.attrs[fresh.ino(name)].Size; got != want {
			t.Errorf("%s has %d bytes, anew %d", name, got, want)
		}
	}
}
