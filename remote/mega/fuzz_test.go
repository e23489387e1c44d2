package mega

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"reflect"
	"testing"

	"megafs/crypto/megacrypt"
	"megafs/remote"
)

func FuzzTree(f *testing.F) {
	f.Add([]byte(`[{"f":[{"h":"rootroot","p":"","t":2,"a":"","k":"","ts":1},{"h":"filefile","p":"rootroot","t":0,"a":"AAAA","k":"5z_NX5Ahgz4:AAAA/x","s":5,"ts":1}],"ok":[],"sn":"AAAAAAAAAAA"}]`))
	f.Add([]byte(`[{"f":[5,{"t":[]}],"x":{"y":[true,null]},"sn":"AAAAAAAAAAA"}]`))
	f.Add([]byte(`-3`))
	f.Fuzz(func(t *testing.T, b []byte) {
		ks := keys{evilUser: evilMaster.Unwrapper()}
		s := &treeSink{node: func(j *jsonNode) error {
			n := ks.node(j, evilUser)
			if n == nil {
				return nil
			}
			a, _, want := n.attr(Owner{File: 0o644, Dir: 0o755})
			if !remote.ValidName(want) || (a.Type == remote.Dir) != n.folder {
				t.Fatalf("%q %+v", want, a)
			}
			return nil
		}}
		readTree(bytes.NewReader(b), s)
	})
}

// decodedTree is readTree by encoding/json alone: what it says of nodes, but for how many there may be, and whether it is content.
func decodedTree(b []byte, s *treeSink) bool {
	d := json.NewDecoder(bytes.NewReader(b))
	is := func(want json.Delim) bool {
		t, err := d.Token()
		return err == nil && t == want
	}
	if !is('[') || !is('{') {
		return false
	}
	listed := false
	for d.More() {
		t, err := d.Token()
		switch {
		case err != nil:
			return false
		case t == "f":
			if !is('[') || listed {
				return false
			}
			listed = true
			for d.More() {
				var n jsonNode
				var typ *json.UnmarshalTypeError
				if err := d.Decode(&n); errors.As(err, &typ) || err == nil && n.T == nil {
					s.bad++
				} else if err != nil {
					return false
				} else {
					s.node(&n)
				}
			}
			if !is(']') {
				return false
			}
		case t == "sn":
			if d.Decode(&s.sn) != nil {
				return false
			}
		default:
			if skip(d) != nil {
				return false
			}
		}
	}
	_, err := megacrypt.DecodeExact(s.sn, 8)
	return is('}') && err == nil
}

// FuzzTreeDecoded holds how a tree is read against encoding/json, whatever the pieces are in which it comes.
func FuzzTreeDecoded(f *testing.F) {
	node := `{"h":"filefile","p":"rootroot","u":"5z_NX5Ahgz4","a":"AAAA","k":"5z_NX5Ahgz4:AAAA/x","t":0,"s":5,"ts":1,"fa":"1:0*x","su":"AbCdEfGhIjk","sk":"BBBB"}`
	if n, ok := plainNode(node); !ok || n.P != "rootroot" || n.S != "5" || *n.T != 0 || n.SU != "AbCdEfGhIjk" || n.SK != "BBBB" {
		f.Errorf("what servers write is not read quickly: %+v", n)
	}
	for _, s := range []string{
		node, node + "," + node, ``, `,`, node + `,`, `,` + node, node + node, node + `]`, ` ` + node + "\n,\t" + node + ` `, `{"h":"a\"}]b","t":1}`, `{"h":"\\","t":1}`, `{"H":"x","T":1,"TS":3,"ſ":4,"tſ":5}`,
		`{"t":1,"t":2}`, `{"t":-1}`, `{"t":01}`, `{"t":1.0}`, `{"t":10}`, `{"t":"1"}`, `{"t":null}`, `{"h":null,"t":1}`, `{"h":1,"t":1}`, `{"h":"a","h":"b","t":1}`, `{"s":"5","ts":[1],"t":0}`, `{"s":007,"t":0}`,
		`{"s":99999999999999999999,"t":0}`, `{"i":1,"t":0}`, `{"i":"x","t":0}`, `{"t":1,}`, `{,"t":1}`, `{"t" :1}`, `{"t":1]`, `{"t":1}}`, `{"h":"ä","t":1}`, "{\"h\":\"\xff\",\"t\":1}", "{\"h\":\"\x01\",\"t\":1}",
		`{"su":"AbCdEfGhIjk","sk":"AAAA","t":1}`, `{"SU":"a","sK":"b","\u017fu":"c","s\u212a":"d","t":1}`, `{"su":null,"sk":5,"t":1}`, `{"su":"a","su":"b","sk":"\u0041","t":1}`,
		`5`, `5,6`, `5 6`, `"a]b",` + node, `true`, `nul`, `[[],{"t":1}]`, `{`, `{"h":"`, `{}`, `:`, `}`, `"`, `"\"`, `{"x":{"t":1},"t":0}`,
	} {
		f.Add([]byte(`[{"f":[`+s+`],"sn":"AAAAAAAAAAA"}]`), 7)
	}
	f.Add([]byte(`[{"sn":"AAAAAAAAAAA","f":[`+node+`],"x":[{}],"f":[`+node+`]}]`), 1)
	f.Add([]byte(`[{"\u0066":[`+node+`],"f":5,"sn":"AAAAAAAAAAA"}]`), 1000)
	f.Fuzz(func(t *testing.T, b []byte, size int) {
		var got, want []jsonNode
		s := &treeSink{node: func(j *jsonNode) error { got = append(got, *j); return nil }}
		x := &treeSink{node: func(j *jsonNode) error { want = append(want, *j); return nil }}
		if !shallow(b) {
			return
		}
		err := readTree(&pieces{b, max(size, 1)}, s)
		ok := decodedTree(b, x)
		if (err == nil) != ok || ok && (!reflect.DeepEqual(got, want) || s.sn != x.sn || s.bad != x.bad) {
			t.Fatalf("%v %v: %+v, %d bad; not %+v, %d", err, ok, got, s.bad, want, x.bad)
		}
	})
}

// shallow reports whether the guard lets b pass.
func shallow(b []byte) bool {
	_, err := io.Copy(io.Discard, newGuard(bytes.NewReader(b), maxTree))
	return err == nil
}

// pieces gives bytes out so many at a time.
type pieces struct {
	b []byte
	n int
}

// Read implements io.Reader.
func (p *pieces) Read(b []byte) (int, error) {
	n := copy(b[:min(p.n, len(b))], p.b)
	if p.b = p.b[n:]; n == 0 {
		return 0, io.EOF
	}
	return n, nil
}

func FuzzEvents(f *testing.F) {
	f.Add([]byte(`{"a":[{"a":"t","t":{"f":[{"h":"filefile"}]}},{"a":"d","n":"x","m":1}],"sn":"AAAAAAAAAAA"}`))
	f.Add([]byte(`{"w":"https://w.api.mega.nz/x"}`))
	f.Fuzz(func(t *testing.T, b []byte) { readEvents(bytes.NewReader(b)) })
}

// FuzzNode: a record of the index is what was written, or refused.
func FuzzNode(f *testing.F) {
	f.Add((&node{handle: "h", parent: "p", ino: 5, key: []byte("k"), attrs: "a", size: 1 << 40, ts: -1, want: "w", shown: "s"}).encode())
	f.Fuzz(func(t *testing.T, b []byte) {
		n, err := decodeNode("h", b)
		if err != nil {
			return
		}
		if m, err := decodeNode("h", n.encode()); err != nil || !bytes.Equal(m.encode(), n.encode()) {
			t.Fatal(err)
		}
		decodeRaw("h", b)
		decodeMeta(b)
		decodeIntent(b)
	})
}

// FuzzNames: whatever a node is called can be shown, and attributes of ours are read or left alone.
func FuzzNames(f *testing.F) {
	f.Add("a/b", "AAAA", "k_L_86rBWrWg02h2xiaQfgQA8VNl", "QQ")
	f.Fuzz(func(t *testing.T, name, inode, print, xattrs string) {
		k := megacrypt.Key{1}
		at := megacrypt.Attributes{attrName: name, attrInode: inode, attrPrint: print, attrXattrs: xattrs, attrBytes: inode}
		s, err := at.Encode(k)
		if err != nil {
			return
		}
		n := &node{handle: "abcdefgh", folder: true, key: k[:], attrs: s}
		if _, _, want := n.attr(Owner{Dir: 0o755}); !remote.ValidName(want) || !remote.ValidName(twin(want, 1, 1)) || !remote.ValidName(twin(want, 1, 12)) {
			t.Fatalf("%q", want)
		}
	})
}
