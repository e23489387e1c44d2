package megacrypt

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// A server may want proof that the client spent some computing on a request: it answers 402 with a challenge, and the client repeats the request with the answer.

// HashcashHeader is the header that carries both, exactly so: one client compares capitals.
const HashcashHeader = "X-Hashcash"

const (
	hashcashRepeat = 262144 // times the token is repeated behind the prefix
	hashcashToken  = 48
)

// Hashcash is a challenge.
type Hashcash struct {
	Easiness byte // larger is easier
	Issued   time.Time
	Token    [hashcashToken]byte
}

// NewHashcash makes a challenge.
func NewHashcash(easiness byte, now time.Time) Hashcash {
	h := Hashcash{Easiness: easiness, Issued: now}
	rand.Read(h.Token[:])
	return h
}

// String returns the header's value.
func (h Hashcash) String() string {
	return fmt.Sprintf("1:%d:%d:%s", h.Easiness, h.Issued.Unix(), Encode(h.Token[:]))
}

// ParseHashcash takes the header's value.
func ParseHashcash(s string) (h Hashcash, err error) {
	f := strings.Split(s, ":")
	if len(f) != 4 || f[0] != "1" {
		return h, malformed("hashcash")
	}
	easiness, err := strconv.ParseUint(f[1], 10, 8)
	if err != nil {
		return h, malformed("hashcash")
	}
	issued, err := strconv.ParseInt(f[2], 10, 64)
	if err != nil {
		return h, malformed("hashcash")
	}
	token, err := DecodeExact(f[3], hashcashToken)
	if err != nil {
		return h, err
	}
	return Hashcash{byte(easiness), time.Unix(issued, 0), [hashcashToken]byte(token)}, nil
}

func (h Hashcash) threshold() uint32 { return (uint32(h.Easiness&63)<<1 + 1) << (h.Easiness>>6*7 + 3) }

// Tries is how many hashes, of 12 MiB each, an answer takes on average.
func (h Hashcash) Tries() float64 { return (1 << 32) / float64(h.threshold()) }

// filling is the token so often that hashing it is not a matter of calls.
func (h Hashcash) filling() []byte {
	b := make([]byte, 0, 1024*hashcashToken)
	for range 1024 {
		b = append(b, h.Token[:]...)
	}
	return b
}

func (h Hashcash) holds(prefix [4]byte, filling []byte, stop *atomic.Bool) bool {
	s := sha256.New()
	s.Write(prefix[:])
	for range hashcashRepeat / 1024 {
		if stop != nil && stop.Load() {
			return false
		}
		s.Write(filling)
	}
	return binary.BigEndian.Uint32(s.Sum(nil)) <= h.threshold()
}

// Solve finds the answer's header value. It uses all processors until ctx ends.
func (h Hashcash) Solve(ctx context.Context) (string, error) {
	workers := runtime.GOMAXPROCS(0)
	var stop atomic.Bool
	defer context.AfterFunc(ctx, func() { stop.Store(true) })()
	found := make(chan [4]byte, workers)
	var wg sync.WaitGroup
	filling := h.filling()
	for w := range workers {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for n := uint64(w); n <= 1<<32-1 && !stop.Load(); n += uint64(workers) {
				var prefix [4]byte
				binary.LittleEndian.PutUint32(prefix[:], uint32(n))
				if h.holds(prefix, filling, &stop) {
					found <- prefix
					stop.Store(true)
				}
			}
		}()
	}
	wg.Wait()
	select {
	case prefix := <-found:
		return "1:" + Encode(h.Token[:]) + ":" + Encode(prefix[:]), nil
	default:
		if err := ctx.Err(); err != nil {
			return "", err
		}
		return "", malformed("hashcash") // no answer exists
	}
}

// Check reports whether an answer's header value is one to this challenge. It hashes 12 MiB when all but that is right: whoever asks for it should limit how often.
func (h Hashcash) Check(answer string) bool {
	f := strings.Split(answer, ":")
	if len(f) != 3 || f[0] != "1" || f[1] != Encode(h.Token[:]) {
		return false
	}
	prefix, err := DecodeExact(f[2], 4)
	return err == nil && h.holds([4]byte(prefix), h.filling(), nil)
}
