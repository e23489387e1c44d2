package mega

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"sync"
	"testing"

	"megafs/crypto/megacrypt"
	"megafs/remote"
	"megafs/remote/wire"
)

const evilOther = "AbCdEfGhIjk" // a user who shares

var evilRSA = sync.OnceValue(func() (k struct {
	private *megacrypt.PrivateKey
	public  *megacrypt.PublicKey
	err     error
}) {
	k.private, k.public, k.err = megacrypt.NewPrivateKey()
	return k
})

// sealKey seals a share's key for an account as the official clients do.
func sealKey(pub *megacrypt.PublicKey, key megacrypt.Key) string {
	m := make([]byte, len(pub.N.Bytes())-2)
	rand.Read(m)
	copy(m, key[:])
	return megacrypt.Encode(megacrypt.AppendMPI(nil, new(big.Int).Exp(new(big.Int).SetBytes(m), pub.E, pub.N)))
}

// sharer makes the server one at which somebody shares things with the account, whose key it lists.
func sharer(e *evil) (*Session, *megacrypt.PublicKey) {
	e.t.Helper()
	k := evilRSA()
	if k.err != nil {
		e.t.Fatal(k.err)
	}
	s := e.session()
	sum := sha256.Sum256(k.private.Modulus())
	s.Pins.Modulus = hex.EncodeToString(sum[:])
	e.cs["ug"] = func(command) any { return map[string]any{"u": evilUser, "privk": k.private.Seal(evilMaster)} }
	return s, k.public
}

// lentNode is a node of somebody else's, with its key under that of a share.
func lentNode(h, parent, share string, under megacrypt.Key, at megacrypt.Attributes, k any, size int) map[string]any {
	n := map[string]any{"h": h, "p": parent, "u": evilOther, "t": 1, "ts": 100}
	var raw []byte
	switch k := k.(type) {
	case megacrypt.Key:
		raw = k[:]
		n["a"], _ = at.Encode(k)
	case megacrypt.FileKey:
		raw = k.Pack()
		n["a"], _ = at.Encode(k.Key)
		n["t"], n["s"] = 0, size
	}
	n["k"] = share + ":" + megacrypt.Encode(under.Wrap(raw))
	return n
}

func topNode(h string, under megacrypt.Key, name string, sealed string) map[string]any {
	n := lentNode(h, "elsewher", h, under, megacrypt.Attributes{"n": name}, megacrypt.NewKey(), 0)
	n["su"], n["r"], n["sk"] = evilOther, 2, sealed
	return n
}

// below returns the names under a name in the root, as paths.
func (s *state) below(top string) (out []string) {
	var walk func(dir remote.Ino, path string)
	walk = func(dir remote.Ino, path string) {
		for _, k := range sorted(s.names) {
			if name, ok := strings.CutPrefix(k, fmt.Sprintf("%d/", dir)); ok {
				out = append(out, path+name)
				walk(s.names[k], path+name+"/")
			}
		}
	}
	walk(s.names["1/"+top], "")
	return out
}

func (s *state) ino(path string) remote.Ino {
	ino := remote.Root
	for _, name := range strings.Split(path, "/") {
		ino = s.names[fmt.Sprintf("%d/%s", ino, name)]
	}
	return ino
}

// event makes an answer of sc of packets.
func event(sn string, packets ...any) string {
	b, _ := json.Marshal(packets)
	return `{"a":` + string(b) + `,"sn":"` + sn + `"}`
}

// TestShared shows what others share, with keys in each form in which they come, in a folder beside which one of the user's with its name stays; without the option
// there is nothing of it, as before. The tree is taken at once, in the way of one that is too large, and read once more.
func TestShared(t *testing.T) {
	plain, sealed, k := sealedContent(300_000)
	under := [3]megacrypt.Key{megacrypt.NewKey(), megacrypt.NewKey(), megacrypt.NewKey()}
	under[0][0] = 0 // a number does not tell it
	for _, set := range []bool{false, true} {
		memory, opened := int64(0), []bool{true, false, true}
		if set { // and too large to be taken at once
			memory, opened = 200, []bool{true}
		}
		e := newEvil(t)
		e.data = sealed
		s, public := sharer(e)
		want := []string{"docs", "docs/inner", "docs/inner/file", "other", "(undecryptable sharenon)"}
		if set {
			var more []byte
			for h, key := range map[string]megacrypt.Key{"sharersa": under[0], "sharesym": under[1]} {
				b, _ := megacrypt.Decode(h, 6)
				more = append(append(append(more, b...), key[:]...), 3)
			}
			all := keySetWith(t, evilUser, 5, append([]byte{48, 0, 0, byte(len(more))}, more...))
			e.cs["uga"] = func(command) any { return map[string]any{"av": all, "v": "x"} }
		}
		slices.Sort(want)
		e.tree(folderNode("ownshare", evilRoot, sharedName), fileNode("plainown", evilRoot, "mine", k, len(sealed)),
			topNode("sharersa", under[0], "docs", sealKey(public, under[0])), lentNode("innernod", "sharersa", "sharersa", under[0], megacrypt.Attributes{"n": "inner"}, megacrypt.NewKey(), 0),
			lentNode("filefile", "innernod", "sharersa", under[0], megacrypt.Attributes{"n": "file"}, k, len(sealed)),
			topNode("sharesym", under[1], "other", megacrypt.Encode(evilMaster.Wrap(under[1][:]))),
			topNode("sharenon", under[2], "nobody's", megacrypt.Encode(bytes.Repeat([]byte{7}, 100))))
		dir := t.TempDir()
		check := func(r *Remote, shared bool) {
			t.Helper()
			s := e.load(r)
			top := s.list()
			switch {
			case !shared:
				if !slices.Equal(top, []string{sharedName, "mine"}) {
					t.Fatalf("not asked for, and there is %q", top)
				}
				return
			case len(top) != 3 || !slices.Contains(top, sharedName) || s.names["1/"+sharedName] != sharedIno:
				t.Fatalf("there is %q", top)
			}
			got := s.below(sharedName)
			if slices.Sort(got); !slices.Equal(got, want) {
				t.Fatalf("shared: %q", got)
			}
			file := s.ino(sharedName + "/docs/inner/file")
			if got, err := fetch(r, s, file); err != nil || !bytes.Equal(got, plain) {
				t.Error(err)
			}
			for ino, mode := range map[remote.Ino]uint16{file: 0o444, sharedIno: 0o555, s.ino(sharedName + "/docs"): 0o555, s.ino("mine"): 0o644} {
				if err := r.Guard(ino); s.attrs[ino].Mode != mode || (err == nil) != (mode == 0o644) || err != nil && !remote.Is(err, remote.Permission) {
					t.Errorf("%o, not %o: %v", s.attrs[ino].Mode, mode, err)
				}
			}
		}
		for _, shared := range opened {
			r := e.open(Options{Session: s, StateDir: dir, Shared: shared, Memory: memory})
			check(r, shared)
			r.x.meta.sn = "" // and read again
			check(r, shared)
			r.Close()
		}
		if set && slices.Contains(e.log, "ug") {
			t.Error("an account with a key set needs no other key")
		}
	}
}

// TestSharedEvents: shares come, get a key later, change and go while the account is open.
func TestSharedEvents(t *testing.T) {
	_, sealed, k := sealedContent(100)
	e := newEvil(t)
	e.data = sealed
	s, public := sharer(e)
	e.tree(fileNode("plainown", evilRoot, "mine", k, len(sealed)))
	r := e.open(Options{Session: s, Shared: true})
	key := megacrypt.NewKey()
	n := 0
	step := func(what string, want []string, packets ...any) {
		t.Helper()
		n++
		e.mu.Lock()
		e.sc = append(e.sc, event(megacrypt.Encode([]byte{7: byte(n)}), packets...))
		e.mu.Unlock()
		r.news.there.Store(true)
		if got := e.load(r).below(sharedName); !slices.Equal(got, want) {
			t.Errorf("%s: %q", what, got)
		}
	}
	tree := func(nodes ...any) map[string]any { return map[string]any{"a": "t", "t": map[string]any{"f": nodes}} }
	file := func(h, parent, name string) map[string]any {
		return lentNode(h, parent, "topshare", key, megacrypt.Attributes{"n": name}, k, len(sealed))
	}
	told := func(more string) json.RawMessage {
		return json.RawMessage(`{"a":"s2","n":"topshare","o":"` + evilOther + `","u":"` + evilUser + `"` + more + `,"ts":1}`)
	}
	plainTop := topNode("topshare", key, "docs", "")
	step("nothing yet", nil)
	step("one without a key", []string{"(undecryptable topshare)", "(undecryptable topshare)/(undecryptable filefile)"}, told(`,"r":0`), tree(plainTop, file("filefile", "topshare", "file")))
	e.tree(fileNode("plainown", evilRoot, "mine", k, len(sealed)), topNode("topshare", key, "docs", sealKey(public, key)), file("filefile", "topshare", "file"))
	step("its key", []string{"docs", "docs/file"}, told(`,"r":0,"k":"`+sealKey(public, key)+`"`))
	step("another key, which is not believed", []string{"docs", "docs/file"}, told(`,"r":2,"k":"`+sealKey(public, megacrypt.NewKey())+`"`))
	step("a new file, and one that moves", []string{"docs", "docs/new", "docs/sub", "docs/sub/file"},
		tree(file("newnewne", "topshare", "new"), lentNode("subsubsu", "topshare", "topshare", key, megacrypt.Attributes{"n": "sub"}, megacrypt.NewKey(), 0)),
		map[string]any{"a": "d", "n": "filefile", "m": 1}, tree(file("filefile", "subsubsu", "file")))
	step("removed", []string{"docs", "docs/new"}, map[string]any{"a": "d", "n": "subsubsu"})
	step("shared with others, too", []string{"docs", "docs/new"}, json.RawMessage(`{"a":"s2","n":"topshare","o":"`+evilOther+`","u":"BBBBBBBBBBB"}`))
	step("revoked", nil, told(""))
	step("shared again, with another key", []string{"again"}, told(`,"r":0`), tree(topNode("topshare", under2, "again", sealKey(public, under2))))
	step("removed without a word", nil, map[string]any{"a": "d", "n": "topshare"})
	if len(r.shares) != 0 {
		t.Errorf("%d shares are kept", len(r.shares))
	}
	// The account comes to have a key set, and the set a key.
	var set any = -9
	e.cs["uga"] = func(command) any { return set }
	step("not readable", []string{"(undecryptable topshare)"}, told(`,"r":0`), tree(plainTop))
	b, _ := megacrypt.Decode("topshare", 6)
	set = map[string]any{"v": "x", "av": keySetWith(t, evilUser, 9, append(append(append([]byte{48, 0, 0, 23}, b...), key[:]...), 3))}
	e.tree(fileNode("plainown", evilRoot, "mine", k, len(sealed)), plainTop)
	step("in the key set", []string{"docs"}, map[string]any{"a": "ua", "u": evilUser, "ua": []string{keySetAttr}, "v": []string{"x"}})
}

// TestSharedKeyKept: what comes into a share is readable also in the next process, which is not told the share's key again; and what is to be put back at the server is no share, nor goes
// when the shares are looked through.
func TestSharedKeyKept(t *testing.T) {
	_, sealed, k := sealedContent(100)
	e := newEvil(t)
	e.data = sealed
	s, public := sharer(e)
	key := megacrypt.NewKey()
	top := topNode("topshare", key, "docs", sealKey(public, key))
	e.tree(fileNode("plainown", evilRoot, "mine", k, len(sealed)), top)
	dir := t.TempDir()
	r := e.open(Options{Session: s, Shared: true, StateDir: dir})
	e.load(r)
	w := newWrite()
	w.put(kstr(keyUndo, "a", "plainown"), nil)
	if err := r.x.commit(w, r.x.meta); err != nil {
		t.Fatal(err)
	}
	r.Close()
	e.cs["a"] = func(command) any { return -18 } // it can't be put back yet
	r = e.open(Options{Session: s, Shared: true, StateDir: dir})
	r.Load(t.Context(), remote.Position{}, &state{})
	if got := sorted(r.shares); !slices.Equal(got, []string{"topshare"}) {
		t.Errorf("shares: %q", got)
	}
	if b, err := r.x.get(kstr(keyUndo, "a", "plainown")); b == nil {
		t.Error("what is to be put back was forgotten", err)
	}
	e.cs["a"] = func(command) any { return 0 }
	e.sc = append(e.sc, event("AAAAAAAAAAE", map[string]any{"a": "t", "t": map[string]any{"f": []any{
		lentNode("newnewne", "topshare", "topshare", key, megacrypt.Attributes{"n": "new"}, k, len(sealed))}}}))
	r.news.there.Store(true)
	if got := e.load(r).below(sharedName); !slices.Equal(got, []string{"docs", "docs/new"}) {
		t.Errorf("shared: %q", got)
	}
	// An index of which an earlier version took the keys.
	w = newWrite()
	w.del(kstr(keyShare, "topshare"))
	if err := r.x.commit(w, r.x.meta); err != nil {
		t.Fatal(err)
	}
	r.Close()
	r = e.open(Options{Session: s, Shared: true, StateDir: dir})
	e.load(r)
	if r.shares["topshare"] != key {
		t.Error("a share's key is not asked for again")
	}
}

var under2 = megacrypt.NewKey()

// TestHostileShares: whoever shares, and the server, can show what they like in the folder of shares, and nothing elsewhere; none of it is changed, owned by others,
// or more than a file, a folder or a link, and nothing is sent but questions.
func TestHostileShares(t *testing.T) {
	_, sealed, k := sealedContent(100)
	e := newEvil(t)
	e.data = sealed
	s, public := sharer(e)
	key := megacrypt.NewKey()
	lie := func(a remote.Attr, x map[string][]byte) megacrypt.Attributes {
		at := megacrypt.Attributes{}
		describe(at, "lie", a, x)
		return at
	}
	suid := remote.Attr{Type: remote.File, Mode: 0o6777, UID: 0, GID: 0, Size: 100}
	device := remote.Attr{Type: remote.CharDev, Mode: 0o666, Rdev: 5}
	empty := megacrypt.NewFileKey()
	empty.Meta = [8]byte{}
	in := func(n map[string]any, more ...any) map[string]any {
		for i := 0; i < len(more); i += 2 {
			n[more[i].(string)] = more[i+1]
		}
		return n
	}
	nodes := []map[string]any{
		folderNode("ownownow", evilRoot, "own"),
		topNode("topshare", key, "a/b", sealKey(public, key)),
		lentNode("suidsuid", "topshare", "topshare", key, lie(suid, map[string][]byte{"user.x": []byte("y"), "security.capability": []byte("z"), "system.posix_acl_access": []byte("z")}), k, 100),
		lentNode("devicede", "topshare", "topshare", key, lie(device, nil), empty, 0),
		lentNode("lentlent", evilRoot, "topshare", key, megacrypt.Attributes{"n": "planted"}, k, 100), // in one's own tree
		lentNode("ringring", "ringrin2", "topshare", key, megacrypt.Attributes{"n": "ring"}, megacrypt.NewKey(), 0),
		lentNode("ringrin2", "ringring", "topshare", key, megacrypt.Attributes{"n": "ring"}, megacrypt.NewKey(), 0),
		lentNode("byhandle", sharedRoot, "topshare", key, megacrypt.Attributes{"n": "by handle"}, k, 100),
		in(topNode(evilRoot, key, "root", ""), "sk", sealKey(public, key)),
		in(fileNode("filetop0", "elsewher", "file", k, 100), "su", evilOther),
		in(folderNode("selfself", "elsewher", "self"), "su", evilUser),
		topNode("zerozero", megacrypt.Key{}, "zero", megacrypt.Encode(evilMaster.Wrap(make([]byte, 16)))),
		topNode("badbadba", key, "bad", strings.Repeat("A", 2000)),
	}
	e.tree(nodes...)
	r := e.open(Options{Session: s, Shared: true})
	want := []string{"(undecryptable badbadba)", "(undecryptable zerozero)", "a%2Fb", "a%2Fb/lie"}
	ownList := []string{"(undecryptable lentlent)", sharedName, "own"}
	check := func(when string) *state {
		t.Helper()
		st := e.load(r)
		got := st.below(sharedName)
		got = slices.DeleteFunc(got, func(n string) bool { return strings.HasPrefix(n, "a%2Fb/lie (") }) // its twin
		if slices.Sort(got); !slices.Equal(got, want) || !slices.Equal(st.list(), ownList) {
			t.Errorf("%s: %q, %q", when, got, st.list())
		}
		return st
	}
	st := check("at first")
	for ino, a := range st.attrs {
		if ino == remote.Root || r.Guard(ino) == nil {
			continue
		}
		if a.Mode&0o7222 != 0 || a.Type != remote.File && a.Type != remote.Dir || a.UID != r.o.Owner.UID || a.Rdev != 0 {
			t.Errorf("%+v", a)
		}
		if err := wire.Check(&remote.Op{Kind: remote.OpNode, Ino: ino, Attr: a}); err != nil {
			t.Error(err)
		}
	}
	n, _ := r.x.node("suidsuid")
	if _, x, _ := n.attr(r.o.Owner); len(x) != 1 || string(x["user.x"]) != "y" {
		t.Errorf("%q", x)
	}
	packets := []any{
		map[string]any{"a": "d", "n": sharedRoot}, map[string]any{"a": "u", "n": sharedRoot, "at": "AAAA"},
		map[string]any{"a": "t", "t": map[string]any{"f": []any{
			folderNode("ownown02", sharedRoot, "own"), in(topNode("ownownow", key, "taken", ""), "p", evilRoot), map[string]any{"h": sharedRoot, "p": evilRoot, "t": 1, "a": "", "k": "", "ts": 1},
			in(topNode("suidsuid", key, "file that becomes a share", ""), "t", 0, "s", 100, "p", "topshare"),
			lentNode("suidsuid", evilRoot, "topshare", key, megacrypt.Attributes{"n": "moved out"}, k, 100),
			lentNode("lentlen2", evilRoot, "topshare", key, megacrypt.Attributes{"n": "planted"}, k, 100),
		}}},
		json.RawMessage(`{"a":"s2","n":"ownownow","o":"` + evilOther + `","u":"` + evilUser + `"}`),
		json.RawMessage(`{"a":"s2","n":"` + sharedRoot + `","o":"` + evilOther + `","u":"` + evilUser + `"}`),
		json.RawMessage(`{"a":"s2","n":5,"o":[],"u":{}}`), json.RawMessage(`{"a":"ua","u":7,"ua":{}}`),
	}
	e.sc = append(e.sc, event("AAAAAAAAAAE", packets...))
	r.news.there.Store(true)
	ownList = append(ownList, "(undecryptable lentlen2)")
	slices.Sort(ownList)
	st = check("after events")
	// A commit leaves out what is about any of it, and says so; nothing is asked for.
	e.cs["a"] = func(command) any { return 0 }
	was, own := "own", st.ino("own")
	for _, path := range []string{sharedName + "/a%2Fb", sharedName} {
		dir := map[bool]remote.Ino{true: remote.Root, false: sharedIno}[path == sharedName]
		ino, name := st.ino(path), path[strings.LastIndexByte(path, '/')+1:]
		taken := remote.Op{Kind: remote.OpLink, Ino: own, Parent: dir, Name: name}
		changed := st.attrs[ino]
		changed.Mode = 0o777
		for _, ops := range [][]remote.Op{
			{{Kind: remote.OpNode, Ino: ino, Attr: changed}, {Kind: remote.OpXattr, Ino: ino, Name: "user.a"}},
			{{Kind: remote.OpUnlink, Ino: ino, Parent: dir, Name: name}},
			{{Kind: remote.OpUnlink, Ino: ino, Parent: dir, Name: name}, {Kind: remote.OpLink, Ino: ino, Parent: dir, Name: "moved"}},
			{{Kind: remote.OpUnlink, Ino: ino, Parent: dir, Name: name}, taken},
		} {
			_, err := r.Commit(context.Background(), r.x.meta.position(), ops)
			var other *remote.CameOutError
			if last := ops[len(ops)-1]; last.Ino == taken.Ino { // one's own is in the root then; a name that is taken there has a mark
				now := name
				if dir == remote.Root {
					now = twin(name, int64(st.attrs[taken.Ino].Btime), 1)
				}
				ownList[slices.Index(ownList, was)], was = now, now
				slices.Sort(ownList)
			}
			if !errors.As(err, &other) || len(other.Ops) == 0 {
				t.Errorf("%s: %v, %v", path, err, ops)
			}
			check("after a commit")
		}
	}
	for _, c := range e.got {
		if a := fmt.Sprint(c["a"]); !slices.Contains([]string{"f", "ug", "uga"}, a) && !(a == "a" && c["n"] == "ownownow") {
			t.Errorf("sent: %s", a)
		}
	}
	// More shares than an account has are not taken.
	for i := range maxShares + 10 {
		r.learn(fmt.Sprintf("s%07d", i), "")
	}
	if len(r.shares) != maxShares {
		t.Errorf("%d shares", len(r.shares))
	}
}
