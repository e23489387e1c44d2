package main

import (
	"fmt"
	"hash/crc32"
	"io"
	"maps"
	"os"
	"path"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// entry is what is under a name of a tree.
type entry struct {
	same string // what two file systems must agree upon
	own  string // what stays as it is on one: number and times
}

// view is everything below a directory, by path.
type view map[string]entry

// look reads a tree. Names of one file show the first of them.
func look(root int, blocks bool) (view, error) {
	out, first := view{}, map[uint64]string{}
	dir, err := unix.Openat(root, ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	return out, out.walk(dir, ".", first, blocks)
}

// walk takes dir, which it closes.
func (tr view) walk(dir int, at string, first map[uint64]string, blocks bool) error {
	defer unix.Close(dir)
	list, err := entries(dir, 32<<10, true)
	if err != nil {
		return fmt.Errorf("%s: %w", at, err)
	}
	slices.Sort(list)
	for i, e := range list {
		if i > 0 && e == list[i-1] {
			return fmt.Errorf("%s: %s is listed twice", at, e)
		}
		var n string
		if _, err := fmt.Sscanf(e, "%q", &n); err != nil {
			return err
		}
		if n == ".." || n == "." && at != "." {
			continue
		}
		if err := tr.entry(dir, at, n, first, blocks); err != nil {
			return fmt.Errorf("%q: %w", path.Join(at, n), err)
		}
	}
	return nil
}

func (tr view) entry(dir int, at, n string, first map[uint64]string, blocks bool) error {
	var st unix.Stat_t
	if err := unix.Fstatat(dir, n, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return err
	}
	p := path.Join(at, n)
	e := entry{same: describe(&st), own: fmt.Sprint(st.Ino, st.Mtim, st.Ctim, st.Atim)}
	if f, ok := first[st.Ino]; ok && n != "." {
		e.same += " same as " + f
		tr[p] = e
		return nil
	}
	first[st.Ino] = p
	list, err := xattrs(fmt.Sprintf("/proc/self/fd/%d/%s", dir, n), false)
	if err != nil && err != unix.EOPNOTSUPP {
		return fmt.Errorf("xattrs: %w", err)
	}
	e.same += fmt.Sprint(" ", list)
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		size, crc, zero, err := content(dir, n)
		if err != nil {
			return err
		}
		if size != st.Size {
			return fmt.Errorf("%d bytes, stat says %d", size, st.Size)
		}
		// Blocks may not be the same, but neither more than the size nor nothing for something.
		if blocks && (st.Blocks*512 > size+511 || !zero && st.Blocks == 0) {
			return fmt.Errorf("%d blocks for %d bytes", st.Blocks, size)
		}
		e.same += fmt.Sprintf(" content %08x", crc)
	case unix.S_IFLNK:
		buf := make([]byte, 5000)
		m, err := unix.Readlinkat(dir, n, buf)
		if err != nil {
			return err
		}
		e.same += fmt.Sprintf(" to %08x", crc32.ChecksumIEEE(buf[:m]))
	case unix.S_IFDIR:
		if n == "." {
			break
		}
		sub, err := unix.Openat(dir, n, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		if err == nil {
			err = tr.walk(sub, p, first, blocks)
		}
		if err != nil {
			return err
		}
	}
	tr[p] = e
	return nil
}

// content sums up a file, and says whether it has nothing but zeros.
func content(dir int, n string) (size int64, crc uint32, zero bool, err error) {
	fd, err := unix.Openat(dir, n, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return 0, 0, false, err
	}
	f := os.NewFile(uintptr(fd), "")
	defer f.Close()
	zero = true
	table := crc32.MakeTable(crc32.Castagnoli)
	for buf := make([]byte, 256<<10); ; {
		n, err := f.Read(buf)
		size, crc = size+int64(n), crc32.Update(crc, table, buf[:n])
		zero = zero && !slices.ContainsFunc(buf[:n], func(b byte) bool { return b != 0 })
		if err == io.EOF {
			return size, crc, zero, nil
		}
		if err != nil {
			return 0, 0, false, err
		}
	}
}

// differs lists where two trees are not the same.
func (tr view) differs(other view, own bool) string {
	var out []string
	for _, p := range slices.Sorted(maps.Keys(tr)) {
		a, b := tr[p], other[p]
		if a.same != b.same || own && a.own != b.own {
			out = append(out, fmt.Sprintf("%q:\n  %s %s\n  %s %s", p, a.same, a.own, b.same, b.own))
		}
	}
	for _, p := range slices.Sorted(maps.Keys(other)) {
		if _, ok := tr[p]; !ok {
			out = append(out, fmt.Sprintf("%q:\n  nothing\n  %s", p, other[p].same))
		}
	}
	return strings.Join(out[:min(len(out), 5)], "\n")
}
