package mega

import (
	"encoding/binary"
	"encoding/json"
	"os"
	"slices"
	"time"

	"github.com/dgraph-io/badger/v4"
	"golang.org/x/sys/unix"

	"megafs/remote"
)

// The index keeps uploads that may go on: a head each, and the MACs of the chunks of each post, which are there before the post. The head goes first when an upload is
// given up: with it the key goes, and what is known of the chunks need not be there any more.

// sendingHead is an upload in the index.
type sendingHead struct {
	Epoch  []byte // see epoch
	Began  int64
	Object []byte
	Key    []byte
	Nonce  []byte
	Size   uint64
	URL    string
	Token  string // "": the server does not have all
	Sample []byte
	At     int64 // when the token came
}

// epoch names what a folder is between two starts of the machine: one that was put back as it was before, out of a copy, a snapshot of the file system or an image of
// the machine's disk, has another epoch. For what it says of what was sent, and with which content, may be less than was. nil: there is no telling.
func epoch(dir string) []byte {
	if dir == "" {
		return nil
	}
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil || len(boot) == 0 {
		return nil
	}
	var st unix.Statx_t
	if err := unix.Statx(unix.AT_FDCWD, dir, 0, unix.STATX_BTIME|unix.STATX_INO, &st); err != nil || st.Mask&unix.STATX_BTIME == 0 || st.Mask&unix.STATX_INO == 0 {
		return nil
	}
	b := binary.BigEndian.AppendUint64(boot, st.Ino)
	b = binary.BigEndian.AppendUint32(b, st.Dev_major)
	b = binary.BigEndian.AppendUint32(b, st.Dev_minor)
	b = binary.BigEndian.AppendUint64(b, uint64(st.Btime.Sec))
	return binary.BigEndian.AppendUint32(b, st.Btime.Nsec)
}

func ksending(ino remote.Ino) []byte {
	return binary.BigEndian.AppendUint64([]byte{keySending}, uint64(ino))
}

// kposted is the key of a post's record: that of its first chunk.
func kposted(o object, chunk int64) []byte {
	return binary.BigEndian.AppendUint64(kstr(keyPosted, string(o[:])), uint64(chunk))
}

// writeHead makes the head durable.
func (s *sending) writeHead() error {
	if !s.lasting {
		return nil
	}
	h := sendingHead{
		Epoch: s.u.epoch, Began: s.began.Unix(), Object: s.x.object[:], Key: s.x.key.Key[:], Nonce: s.x.key.Nonce[:], Size: s.x.size,
		URL: s.url, Token: s.x.token, Sample: s.x.sample[:],
	}
	if h.Token != "" {
		h.At = s.x.at.Unix()
	}
	b, err := json.Marshal(h)
	if err == nil {
		err = s.u.r.x.db.Update(func(t *badger.Txn) error { return t.Set(ksending(s.ino), b) })
	}
	if err != nil {
		return remote.E("note an upload", "", remote.IO, err)
	}
	return nil
}

// write makes durable what is known of the chunks first to last of a post, none if first is negative, and which posts were answered since.
func (s *sending) write(first, last int64) error {
	s.mu.Lock()
	acked := s.acked
	s.acked = nil
	s.mu.Unlock()
	err := s.u.r.x.db.Update(func(t *badger.Txn) error {
		set := func(first, last int64, state byte) error {
			b := []byte{state}
			for i := first; i <= last; i++ {
				b = append(b, s.macs[i][:]...)
			}
			return t.Set(kposted(s.x.object, first), b)
		}
		for i := 0; i+1 < len(acked); i += 2 {
			if err := set(acked[i], acked[i+1], chunkStored); err != nil {
				return err
			}
		}
		if first < 0 {
			return nil
		}
		return set(first, last, chunkNoted)
	})
	if err != nil {
		s.mu.Lock()
		s.acked = append(acked, s.acked...)
		s.mu.Unlock()
		return remote.E("note an upload", "", remote.IO, err)
	}
	return nil
}

// erase removes an upload from the index. What can't be removed now is when the index is opened the next time.
func (s *sending) erase() {
	if s.lasting && s.url != "" {
		s.u.r.x.eraseSending(ksending(s.ino), s.x.object)
	}
}

func (x *index) eraseSending(key []byte, o object) {
	if x.db.Update(func(t *badger.Txn) error { return t.Delete(key) }) == nil {
		x.erasePosted(func(other object) bool { return other == o }, kstr(keyPosted, string(o[:])))
	}
}

// erasePosted removes records of posts.
func (x *index) erasePosted(which func(object) bool, prefix []byte) {
	var keys [][]byte
	x.db.View(func(t *badger.Txn) error {
		it := t.NewIterator(badger.IteratorOptions{Prefix: prefix})
		defer it.Close()
		for it.Rewind(); it.Valid(); it.Next() {
			var o object
			if k := it.Item().KeyCopy(nil); len(k) == 1+len(o)+8 {
				copy(o[:], k[1:])
				if which(o) {
					keys = append(keys, k)
				}
			}
		}
		return nil
	})
	if len(keys) == 0 {
		return
	}
	b := x.db.NewWriteBatch()
	defer b.Cancel()
	for _, k := range keys {
		if b.Delete(k) != nil {
			return
		}
	}
	b.Flush()
}

// recall takes up the uploads of earlier processes that may go on, and removes the others.
func (u *uploads) recall() {
	x := u.r.x
	live := map[object]bool{}
	var dead [][]byte
	x.scan([]byte{keySending}, func(key, v []byte) error {
		if s := u.recalled(key, v); s != nil {
			u.sending[s.ino] = s
			live[s.x.object] = true
		} else {
			dead = append(dead, append([]byte{keySending}, key...))
		}
		return nil
	})
	for _, key := range dead {
		if x.db.Update(func(t *badger.Txn) error { return t.Delete(key) }) != nil {
			return // the records stay as long as a head does
		}
	}
	x.erasePosted(func(o object) bool { return !live[o] }, []byte{keyPosted})
}

// recalled returns an upload of an earlier process, nil if it can't go on.
func (u *uploads) recalled(key, v []byte) *sending {
	var h sendingHead
	if len(key) != 8 || json.Unmarshal(v, &h) != nil || u.epoch == nil || !slices.Equal(h.Epoch, u.epoch) || h.Size < resumeLeast || h.Size > remote.MaxSize {
		return nil
	}
	age := time.Since(time.Unix(h.Began, 0))
	if _, err := u.r.api.allowed(h.URL); err != nil || age < -time.Minute || age > uploadLife {
		return nil
	}
	s := newSending(u, remote.Ino(binary.BigEndian.Uint64(key)), h.Size)
	s.began, s.url = time.Unix(h.Began, 0), h.URL
	x := s.x
	if copy(x.object[:], h.Object) != len(x.object) || copy(x.key.Key[:], h.Key) != 16 || copy(x.key.Nonce[:], h.Nonce) != 8 || copy(x.sample[:], h.Sample) != 16 || x.object[0] != 2 {
		return nil
	}
	err := u.r.x.scan(kstr(keyPosted, string(x.object[:])), func(key, v []byte) error {
		if len(key) != 8 || len(v)%16 != 1 || v[0] != chunkNoted && v[0] != chunkStored {
			return errIndex
		}
		at := binary.BigEndian.Uint64(key)
		n := uint64(len(v) / 16)
		if at > uint64(len(s.macs)) || n > uint64(len(s.macs))-at {
			return errIndex
		}
		for i := range n {
			copy(s.macs[at+i][:], v[1+16*i:])
			s.state[at+i] = v[0]
			if h.Token != "" {
				s.state[at+i] = chunkStored
			}
		}
		return nil
	})
	if err != nil {
		return nil
	}
	if h.Token != "" {
		if slices.Contains(s.state, chunkUnsent) {
			return nil
		}
		x.token, x.at, x.key.Meta = h.Token, time.Unix(h.At, 0), x.key.Cipher().Meta(s.macs)
	}
	return s
}
