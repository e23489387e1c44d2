package volume

import (
	"context"
	"fmt"
	"strings"

	"megafs/cache"
	"megafs/remote"
)

// Status is how a volume is doing, for megafs status.
type Status struct {
	State        string      `json:"state"` // online, offline, degraded, read-only
	DirtyFiles   int         `json:"dirty_files"`
	DirtyBytes   int64       `json:"dirty_bytes"`
	Uploading    []Uploading `json:"uploading"`
	Failed       []Failed    `json:"failed"`
	CacheBytes   int64       `json:"cache_bytes"`
	CacheLimit   int64       `json:"cache_limit"`
	JournalBytes int64       `json:"journal_bytes"`
	JournalLimit int64       `json:"journal_limit"`
	RemoteUsed   uint64      `json:"remote_used"`
	RemoteTotal  uint64      `json:"remote_total"`
	BytesSent    int64       `json:"bytes_sent"`
	Commits      int64       `json:"commits"`
	LastError    string      `json:"last_error"`
	Cache        cache.Stats `json:"cache"`
}

// Uploading is content on its way.
type Uploading struct {
	Bytes int64 `json:"bytes"`
}

// Failed is a file that can't be sent. Path is where it lies now, quoted; empty when it has no name.
type Failed struct {
	Inode  uint64 `json:"inode"`
	Reason string `json:"reason"`
}

// Status returns how the volume is doing. It never waits for the store.
func (v *Volume) Status() Status {
	st, failed := v.eng.State()
	d := v.tree.Stat()
	j := v.jour.Stat()
	c := v.cache.Stats()
	s := Status{
		State: "online", DirtyFiles: d.Inodes, DirtyBytes: d.Bytes, JournalBytes: j.Bytes, JournalLimit: j.Limit,
		CacheLimit: v.o.CacheSize, BytesSent: st.Sent, Commits: st.Commits, Cache: c, CacheBytes: c.Bytes,
		Uploading: []Uploading{}, Failed: []Failed{},
	}
	if st.Uploading > 0 {
		s.Uploading = append(s.Uploading, Uploading{st.Uploading})
	}
	for _, f := range failed {
		s.Failed = append(s.Failed, Failed{uint64(f.Ino), f.Err.Error()})
	}
	switch {
	case v.o.ReadOnly:
		s.State = "read-only"
	case !st.Online:
		s.State = "offline"
	case st.Last != nil || len(failed) > 0:
		s.State = "degraded"
	}
	if st.Last != nil {
		s.LastError = st.Last.Error()
	}
	if u := v.usage.Load(); u != nil {
		s.RemoteUsed, s.RemoteTotal = u.Used, u.Total
	}
	return s
}

// Why is what megafs why tells of a path.
type Why struct {
	Inode  uint64 `json:"inode"`
	Size   uint64 `json:"size"`
	Dirty  uint64 `json:"dirty_bytes"` // bytes that only the journal has
	Stored uint64 `json:"stored_bytes"`
	Holes  uint64 `json:"hole_bytes"`
	State  string `json:"state"` // stored, waiting, failed
	Reason string `json:"reason,omitempty"`
}

// Why tells where the bytes of a file are and what it waits for. The path is relative to the mount's root.
func (v *Volume) Why(ctx context.Context, path string) (Why, error) {
	ino := remote.Root
	for _, name := range strings.Split(path, "/") {
		if name == "" || name == "." {
			continue
		}
		next, err := v.tree.Lookup(ino, name)
		if err != nil {
			return Why{}, err
		}
		ino = next
	}
	n, err := v.tree.Node(ino)
	if err != nil {
		return Why{}, err
	}
	w := Why{Inode: uint64(ino), Size: n.Size, State: "stored"}
	if n.Type == remote.File {
		spans, err := v.tree.Data(ino, 0, n.Size)
		if err != nil {
			return Why{}, err
		}
		for _, s := range spans {
			pieces, err := v.tree.Content(ino, s.Off, s.End)
			if err != nil {
				return Why{}, err
			}
			for _, p := range pieces {
				if p.Ext == nil {
					w.Dirty += p.Len
				} else {
					w.Stored += p.Len
				}
			}
		}
		w.Holes = n.Size - w.Dirty - w.Stored
	}
	if v.tree.Changed(ino) {
		w.State, w.Reason = "waiting", "it was changed a moment ago; changes are sent about a second after the last one"
		if v.isWriting(ino) {
			w.Reason = "a program has it open for writing; it is sent when closed, or every 30 seconds"
		}
	}
	st, _ := v.eng.State()
	if w.State == "waiting" && st.Last != nil {
		w.Reason = fmt.Sprintf("the store does not take changes: %v", st.Last)
	}
	if err := v.eng.Failed(ino); err != nil {
		w.State, w.Reason = "failed", err.Error()
	}
	return w, nil
}
