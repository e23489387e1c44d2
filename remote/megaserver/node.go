package megaserver

import (
	"encoding/binary"
	"errors"
	"strconv"
)

// Kinds of nodes.
const (
	fileNode    = 0
	folderNode  = 1
	driveRoot   = 2
	vaultRoot   = 3
	rubbishRoot = 4
)

// shareKey is a node's key under the key of a share.
type shareKey struct {
	share handle
	key   string
}

// node is a file, a folder, a root, or an old version of a file, whose parent is then the next newer one.
type node struct {
	h, parent handle // of the record's key
	owner     userID
	kind      byte
	versions  bool // has an older version below it
	made      int64
	size      int64
	content   contentID
	attrs     string
	key       string // under the owner's master key; empty for what others put into a share
	thumbs    string // file attributes
	shares    []shareKey
	link      handle // public handle
	linked    int64  // when
	expiry    int64
}

var errNode = errors.New("megaserver: a node's record is damaged")

func (n *node) encode() []byte {
	b := make([]byte, 0, 160+len(n.attrs)+len(n.key)+len(n.thumbs)+60*len(n.shares))
	flags := n.kind
	if n.versions {
		flags |= 0x80
	}
	b = append(b, 1, flags)
	b = binary.AppendUvarint(b, uint64(n.made))
	b = binary.AppendUvarint(b, uint64(n.size))
	str := func(s string) {
		b = binary.AppendUvarint(b, uint64(len(s)))
		b = append(b, s...)
	}
	str(n.owner)
	b = append(b, n.content[:]...)
	str(n.attrs)
	str(n.key)
	str(n.thumbs)
	str(n.link)
	b = binary.AppendUvarint(b, uint64(n.linked))
	b = binary.AppendUvarint(b, uint64(n.expiry))
	b = binary.AppendUvarint(b, uint64(len(n.shares)))
	for _, s := range n.shares {
		str(s.share)
		str(s.key)
	}
	return b
}

func decodeNode(parent, h handle, b []byte) (*node, error) {
	if len(b) < 2 || b[0] != 1 {
		return nil, errNode
	}
	n := &node{h: h, kind: b[1] & 0x7f, versions: b[1]&0x80 != 0}
	if parent != noParent {
		n.parent = parent
	}
	b = b[2:]
	bad := false
	num := func() int64 {
		v, k := binary.Uvarint(b)
		if k <= 0 {
			bad = true
			return 0
		}
		b = b[k:]
		return int64(v)
	}
	str := func() string {
		l := num()
		if bad || l < 0 || l > int64(len(b)) {
			bad = true
			return ""
		}
		s := string(b[:l])
		b = b[l:]
		return s
	}
	n.made, n.size = num(), num()
	n.owner = str()
	if bad || len(b) < len(n.content) {
		return nil, errNode
	}
	copy(n.content[:], b)
	b = b[len(n.content):]
	n.attrs, n.key, n.thumbs, n.link = str(), str(), str(), str()
	n.linked, n.expiry = num(), num()
	for i := num(); i > 0 && !bad; i-- {
		n.shares = append(n.shares, shareKey{str(), str()})
	}
	if bad {
		return nil, errNode
	}
	return n, nil
}

func (n *node) isFolder() bool { return n.kind != fileNode }

// setShareKey takes a key under a share's key, in place of the one that was there.
func (n *node) setShareKey(share handle, key string) {
	for i := range n.shares {
		if n.shares[i].share == share {
			n.shares[i].key = key
			return
		}
	}
	n.shares = append(n.shares, shareKey{share, key})
}

// face is how a node is shown: to its owner, to somebody it is shared with, or under a public link.
type face struct {
	link  handle // the root of the public folder that is looked at: only keys under its share key are shown
	inner int    // the index in the command that made it, for the answering packet; -1: none
}

var ownFace = face{inner: -1}

// appendJSON appends n as the protocol writes nodes. All strings in it were checked to need no escapes when they came.
func (n *node) appendJSON(b []byte, f face) []byte {
	b = append(b, `{"h":"`...)
	b = append(b, n.h...)
	b = append(b, `","p":"`...)
	b = append(b, n.parent...)
	b = append(b, `","u":"`...)
	b = append(b, n.owner...)
	b = append(b, `","t":`...)
	b = strconv.AppendInt(b, int64(n.kind), 10)
	b = append(b, `,"a":"`...)
	b = append(b, n.attrs...)
	b = append(b, `","k":"`...)
	b = n.appendKeys(b, f)
	b = append(b, '"')
	if n.kind == fileNode {
		b = append(b, `,"s":`...)
		b = strconv.AppendInt(b, n.size, 10)
	}
	if n.thumbs != "" {
		b = append(b, `,"fa":"`...)
		b = append(b, n.thumbs...)
		b = append(b, '"')
	}
	b = append(b, `,"ts":`...)
	b = strconv.AppendInt(b, n.made, 10)
	if f.inner >= 0 {
		b = append(b, `,"i":`...)
		b = strconv.AppendInt(b, int64(f.inner), 10)
	}
	return append(b, '}')
}

// appendKeys appends a node's keys, the owner's first, since some clients read no others.
func (n *node) appendKeys(b []byte, f face) []byte {
	start := len(b)
	if n.key != "" && f.link == "" {
		b = append(b, n.owner...)
		b = append(b, ':')
		b = append(b, n.key...)
	}
	for _, s := range n.shares {
		if f.link != "" && s.share != f.link {
			continue
		}
		if len(b) > start {
			b = append(b, '/')
		}
		b = append(b, s.share...)
		b = append(b, ':')
		b = append(b, s.key...)
	}
	return b
}

// updateJSON is the body of the packet that tells of new attributes.
func (n *node) updateJSON() []byte {
	b := []byte(`"n":"` + n.h + `","u":"` + n.owner + `","at":"` + n.attrs + `","ts":`)
	return strconv.AppendInt(b, n.made, 10)
}
