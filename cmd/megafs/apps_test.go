package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// history writes a repository's history for git fast-import: commits that change, add and remove files of many sizes, merges, and tags.
const history = `
import random, sys
r = random.Random(7)
out = sys.stdout.buffer
files = {}
def blob(n): return b''.join(b'line %d of some text %d\n' % (i, r.getrandbits(20)) for i in range(n))
for c in range(1, COMMITS + 1):
    out.write(b'commit refs/heads/main\nmark :%d\ncommitter n <a@b> %d +0000\ndata 10\ncommit %03d\n' % (c, 1000000000 + c * 60, c % 1000))
    if c > 1: out.write(b'from :%d\n' % (c - 1))
    if c % 50 == 0: out.write(b'merge :%d\n' % (c - 25))
    for _ in range(4):
        name = b'd%d/s%d/file%d' % (r.randrange(12), r.randrange(6), r.randrange(12))
        if name in files and r.random() < .2:
            del files[name]; out.write(b'D ' + name + b'\n')
        else:
            b = files[name] = (files.get(name, b'') + blob(r.randrange(1, 40)))[-40000:]
            out.write((b'M 100755 ' if r.random() < .1 else b'M 100644 ') + b'inline ' + name + b'\ndata %d\n' % len(b) + b + b'\n')
    if c % 100 == 0: out.write(b'reset refs/tags/v%d\nfrom :%d\n\n' % (c // 100, c))
`

// TestGit clones a repository with a long history, goes to old versions, packs, repacks and checks it, clones it by hard links, and does it again after a remount. The
// repository is made for this, of 600 commits; MEGAFS_TEST_GIT names another, bare one.
func TestGit(t *testing.T) {
	m := newMachine(t)
	m.mount()
	m.sh(`git config --global user.email a@b; git config --global user.name n; git config --global safe.directory '*'; git config --global init.defaultBranch main; git config --global advice.detachedHead false`)
	repo := os.Getenv("MEGAFS_TEST_GIT")
	if repo == "" {
		repo = filepath.Join(m.home, "made.git")
		if err := os.WriteFile(filepath.Join(m.home, "history.py"), []byte(strings.Replace(history, "COMMITS", "600", 1)), 0o600); err != nil {
			t.Fatal(err)
		}
		m.sh(`git init -q --bare made.git; /usr/bin/python3 history.py | git -C made.git fast-import --quiet`)
	}
	m.sh(`git clone -q --no-local ` + repo + ` $M/r; cd $M/r; test -z "$(git status --porcelain)"
		head=$(git rev-parse HEAD)
		for tag in $(git tag | sort -R --random-source=/dev/zero | head -5); do git checkout -q -f $tag; test -z "$(git status --porcelain)"; git diff --quiet $tag; done
		git checkout -q -f $head; test -z "$(git status --porcelain)"
		git checkout -q -b work; for i in 1 2 3; do echo $i >>new; git add new; git commit -qm $i; done; git rebase -q --force-rebase HEAD~3; git stash list
		git gc -q --prune=now; git fsck --full --strict; git repack -adfq --window=1; git fsck
		git worktree add -q ../w HEAD~2; git -C ../w status --porcelain
		git clone -q --local . ../linked; test "$(stat -c %h ../linked/.git/objects/pack/*.pack | sort -u)" = 2 # by hard links
		git -C ../linked fsck; git count-objects -v >../counted`)
	m.umount()
	m.mount()
	m.sh(`cd $M/r; git fsck --full; git status --porcelain; test "$(git count-objects -v)" = "$(cat ../counted)"
		cd ../linked; git fsck; git checkout -q -f HEAD~5; test -z "$(git status --porcelain)"; cd ..; rm -rf r w; git -C linked fsck`)
	m.umount()
	m.want(0, "0 damaged", "vault", "verify")
}

// shared is a program that uses one database from many threads: it counts up rows of its own, reads those of all, and opens and closes connections.
const shared = `
import sqlite3, sys, threading, random
path, me, rounds = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
def work(k):
    r = random.Random(me * 100 + k)
    db = None
    for i in range(rounds):
        if db is None or r.random() < .1:
            if db: db.close()
            db = sqlite3.connect(path, timeout=120, isolation_level=None)
            db.execute('pragma journal_mode=wal'); db.execute('pragma wal_autocheckpoint=20'); db.execute('pragma synchronous=normal')
            db.execute('pragma mmap_size=%d' % r.choice([0, 1 << 24]))
        db.execute('begin immediate')
        n, = db.execute('select count(*) from t where p=? and k=?', (me, k)).fetchone()
        assert n == i, (n, i)
        db.execute('insert into t values(?, ?, ?, ?, ?)', (me, k, i, r.getrandbits(40), 'x' * r.randrange(600)))
        db.execute('update total set n = n + 1')
        db.execute('commit')
        db.execute('begin')
        a, = db.execute('select count(*) from t').fetchone()
        b, = db.execute('select n from total').fetchone()
        c, = db.execute('select count(*) from t indexed by ti where v >= 0').fetchone()
        assert a == b == c, (a, b, c)
        db.execute('commit')
        if r.random() < .03: assert db.execute('pragma quick_check').fetchone() == ('ok',)
        if r.random() < .03: db.execute('pragma wal_checkpoint(truncate)')
    db.close()
failed = []
threading.excepthook = lambda a: (failed.append(a), print(a.exc_type, a.exc_value, file=sys.stderr))
ts = [threading.Thread(target=work, args=(k,)) for k in range(3)]
for t in ts: t.start()
for t in ts: t.join()
sys.exit(1 if failed else 0)
`

// TestSharedDatabase lets processes with several threads each use one sqlite database with a write-ahead log, whose index is memory that all of them share.
func TestSharedDatabase(t *testing.T) {
	const processes, threads, rounds = 5, 3, 40
	m := newMachine(t)
	m.mount()
	program := filepath.Join(m.home, "shared.py")
	if err := os.WriteFile(program, []byte(shared), 0o600); err != nil {
		t.Fatal(err)
	}
	m.sh(`sqlite3 $M/db "pragma journal_mode=wal; create table t(p, k, i, v, x, primary key(p, k, i)); create index ti on t(v); create table total(n); insert into total values(0)"`)
	var all []*exec.Cmd
	for i := range processes {
		c := m.command("/usr/bin/python3", program, m.mnt+"/db", fmt.Sprint(i), fmt.Sprint(rounds))
		var out strings.Builder
		c.Stdout, c.Stderr = &out, &out
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		all = append(all, c)
	}
	for i, c := range all {
		if err := c.Wait(); err != nil {
			t.Errorf("process %d: %v\n%s", i, err, c.Stdout)
		}
	}
	check := func() {
		t.Helper()
		want := fmt.Sprintf("ok\n%d|%d\n", processes*threads*rounds, processes*threads*rounds)
		if got := m.sh(`sqlite3 $M/db "pragma integrity_check; select count(*), (select n from total) from t"`); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	check()
	m.umount()
	m.mount()
	check()
	m.umount()
}

// TestGoBuild builds with Go's caches on the mount, which has the sources too.
func TestGoBuild(t *testing.T) {
	m := newMachine(t)
	m.mount()
	mods, err := exec.Command("go", "list", "-m", "-f", "{{.Version}} {{.Dir}}", "golang.org/x/sync").Output()
	if err != nil {
		t.Fatal(err)
	}
	version, dir, _ := strings.Cut(strings.TrimSpace(string(mods)), " ")
	proxy := strings.TrimSuffix(dir, "/golang.org/x/sync@"+version) + "/cache/download"
	m.sh(fmt.Sprintf(`mkdir $M/src; cd $M/src; printf 'module x\n\ngo 1.24\n\nrequire golang.org/x/sync %s\n' >go.mod
		printf 'package main\n\nimport "golang.org/x/sync/singleflight"\n\nfunc main() {\n\tvar g singleflight.Group\n\tv, _, _ := g.Do("k", func() (any, error) { return "built", nil })\n\tprintln(v.(string))\n}\n' >main.go
		printf 'package main\n\nimport "testing"\n\nfunc TestMain2(t *testing.T) { main() }\n' >main_test.go
		export GOCACHE=$M/cache GOPATH=$M/go GOBIN=$M/bin GOPROXY=file://%s GONOSUMDB='*' GOFLAGS=-mod=mod GOTOOLCHAIN=local GOTMPDIR=$M/tmp; mkdir $M/tmp
		go install .; test "$($M/bin/x 2>&1)" = built; go vet .; go test . >/dev/null
		go build -o y -x . 2>&1 | grep -q compile && { echo built again; exit 1; } # all is in the cache
		echo '// changed' >>main.go; go build -o y .; ./y; go clean -modcache; test ! -e $M/go/pkg/mod/cache`, version, proxy))
	m.umount()
}

// TestPackage unpacks a Debian package with all kinds of modes, owners, links and times on the mount and on a disk. Times of
// directories are not compared: dpkg leaves some as they come.
func TestPackage(t *testing.T) {
	m := newMachine(t)
	m.mount()
	const show = `find . -printf '%y %m %U:%G %s %T@ %l %p\n' | sed 's/^\(d [^ ]* [^ ]*\) [^ ]* [^ ]*/\1/' | sort; find . -type f -links +1 -printf '%n %p\n' | sort; find . -type f -print0 | sort -z | xargs -0 sha256sum`
	m.sh(`mkdir -p p/DEBIAN p/usr/bin p/var/mail p/tmp p/etc/x; printf 'Package: x\nVersion: 1\nArchitecture: all\nMaintainer: n <a@b>\nDescription: x\n' >p/DEBIAN/control
		cp -L /bin/sh p/usr/bin/su; chmod 4755 p/usr/bin/su; ln p/usr/bin/su p/usr/bin/hard; ln -s su p/usr/bin/soft; ln -s /nowhere p/etc/dangling
		chgrp 8 p/var/mail; chmod 2775 p/var/mail; chmod 1777 p/tmp; echo secret >p/etc/x/shadow; chown 0:42 p/etc/x/shadow; chmod 640 p/etc/x/shadow; chmod 700 p/etc/x
		for i in $(seq 200); do echo $i >p/etc/x/$i; done; mkfifo p/tmp/fifo; mknod p/tmp/null c 1 3; find p -exec touch -h -d '2001-02-03 04:05:06' {} +
		dpkg-deb -b p x.deb >/dev/null; dpkg -x x.deb $M/x; dpkg -x x.deb x; dpkg-deb -b p $M/x.deb >/dev/null; dpkg -x $M/x.deb $M/y`)
	m.sh("(cd x; " + show + ") >want")
	for _, d := range []string{"x", "y"} {
		if out := m.sh("(cd $M/" + d + "; " + show + ") >got; diff want got || true"); out != "" {
			t.Errorf("on a disk and on the mount:\n%s", out)
		}
	}
	m.umount()
}

// TestEditors saves files in the ways editors do it, lets a program watch, and looks for files by number.
func TestEditors(t *testing.T) {
	m := newMachine(t)
	m.mount()
	m.sh(`cd $M
		for copy in yes no auto; do for backup in backup nobackup; do f=$copy-$backup; printf 'one\ntwo\n' >$f; chmod 640 $f; chown 12:34 $f; setfattr -n user.x -v y $f; ln $f hard-$f
			vi -e -s -u NONE -c "set nocp bsk= bkc=$copy $backup fsync" -c '%s/two/changed/' -c 'wq' $f
			test "$(cat $f)" = "one
changed"; test "$(stat -c '%a %u:%g' $f)" = "640 12:34"; test ! -e .$f.swp
			if [ $backup = backup ]; then test "$(cat $f~)" = "one
two"; fi; done; done
		echo old >f; cp -p f f.bak; echo new >f; test "$(cat f f.bak)" = "new
old" # a copy, then in place
		printf newer >.f.1; sync .f.1; ln f f.old; mv .f.1 f; sync .; test "$(cat f.old)" = new; test "$(cat f)" = newer # a link to the old, then renamed over
		sed -i.orig s/newer/newest/ f; test "$(cat f)$(cat f.orig)" = newestnewer
		perl -i -pe s/newest/last/ f; test "$(cat f)" = last
		head -c 5000000 /dev/urandom >big; cp --reflink=auto big copy; cmp big copy; sync; cp --reflink=auto --sparse=always big copy; cmp big copy
		if cp --reflink=always big never 2>/dev/null; then exit 1; fi
		test "$(find . -inum $(stat -c %i f))" = ./f; test "$(find . -samefile yes-backup | sort | tr '\n' ' ')" = "./hard-yes-backup ./yes-backup "
		test "$(ls -i f | cut -d' ' -f1)" = "$(stat -c %i f)"`)
	if got := m.sh(`cd $M; mkdir w; inotifywait -q -m --format '%e %f' w >$HOME/seen 2>$HOME/err & p=$!
		for i in $(seq 500); do touch w/started; [ -s $HOME/seen ] && break; sleep 0.01; done # it watches
		rm w/started; echo x >w/a; mv w/a w/b; chmod 600 w/b; mkdir w/d; rm w/b; rmdir w/d; touch w/last
		for i in $(seq 500); do grep -q 'CLOSE.* last' $HOME/seen && break; sleep 0.01; done
		kill $p; wait $p || true; sed '1,/DELETE started/d' $HOME/seen | grep -v last`); got != `CREATE a
OPEN a
MODIFY a
CLOSE_WRITE,CLOSE a
MOVED_FROM a
MOVED_TO b
ATTRIB b
CREATE,ISDIR d
DELETE b
DELETE,ISDIR d
` {
		t.Errorf("seen:\n%s", got)
	}
	m.umount()
}
