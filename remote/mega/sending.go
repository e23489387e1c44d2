package mega

import (
	"crypto/rand"
	"errors"
	"sync"
	"time"

	"megafs/crypto/megacrypt"
	"megafs/remote"
)

// An upload that is cut goes on under the URL and the key it has, in this process and in the next. What must never be is that one key meets two contents, for then
// whoever has both ciphertexts has the difference of the contents. So before a chunk is sent for the first time, its MAC under that key is noted, and whoever goes on
// holds what is to be sent against it: a chunk is sent under a key only with the content that it had when it was first sent. A single one that differs ends the upload,
// and another begins, with another key.

const (
	resumeLeast = 8 << 20        // bytes of a file whose upload may go on: less is sent anew in no time
	uploadLife  = 20 * time.Hour // after it began no upload is gone on with: the server's URL is good for about a day
)

// What is known of a chunk.
const (
	chunkUnsent = iota // it was never sent
	chunkNoted         // it may have been sent; its MAC is known
	chunkStored        // the server said that it has it
)

// errOther is that an upload began with other content.
var errOther = errors.New("the content is not that with which the upload began")

// sending is an upload under way, or one that may go on. Whoever has it by take owns it; each post owns its chunks.
type sending struct {
	u     *uploads
	ino   remote.Ino
	x     *uploaded
	began time.Time
	url   string // "": it did not begin
	macs  []megacrypt.ChunkMAC
	state []byte // of each chunk

	lasting bool // it is in the index, for another process
	busy    bool // somebody has it; of uploads.mu

	mu    sync.Mutex
	acked []int64 // first chunks of the posts that were answered, and of which the index does not know that
}

func newSending(u *uploads, ino remote.Ino, size uint64) *sending {
	x := &uploaded{key: megacrypt.NewFileKey(), size: size}
	x.object[0] = 2
	rand.Read(x.object[1:])
	n := megacrypt.Chunks(int64(size))
	s := &sending{u: u, ino: ino, x: x, began: time.Now(), macs: make([]megacrypt.ChunkMAC, n), state: make([]byte, n)}
	if size >= resumeLeast {
		x.sending, s.lasting = s, u.epoch != nil
	}
	return s
}

// take returns the upload of a file's content that may go on, or else a new one. leave or drop must follow.
func (u *uploads) take(ino remote.Ino, size uint64) *sending {
	var old []*sending
	u.mu.Lock()
	for i, s := range u.sending {
		if !s.busy && (time.Since(s.began) > uploadLife || s.x.token != "" && time.Since(s.x.at) > tokenLife || i == ino && s.x.size != size) {
			old = append(old, s)
			delete(u.sending, i)
		}
	}
	s := u.sending[ino]
	switch {
	case s == nil:
		s = newSending(u, ino, size)
		if s.x.sending != nil {
			u.sending[ino] = s
		}
	case s.busy: // two at a time are nobody's plan
		s = newSending(u, ino, size)
		s.x.sending, s.lasting = nil, false
	default:
		delete(u.done, s.x.object) // the plan that it was for was given up
	}
	s.busy = true
	u.mu.Unlock()
	for _, s := range old {
		s.erase()
	}
	return s
}

// leave gives an upload back, for the next who wants it to go on.
func (s *sending) leave() {
	if s.lasting && s.url != "" && s.x.token == "" {
		s.write(-1, -1) // that this fails costs sending some of it twice
	}
	s.u.mu.Lock()
	s.busy = false
	s.u.mu.Unlock()
}

// drop gives an upload up.
func (s *sending) drop() {
	s.u.mu.Lock()
	if s.u.sending[s.ino] == s {
		delete(s.u.sending, s.ino)
	}
	s.busy = false
	s.u.mu.Unlock()
	s.erase()
}

// begin gives an upload its URL. The key is in the index before anything is sent under it.
func (s *sending) begin(url string) error {
	s.url = url
	err := s.writeHead()
	if err != nil {
		s.url = ""
	}
	return err
}

// admit takes a run of whole chunks that are to be sent. done says that the server has them already.
func (s *sending) admit(c *megacrypt.Cipher, off int64, plain []byte) (done bool, err error) {
	size, end := int64(s.x.size), off+int64(len(plain))
	first, last := megacrypt.ChunkAt(off), megacrypt.ChunkAt(end-1)
	done, fresh := true, false
	for i := first; i <= last; i++ {
		a, b := megacrypt.ChunkBorders(i, size)
		mac := c.ChunkMAC(plain[a-off : b-off])
		switch {
		case s.state[i] == chunkUnsent:
			s.macs[i], fresh = mac, true
		case s.macs[i] != mac:
			return false, errOther
		}
		done = done && s.state[i] == chunkStored
	}
	if fresh && s.lasting {
		if err := s.write(first, last); err != nil {
			return false, err
		}
	}
	for i := first; i <= last; i++ {
		s.state[i] = max(s.state[i], chunkNoted)
	}
	return done, nil
}

// stored notes that the server has a run of chunks.
func (s *sending) stored(off, end int64) {
	first, last := megacrypt.ChunkAt(off), megacrypt.ChunkAt(end-1)
	for i := first; i <= last; i++ {
		s.state[i] = chunkStored
	}
	s.mu.Lock()
	s.acked = append(s.acked, first, last)
	s.mu.Unlock()
}

// end gives an upload its token: all of it is at the server.
func (s *sending) end(token string, sample [16]byte) error {
	s.x.token, s.x.sample, s.x.at = token, sample, time.Now()
	s.x.key.Meta = s.x.key.Cipher().Meta(s.macs)
	return s.writeHead()
}

// already is how many bytes the server has.
func (s *sending) already() (n int64) {
	for i, st := range s.state {
		if st == chunkStored {
			a, b := megacrypt.ChunkBorders(int64(i), int64(s.x.size))
			n += b - a
		}
	}
	return n
}
