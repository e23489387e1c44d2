package fs

import (
	"strings"
	"testing"

	"megafs/remote/remotetest"
)

// TestMountTools does with the mount what mount(8) can do with one: makes it read-only and writable again while it is used, binds parts of it elsewhere, moves it, lays it under
// and over others, and mounts a file of it.
func TestMountTools(t *testing.T) {
	m := mount(t, remotetest.NewStore(), nil)
	const start = `mount --make-rprivate /; cd /; no() { if "$@" 2>/dev/null; then echo "should fail: $*"; exit 1; fi; }
		`
	for _, x := range []struct{ name, script string }{
		{"remount", `echo x >$M/f; exec 3<$M/f
			mount -i -o remount,ro $M; no touch $M/g; no rm $M/f; no sh -c ": >>$M/f"; cat $M/f; mount -i -o remount,rw $M; touch $M/g; rm $M/f $M/g
			mount -i -o remount,noexec,noatime $M; grep " $M " /proc/mounts | grep -q noexec,noatime; mount -i -o remount,exec,relatime $M`},
		{"bind", `mkdir $M/a $M/b; echo x >$M/a/f; mount --bind $M/a $M/b; test "$(cat $M/b/f)" = x; mount -o remount,bind,ro $M/b; no touch $M/b/g; echo y >$M/a/f
			test "$(cat $M/b/f)" = y; no ln $M/a/f $M/b/l; no rmdir $M/b; umount $M/b; rm -r $M/a $M/b`},
		{"move", `echo x >$M/f; mount --move $M $D; test "$(cat $D/f)" = x; mount --move $D $M; rm $M/f`},
		{"overlay", `mkdir $M/low $M/up $M/work; echo l >$M/low/l; echo g >$M/low/gone; mkdir $M/low/d; echo i >$M/low/d/i
			for kind in xino=off userxattr; do
			mount -t overlay o -o $kind,lowerdir=$M/low,upperdir=$M/up,workdir=$M/work $D
			echo more >>$D/l; rm $D/gone; rm -r $D/d; mkdir $D/d; echo new >$D/d/n; mv $D/l $D/l2; test "$(ls $D)" = "d
l2"; test "$(ls $D/d)" = n; umount $D
			test "$(cat $M/up/l2)" = "l
more"; test "$(cat $M/low/*l $M/low/gone $M/low/d/i | tr -d '\n')" = lgi; rm -r $M/up $M/work; mkdir $M/up $M/work; done
			mkdir $D/u $D/w $D/o; mount -t overlay o -o lowerdir=$M/low,upperdir=$D/u,workdir=$D/w $D/o; rm $D/o/gone; test "$(cat $D/o/l)" = l; umount $D/o; rm -r $M/low $M/up $M/work`},
		{"loop", `losetup -f >/dev/null 2>&1 || exit 0 # no such devices here
			truncate -s 64M $M/disk; mkfs.ext4 -q $M/disk; mount -o loop $M/disk $D; cp -a /etc/apt $D/; umount $D; e2fsck -fn $M/disk >/dev/null 2>&1
			mount -o loop,ro $M/disk $D; diff -r /etc/apt $D/apt; umount $D; rm $M/disk`},
	} {
		t.Run(x.name, func(t *testing.T) {
			d := t.TempDir()
			out, err := run(t, "/", 0, "unshare", "-m", "bash", "-euo", "pipefail", "-c", start+"M="+m.dir+" D="+d+"\n"+x.script)
			if err != nil && strings.Contains(out, "unshare") {
				t.Skipf("no mounts of one's own here: %s", out)
			}
			if err != nil {
				t.Errorf("%v: %s", err, out)
			}
		})
	}
}
