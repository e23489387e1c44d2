package mega

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"megafs/crypto/megacrypt"
	"megafs/remote"
)

// TestM01ToM10HostileTree lists what no client would make: what can be shown is, and nothing else is harmed.
func TestM01ToM10HostileTree(t *testing.T) {
	for _, o := range []Options{{}, {Memory: 1 << 10}} { // less than the first tree takes
		t.Run(fmt.Sprint(o.Memory), func(t *testing.T) {
			e := newEvil(t)
			good, other := megacrypt.NewFileKey(), megacrypt.NewFileKey()
			flipped := fileNode("flipped0", evilRoot, "flipped", good, 5)
			flipped["k"] = own(append([]byte{good.Pack()[0] ^ 1}, good.Pack()[1:]...)) // M01
			weak := fileNode("weakweak", evilRoot, "weak", good, 5)
			weak["k"] = own(bytes.Repeat(good.Pack()[:16], 2)) // M02
			swapped := fileNode("swapped0", evilRoot, "swapped", good, 5)
			swapped["k"] = own(other.Pack()) // M03
			foreign := fileNode("foreign0", evilRoot, "foreign", good, 5)
			foreign["k"] = "AAAAAAAAAAA:" + megacrypt.Encode(good.Pack()) // M31
			bomb := fileNode("bombbomb", evilRoot, "bomb", good, 5)
			bomb["a"] = strings.Repeat("A", 100<<10) // M30
			e.tree(
				fileNode("goodgood", evilRoot, "good", good, 5), flipped, weak, swapped, foreign, bomb,
				fileNode("slash000", evilRoot, "a/b", good, 5), fileNode("dots0000", evilRoot, "..", good, 5), fileNode("dot00000", evilRoot, ".", good, 5), // M06
				fileNode("empty000", evilRoot, "", good, 5), fileNode("nul00000", evilRoot, "a\x00b", good, 5), fileNode("long0000", evilRoot, strings.Repeat("ä", 300), good, 5),
				fileNode("twin0000", evilRoot, "twin", good, 5), fileNode("twin0001", evilRoot, "twin", good, 5), fileNode("esc00000", evilRoot, "a%2Fb", good, 5), // M07
				folderNode("selfself", "selfself", "self"), folderNode("ring0000", "ring0001", "r0"), folderNode("ring0001", "ring0000", "r1"), // M08
				fileNode("orphan00", "nowhere0", "orphan", good, 5), map[string]any{"h": "root2222", "p": "", "t": 2, "a": "", "k": "", "ts": 1},
				fileNode("version0", "goodgood", "old", good, 5), map[string]any{"h": "type9999", "p": evilRoot, "t": 9, "a": "", "k": ""}, // M09
				fileNode("goodgood", evilRoot, "again", other, 7),                                                                                                                                                             // M10: the same handle twice; one of them is shown
				fileNode("neg00000", evilRoot, "neg", good, -5), fileNode("huge0000", evilRoot, "huge", good, 1e308), fileNode("large000", evilRoot, "large", good, 1<<62), fileNode("text0000", evilRoot, "text", good, "x"), // M16
				map[string]any{"h": "bad", "p": evilRoot, "t": 0}, map[string]any{"h": 5},
			)
			r := e.open(o)
			s := e.load(r)
			for _, n := range []string{"a%2Fb", "%2E%2E", "%2E", "%", "a%00b", "twin", "(undecryptable flipped0)", "(undecryptable weakweak)", "(undecryptable swapped0)", "(undecryptable foreign0)"} {
				if _, ok := s.names["1/"+n]; !ok {
					t.Errorf("%q is not there", n)
				}
			}
			if l := s.list(); len(l) != 14 {
				t.Errorf("%d names: %q", len(l), l)
			}
			for k, ino := range s.names {
				_, name, _ := strings.Cut(k, "/")
				if !remote.ValidName(name) {
					t.Errorf("%q is shown", name)
				}
				if strings.HasPrefix(name, "(undecryptable") {
					if _, err := fetch(r, s, ino); !remote.Is(err, remote.Integrity) || s.attrs[ino].Mode != 0 {
						t.Errorf("%s: %v, mode %o", name, err, s.attrs[ino].Mode)
					}
				}
			}
			for _, c := range e.log { // M24
				if c != "uga" && c != "f" && c != "g" {
					t.Error("the server was asked", c)
				}
			}
		})
	}
}

// TestM04M34M36HostileNodes: another node's attributes make a node undecryptable; versions, however many, are no names in a directory; and attributes that
// decrypt by luck give a name, and content no trust.
func TestM04M34M36HostileNodes(t *testing.T) {
	_, sealed, k := sealedContent(1000)
	other := megacrypt.NewFileKey()
	e := newEvil(t)
	e.data = sealed
	mixed := fileNode("mixed000", evilRoot, "mixed", k, 1000)
	mixed["a"] = fileNode("x", evilRoot, "other", other, 5)["a"]                                                                            // M04
	nodes := []map[string]any{fileNode("filefile", evilRoot, "file", k, 1000), mixed, fileNode("lucky000", evilRoot, "lucky", other, 1000)} // M36: a key with right attributes, and another's content
	for i := range 20_000 {
		nodes = append(nodes, fileNode(fmt.Sprintf("v%07d", i), "filefile", "file", k, 1000)) // M34
	}
	e.tree(nodes...)
	r := e.open(Options{})
	s := e.load(r)
	if l := s.list(); len(l) != 3 || len(s.names) != 3 || l[0] != "(undecryptable mixed000)" {
		t.Fatalf("%d names: %q", len(s.names), l)
	}
	if _, err := fetch(r, s, s.names["1/file"]); err != nil {
		t.Error(err)
	}
	if got, err := fetch(r, s, s.names["1/lucky"]); !remote.Is(err, remote.Integrity) || len(got) > 0 {
		t.Error(len(got), err)
	}
}

// TestM05AttributesFlipped flips each bit of a file's attributes: it has another name or can't be decrypted, and never leads to anything but its own content.
func TestM05AttributesFlipped(t *testing.T) {
	plain, sealed, k := sealedContent(100)
	e := newEvil(t)
	e.data = sealed
	good := fileNode("goodgood", evilRoot, "good", k, 100)
	a, err := megacrypt.Decode(good["a"].(string), 1<<10)
	if err != nil {
		t.Fatal(err)
	}
	nodes := []map[string]any{good}
	for i := range 8 * len(a) {
		b := bytes.Clone(a)
		b[i/8] ^= 1 << (i % 8)
		n := fileNode(fmt.Sprintf("f%07d", i), evilRoot, "flipped", k, 100)
		n["a"] = megacrypt.Encode(b)
		nodes = append(nodes, n)
	}
	e.tree(nodes...)
	r := e.open(Options{})
	s := e.load(r)
	if len(s.list()) != len(nodes) {
		t.Errorf("%d of %d nodes are shown", len(s.list()), len(nodes))
	}
	readable := 0
	for name, ino := range s.names {
		if !remote.ValidName(name[2:]) {
			t.Errorf("%q", name)
		}
		if got, err := fetch(r, s, ino); err == nil && bytes.Equal(got, plain) {
			readable++
		} else if !remote.Is(err, remote.Integrity) {
			t.Errorf("%q: %d bytes, %v", name, len(got), err)
		}
	}
	if readable == 0 || readable == len(nodes) {
		t.Errorf("%d of %d can be read", readable, len(nodes))
	}
}
