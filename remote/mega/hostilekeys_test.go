package mega

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"testing"

	"megafs/crypto/megacrypt"
	"megafs/remote"
)

// blocks are all that can be seen as blocks of a cipher in a value of a command: 16 bytes each.
func blocks(v any, all map[[16]byte]bool) map[[16]byte]bool {
	switch v := v.(type) {
	case string:
		for _, part := range strings.FieldsFunc(v, func(r rune) bool { return r == '/' || r == ':' }) {
			b, err := megacrypt.Decode(part, 1<<20)
			for i := 0; err == nil && i+16 <= len(b); i += 16 {
				all[[16]byte(b[i:])] = true
			}
		}
	case []any:
		for _, x := range v {
			blocks(x, all)
		}
	case map[string]any:
		for _, x := range v {
			blocks(x, all)
		}
	case command:
		blocks(map[string]any(v), all)
	}
	return all
}

// TestM24OnlyOwnKeysAreWrapped renames, moves, describes, replaces, removes and makes nodes beside those of a server that chose their keys and what they are wrapped with: nothing
// that it chose, nor what that decrypts to, ever comes back to it encrypted or decrypted under the master key.
func TestM24OnlyOwnKeysAreWrapped(t *testing.T) {
	e := newEvil(t)
	plain, sealed, k := sealedContent(100)
	e.data = sealed
	chosen := bytes.Repeat([]byte{0x5a, 0xa5, 3, 4}, 8)
	weird := func(h, key string) map[string]any {
		n := fileNode(h, evilRoot, h, k, 100)
		n["k"] = key
		return n
	}
	nodes := []map[string]any{
		fileNode("goodgood", evilRoot, "good", k, 100), folderNode("folder00", evilRoot, "folder"),
		weird("foreign0", "AAAAAAAAAAA:"+megacrypt.Encode(k.Pack())), weird("bareopen", megacrypt.Encode(chosen)), weird("chosen00", evilUser+":"+megacrypt.Encode(chosen)),
		weird("rsarsa00", evilUser+":"+megacrypt.Encode(bytes.Repeat(chosen, 8))),
		weird("twokeys0", "AAAAAAAAAAA:"+megacrypt.Encode(chosen)+"/"+own(k.Pack())),
	}
	e.tree(nodes...)
	count := 0
	done := func(command) any { return 0 }
	e.cs["a"], e.cs["m"], e.cs["d"] = done, done, done
	e.cs["u"] = func(command) any { return map[string]any{"p": e.url + "/ul"} }
	e.cs["p"] = func(c command) any {
		n := c["n"].([]any)[0].(map[string]any)
		count++
		return map[string]any{"f": []any{map[string]any{"h": fmt.Sprintf("made%04d", count), "p": c["t"], "t": n["t"], "a": n["a"], "k": evilUser + ":" + n["k"].(string), "s": len(plain), "ts": 1}}}
	}
	r := e.open(Options{})
	s := e.load(r)
	var ops []remote.Op
	store := func(ino remote.Ino, a remote.Attr) {
		t.Helper()
		refs, err := r.StoreFile(context.Background(), ino, uint64(len(plain)), func(_ context.Context, off uint64, dst []byte) error { copy(dst, plain[off:]); return nil }, nil)
		if err != nil {
			t.Fatal(err)
		}
		a.Type, a.Mode, a.Size = remote.File, 0o600, uint64(len(plain))
		ops = append(ops, remote.Op{Kind: remote.OpNode, Ino: ino, Attr: a},
			remote.Op{Kind: remote.OpExtent, Ino: ino, Extent: remote.Extent{Len: uint64(len(plain)), Ref: refs[0]}})
	}
	link := func(kind remote.OpKind, ino, dir remote.Ino, name string) {
		ops = append(ops, remote.Op{Kind: kind, Ino: ino, Parent: dir, Name: name})
	}
	folder := s.names["1/folder"]
	commit := func() {
		t.Helper()
		if _, err := r.Commit(context.Background(), r.x.meta.position(), ops); err != nil {
			t.Log(err) // such as of a rename of what can't be decrypted
		}
		ops = nil
		s = e.load(r)
	}
	for name, ino := range s.names { // each gets another mode and time, and moves under another name
		if ino == folder {
			continue
		}
		a := s.attrs[ino]
		a.Mode, a.Mtime = 0o640, 5e9
		ops = append(ops, remote.Op{Kind: remote.OpNode, Ino: ino, Attr: a}, remote.Op{Kind: remote.OpXattr, Ino: ino, Name: "user.k", Value: chosen})
		link(remote.OpUnlink, ino, remote.Root, name[2:])
		link(remote.OpLink, ino, folder, "moved "+name[2:])
	}
	commit()
	for i, name := range sorted(s.names) {
		if ino := s.names[name]; ino != folder { // new content, and a new file in a new folder
			store(ino, s.attrs[ino])
			d, f := remote.Ino(localDevice<<remote.InoBits|10+2*i), remote.Ino(localDevice<<remote.InoBits|11+2*i)
			ops = append(ops, remote.Op{Kind: remote.OpNode, Ino: d, Attr: remote.Attr{Type: remote.Dir, Mode: 0o755}})
			link(remote.OpLink, d, remote.Root, fmt.Sprint("new", i))
			store(f, remote.Attr{})
			link(remote.OpLink, f, d, "file")
		}
		commit()
	}
	for place, ino := range s.names {
		var dir remote.Ino
		_, name, _ := strings.Cut(place, "/")
		if _, err := fmt.Sscanf(place, "%d/", &dir); err != nil {
			t.Fatal(err)
		}
		link(remote.OpUnlink, ino, dir, name)
	}
	commit()
	asked := map[string]int{}
	for _, c := range e.log {
		asked[c]++
	}
	if asked["p"] < 6 || asked["a"] < 2 || asked["m"] < 4 {
		t.Errorf("too little was done: %v", asked)
	}
	gave := map[[16]byte]bool{} // by the server
	for _, n := range nodes {
		blocks(n["k"], gave)
	}
	for _, b := range [][]byte{chosen, k.Pack(), evilMaster[:]} {
		blocks(megacrypt.Encode(b), gave)
	}
	never := map[[16]byte]bool{}
	for b := range gave {
		never[b] = true
		never[[16]byte(evilMaster.Wrap(b[:]))] = true
		un, err := evilMaster.Unwrap(b[:])
		if err != nil {
			t.Fatal(err)
		}
		never[[16]byte(un)] = true
	}
	for _, c := range e.got {
		for b := range blocks(c, map[[16]byte]bool{}) {
			if never[b] {
				t.Errorf("sent: %v", c)
			}
		}
		for _, key := range []string{"cr", "ok", "ha", "sk"} {
			if c[key] != nil {
				t.Errorf("keys are sent: %v", c)
			}
		}
	}
}
