package main

import (
	"fmt"
	"testing"
)

// TestPictures looks into a folder of pictures as a file manager does that shows a small version of each: it asks for names and attributes, reads the first bytes of what may be
// anything, and each picture from its start to its end. What else is in the folder, and in the same objects of the bucket, is not fetched.
func TestPictures(t *testing.T) {
	const pictures, size, films, long = 24, 2_000_000, 4, 16 << 20
	m, _, pass := onS3(t)
	m.mount("--passphrase-file", pass)
	m.sh(fmt.Sprintf(`mkdir $M/p; for i in $(seq %d); do head -c %d /dev/urandom >$M/p/$i.jpg; seq 200 >$M/p/$i.txt
		[ $((i %% %d)) != 0 ] || head -c %d /dev/urandom >$M/p/$i.mkv; done`, pictures, size, pictures/films, long))
	m.umount()
	m.wipe(".cache/megafs/*")
	m.mount("--passphrase-file", pass)
	var got [3]uint64
	for i, script := range []string{
		`test "$(ls -l --color=always $M/p | wc -l)" = 53; head -qc 4096 $M/p/*.mkv $M/p/*.txt >/dev/null`,
		`ls $M/p/*.jpg | xargs -P4 -I{} dd if={} of=/dev/null bs=64K status=none`,
		`ls $M/p/*.jpg | xargs -P4 -I{} dd if={} of=/dev/null bs=64K status=none`,
	} {
		before := m.status().BytesDown
		m.sh(script)
		got[i] = m.status().BytesDown - before
	}
	t.Logf("fetched: %d for the list, %d for pictures of %d, then %d", got[0], got[1], pictures*size, got[2])
	if got[0] > films*256<<10 || got[1] < pictures*size || got[1] > pictures*size*103/100 || got[2] > 64<<10 {
		t.Error("that is not what was looked at")
	}
	m.umount()
}

// TestDesktop does with gio, the library below many file managers, what they do: copies with attributes, renames, a move into the mount's own trash and back, a monitor.
// scripts/filemanager drives a real one.
func TestDesktop(t *testing.T) {
	m := newMachine(t)
	m.mount()
	m.sh(`export GIO_USE_VFS=local GIO_USE_VOLUME_MONITOR=unix; cd $M; mkdir d; echo a note >d/note; chmod 640 d/note; touch -d '2001-02-03 04:05:06.7' d/note
		gio set d/note xattr::seen yes; test "$(getfattr --only-values -n user.xdg.seen d/note 2>/dev/null || getfattr --only-values -n user.seen d/note)" = yes
		gio copy -p d/note d/copy; cmp d/note d/copy; test "$(stat -c '%a %Y' d/note)" = "$(stat -c '%a %Y' d/copy)"; gio info -a xattr::seen d/copy | grep -q yes
		gio rename d/copy renamed >/dev/null; test ! -e d/copy; gio move d/renamed d/moved; cmp d/note d/moved
		gio info -a access::can-trash d/note | grep -q TRUE
		ino=$(stat -c %i d/note); gio trash d/note; gio trash d; T=.Trash-$(id -u); test "$(stat -c %a $T)" = 700; test ! -e d
		grep -qx Path=d/note $T/info/note.trashinfo; test "$(stat -c %i $T/files/note)" = $ino # moved and not copied
		mv $T/files/d d; mv $T/files/note d/note; rm $T/info/*; test "$(cat d/note)" = 'a note'; rmdir $T/files $T/info $T
		mkdir e; gio monitor --dir=e >$HOME/seen & p=$!
		for i in $(seq 500); do touch e/x; grep -q 'e/x' $HOME/seen && break; sleep 0.02; done
		echo >e/new; for i in $(seq 500); do grep -q 'e/new.*created' $HOME/seen && break; sleep 0.02; done; kill $p; grep -q 'e/new.*created' $HOME/seen`)
	m.umount()
	m.mount()
	m.sh(`cd $M; test "$(ls -A)" = "d
e"; test "$(cat d/note d/moved)" = 'a note
a note'`)
	m.umount()
}
