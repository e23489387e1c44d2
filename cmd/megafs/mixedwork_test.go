package main

import (
	"bytes"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// named is a worker and what it is called.
type named struct {
	name string
	worker
}

// workers makes the workers, each with a folder of its own.
func (x *mixed) workers(root string) (out []named) {
	add := func(name string, w func(dir string, rng *rand.Rand) worker) {
		dir := filepath.Join(root, name)
		if err := os.Mkdir(dir, 0o755); err != nil {
			x.t.Fatal(err)
		}
		out = append(out, named{name, w(dir, rand.New(rand.NewPCG(x.seed, uint64(len(out)+1))))})
	}
	src := strings.TrimSpace(x.sh("go env GOROOT")) + "/src/encoding"
	add("trees", func(dir string, rng *rand.Rand) worker { return &trees{x: x, dir: dir, src: src, rng: rng} })
	add("git", func(dir string, rng *rand.Rand) worker { return &gitWork{x: x, dir: dir, rng: rng} })
	for _, mode := range []string{"wal", "delete"} {
		add("sqlite-"+mode, func(dir string, rng *rand.Rand) worker { return &sqlWork{x: x, dir: dir, mode: mode, rng: rng} })
	}
	add("log", func(dir string, rng *rand.Rand) worker { return &appends{path: dir + "/log", rng: rng} })
	add("saves", func(dir string, rng *rand.Rand) worker { return &saves{dir: dir, rng: rng, acked: map[int]int{}} })
	add("blocks", func(dir string, rng *rand.Rand) worker { return &blocks{path: dir + "/file", rng: rng} })
	return out
}

// trees copies a tree with cp -a and removes older copies. A copy that cp said was done is there, one that rm said is gone is not.
type trees struct {
	x         *mixed
	dir, src  string
	rng       *rand.Rand
	n         int
	done      []string // whole copies
	uncertain []string // begun, or being removed
}

func (w *trees) step() error {
	if len(w.done) >= 3 {
		i := w.rng.IntN(len(w.done))
		name := w.done[i]
		w.done = append(w.done[:i], w.done[i+1:]...)
		w.uncertain = []string{name}
		if _, err := w.x.do(w.dir, "rm -rf $D/"+name); err != nil {
			return err
		}
		w.uncertain = nil
	}
	w.n++
	name := fmt.Sprint("copy", w.n)
	w.uncertain = []string{name}
	script := fmt.Sprintf("cp -a %s $D/%s", w.src, name)
	if w.rng.IntN(2) == 0 {
		script = fmt.Sprintf("cp -a %s $D/part%d; mv $D/part%d $D/%s", w.src, w.n, w.n, name)
		w.uncertain = append(w.uncertain, fmt.Sprint("part", w.n))
	}
	if _, err := w.x.do(w.dir, script); err != nil {
		return err
	}
	w.uncertain, w.done = nil, append(w.done, name)
	return w.compare(name)
}

func (w *trees) compare(name string) error {
	out, err := w.x.do(w.dir, fmt.Sprintf("rsync -aniHc --delete %s/ $D/%s/", w.src, name))
	if err == nil && out != "" {
		err = fmt.Errorf("%s differs from its source:\n%.2000s", name, out)
	}
	return err
}

func (w *trees) check() error {
	want := map[string]bool{}
	for _, name := range w.done {
		if err := w.compare(name); err != nil {
			return err
		}
		want[name] = true
	}
	for _, name := range w.uncertain {
		if _, err := w.x.do(w.dir, "rm -rf $D/"+name); err != nil {
			return err
		}
	}
	list, err := os.ReadDir(w.dir)
	for _, e := range list {
		if !want[e.Name()] {
			return fmt.Errorf("%s is there again", e.Name())
		}
	}
	return err
}

// gitWork commits. What git said is committed is there, and the repository whole.
type gitWork struct {
	x    *mixed
	dir  string
	rng  *rand.Rand
	made bool
	head string // the latest commit that git reported
}

func (w *gitWork) step() error {
	if !w.made {
		if _, err := w.x.do(w.dir, "rm -rf $D/r; git init -q -b main $D/r; cd $D/r; echo begun >begun; git add .; git commit -qm begun"); err != nil {
			return err
		}
		w.made = true
	}
	script := fmt.Sprintf(`cd $D/r
		for i in 1 2 3 4 5; do seq %d >>file$((%d+i)); done; head -c %d /dev/urandom >random%d; git add -A; git commit -qm "change"`,
		w.rng.IntN(500)+1, w.rng.IntN(40), w.rng.IntN(50_000), w.rng.IntN(10))
	switch w.rng.IntN(8) {
	case 0:
		script += "; git gc -q; git fsck --strict --no-dangling"
	case 1:
		script += "; git checkout -q -b side HEAD~1; echo side >>side; git add side; git commit -qm side; git checkout -q main; git merge -q -m merged side; git branch -q -D side"
	case 2:
		script += "; git clone -q . ../c; git -C ../c fsck --strict --no-dangling; rm -rf ../c"
	}
	out, err := w.x.do(w.dir, script+"; git status --short; git rev-parse HEAD")
	if err != nil {
		return err
	}
	lines := strings.Split(strings.TrimSpace(out), "\n")
	w.head = lines[len(lines)-1]
	if len(lines) > 1 {
		return fmt.Errorf("git status: %s", out)
	}
	return nil
}

func (w *gitWork) check() error {
	if !w.made {
		return nil
	}
	script := `cd $D/r; find .git -name '*.lock' -delete; rm -f .git/gc.pid; rm -rf ../c; git fsck --strict --no-dangling`
	if w.head != "" {
		script += "; git merge-base --is-ancestor " + w.head + " main"
	}
	_, err := w.x.do(w.dir, script+"; git reset -q --hard; git clean -qfd; git checkout -q main; git branch -q -D side 2>/dev/null || true")
	return err
}

// sqlWork inserts into a database. What is committed is there, what is not is not, and the database is whole.
type sqlWork struct {
	x         *mixed
	dir, mode string
	rng       *rand.Rand
	acked     int // rows that are committed
	flying    int // rows of a transaction of which nobody knows
}

func (w *sqlWork) step() error {
	w.flying = w.rng.IntN(100) + 1
	extra := ""
	if w.rng.IntN(10) == 0 {
		extra = "vacuum;"
	}
	out, err := w.x.do(w.dir, fmt.Sprintf(`sqlite3 -bail $D/db "pragma journal_mode=%s; create table if not exists t(a integer primary key, b blob);
		begin; insert into t(b) select randomblob(%d) from generate_series(1,%d); commit; %s select count(*) from t;"`, w.mode, w.rng.IntN(2000), w.flying, extra))
	if err != nil {
		return err
	}
	return w.counted(out, w.flying)
}

func (w *sqlWork) counted(out string, more ...int) error {
	lines := strings.Fields(out)
	n, err := strconv.Atoi(lines[len(lines)-1])
	if err != nil {
		return fmt.Errorf("%w: %q", err, out)
	}
	for _, m := range more {
		if n == w.acked+m {
			w.acked, w.flying = n, 0
			return nil
		}
	}
	return fmt.Errorf("%d rows; %d were committed, and %d perhaps", n, w.acked, w.flying)
}

func (w *sqlWork) check() error {
	out, err := w.x.do(w.dir, `[ -e $D/db ] || { echo ok 0; exit; }; sqlite3 -bail $D/db "create table if not exists t(a integer primary key, b blob); pragma integrity_check; select count(*) from t;"`)
	if err != nil {
		return err
	}
	if !strings.HasPrefix(out, "ok") {
		return fmt.Errorf("integrity_check: %s", out)
	}
	return w.counted(out, 0, w.flying)
}

// appends writes lines to the end of a file, with fsync now and then. All that write(2) took are there, in order and once, and nothing else but the line
// that was on its way.
type appends struct {
	path  string
	rng   *rand.Rand
	acked int
}

func line(n int) []byte {
	s := fmt.Sprintf("%d %s", n, strings.Repeat("x", n*7919%300))
	return fmt.Appendf(nil, "%s %08x\n", s, crc32.ChecksumIEEE([]byte(s)))
}

func (w *appends) step() (err error) {
	f, err := os.OpenFile(w.path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o644)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	for range w.rng.IntN(200) {
		if _, err := f.Write(line(w.acked)); err != nil {
			return err
		}
		w.acked++
		if w.rng.IntN(20) == 0 {
			if err := f.Sync(); err != nil {
				return err
			}
		}
	}
	return nil
}

func (w *appends) check() error {
	b, err := os.ReadFile(w.path)
	if w.acked == 0 && errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	n := 0
	for rest := b; len(rest) > 0; n++ {
		l := line(n)
		if !bytes.HasPrefix(rest, l) {
			return fmt.Errorf("line %d of %d that were written is not there: %.60q", n, w.acked, rest)
		}
		rest = rest[len(l):]
	}
	if n != w.acked && n != w.acked+1 {
		return fmt.Errorf("%d lines, %d were written", n, w.acked)
	}
	w.acked = n
	return nil
}

// saves writes files as editors do: a new file, fsync, a rename over the old one. A file is always one of its versions, and none before the one that was saved last.
type saves struct {
	dir    string
	rng    *rand.Rand
	next   int
	acked  map[int]int // file: version
	flying [2]int      // file and version on its way
}

const savedFiles = 12

func saved(file, v int) []byte {
	seed := rand.NewPCG(uint64(file), uint64(v))
	return append(fmt.Appendf(nil, "%d %d ", file, v), bytes.Repeat([]byte{byte('a' + v%26)}, int(seed.Uint64()%60_000))...)
}

func (w *saves) path(file int) string { return filepath.Join(w.dir, fmt.Sprint("f", file)) }

func (w *saves) step() error {
	file := w.rng.IntN(savedFiles)
	w.next++
	w.flying = [2]int{file, w.next}
	tmp := w.path(file) + ".tmp"
	f, err := os.Create(tmp)
	if err != nil {
		return err
	}
	_, err = f.Write(saved(file, w.next))
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(tmp, w.path(file))
	}
	if err != nil {
		return err
	}
	w.acked[file] = w.next
	b, err := os.ReadFile(w.path(file))
	if err == nil && !bytes.Equal(b, saved(file, w.next)) {
		err = fmt.Errorf("file %d is not what was saved", file)
	}
	return err
}

func (w *saves) check() error {
	for file := range savedFiles {
		b, err := os.ReadFile(w.path(file))
		old := w.acked[file]
		switch {
		case errors.Is(err, os.ErrNotExist) && old == 0:
		case err != nil:
			return err
		case w.flying[0] == file && bytes.Equal(b, saved(file, w.flying[1])):
			w.acked[file] = w.flying[1]
		case !bytes.Equal(b, saved(file, old)):
			return fmt.Errorf("file %d is not its version %d: %d bytes, %.20q", file, old, len(b), b)
		}
	}
	return nil
}

// blocks overwrites parts of a file, and cuts it and lets it grow again. What a call did that returned is there. Of a write on its way there is some part from
// its start on: the kernel may hand it over in several requests, where pages end.
type blocks struct {
	path   string
	rng    *rand.Rand
	model  []byte
	flying *edit // what was being done, nil when nothing
}

// edit is a write, or a truncation to size when it has no bytes.
type edit struct {
	off  int
	b    []byte
	size int
}

// apply returns a copy with the edit made, but of a write only its first n bytes.
func (e *edit) apply(m []byte, n int) []byte {
	if e.b == nil {
		return resized(m, e.size)
	}
	if n == 0 {
		return m
	}
	m = resized(m, max(len(m), e.off+n))
	copy(m[e.off:], e.b[:n])
	return m
}

const blocksSize = 4 << 20

func (w *blocks) step() (err error) {
	f, err := os.OpenFile(w.path, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	for range w.rng.IntN(30) {
		if w.rng.IntN(20) == 0 {
			size := w.rng.IntN(blocksSize)
			w.flying = &edit{size: size}
			err = f.Truncate(int64(size))
		} else {
			off, b := w.rng.IntN(blocksSize), make([]byte, w.rng.IntN(100_000)+1)
			fill := byte(w.rng.IntN(256))
			for i := range b {
				b[i] = fill + byte(i/1000)
			}
			w.flying = &edit{off: off, b: b}
			_, err = f.WriteAt(b, int64(off))
		}
		if err != nil {
			return err
		}
		w.model, w.flying = w.flying.apply(w.model, len(w.flying.b)), nil
		if w.rng.IntN(10) == 0 {
			if err := f.Sync(); err != nil {
				return err
			}
		}
	}
	if len(w.model) == 0 {
		return nil
	}
	off := w.rng.IntN(len(w.model))
	b := make([]byte, min(len(w.model)-off, 200_000))
	if _, err := f.ReadAt(b, int64(off)); err != nil && err != io.EOF {
		return err
	}
	if !bytes.Equal(b, w.model[off:][:len(b)]) {
		return fmt.Errorf("%d bytes at %d are not what was written", len(b), off)
	}
	return nil
}

// resized returns a copy of another length.
func resized(m []byte, n int) []byte {
	out := make([]byte, n)
	copy(out, m)
	return out
}

func (w *blocks) check() error {
	b, err := os.ReadFile(w.path)
	if errors.Is(err, os.ErrNotExist) && w.model == nil {
		return nil
	}
	if err != nil {
		return err
	}
	if bytes.Equal(b, w.model) {
		w.flying = nil
		return nil
	}
	if e := w.flying; e != nil {
		n := 0
		for n < len(e.b) && e.off+n < len(b) && b[e.off+n] == e.b[n] {
			n++
		}
		if after := e.apply(w.model, n); bytes.Equal(b, after) {
			w.model, w.flying = after, nil
			return nil
		}
		return fmt.Errorf("%s; on its way were %d bytes at %d", differ(b, w.model), len(e.b), e.off)
	}
	return errors.New(differ(b, w.model))
}

// differ says where two contents differ.
func differ(a, b []byte) string {
	var out []string
	for i := 0; i < min(len(a), len(b)); i++ {
		if a[i] == b[i] {
			continue
		}
		from, zero := i, true
		last := i
		for ; i < min(len(a), len(b)) && i-last < 2000; i++ {
			if a[i] != b[i] {
				last = i
				zero = zero && a[i] == 0
			}
		}
		out = append(out, fmt.Sprintf("[%d,%d) zero %v", from, last+1, zero))
	}
	return fmt.Sprintf("lengths %d and %d, other bytes at %s", len(a), len(b), strings.Join(out, " "))
}
