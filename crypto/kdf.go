package crypto

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"runtime/debug"
	"sync/atomic"
	"testing"
	"unicode/utf8"

	"golang.org/x/crypto/argon2"
	"golang.org/x/text/unicode/norm"
)

// KDF is the cost of deriving a key from a passphrase with Argon2id: T passes over MKiB
// kibibytes by P threads.
type KDF struct {
	T, MKiB uint32
	P       uint8
}

// DefaultKDF takes about a CPU second and 256 MiB, HighKDF about four and 2 GiB.
var (
	DefaultKDF = KDF{T: 3, MKiB: 256 << 10, P: 4}
	HighKDF    = KDF{T: 1, MKiB: 2 << 20, P: 4}
)

const (
	maxPassphrase = 1024 // bytes
	pkSize        = 64
)

// memory is a variable for tests.
var memory = availableMemory

// check fails with ErrKDFLimits unless the cost is between what RFC 9106 recommends
// at least and what no honest writer exceeds. It holds for reading and writing.
func (k KDF) check() error {
	strong := k.T >= 3 && k.MKiB >= 64<<10 || k.T >= 1 && k.MKiB >= 2<<20
	if !strong || k.T > 16 || k.MKiB > 4<<20 || k.P < 1 || k.P > 16 {
		return fmt.Errorf("%w: t=%d, m=%d KiB, p=%d", ErrKDFLimits, k.T, k.MKiB, k.P)
	}
	return nil
}

// derive stretches the passphrase to pkSize bytes. The caller clears the result.
func (k KDF) derive(pass Secret, salt []byte) ([]byte, error) {
	if err := k.check(); err != nil {
		return nil, err
	}
	norm, err := normalise(pass)
	if err != nil {
		return nil, err
	}
	defer clear(norm)
	if cheapKDF.Load() > 0 {
		return k.deriveCheap(norm, salt), nil
	}
	if avail := memory(); avail > 0 && uint64(k.MKiB)<<10 > avail/2 {
		return nil, fmt.Errorf("%w: it takes %d MiB and only half of the %d MiB available may be used; free some memory, or unlock with the recovery key",
			ErrKDFLimits, k.MKiB>>10, avail>>20)
	}
	pk := argon2.IDKey(norm, salt, k.T, k.MKiB, k.P, pkSize)
	debug.FreeOSMemory() // a second slot must not double the peak
	return pk, nil
}

// normalise returns a copy of the passphrase in NFC, so that it does not depend on the
// keyboard or system that composed its characters.
func normalise(pass Secret) ([]byte, error) {
	b := pass.Bytes()
	switch {
	case len(b) == 0:
		return nil, fmt.Errorf("%w: it is empty", ErrWeak)
	case len(b) > maxPassphrase:
		return nil, fmt.Errorf("%w: passphrase of more than %d bytes", ErrLimit, maxPassphrase)
	case !utf8.Valid(b):
		return nil, fmt.Errorf("%w: it is not valid UTF-8", ErrWeak)
	case bytes.IndexByte(b, 0) >= 0:
		return nil, fmt.Errorf("%w: it contains a NUL byte", ErrWeak)
	}
	return norm.NFC.Append(make([]byte, 0, 3*len(b)), b...), nil
}

// cheapKDF counts the tests that asked for cheap derivation.
var cheapKDF atomic.Int32

// CheapKDFForTests replaces Argon2id by a single hash until the test ends; limits
// are still checked. It panics outside of tests.
func CheapKDFForTests(t interface {
	Helper()
	Cleanup(func())
}) {
	t.Helper()
	if !testing.Testing() {
		panic("crypto: CheapKDFForTests outside of a test")
	}
	cheapKDF.Add(1)
	t.Cleanup(func() { cheapKDF.Add(-1) })
}

func (k KDF) deriveCheap(pass, salt []byte) []byte {
	return expand(extract(pass, salt), pkSize, []byte("no KDF, for tests only"), k.append(nil))
}

func (k KDF) append(b []byte) []byte {
	b = binary.BigEndian.AppendUint32(b, k.T)
	b = binary.BigEndian.AppendUint32(b, k.MKiB)
	return append(b, k.P)
}
