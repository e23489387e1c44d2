package blob

import (
	"io"
	"io/fs"
	"time"

	"megafs/remote"
)

// place is a path at which a folder is or isn't.
type place interface {
	// look says which folder is there now.
	look() (fileID, error)
	open() (disk, error)
}

// disk is an open folder and all that a store asks of it. Names are relative to it, with slashes; "." is itself. Errors wrap an
// errno or one of io/fs. Tests put one in its place that crashes or fails.
type disk interface {
	id() (fileID, error)
	// create makes a file that isn't there yet.
	create(name string) (fileWriter, error)
	// open opens a plain file. It never waits for a pipe's other end.
	open(name string) (fileReader, error)
	openFolder(name string) (folder, error)
	// stat does not follow a symbolic link.
	stat(name string) (fileStat, error)
	link(from, to string) error
	remove(name string) error
	mkdir(name string) error
	usage() (remote.Usage, error)
	// close may be called while other calls are under way, which then fail or not.
	close() error
}

type fileWriter interface {
	io.WriteCloser
	Sync() error
}

type fileReader interface {
	io.ReaderAt
	io.Closer
	stat() (fileStat, error)
}

// folder is an open folder, for reading its names once and for syncing.
type folder interface {
	// next returns some more entries, or io.EOF.
	next() ([]entry, error)
	stat(name string) (fileStat, error)
	sync() error
	close() error
}

// fileType tells apart what matters here.
type fileType uint8

const (
	otherFile fileType = iota // links, pipes, devices
	plainFile
	folderFile
)

type entry struct {
	name string
	typ  fileType
}

// fileID says which file it is, for as long as it exists. The zero fileID is unknown.
type fileID struct{ dev, ino uint64 }

type fileStat struct {
	fileID
	typ   fileType
	size  int64
	links uint64 // how many names it has; 0 when all were removed
	mtime time.Time
}

// plain fails unless it is the file of an object. A folder is none, but the folder of objects.
func (st fileStat) plain(name string) error {
	switch st.typ {
	case plainFile:
		return nil
	case folderFile:
		return &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	return &fs.PathError{Op: "open", Path: name, Err: errNotPlain}
}
