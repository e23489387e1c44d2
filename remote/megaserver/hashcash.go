package megaserver

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"megafs/crypto/megacrypt"
)

const (
	workLife    = 5 * time.Minute
	maxWorkDone = 100_000
)

// work makes challenges and checks what was computed for them. A challenge is signed, not remembered; one that was answered is.
type work struct {
	secret []byte
	now    func() time.Time
	busy   chan struct{} // an answer is dear to check, so not many are at a time
	mu     sync.Mutex
	used   map[[48]byte]time.Time
}

func (k *work) init(secret []byte, now func() time.Time) {
	k.secret, k.now = secret, now
	k.busy = make(chan struct{}, 2)
	k.used = map[[48]byte]time.Time{}
}

func (k *work) sign(easiness int, head []byte) []byte {
	m := hmac.New(sha256.New, k.secret)
	fmt.Fprintf(m, "hashcash:%d:", easiness)
	m.Write(head)
	return m.Sum(nil)[:24]
}

func (k *work) challenge(easiness int) string {
	h := megacrypt.NewHashcash(byte(easiness), k.now())
	head := append(binary.BigEndian.AppendUint64(nil, uint64(k.now().Unix())), random(16)...)
	copy(h.Token[:], append(head, k.sign(easiness, head)...))
	return h.String()
}

// done reports whether a request brings what was computed for a challenge of this easiness.
func (k *work) done(r *http.Request, easiness int) bool {
	given := r.Header.Get(megacrypt.HashcashHeader)
	f := strings.Split(given, ":")
	if len(f) != 3 {
		return false
	}
	token, err := unb64(f[1])
	if err != nil || len(token) != 48 || !hmac.Equal(token[24:], k.sign(easiness, token[:24])) {
		return false
	}
	h := megacrypt.Hashcash{Easiness: byte(easiness), Issued: time.Unix(int64(binary.BigEndian.Uint64(token)), 0), Token: [48]byte(token)}
	if k.now().Sub(h.Issued) > workLife {
		return false
	}
	select {
	case k.busy <- struct{}{}:
		defer func() { <-k.busy }()
	case <-r.Context().Done():
		return false
	}
	return h.Check(given) && k.spend(h)
}

// spend notes that a challenge was answered, and reports whether it had not been before.
func (k *work) spend(h megacrypt.Hashcash) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	if _, again := k.used[h.Token]; again {
		return false
	}
	if len(k.used) >= maxWorkDone {
		for t, at := range k.used {
			if k.now().Sub(at) > workLife {
				delete(k.used, t)
			}
		}
		if len(k.used) >= maxWorkDone {
			return false
		}
	}
	k.used[h.Token] = h.Issued
	return true
}
