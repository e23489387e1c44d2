package fs

import (
	"fmt"
	"os"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"megafs/fs/volume"
	"megafs/remote"
	"megafs/remote/remotetest"
)

// TestPermissions: modes, owners, umask, sticky and setgid directories are what they are on a disk.
func TestPermissions(t *testing.T) {
	m := mount(t, remotetest.NewStore(), func(o *Options) { o.AllowOther = true })
	must(t, os.Chmod(m.dir, 0o777))
	sh(t, m.dir, stranger, "umask 027; echo x >f; mkdir d; mkfifo p")
	sh(t, m.dir, 0, "echo secret >mine; chmod 600 mine; mkdir shared; chmod 2777 shared; mkdir tmp; chmod 1777 tmp; touch tmp/mine")
	sh(t, m.dir, stranger, "touch shared/f; mkdir shared/d")
	for name, want := range map[string]string{
		"f": "100640 1234:1234", "d": "40750 1234:1234", "p": "10640 1234:1234",
		"shared/f": "100644 1234:0", "shared/d": "42755 1234:0",
	} {
		var st unix.Stat_t
		must(t, unix.Stat(m.path(name), &st))
		if got := fmt.Sprintf("%o %d:%d", st.Mode, st.Uid, st.Gid); got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
	for _, script := range []string{"cat mine", "echo x >mine", "chmod 777 mine", "rm tmp/mine", "mv tmp/mine f", "chown 0 f", "mknod n c 1 3"} {
		if out, err := run(t, m.dir, stranger, "sh", "-c", script); err == nil {
			t.Errorf("a stranger may: %s\n%s", script, out)
		}
	}
	other := mount(t, remotetest.NewStore(), nil)
	must(t, os.Chmod(other.dir, 0o777))
	if out, err := run(t, "/", stranger, "ls", other.dir); err == nil {
		t.Errorf("a stranger sees a mount that is not for others: %s", out)
	}
}

// TestKillPriv: a file that somebody else writes, truncates or gives away loses setuid and setgid.
func TestKillPriv(t *testing.T) {
	m := mount(t, remotetest.NewStore(), func(o *Options) { o.AllowOther = true })
	must(t, os.Chmod(m.dir, 0o777))
	for script, want := range map[string]string{
		"echo x >>f":      "777",
		"echo x >f":       "777",
		": >f":            "777",
		"truncate -s 1 f": "777",
		"dd if=/dev/zero of=f bs=1 count=1 conv=notrunc status=none": "777",
		"fallocate -l 100 f": "777",
		"cat f; : >>f":       "6777",
	} {
		sh(t, m.dir, 0, "echo content >f; chmod 6777 f")
		sh(t, m.dir, stranger, script)
		// The mode alone is asked for: of times the kernel knows that they changed, and would ask again.
		if got := strings.TrimSpace(sh(t, m.dir, 0, "stat -c %a f")); got != want {
			t.Errorf("after %q the mode is %s, want %s", script, got, want)
		}
	}
	sh(t, m.dir, 0, "chmod 6777 f; chown 1234:1234 f; mkdir d; chmod 2775 d; chown 1234:1234 d")
	if got := sh(t, m.dir, 0, "stat -c %a f d"); got != "777\n2775\n" {
		t.Errorf("after chown: %q", got)
	}
	sh(t, m.dir, 0, "mkfifo p; mknod s c 0 0; chmod 6777 f p s; chmod 2775 d")
	for _, name := range []string{"f", "p", "s", "d"} { // a chown of nothing is one too
		must(t, unix.Lchown(m.path(name), -1, -1))
	}
	if got := sh(t, m.dir, 0, "stat -c %a f p s d"); got != "777\n777\n777\n2775\n" {
		t.Errorf("after chown of nothing: %q", got)
	}
}

// TestKillPrivAtOnce: the mode that an open with O_TRUNC left is there when the open returns.
func TestKillPrivAtOnce(t *testing.T) {
	m := mount(t, remotetest.NewStore(), func(o *Options) { o.AllowOther = true })
	must(t, os.WriteFile(m.path("f"), []byte("content"), 0o600))
	must(t, os.Chmod(m.dir, 0o777))
	runtime.LockOSThread() // the thread's user is set
	defer runtime.UnlockOSThread()
	for i := range 1000 {
		must(t, unix.Chmod(m.path("f"), 0o6777))
		must(t, unix.Setfsuid(stranger))
		fd, err := unix.Open(m.path("f"), unix.O_WRONLY|unix.O_TRUNC, 0)
		must(t, unix.Setfsuid(0))
		must(t, err)
		var st unix.Statx_t
		must(t, unix.Statx(fd, "", unix.AT_EMPTY_PATH, unix.STATX_MODE, &st)) // asked for more, the kernel asks for all again
		must(t, unix.Close(fd))
		if got := st.Mode & 0o7777; got != 0o777 {
			t.Fatalf("open %d left mode %o, want 777", i, got)
		}
	}
}

// TestSetgidOutside: setgid on what its group may not execute goes when somebody outside the group writes it, or gives it to himself; not when it is a member, by whichever of
// his groups, or root.
func TestSetgidOutside(t *testing.T) {
	m := mount(t, remotetest.NewStore(), func(o *Options) { o.AllowOther = true })
	must(t, os.Chmod(m.dir, 0o777))
	sh(t, m.dir, 0, "mkfifo p; : >f; chmod 777 .")
	for _, x := range []struct{ as, do, want string }{
		{"1234 1234 1234", "echo x >>f", "666"},
		{"1234 1234 1234", ": >f", "666"},
		{"1234 1234 1234", "truncate -s 1 f", "666"},
		{"1234 1234 1234", "chown 1234 f", "666"},
		{"1234 1234 1234", "chown 1234 p", "666"},
		{"1234 4321 4321", "echo x >>f", "2666"},
		{"1234 1234 1234 4321", "echo x >>f", "2666"},
		{"1234 1234 1234 4321", ": >f", "2666"},
		{"1234 1234 1234 4321", "chown 1234 p", "2666"},
		{"0 0 0", "echo x >>f", "2666"},
		{"0 0 0", "chown 1234 f", "2666"},
	} {
		sh(t, m.dir, 0, "chown 1234:4321 f p; chmod 2666 f p")
		id := strings.Fields(x.as)
		script := fmt.Sprintf(`$( = $) = "%s"; $< = $> = %s; exec "sh", "-c", "%s"`, strings.Join(id[1:], " "), id[0], x.do)
		if out, err := run(t, m.dir, 0, "perl", "-e", script); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		if got := strings.TrimSpace(sh(t, m.dir, 0, "stat -c %a "+x.do[len(x.do)-1:])); got != x.want {
			t.Errorf("%s as %s: %s, want %s", x.do, x.as, got, x.want)
		}
	}
}

// TestOtherThanOnADisk shows where the kernel does not ask a FUSE file system, or not tell it, what a disk knows.
func TestOtherThanOnADisk(t *testing.T) {
	m := mount(t, remotetest.NewStore(), func(o *Options) { o.AllowOther = true })
	must(t, os.Chmod(m.dir, 0o777))
	for _, x := range []struct{ root, stranger, want string }{
		{"echo x >g; chmod 4777 g", `perl -e 'chown(-1, -1, "g") or die "$!"' && stat -c %a g`, "777"},
		{"mkfifo p; chmod 666 p; touch -d @1 p", "cat p >/dev/null & echo x >p; wait; stat -c %Y p", "1"}, // what goes through a fifo
	} {
		sh(t, m.dir, 0, x.root)
		if got := strings.TrimSpace(sh(t, m.dir, stranger, x.stranger)); got != x.want {
			t.Errorf("%s: %s, want %s", x.stranger, got, x.want)
		}
	}
}

// TestCreateWhatIsThereAlready: the kernel thinks there is no such name; nobody told it of the new one yet. It must
// be opened as any other file is, with permissions checked.
func TestCreateWhatIsThereAlready(t *testing.T) {
	m := mount(t, remotetest.NewStore(), func(o *Options) { o.AllowOther = true })
	must(t, os.Chmod(m.dir, 0o777))
	for _, x := range []struct {
		name string
		mode uint16
		uid  uint32
		flag int
		ok   bool
	}{
		{"open", 0o666, stranger, 0, true},
		{"closed", 0o600, stranger, 0, false},
		{"mine", 0o600, 0, os.O_TRUNC, true},
		{"exclusive", 0o600, 0, os.O_EXCL, false},
	} {
		if _, err := os.Stat(m.path(x.name)); !os.IsNotExist(err) {
			t.Fatal(err) // from here on the kernel knows that it is not there
		}
		s, err := m.vol.Make(ctx, remote.Root, x.name, remote.File, x.mode, 0, "", volume.Caller{})
		must(t, err)
		m.vol.Forget(s.Ino, 1)
		if x.uid != 0 {
			_, err = run(t, m.dir, x.uid, "sh", "-c", "echo x >"+x.name)
		} else {
			var f *os.File
			f, err = os.OpenFile(m.path(x.name), os.O_RDWR|os.O_CREATE|x.flag, 0o644)
			f.Close()
		}
		if (err == nil) != x.ok {
			t.Errorf("%s: %v", x.name, err)
		}
	}
}
