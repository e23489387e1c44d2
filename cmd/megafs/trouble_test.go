package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// asRoot skips a test that mounts file systems other than ours.
func asRoot(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root, to make small and read-only disks")
	}
}

// disk mounts a small disk of its own on a new folder of the machine.
func (m *machine) disk(name, size string) string {
	m.t.Helper()
	dir := filepath.Join(m.home, name)
	m.sh(fmt.Sprintf("mkdir -m 700 %s; mount -t tmpfs -o size=%s,mode=700 none %s", dir, size, dir))
	m.t.Cleanup(func() { exec.Command("umount", "-l", dir).Run() })
	return dir
}

// TestFullStore fills the vault's disk. What was written stays, the reason is told, and it is sent when there is room.
func TestFullStore(t *testing.T) {
	asRoot(t)
	m := newMachine(t)
	d := m.disk("disk", "16M")
	m.url = "dir:" + d + "/v"
	m.want(0, ".key", "vault", "init", m.url)
	m.mount()
	m.sh("head -c 40M /dev/urandom >$M/big; sha256sum <$M/big >sum")
	if out, code := m.megafs("sync", "--timeout", "10s", m.mnt); code == 0 {
		t.Fatal("it says that 40 MiB are on a disk of 16", out)
	}
	m.want(0, "full", "status")
	m.want(0, "full", "why", m.mnt+"/big")
	m.sh("sha256sum <$M/big | cmp - sum; echo small >$M/small; mount -o remount,size=200M " + d)
	m.want(0, "", "sync", "--timeout", "2m", m.mnt)
	m.umount()
	m.mount()
	m.sh("sha256sum <$M/big | cmp - sum; grep small $M/small")
	m.umount()
	m.want(0, "0 damaged", "vault", "verify", m.url)
}

// TestFullJournalDisk fills the disk of the state folder. Writes fail as on a full disk, and what was taken before is all there.
func TestFullJournalDisk(t *testing.T) {
	asRoot(t)
	m := newMachine(t)
	d := m.disk("disk", "64M")
	m.mount("--state", d+"/state")
	m.sh("echo kept >$M/kept; fallocate -l 1G " + d + "/ballast 2>/dev/null || dd if=/dev/zero of=" + d + "/ballast bs=1M 2>/dev/null || true")
	m.sh(`for i in $(seq 1000); do head -c 100000 /dev/urandom >$M/f 2>err || break; cp $M/f $M/f$i 2>err || break; sha256sum $M/f$i >>sums; done; grep -q "No space" err`)
	m.sh("sha256sum -c --quiet sums; grep kept $M/kept; stat $M/kept >/dev/null; ls $M >/dev/null; df $M >/dev/null")
	// What frees room, or needs none on a disk, is possible nevertheless.
	m.sh(`cd $M; rm f1; mv f2 moved; mv moved f2; chmod 600 f3; touch -d @1000000000 f3; chown 12:34 f3; truncate -s 100 f4; for i in $(seq 300); do mv f2 g; mv g f2; done
		if head -c 100000 /dev/zero >new 2>/dev/null; then echo there is room; exit 1; fi; grep -v '/f[14]$' ../sums >../sums2; mv ../sums2 ../sums`)
	m.kill9()
	m.mount("--state", d+"/state") // the disk is full still
	m.sh("sha256sum -c --quiet sums; grep kept $M/kept; stat $M/kept >/dev/null; test ! -e $M/f1; test $(stat -c %a%Y%s $M/f3 | cut -c1-13) = 6001000000000; test $(stat -c %s $M/f4) = 100")
	m.sh("rm " + d + "/ballast; sha256sum -c --quiet sums; grep kept $M/kept; echo on >$M/on; rm -f $M/f")
	m.want(0, "", "sync", "--timeout", "2m", m.mnt)
	m.umount()
	m.mount("--state", d+"/state")
	m.sh("sha256sum -c --quiet sums; grep kept $M/kept; grep on $M/on")
	m.umount()
	m.want(0, "0 damaged", "vault", "verify", "--state", d+"/state")
}

// TestFullCacheDisk fills the disk of the cache folder: what is written is kept, nothing is sent until there is room, and the mount goes on.
func TestFullCacheDisk(t *testing.T) {
	asRoot(t)
	m := newMachine(t)
	d := m.disk("disk", "64M")
	m.mount("--cache", d+"/cache")
	m.sh("echo kept >$M/kept")
	m.want(0, "", "sync", m.mnt)
	fill := "fallocate -l 1G " + d + "/ballast 2>/dev/null || dd if=/dev/zero of=" + d + "/ballast bs=1M 2>/dev/null || true"
	m.sh(fill + `; mkdir $M/d; for i in $(seq 300); do head -c 1500 /dev/urandom >$M/d/f$i; done; sha256sum $M/d/* >sums`)
	if out, code := m.megafs("sync", "--timeout", "1s", m.mnt); code == 0 {
		t.Error("it says that it sent what it can't take note of", out)
	}
	m.want(0, "nearly full", "status", m.mnt)
	m.sh("sha256sum -c --quiet sums; echo more >$M/more; grep kept $M/kept; rm " + d + "/ballast")
	m.want(0, "", "sync", "--timeout", "1m", m.mnt)
	m.sh(fill)
	m.umount()
	if out, code := m.megafs("mount", "--cache", d+"/cache", m.mnt); code == 0 || !strings.Contains(out, "nearly full") {
		t.Fatal(code, out)
	}
	m.sh("rm " + d + "/ballast")
	m.mount("--cache", d+"/cache")
	m.sh("sha256sum -c --quiet sums; grep more $M/more")
	m.umount()
}

// TestReadOnlyPending mounts a vault read-only while the journal has changes: they are shown, not sent, and sent by the next mount that may.
func TestReadOnlyPending(t *testing.T) {
	m := newMachine(t)
	m.mount()
	m.sh("echo a >$M/a")
	m.want(0, "", "sync", m.mnt)
	v := m.dirs(".local/share/megafs/vault")[0]
	if err := os.Rename(v, v+".away"); err != nil {
		t.Fatal(err)
	}
	m.sh("echo b >$M/b")
	m.kill9()
	if err := os.Rename(v+".away", v); err != nil {
		t.Fatal(err)
	}
	m.mount("--read-only")
	m.sh("grep b $M/b; ! touch $M/c")
	m.want(1, "without --read-only", "sync", m.mnt)
	m.want(0, "still to be sent", "umount", m.mnt)
	m.mount()
	m.umount()
}

// TestReadOnlyStore makes the vault's disk read-only under a mount, and back.
func TestReadOnlyStore(t *testing.T) {
	asRoot(t)
	m := newMachine(t)
	d := m.disk("disk", "64M")
	m.url = "dir:" + d + "/v"
	m.want(0, ".key", "vault", "init", m.url)
	m.mount()
	m.sh("echo one >$M/one")
	m.want(0, "", "sync", m.mnt)
	m.sh("mount -o remount,ro " + d + "; echo two >$M/two; cat $M/one $M/two")
	if out, code := m.megafs("sync", "--timeout", "5s", m.mnt); code == 0 {
		t.Fatal("it says that it sent to a read-only disk", out)
	}
	m.want(0, "read-only file system", "status")
	m.sh("mount -o remount,rw " + d)
	m.want(0, "", "sync", "--timeout", "2m", m.mnt)
	m.umount()
	m.mount()
	m.sh("grep two $M/two")
	m.umount()
}

// TestNoFuse mounts where the kernel's FUSE device is missing.
func TestNoFuse(t *testing.T) {
	asRoot(t)
	m := newMachine(t)
	out := m.sh(fmt.Sprintf("unshare -m bash -c 'mount -t tmpfs none /dev; mknod /dev/null c 1 3; %s mount %s; echo code $?; %s doctor' 2>&1 || true", bin, m.mnt, bin))
	for _, want := range []string{"there is no /dev/fuse", "modprobe fuse", "code 1", "BAD  fuse"} {
		if !strings.Contains(out, want) {
			t.Errorf("%q is missing in:\n%s", want, out)
		}
	}
	m.mount()
	m.umount()
}

// TestOrdinaryUser mounts as a user who may do nothing special, and where that user may not. It sees to it that users may open the
// FUSE device, as on most systems, in a world of mounts and processes of its own, which ends with it.
func TestOrdinaryUser(t *testing.T) {
	asRoot(t)
	m := newMachine(t)
	os.Chmod(filepath.Dir(m.home), 0o755) // the test's own
	for dir := m.home; dir != "/"; dir = filepath.Dir(dir) {
		if fi, err := os.Stat(dir); err != nil || fi.Mode()&1 == 0 {
			t.Skip("others can't reach ", dir)
		}
	}
	script := `set -eu
		mkdir dev u u/mnt theirs; cp "$BIN" megafs; chmod 755 megafs; chown -R 65534:65534 u
		mount -t tmpfs none dev; mknod -m 666 dev/fuse c 10 229; mount --bind dev/fuse /dev/fuse
		as() { setpriv --reuid=65534 --regid=65534 --clear-groups env HOME=$PWD/u XDG_RUNTIME_DIR=$PWD/u "$@" 2>&1; }
		says() { grep -qF "$1" out || { echo "not said: $1"; cat out; exit 1; }; }
		! as ./megafs mount $PWD/theirs >out; says "belongs to user 0"
		as ./megafs mount $PWD/u/mnt >out || { cat out; exit 1; }
		as sh -c "echo mine >u/mnt/f"; as test "$(as stat -c %u u/mnt/f)" = 65534
		if cat u/mnt/f 2>/dev/null; then echo root is another user, and reads; exit 1; fi
		as ./megafs umount --wait=1m $PWD/u/mnt >out; says "everything is sent"
		chmod 644 u/.config/megafs/*.key; ! as ./megafs mount $PWD/u/mnt >out; says "chmod 600"
		chmod 600 u/.config/megafs/*.key; chmod 777 u/.local/state/megafs/*; ! as ./megafs mount $PWD/u/mnt >out; says "chmod 700"
		chmod 700 u/.local/state/megafs/*; as ./megafs mount $PWD/u/mnt >out; as grep mine u/mnt/f; as ./megafs umount --wait u/mnt >out`
	c := m.command("unshare", "-m", "-p", "-f", "--mount-proc", "bash", "-c", script)
	c.Env, c.Dir = append(c.Env, "BIN="+bin), m.home
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
}

// TestBusy unmounts while the mount is in use, and mounts where something is mounted.
func TestBusy(t *testing.T) {
	m := newMachine(t)
	m.mount()
	other := "dir:" + filepath.Join(m.home, "other")
	m.want(0, "", "vault", "init", other)
	m.want(1, "mounted there already", "mount", "--remote", other, m.mnt)
	m.sh("echo x >$M/x")
	f, err := os.Open(m.mnt + "/x")
	if err != nil {
		t.Fatal(err)
	}
	m.want(1, fmt.Sprintf("(process %d)", os.Getpid()), "umount", m.mnt)
	if got := m.sh("cat $M/x"); got != "x\n" {
		t.Errorf("%q", got)
	}
	f.Close()
	m.umount()
	m.mount()
	m.sh("head -c 1M /dev/urandom >$M/y")
	m.want(0, "keyring", "vault", "info") // they look, so the vault may be mounted
	m.want(0, "0 damaged", "vault", "verify")
	m.want(1, fmt.Sprintf("process %d", m.pid()), "vault", "passwd", "--new-passphrase-file", os.DevNull)
	m.umount()
	m.want(0, "still pending", "help", "exit-codes")
	m.want(2, "options come before", "umount", m.mnt, "--wait")
	m.want(2, "over its own folders", "mount", "--remote", other, filepath.Join(m.home, "other"))
	m.want(1, "knows a vault", "vault", "init", other)
}

// TestSignals ends the serving process politely; the mount goes, and what was written stays.
func TestSignals(t *testing.T) {
	m := newMachine(t)
	for _, foreground := range []bool{false, true} {
		if foreground {
			c := m.command(bin, "mount", "--foreground", m.mnt)
			if err := c.Start(); err != nil {
				t.Fatal(err)
			}
			m.until("it is mounted", func() bool { return m.pid() == c.Process.Pid })
			m.sh("cat $M/f; echo more >>$M/f")
			c.Process.Signal(unix.SIGINT)
			if err := c.Wait(); err != nil {
				t.Error("the foreground process:", err)
			}
		} else {
			m.mount()
			m.sh("echo x >$M/f")
			p, err := watch(m.pid())
			if err != nil {
				t.Fatal(err)
			}
			unix.PidfdSendSignal(p.fd, unix.SIGTERM, nil, 0)
			if !p.wait(time.Minute) {
				t.Fatal("it does not end")
			}
			p.close()
		}
		if out, err := m.command("mountpoint", m.mnt).Output(); err == nil {
			t.Errorf("still mounted: %s", out)
		}
	}
	m.mount()
	if got := m.sh("cat $M/f"); got != "x\nmore\n" {
		t.Errorf("%q", got)
	}
	m.umount()
}

// until waits for something that has no event of its own.
func (m *machine) until(what string, ok func() bool) {
	m.t.Helper()
	for end := time.Now().Add(time.Minute); !ok(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			m.t.Fatalf("waited a minute until %s", what)
		}
	}
}

// TestMappedWrites writes into memory shared with a file and never says msync: sync sends it.
func TestMappedWrites(t *testing.T) {
	m := newMachine(t)
	m.mount()
	const size = 16 << 20
	m.sh(fmt.Sprintf("head -c %d /dev/zero >$M/mapped", size))
	f, err := os.OpenFile(m.mnt+"/mapped", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	mem, err := unix.Mmap(int(f.Fd()), 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Munmap(mem)
	want := bytes.Repeat([]byte("through memory."), size/15+1)[:size]
	copy(mem, want)
	m.want(0, "", "sync", m.mnt)
	m.kill9()
	m.wipe(".local/state/megafs/*")
	m.wipe(".cache/megafs/*")
	exec.Command("umount", "-l", m.mnt).Run()
	m.mount("--trust-first-use")
	b, err := os.ReadFile(m.mnt + "/mapped")
	if err != nil || !bytes.Equal(b, want) {
		t.Error("what sync waited for is not in the vault", err)
	}
	m.umount()
}
