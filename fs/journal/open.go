package journal

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"syscall"

	"github.com/cockroachdb/pebble/v2/vfs"
	"golang.org/x/sys/unix"

	"megafs/remote"
)

const advice = "nothing was changed; check the disk and restore the folder from a backup, or, to give up what was not uploaded, " +
	"move the folder away and mount again"

// Open opens the journal in a folder, or starts one, and calls replay for every record that survived, in order, before it
// returns; records before the last Trim may be among them. An error of replay ends Open and is returned as it is.
// All that is replayed is durable. Kinds of errors: Integrity if records that were durable, or a whole segment, are damaged
// or missing, or if the key is another one; Permission if others may write to the folder; Invalid; IO. After an error nothing has
// changed. Nobody else may use the folder meanwhile.
func Open(o Options, replay func(Record) error) (_ *Journal, err error) {
	if err := o.complete(); err != nil {
		return nil, err
	}
	j := &Journal{o: o, next: 1}
	j.step = min(maxStep, max(minStep, o.SegmentSize/4/4096*4096))
	j.max = int(min(MaxPayload, o.SegmentSize-segStart-noteSize-noteRoom-recordSize(0)-recAlign))
	j.live.Store(new([]*segment))
	if j.dir, err = openDir(o.FS, o.Dir); err != nil {
		return nil, err
	}
	var segs []*segment
	defer func() {
		if err != nil {
			j.live.Store(&segs)
			_ = j.closeFiles()
		}
	}()
	var small []string
	if segs, small, err = j.list(); err != nil {
		return nil, err
	}
	chain, err := j.resolve(segs)
	if err != nil {
		return nil, err
	}
	if err := j.replay(chain, replay); err != nil {
		return nil, err
	}
	j.adopt(segs, chain, small)
	return j, nil
}

// complete checks the options and fills in defaults.
func (o *Options) complete() error {
	if o.FS == nil {
		o.FS = vfs.Default
	}
	if o.Limit == 0 {
		o.Limit = defaultLimit
	}
	if o.SegmentSize == 0 {
		o.SegmentSize = max(minSegment, min(defaultSegment, o.Limit/8))
	}
	o.SegmentSize = o.SegmentSize / 4096 * 4096
	switch {
	case o.Dir == "":
		return remote.E("open journal", "", remote.Invalid, errors.New("no folder is given"))
	case o.SegmentSize < minSegment || o.SegmentSize > maxSegment:
		return remote.E("open journal", o.Dir, remote.Invalid,
			fmt.Errorf("segments of %d bytes; use %d to %d", o.SegmentSize, minSegment, maxSegment))
	case o.Limit < minSegments*o.SegmentSize:
		return remote.E("open journal", o.Dir, remote.Invalid,
			fmt.Errorf("a limit of %d bytes; %d segments of %d is the least", o.Limit, minSegments, o.SegmentSize))
	}
	return nil
}

// openDir makes the folder if there is none, durably, and opens it. As it is nobody else's to write, no
// link can have been planted in it.
func openDir(files vfs.FS, dir string) (vfs.File, error) {
	fail := func(kind remote.Kind, err error) (vfs.File, error) {
		return nil, remote.E("open journal", dir, kind, err)
	}
	var made []string // folders to sync so that what is made in them stays
	for d := dir; ; d = files.PathDir(d) {
		_, err := files.Stat(d)
		if err == nil {
			break
		}
		if !errors.Is(err, fs.ErrNotExist) || d == files.PathDir(d) {
			return fail(remote.IO, err)
		}
		made = append(made, files.PathDir(d))
	}
	if err := files.MkdirAll(dir, 0o700); err != nil {
		return fail(remote.IO, err)
	}
	for _, d := range made {
		f, err := files.OpenDir(d)
		if err == nil {
			err = errors.Join(f.Sync(), f.Close())
		}
		if err != nil {
			return fail(remote.IO, err)
		}
	}
	info, err := files.Stat(dir)
	if err != nil {
		return fail(remote.IO, err)
	}
	if sys, ok := info.Sys().(*syscall.Stat_t); ok {
		if int(sys.Uid) != os.Geteuid() || info.Mode().Perm()&0o022 != 0 {
			return fail(remote.Permission, errors.New("the folder belongs to or may be written by others; make it yours with mode 0700"))
		}
	}
	f, err := files.OpenDir(dir)
	if err != nil {
		return fail(remote.IO, err)
	}
	return f, nil
}

// list opens the files of the folder: segments in order of number, spares, and the names of spares
// that are not worth keeping.
func (j *Journal) list() (segs []*segment, small []string, err error) {
	names, err := j.o.FS.List(j.o.Dir)
	if err != nil {
		return nil, nil, remote.E("open journal", j.o.Dir, remote.IO, err)
	}
	slices.Sort(names)
	for _, name := range names {
		number, isSpare, ok := parseName(name)
		isReserve := name == reserveName
		if !ok && !isReserve {
			j.log("not a file of the journal, left alone", nil, "name", name)
			continue
		}
		j.next = max(j.next, number+1)
		info, err := j.o.FS.Stat(j.path(name))
		if err != nil {
			return segs, nil, remote.E("open journal", j.path(name), remote.IO, err)
		}
		size := info.Size()
		if isReserve && size != j.step || isSpare && (size != j.o.SegmentSize || len(j.spares) == maxSpares) {
			small = append(small, name)
			continue
		}
		f, err := j.o.FS.OpenReadWrite(j.path(name), vfs.WriteCategoryUnspecified)
		if err != nil {
			return segs, nil, remote.E("open journal", j.path(name), remote.IO, err)
		}
		j.bytes += size
		if isReserve {
			j.reserve = spare{name, f, size}
			continue
		}
		if isSpare {
			j.spares = append(j.spares, spare{name, f, size})
			continue
		}
		s := &segment{number: number, f: f, size: size, end: segStart, full: true}
		segs = append(segs, s)
		if err := j.openSegment(s); err != nil {
			return segs, nil, err
		}
	}
	return segs, small, nil
}

// openSegment reads a segment's header.
func (j *Journal) openSegment(s *segment) error {
	object := j.path(segName(s.number))
	// What the kernel still has to write counts as written: after a crash of the process alone, nothing is lost.
	if err := s.f.SyncData(); err != nil {
		return remote.E("open journal", object, remote.IO, err)
	}
	// What it could not write and forgot about does not.
	if fd := s.f.Fd(); fd != vfs.InvalidFd {
		_ = unix.Fadvise(int(fd), 0, 0, unix.FADV_DONTNEED)
	}
	h, err := (&window{f: s.f, size: segStart}).at(0, segStart)
	if err != nil {
		return remote.E("open journal", object, remote.IO, err)
	}
	if s.aead, err = openHeader(&j.o.Key, s.number, h); err != nil {
		return remote.E("open journal", object, remote.Integrity, fmt.Errorf("%w; %s", err, advice))
	}
	return nil
}

// replay calls fn with the records of the chain that are needed.
func (j *Journal) replay(chain []found, fn func(Record) error) error {
	if fn == nil {
		return nil
	}
	for _, c := range chain {
		again, err := scan(c.s, c.end, func(h head, off int64, payload []byte) error {
			if h.kind == 0 || h.seq < j.trim {
				return nil
			}
			return fn(Record{h.seq, h.kind, Loc{c.s.number, uint32(off + recHead), uint32(h.size)}, payload})
		})
		if err != nil {
			return err
		}
		if again.end != c.end {
			return remote.E("replay journal", j.path(segName(c.s.number)), remote.IO,
				errors.New("the disk gave other bytes than a moment ago; check it"))
		}
	}
	return nil
}

// adopt makes the chain the journal's live segments and frees all other files. A file that can't be freed is harmless, as
// it is void for every later Open too.
func (j *Journal) adopt(segs []*segment, chain []found, small []string) {
	live := make([]*segment, len(chain))
	for i, c := range chain {
		c.s.first, c.s.last, c.s.end = c.first, c.last, c.end
		live[i] = c.s
	}
	j.live.Store(&live)
	j.durable = j.last
	for _, name := range small {
		if err := j.o.FS.Remove(j.path(name)); err != nil {
			j.log("a spare file can't be removed", err)
		}
	}
	void := slices.DeleteFunc(segs, func(s *segment) bool { return slices.Contains(live, s) })
	if len(void) > 0 {
		if err := j.recycle(void); err != nil {
			j.log("a void segment can't be recycled", err)
		}
	}
}
