package megaserver

import (
	"crypto/hmac"
	"encoding/binary"
	"encoding/hex"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"
)

const (
	maxThumbnail  = 2 << 20
	maxThumbnails = 1000 // in one answer
)

// runThumbs is ufa: a URL to bring a file attribute to, or one to get some from.
func runThumbs(c *call, raw []byte) (result, error) {
	var f struct {
		Size   int64  `json:"s"`
		Handle string `json:"fah"`
	}
	if err := args(raw, &f); err != nil {
		return result{}, err
	}
	if f.Handle != "" {
		return text(`{"p":` + quote(c.base+"/fd") + "}")
	}
	if f.Size <= 0 || f.Size > maxThumbnail {
		return result{}, BadArgs
	}
	b := binary.BigEndian.AppendUint64([]byte(c.account.User), uint64(c.t.now.Add(urlLife).Unix()))
	b = append(b, c.s.sign("thumbnail", b)...)
	return text(`{"p":` + quote(c.base+"/fu/"+b64.EncodeToString(b)) + "}")
}

func thumbBlob(h string) string {
	b, _ := unb64(h)
	x := hex.EncodeToString(b)
	return "thumb/" + x[:2] + "/" + x
}

// serveThumbnailUpload takes a file attribute and answers with its handle.
func (s *Server) serveThumbnailUpload(w http.ResponseWriter, r *http.Request, rest string) {
	deadlines(w, time.Minute, time.Minute)
	if s.faults.pseudo(w, r, "fu") {
		return
	}
	name, _, _ := strings.Cut(rest, "/")
	b, err := unb64(name)
	if err != nil || len(b) != userLen+8+16 || !hmac.Equal(b[userLen+8:], s.sign("thumbnail", b[:userLen+8])) ||
		int64(binary.BigEndian.Uint64(b[userLen:])) < s.now().Unix() {
		http.NotFound(w, r)
		return
	}
	if s.pieces.Acquire(r.Context(), maxThumbnail) != nil {
		return
	}
	defer s.pieces.Release(maxThumbnail)
	data, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxThumbnail))
	if err != nil || len(data) == 0 {
		chunkAnswer(w, BadArgs)
		return
	}
	h := b64.EncodeToString(random(8))
	// The record comes first: a blob without one nobody would ever find.
	err = s.update(func(t *tx) error {
		return t.store(thumbnailKey(h), thumbnail{User: string(b[:userLen]), Size: int64(len(data)), Made: t.now.Unix()})
	})
	if err == nil {
		err = s.blobs.Put(r.Context(), thumbBlob(h), data)
	}
	if err != nil {
		s.trouble(w, "file attribute", err)
		return
	}
	id, _ := unb64(h)
	w.Header().Set("Content-Length", "8")
	w.Write(id)
}

// serveThumbnails answers with the file attributes whose handles are in the body, those that there are.
func (s *Server) serveThumbnails(w http.ResponseWriter, r *http.Request) {
	deadlines(w, time.Minute, 2*time.Minute)
	if s.faults.pseudo(w, r, "fd") {
		return
	}
	asked, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 8*maxThumbnails))
	if err != nil || len(asked)%8 != 0 {
		chunkAnswer(w, BadArgs)
		return
	}
	if s.pieces.Acquire(r.Context(), maxThumbnail) != nil {
		return
	}
	defer s.pieces.Release(maxThumbnail)
	for ; len(asked) > 0; asked = asked[8:] {
		h := b64.EncodeToString(asked[:8])
		var f thumbnail
		ok := false
		err := s.view(func(t *tx) (err error) { ok, err = t.load(thumbnailKey(h), &f); return err })
		if err != nil || !ok {
			continue
		}
		data, err := s.blobs.Get(r.Context(), thumbBlob(h), maxThumbnail)
		if err != nil {
			continue
		}
		w.Write(binary.LittleEndian.AppendUint32(append([]byte{}, asked[:8]...), uint32(len(data))))
		w.Write(data)
	}
}

// checkThumbs reads a file-attribute string as clients send it and returns it as they are to see it.
func (c *call) checkThumbs(s string) (string, error) {
	if len(s) > maxThumbsText {
		return "", BadArgs
	}
	var out []string
	for _, part := range strings.Split(s, "/") {
		if _, rest, ok := strings.Cut(part, ":"); ok {
			part = rest
		}
		kind, h, ok := strings.Cut(part, "*")
		k, err := strconv.ParseUint(kind, 10, 8)
		if !ok || err != nil || len(h) != userLen || !isB64(h) {
			return "", BadArgs
		}
		if k < 8 { // those from 8 on hold their value themselves
			v, err := c.t.value(thumbnailKey(h))
			if err != nil {
				return "", err
			}
			if v == nil {
				return "", NoEntry
			}
		}
		out = append(out, "1:"+strconv.FormatUint(k, 10)+"*"+h)
	}
	return strings.Join(out, "/"), nil
}

// refThumbs counts the nodes that have file attributes. What no node has any more the collector removes.
func (t *tx) refThumbs(s string, by int64) error {
	if s == "" {
		return nil
	}
	for _, part := range strings.Split(s, "/") {
		_, h, _ := strings.Cut(part, "*")
		var f thumbnail
		ok, err := t.load(thumbnailKey(h), &f)
		if err != nil {
			return err
		}
		if !ok {
			continue
		}
		f.Refs += by
		if err := t.store(thumbnailKey(h), f); err != nil {
			return err
		}
	}
	return nil
}

// runAttachThumbs is pfa: file attributes for a node that there is.
func runAttachThumbs(c *call, raw []byte) (result, error) {
	var f struct {
		Node   string `json:"n"`
		Thumbs string `json:"fa"`
	}
	if err := args(raw, &f); err != nil {
		return result{}, err
	}
	n, err := c.reach(f.Node, mayWrite)
	if err != nil {
		return result{}, err
	}
	if n.kind != fileNode {
		return result{}, NoAccess
	}
	add, err := c.checkThumbs(f.Thumbs)
	if err != nil {
		return result{}, err
	}
	merged := mergeThumbs(n.thumbs, add)
	if len(merged) > maxThumbsText {
		return result{}, BadArgs
	}
	if err := c.t.refThumbs(merged, 1); err != nil {
		return result{}, err
	}
	if err := c.t.refThumbs(n.thumbs, -1); err != nil {
		return result{}, err
	}
	n.thumbs = merged
	if err := c.t.putNode(n); err != nil {
		return result{}, err
	}
	to, err := c.t.audience(c.account.User, n)
	if err != nil {
		return result{}, err
	}
	h, err := c.head("fa")
	if err != nil {
		return result{}, err
	}
	return result{text: `"` + merged + `"`}, c.t.event(to, h, []byte(`"n":"`+n.h+`","fa":"`+merged+`"`))
}

// mergeThumbs puts add beside what there is, or in its place where the type is the same.
func mergeThumbs(old, add string) string {
	kind := func(s string) string { k, _, _ := strings.Cut(s, "*"); return k }
	out := strings.Split(add, "/")
	for _, o := range strings.Split(old, "/") {
		found := o == ""
		for _, a := range out {
			found = found || kind(a) == kind(o)
		}
		if !found {
			out = append(out, o)
		}
	}
	return strings.Join(out, "/")
}
