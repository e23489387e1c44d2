package megacrypt

import (
	"encoding/binary"
	"hash/crc32"
	"io"
)

// A fingerprint, attribute "c" of files, is how the official clients tell whether a local file is the one in the cloud, and where they keep its time of
// modification. It looks at samples, so it is no proof of content.

// Fingerprint is a sample of content, and the time of its modification in seconds since 1970.
type Fingerprint struct {
	Sample [16]byte
	Time   uint64
}

// Where samples of content are taken.
const (
	sampleWhole  = 16   // content up to here is its own sample
	sampleFull   = 8192 // content up to here is read whole
	sampleBlock  = 64
	sampleBlocks = 32 // in each of four lanes
)

// Sample computes the sample of content of a size. It reads at most 8 KiB of it.
func Sample(r io.ReaderAt, size int64) (out [16]byte, err error) {
	read := func(b []byte, off int64) error {
		n, err := r.ReadAt(b, off)
		if n == len(b) {
			return nil
		}
		if err == io.EOF || err == nil {
			err = io.ErrUnexpectedEOF
		}
		return err
	}
	switch {
	case size <= sampleWhole:
		return out, read(out[:size], 0)
	case size <= sampleFull:
		b := make([]byte, size)
		if err := read(b, 0); err != nil {
			return out, err
		}
		for i := range int64(4) {
			binary.BigEndian.PutUint32(out[4*i:], crc32.ChecksumIEEE(b[i*size/4:(i+1)*size/4]))
		}
		return out, nil
	}
	var b [sampleBlock]byte
	for lane := range int64(4) {
		sum := uint32(0)
		for j := range int64(sampleBlocks) {
			if err := read(b[:], SampleAt(size, int(lane*sampleBlocks+j))); err != nil {
				return out, err
			}
			sum = crc32.Update(sum, crc32.IEEETable, b[:])
		}
		binary.BigEndian.PutUint32(out[4*lane:], sum)
	}
	return out, nil
}

// SampleAt returns where block i, of 128, of content above 8 KiB lies that its sample is taken from.
func SampleAt(size int64, i int) int64 {
	// (size-64)*i/127 without overflow, whatever the size is.
	n := size - sampleBlock
	return n/127*int64(i) + n%127*int64(i)/127
}

// Encode returns the text form.
func (f Fingerprint) Encode() string {
	b := append(f.Sample[:len(f.Sample):len(f.Sample)], 0)
	for t := f.Time; t > 0; t >>= 8 {
		b = append(b, byte(t))
		b[16]++
	}
	return Encode(b)
}

// DecodeFingerprint is the reverse of Encode.
func DecodeFingerprint(s string) (f Fingerprint, err error) {
	b, err := Decode(s, 16+1+8)
	if err != nil {
		return f, err
	}
	if len(b) < 17 || int(b[16]) != len(b)-17 || b[16] > 8 {
		return f, malformed("fingerprint")
	}
	copy(f.Sample[:], b)
	for i := len(b) - 1; i > 16; i-- {
		f.Time = f.Time<<8 | uint64(b[i])
	}
	return f, nil
}
