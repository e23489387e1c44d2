package blob

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"
	"time"

	"megafs/remote"
)

const (
	recheck    = time.Second // how long the folder's path may have led elsewhere before that is noticed
	maxFolders = 1 << 16     // sub-folders of which it is remembered that they are durable
	maxKnown   = 32          // top-level folders by which a vault's folder is known again
)

// enter is how each call begins: it returns the folder, looking once in a while whether it is still there.
func (s *dirStore) enter(op string) (disk, error) {
	s.mu.Lock()
	d := s.disk
	switch {
	case s.closed:
		s.mu.Unlock()
		return nil, errClosed(op)
	case d != nil && s.now().Sub(s.checked) < recheck:
		s.mu.Unlock()
		return d, nil
	}
	s.mu.Unlock()
	return s.recheck(op)
}

// still fails with Unreachable if d is no longer the folder at the path.
func (s *dirStore) still(d disk, op, object string) error {
	now, err := s.recheck(op)
	if err == nil && now != d {
		err = remote.E(op, object, remote.Unreachable, errors.New("the vault's folder was exchanged meanwhile"))
	}
	return err
}

// recheck looks at the path now, and opens the folder if it is a new one.
func (s *dirStore) recheck(op string) (disk, error) {
	id, err := s.place.look()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, errClosed(op)
	}
	if err == nil && s.disk != nil && s.id == id {
		s.checked = s.now()
		return s.disk, nil
	}
	s.drop()
	if err == nil {
		err = s.open()
	}
	if err != nil {
		return nil, remote.E(op, s.path, remote.Unreachable, fmt.Errorf("the vault's folder is gone, mount its disk again or put it back (%w)", err))
	}
	return s.disk, nil
}

// open opens the folder at the path, if it is one that this store has seen. Called with mu held.
func (s *dirStore) open() error {
	d, err := s.place.open()
	if err != nil {
		return err
	}
	id, err := d.id()
	if err == nil {
		err = s.recognise(d)
	}
	if err != nil {
		d.close()
		return err
	}
	s.disk, s.id, s.checked = d, id, s.now()
	return nil
}

// recognise tells the vault's folder from what lies under the same path when its disk is not mounted.
func (s *dirStore) recognise(d disk) error {
	for name := range s.known {
		if _, err := d.stat(name); err == nil {
			return nil
		} else if !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	if len(s.known) > 0 {
		return errors.New("another folder lies there now")
	}
	return nil
}

// drop forgets all that is known of the open folder. Called with mu held.
func (s *dirStore) drop() {
	s.files.clear()
	clear(s.folders)
	if s.disk != nil {
		s.disk.close()
		s.disk = nil
	}
}

// seen notes that name exists.
func (s *dirStore) seen(name string) {
	top, _, _ := strings.Cut(name, "/")
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.known) < maxKnown {
		s.known[top] = true
	}
}

// unseen takes back seen for an object that lay in the vault's folder itself.
func (s *dirStore) unseen(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.known, name)
}

// folderState is what is known of a sub-folder.
type folderState uint8

const (
	folderPlain  folderState = iota + 1 // it is a folder and no link to one
	folderSynced                        // and survives a crash, as do those above it
	folderBroken                        // a sync of it failed
)

func (s *dirStore) folder(d disk, name string) folderState {
	s.mu.Lock()
	defer s.mu.Unlock()
	if d != s.disk {
		return 0
	}
	return s.folders[name]
}

func (s *dirStore) setFolder(d disk, name string, f folderState) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if d != s.disk || s.folders[name] >= f {
		return
	}
	if len(s.folders) >= maxFolders {
		s.forgetFolders()
	}
	s.folders[name] = f
}

// forgetFolders forgets all but the broken ones. Called with mu held.
func (s *dirStore) forgetFolders() {
	for name, f := range s.folders {
		if f != folderBroken {
			delete(s.folders, name)
		}
	}
}

// plainFolder fails unless name and all folders above are folders and not links.
func (s *dirStore) plainFolder(d disk, name string) error {
	if name == "." || s.folder(d, name) != 0 {
		return nil
	}
	if err := s.plainFolder(d, path.Dir(name)); err != nil {
		return err
	}
	st, err := d.stat(name)
	switch {
	case err != nil:
		return err
	case st.typ == plainFile: // so nothing lies below it
		return &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	case st.typ != folderFile:
		return &fs.PathError{Op: "open", Path: name, Err: errNotPlain}
	}
	s.setFolder(d, name, folderPlain)
	return nil
}

// makeFolders makes a folder and those above it, durably.
func (s *dirStore) makeFolders(d disk, name string) error {
	if name == "." {
		return nil
	}
	switch s.folder(d, name) {
	case folderSynced:
		return nil
	case folderBroken:
		return errNotSound
	}
	parent := path.Dir(name)
	if err := s.makeFolders(d, parent); err != nil {
		return err
	}
	if err := d.mkdir(name); errors.Is(err, fs.ErrExist) {
		st, err := d.stat(name)
		switch {
		case err != nil:
			return err
		case st.typ == plainFile:
			return remote.E("put", name, remote.Invalid, errors.New("an object has the name of a folder that is needed"))
		case st.typ != folderFile:
			return errNotPlain
		}
	} else if err != nil {
		return err
	}
	f, err := d.openFolder(parent)
	if err != nil {
		return err
	}
	defer f.close()
	if err := s.syncFolder(d, parent, f); err != nil {
		return err
	}
	s.setFolder(d, name, folderSynced)
	return nil
}

// syncFolder makes durable which names are in a folder. It fails for ever once it failed.
func (s *dirStore) syncFolder(d disk, name string, f folder) error {
	if s.folder(d, name) == folderBroken {
		return errNotSound
	}
	if err := f.sync(); err != nil {
		s.setFolder(d, name, folderBroken)
		return err
	}
	return nil
}
