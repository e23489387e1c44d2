package fs

import (
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"megafs/remote/remotetest"
)

// mapped maps the beginning of an open file.
func mapped(t *testing.T, f *os.File, size int) []byte {
	t.Helper()
	p, err := unix.Mmap(int(f.Fd()), 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	must(t, err)
	t.Cleanup(func() { unix.Munmap(p) })
	return p
}

// TestEverythingOnAnUnlinkedFile: what has no name any more, because it was removed or another file was moved over it, can be written, truncated, synced and
// mapped as before, while its content moves from the journal to the store or not at all.
func TestEverythingOnAnUnlinkedFile(t *testing.T) {
	m := mount(t, remotetest.NewStore(), nil)
	for _, x := range []struct {
		name string
		gone func(path string) error
	}{
		{"removed", os.Remove},
		{"renamed over", func(p string) error {
			m.write("new", "new")
			return os.Rename(m.path("new"), p)
		}},
		{"removed after it was sent", func(p string) error { m.drain(); return os.Remove(p) }},
	} {
		t.Run(x.name, func(t *testing.T) {
			m.write("f", strings.Repeat("-", 100_000))
			f, err := os.OpenFile(m.path("f"), os.O_RDWR, 0)
			must(t, err)
			defer f.Close()
			p := mapped(t, f, 100_000)
			must(t, x.gone(m.path("f")))
			_, err = f.WriteAt([]byte("written"), 10)
			must(t, err)
			must(t, f.Sync())
			copy(p[50_000:], "mapped")
			must(t, unix.Msync(p, unix.MS_SYNC))
			must(t, unix.Fdatasync(int(f.Fd())))
			m.drain()
			must(t, f.Truncate(200_000))
			_, err = f.WriteAt([]byte("end"), 199_997)
			must(t, err)
			must(t, unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, 20, 5))
			must(t, f.Chmod(0o600))
			must(t, unix.Fsetxattr(int(f.Fd()), "user.x", []byte("y"), 0))
			// From the volume, not from the kernel's pages.
			must(t, unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED))
			got := make([]byte, 200_000)
			_, err = f.ReadAt(got, 0)
			must(t, err)
			want := []byte(strings.Repeat("-", 100_000) + strings.Repeat("\x00", 100_000))
			copy(want[10:], "written")
			copy(want[50_000:], "mapped")
			copy(want[199_997:], "end")
			clear(want[20:25])
			if string(got) != string(want) {
				t.Error("other content")
			}
			if string(p[50_000:50_006]) != "mapped" || string(p[10:17]) != "written" {
				t.Error("the mapping has other content")
			}
			var st unix.Stat_t
			must(t, unix.Fstat(int(f.Fd()), &st))
			if st.Nlink != 0 || st.Size != 200_000 || st.Mode&0o777 != 0o600 {
				t.Errorf("%d links, %d bytes, mode %o", st.Nlink, st.Size, st.Mode)
			}
			b := make([]byte, 10)
			if n, err := unix.Fgetxattr(int(f.Fd()), "user.x", b); err != nil || string(b[:n]) != "y" {
				t.Error(string(b), err)
			}
		})
	}
}

// TestMappingChangesTimes: what is written through memory changes mtime and ctime, at the latest when it is synced. The kernel does not wait in syncfs(2),
// but it does hand over what there is.
func TestMappingChangesTimes(t *testing.T) {
	m := mount(t, remotetest.NewStore(), nil)
	m.write("f", strings.Repeat("-", 10_000))
	f, err := os.OpenFile(m.path("f"), os.O_RDWR, 0)
	must(t, err)
	defer f.Close()
	p := mapped(t, f, 10_000)
	for what, sync := range map[string]func() error{
		"msync": func() error { return unix.Msync(p, unix.MS_SYNC) },
		"fsync": f.Sync,
		"syncfs": func() error {
			writes := m.Stats().Requests["write"]
			must(t, unix.Syncfs(int(f.Fd())))
			eventually(t, "syncfs writes", func() bool { return m.Stats().Requests["write"] > writes })
			return f.Sync() // the answer was given
		},
	} {
		var before, after unix.Stat_t
		must(t, unix.Stat(m.path("f"), &before)) // from here on the kernel knows the times
		copy(p[5000:], what)
		must(t, sync())
		must(t, unix.Stat(m.path("f"), &after))
		if after.Mtim == before.Mtim || after.Ctim == before.Ctim {
			t.Errorf("%s: mtime %v, ctime %v, as before", what, after.Mtim, after.Ctim)
		}
	}
}
