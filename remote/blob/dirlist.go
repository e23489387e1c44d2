package blob

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"

	"megafs/remote"
)

// List implements Store.
//
// A folder has no order, so its names are read and sorted. To bound memory whatever the folder holds, only the first so many in order
// are kept, and the folder is read again for those after them.
func (s *dirStore) List(ctx context.Context, prefix, after string, fn func(Info) error) error {
	if err := checkPrefix(ctx, prefix); err != nil {
		return err
	}
	d, err := s.enter("list")
	if err != nil {
		return err
	}
	l := lister{s: s, d: d, ctx: ctx, prefix: prefix, after: after, fn: fn, left: s.maxKeys}
	dir := "."
	if i := strings.LastIndexByte(prefix, '/'); i >= 0 {
		dir = prefix[:i]
	}
	if dir == tmpDir || strings.HasPrefix(dir, tmpDir+"/") {
		return nil
	}
	err = s.plainFolder(d, dir)
	if err == nil {
		err = l.walk(dir, s.room)
	}
	var stop callerStop
	switch {
	case errors.As(err, &stop):
		return stop.error
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return s.fail(d, "list", prefix, err)
	}
	return s.still(d, "list", prefix) // an end that comes of the folder having gone is none
}

// callerStop carries fn's error through the walk.
type callerStop struct{ error }

type lister struct {
	s             *dirStore
	d             disk
	ctx           context.Context
	prefix, after string
	fn            func(Info) error
	left          int // entries that may still be looked at
}

// walk lists a folder. It keeps up to twice room names, and leaves half of room to the folders below.
func (l *lister) walk(dir string, room int) error {
	room = max(room/2, 256)
	for from, first := "", true; ; first = false {
		keys, more, err := l.read(dir, from, room, first)
		if err != nil || len(keys) == 0 {
			return err
		}
		if err := l.emit(dir, keys, room); err != nil {
			return err
		}
		if !more {
			return nil
		}
		from = keys[len(keys)-1]
	}
}

// read returns, in order, the first room entries after from that the listing is about. A folder's ends in a slash, which is how it
// sorts among the names of objects.
func (l *lister) read(dir, from string, room int, count bool) (keys []string, more bool, err error) {
	f, err := l.d.openFolder(dir)
	if err != nil {
		return nil, false, err
	}
	defer f.close()
	cut := ""
	shrink := func() {
		slices.Sort(keys)
		if len(keys) > room {
			clear(keys[room:])
			keys, more = keys[:room], true
			cut = keys[room-1]
		}
	}
	for {
		es, err := f.next()
		if err == io.EOF {
			shrink()
			return keys, more, nil
		}
		if err == nil {
			err = checkCtx(l.ctx, "list", l.prefix)
		}
		if err != nil {
			return nil, false, err
		}
		if count {
			if l.left -= len(es); l.left < 0 {
				return nil, false, remote.E("list", l.prefix, remote.TooLarge, errors.New("more names than a vault can have"))
			}
		}
		for _, e := range es {
			key := l.key(dir, e)
			if key == "" || key <= from || more && key >= cut {
				continue
			}
			if keys = append(keys, key); len(keys) >= 2*room {
				shrink()
			}
		}
	}
}

// key returns how an entry sorts in its folder, or "" if the listing is not about it.
func (l *lister) key(dir string, e entry) string {
	name := path.Join(dir, e.name)
	if !ValidName(name) {
		return ""
	}
	switch e.typ {
	case plainFile:
		if strings.HasPrefix(name, l.prefix) && name > l.after {
			return e.name
		}
	case folderFile:
		name += "/"
		inPrefix := strings.HasPrefix(name, l.prefix) || strings.HasPrefix(l.prefix, name)
		if inPrefix && (name > l.after || strings.HasPrefix(l.after, name)) {
			return e.name + "/"
		}
	}
	return ""
}

// emit tells fn of the objects and walks the folders.
func (l *lister) emit(dir string, keys []string, room int) error {
	f, err := l.d.openFolder(dir)
	if err != nil {
		return err
	}
	defer f.close()
	for _, key := range keys {
		if err := checkCtx(l.ctx, "list", l.prefix); err != nil {
			return err
		}
		if base, isFolder := strings.CutSuffix(key, "/"); isFolder {
			if err := l.walk(path.Join(dir, base), room); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
			continue
		}
		st, err := f.stat(key)
		if errors.Is(err, fs.ErrNotExist) || err == nil && st.typ != plainFile {
			continue // it went meanwhile
		}
		if err != nil {
			return err
		}
		if err := l.fn(Info{path.Join(dir, key), st.size}); err != nil {
			return callerStop{err}
		}
	}
	return nil
}
