package mega

import (
	"bytes"
	"context"
	"errors"
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

// TestPublicFile opens somebody's public file: a folder that has it, which changes nothing and asks for no tree and no events.
func TestPublicFile(t *testing.T) {
	e := newEvil(t)
	plain, sealed, k := sealedContent(300_000)
	e.data = sealed
	gone := false
	at, _ := megacrypt.Attributes{"n": "film"}.Encode(k.Key)
	e.cs["g"] = func(c command) any {
		switch {
		case gone || c["p"] != "publicph" || c["n"] != nil:
			return -9
		case c["g"] != nil:
			return map[string]any{"s": len(sealed), "at": at, "g": e.url + "/dl"}
		}
		return map[string]any{"s": len(sealed), "at": at}
	}
	dir := t.TempDir()
	link := &megacrypt.Link{Handle: "publicph", Key: k.Pack()}
	open := func(l *megacrypt.Link, dir string) (*Remote, *state, error) {
		r := e.open(Options{Session: &Session{URL: e.url}, Link: l, StateDir: dir})
		s := &state{}
		s.Reset()
		_, err := r.Load(context.Background(), remote.Position{}, s)
		return r, s, err
	}
	r, s, err := open(link, dir)
	ino := s.names["1/film"]
	if err != nil || ino == 0 || len(s.names) != 1 {
		t.Fatal(s.names, err)
	}
	if got, err := fetch(r, s, ino); err != nil || !bytes.Equal(got, plain) {
		t.Error(err)
	}
	if _, err := r.Commit(context.Background(), r.x.meta.position(), nil); !remote.Is(err, remote.ReadOnly) || !r.Traits().ReadOnly {
		t.Error(err)
	}
	r.Close()
	if _, s, err = open(link, t.TempDir()); err != nil || s.names["1/film"] == 0 {
		t.Error(err)
	}
	if r, s, err = open(link, dir); err != nil || s.names["1/film"] != ino {
		t.Error(s.names, err)
	}
	r.Close()
	other := megacrypt.NewFileKey()
	if _, s, err := open(&megacrypt.Link{Handle: "publicph", Key: other.Pack()}, ""); !remote.Is(err, remote.Locked) || len(s.names) != 0 {
		t.Error("a wrong key:", s.names, err)
	}
	gone = true
	for _, d := range []string{dir, ""} {
		if _, _, err := open(link, d); !remote.Is(err, remote.NotExist) || !errors.Is(err, errLinkGone) {
			t.Error("a link that was taken back:", err)
		}
	}
	for _, c := range e.got {
		if c["a"] != "g" {
			t.Errorf("it asked for %v", c["a"])
		}
	}
	for _, size := range []any{-1, "x", 1.5, uint64(1) << 63, nil} {
		e.cs["g"] = func(command) any { return map[string]any{"s": size, "at": at} }
		if _, _, err := open(link, ""); !remote.Is(err, remote.Integrity) {
			t.Error("a size of", size, err)
		}
	}
}

// TestPublicFolderRefused: a wrong key and a link that was taken back are told from a folder of which nothing makes sense.
func TestPublicFolderRefused(t *testing.T) {
	e := newEvil(t)
	share := megacrypt.NewKey()
	key := megacrypt.NewKey()
	top := folderNode("topfolde", "elsewher", "top")
	top["a"], _ = megacrypt.Attributes{"n": "top"}.Encode(key)
	top["k"] = "topfolde:" + megacrypt.Encode(share.Wrap(key[:]))
	e.cs["f"] = func(command) any { return map[string]any{"f": []any{top}, "sn": evilSN} }
	load := func(key megacrypt.Key) error {
		r := e.open(Options{Session: &Session{URL: e.url}, Link: &megacrypt.Link{Handle: "publicph", Folder: true, Key: key[:]}})
		s := &state{}
		s.Reset()
		_, err := r.Load(context.Background(), remote.Position{}, s)
		return err
	}
	if err := load(share); err != nil {
		t.Error(err)
	}
	if err := load(megacrypt.NewKey()); !remote.Is(err, remote.Locked) || !errors.Is(err, errLinkKey) {
		t.Error(err)
	}
	e.cs["f"] = func(command) any { return -9 }
	if err := load(share); !errors.Is(err, errLinkGone) {
		t.Error(err)
	}
}
