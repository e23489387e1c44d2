package fs

import (
	"sync"

	"github.com/hanwen/go-fuse/v2/fuse"

	"megafs/fs/volume"
	"megafs/remote"
)

// dir is an open directory. Its names are those of the moment at which reading began, so that places in it stay what they
// are (telldir, seekdir); rewinding takes them anew. Place 0 is ".", 1 is "..", and n is name n-2.
type dir struct {
	ino remote.Ino

	mu    sync.Mutex
	taken bool
	names []volume.Dirent
}

func (c *conn) OpenDir(cancel <-chan struct{}, in *fuse.OpenIn, out *fuse.OpenOut) fuse.Status {
	defer c.enter(opOpendir).leave()
	out.Fh = c.dirs.add(&dir{ino: remote.Ino(in.NodeId)})
	return fuse.OK
}

func (c *conn) ReleaseDir(in *fuse.ReleaseIn) {
	defer c.enter(opReleasedir).leave()
	c.dirs.remove(in.Fh)
}

// FsyncDir waits for names made before. The kernel does not care by which handle.
func (c *conn) FsyncDir(cancel <-chan struct{}, in *fuse.FsyncIn) fuse.Status {
	defer c.enter(opFsyncdir).leave()
	w := c.wait(cancel, &in.InHeader, 0)
	defer w.end()
	return c.status(c.vol.SyncDir(w, remote.Ino(in.NodeId)))
}

// read calls add for each entry from a place on, until it returns false.
func (d *dir) read(v Volume, place uint64, add func(place uint64, e volume.Dirent) bool) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if place == 0 || !d.taken {
		names, err := v.List(background, d.ino)
		if err != nil {
			return err
		}
		d.names, d.taken = names, true
	}
	for ; place < uint64(len(d.names))+2; place++ {
		var e volume.Dirent
		switch place {
		case 0:
			e = volume.Dirent{Name: ".", Ino: d.ino, Type: remote.Dir}
		case 1:
			e = volume.Dirent{Name: "..", Type: remote.Dir}
			if d.ino == remote.Root {
				e.Ino = remote.Root
			}
		default:
			e = d.names[place-2]
		}
		if !add(place, e) {
			break
		}
	}
	return nil
}

func direntry(place uint64, e volume.Dirent) fuse.DirEntry {
	return fuse.DirEntry{Name: e.Name, Ino: uint64(e.Ino), Mode: formatOf(e.Type), Off: place + 1}
}

func (c *conn) ReadDir(cancel <-chan struct{}, in *fuse.ReadIn, out *fuse.DirEntryList) fuse.Status {
	defer c.enter(opReaddir).leave()
	d, ok := c.dirs.get(in.Fh)
	if !ok {
		return fuse.EBADF
	}
	return c.status(d.read(c.vol, in.Offset, func(place uint64, e volume.Dirent) bool {
		return out.AddDirEntry(direntry(place, e))
	}))
}

// ReadDirPlus looks each name up again: the kernel takes an entry with attributes for the present, and since the names were
// taken it may itself have removed some.
func (c *conn) ReadDirPlus(cancel <-chan struct{}, in *fuse.ReadIn, out *fuse.DirEntryList) fuse.Status {
	defer c.enter(opReaddirplus).leave()
	d, ok := c.dirs.get(in.Fh)
	if !ok {
		return fuse.EBADF
	}
	room := int(in.Size)
	return c.status(d.read(c.vol, in.Offset, func(place uint64, e volume.Dirent) bool {
		if room -= entrySize(e.Name); room < 0 {
			return false // before the look-up, so that nothing is referred to that does not fit
		}
		if place < 2 {
			return out.AddDirLookupEntry(direntry(place, e)) != nil // no nodeid: the kernel has these already
		}
		s, err := c.vol.Lookup(background, d.ino, e.Name)
		switch {
		case remote.Is(err, remote.NotExist):
			room += entrySize(e.Name)
			return true
		case err != nil:
			c.status(err)
			return out.AddDirLookupEntry(direntry(place, e)) != nil // the name only; a look-up of its own will say what is wrong
		}
		e.Ino, e.Type = s.Ino, s.Type
		entry := out.AddDirLookupEntry(direntry(place, e))
		if entry == nil {
			c.forget(s.Ino)
			return false
		}
		c.entry(&s, entry)
		return true
	}))
}

// entrySize is how many bytes a name takes in a READDIRPLUS reply: fuse_entry_out, fuse_dirent, the name, padding to 8.
func entrySize(name string) int { return 128 + 24 + (len(name)+7)&^7 }
