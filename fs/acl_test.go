package fs

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"megafs/fs/acl"
	"megafs/remote/remotetest"
)

// others is a mount that everybody may make names in.
func others(t *testing.T, store *remotetest.Store) *machine {
	t.Helper()
	m := mount(t, store, func(o *Options) { o.AllowOther = true })
	must(t, os.Chmod(m.dir, 0o777))
	run(t, "/", 0, "setfacl", "--version")
	return m
}

// may says whether a stranger can do something.
func (m *machine) may(script string) bool {
	m.t.Helper()
	_, err := run(m.t, m.dir, stranger, "sh", "-c", script)
	return err == nil
}

// TestACLChecked: the kernel grants what lists give and no more, also after it knew another answer.
func TestACLChecked(t *testing.T) {
	m := others(t, remotetest.NewStore())
	sh(t, m.dir, 0, "echo content >f; chmod 640 f; mkdir d; echo in >d/f; chmod 700 d")
	for i, x := range []struct {
		script string
		want   map[string]bool
	}{
		{"true", map[string]bool{"cat f": false, "echo x >>f": false, "ls d": false}},
		{"setfacl -m u:1234:r f", map[string]bool{"cat f": true, "echo x >>f": false}},
		{"setfacl -m u:1234:rw f", map[string]bool{"cat f": true, "echo x >>f": true}},
		{"setfacl -m m::r f", map[string]bool{"cat f": true, "echo x >>f": false}},
		{"chmod 660 f", map[string]bool{"cat f": true, "echo x >>f": true}},
		{"chmod 600 f", map[string]bool{"cat f": false, "echo x >>f": false}},
		{"chmod 664 f; setfacl -m u:1234:- f", map[string]bool{"cat f": false, "echo x >>f": false}},
		{"setfacl -x u:1234 f", map[string]bool{"cat f": true, "echo x >>f": false}},
		{"setfacl -b f; chmod 600 f", map[string]bool{"cat f": false}},
		{"setfacl -m g:1234:rx d", map[string]bool{"ls d": true, "cat d/f": true, ": >d/new": false}},
		{"setfacl -m g:1234:rwx d", map[string]bool{": >d/new": true}},
		{"setfacl -x g:1234 d", map[string]bool{"ls d": false, "cat d/f": false}},
	} {
		sh(t, m.dir, 0, x.script)
		for what, want := range x.want {
			if got := m.may(what); got != want {
				t.Errorf("step %d, after %q: a stranger may %q: %v", i, x.script, what, got)
			}
		}
	}
	// Others' lists are not a stranger's to set; his own are.
	sh(t, m.dir, 0, "echo x >f; chmod 666 f")
	if m.may("setfacl -m u:1234:rwx f") {
		t.Error("a stranger sets lists")
	}
	sh(t, m.dir, stranger, "echo x >mine; setfacl -m u:4321:r mine; getfacl -c mine | grep -q user:4321:r")
}

// TestACLSetgid: somebody outside a file's group takes setgid away when he sets its list or its mode.
func TestACLSetgid(t *testing.T) {
	m := others(t, remotetest.NewStore())
	for script, want := range map[string]string{
		"setfacl -m u:7:r f": "675",
		"chmod 2755 f":       "755",
		"setfacl -m d:u:7:rwx d; setfacl -m u:7:rwx d; true": "2775",
	} {
		sh(t, m.dir, 0, "rm -rf f d; : >f; chown 1234:0 f; chmod 2675 f; mkdir d; chown 1234:1234 d; chmod 2775 d")
		sh(t, m.dir, stranger, script)
		name := "f"
		if strings.Contains(script, " d;") {
			name = "d"
		}
		if got := strings.TrimSpace(sh(t, m.dir, 0, "stat -c %a "+name)); got != want {
			t.Errorf("after %q: %s, want %s", script, got, want)
		}
	}
	sh(t, m.dir, 0, ": >g; chmod 2755 g; setfacl -m u:7:r g")
	if got := sh(t, m.dir, 0, "stat -c %a g"); got != "2755\n" {
		t.Errorf("root's stays: %s", got)
	}
}

// TestACLInherited holds what is made in a directory with a default list against a disk.
func TestACLInherited(t *testing.T) {
	m := others(t, remotetest.NewStore())
	disk := aclDisk(t)
	script := `
		mkdir -p w/plain; setfacl -m u:7:rw,d:u:1234:rwx,d:g:8:r-x,d:m:rwx,d:o:- w; mkdir m; setfacl -m d:u::rwx,d:g::r-x,d:o:- m
		umask 077; for d in w w/plain m .; do
			: >$d/file; mkdir -p $d/dir/below; mkfifo $d/fifo; ln -s x $d/link; mknod $d/node c 1 3; cp /etc/passwd $d/copy; mkdir -m 1755 $d/moded
			: >$d/dir/below/file; ln $d/file $d/hard; mv $d/copy $d/moved
		done; umask 0; : >w/open; mkdir w/opendir; : >open; mkdir opendir
		chmod 750 w/dir; chmod g-w w/file; setfacl -k w/opendir; : >w/opendir/file; chown 5:6 w/open; setfacl -b w/hard`
	var got [2]string
	for i, dir := range []string{m.dir, disk} {
		sh(t, dir, 0, script)
		got[i] = sh(t, dir, 0, "find . -mindepth 1 | sort | while read -r f; do stat -c '%a %F %n' $f; done; find . -mindepth 1 ! -type l | sort | xargs getfacl -n")
	}
	if got[0] != got[1] {
		t.Errorf("on the mount:\n%s\non a disk:\n%s", got[0], got[1])
	}
	for _, dir := range []string{m.dir, disk} {
		fd, err := unix.Open(dir+"/w", unix.O_TMPFILE|unix.O_RDWR, 0o666)
		must(t, err)
		var st unix.Stat_t
		must(t, unix.Fstat(fd, &st))
		b := make([]byte, 1000)
		n, err := unix.Fgetxattr(fd, acl.Access, b)
		if err != nil || st.Mode&0o777 != 0o660 || n != 4+6*8 {
			t.Errorf("O_TMPFILE in %s: mode %o, %v, %v", dir, st.Mode, b[:max(0, n)], err)
		}
		unix.Close(fd)
	}
}

// aclDisk is a directory on a disk that has access control lists.
func aclDisk(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if _, err := exec.LookPath("setfacl"); err != nil {
		t.Fatal(err) // scripts/test installs it
	}
	if out, err := run(t, dir, 0, "setfacl", "-m", "d:u:7:rwx", "."); err != nil {
		t.Skipf("the disk has no access control lists: %s", out)
	}
	sh(t, dir, 0, "setfacl -b -k .; chmod 777 .")
	return dir
}

// TestACLTools: archives and copies bring lists to the mount and back.
func TestACLTools(t *testing.T) {
	m := others(t, remotetest.NewStore())
	src := aclDisk(t)
	sh(t, src, 0, `mkdir -p d/e; echo x >d/f; echo y >d/e/g; ln d/f d/hard; ln -s f d/link
		setfacl -m u:1234:rwx,g:7:r,d:u:1234:rx,d:o:- d; setfacl -m u:8:r d/f; setfacl -m m::r d/e/g; setfattr -n user.x -v value d/f; setfattr -n trusted.y -v value d/e
		find . -depth -exec touch -h -d '2011-12-13 14:15:16' {} +`)
	// The top directory is the test's own.
	const show = `find . -mindepth 1 -printf '%y %m %U:%G %n %T@ %l %p\n' | sort; find . -mindepth 1 ! -type l | sort | xargs getfacl -n; find . -mindepth 1 | sort | xargs getfattr -h -d -m '^(user|trusted)'`
	want := sh(t, src, 0, show)
	for _, x := range []struct{ name, script string }{
		{"cp", `cp -a "$SRC/." .`},
		{"rsync", `rsync -aHAX "$SRC/" . && test -z "$(rsync -aHAXn --itemize-changes "$SRC/" .)"`},
		{"tar", `tar --acls --xattrs --xattrs-include='*' -C "$SRC" -cf - . | tar --acls --xattrs --xattrs-include='*' -xpf -
			tar --acls --xattrs --xattrs-include='*' -cf ../archive . && rm -rf ./* && tar --acls --xattrs --xattrs-include='*' -xpf ../archive && rm ../archive`},
		{"restore", `cp -a --no-preserve=xattr,mode "$SRC/." . && (cd "$SRC" && getfacl -R .) | setfacl --restore=-
			(cd "$SRC" && getfattr -R -h -d -m '^(user|trusted)' .) | setfattr -h --restore=-`},
	} {
		t.Run(x.name, func(t *testing.T) {
			dir, back := m.path(x.name), aclDisk(t)
			must(t, os.Mkdir(dir, 0o755))
			sh(t, dir, 0, "SRC="+src+"; "+x.script)
			if got := sh(t, dir, 0, show); got != want {
				t.Errorf("on the mount:\n%s\nwant:\n%s", got, want)
			}
			sh(t, back, 0, "rsync -aHAX "+dir+"/ .")
			if got := sh(t, back, 0, show); got != want {
				t.Errorf("and back:\n%s\nwant:\n%s", got, want)
			}
		})
	}
}

// TestACLRaw: what only system calls show.
func TestACLRaw(t *testing.T) {
	m := mount(t, remotetest.NewStore(), nil)
	m.write("f", "")
	must(t, os.Mkdir(m.path("d"), 0o755))
	must(t, os.Symlink("f", m.path("l")))
	list := acl.List{{Tag: acl.UserObj, Perm: 7}, {Tag: acl.User, Perm: 7, ID: 1234}, {Tag: acl.GroupObj, Perm: 5}, {Tag: acl.Mask, Perm: 7}, {Tag: acl.Other, Perm: 5}}
	value := list.Bytes()
	for _, x := range []struct {
		what, path, name string
		value            []byte
		err              error
	}{
		{"a list", "f", acl.Access, value, nil},
		{"a default", "d", acl.Default, value, nil},
		{"a file's default", "f", acl.Default, value, unix.EACCES},
		{"another version", "f", acl.Access, []byte("nonsense nonsense 20"), unix.EOPNOTSUPP}, // says the kernel
		{"another order", "f", acl.Access, acl.List{list[1], list[0], list[2], list[3], list[4]}.Bytes(), unix.EINVAL},
		{"somebody twice", "f", acl.Access, acl.List{list[0], list[1], list[1], list[2], list[3], list[4]}.Bytes(), unix.EINVAL},
		{"no mask", "f", acl.Access, acl.List{list[0], list[1], list[2], list[4]}.Bytes(), unix.EINVAL},
	} {
		if err := unix.Setxattr(m.path(x.path), x.name, x.value, 0); err != x.err {
			t.Errorf("%s: %v", x.what, err)
		}
	}
	if err := unix.Lsetxattr(m.path("l"), acl.Access, value, 0); err != unix.EOPNOTSUPP {
		t.Errorf("a link's: %v", err)
	}
	b := make([]byte, 1000)
	n, err := unix.Getxattr(m.path("f"), acl.Access, b)
	if err != nil || string(b[:n]) != string(value) {
		t.Errorf("%v, %v", b[:n], err)
	}
	n, err = unix.Listxattr(m.path("d"), b)
	if err != nil || string(b[:n]) != acl.Default+"\x00" {
		t.Errorf("%q, %v", b[:n], err)
	}
	var st unix.Stat_t
	must(t, unix.Stat(m.path("f"), &st))
	if st.Mode != unix.S_IFREG|0o775 {
		t.Errorf("mode %o", st.Mode)
	}
	must(t, unix.Removexattr(m.path("f"), acl.Access))
	if _, err := unix.Getxattr(m.path("f"), acl.Access, b); err != unix.ENODATA {
		t.Error(err)
	}
	// As many entries as there may be, and more.
	long := acl.List{list[0]}
	for i := range uint32((acl.MaxSize-4)/8 - 4) {
		long = append(long, acl.Entry{Tag: acl.User, Perm: 6, ID: i + 1})
	}
	long = append(long, list[2:]...)
	must(t, unix.Setxattr(m.path("f"), acl.Access, long.Bytes(), 0))
	big := make([]byte, acl.MaxSize)
	if n, err := unix.Getxattr(m.path("f"), acl.Access, big); err != nil || string(big[:n]) != string(long.Bytes()) {
		t.Error(n, err)
	}
	long = append(acl.List{list[0], {Tag: acl.User, Perm: 6, ID: 1 << 20}}, long[1:]...)
	if err := unix.Setxattr(m.path("f"), acl.Access, long.Bytes(), 0); err != unix.E2BIG && err != unix.ERANGE {
		t.Errorf("too many entries: %v", err)
	}
}

// TestForeignACL: a list that another machine sets counts here, although the kernel knew that there was none.
func TestForeignACL(t *testing.T) {
	t.Parallel()
	store := remotetest.NewStore()
	a, b := others(t, store), others(t, store)
	sh(t, a.dir, 0, "echo content >f; chmod 600 f; mkdir d; chmod 777 d")
	a.drain()
	eventually(t, "the file is there, with its mode", func() bool { s, err := os.Stat(b.path("f")); return err == nil && s.Mode().Perm() == 0o600 })
	for _, x := range []struct {
		script string
		may    bool
	}{{"setfacl -m u:1234:r f", true}, {"setfacl -m u:1234:- f", false}, {"setfacl -m u:1234:rw f", true}, {"chmod 600 f", false}, {"chmod 640 f", true}, {"setfacl -b f; chmod 600 f", false}} {
		if b.may("cat f") == x.may {
			t.Errorf("before %q: %v", x.script, x.may)
		}
		sh(t, a.dir, 0, x.script)
		a.drain()
		eventually(t, fmt.Sprintf("after %q a stranger may read: %v", x.script, x.may), func() bool { return b.may("cat f") == x.may })
	}
	sh(t, b.dir, stranger, ": >d/before")
	sh(t, a.dir, 0, "setfacl -m d:u:7:rwx d")
	a.drain()
	eventually(t, "new files inherit", func() bool {
		return strings.Contains(sh(t, b.dir, stranger, "rm -f d/f; : >d/f; getfacl -n d/f"), "user:7:rwx")
	})
}
