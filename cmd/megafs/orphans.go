package main

import (
	"encoding/binary"
	"os"
	"time"

	"megafs/remote"
)

// orphans remembers since when content was seen that nothing refers to. Another machine may be sending it just now, for a file that it has not
// committed yet. What is remembered may be lost: then it is waited for again.
type orphans struct {
	path string
	wait time.Duration
	now  int64 // seconds

	seen map[uint64]int64 // by the first bytes of their ids, when they were seen first
	next map[uint64]int64 // the same of this run
}

const (
	orphansMagic = "MGO1"
	maxOrphans   = 200_000 // what is more waits for its turn
)

func openOrphans(path string, wait time.Duration, now time.Time) *orphans {
	o := &orphans{path: path, wait: wait, now: now.Unix(), seen: map[uint64]int64{}, next: map[uint64]int64{}}
	b, err := os.ReadFile(path)
	if err != nil || len(b) < 4 || string(b[:4]) != orphansMagic || (len(b)-4)%16 != 0 || len(b) > 4+16*maxOrphans {
		return o
	}
	for b = b[4:]; len(b) > 0; b = b[16:] {
		if t := int64(binary.BigEndian.Uint64(b[8:])); t <= o.now {
			o.seen[binary.BigEndian.Uint64(b)] = t
		}
	}
	return o
}

// old reports whether an object has been there for long enough.
func (o *orphans) old(id remote.ObjectID) bool {
	k := binary.BigEndian.Uint64(id[:])
	t, known := o.seen[k]
	if !known {
		t = o.now
	}
	if len(o.next) < maxOrphans {
		o.next[k] = t
	}
	return time.Duration(o.now-t)*time.Second >= o.wait
}

func (o *orphans) save() error {
	b := []byte(orphansMagic)
	for k, t := range o.next {
		b = binary.BigEndian.AppendUint64(b, k)
		b = binary.BigEndian.AppendUint64(b, uint64(t))
	}
	if err := os.WriteFile(o.path+".new", b, 0o600); err != nil {
		return remote.E("write", o.path, remote.IO, err)
	}
	if err := os.Rename(o.path+".new", o.path); err != nil {
		return remote.E("write", o.path, remote.IO, err)
	}
	return nil
}
