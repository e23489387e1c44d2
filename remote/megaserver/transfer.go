package megaserver

import (
	"crypto/hmac"
	"encoding/binary"
	"strconv"
	"time"
)

const (
	maxUploads = 10_000 // of one account, that have no node yet
	urlLife    = 24 * time.Hour
)

// runUpload is u: a URL for the bytes of a file.
func runUpload(c *call, raw []byte) (result, error) {
	var f struct {
		Size    *int64 `json:"s"`
		Version int    `json:"v"`
	}
	if err := args(raw, &f); err != nil {
		return result{}, err
	}
	if f.Size == nil || *f.Size < 0 {
		return result{}, BadArgs
	}
	if err := c.fits(*f.Size); err != nil {
		return result{}, err
	}
	k, err := c.t.counters(c.account.User)
	if err != nil {
		return result{}, err
	}
	if k.Uploads >= maxUploads {
		return result{}, TooMany
	}
	k.Uploads++
	if err := c.t.putCounters(c.account.User, k); err != nil {
		return result{}, err
	}
	var id contentID
	copy(id[:], random(len(id)))
	u := upload{User: c.account.User, Size: *f.Size, Made: c.t.now.Unix(), Raw: f.Version >= 2}
	if u.Raw {
		u.Token = b64.EncodeToString(append(random(35), 1))
	} else {
		u.Token = b64.EncodeToString(random(27))
	}
	if err := c.t.store(uploadKey(id), u); err != nil {
		return result{}, err
	}
	if err := c.t.put(uploadsKey(u.User, id), nil); err != nil {
		return result{}, err
	}
	if err := c.t.put(tokenKey(u.Token), id[:]); err != nil {
		return result{}, err
	}
	return text(`{"p":` + quote(c.base+"/ul/"+b64.EncodeToString(id[:])) + "}")
}

// byToken returns the upload that a token completes.
func (t *tx) byToken(token string) (contentID, *upload, error) {
	var id contentID
	if !isB64(token) {
		return id, nil, nil
	}
	v, err := t.value(tokenKey(token))
	if err != nil || len(v) != len(id) {
		return id, nil, err
	}
	copy(id[:], v)
	var u upload
	ok, err := t.load(uploadKey(id), &u)
	if err != nil || !ok {
		return id, nil, err
	}
	return id, &u, nil
}

// useUpload makes content of an upload, which then is no more, and returns its size.
func (t *tx) useUpload(id contentID) (int64, error) {
	var u upload
	ok, err := t.load(uploadKey(id), &u)
	if err != nil {
		return 0, err
	}
	if !ok {
		return 0, errNode
	}
	if err := t.endUpload(id, &u); err != nil {
		return 0, err
	}
	return u.Stored, t.store(contentKey(id), content{Size: u.Size, Refs: 1})
}

// endUpload removes what is known of an upload. That garbage is left for the collector to look at says the last line: pieces that came twice.
func (t *tx) endUpload(id contentID, u *upload) error {
	for _, k := range [][]byte{uploadKey(id), uploadsKey(u.User, id), tokenKey(u.Token)} {
		if err := t.remove(k); err != nil {
			return err
		}
	}
	if !u.Extra {
		return nil
	}
	return t.put(garbageKey(id), nil)
}

// pending counts an account's bytes and uploads that have no node yet.
func (t *tx) pending(u userID, bytes int64, uploads int) error {
	k, err := t.counters(u)
	if err != nil {
		return err
	}
	k.Pending += bytes
	k.Uploads += uploads
	return t.putCounters(u, k)
}

// refContent counts the nodes that have a content. Without any it is garbage.
func (t *tx) refContent(id contentID, by int64) error {
	var o content
	ok, err := t.load(contentKey(id), &o)
	if err != nil {
		return err
	}
	if !ok {
		return errNode
	}
	if o.Refs += by; o.Refs > 0 {
		return t.store(contentKey(id), o)
	}
	if err := t.remove(contentKey(id)); err != nil {
		return err
	}
	return t.put(garbageKey(id), nil)
}

// runGet is g: a URL under which a file's bytes are, and what is known of it.
func runGet(c *call, raw []byte) (result, error) {
	var f struct {
		Node   string `json:"n"`
		Public string `json:"p"`
		URL    int    `json:"g"`
	}
	if err := args(raw, &f); err != nil {
		return result{}, err
	}
	var n *node
	var err error
	switch {
	case f.Public != "":
		if n, err = c.t.byLink(f.Public); err == nil && n == nil {
			err = NoEntry
		}
	case f.Node != "" && c.account == nil && c.folder == nil:
		err = BadSession
	default:
		n, err = c.reach(f.Node, mayRead)
	}
	if err != nil {
		return result{}, err
	}
	if n.kind != fileNode {
		return result{}, NoEntry
	}
	b := []byte(`{"s":` + strconv.FormatInt(n.size, 10) + `,"at":"` + n.attrs + `","msd":1,"tl":0`)
	if n.thumbs != "" {
		b = append(b, `,"fa":"`+n.thumbs+`"`...)
	}
	if f.URL == 1 {
		b = append(b, `,"g":`+quote(c.base+"/dl/"+c.s.downloadTicket(n.content))...)
	}
	return text(string(b) + "}")
}

// downloadTicket names a content for a day in a URL that only this server can have made.
func (s *Server) downloadTicket(id contentID) string {
	b := binary.BigEndian.AppendUint64(append([]byte{}, id[:]...), uint64(s.now().Add(urlLife).Unix()))
	return b64.EncodeToString(append(b, s.sign("download", b)...))
}

func (s *Server) readTicket(text string) (contentID, error) {
	var id contentID
	b, err := unb64(text)
	if err != nil || len(b) != len(id)+8+16 || !hmac.Equal(b[len(id)+8:], s.sign("download", b[:len(id)+8])) {
		return id, NoEntry
	}
	copy(id[:], b)
	if int64(binary.BigEndian.Uint64(b[len(id):])) < s.now().Unix() {
		return id, Expired
	}
	return id, nil
}
