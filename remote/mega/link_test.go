package mega

import (
	"bytes"
	"context"
	"testing"

	"megafs/crypto/megacrypt"
	"megafs/remote"
)

// TestPublicFolder opens somebody's public folder: its keys are wrapped for the folder, and nothing can be changed.
func TestPublicFolder(t *testing.T) {
	e := newEvil(t)
	plain, sealed, k := sealedContent(300_000)
	e.data = sealed
	share := megacrypt.NewKey()
	under := func(n map[string]any, key []byte) map[string]any {
		n["k"] = "topfolde:" + megacrypt.Encode(share.Wrap(key))
		return n
	}
	folder := func(h, parent, name string) map[string]any {
		key := megacrypt.NewKey()
		n := folderNode(h, parent, name)
		n["a"], _ = megacrypt.Attributes{"n": name}.Encode(key)
		return under(n, key[:])
	}
	nodes := []map[string]any{folder("topfolde", "elsewher", "top"), folder("inner000", "topfolde", "inner"), under(fileNode("filefile", "inner000", "file", k, len(sealed)), k.Pack())}
	e.cs["f"] = func(command) any { return map[string]any{"f": nodes, "ok": []any{}, "sn": evilSN} }
	r := e.open(Options{Session: &Session{URL: e.url}, Link: &megacrypt.Link{Handle: "publicph", Folder: true, Key: share[:]}})
	s := e.load(r)
	ino := s.names["1/inner"]
	if len(s.names) != 2 || ino == 0 {
		t.Fatalf("%v", s.names)
	}
	for name, file := range s.names {
		if name == "1/inner" {
			continue
		}
		if got, err := fetch(r, s, file); err != nil || !bytes.Equal(got, plain) {
			t.Error(name, err)
		}
	}
	if _, err := r.Commit(context.Background(), r.x.meta.position(), nil); !remote.Is(err, remote.ReadOnly) || !r.Traits().ReadOnly {
		t.Error(err)
	}
}
