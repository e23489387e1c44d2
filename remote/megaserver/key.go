package megaserver

import (
	"encoding/base64"
	"encoding/binary"
	"strings"
)

type (
	handle    = string   // a node's: 8 characters
	userID    = string   // an account's: 11 characters
	contentID = [16]byte // of a file's bytes, and of the upload that brought them
)

const (
	handleLen = 8
	userLen   = 11
	// export is the pseudo-user to whom a folder with a public link is shared.
	export = "EXP"
)

// noParent stands for the parent of a root. No handle has zero bytes.
const noParent = "\x00\x00\x00\x00\x00\x00\x00\x00"

// doomed stands for the parent of what was deleted and is yet to be taken apart.
const doomed = "\x01\x01\x01\x01\x01\x01\x01\x01"

// b64 is the protocol's encoding.
var b64 = base64.RawURLEncoding

// unb64 decodes what clients send: either alphabet, with or without padding.
func unb64(s string) ([]byte, error) {
	s = strings.TrimRight(s, "=,")
	if strings.ContainsAny(s, "+/") {
		s = strings.NewReplacer("+", "-", "/", "_").Replace(s)
	}
	b, err := b64.DecodeString(s)
	if err != nil {
		return nil, BadArgs
	}
	return b, nil
}

// isB64 reports whether s can stand in an answer as it is, which all that is taken from a client as Base64 must.
func isB64(s string) bool {
	for i := 0; i < len(s); i++ {
		c := s[i]
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '-' && c != '_' && c != '+' && c != '/' && c != '=' && c != ',' {
			return false
		}
	}
	return true
}

func isHandle(s string) bool { return len(s) == handleLen && isB64(s) && !strings.ContainsAny(s, "/") }
func isUser(s string) bool   { return len(s) == userLen && isB64(s) && !strings.ContainsAny(s, "/") }

// The keys of the database. Handles have fixed lengths, so joining is unambiguous.
func accountKey(u userID) []byte             { return []byte("a" + u) }
func countersKey(u userID) []byte            { return []byte("q" + u) }
func emailKey(email string) []byte           { return []byte("e" + email) }
func sessionKey(hash []byte) []byte          { return append([]byte("s"), hash...) }
func sessionsKey(u userID, id string) []byte { return []byte("S" + u + id) }
func attributeKey(u userID, n string) []byte { return []byte("v" + u + n) }
func whereKey(h handle) []byte               { return []byte("h" + h) }
func nodeKey(parent, h handle) []byte        { return []byte("c" + parent + h) }
func contentKey(id contentID) []byte         { return append([]byte("o"), id[:]...) }
func uploadKey(id contentID) []byte          { return append([]byte("u"), id[:]...) }
func uploadsKey(u userID, id contentID) []byte {
	return append([]byte("U"+u), id[:]...)
}
func tokenKey(token string) []byte          { return []byte("k" + token) }
func garbageKey(id contentID) []byte        { return append([]byte("g"), id[:]...) }
func thumbnailKey(h string) []byte          { return []byte("F" + h) }
func signUpKey(hash []byte) []byte          { return append([]byte("x"), hash...) }
func replayKey(hash []byte) []byte          { return append([]byte("r"), hash...) }
func linkKey(ph handle) []byte              { return []byte("L" + ph) }
func linksKey(u userID, h handle) []byte    { return []byte("Q" + u + h) }
func outShareKey(u userID, h handle) []byte { return []byte("O" + u + h) }
func inShareKey(u userID, h handle) []byte  { return []byte("I" + u + h) }
func eventKey(u userID, seq uint64) []byte  { return binary.BigEndian.AppendUint64([]byte("E"+u), seq) }
func partKey(id contentID, off uint64) []byte {
	return binary.BigEndian.AppendUint64(append([]byte("p"), id[:]...), off)
}

var secretKey = []byte("msecret")
