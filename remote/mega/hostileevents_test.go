package mega

import (
	"context"
	"encoding/json"
	"strings"
	"testing"

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
