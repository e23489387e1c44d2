package mega

import (
	"errors"
	"sync"
	"time"

	"github.com/dgraph-io/badger/v4"

	"megafs/crypto/megacrypt"
	"megafs/remote"
	"megafs/remote/bulk"
)

// file is a file's content as it is known here.
type file struct {
	handle string
	object object
	key    megacrypt.FileKey
	cipher *megacrypt.Cipher
	size   int64
	small  bool // it is read as a whole before any of it is believed

	mu       sync.Mutex
	macs     []megacrypt.ChunkMAC
	have     []bool
	missing  int
	verified bool
	url      string
	got      time.Time
}

func errPoison(handle string) error {
	return remote.E("read content", handle, remote.Integrity, errors.New("what the server gives is not what was stored under this key"))
}

// file returns what is known of content.
func (d *downloads) file(o object) (*file, error) {
	handle := o.handle()
	if handle == "" {
		b, err := d.r.x.get(kstr(keyUpload, string(o[:])))
		if err != nil {
			return nil, err
		}
		handle = string(b)
	}
	d.mu.Lock()
	bad := d.poison[o]
	f, ok := d.files.Get(handle)
	d.mu.Unlock()
	switch {
	case bad:
		return nil, errPoison(handle)
	case ok && f.object == o:
		return f, nil
	}
	c, err := d.r.x.content(handle)
	if err != nil {
		return nil, err
	}
	if c == nil {
		return nil, remote.E("read content", handle, remote.Integrity, errors.New("there is no key to it, or it is not there any more"))
	}
	f = &file{handle: handle, object: o, size: int64(c.size)}
	if f.key, err = megacrypt.ParseFileKey(c.key); err != nil {
		return nil, remote.E("read content", handle, remote.Integrity, err)
	}
	f.cipher, f.small = f.key.Cipher(), f.size <= d.r.o.Verify
	n := megacrypt.Chunks(f.size)
	f.macs, f.have, f.missing = make([]megacrypt.ChunkMAC, n), make([]bool, n), int(n)
	if !f.small {
		if err := f.recall(d.r.x); err != nil {
			return nil, err
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if old, ok := d.files.Get(handle); ok && old.object == o {
		return old, nil
	}
	d.files.Add(handle, f)
	return f, nil
}

// recall takes the MACs that an earlier reading of the whole file left.
func (f *file) recall(x *index) error {
	b, err := x.get(kstr(keyMACs, f.handle))
	if err != nil || len(b) != 16*len(f.macs) {
		return err
	}
	for i := range f.macs {
		copy(f.macs[i][:], b[16*i:])
		f.have[i] = true
	}
	if f.key.Verify(f.size, f.macs) == nil {
		f.missing, f.verified = 0, true
	} else {
		clear(f.have)
	}
	return nil
}

// settle holds all chunks' MACs against the file's key when the last of them is known.
func (d *downloads) settle(f *file) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.missing > 0 || f.verified {
		return nil
	}
	if err := f.key.Verify(f.size, f.macs); err != nil {
		return d.condemn(f)
	}
	f.verified = true
	if f.small {
		return nil
	}
	var b []byte
	for i := range f.macs {
		b = append(b, f.macs[i][:]...)
	}
	// That this fails does not harm: then the file is verified anew another time.
	if bulk.Room(d.r.x.dir, int64(len(b))) == nil {
		d.r.x.db.Update(func(t *badger.Txn) error { return t.Set(kstr(keyMACs, f.handle), b) })
	}
	return nil
}

// condemn makes a file unreadable: it was caught.
func (d *downloads) condemn(f *file) error {
	d.mu.Lock()
	d.poison[f.object] = true
	for _, k := range d.chunks.Keys() {
		if k.handle == f.handle {
			d.chunks.Remove(k)
		}
	}
	d.mu.Unlock()
	d.r.o.Log.Error("the content of a file is not what was stored; it is not read any more", "node", f.handle)
	if err := d.r.x.db.Update(func(t *badger.Txn) error { return t.Set(kstr(keyPoison, string(f.object[:])), nil) }); err != nil {
		return remote.E("read content", f.handle, remote.IO, err)
	}
	return errPoison(f.handle)
}

// check takes the MAC of a chunk, or holds it against the one that is known.
func (d *downloads) check(f *file, i int64, mac megacrypt.ChunkMAC) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case !f.have[i]:
		f.macs[i], f.have[i] = mac, true
		f.missing--
	case f.macs[i] == mac:
	case f.verified:
		return errPoison(f.handle) // this answer is wrong; the next may be right
	default:
		return d.condemn(f)
	}
	return nil
}
