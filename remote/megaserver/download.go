package megaserver

import (
	"encoding/binary"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/dgraph-io/badger/v4"
)

// sendSize is the most that one download has in memory.
const sendSize = 1 << 20

// slowStep is how many bytes of content have a deadline of their own, so that slow lines and clients that are told to be slow get on.
const slowStep = 64 << 10

// serveDownload answers with a range of a file's bytes. The range is in the path; the status is 200 for a part, too.
func (s *Server) serveDownload(w http.ResponseWriter, r *http.Request, rest string) {
	name, at, _ := strings.Cut(rest, "/")
	cut := s.faults.data(w, r)
	if cut.done {
		return
	}
	id, err := s.readTicket(name)
	if err != nil {
		http.NotFound(w, r)
		return
	}
	var o content
	ok := false
	err = s.view(func(t *tx) (err error) { ok, err = t.load(contentKey(id), &o); return err })
	if err != nil {
		s.trouble(w, "download", err)
		return
	}
	if !ok {
		http.NotFound(w, r)
		return
	}
	from, to, ok := parseRange(at, uint64(o.Size))
	if !ok {
		http.Error(w, "not in the file", http.StatusRequestedRangeNotSatisfiable)
		return
	}
	h := w.Header()
	h.Set("Content-Type", "application/octet-stream")
	h.Set("Content-Length", strconv.FormatUint(to-from, 10))
	if from == to {
		return
	}
	if err := s.send(cut.writer(w), w, r, id, from, to); err != nil {
		if r.Context().Err() == nil {
			s.log.Error("download failed", "err", err)
		}
		panic(http.ErrAbortHandler)
	}
}

// parseRange reads first-last, first- or nothing, and returns the range without its last.
func parseRange(s string, size uint64) (from, to uint64, ok bool) {
	if s == "" {
		return 0, size, true
	}
	first, last, dash := strings.Cut(s, "-")
	from, err := strconv.ParseUint(first, 10, 63)
	if err != nil || !dash {
		return 0, 0, false
	}
	to = size
	if last != "" {
		if to, err = strconv.ParseUint(last, 10, 63); err != nil || to < from {
			return 0, 0, false
		}
		to = min(to+1, size)
	}
	if size == 0 && from == 0 {
		return 0, 0, true
	}
	return from, to, from < size
}

// parts returns some of the parts that hold the range, the first of which holds its first byte.
func (s *Server) parts(id contentID, from, to uint64) (found []part, err error) {
	err = s.view(func(t *tx) error {
		o := badger.DefaultIteratorOptions
		o.PrefetchValues = false
		o.Prefix = partKey(id, 0)[:1+len(id)]
		start := from
		o.Reverse = true
		back := t.NewIterator(o)
		back.Seek(partKey(id, from))
		if back.Valid() {
			start = binary.BigEndian.Uint64(back.Item().Key()[1+len(id):])
		}
		back.Close()
		return t.scan(o.Prefix, partKey(id, start), true, func(rest, v []byte) error {
			p, err := decodePart(binary.BigEndian.Uint64(rest), v)
			if err != nil {
				return err
			}
			if p.off >= to || len(found) == 64 {
				return errStop
			}
			found = append(found, p)
			return nil
		})
	})
	if err == errStop {
		err = nil
	}
	return found, err
}

// send writes the bytes from from to to. It reads little first, so that the first byte comes soon.
func (s *Server) send(out interface{ Write([]byte) (int, error) }, w http.ResponseWriter, r *http.Request, id contentID, from, to uint64) error {
	size := min(to-from, sendSize)
	if err := s.pieces.Acquire(r.Context(), int64(size)); err != nil {
		return err
	}
	defer s.pieces.Release(int64(size))
	buf := make([]byte, size)
	step := uint64(256 << 10)
	for from < to {
		parts, err := s.parts(id, from, to)
		if err != nil {
			return err
		}
		for _, p := range parts {
			if from < p.off || from >= p.off+p.length {
				return errNode
			}
			for end := min(p.off+p.length, to); from < end; {
				b := buf[:min(uint64(len(buf)), step, end-from)]
				if err := s.blobs.GetRange(r.Context(), blobPrefix(id)+p.blob, int64(p.skip+from-p.off), b); err != nil {
					return err
				}
				from += uint64(len(b))
				for len(b) > 0 {
					n := min(len(b), slowStep)
					deadlines(w, 3*time.Minute, 2*time.Minute) // the one for reading, too: when it passes the request counts as given up
					if _, err := out.Write(b[:n]); err != nil {
						return err
					}
					b = b[n:]
				}
				step = min(2*step, sendSize)
			}
		}
		if len(parts) == 0 {
			return errNode
		}
	}
	return nil
}
