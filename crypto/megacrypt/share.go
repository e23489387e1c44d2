package megacrypt

import (
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/subtle"
	"strings"
)

// NodeHandleLen is how many characters the text form of a node's handle has, and of a public link's.
const NodeHandleLen = 8

// ValidHandle reports whether s is the text form of a node's handle.
func ValidHandle(s string) bool {
	if len(s) != NodeHandleLen {
		return false
	}
	for i := range len(s) {
		if digits[s[i]] == bad || s[i] == '+' || s[i] == '/' {
			return false
		}
	}
	return true
}

// HandleAuth is how an account proves to itself that it made a share's key: the folder's handle twice under the master key.
func HandleAuth(master Key, handle string) (string, error) {
	if !ValidHandle(handle) {
		return "", malformed("handle")
	}
	return Encode(master.Wrap([]byte(handle + handle))), nil
}

// CheckHandleAuth is the check of HandleAuth.
func CheckHandleAuth(master Key, handle, auth string) error {
	want, err := HandleAuth(master, handle)
	if err != nil {
		return err
	}
	if subtle.ConstantTimeCompare([]byte(want), []byte(auth)) != 1 {
		return ErrKey
	}
	return nil
}

// Link is a public link to a file or a folder, with its key.
type Link struct {
	Handle string // the public one
	Folder bool
	Key    []byte // 16 bytes of a folder, 32 of a file; as in ParseFileKey
	Below  string // handle of a node in the folder that the link points at; ""
	File   bool   // Below is a file
}

// ParseLink takes a link in any of the forms that were in use. The host is not looked at.
func ParseLink(s string) (Link, error) {
	var l Link
	_, rest, ok := strings.Cut(s, "://")
	if !ok {
		return l, malformed("link")
	}
	_, rest, _ = strings.Cut(rest, "/")
	path, key, ok := strings.Cut(rest, "#")
	if !ok {
		return l, malformed("link")
	}
	switch {
	case strings.HasPrefix(key, "F!") || strings.HasPrefix(key, "!"):
		p := strings.Split(strings.TrimPrefix(key, "F"), "!")
		if len(p) < 3 {
			return l, malformed("link")
		}
		l.Handle, l.Folder, key = p[1], key[0] == 'F', p[2]
		if len(p) > 3 {
			l.Below = p[3]
		}
	case strings.HasPrefix(path, "file/"):
		l.Handle = path[len("file/"):]
	case strings.HasPrefix(path, "folder/"):
		l.Handle, l.Folder = path[len("folder/"):], true
		var below string
		key, below, _ = strings.Cut(key, "/")
		if below != "" {
			kind, h, _ := strings.Cut(below, "/")
			if kind != "folder" && kind != "file" {
				return l, malformed("link")
			}
			l.Below, l.File = h, kind == "file"
		}
	default:
		return l, malformed("link")
	}
	if !ValidHandle(l.Handle) || l.Below != "" && !ValidHandle(l.Below) {
		return l, malformed("link")
	}
	size := 32
	if l.Folder {
		size = 16
	}
	var err error
	l.Key, err = DecodeExact(key, size)
	return l, err
}

// String returns the link in today's form. It holds the key: whoever has it can read.
func (l Link) String() string {
	kind := "file/"
	if l.Folder {
		kind = "folder/"
	}
	s := "https://mega.nz/" + kind + l.Handle + "#" + Encode(l.Key)
	switch {
	case l.Below == "":
	case l.File:
		s += "/file/" + l.Below
	default:
		s += "/folder/" + l.Below
	}
	return s
}

// passwordLink is the layout of a link that a password protects: version, type, handle, salt, wrapped key, tag.
const (
	passwordLinkHead = 2 + 6 + 32
	passwordLinkTag  = 32
)

// SealLink returns a link that a password opens: the part behind "#P!".
func SealLink(l Link, password string) (string, error) {
	h, err := DecodeExact(l.Handle, 6)
	if err != nil {
		return "", err
	}
	b := []byte{2, 1}
	if l.Folder {
		b[1] = 0
	}
	salt := make([]byte, 32)
	rand.Read(salt)
	b = append(append(b, h...), salt...)
	dk, err := pbkdf2.Key(sha512.New, password, salt, 100000, 64)
	if err != nil {
		return "", err
	}
	key := make([]byte, len(l.Key))
	if subtle.XORBytes(key, l.Key, dk) != len(l.Key) {
		return "", malformed("link")
	}
	b = append(b, key...)
	return Encode(append(b, linkTag(2, dk[32:], b)...)), nil
}

// OpenLink is the reverse of SealLink.
func OpenLink(s, password string) (Link, error) {
	b, err := Decode(s, passwordLinkHead+32+passwordLinkTag)
	if err != nil {
		return Link{}, err
	}
	if len(b) < passwordLinkHead || b[0] != 1 && b[0] != 2 || b[1] > 1 {
		return Link{}, malformed("link")
	}
	l := Link{Handle: Encode(b[2:8]), Folder: b[1] == 0, Key: make([]byte, 32)}
	if l.Folder {
		l.Key = l.Key[:16]
	}
	if len(b) != passwordLinkHead+len(l.Key)+passwordLinkTag {
		return Link{}, malformed("link")
	}
	dk, err := pbkdf2.Key(sha512.New, password, b[8:40], 100000, 64)
	if err != nil {
		return Link{}, err
	}
	body, tag := b[:len(b)-passwordLinkTag], b[len(b)-passwordLinkTag:]
	if !hmac.Equal(tag, linkTag(b[0], dk[32:], body)) {
		return Link{}, ErrKey
	}
	subtle.XORBytes(l.Key, body[passwordLinkHead:], dk)
	return l, nil
}

// linkTag authenticates a link. The first version took key for message and message for key.
func linkTag(version byte, key, body []byte) []byte {
	if version == 1 {
		key, body = body, key
	}
	m := hmac.New(sha256.New, key)
	m.Write(body)
	return m.Sum(nil)
}
