package mega

import (
	"errors"
	"slices"
	"testing"

	"megafs/crypto/megacrypt"
	"megafs/remote"
)

// TestSharedTaken: what is shared takes no place of what was made here, whatever wrapped keys, tags and versions the server says of it, in events or in a whole tree. Nothing is put
// back there, removed, or copied with the key that another chose; and the key of a share opens nothing of one's own.
func TestSharedTaken(t *testing.T) {
	_, sealed, k := sealedContent(100)
	e := newEvil(t)
	e.data = sealed
	s, public := sharer(e)
	key := megacrypt.NewKey()
	wrap := func(k megacrypt.FileKey) string { return megacrypt.Encode(evilMaster.Wrap(k.Pack())) }
	lent := func(h string, k megacrypt.FileKey, more string) map[string]any {
		n := lentNode(h, "topshare", "topshare", key, megacrypt.Attributes{"n": h}, k, 100)
		n["k"] = evilUser + ":" + wrap(k) + more
		return n
	}
	var made [3]megacrypt.FileKey
	for i := range made {
		made[i] = megacrypt.NewFileKey()
	}
	own, twice := fileNode("plainown", evilRoot, "mine", k, 100), fileNode("twicekey", evilRoot, "twice", k, 100)
	twice["k"] = "topshare:" + megacrypt.Encode(key.Wrap(megacrypt.NewFileKey().Pack())) + "/" + evilUser + ":" + wrap(k)
	closed := fileNode("closedow", evilRoot, "closed", made[0], 100)
	closed["k"] = "nobodyss:AAAA"
	top := topNode("topshare", key, "docs", sealKey(public, key))
	theirs := lentNode("theirsth", "topshare", "topshare", key, megacrypt.Attributes{"n": "theirs"}, k, 100)
	e.tree(own, twice, closed, top, theirs)
	dir := t.TempDir()
	r := e.open(Options{Session: s, Shared: true, StateDir: dir})
	st := e.load(r)
	if got := st.list(); !slices.Equal(got, []string{"(undecryptable closedow)", sharedName, "mine", "twice"}) {
		t.Errorf("a key of one's own that comes behind another is not used: %q", got)
	}
	mine := st.ino("mine")
	var refs []remote.Ref
	for _, x := range st.exts[st.ino(sharedName+"/docs/theirs")] {
		refs = append(refs, x.Ref)
	}
	if got, err := r.CopyFile(t.Context(), 100, refs); len(refs) != 1 || got != nil || err != nil {
		t.Error("a copy is asked for with a key that another chose", refs, got, err)
	}
	intend := func() {
		t.Helper()
		w := newWrite()
		w.put(kstr(keyIntent, wrap(made[1])), intent{ino: remote.Ino(localDevice<<remote.InoBits | 7), object: object{2, 3}, replaces: "plainown"}.encode())
		w.put(kstr(keyLate, wrap(made[2])), intent{ino: remote.Ino(localDevice<<remote.InoBits | 8), object: object{2, 4}, late: 1 << 31}.encode())
		if err := r.x.commit(w, r.x.meta); err != nil {
			t.Fatal(err)
		}
	}
	n := byte(0)
	check := func(when string, want ...string) {
		t.Helper()
		st := e.load(r)
		if got := st.below(sharedName); !slices.Equal(got, want) || st.ino("mine") != mine || len(st.list()) != 4 {
			t.Errorf("%s: %q, %q", when, st.list(), got)
		}
		for _, name := range want {
			if ino := st.ino(sharedName + "/" + name); ino.Device() != foreignDevice || r.Guard(ino) == nil {
				t.Errorf("%s: %s has the inode %x", when, name, ino)
			}
		}
		for _, kind := range []byte{keyStray, keyUndo} {
			if err := r.x.scan([]byte{kind}, func(_, _ []byte) error { return errStop }); err != nil {
				t.Errorf("%s: something is to be done: %c", when, kind)
			}
		}
	}
	told := func(doubt bool, packets ...any) {
		n++
		e.mu.Lock()
		e.sc = append(e.sc, event(megacrypt.Encode([]byte{7: n}), packets...))
		e.mu.Unlock()
		r.doubt = doubt
		r.news.there.Store(true)
	}
	arrive := func(i string, nodes ...any) map[string]any {
		return map[string]any{"a": "t", "i": i, "t": map[string]any{"f": nodes}}
	}
	intend()
	told(true, arrive("", lent("meantone", made[1], "")), arrive("", lent("lateones", made[2], "")))
	check("an event with keys of what was meant", "docs", "docs/lateones", "docs/meantone", "docs/theirs")
	intend()
	all := []map[string]any{own, twice, top, theirs, lent("meantone", made[1], ""), lent("lateones", made[2], ""), lent("meanttwo", made[1], "/x"), lent("latetwot", made[2], "/x")}
	moved := lentNode("closedow", "topshare", "topshare", key, megacrypt.Attributes{"n": "opened"}, made[0], 100)
	e.tree(append(all, moved)...)
	r.x.meta.sn = ""
	inTree := []string{"docs", "docs/latetwot", "docs/lateones", "docs/meantone", "docs/meanttwo", "docs/theirs"}
	slices.Sort(inTree)
	check("a tree with them", inTree...)
	if x, err := r.x.node("closedow"); err != nil || x.readable() || x.shared || x.parent != evilRoot {
		t.Errorf("the key of a share opens what is one's own: %+v, %v", x, err)
	}
	old := r.ownTag() + "ffffff"
	a, _ := megacrypt.Attributes{"n": "late"}.Encode(k.Key)
	sub := lentNode("subsubsu", "topshare", "topshare", key, megacrypt.Attributes{"n": "sub"}, megacrypt.NewKey(), 0)
	into := lentNode("theirsth", "subsubsu", "topshare", key, megacrypt.Attributes{"n": "late"}, k, 100)
	told(false, arrive("", sub), map[string]any{"a": "u", "n": "theirsth", "at": a, "i": old}, map[string]any{"a": "d", "n": "theirsth", "m": 1, "i": old}, arrive(old, into))
	inTree = append(inTree, "docs/sub", "docs/sub/late")
	inTree = slices.DeleteFunc(inTree, func(n string) bool { return n == "docs/theirs" })
	slices.Sort(inTree)
	check("changes of theirs that are said to come of here, and late", inTree...)
	told(false, map[string]any{"a": "t", "t": map[string]any{"f": []any{}, "f2": []any{map[string]any{"h": "plainown", "p": "theirsth", "t": 0}, map[string]any{"h": "theirsth", "p": "plainown", "t": 0}}}})
	check("versions", inTree...)
	// A new folder's key is its own, whatever else the server says of it.
	e.cs["p"] = func(c command) any {
		body := c["n"].([]any)[0].(map[string]any)
		lie := megacrypt.NewKey()
		return map[string]any{"f": []any{map[string]any{"h": "newfolde", "p": evilRoot, "t": 1, "a": body["a"], "ts": 1,
			"k": "topshare:" + megacrypt.Encode(key.Wrap(lie[:])) + "/" + evilUser + ":" + body["k"].(string)}}}
	}
	ino := remote.Ino(localDevice<<remote.InoBits | 9)
	ops := []remote.Op{{Kind: remote.OpNode, Ino: ino, Attr: remote.Attr{Type: remote.Dir, Mode: 0o755}}, {Kind: remote.OpLink, Ino: ino, Parent: remote.Root, Name: "new"}}
	if _, err := r.Commit(t.Context(), r.x.meta.position(), ops); err != nil {
		t.Error(err)
	}
	if x, err := r.x.node("newfolde"); err != nil || x == nil || !x.readable() || x.lent {
		t.Errorf("%+v, %v", x, err)
	}
	// Nor is a node of theirs one that was made here, because the server says so.
	e.cs["p"] = func(c command) any {
		body, _ := c["n"].([]any)[0].(map[string]any)
		return map[string]any{"f": []any{map[string]any{"h": "subsubsu", "p": evilRoot, "t": 1, "a": body["a"], "ts": 1, "k": body["k"]}}}
	}
	ino++
	ops[0].Ino, ops[1].Ino, ops[1].Name = ino, ino, "other"
	if _, err := r.Commit(t.Context(), r.x.meta.position(), ops); err == nil {
		t.Error("a node of theirs is taken for one's own")
	}
	if x, err := r.x.node("subsubsu"); err != nil || x == nil || !x.shared || x.ino == ino {
		t.Errorf("%+v, %v", x, err)
	}
	for _, c := range []command{{"a": "m", "n": "theirsth", "t": evilRoot}, {"a": "m", "n": "plainown", "t": "topshare"}, {"a": "a", "n": "topshare", "at": a}, {"a": "d", "n": sharedRoot},
		{"a": "p", "t": evilRoot, "n": []any{map[string]any{"h": "theirsth"}}}, {"a": "p", "t": evilRoot, "n": []any{map[string]any{"h": "x", "ov": "theirsth"}}}} {
		if _, err := r.send(t.Context(), []command{{"a": "m", "n": "plainown", "t": evilRoot}, c}); !errors.Is(err, errShared) {
			t.Errorf("%v is sent: %v", c, err)
		}
	}
	for _, c := range e.got {
		if a := c["a"]; a != "f" && a != "ug" && a != "uga" && a != "p" {
			t.Errorf("sent: %v", c)
		}
	}
	if _, err := fetch(r, e.load(r), mine); err != nil {
		t.Error(err)
	}
	// Shown no more, but still in the index until the server can be asked.
	r.Close()
	r = e.open(Options{Session: s, StateDir: dir})
	if r.Guard(sharedIno) == nil || r.Guard(mine) != nil {
		t.Error("what the tree still has of shares may be changed")
	}
	if got := e.load(r).below(sharedName); got != nil || r.Guard(sharedIno) != nil {
		t.Errorf("%q", got)
	}
}
