package fs

import (
	"fmt"
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"megafs/remote/remotetest"
)

// The benchmarks go through the kernel. Those of names let the kernel keep nothing.

func BenchmarkStat(b *testing.B) {
	m := mount(b, remotetest.NewStore(), nil)
	m.write("f", "")
	var st unix.Stat_t
	f, err := os.OpenFile(m.path("f"), os.O_RDWR, 0)
	must(b, err)
	defer f.Close()
	for b.Loop() {
		// A change that the kernel does not do itself makes it ask for attributes.
		must(b, unix.Setxattr(m.path("f"), "user.x", nil, 0))
		must(b, unix.Fstat(int(f.Fd()), &st))
	}
}

func BenchmarkLookup(b *testing.B) {
	m := mount(b, remotetest.NewStore(), nil)
	for i := 0; b.Loop(); i++ {
		unix.Access(m.path(fmt.Sprint(i)), unix.F_OK)
	}
}

func BenchmarkOpenClose(b *testing.B) {
	m := mount(b, remotetest.NewStore(), nil)
	m.write("f", "")
	for b.Loop() {
		fd, err := unix.Open(m.path("f"), unix.O_RDONLY, 0)
		must(b, err)
		unix.Close(fd)
	}
}

func BenchmarkCreate(b *testing.B) {
	m := mount(b, remotetest.NewStore(), nil)
	for i := 0; b.Loop(); i++ {
		fd, err := unix.Open(m.path(fmt.Sprint(i)), unix.O_CREAT|unix.O_WRONLY, 0o644)
		must(b, err)
		unix.Close(fd)
	}
}

func BenchmarkList(b *testing.B) {
	m := mount(b, remotetest.NewStore(), nil)
	for i := range 10000 {
		m.write(fmt.Sprint(i), "")
	}
	for b.Loop() {
		list, err := os.ReadDir(m.dir)
		must(b, err)
		for _, e := range list {
			_, err := e.Info()
			must(b, err)
		}
	}
}

func BenchmarkIO(b *testing.B) {
	for _, size := range []int{4 << 10, 128 << 10, 1 << 20} {
		const window = 16 << 20
		m := mount(b, remotetest.NewStore(), nil)
		f, err := os.OpenFile(m.path("f"), os.O_CREATE|os.O_RDWR, 0o644)
		must(b, err)
		buf := make([]byte, size)
		b.Run(fmt.Sprintf("write/%dK", size>>10), func(b *testing.B) {
			b.SetBytes(int64(size))
			for i := 0; b.Loop(); i++ {
				_, err := f.WriteAt(buf, int64(i*size%window))
				must(b, err)
			}
		})
		must(b, f.Truncate(window))
		must(b, f.Close())
		direct, err := unix.Open(m.path("f"), unix.O_RDONLY|unix.O_DIRECT, 0)
		must(b, err)
		aligned, err := unix.Mmap(-1, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
		must(b, err)
		b.Run(fmt.Sprintf("read/%dK", size>>10), func(b *testing.B) {
			b.SetBytes(int64(size))
			for i := 0; b.Loop(); i++ {
				_, err := unix.Pread(direct, aligned, int64(i*size%window))
				must(b, err)
			}
		})
		unix.Close(direct)
	}
}
