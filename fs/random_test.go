package fs

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"megafs/remote/remotetest"
)

var (
	seed  = flag.Uint64("seed", 0, "of the random test; 0 takes one from the clock")
	steps = flag.Int("steps", 3000, "of the random test")
)

// side is one of two directories in which the same is done.
type side struct {
	dir string
	fds []int
}

func (s *side) at(name string) string { return filepath.Join(s.dir, name) }

// TestRandom does the same random things on the mount and on a disk: each must give the same result, or the same errno.
func TestRandom(t *testing.T) {
	t.Parallel()
	if *seed == 0 {
		*seed = uint64(time.Now().UnixNano())
	}
	t.Logf("-seed %d -steps %d", *seed, *steps)
	m := mount(t, remotetest.NewStore(), nil)
	sides := []*side{{dir: m.dir}, {dir: t.TempDir()}}
	aclDisk(t)
	r := rand.New(rand.NewPCG(*seed, 1))
	t.Cleanup(func() {
		for _, s := range sides {
			for _, fd := range s.fds {
				unix.Close(fd)
			}
		}
	})
	var history []string
	for range *steps {
		what, do := step(r, len(sides[0].fds))
		a, b := do(sides[0]), do(sides[1])
		history = append(history, fmt.Sprintf("%s: %s", what, a))
		if a != b {
			t.Fatalf("%s:\non the mount: %s\non a disk:    %s\nafter\n%s", what, a, b, strings.Join(history[max(0, len(history)-60):], "\n"))
		}
		if r.IntN(300) == 0 {
			m.drain() // content moves from the journal to the store
		}
	}
	for _, s := range sides {
		if err := unix.Access(s.dir, unix.R_OK); err != nil {
			t.Error(err)
		}
	}
	if a, b := sh(t, m.dir, 0, tree2), sh(t, sides[1].dir, 0, tree2); a != b {
		t.Errorf("in the end, on the mount:\n%s\non a disk:\n%s", a, b)
	}
}

// tree2 is tree without times, which the two can't share.
const tree2 = `find . -printf '%y %m %U:%G %n %s %l %p\n' | sed 's/^\(d [^ ]* [^ ]*\) [^ ]* [^ ]*/\1/' | sort
find . -type f -print0 | sort -z | xargs -0r sha256sum`

func names(r *rand.Rand) string {
	var parts []string
	for r.IntN(2) == 0 && len(parts) < 2 {
		parts = append(parts, string(rune('a'+r.IntN(3))))
	}
	return strings.Join(append(parts, string(rune('a'+r.IntN(9)))), "/")
}

func result(v any, err error) string {
	if err != nil {
		if e, ok := err.(unix.Errno); ok {
			return unix.ErrnoName(e)
		}
		return err.Error()
	}
	return fmt.Sprint(v)
}

// step chooses what to do next.
func step(r *rand.Rand, open int) (string, func(*side) string) {
	a, b := names(r), names(r)
	mode := uint32(r.IntN(0o10000)) | 0o600
	off, n := int64(r.IntN(200000)), r.IntN(70000)
	if r.IntN(3) == 0 {
		off, n = off%5000, n%5000
	}
	data := make([]byte, n)
	for i := range data {
		data[i] = byte(r.IntN(256))
	}
	drop := -1 // a descriptor that makes room for a new one
	if open > 8 {
		drop = r.IntN(open)
	}
	opened := func(s *side, fd int, err error) string {
		if err != nil {
			return result(nil, err)
		}
		if drop >= 0 {
			unix.Close(s.fds[drop])
			s.fds = slices.Delete(s.fds, drop, drop+1)
		}
		s.fds = append(s.fds, fd)
		return "opened"
	}
	onPath := func(what string, f func(s *side) (any, error)) (string, func(*side) string) {
		return what, func(s *side) string { return result(f(s)) }
	}
	onFD := func(what string, f func(fd int) (any, error)) (string, func(*side) string) {
		if open == 0 {
			return "nothing", func(*side) string { return "" }
		}
		i := r.IntN(open)
		return fmt.Sprintf("descriptor %d: %s", i, what), func(s *side) string { return result(f(s.fds[i])) }
	}
	none := func(err error) (any, error) { return "ok", err }
	switch r.IntN(27) {
	case 0, 1:
		flags := []int{unix.O_RDONLY, unix.O_WRONLY, unix.O_RDWR}[r.IntN(3)]
		for _, f := range []int{unix.O_CREAT, unix.O_CREAT, unix.O_EXCL, unix.O_TRUNC, unix.O_APPEND, unix.O_NOFOLLOW, unix.O_DIRECTORY} {
			if r.IntN(4) == 0 {
				flags |= f
			}
		}
		if r.IntN(2) == 0 {
			flags = flags&^(unix.O_EXCL|unix.O_DIRECTORY) | unix.O_CREAT
		}
		return fmt.Sprintf("open %s %#x", a, flags), func(s *side) string {
			fd, err := unix.Open(s.at(a), flags|unix.O_NONBLOCK|unix.O_CLOEXEC, mode&0o777)
			return opened(s, fd, err)
		}
	case 2:
		return "tmpfile in " + a, func(s *side) string {
			fd, err := unix.Open(s.at(a), unix.O_TMPFILE|unix.O_RDWR|unix.O_CLOEXEC, 0o600)
			return opened(s, fd, err)
		}
	case 3, 4:
		return onFD(fmt.Sprintf("write %d at %d", n, off), func(fd int) (any, error) { return unix.Pwrite(fd, data, off) })
	case 5, 6:
		return onFD(fmt.Sprintf("read %d at %d", n, off), func(fd int) (any, error) {
			buf := make([]byte, n)
			got, err := unix.Pread(fd, buf, off)
			return sum(buf[:max(0, got)]), err
		})
	case 7:
		return onFD(fmt.Sprintf("truncate to %d", off), func(fd int) (any, error) { return none(unix.Ftruncate(fd, off)) })
	case 8:
		return onPath(fmt.Sprintf("truncate %s to %d", a, off), func(s *side) (any, error) { return none(unix.Truncate(s.at(a), off)) })
	case 9, 10:
		flags := uint([]int{0, 0, 0, unix.RENAME_NOREPLACE, unix.RENAME_EXCHANGE}[r.IntN(5)])
		return onPath(fmt.Sprintf("rename %s %s %d", a, b, flags), func(s *side) (any, error) {
			return none(unix.Renameat2(unix.AT_FDCWD, s.at(a), unix.AT_FDCWD, s.at(b), flags))
		})
	case 11:
		return onPath("link "+a+" "+b, func(s *side) (any, error) { return none(unix.Link(s.at(a), s.at(b))) })
	case 12:
		return onPath("symlink "+a+" "+b, func(s *side) (any, error) { return none(unix.Symlink(filepath.Base(a), s.at(b))) })
	case 13:
		return onPath("unlink "+a, func(s *side) (any, error) { return none(unix.Unlink(s.at(a))) })
	case 14:
		return onPath("rmdir "+a, func(s *side) (any, error) { return none(unix.Rmdir(s.at(a))) })
	case 15, 16:
		return onPath("mkdir "+a, func(s *side) (any, error) { return none(unix.Mkdir(s.at(a), mode|0o700)) })
	case 17:
		return onPath("chmod "+a, func(s *side) (any, error) { return none(unix.Chmod(s.at(a), mode|0o100)) })
	case 18:
		return onPath("chown "+a, func(s *side) (any, error) { return none(unix.Lchown(s.at(a), int(mode), int(off))) })
	case 19:
		flags := r.IntN(3)
		return onPath("setxattr "+a, func(s *side) (any, error) {
			return none(unix.Setxattr(s.at(a), "user."+filepath.Base(b), data[:min(len(data), 50)], flags))
		})
	case 20:
		return onPath("xattrs "+a, func(s *side) (any, error) {
			buf := make([]byte, 1000)
			n, err := unix.Listxattr(s.at(a), buf)
			list := strings.Split(string(buf[:max(0, n)]), "\x00")
			slices.Sort(list)
			for _, x := range list {
				n, _ := unix.Getxattr(s.at(a), x, buf)
				list = append(list, sum(buf[:max(0, n)]))
			}
			return list, errors2(err, unix.Removexattr(s.at(a), "user."+filepath.Base(b)))
		})
	case 24, 25:
		name, list, value := randomList(r)
		return onPath(fmt.Sprintf("set %s of %s to %v", name, a, list), func(s *side) (any, error) {
			if list == nil {
				return none(unix.Removexattr(s.at(a), name))
			}
			return none(unix.Setxattr(s.at(a), name, value, 0))
		})
	case 21:
		return onPath("list "+a, func(s *side) (any, error) {
			list, err := os.ReadDir(s.at(a))
			if err != nil {
				return nil, unix.ENOTDIR
			}
			return list, nil
		})
	case 22, 23:
		return onPath("stat "+a, func(s *side) (any, error) {
			var st unix.Stat_t
			err := unix.Lstat(s.at(a), &st)
			if st.Mode&unix.S_IFMT == unix.S_IFDIR {
				st.Size, st.Nlink = 0, 0
			}
			return fmt.Sprintf("%o %d %d %d %d", st.Mode, st.Nlink, st.Uid, st.Gid, st.Size), err
		})
	default:
		if open == 0 {
			return "nothing", func(*side) string { return "" }
		}
		i, j, to := r.IntN(open), r.IntN(open), int64(r.IntN(100000))
		kind := uint32([]int{0, unix.FALLOC_FL_KEEP_SIZE, unix.FALLOC_FL_PUNCH_HOLE | unix.FALLOC_FL_KEEP_SIZE, unix.FALLOC_FL_ZERO_RANGE}[r.IntN(4)])
		if i == j || r.IntN(2) == 0 {
			return onFD(fmt.Sprintf("fallocate %#x %d at %d", kind, n, off), func(fd int) (any, error) { return none(unix.Fallocate(fd, kind, off, int64(n))) })
		}
		return fmt.Sprintf("copy %d from %d at %d to %d at %d", n, i, off, j, to), func(s *side) string {
			from, at := off, to
			var all int
			for all < n {
				got, err := unix.CopyFileRange(s.fds[i], &from, s.fds[j], &at, n-all, 0)
				if err != nil {
					return result(nil, err)
				}
				if all += got; got == 0 {
					break
				}
			}
			return fmt.Sprint(all)
		}
	}
}

func errors2(a, b error) error {
	if a != nil {
		return a
	}
	return b
}

func sum(b []byte) string {
	var h uint64 = 14695981039346656037
	for _, c := range b {
		h = (h ^ uint64(c)) * 1099511628211
	}
	return fmt.Sprintf("%d bytes %x", len(b), h)
}
