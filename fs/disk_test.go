package fs

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"io"
	iofs "io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"megafs/crypto"
	"megafs/fs/volume"
	"megafs/remote/blob"
	"megafs/remote/vault"
)

// slowStore takes objects at a rate, one after another, like a thin line. Reading is as fast as the folder.
type slowStore struct {
	blob.Store
	rate int64 // bytes a second
	mu   sync.Mutex
}

func (s *slowStore) wait(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	time.Sleep(time.Duration(int64(n) * int64(time.Second) / s.rate))
}

func (s *slowStore) Put(ctx context.Context, name string, data []byte) error {
	s.wait(len(data))
	return s.Store.Put(ctx, name, data)
}

// onDisk is how many bytes of the disk a folder's files take.
func onDisk(dir string) (n int64) {
	filepath.WalkDir(dir, func(_ string, d iofs.DirEntry, err error) error {
		if err != nil {
			return nil // it went meanwhile
		}
		if fi, err := d.Info(); err == nil {
			n += fi.Sys().(*syscall.Stat_t).Blocks * 512
		}
		return nil
	})
	return n
}

// diskPeaks looks at folders all the time, and remembers the most that each took, and all together.
type diskPeaks struct {
	dirs []string
	mu   sync.Mutex
	most []int64 // of each folder, and behind them of all at once
	stop chan struct{}
	done sync.WaitGroup
}

func watchDisk(dirs ...string) *diskPeaks {
	p := &diskPeaks{dirs: dirs, most: make([]int64, len(dirs)+1), stop: make(chan struct{})}
	p.done.Go(func() {
		tick := time.NewTicker(5 * time.Millisecond)
		defer tick.Stop()
		for {
			p.look()
			select {
			case <-p.stop:
				return
			case <-tick.C:
			}
		}
	})
	return p
}

func (p *diskPeaks) look() {
	p.mu.Lock()
	defer p.mu.Unlock()
	var all int64
	for i, d := range p.dirs {
		n := onDisk(d)
		p.most[i] = max(p.most[i], n)
		all += n
	}
	p.most[len(p.dirs)] = max(p.most[len(p.dirs)], all)
}

// end returns the peaks.
func (p *diskPeaks) end() []int64 {
	close(p.stop)
	p.done.Wait()
	p.look()
	return p.most
}

// maxStall is how long a write may take at most: the store takes something all the time, so nobody waits out the half minute after which a full
// journal is an error.
const maxStall = 30 * time.Second

// TestP7Disk writes five times what the journal may hold to a store that is slower than the writers, and reads five times what the cache may hold while
// somebody writes on. No write fails, and the disk never has more than 5 % over what was given: journal, cached blocks and tree index together, and
// the journal by itself. The journal has 32 MiB and the cache 48 MiB; MEGAFS_TEST_DISK multiplies both.
func TestP7Disk(t *testing.T) {
	needFUSE(t)
	crypto.CheapKDFForTests(t)
	times := int64(1)
	if s := os.Getenv("MEGAFS_TEST_DISK"); s != "" {
		var err error
		times, err = strconv.ParseInt(s, 10, 64)
		must(t, err)
	}
	journalSize, cacheSize := times*32<<20, times*48<<20
	dir, err := blob.Dir(t.TempDir(), blob.DirOptions{})
	must(t, err)
	store := &slowStore{Store: dir, rate: 48 << 20}
	state, cache := t.TempDir(), t.TempDir()
	ring, _, err := vault.Create(ctx, store, state, crypto.NewSecret([]byte("correct horse battery staple nine")), "", crypto.DefaultKDF)
	must(t, err)
	va, err := vault.Open(ctx, store, vault.Options{StateDir: state, Keyring: ring, Log: testLog(t)})
	must(t, err)
	defer va.Close()
	peaks := watchDisk(filepath.Join(state, "journal"), filepath.Join(cache, "blocks"), filepath.Join(cache, "tree"))
	v, err := volume.Open(ctx, volume.Options{
		Remote: va, Register: va.Register, StateDir: state, CacheDir: cache, CacheSize: cacheSize, JournalSize: journalSize, Memory: 64 << 20, Log: testLog(t),
	})
	must(t, err)
	closed := false
	defer func() {
		if !closed {
			v.Close(ctx)
		}
	}()
	m := &machine{t: t, vol: v, dir: t.TempDir()}
	m.Server, err = Mount(Options{Volume: Of(v), MountPoint: m.dir, Log: testLog(t)})
	must(t, err)
	defer m.Lazy()

	const piece = 128 << 10
	data := func(seed byte, size int64) io.Reader { return io.LimitReader(rand.NewChaCha8([32]byte{seed}), size) }
	// write writes a file as a program does, and tells of its longest write and of the mean since it was first slowed down.
	write := func(name string, seed byte, size int64) {
		f, err := os.Create(filepath.Join(m.dir, name))
		must(t, err)
		defer f.Close()
		b := make([]byte, piece)
		var longest, sum time.Duration
		n, slowed := 0, false
		from := data(seed, size)
		begun := time.Now()
		for {
			k, err := io.ReadFull(from, b)
			if err == io.EOF {
				break
			}
			start := time.Now()
			if _, err := f.Write(b[:k]); err != nil {
				t.Errorf("%s: %v", name, err)
				return
			}
			took := time.Since(start)
			longest = max(longest, took)
			if st := v.Status(); slowed || st.JournalBytes > st.JournalLimit/2 {
				slowed = true
				n++
				sum += took
			}
		}
		t.Logf("%s: %d MiB in %v; since the journal was half full %d writes of 128 KiB took %v each, the longest %v", name, size>>20,
			time.Since(begun).Round(time.Millisecond), n, (sum / time.Duration(max(n, 1))).Round(time.Microsecond), longest.Round(time.Millisecond))
		if longest > maxStall {
			t.Errorf("%s: a write took %v", name, longest)
		}
	}
	read := func(name string, seed byte, size int64) {
		f, err := os.Open(filepath.Join(m.dir, name))
		must(t, err)
		defer f.Close()
		must(t, unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED))
		got, want := sha256.New(), sha256.New()
		_, err = io.CopyBuffer(got, struct{ io.Reader }{f}, make([]byte, piece))
		io.Copy(want, data(seed, size))
		if err != nil || !bytes.Equal(got.Sum(nil), want.Sum(nil)) {
			t.Errorf("%s is not what was written: %v", name, err)
		}
	}
	write("first", 1, 5*journalSize)
	var other sync.WaitGroup
	other.Go(func() { write("second", 2, 5*cacheSize-5*journalSize) })
	read("first", 1, 5*journalSize)
	other.Wait()
	read("second", 2, 5*cacheSize-5*journalSize)
	m.drain()
	must(t, m.Unmount())
	st := v.Status()
	closed = true
	must(t, errors.Join(v.Close(ctx)))
	most := peaks.end()
	const mib = 1 << 20
	t.Logf("peaks: journal %.1f of %d MiB, cached blocks %.1f and tree index %.1f of %d MiB, all together %.1f of %d MiB", float64(most[0])/mib, journalSize/mib,
		float64(most[1])/mib, float64(most[2])/mib, cacheSize/mib, float64(most[3])/mib, (journalSize+cacheSize)/mib)
	if st.Cache.Evictions == 0 {
		t.Error("the cache was never full")
	}
	for _, x := range []struct {
		what        string
		have, limit int64
	}{{"the journal", most[0], journalSize}, {"the cache", most[1], cacheSize}, {"journal, cache and tree index", most[3], journalSize + cacheSize}} {
		if x.have > x.limit/20*21 {
			t.Errorf("%s: %d bytes on disk, %d were given", x.what, x.have, x.limit)
		}
	}
}
