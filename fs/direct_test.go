package fs

import (
	"bytes"
	"os"
	"sync"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"megafs/remote/remotetest"
)

// iocb is the kernel's request for asynchronous I/O on a little-endian machine, ioEvent its answer.
type iocb struct {
	_     uint64
	_, _  uint32
	op    uint16
	_     int16
	fd    uint32
	buf   uint64
	bytes uint64
	off   int64
	_     uint64
	_, _  uint32
}

type ioEvent struct {
	_, _ uint64
	res  int64
	_    int64
}

// TestDirectWritesBesideReads: when asynchronous writes past the page cache are done, reads through it show them, although others read the same place
// meanwhile. With FUSE's asynchronous direct I/O they need not: the kernel then leaves pages that were read during the write.
func TestDirectWritesBesideReads(t *testing.T) {
	const size, depth, rounds = 640 << 10, 10, 150
	m := mount(t, remotetest.NewStore(), nil)
	m.write("f", string(make([]byte, size)))
	direct, err := os.OpenFile(m.path("f"), os.O_RDWR|unix.O_DIRECT, 0)
	must(t, err)
	defer direct.Close()
	f, err := os.Open(m.path("f"))
	must(t, err)
	defer f.Close()
	var aio uintptr
	if _, _, e := unix.Syscall(unix.SYS_IO_SETUP, depth, uintptr(unsafe.Pointer(&aio)), 0); e != 0 {
		t.Skip("no asynchronous I/O: ", e)
	}
	defer unix.Syscall(unix.SYS_IO_DESTROY, aio, 0, 0)
	mem, err := unix.Mmap(-1, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	must(t, err)
	defer unix.Munmap(mem)
	done := make(chan struct{})
	var readers sync.WaitGroup
	defer readers.Wait()
	defer close(done)
	for range 2 {
		readers.Go(func() {
			b := make([]byte, size)
			for {
				select {
				case <-done:
					return
				default:
				}
				if _, err := f.ReadAt(b, 0); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	got := make([]byte, size)
	for round := range rounds {
		for i := range mem {
			mem[i] = byte(round + 1)
		}
		const part = size / depth
		var reqs [depth]iocb
		var list [depth]*iocb
		for i := range reqs {
			reqs[i] = iocb{op: 1, fd: uint32(direct.Fd()), buf: uint64(uintptr(unsafe.Pointer(&mem[i*part]))), bytes: part, off: int64(i * part)}
			list[i] = &reqs[i]
		}
		if n, _, e := unix.Syscall(unix.SYS_IO_SUBMIT, aio, depth, uintptr(unsafe.Pointer(&list))); n != depth {
			t.Fatal(n, e)
		}
		var events [depth]ioEvent
		for n := 0; n < depth; {
			ts := unix.NsecToTimespec(int64(time.Minute))
			k, _, e := unix.Syscall6(unix.SYS_IO_GETEVENTS, aio, 1, uintptr(depth-n), uintptr(unsafe.Pointer(&events[n])), uintptr(unsafe.Pointer(&ts)), 0)
			if e == unix.EINTR {
				continue
			}
			if int(k) <= 0 {
				t.Fatal("no answer: ", e)
			}
			n += int(k)
		}
		for _, e := range events {
			if e.res != part {
				t.Fatal("written: ", e.res)
			}
		}
		_, err := f.ReadAt(got, 0)
		must(t, err)
		if !bytes.Equal(got, mem) {
			t.Fatalf("round %d: a read shows what was there before", round)
		}
	}
}
