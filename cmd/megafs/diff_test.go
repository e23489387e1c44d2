package main

import (
	"fmt"
	"iter"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// How much is done in one tree before the next is begun, and how often the trees are compared.
const roundOps, compareEvery = 4000, 400

// twins are a mount and a folder of a disk, in which the same is done.
type twins struct {
	*machine
	disk    string
	vague   bool             // the disk's times are not fine enough to tell what renews them
	trees   int              // made so far
	mounted bool             // not while the mount begins anew
	spent   [3]time.Duration // on operations, on comparing trees, on all else
}

// TestDifferential does the same random things on the mount and on the host's file system. Each call must give the same result or errno, and leave the
// same attributes; times that one renews the other must renew too; and the trees must be the same, also after the mount was taken away or its process killed, and
// with an empty cache. A list of operations that fails is made short and printed.
//
// It runs for 45 seconds. MEGAFS_TEST_DIFFERENTIAL sets another time, or a number of operations; MEGAFS_TEST_SEED repeats a run;
// MEGAFS_TEST_REPLAY names a file with operations as they are printed, and does those.
func TestDifferential(t *testing.T) {
	asRoot(t)
	runtime.LockOSThread() // and never unlocked: the thread has its own umask, and ends with the test
	if err := unix.Unshare(unix.CLONE_FS); err != nil {
		t.Fatal(err)
	}
	d := &twins{machine: newMachine(t), disk: diskWithACLs(t)}
	if d.vague = !fineTimes(t, d.disk); d.vague {
		t.Log("the disk's times are coarse, and not looked at")
	}
	d.mount("--allow-other")
	d.mounted = true
	defer func() {
		if d.mounted {
			d.umount()
			d.want(0, "0 damaged", "vault", "verify")
			d.quietLog()
		}
	}()
	if file := os.Getenv("MEGAFS_TEST_REPLAY"); file != "" {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if why, err := d.run(slices.Values(parseOps(t, string(text))), 1); why != "" || err != nil {
			t.Fatal(why, err)
		}
		return
	}
	limit, most := lasts(t, "MEGAFS_TEST_DIFFERENTIAL", 45*time.Second)
	seed := randomSeed(t)
	begun, done := time.Now(), 0
	for round := uint64(0); done < most && time.Since(begun) < limit; round++ {
		r := rand.New(rand.NewPCG(seed, round))
		var list []op
		why, err := d.run(func(yield func(op) bool) {
			for range min(roundOps, most-done) {
				o := randomOp(r)
				if list = append(list, o); !yield(o) || time.Since(begun) > limit {
					return
				}
			}
		}, compareEvery)
		if done += len(list); err != nil {
			t.Fatal(err)
		}
		if why == "" {
			continue
		}
		t.Errorf("MEGAFS_TEST_SEED=%d, round %d, after %d operations:\n%s", seed, round, done, why)
		list, why = d.shorten(list, why)
		var text strings.Builder
		for _, o := range list {
			fmt.Fprintln(&text, o)
		}
		t.Fatalf("%d operations show it (set MEGAFS_TEST_REPLAY to the name of a file with them):\n%s%s", len(list), text.String(), why)
	}
	t.Logf("%d operations in %v: %v", done, time.Since(begun).Round(time.Second), d.spent)
}

// spend measures something until the function is called that it returns.
func (d *twins) spend(what int) (done func()) {
	begun := time.Now()
	return func() { d.spent[what] += time.Since(begun) }
}

// diskWithACLs is a folder of the host that refuses devices and setuid, and does not note reads, as the mount.
func diskWithACLs(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	list, value := randomACL(1)
	if err := unix.Setxattr(dir, list, value, 0); err == unix.EOPNOTSUPP {
		t.Skip("the disk has no access control lists")
	}
	unix.Removexattr(dir, list)
	if err := unix.Mount(dir, dir, "", unix.MS_BIND, ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	if err := unix.Mount("", dir, "", unix.MS_REMOUNT|unix.MS_BIND|unix.MS_NODEV|unix.MS_NOSUID|unix.MS_NOATIME, ""); err != nil {
		t.Fatal(err)
	}
	return dir
}

// fineTimes reports whether a change of a file shows in its times at once. Elsewhere, two changes may bear the same time.
func fineTimes(t *testing.T, dir string) bool {
	t.Helper()
	f, err := os.CreateTemp(dir, "times")
	if err != nil {
		t.Fatal(err)
	}
	defer os.Remove(f.Name())
	defer f.Close()
	var last unix.Timespec
	for range 100 {
		var st unix.Stat_t
		if _, err := f.WriteAt([]byte("x"), 0); err != nil {
			t.Fatal(err)
		}
		if err := unix.Fstat(int(f.Fd()), &st); err != nil {
			t.Fatal(err)
		}
		if st.Ctim == last {
			return false
		}
		last = st.Ctim
	}
	return true
}

// run does operations in two new trees and says what differed, or what went wrong beside.
func (d *twins) run(list iter.Seq[op], every int) (why string, err error) {
	d.trees++
	// Far below the top, so that no chain of links leads out.
	below := fmt.Sprintf("%d/1/2/3/4/5/6/7/8/9/tree", d.trees)
	tops := []string{d.mnt, d.disk}
	for _, top := range tops {
		p := filepath.Join(top, below)
		if err := os.MkdirAll(p, 0o755); err != nil {
			return "", err
		}
		if err := os.Chmod(p, 0o777); err != nil {
			return "", err
		}
		defer os.RemoveAll(filepath.Join(top, fmt.Sprint(d.trees)))
	}
	open := func() []*side {
		return []*side{newSide(d.t, filepath.Join(tops[0], below)), newSide(d.t, filepath.Join(tops[1], below))}
	}
	sides := open()
	defer func() {
		for _, s := range sides {
			s.close()
		}
	}()
	compare := func() (string, view, error) {
		defer d.spend(1)()
		a, err := look(sides[0].root, true)
		if err != nil {
			return "on the mount: " + err.Error(), nil, nil
		}
		b, err := look(sides[1].root, false)
		if err != nil {
			return "", nil, err
		}
		if diff := a.differs(b, false); diff != "" {
			return "the trees differ, on the mount and on the disk:\n" + diff, nil, nil
		}
		return "", a, nil
	}
	var last string
	n := 0
	for o := range list {
		n++
		switch o.Do {
		case "sync":
			done := d.spend(2)
			d.want(0, "", "sync", "--timeout", "2m", d.mnt)
			done()
		case "remount", "kill", "wipe", "lose":
			// Without open files, which don't survive, first.
			for _, s := range sides {
				for i := range s.fds {
					s.unmap(i)
					s.drop(i)
				}
			}
			why, before, err := compare()
			if why != "" || err != nil {
				return "before " + o.Do + ": " + why, err
			}
			for _, s := range sides {
				s.close()
			}
			done := d.spend(2)
			d.mounted = false
			d.remount(o.Do, "--allow-other")
			d.mounted = true
			done()
			sides = open()
			why, after, err := compare()
			if why != "" || err != nil {
				return "after " + o.Do + ": " + why, err
			}
			if diff := before.differs(after, true); diff != "" {
				return "before and after " + o.Do + ":\n" + diff, nil
			}
		default:
			done := d.spend(0)
			a, b := sides[0].do(o, !d.vague), sides[1].do(o, !d.vague)
			done()
			if a != b {
				return fmt.Sprintf("%s\non the mount: %s\non the disk:  %s\nbefore that: %s", o, a, b, last), nil
			}
			last = o.String()
		}
		if n%every == 0 {
			if why, _, err := compare(); why != "" || err != nil {
				return fmt.Sprintf("after %s: %s", o, why), err
			}
		}
	}
	why, _, err = compare()
	return why, err
}

// shorten leaves operations out as long as something still differs, for a minute at most.
func (d *twins) shorten(list []op, why string) ([]op, string) {
	end := time.Now().Add(time.Minute)
	fails := func(l []op) bool {
		w, err := d.run(slices.Values(l), roundOps)
		if w == "" || err != nil {
			return false
		}
		why = w
		return true
	}
	quiet := slices.DeleteFunc(slices.Clone(list), func(o op) bool { return o.Do == "sync" || slices.Contains(waysToRemount, o.Do) })
	if len(quiet) > 0 && fails(quiet) { // all else is faster without
		list = quiet
	}
	for part := (len(list) + 1) / 2; part > 0 && time.Now().Before(end); {
		left := false
		for at := 0; at < len(list) && time.Now().Before(end); {
			if less := slices.Concat(list[:at], list[min(at+part, len(list)):]); len(less) > 0 && fails(less) {
				list, left = less, true
				continue
			}
			at += part
		}
		if part == 1 && !left {
			break
		}
		part = max(1, part/2)
	}
	return list, why
}
