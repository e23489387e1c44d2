package spool

import (
	"bufio"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/binary"
	"io"
	"os"

	"megafs/remote"
)

// Spool is a file of records that are written one after the other, and then read from anywhere.
type Spool struct {
	f     *os.File
	block cipher.Block
	w     *bufio.Writer
	size  int64

	// The part that was read last, as plain bytes.
	window []byte
	from   int64
	ahead  int64 // how many bytes were read at once
}

// buffer is how many bytes are written or read at a time; what is read from here and there is read by fewer.
const (
	buffer     = 64 << 10
	leastAhead = 4 << 10
)

func failed(op string, err error) error { return remote.E(op, "", remote.IO, err) }

// New makes a spool in a folder. Errors are of kind IO, here and elsewhere.
func New(dir string) (*Spool, error) {
	f, err := os.CreateTemp(dir, "spool-")
	if err == nil {
		if err = os.Remove(f.Name()); err != nil {
			f.Close()
		}
	}
	if err != nil {
		return nil, failed("write a spool", err)
	}
	var key [32]byte
	rand.Read(key[:])
	s := &Spool{f: f, ahead: leastAhead}
	s.block, _ = aes.NewCipher(key[:]) // the key has the right length
	s.w = bufio.NewWriterSize(cipher.StreamWriter{S: s.stream(0), W: f}, buffer)
	return s, nil
}

// stream is the key stream from a multiple of the cipher's block on.
func (s *Spool) stream(off int64) cipher.Stream {
	var iv [aes.BlockSize]byte
	binary.BigEndian.PutUint64(iv[8:], uint64(off/aes.BlockSize))
	return cipher.NewCTR(s.block, iv[:])
}

// Close gives the file's room back.
func (s *Spool) Close() { s.f.Close() }

// Write appends a record of less than 4 GiB, and returns where it is.
func (s *Spool) Write(b []byte) (at int64, err error) {
	at = s.size
	var n [4]byte
	binary.BigEndian.PutUint32(n[:], uint32(len(b)))
	if _, err = s.w.Write(n[:]); err == nil {
		_, err = s.w.Write(b)
	}
	if err != nil {
		return 0, failed("write a spool", err)
	}
	s.size += int64(len(n) + len(b))
	return at, nil
}

// Size returns how many bytes were written.
func (s *Spool) Size() int64 { return s.size }

// Read returns the record at a place, which is valid until the next call. Nothing can be written after it.
func (s *Spool) Read(at int64) ([]byte, error) {
	n, err := s.bytes(at, 4)
	if err != nil {
		return nil, err
	}
	return s.bytes(at+4, int64(binary.BigEndian.Uint32(n)))
}

func (s *Spool) bytes(at, n int64) ([]byte, error) {
	if at < s.from || at+n > s.from+int64(len(s.window)) {
		if s.w != nil {
			if err := s.w.Flush(); err != nil {
				return nil, failed("write a spool", err)
			}
			s.w = nil
		}
		if end := s.from + int64(len(s.window)); at >= s.from && at <= end {
			s.ahead = min(2*s.ahead, buffer)
		} else {
			s.ahead = leastAhead
		}
		from := at &^ (aes.BlockSize - 1)
		size := min(max(at-from+n, s.ahead), s.size-from)
		if at+n > s.size {
			return nil, failed("read a spool", io.ErrUnexpectedEOF)
		}
		if int64(cap(s.window)) < size {
			s.window = make([]byte, size)
		}
		s.window, s.from = s.window[:size], from
		if _, err := s.f.ReadAt(s.window, from); err != nil {
			s.window = nil
			return nil, failed("read a spool", err)
		}
		s.stream(from).XORKeyStream(s.window, s.window)
	}
	return s.window[at-s.from:][:n], nil
}

// Each calls fn with all records in order, each of which is valid during its call. Nothing can be written after it.
func (s *Spool) Each(fn func([]byte) error) error {
	for at := int64(0); at < s.size; {
		b, err := s.Read(at)
		if err != nil {
			return err
		}
		at += 4 + int64(len(b))
		if err := fn(b); err != nil {
			return err
		}
	}
	return nil
}
