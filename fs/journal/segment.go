package journal

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"strconv"
	"strings"
	"sync"

	"github.com/cockroachdb/pebble/v2/vfs"
)

const (
	magic     = "megafsjl"
	version   = 1
	segStart  = 4096 // offset of a segment's first record
	headSize  = 56   // sealed part of a segment's header, before the tag
	recHead   = 24   // before a record's payload
	tagSize   = 16
	recAlign  = 16
	linkSize  = 24
	noteSize  = recHead + linkSize + tagSize // a multiple of recAlign
	maxNumber = 1 << 48                      // of a segment; more is nonsense
)

// A segment is one file of records.
type segment struct {
	number uint64
	f      vfs.File
	aead   cipher.AEAD

	// Guarded by Journal.mu.
	size    int64 // of the file; zeros or void records behind end
	end     int64 // offset after the last record
	first   Seq   // of the first record
	last    Seq   // of the last record, first-1 if there is none
	dirty   bool  // appended to since the last sync
	full    bool  // takes no more records
	reserve bool  // what is left of it is not for data
	asked   bool  // the next segment was asked for
	out     int64 // the disk was asked to write what lies before

	io   sync.RWMutex
	gone bool // f is closed or belongs to another segment; guarded by io
}

// link is the payload of the journal's own records.
type link struct {
	prev uint64 // number of the segment before, 0 if there was none
	end  int64  // where that one ended
	trim Seq    // records before this one are not needed
}

func (l link) encode() []byte {
	b := make([]byte, linkSize)
	binary.LittleEndian.PutUint64(b, l.prev)
	binary.LittleEndian.PutUint64(b[8:], uint64(l.end))
	binary.LittleEndian.PutUint64(b[16:], uint64(l.trim))
	return b
}

func decodeLink(b []byte) (l link, ok bool) {
	if len(b) != linkSize {
		return l, false
	}
	return link{
		prev: binary.LittleEndian.Uint64(b),
		end:  int64(binary.LittleEndian.Uint64(b[8:])),
		trim: Seq(binary.LittleEndian.Uint64(b[16:])),
	}, true
}

// reserveName is the name of a file that nobody but who frees room may make a segment of.
const reserveName = "reserve"

func segName(number uint64) string   { return fmt.Sprintf("%012x.seg", number) }
func spareName(number uint64) string { return fmt.Sprintf("%012x.spare", number) }

// parseName is the inverse of segName and spareName.
func parseName(name string) (number uint64, spare, ok bool) {
	hex, _, _ := strings.Cut(name, ".")
	number, err := strconv.ParseUint(hex, 16, 64)
	if err != nil || number == 0 || number >= maxNumber {
		return 0, false, false
	}
	switch name {
	case segName(number):
		return number, false, true
	case spareName(number):
		return number, true, true
	}
	return 0, false, false
}

// segmentKey derives the key of a segment.
func segmentKey(key *[32]byte, salt []byte, number uint64) (cipher.AEAD, error) {
	info := binary.BigEndian.AppendUint64([]byte("megafs journal segment"), number)
	k, err := hkdf.Key(sha256.New, key[:], salt, string(info), 32)
	if err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(k)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}

// headNonce seals the header; no record lies at such an offset.
var headNonce = bytes.Repeat([]byte{0xff}, 12)

func recNonce(off int64) []byte {
	return binary.BigEndian.AppendUint64(make([]byte, 4, 12), uint64(off))
}

// newHeader makes the header block of a new life of a file and the key that goes with it.
func newHeader(key *[32]byte, number uint64) ([]byte, cipher.AEAD, error) {
	h := make([]byte, headSize, segStart)
	copy(h, magic)
	binary.LittleEndian.PutUint32(h[8:], version)
	binary.LittleEndian.PutUint64(h[16:], number)
	if _, err := rand.Read(h[24:]); err != nil {
		return nil, nil, err
	}
	aead, err := segmentKey(key, h[24:], number)
	if err != nil {
		return nil, nil, err
	}
	return aead.Seal(h, headNonce, nil, h)[:segStart], aead, nil
}

// openHeader checks the header of the segment of that number and returns its key.
func openHeader(key *[32]byte, number uint64, h []byte) (cipher.AEAD, error) {
	if len(h) < headSize+tagSize || string(h[:8]) != magic {
		return nil, fmt.Errorf("it is not a journal segment")
	}
	if v := binary.LittleEndian.Uint32(h[8:]); v != version {
		return nil, fmt.Errorf("its format is version %d, this program knows version %d", v, version)
	}
	aead, err := segmentKey(key, h[24:headSize], number)
	if err != nil {
		return nil, err
	}
	if _, err := aead.Open(nil, headNonce, h[headSize:headSize+tagSize], h[:headSize]); err != nil {
		return nil, fmt.Errorf("its header does not verify with this key")
	}
	return aead, nil
}

// head is the open part of a record.
type head struct {
	size    int // of the payload
	kind    Kind
	seq     Seq
	durable Seq
}

// recordSize returns what a payload of n bytes takes in a segment.
func recordSize(n int) int64 {
	return (recHead + int64(n) + tagSize + recAlign - 1) &^ (recAlign - 1)
}

// parseHead reads a record's head and reports whether it can be one.
func parseHead(b []byte) (h head, ok bool) {
	h = head{
		size:    int(binary.LittleEndian.Uint32(b)),
		kind:    Kind(b[4]),
		seq:     Seq(binary.LittleEndian.Uint64(b[8:])),
		durable: Seq(binary.LittleEndian.Uint64(b[16:])),
	}
	return h, b[5]|b[6]|b[7] == 0 && h.size <= MaxPayload && h.durable <= h.seq
}

// seal builds a record for offset off in buf, which is grown as needed, and returns it.
// The tag comes last: a record of which the last byte was not written does not verify.
func (s *segment) seal(buf []byte, off int64, h head, parts [][]byte) []byte {
	n := int(recordSize(h.size))
	if cap(buf) < n {
		buf = make([]byte, n+n/4)
	}
	buf = buf[:n]
	binary.LittleEndian.PutUint32(buf, uint32(h.size))
	binary.LittleEndian.PutUint32(buf[4:], uint32(h.kind))
	binary.LittleEndian.PutUint64(buf[8:], uint64(h.seq))
	binary.LittleEndian.PutUint64(buf[16:], uint64(h.durable))
	at := recHead
	for _, p := range parts {
		at += copy(buf[at:], p)
	}
	clear(buf[at : n-tagSize])
	s.aead.Seal(buf[recHead:recHead], recNonce(off), buf[recHead:n-tagSize], buf[:recHead])
	return buf
}

// unseal opens the whole record rec, of recordSize bytes, that was found at off, into dst and
// returns its payload.
func (s *segment) unseal(dst, rec []byte, off int64, size int) ([]byte, bool) {
	p, err := s.aead.Open(dst, recNonce(off), rec[recHead:], rec[:recHead])
	if err != nil {
		return nil, false
	}
	return p[:size], true
}

// sync makes what was written to the segment durable.
func (s *segment) sync() error {
	s.io.RLock()
	defer s.io.RUnlock()
	if s.gone {
		return nil
	}
	return s.f.SyncData()
}

// take ends all use of the file by readers and returns it.
func (s *segment) take() vfs.File {
	s.io.Lock()
	defer s.io.Unlock()
	s.gone = true
	return s.f
}
