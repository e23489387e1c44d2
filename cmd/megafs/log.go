package main

import (
	"io/fs"
	"os"
	"sync"

	"golang.org/x/sys/unix"

	"megafs/remote"
)

// maxLog is how long a log gets before it is put aside; one old one is kept.
const maxLog = 8 << 20

// logFile is a log that never grows beyond its bound. Names and contents are never in it.
type logFile struct {
	path   string
	stderr bool // what the runtime says when it ends the process goes here too

	mu   sync.Mutex
	f    *os.File
	size int64
}

func openLog(path string, stderr bool) (*logFile, error) {
	l := &logFile{path: path, stderr: stderr}
	if err := l.open(); err != nil {
		return nil, remote.E("open the log", path, remote.IO, err)
	}
	return l, nil
}

func (l *logFile) open() error {
	f, err := os.OpenFile(l.path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	var fi fs.FileInfo
	if fi, err = f.Stat(); err == nil && l.stderr {
		err = unix.Dup2(int(f.Fd()), 2)
	}
	if err != nil {
		f.Close()
		return err
	}
	l.f, l.size = f, fi.Size()
	return nil
}

// Write implements io.Writer, for slog.
func (l *logFile) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.size > 0 && l.size+int64(len(b)) > maxLog {
		l.turn()
	}
	n, err := l.f.Write(b)
	l.size += int64(n)
	return n, err
}

// turn puts the full log aside. If a new one can't be made, the old one is emptied: a log must not fill the disk.
func (l *logFile) turn() {
	old := l.f
	if fi, err := old.Stat(); err != nil || !fi.Mode().IsRegular() {
		return
	}
	if os.Rename(l.path, l.path+".old") != nil || l.open() != nil {
		old.Truncate(0)
		l.size = 0
		return
	}
	old.Close()
}

func (l *logFile) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.f.Close()
}
