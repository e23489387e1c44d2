package fs

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"megafs/remote/remotetest"
)

// tree lists everything below a directory: types, modes, owners, sizes, times, targets, and the content's sum.
const tree = `find . -printf '%y %m %U:%G %n %s %T@ %l %p\n' | sed 's/^\(d [^ ]* [^ ]*\) [^ ]* [^ ]*/\1/' | sort
find . -type f -print0 | sort -z | xargs -0r sha256sum`

// TestTools does the same on a mount and on a disk, with the programs people use, and compares what is there afterwards.
func TestTools(t *testing.T) {
	t.Parallel()
	m := mount(t, remotetest.NewStore(), nil)
	src := t.TempDir()
	sh(t, src, 0, `
		mkdir -p a/b/c 'with space'; echo one >a/one; echo two >a/b/two; : >empty
		head -c 3000000 /dev/zero | tr '\0' x >large; truncate -s 10M sparse; printf end >>sparse
		ln -s ../one a/b/link; ln -s nowhere dangling; ln a/one 'with space/hard'; mkfifo fifo
		chmod 4755 a/one; chmod 1777 'with space'; chmod 0 empty; chown 12:34 a/b/two
		find . -depth -exec touch -h -d '2011-12-13 14:15:16.171819' {} + # rsync leaves alone what is right to the second
		touch -d '2001-02-03 04:05:06.789' a/b/two; touch -h -d '1969-01-01' dangling; touch -d '2050-01-01' a/b/c`)
	for _, x := range []struct{ name, script string }{
		{"cp", `cp -a "$SRC/." .`},
		{"rsync", `rsync -aHX "$SRC/" . && rsync -aHX --inplace --no-whole-file "$SRC/" . && test -z "$(rsync -aHXn --itemize-changes "$SRC/" .)"`},
		{"tar", `tar -C "$SRC" -cf - . | tar -xpf - && tar -cf ../archive.tar . && rm -rf ./* && tar -xpf ../archive.tar && rm ../archive.tar`},
		{"mv", `cp -a "$SRC/." ..stage && mv ..stage/* . && rm -r ..stage && touch -r "$SRC" .`},
	} {
		t.Run(x.name, func(t *testing.T) {
			var got [2]string
			for i, base := range []string{m.dir, t.TempDir()} {
				dir := base + "/" + x.name
				if err := os.Mkdir(dir, 0o755); err != nil {
					t.Fatal(err)
				}
				sh(t, dir, 0, "SRC="+src+"; "+x.script)
				got[i] = sh(t, dir, 0, tree)
			}
			if got[0] != got[1] {
				t.Errorf("on the mount:\n%s\non a disk:\n%s", got[0], got[1])
			}
		})
	}
	for _, x := range []struct{ name, needs, script string }{
		{"git", "git", `
			git init -q -b main . && mkdir d && for i in $(seq 50); do echo $i >d/f$i; done
			git add . && git commit -qm one && git checkout -qb other && rm -r d && echo x >g && git add -A && git commit -qm two
			git checkout -q main && test -f d/f50 && git merge -q other -m merged && git gc -q && git fsck --strict && test -z "$(git status --porcelain)"
			cd .. && git clone -q git git2 && test -f git2/g`},
		{"sqlite", "sqlite3", `
			for mode in delete wal; do
			sqlite3 $mode.db "pragma journal_mode=$mode; create table t(x); begin; insert into t with recursive n(i) as (select 1 union all select i+1 from n where i<5000) select i from n; commit; update t set x=x+1; vacuum;" >log
			test "$(sqlite3 $mode.db 'pragma integrity_check; select sum(x) from t')" = "ok
12507500"
			done`},
		{"save", "sh", `
			echo old >f; chmod 640 f
			echo new >.f.tmp && chmod --reference=f .f.tmp && sync .f.tmp && mv .f.tmp f && test "$(cat f)" = new # as editors do
			echo newer >f && test "$(cat f)" = newer && sed -i s/newer/newest/ f && test "$(cat f)" = newest
			(echo a >>log & echo b >>log & echo c >>log & wait) && test "$(sort log | tr -d '\n')" = abc`},
		{"remove", "sh", `mkdir -p a/b/c/d && for i in $(seq 300); do : >a/b/f$i; done && rm -rf a && test -z "$(ls -A)"`},
	} {
		t.Run(x.name, func(t *testing.T) {
			run(t, "/", 0, x.needs, "--version")
			dir := m.path(x.name)
			if err := os.Mkdir(dir, 0o755); err != nil {
				t.Fatal(err)
			}
			sh(t, dir, 0, x.script)
		})
	}
	if e := m.Stats().Errors; strings.Contains(fmt.Sprint(e), "failed") {
		t.Errorf("errors without a kind: %v", e)
	}
}
