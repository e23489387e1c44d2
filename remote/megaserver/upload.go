package megaserver

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
)

// openUpload is what is known of an upload that is under way.
type openUpload struct {
	user  userID
	size  uint64
	mu    sync.Mutex // of info and have; after the account's lock
	info  upload
	have  []run // in order, none touching the next
	used  time.Time
	inUse int // requests under way; of openUploads.mu
}

type openUploads struct {
	mu sync.Mutex
	m  map[contentID]*openUpload
}

// enter returns an upload for a request, nil if there is none. leave must be called after.
func (s *Server) enter(id contentID) (*openUpload, error) {
	s.open.mu.Lock()
	defer s.open.mu.Unlock()
	if o := s.open.m[id]; o != nil {
		o.inUse++
		return o, nil
	}
	o := &openUpload{}
	found := false
	err := s.view(func(t *tx) (err error) {
		if found, err = t.load(uploadKey(id), &o.info); err != nil || !found {
			return err
		}
		return t.scan(partKey(id, 0)[:1+len(id)], nil, true, func(rest, v []byte) error {
			p, err := decodePart(binary.BigEndian.Uint64(rest), v)
			o.have = cover(o.have, run{p.off, p.off + p.length})
			return err
		})
	})
	if err != nil || !found {
		return nil, err
	}
	o.user, o.size = o.info.User, uint64(o.info.Size)
	o.inUse = 1
	s.open.m[id] = o
	return o, nil
}

func (u *openUploads) leave(o *openUpload, now time.Time) {
	u.mu.Lock()
	defer u.mu.Unlock()
	o.inUse--
	o.used = now
}

func (u *openUploads) forget(id contentID) {
	u.mu.Lock()
	defer u.mu.Unlock()
	delete(u.m, id)
}

// serveUpload takes some of a file's bytes.
func (s *Server) serveUpload(w http.ResponseWriter, r *http.Request, rest string) {
	deadlines(w, time.Minute, 2*time.Minute)
	if s.faults.pseudo(w, r, "ul") {
		return
	}
	name, at, _ := strings.Cut(rest, "/")
	raw, err := unb64(name)
	var id contentID
	if err != nil || len(raw) != len(id) {
		http.NotFound(w, r)
		return
	}
	copy(id[:], raw)
	var off uint64
	if at != "" {
		if off, err = strconv.ParseUint(at, 10, 63); err != nil {
			chunkAnswer(w, OutOfRange)
			return
		}
	}
	o, err := s.enter(id)
	if err != nil {
		s.trouble(w, "upload", err)
		return
	}
	if o == nil {
		http.NotFound(w, r) // for one client takes any text as success
		return
	}
	defer func() { s.open.leave(o, time.Now()) }()
	parts, sum, err := s.takeBody(w, r, id, o, off)
	if err == nil {
		q := r.URL.Query()
		for _, k := range []string{"c", "d"} {
			if q.Has(k) && q.Get(k) != b64.EncodeToString(sum[:]) {
				err = BadKey
			}
		}
	}
	var body []byte
	if err == nil {
		body, err = s.record(id, o, parts, r.URL.Query().Has("d"))
	} else {
		s.dropParts(id, parts)
	}
	var code Code
	switch {
	case err == nil:
		w.Header().Set("Content-Type", "application/octet-stream")
		w.Header().Set("Content-Length", strconv.Itoa(len(body)))
		w.Write(body)
	case errors.Is(err, NoEntry):
		http.NotFound(w, r)
	case errors.As(err, &code):
		chunkAnswer(w, code)
	default:
		s.trouble(w, "upload", err)
	}
}

// chunkAnswer tells an uploading client a code, which stands alone in the body.
func chunkAnswer(w http.ResponseWriter, c Code) {
	answer(w, strconv.AppendInt(nil, int64(c), 10))
}

// trouble is what clients try again after.
func (s *Server) trouble(w http.ResponseWriter, what string, err error) {
	if !errors.Is(err, context.Canceled) {
		s.log.Error(what+" failed", "err", err)
	}
	http.Error(w, "try again", http.StatusInternalServerError)
}

// checksum is the XOR of a body's bytes in twelve places.
type checksum [12]byte

func (c *checksum) add(at int, b []byte) {
	for i, x := range b {
		c[(at+i)%12] ^= x
	}
}

// takeBody stores a request's bytes in pieces. On an error the parts it returns are to be dropped.
func (s *Server) takeBody(w http.ResponseWriter, r *http.Request, id contentID, o *openUpload, off uint64) (parts []part, sum checksum, err error) {
	size := o.size
	if off > size || r.ContentLength > 0 && uint64(r.ContentLength) > size-off {
		return nil, sum, OutOfRange
	}
	need := min(size-off, pieceSize)
	if r.ContentLength >= 0 {
		need = min(need, uint64(r.ContentLength))
	}
	if err := s.pieces.Acquire(r.Context(), int64(need)); err != nil {
		return nil, sum, err
	}
	defer s.pieces.Release(int64(need))
	buf := make([]byte, need)
	total := 0
	for {
		n, end, err := fill(steady{w, r.Body}, buf[:min(need, size-off)])
		if err != nil {
			return parts, sum, fmt.Errorf("the body ended early: %w", err)
		}
		if n > 0 {
			sum.add(total, buf[:n])
			total += n
			p := part{off: off, length: uint64(n), blob: fmt.Sprintf("%x-%s", off, hex.EncodeToString(random(6)))}
			if err := s.blobs.Put(r.Context(), blobPrefix(id)+p.blob, buf[:n]); err != nil {
				s.noteExtra(id, o)
				return parts, sum, err
			}
			parts = append(parts, p)
			off += uint64(n)
		}
		if end {
			return parts, sum, nil
		}
		if n == 0 { // there is more than fits
			return parts, sum, OutOfRange
		}
	}
}

// steady is a request's body, of which each slowStep bytes have a minute to come: a line may be slow, but not stand still.
type steady struct {
	w http.ResponseWriter
	r io.Reader
}

// Read implements io.Reader. It is for fill, and as long as the body lasts fills what it reads.
func (s steady) Read(b []byte) (n int, err error) {
	deadlines(s.w, time.Minute, 2*time.Minute)
	b = b[:min(len(b), slowStep)]
	for n < len(b) && err == nil {
		var m int
		m, err = s.r.Read(b[n:])
		n += m
	}
	return n, err
}

// fill reads until b is full or the body ends, which end says. With no room in b it looks whether there is more.
func fill(body io.Reader, b []byte) (n int, end bool, err error) {
	if len(b) == 0 {
		var one [1]byte
		m, end, err := fill(body, one[:])
		return 0, end && m == 0, err
	}
	for n < len(b) {
		m, err := body.Read(b[n:])
		n += m
		if err == io.EOF {
			return n, true, nil
		}
		if err != nil {
			return n, false, err
		}
	}
	return n, false, nil
}

// record notes stored parts and returns what the client is answered.
func (s *Server) record(id contentID, o *openUpload, parts []part, digit bool) ([]byte, error) {
	unlock := s.locks.lock(o.user)
	defer unlock()
	o.mu.Lock()
	defer o.mu.Unlock()
	have := append([]run(nil), o.have...)
	var fresh []part
	var added uint64
	extra := false
	for _, p := range parts {
		missing := gaps(have, run{p.off, p.off + p.length})
		for _, m := range missing {
			fresh = append(fresh, part{off: m.from, length: m.to - m.from, skip: m.from - p.off, blob: p.blob})
			added += m.to - m.from
			have = cover(have, m)
		}
		extra = extra || len(missing) == 0
	}
	info := o.info
	info.Extra = info.Extra || extra
	info.Stored += int64(added)
	info.Whole = info.Stored == info.Size
	if info != o.info {
		err := s.update(func(t *tx) error {
			var now upload
			ok, err := t.load(uploadKey(id), &now)
			if err != nil {
				return err
			}
			if !ok {
				return NoEntry
			}
			k, err := t.counters(info.User)
			if err != nil {
				return err
			}
			a, err := t.account(info.User)
			if err != nil {
				return err
			}
			if a == nil {
				return NoEntry
			}
			if k.Pending += int64(added); k.Pending > s.quota(a) {
				return OverQuota
			}
			if err := t.putCounters(info.User, k); err != nil {
				return err
			}
			for i := range fresh {
				if err := t.put(partKey(id, fresh[i].off), fresh[i].encode()); err != nil {
					return err
				}
			}
			return t.store(uploadKey(id), info)
		})
		if err != nil {
			s.dropParts(id, parts)
			return nil, err
		}
		o.info, o.have = info, have
	}
	switch {
	case info.Whole && info.Raw:
		return unb64(info.Token)
	case info.Whole:
		return []byte(info.Token), nil
	case digit:
		return []byte("0"), nil
	}
	return nil, nil
}

// dropParts removes the blobs of parts that will not be recorded. What can't be removed now the collector finds.
func (s *Server) dropParts(id contentID, parts []part) {
	ctx, cancel := context.WithTimeout(s.ctx, 10*time.Second)
	defer cancel()
	for _, p := range parts {
		if s.blobs.Delete(ctx, blobPrefix(id)+p.blob) != nil {
			s.open.mu.Lock()
			o := s.open.m[id]
			s.open.mu.Unlock()
			if o != nil {
				s.noteExtra(id, o)
			}
			return
		}
	}
}

// noteExtra notes that there may be blobs of an upload that no part names.
func (s *Server) noteExtra(id contentID, o *openUpload) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.info.Extra {
		return
	}
	err := s.update(func(t *tx) error {
		var u upload
		ok, err := t.load(uploadKey(id), &u)
		if err != nil || !ok {
			return err
		}
		u.Extra = true
		return t.store(uploadKey(id), u)
	})
	if err == nil {
		o.info.Extra = true
	}
}
