package mega

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

// spool is a file of records that are written one after the other, and then read from anywhere. It has no name, so it goes with the process, and its key
// is nowhere but here.
type spool struct {
	f     *os.File
	block cipher.Block
	w     *bufio.Writer
	size  int64

	// The part that was read last, as plain bytes.
	window []byte
	from   int64
}

const spoolBuffer = 64 << 10

func spoolError(op string, err error) error { return remote.E(op, "", remote.IO, err) }

func newSpool(dir string) (*spool, error) {
	f, err := os.CreateTemp(dir, "spool-")
	if err == nil {
		if err = os.Remove(f.Name()); err != nil {
			f.Close()
		}
	}
	if err != nil {
		return nil, spoolError("spool the tree", err)
	}
	var key [32]byte
	rand.Read(key[:])
	s := &spool{f: f}
	s.block, _ = aes.NewCipher(key[:]) // the key has the right length
	s.w = bufio.NewWriterSize(cipher.StreamWriter{S: s.stream(0), W: f}, spoolBuffer)
	return s, nil
}

// stream is the key stream from a multiple of the cipher's block on.
func (s *spool) stream(off int64) cipher.Stream {
	var iv [aes.BlockSize]byte
	binary.BigEndian.PutUint64(iv[8:], uint64(off/aes.BlockSize))
	return cipher.NewCTR(s.block, iv[:])
}

func (s *spool) close() { s.f.Close() }

// write appends a record, and returns where it is.
func (s *spool) write(b []byte) (at int64, err error) {
	at = s.size
	var n [4]byte
	binary.BigEndian.PutUint32(n[:], uint32(len(b)))
	if _, err = s.w.Write(n[:]); err == nil {
		_, err = s.w.Write(b)
	}
	if err != nil {
		return 0, spoolError("spool the tree", err)
	}
	s.size += int64(len(n) + len(b))
	return at, nil
}

// read returns the record at a place, which is valid until the next call. Nothing can be written after it.
func (s *spool) read(at int64) ([]byte, error) {
	n, err := s.bytes(at, 4)
	if err != nil {
		return nil, err
	}
	return s.bytes(at+4, int64(binary.BigEndian.Uint32(n)))
}

func (s *spool) bytes(at, n int64) ([]byte, error) {
	if at < s.from || at+n > s.from+int64(len(s.window)) {
		if s.w != nil {
			if err := s.w.Flush(); err != nil {
				return nil, spoolError("spool the tree", err)
			}
			s.w = nil
		}
		from := at &^ (aes.BlockSize - 1)
		size := min(max(at-from+n, spoolBuffer), s.size-from)
		if at+n > s.size {
			return nil, spoolError("read the spooled tree", io.ErrUnexpectedEOF)
		}
		if int64(cap(s.window)) < size {
			s.window = make([]byte, size)
		}
		s.window, s.from = s.window[:size], from
		if _, err := s.f.ReadAt(s.window, from); err != nil {
			s.window = nil
			return nil, spoolError("read the spooled tree", err)
		}
		s.stream(from).XORKeyStream(s.window, s.window)
	}
	return s.window[at-s.from:][:n], nil
}
