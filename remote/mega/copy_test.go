package mega

import (
	"context"
	"encoding/json"
	"testing"

	"megafs/crypto/megacrypt"
	"megafs/remote"
)

// TestCopyFile: a copy goes to the server as the source's handle, with the source's key just as the server gave it, and nothing is uploaded. It is told from copies of
// others by its mark, when the answer was lost.
func TestCopyFile(t *testing.T) {
	e := newEvil(t)
	plain, sealed, k := sealedContent(300_000)
	e.data = sealed
	source := fileNode("source00", evilRoot, "source", k, len(plain))
	print := megacrypt.Fingerprint{Sample: [16]byte{1, 2, 3}, Time: 77}.Encode()
	var err error
	if source["a"], err = (megacrypt.Attributes{"n": "source", "c": print, "fav": "1"}).Encode(k.Key); err != nil {
		t.Fatal(err)
	}
	e.tree(source, fileNode("another0", evilRoot, "another", megacrypt.NewFileKey(), len(plain)))
	var asked map[string]any
	e.cs["p"] = func(c command) any {
		asked = c["n"].([]any)[0].(map[string]any)
		return map[string]any{} // does not say what it made
	}
	r := e.open(Options{})
	s := e.load(r)
	var refs []remote.Ref
	for _, x := range s.exts[s.names["1/source"]] {
		refs = append(refs, x.Ref)
	}
	none := func(what string, size uint64, refs []remote.Ref) {
		t.Helper()
		if got, err := r.CopyFile(t.Context(), size, refs); got != nil || err != nil {
			t.Error(what, got, err)
		}
	}
	none("a part", 200_000, refs)
	none("more", remote.MaxContent+1, append(refs, s.exts[s.names["1/another"]][0].Ref))
	off := refs[0]
	off.Off = 5
	none("from the midst", 300_000, []remote.Ref{off})
	off = refs[0]
	off.Object[3]++
	none("nobody's", 300_000, []remote.Ref{off})
	got, err := r.CopyFile(t.Context(), 300_000, refs)
	if err != nil || len(got) != 1 || got[0].Object == refs[0].Object {
		t.Fatal(got, err)
	}
	ino := remote.Ino(localDevice<<remote.InoBits | 7)
	attr := remote.Attr{Type: remote.File, Mode: 0o600, Size: 300_000, Mtime: 9e9}
	ops := []remote.Op{
		{Kind: remote.OpNode, Ino: ino, Attr: attr}, {Kind: remote.OpExtent, Ino: ino, Extent: remote.Extent{Len: 300_000, Ref: got[0]}},
		{Kind: remote.OpLink, Ino: ino, Parent: remote.Root, Name: "copy"},
	}
	if _, err := r.Commit(context.Background(), r.x.meta.position(), ops); err == nil {
		t.Fatal("an answer that says nothing is taken")
	}
	if asked["h"] != "source00" || evilUser+":"+asked["k"].(string) != source["k"] {
		t.Fatal(asked)
	}
	at, err := megacrypt.DecodeAttributes(k.Key, asked["a"].(string))
	if err != nil || at["n"] != "copy" || at[attrCopy] == "" || at["fav"] != "" {
		t.Fatal(at, err)
	}
	if f, err := megacrypt.DecodeFingerprint(at["c"]); err != nil || f.Sample != [16]byte{1, 2, 3} || f.Time != 9 {
		t.Error(f, err)
	}
	for _, c := range e.log {
		if c == "u" || c == "dl" || c == "g" {
			t.Error("asked for", c)
		}
	}
	// Somebody else's copy of the same file comes before ours, for which the server's answer was none.
	ours := fileNode("ourcopy0", evilRoot, "copy", k, len(plain))
	ours["a"] = asked["a"]
	b, _ := json.Marshal(map[string]any{"a": []any{
		map[string]any{"a": "t", "t": map[string]any{"f": []any{fileNode("theirs00", evilRoot, "theirs", k, len(plain))}}},
		map[string]any{"a": "t", "t": map[string]any{"f": []any{ours}}},
	}, "sn": megacrypt.Encode([]byte{0, 0, 0, 0, 0, 0, 0, 1})})
	e.mu.Lock()
	e.sc = []string{string(b)}
	e.mu.Unlock()
	s = e.load(r)
	if s.names["1/copy"] != ino || s.names["1/theirs"] == 0 || s.names["1/theirs"] == ino || len(s.names) != 4 {
		t.Error(s.names)
	}
	if got, err := fetch(r, s, ino); err != nil || len(got) != len(plain) || got[299_999] != plain[299_999] {
		t.Error(len(got), err)
	}
	// What was caught is not copied on.
	r.down.mu.Lock()
	r.down.poison[nodeObject("source00")] = true
	r.down.mu.Unlock()
	none("what was caught", 300_000, refs)
}
