package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
)

// hungDisk is a disk like a share whose server went away: requests of some kinds get no answer until it is back, or whoever asked is killed.
type hungDisk struct {
	fuse.RawFileSystem
	mu    sync.Mutex
	back  chan struct{} // closed and renewed when kinds change
	kinds []string
	hits  int // requests that waited since the last stall
}

// What the requests of a store come to on its disk.
var diskKinds = []string{"lookup", "list", "open", "read", "create", "write", "sync", "link", "remove", "statfs"}

// hungDisk mounts such a disk on a new folder of the machine.
func (m *machine) hungDisk(name string) (*hungDisk, string) {
	m.t.Helper()
	back, dir := filepath.Join(m.home, name+".back"), filepath.Join(m.home, name)
	for _, p := range []string{back, dir} {
		if err := os.Mkdir(p, 0o700); err != nil {
			m.t.Fatal(err)
		}
	}
	root, err := fs.NewLoopbackRoot(back)
	if err != nil {
		m.t.Fatal(err)
	}
	d := &hungDisk{RawFileSystem: fs.NewNodeFS(root, &fs.Options{})}
	d.back = make(chan struct{})
	s, err := fuse.NewServer(d, dir, &fuse.MountOptions{FsName: "hung", Name: "test", DirectMount: true, MaxBackground: 128})
	if err != nil {
		m.t.Fatal(err)
	}
	go s.Serve()
	if err := s.WaitMount(); err != nil {
		m.t.Fatal(err)
	}
	m.t.Cleanup(func() {
		d.stall()
		exec.Command("umount", "-l", dir).Run()
	})
	return d, dir
}

// stall lets requests of these kinds wait from now on, and those of others go.
func (d *hungDisk) stall(kinds ...string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.kinds, d.hits = kinds, 0
	close(d.back)
	d.back = make(chan struct{})
}

// hit reports whether a request waits, or did.
func (d *hungDisk) hit() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.hits > 0
}

// pass returns OK when a request may go on, and EINTR when the kernel asks to let it be. Go's files then ask again, unless the process is ending.
func (d *hungDisk) pass(kind string, cancel <-chan struct{}) fuse.Status {
	d.mu.Lock()
	defer d.mu.Unlock()
	for slices.Contains(d.kinds, kind) {
		d.hits++
		back := d.back
		d.mu.Unlock()
		select {
		case <-back:
		case <-cancel:
			d.mu.Lock()
			return fuse.EINTR
		}
		d.mu.Lock()
	}
	return fuse.OK
}

func (d *hungDisk) Lookup(c <-chan struct{}, h *fuse.InHeader, name string, out *fuse.EntryOut) fuse.Status {
	if s := d.pass("lookup", c); s != fuse.OK {
		return s
	}
	return d.RawFileSystem.Lookup(c, h, name, out)
}

func (d *hungDisk) GetAttr(c <-chan struct{}, in *fuse.GetAttrIn, out *fuse.AttrOut) fuse.Status {
	if s := d.pass("lookup", c); s != fuse.OK {
		return s
	}
	return d.RawFileSystem.GetAttr(c, in, out)
}

func (d *hungDisk) OpenDir(c <-chan struct{}, in *fuse.OpenIn, out *fuse.OpenOut) fuse.Status {
	if s := d.pass("list", c); s != fuse.OK {
		return s
	}
	return d.RawFileSystem.OpenDir(c, in, out)
}

func (d *hungDisk) ReadDirPlus(c <-chan struct{}, in *fuse.ReadIn, out *fuse.DirEntryList) fuse.Status {
	if s := d.pass("list", c); s != fuse.OK {
		return s
	}
	return d.RawFileSystem.ReadDirPlus(c, in, out)
}

func (d *hungDisk) ReadDir(c <-chan struct{}, in *fuse.ReadIn, out *fuse.DirEntryList) fuse.Status {
	if s := d.pass("list", c); s != fuse.OK {
		return s
	}
	return d.RawFileSystem.ReadDir(c, in, out)
}

func (d *hungDisk) Open(c <-chan struct{}, in *fuse.OpenIn, out *fuse.OpenOut) fuse.Status {
	if s := d.pass("open", c); s != fuse.OK {
		return s
	}
	s := d.RawFileSystem.Open(c, in, out)
	out.OpenFlags |= fuse.FOPEN_DIRECT_IO // the kernel's memory of it would answer
	return s
}

func (d *hungDisk) Read(c <-chan struct{}, in *fuse.ReadIn, b []byte) (fuse.ReadResult, fuse.Status) {
	if s := d.pass("read", c); s != fuse.OK {
		return nil, s
	}
	return d.RawFileSystem.Read(c, in, b)
}

func (d *hungDisk) Create(c <-chan struct{}, in *fuse.CreateIn, name string, out *fuse.CreateOut) fuse.Status {
	if s := d.pass("create", c); s != fuse.OK {
		return s
	}
	s := d.RawFileSystem.Create(c, in, name, out)
	out.OpenFlags |= fuse.FOPEN_DIRECT_IO
	return s
}

func (d *hungDisk) Mkdir(c <-chan struct{}, in *fuse.MkdirIn, name string, out *fuse.EntryOut) fuse.Status {
	if s := d.pass("create", c); s != fuse.OK {
		return s
	}
	return d.RawFileSystem.Mkdir(c, in, name, out)
}

func (d *hungDisk) Write(c <-chan struct{}, in *fuse.WriteIn, b []byte) (uint32, fuse.Status) {
	if s := d.pass("write", c); s != fuse.OK {
		return 0, s
	}
	return d.RawFileSystem.Write(c, in, b)
}

func (d *hungDisk) Fsync(c <-chan struct{}, in *fuse.FsyncIn) fuse.Status {
	if s := d.pass("sync", c); s != fuse.OK {
		return s
	}
	return d.RawFileSystem.Fsync(c, in)
}

func (d *hungDisk) FsyncDir(c <-chan struct{}, in *fuse.FsyncIn) fuse.Status {
	if s := d.pass("sync", c); s != fuse.OK {
		return s
	}
	return d.RawFileSystem.FsyncDir(c, in)
}

func (d *hungDisk) Flush(c <-chan struct{}, in *fuse.FlushIn) fuse.Status {
	if s := d.pass("sync", c); s != fuse.OK {
		return s
	}
	return d.RawFileSystem.Flush(c, in)
}

func (d *hungDisk) Link(c <-chan struct{}, in *fuse.LinkIn, name string, out *fuse.EntryOut) fuse.Status {
	if s := d.pass("link", c); s != fuse.OK {
		return s
	}
	return d.RawFileSystem.Link(c, in, name, out)
}

func (d *hungDisk) Unlink(c <-chan struct{}, h *fuse.InHeader, name string) fuse.Status {
	if s := d.pass("remove", c); s != fuse.OK {
		return s
	}
	return d.RawFileSystem.Unlink(c, h, name)
}

func (d *hungDisk) StatFs(c <-chan struct{}, h *fuse.InHeader, out *fuse.StatfsOut) fuse.Status {
	if s := d.pass("statfs", c); s != fuse.OK {
		return s
	}
	return d.RawFileSystem.StatFs(c, h, out)
}
