package volume

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"time"

	"megafs/fs/acl"
	"megafs/remote"
)

// do does one command of a script, to the volume and to the model. Paths begin at the root, without a slash.
//
//	make P | mkdir P | symlink P | write P OFF LEN | trunc P SIZE | punch P OFF LEN | mode P OCTAL | owner P UID
//	xattr P NAME LEN | noxattr P NAME | rename P Q | exchange P Q | noreplace P Q | link P Q | copy P Q | unlink P | rmdir P
//	tmpfile H | open H P | hwrite H OFF LEN | hlink H P | close H       H is the name of a handle
//	fsync P | syncdir                                                   what was done before is durable
//	drain                                                               the remote has everything
//	wait MS                                                             time passes, and the engine sends what has settled
//	snapshot                                                            the remote stores a snapshot
//	what crashfiles_test.go has
//	kick                                                                the engine looks at once, nobody waits
func (l *life) do(cmd string) error {
	f := strings.Fields(cmd)
	arg := func(i int) int {
		n, err := strconv.Atoi(f[i])
		if err != nil {
			panic(cmd)
		}
		return n
	}
	v, m := l.v, l.model
	// at finds a path's directory, name and inode in both; the inode may not exist.
	at := func(i int) (dir remote.Ino, name string, ino remote.Ino, mdir, t *thing) {
		dir, mdir = remote.Root, m.root
		parts := strings.Split(f[i], "/")
		for _, p := range parts[:len(parts)-1] {
			dir, _ = v.tree.Lookup(dir, p)
			mdir = mdir.kids[p]
		}
		name = parts[len(parts)-1]
		ino, _ = v.tree.Lookup(dir, name)
		return dir, name, ino, mdir, mdir.kids[name]
	}
	write := func(ino remote.Ino, t *thing, off, n int) error {
		h, err := v.Open(ctx, ino, true, false)
		if err != nil {
			return err
		}
		defer h.Close()
		l.writes++
		data := pattern(n, l.writes)
		t.data = resize(t.data, max(len(t.data), off+n))
		copy(t.data[off:], data)
		_, err = h.WriteAt(ctx, data, uint64(off), false)
		return err
	}
	rename := func(flags uint32) error {
		p, pn, _, pd, old := at(1)
		q, qn, _, qd, other := at(2)
		if err := v.Rename(ctx, p, pn, q, qn, flags, Caller{}); err != nil || old == other {
			return err
		}
		if flags == RenameExchange {
			pd.kids[pn], qd.kids[qn] = other, old
			return nil
		}
		if other != nil {
			other.links--
		}
		delete(pd.kids, pn)
		qd.kids[qn] = old
		return nil
	}
	switch f[0] {
	case "make", "mkdir", "symlink":
		dir, name, _, md, _ := at(1)
		t := &thing{typ: remote.File, mode: 0o640, links: 1}
		target := ""
		switch f[0] {
		case "mkdir":
			t.typ, t.kids = remote.Dir, map[string]*thing{}
		case "symlink":
			t.typ, t.mode, t.target, target = remote.Symlink, 0o777, "to/"+name, "to/"+name
		}
		md.kids[name] = t
		if _, ok := md.xattrs[acl.Default]; ok && t.typ == remote.File {
			t.xattrs = map[string]string{acl.Access: string(crashList.Bytes())}
		}
		s, err := v.Make(ctx, dir, name, t.typ, 0o640, 0, target, Caller{UID: 7, GID: 8})
		if err == nil {
			v.Forget(s.Ino, 1)
		}
		return err
	case "write":
		_, _, ino, _, t := at(1)
		return write(ino, t, arg(2), arg(3))
	case "trunc":
		_, _, ino, _, t := at(1)
		size := uint64(arg(2))
		t.data = resize(t.data, arg(2))
		_, err := v.Setattr(ctx, ino, SetAttr{Size: &size})
		return err
	case "punch":
		_, _, ino, _, t := at(1)
		h, err := v.Open(ctx, ino, true, false)
		if err != nil {
			return err
		}
		defer h.Close()
		clear(t.data[min(len(t.data), arg(2)):min(len(t.data), arg(2)+arg(3))])
		return h.Allocate(ctx, punchHole|keepSize, uint64(arg(2)), uint64(arg(3)))
	case "mode", "owner":
		_, _, ino, _, t := at(1)
		set := SetAttr{}
		if f[0] == "mode" {
			n, err := strconv.ParseUint(f[2], 8, 16)
			if err != nil {
				panic(cmd)
			}
			mode := uint16(n)
			t.mode, set.Mode = mode, &mode
		} else {
			uid := uint32(arg(2))
			set.UID = &uid
		}
		_, err := v.Setattr(ctx, ino, set)
		return err
	case "xattr":
		_, _, ino, _, t := at(1)
		l.writes++
		val := pattern(arg(3), l.writes)
		if t.xattrs == nil {
			t.xattrs = map[string]string{}
		}
		t.xattrs["user."+f[2]] = string(val)
		return v.Setxattr(ctx, ino, "user."+f[2], val, 0)
	case "noxattr":
		_, _, ino, _, t := at(1)
		delete(t.xattrs, "user."+f[2])
		return v.Removexattr(ctx, ino, "user."+f[2])
	case "rename":
		return rename(0)
	case "noreplace":
		return rename(RenameNoReplace)
	case "exchange":
		return rename(RenameExchange)
	case "link":
		_, _, ino, _, t := at(1)
		dir, name, _, md, _ := at(2)
		t.links++
		md.kids[name] = t
		_, err := v.Link(ctx, ino, dir, name)
		if err == nil {
			v.Forget(ino, 1)
		}
		return err
	case "copy":
		_, _, from, _, src := at(1)
		_, _, to, _, dst := at(2)
		a, err := v.Open(ctx, from, false, false)
		if err != nil {
			return err
		}
		defer a.Close()
		b, err := v.Open(ctx, to, true, false)
		if err != nil {
			return err
		}
		defer b.Close()
		n, err := v.CopyRange(ctx, a, 0, b, 0, uint64(len(src.data)))
		if err == nil && n != uint64(len(src.data)) {
			err = fmt.Errorf("copied %d of %d", n, len(src.data))
		}
		dst.data = resize(dst.data, max(len(dst.data), len(src.data)))
		copy(dst.data, src.data)
		return err
	case "unlink", "rmdir":
		dir, name, _, md, t := at(1)
		t.links--
		delete(md.kids, name)
		if f[0] == "rmdir" {
			return v.Rmdir(ctx, dir, name)
		}
		return v.Unlink(ctx, dir, name)
	case "tmpfile":
		s, err := v.Tmpfile(ctx, remote.Root, 0o600, Caller{UID: 7, GID: 8})
		if err != nil {
			return err
		}
		h, err := v.Open(ctx, s.Ino, true, false)
		v.Forget(s.Ino, 1)
		l.handles[f[1]] = &held{h, &thing{typ: remote.File, mode: 0o600}}
		return err
	case "open":
		_, _, ino, _, t := at(2)
		h, err := v.Open(ctx, ino, true, false)
		l.handles[f[1]] = &held{h, t}
		return err
	case "hwrite":
		h := l.handles[f[1]]
		return write(h.Ino(), h.t, arg(2), arg(3))
	case "hlink":
		h := l.handles[f[1]]
		dir, name, _, md, _ := at(2)
		h.t.links++
		md.kids[name] = h.t
		_, err := v.Link(ctx, h.Ino(), dir, name)
		if err == nil {
			v.Forget(h.Ino(), 1)
		}
		return err
	case "close":
		l.handles[f[1]].Close()
		delete(l.handles, f[1])
		return nil
	case "fsync":
		_, _, ino, _, _ := at(1)
		h, err := v.Open(ctx, ino, true, false)
		if err != nil {
			return err
		}
		defer h.Close()
		return h.Sync(ctx)
	case "syncdir":
		return v.SyncDir(ctx, remote.Root)
	case "drain":
		return v.Drain(ctx)
	case "kick":
		v.eng.Kick()
		return nil
	case "wait":
		time.Sleep(time.Duration(arg(1)) * time.Millisecond) // in a bubble, of virtual time
		return nil
	case "snapshot":
		pos, err := v.o.Remote.Snapshot(ctx, v.tree.Position(), v.tree.Ops)
		if err != nil {
			return err
		}
		return v.tree.Apply(remote.Batch{Pos: pos})
	}
	return l.doFile(f, at, arg)
}

// held is an open file that a script goes on with, and what it is in the model.
type held struct {
	*Handle
	t *thing
}

func resize(b []byte, n int) []byte {
	return append(b[:min(len(b), n):min(len(b), n)], make([]byte, max(0, n-len(b)))...)
}

// isSync reports whether all that was done is durable once a command returned.
func isSync(cmd string) bool {
	op, _, _ := strings.Cut(cmd, " ")
	return op == "fsync" || op == "syncdir" || op == "drain"
}

// crashScripts are what is cut at every call.
var crashScripts = map[string]string{
	"create":      "make a; write a 0 3000; fsync a; make b; write b 0 100; syncdir; make c; drain; make d; fsync d",
	"replace":     "make a; write a 0 9000; fsync a; drain; make t; write t 0 12000; fsync t; rename t a; syncdir; drain; make t; write t 0 50; fsync t; rename t a; syncdir",
	"overwrite":   "make a; write a 0 15000; write a 15000 15000; write a 30000 10000; drain; write a 100 5; fsync a; write a 16000 900; drain; write a 20000 15000; fsync a; drain; write a 0 40; drain",
	"truncate":    "make a; write a 0 15000; write a 15000 15000; drain; trunc a 20000; fsync a; write a 25000 10; drain; trunc a 0; write a 0 10; fsync a; trunc a 17000; drain; trunc a 5",
	"names":       "mkdir d; make d/a; write d/a 0 5000; link d/a b; fsync b; drain; link b d/c; unlink d/a; syncdir; rename b d/b; drain; rename d e; unlink e/b; unlink e/c; rmdir e; syncdir; drain",
	"exchange":    "mkdir d; mkdir e; make d/x; write d/x 0 4000; make y; write y 0 3000; syncdir; exchange d/x y; syncdir; drain; exchange d e; exchange e/x y; drain; exchange d y; syncdir; drain",
	"attributes":  "make a; symlink s; xattr a k 300; mode a 600; fsync a; drain; xattr a k 20; xattr a l 4000; noxattr a k; owner a 12; mode a 4755; syncdir; drain; noxattr a l; mode s 777; unlink s; symlink s; drain",
	"tmpfile":     "tmpfile t; hwrite t 0 9000; syncdir; make o; write o 0 10; drain; hwrite t 9000 9000; hlink t a; syncdir; drain; close t; write a 0 10; drain",
	"unlinked":    "make a; write a 0 9000; drain; open h a; unlink a; syncdir; hwrite h 0 100; drain; hwrite h 5000 9000; make b; drain; close h; make a; write a 0 7; drain; unlink a; syncdir",
	"forward":     "tmpfile t; hwrite t 0 9000; hwrite t 4000 2000; make b; write b 0 15000; drain; write b 0 15000; write b 5 15000; drain; write b 0 15000; drain; hlink t c; syncdir; write b 1 15000; drain; close t",
	"held":        "make old; write old 0 3000; drain; make a; write a 0 15000; open h a; wait 1300; write old 5 5; wait 300; link a b; mkdir d; wait 300; rename b old; syncdir; wait 1500; close h; wait 1500; write a 3 3; drain",
	"temporary":   "make t; write t 0 15000; fsync t; unlink t; drain; make t; drain; write t 0 9000; unlink t; make t; write t 0 10; drain; make u; rename u t; unlink t; drain",
	"trim":        "make a; write a 0 15000; write a 0 15000; drain; write a 5 15000; fsync a; write a 9 15000; write a 0 10; drain; make b; write b 0 15000; write b 15000 15000; write b 30000 15000; drain; write b 0 15000; write a 0 15000; fsync a; drain",
	"snapshot":    "make a; write a 0 20; mkdir d; symlink d/s; drain; snapshot; make b; write b 0 3000; drain; xattr b x 10; drain; snapshot; rename b d/b; syncdir; drain",
	"sparse":      "make a; write a 60000 5000; drain; punch a 61000 2000; fsync a; write a 100000 10; drain; punch a 0 200000; drain; trunc a 300000; write a 17000 3; drain",
	"copies":      "make a; write a 0 15000; write a 15000 15000; drain; make b; copy a b; fsync b; drain; write b 7 7; write a 20000 4; drain; unlink a; drain; make c; write c 0 9000; copy c b; syncdir; drain",
	"commits":     "make a; drain; make b; drain; write a 0 10; drain; rename a c; drain; unlink b; drain; mkdir b; drain; rename c b/c; drain",
	"directories": "mkdir a; mkdir a/b; mkdir a/b/c; make a/b/c/f; syncdir; drain; rename a/b/c c; rename a c/a; syncdir; drain; rename c/a/b b; rename c b/c; drain; mkdir a; rename b/c/f a/f; rmdir b/c/a; rmdir b/c; rmdir b; drain",
	"kicks":       "mkdir d; kick; make a; kick; write a 0 9000; kick; mkdir e; wait 300; symlink d/s; wait 300; rename d/s e/s; wait 1500; exchange d e; wait 300; write a 0 15000; write a 15000 15000; wait 1500; drain",
	"reuse":       "make a; write a 0 9000; syncdir; unlink a; mkdir a; syncdir; drain; rmdir a; symlink a; drain; unlink a; make a; write a 0 30; syncdir; link a b; unlink a; mkdir a; rename b a/b; drain",
}

// generated is a script made from a seed: it only does what can be done.
func generated(seed uint64) string {
	rng := rand.New(rand.NewPCG(seed, 77))
	files, dirs, open := map[string]int{}, map[string]bool{}, map[string]bool{} // a file's size; empty directories' names
	var out []string
	say := func(f string, a ...any) { out = append(out, fmt.Sprintf(f, a...)) }
	some := func(m map[string]int) string {
		n := slices.Sorted(maps.Keys(m))
		if len(n) == 0 {
			return ""
		}
		return n[rng.IntN(len(n))]
	}
	say("mkdir d")
	free := func() string {
		for range 20 {
			n := string(rune('a' + rng.IntN(5)))
			if n == "d" {
				n = "d/x"
			}
			if _, ok := files[n]; !ok && !dirs[n] {
				return n
			}
		}
		return ""
	}
	for steps := 0; steps < 18; steps++ {
		a, b, n := some(files), some(files), free()
		switch k := rng.IntN(28); {
		case k < 3 && n != "":
			say("make %s", n)
			files[n] = 0
		case k < 8 && a != "":
			off, size := rng.IntN(40000), 1+rng.IntN(15000)
			if rng.IntN(2) == 0 {
				off, size = rng.IntN(50), 1+rng.IntN(200)
			}
			say("write %s %d %d", a, off, size)
			files[a] = max(files[a], off+size)
		case k == 8 && a != "":
			files[a] = rng.IntN(40000)
			say("trunc %s %d", a, files[a])
		case k == 9 && a != "" && files[a] > 0:
			say("punch %s %d %d", a, rng.IntN(files[a]), 1+rng.IntN(20000))
		case k == 10 && a != "":
			say("unlink %s", a)
			delete(files, a)
		case k == 11 && a != b && a != "":
			say("rename %s %s", a, b)
			files[b] = files[a]
			delete(files, a)
		case k == 12 && a != "" && n != "":
			say("rename %s %s", a, n)
			files[n] = files[a]
			delete(files, a)
		case k == 13 && a != b && a != "":
			say("exchange %s %s", a, b)
			files[a], files[b] = files[b], files[a]
		case k == 14 && a != "":
			say("xattr %s k%d %d", a, rng.IntN(2), rng.IntN(500))
		case k == 15 && a != "":
			say("mode %s %o", a, rng.IntN(0o1000))
		case k == 16 && a != "" && !open["h"]:
			say("open h %s", a)
			open["h"] = true
		case k == 17 && open["h"]:
			say("hwrite h %d %d", rng.IntN(3000), 1+rng.IntN(9000))
		case k == 18 && !open["t"]:
			say("tmpfile t")
			say("hwrite t 0 %d", 1+rng.IntN(9000))
			open["t"] = true
		case k == 18 && n != "":
			say("hlink t %s", n)
			say("close t")
			files[n] = 9000
			delete(open, "t")
		case k == 19:
			say("wait %d", []int{300, 1200, 2000}[rng.IntN(3)])
		case k == 20:
			say("syncdir")
		case k == 21:
			say("drain")
		case k == 22 && a != "":
			off, size := rng.IntN(40000), 1+rng.IntN(20000)
			say("alloc %s %d %d %d", a, []int{0, 1, 16, 17}[rng.IntN(4)], off, size)
		case k == 23 && a != "":
			say("append %s %d", a, 1+rng.IntN(15000))
		case k == 24 && a != "":
			say("reopen %s", a)
			files[a] = 0
		case (k == 25 || k == 26) && a != "" && a != b:
			off := rng.IntN(30000)
			say("part %s %s %d %d %d", a, b, []int{0, rng.IntN(files[a] + 1)}[rng.IntN(2)], off, 1+rng.IntN(15000))
			files[b] = max(files[b], off)
		case k == 27 && a != "":
			say("times %s %d", a, rng.IntN(1000))
		default:
			steps--
		}
	}
	say("drain")
	return strings.Join(out, "; ")
}
