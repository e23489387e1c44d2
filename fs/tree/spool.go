package tree

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

// spool is a file of blocks that are written one after the other and read again in that order, as often as wanted. It has no name, so it goes with the process, and
// its key is nowhere but here.
type spool struct {
	f     *os.File
	block cipher.Block
	iv    [aes.BlockSize]byte
	w     *bufio.Writer
}

const spoolBuffer = 256 << 10

func newSpool(dir string) (*spool, error) {
	f, err := os.CreateTemp(dir, "spool-")
	if err == nil {
		if err = os.Remove(f.Name()); err != nil {
			f.Close()
		}
	}
	if err != nil {
		return nil, remote.E("spool a snapshot", dir, remote.IO, err)
	}
	var key [32]byte
	rand.Read(key[:])
	s := &spool{f: f}
	s.block, _ = aes.NewCipher(key[:]) // the key has the right length
	rand.Read(s.iv[:])
	s.w = bufio.NewWriterSize(cipher.StreamWriter{S: s.stream(), W: f}, spoolBuffer)
	return s, nil
}

func (s *spool) stream() cipher.Stream { return cipher.NewCTR(s.block, s.iv[:]) }

func (s *spool) close() { s.f.Close() }

// write appends a block.
func (s *spool) write(b []byte) error {
	_, err := s.w.Write(binary.AppendUvarint(nil, uint64(len(b))))
	if err == nil {
		_, err = s.w.Write(b)
	}
	if err != nil {
		err = remote.E("spool a snapshot", "", remote.IO, err)
	}
	return err
}

// each calls fn with all blocks in order, each of which is valid during its call. Nothing can be written after it.
func (s *spool) each(fn func([]byte) error) error {
	failed := func(err error) error { return remote.E("read a spooled snapshot", "", remote.IO, err) }
	if err := s.w.Flush(); err != nil {
		return failed(err)
	}
	if _, err := s.f.Seek(0, io.SeekStart); err != nil {
		return failed(err)
	}
	r := bufio.NewReaderSize(cipher.StreamReader{S: s.stream(), R: s.f}, spoolBuffer)
	var b []byte
	for {
		n, err := binary.ReadUvarint(r)
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return failed(err)
		}
		if uint64(cap(b)) < n {
			b = make([]byte, n)
		}
		b = b[:n]
		if _, err := io.ReadFull(r, b); err != nil {
			return failed(err)
		}
		if err := fn(b); err != nil {
			return err
		}
	}
}
