package mega

import (
	"bytes"
	"testing"

	"megafs/crypto/megacrypt"
	"megafs/remote"
)

func FuzzTree(f *testing.F) {
	f.Add([]byte(`[{"f":[{"h":"rootroot","p":"","t":2,"a":"","k":"","ts":1},{"h":"filefile","p":"rootroot","t":0,"a":"AAAA","k":"5z_NX5Ahgz4:AAAA/x","s":5,"ts":1}],"ok":[],"sn":"AAAAAAAAAAA"}]`))
	f.Add([]byte(`[{"f":[5,{"t":[]}],"x":{"y":[true,null]},"sn":"AAAAAAAAAAA"}]`))
	f.Add([]byte(`-3`))
	f.Fuzz(func(t *testing.T, b []byte) {
		ks := keys{evilUser: evilMaster}
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
