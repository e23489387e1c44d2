package mega

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"megafs/crypto/megacrypt"
	"megafs/remote"
)

// TestChangeCutShort: of a change of more than one transaction that fails midway, as on a full disk, the index has a part that nobody was told of. The process does not go on from it: the
// server's tree is read again, and told as a whole.
func TestChangeCutShort(t *testing.T) {
	e := newEvil(t)
	one, two := fileNode("fileone0", evilRoot, "one", megacrypt.NewFileKey(), 1), fileNode("filetwo0", evilRoot, "two", megacrypt.NewFileKey(), 1)
	e.tree(one)
	r := e.open(Options{})
	s := e.load(r)
	before := r.x.meta.position()
	c := r.begin()
	var p packet
	p.A = "t"
	p.T.F = make([]jsonNode, 1)
	decode(t, two, &p.T.F[0])
	if err := c.apply([]packet{p}); err != nil {
		t.Fatal(err)
	}
	for i := range 40 {
		c.w.put(kstr(keyPoison, fmt.Sprint(i)), make([]byte, 64<<10))
	}
	c.w.put(kstr(keyUndo, strings.Repeat("x", 1<<17)), nil) // a key that the database refuses, after all others
	if err := r.commitChange(c); !remote.Is(err, remote.IO) {
		t.Fatal(err)
	}
	if n, err := r.x.node("filetwo0"); n == nil || err != nil {
		t.Fatal("nothing was written", err)
	}
	e.tree(one, two)
	e.sc = append(e.sc, event("AAAAAAAAAAE", map[string]any{"a": "t", "t": map[string]any{"f": []any{two}}}))
	if _, err := r.Commit(t.Context(), before, nil); !remote.Is(err, remote.Conflict) {
		t.Errorf("a commit: %v", err)
	}
	r.news.there.Store(true)
	if _, err := r.Load(t.Context(), before, s); err != nil {
		t.Fatal(err)
	}
	if l := s.list(); len(l) != 2 {
		t.Errorf("it has %q", l)
	}
}

// decode makes a node of what the server says of it.
func decode(t *testing.T, from map[string]any, n *jsonNode) {
	t.Helper()
	b, err := json.Marshal(from)
	if err == nil {
		err = json.Unmarshal(b, n)
	}
	if err != nil {
		t.Fatal(err)
	}
}
