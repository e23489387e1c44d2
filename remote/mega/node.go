package mega

import (
	"crypto/sha256"
	"encoding/base32"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"megafs/crypto/megacrypt"
	"megafs/remote"
	"megafs/remote/wire"
)

// Attributes of ours on nodes. Other clients keep what they don't know as long as its name is short and its value a string.
const (
	attrName   = "n"
	attrPrint  = "c"
	attrInode  = "mfs" // all of remote.Attr, in the form of package wire
	attrXattrs = "mfx" // extended attributes
	attrBytes  = "mfn" // the name's exact bytes, where "n" can't have them
)

// MaxXattrs is how many bytes of extended attributes, names and values, an inode can have.
const MaxXattrs = 40 << 10

// object names content, but for the number of the piece: a node's, by its handle, or an upload's, by a random number.
type object [17]byte

func nodeObject(handle string) (o object) {
	o[0] = 1
	copy(o[1:], handle)
	return o
}

// handle returns the node of a node's content, "" for that of an upload.
func (o object) handle() string {
	if o[0] != 1 {
		return ""
	}
	return string(o[1:9])
}

// piece returns the name of one piece of at most MaxContent bytes.
func (o object) piece(i uint64) (id remote.ObjectID) {
	copy(id[:], o[:])
	binary.BigEndian.PutUint64(id[24:], i)
	return id
}

// split is the reverse of piece.
func split(id remote.ObjectID) (o object, i uint64) {
	copy(o[:], id[:])
	return o, binary.BigEndian.Uint64(id[24:])
}

// node is a file or folder as the index keeps it.
type node struct {
	handle string
	parent string
	ino    remote.Ino
	folder bool
	shared bool   // it is, or is in, what somebody else shares with the account
	lent   bool   // its key was wrapped under a share's
	key    []byte // unwrapped: 16 bytes of a folder, 32 of a file; nil when it could not be
	attrs  string // as the server has them
	size   uint64
	ts     int64
	born   int64  // the inode's birth: new versions keep it
	want   string // what the name is shown as, if that is free
	shown  string // what it is shown as
	object object // of a file's content
}

// readable reports whether the node's key opens its attributes.
func (n *node) readable() bool { return n.key != nil }

// attrKey returns the key of the node's attributes.
func (n *node) attrKey() (megacrypt.Key, error) {
	if n.folder {
		return megacrypt.ParseFolderKey(n.key)
	}
	k, err := megacrypt.ParseFileKey(n.key)
	return k.Key, err
}

// attributes decrypts the node's attributes.
func (n *node) attributes() (megacrypt.Attributes, error) {
	k, err := n.attrKey()
	if err != nil {
		return nil, err
	}
	return megacrypt.DecodeAttributes(k, n.attrs)
}

func (n *node) encode() []byte { return n.append(make([]byte, 0, n.room())) }

// room is about how many bytes the node's record has, and not fewer.
func (n *node) room() int {
	return 2 + len(n.object) + 9*binary.MaxVarintLen64 + len(n.parent) + len(n.key) + len(n.attrs) + len(n.want) + len(n.shown)
}

// append appends the node's record.
func (n *node) append(b []byte) []byte {
	kind := byte(0)
	for i, is := range [...]bool{n.folder, n.shared, n.lent} {
		if is {
			kind |= 1 << i
		}
	}
	b = append(append(b, 1, kind), n.object[:]...)
	b = binary.AppendUvarint(b, uint64(n.ino))
	b = binary.AppendUvarint(b, n.size)
	b = binary.AppendVarint(b, n.ts)
	b = binary.AppendVarint(b, n.born)
	b = appendText(b, n.parent)
	b = append(binary.AppendUvarint(b, uint64(len(n.key))), n.key...)
	return appendText(appendText(appendText(b, n.attrs), n.want), n.shown)
}

func appendText(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

var errIndex = remote.E("read the index of the account", "", remote.IO, errors.New("it is damaged"))

// decodeNode is the reverse of encode. The node's texts are parts of one string of them all.
func decodeNode(handle string, b []byte) (*node, error) {
	n := &node{handle: handle}
	if len(b) < 2+len(n.object) || b[0] != 1 {
		return nil, errIndex
	}
	n.folder, n.shared, n.lent = b[1]&1 != 0, b[1]&2 != 0, b[1]&4 != 0
	copy(n.object[:], b[2:])
	b = b[2+len(n.object):]
	bad := false
	num := func() uint64 {
		v, k := binary.Uvarint(b)
		if k <= 0 {
			bad, b = true, nil
			return 0
		}
		b = b[k:]
		return v
	}
	n.ino, n.size = remote.Ino(num()), num()
	for _, t := range []*int64{&n.ts, &n.born} {
		v, k := binary.Varint(b)
		if k <= 0 {
			return nil, errIndex
		}
		*t, b = v, b[k:]
	}
	all := string(b)
	text := func() string {
		l := num()
		if l > uint64(len(b)) {
			bad = true
			return ""
		}
		s := all[len(all)-len(b):][:l]
		b = b[l:]
		return s
	}
	n.parent = text()
	if s := text(); s != "" {
		n.key = []byte(s)
	}
	n.attrs, n.want, n.shown = text(), text(), text()
	if bad || len(b) != 0 {
		return nil, errIndex
	}
	return n, nil
}

// present returns how a remote name is shown. What no directory can have is escaped with percent signs, which then are escaped too. Two names that
// come to the same are told apart elsewhere.
func present(name string) string {
	switch {
	case name == "":
		return "%"
	case remote.ValidName(name):
		return name
	}
	var b strings.Builder
	for i := 0; i < len(name); i++ {
		switch c := name[i]; {
		case c == '/' || c == 0 || c == '%' || name == "." || name == "..":
			fmt.Fprintf(&b, "%%%02X", c)
		default:
			b.WriteByte(c)
		}
	}
	s := b.String()
	if len(s) > remote.MaxName {
		s = cut(s, remote.MaxName)
	}
	return s
}

// cut shortens a name to at most n bytes, not within a character.
func cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}

// twin returns what a name is shown as when another node has it: with a mark before the extension that new versions keep. n counts those of one birth.
func twin(want string, born int64, n int) string {
	dot := strings.LastIndexByte(want, '.')
	if dot <= 0 || len(want)-dot > 16 {
		dot = len(want)
	}
	sum := sha256.Sum256(binary.BigEndian.AppendUint64(nil, uint64(born)))
	mark := " (" + strings.ToLower(base32.StdEncoding.EncodeToString(sum[:5])) + ")"
	if n > 1 {
		mark = fmt.Sprintf("%s %d)", strings.TrimSuffix(mark, ")"), n)
	}
	return cut(want[:dot], remote.MaxName-len(mark)-len(want[dot:])) + mark + want[dot:]
}

// unreadableName is what nodes are shown as whose key or attributes make no sense.
func unreadableName(handle string) string { return "(undecryptable " + handle + ")" }

// Owner is what files are given that say nothing of their own.
type Owner struct {
	UID, GID  uint32
	File, Dir uint16 // modes
}

// attr returns what the node is as an inode, and the name that it wants.
func (n *node) attr(o Owner) (a remote.Attr, xattrs map[string][]byte, want string) {
	var at megacrypt.Attributes
	if n.readable() {
		at, _ = n.attributes()
	}
	return n.attrOf(at, o)
}

// attrOf is attr of a node whose attributes were decrypted; nil if that can't be.
func (n *node) attrOf(at megacrypt.Attributes, o Owner) (a remote.Attr, xattrs map[string][]byte, want string) {
	if n.handle == sharedRoot {
		return remote.Attr{Type: remote.Dir, Mode: o.Dir &^ 0o222, UID: o.UID, GID: o.GID}, nil, sharedName
	}
	a, xattrs, want = n.told(at, o)
	if n.shared && at != nil {
		xattrs = o.borrow(n, &a, xattrs)
	}
	return a, xattrs, want
}

// told is attrOf as the node's attributes have it. Times that another client wrote since go before ours.
func (n *node) told(at megacrypt.Attributes, o Owner) (a remote.Attr, xattrs map[string][]byte, want string) {
	a = remote.Attr{Type: remote.File, Mode: o.File, UID: o.UID, GID: o.GID}
	if n.folder {
		a.Type, a.Mode = remote.Dir, o.Dir
	}
	set := func(sec int64) {
		t := remote.Time(max(min(sec, maxSeconds), -maxSeconds) * 1e9)
		a.Atime, a.Mtime, a.Ctime, a.Btime = t, t, t, t
	}
	set(n.ts)
	if at == nil {
		a.Mode = 0
		if n.folder {
			a.Mode = 0o500
		} else {
			a.Size = n.size
		}
		return a, nil, unreadableName(n.handle)
	}
	want = present(at[attrName])
	if exact, err := megacrypt.Decode(at[attrBytes], remote.MaxName); err == nil && remote.ValidName(string(exact)) && wireName(string(exact)) == at[attrName] {
		want = string(exact)
	}
	print, perr := megacrypt.DecodeFingerprint(at[attrPrint])
	if ours, ok := decodeInode(at[attrInode]); ok && (ours.Type == remote.Dir) == n.folder {
		switch {
		case n.folder:
			a = ours
		case ours.Type != remote.File && n.size == 0:
			a = ours
		case ours.Type != remote.File:
		case ours.Size != n.size || perr == nil && print.Time <= maxSeconds && int64(print.Time) != seconds(ours.Mtime):
			a.Mode, a.UID, a.GID, a.Btime = ours.Mode, ours.UID, ours.GID, ours.Btime
			if perr == nil {
				btime := a.Btime
				set(int64(min(print.Time, maxSeconds)))
				a.Btime = btime
			}
		default:
			a = ours
		}
	} else if perr == nil {
		set(int64(min(print.Time, maxSeconds)))
	}
	if a.Type == remote.File {
		a.Size = n.size
	}
	if x, ok := decodeXattrs(at[attrXattrs]); ok {
		xattrs = x
	}
	return a, xattrs, want
}

// maxSeconds is the latest time that fits into a remote.Time.
const maxSeconds = 9_223_372_035

// seconds rounds a time down; before 1970 there are none in a fingerprint.
func seconds(t remote.Time) int64 {
	if t < 0 {
		return 0
	}
	return int64(t) / 1e9
}

// wireName is what of a name can stand in "n": UTF-8.
func wireName(name string) string { return strings.ToValidUTF8(name, "\uFFFD") }

func decodeInode(s string) (remote.Attr, bool) {
	b, err := megacrypt.Decode(s, 8<<10)
	if err != nil || len(b) == 0 {
		return remote.Attr{}, false
	}
	a, rest, err := wire.DecodeAttr(b)
	return a, err == nil && len(rest) == 0
}

// decodeXattrs reads extended attributes: names and values with their lengths, in two and three bytes.
func decodeXattrs(s string) (map[string][]byte, bool) {
	b, err := megacrypt.Decode(s, megacrypt.MaxAttributes)
	if err != nil {
		return nil, false
	}
	out := map[string][]byte{}
	for len(b) > 0 {
		if len(b) < 4 {
			return nil, false
		}
		n, v := int(b[0]), int(b[1])<<16|int(b[2])<<8|int(b[3])
		if b = b[4:]; n == 0 || n+v > len(b) || v > remote.MaxXattr || strings.IndexByte(string(b[:n]), 0) >= 0 {
			return nil, false
		}
		out[string(b[:n])] = append([]byte{}, b[n:n+v]...)
		b = b[n+v:]
	}
	return out, true
}

func encodeXattrs(x map[string][]byte) string {
	var b []byte
	for _, name := range sorted(x) {
		v := x[name]
		b = append(b, byte(len(name)), byte(len(v)>>16), byte(len(v)>>8), byte(len(v)))
		b = append(append(b, name...), v...)
	}
	return megacrypt.Encode(b)
}

// describe writes an inode's name and metadata into attributes, over what they have.
func describe(at megacrypt.Attributes, name string, a remote.Attr, xattrs map[string][]byte) {
	at[attrName] = wireName(name)
	delete(at, attrBytes)
	if at[attrName] != name {
		at[attrBytes] = megacrypt.Encode([]byte(name))
	}
	at[attrInode] = megacrypt.Encode(wire.AppendAttr(nil, &a))
	delete(at, attrXattrs)
	if len(xattrs) > 0 {
		at[attrXattrs] = encodeXattrs(xattrs)
	}
}

// encodeRaw is a node while the tree is read, with its wrapped key, by which nodes are known again that were made here.
func encodeRaw(n *node, wrapped string) []byte {
	return appendRaw(make([]byte, 0, 1+len(wrapped)+n.room()), n, wrapped)
}

func appendRaw(b []byte, n *node, wrapped string) []byte {
	if len(wrapped) > 255 {
		wrapped = ""
	}
	return n.append(append(append(b, byte(len(wrapped))), wrapped...))
}

// decodeRaw is the reverse of encodeRaw.
func decodeRaw(handle string, b []byte) (*node, string, error) {
	if len(b) == 0 || int(b[0]) >= len(b) {
		return nil, "", errIndex
	}
	k := 1 + int(b[0])
	n, err := decodeNode(handle, b[k:])
	return n, string(b[1:k]), err
}
