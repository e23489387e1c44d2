package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"megafs/remote/megaserver/megatest"
)

// changes are made in the mount: renames, moves, removals and new contents.
func (x *crossing) changes() {
	x.m.sh("mkdir $M/both")
	x.goes(
		ours{"a folder", "mkdir $M/both/in", "both/in", true, nil},
		ours{"a file", "echo hello >$M/both/file", "both/file", true, 6},
		ours{"a file in a new folder", "mkdir $M/both/dir; echo hello >$M/both/dir/file", "both/dir/file", true, 6},
		ours{"a file that another one will be moved over", "echo something >$M/both/over", "both/over", true, 10},
	)
	x.goes(
		ours{"new content", "echo hello again >$M/both/file", "both/file", true, 12},
		ours{"a folder that moves", "mv $M/both/dir $M/both/in/moved", "both/in/moved/file", true, 6},
		ours{"one file over another", "echo x >$M/both/tmp; mv $M/both/tmp $M/both/over", "both/over", true, 2},
	)
	x.goes(
		ours{"what was appended", "echo more >>$M/both/file", "both/file", true, 17},
		ours{"a rename", "mv $M/both/over $M/both/renamed", "both/renamed", true, 2},
		ours{"a move", "mv $M/both/in/moved/file $M/both/in/", "both/in/file", true, 6},
	)
	x.goes(ours{"a rename and a move in one", "mv $M/both/file $M/both/in/moved/new", "both/in/moved/new", true, 17})
	x.m.want(0, "", "sync", x.m.mnt)
	x.listed("both")
	x.goes(
		ours{"a removal", "rm $M/both/in/moved/new", "both/in/moved/new", false, nil},
		ours{"a folder that is removed", "rmdir $M/both/in/moved", "both/in/moved", false, nil},
		ours{"a folder that is removed with what is in it", "rm -r $M/both/in", "both/in", false, nil},
	)
	x.listed("both")
}

// listed holds what rclone and megatools list against what the mount does.
func (x *crossing) listed(dir string) {
	x.Helper()
	want := x.m.sh(fmt.Sprintf("cd $M/%s; find . -mindepth 1 -printf '%%P\\n' | LC_ALL=C sort", dir))
	if got := inOrder(strings.ReplaceAll(x.rclone("lsf", "-R", "m:"+dir), "/\n", "\n")); got != want {
		x.Fatalf("rclone lists\n%sthe mount\n%s", got, want)
	}
	if got := inOrder(strings.ReplaceAll(strings.ReplaceAll(x.tools("ls", "-R", "/Root/"+dir), "/Root/"+dir+"/", ""), "/Root/"+dir+"\n", "")); got != want {
		x.Fatalf("megatools lists\n%sthe mount\n%s", got, want)
	}
}

func inOrder(lines string) string {
	return strings.Join(slices.Sorted(strings.Lines(lines)), "")
}

// theirChanges are made by the others.
func (x *crossing) theirChanges() {
	small, big := x.File("small", megatest.Pattern(100)), x.File("big", megatest.Pattern(200_000))
	is := func(path string, size int, gone string) func() bool {
		return func() bool { return x.holds(path, size) && (gone == "" || x.gone(gone)) }
	}
	x.m.sh("cd $M/both; echo old >new; echo old >tool")
	x.m.want(0, "", "sync", x.m.mnt)
	x.comes(
		theirs{"megajs's folder", func() { x.js.call("mkdir", "both", "theirs") }, func() bool { return !x.gone("both/theirs") }},
		theirs{"megajs's file in it", func() { x.js.call("put", "both/theirs", "file", small) }, is("both/theirs/file", 100, "")},
		theirs{"megajs's file", func() { x.js.call("put", "both", "moves", small) }, is("both/moves", 100, "")},
		theirs{"rclone's new content", func() { x.rclone("copyto", big, "m:both/new") }, is("both/new", 200_000, "")},
		theirs{"megatools's file", func() { x.tools("put", "--no-progress", "--path", "/Root/both/tools", big) }, is("both/tools", 200_000, "")},
		theirs{"megatools's removal", func() { x.tools("rm", "/Root/both/tool") }, func() bool { return x.gone("both/tool") }},
	)
	x.m.sh(fmt.Sprintf("cd $M/both; cmp %[1]q theirs/file; cmp %[1]q moves; cmp %[2]q new; cmp %[2]q tools", small, big))
	x.comes(
		theirs{"megajs's rename", func() { x.js.call("rename", "both/theirs/file", "renamed") }, is("both/theirs/renamed", 100, "both/theirs/file")},
		theirs{"megajs's move", func() { x.js.call("move", "both/moves", "both/theirs") }, is("both/theirs/moves", 100, "both/moves")},
		theirs{"rclone's move with another name", func() { x.rclone("moveto", "m:both/tools", "m:both/theirs/moved") }, is("both/theirs/moved", 200_000, "both/tools")},
	)
	x.comes(
		theirs{"rclone's rename of a folder", func() { x.rclone("moveto", "m:both/theirs", "m:both/ours") }, is("both/ours/renamed", 100, "both/theirs")},
		theirs{"megajs's removal", func() { x.js.call("rm", "both/new") }, func() bool { return x.gone("both/new") }},
		theirs{"rclone's removal", func() { x.rclone("deletefile", "m:both/ours/moved") }, func() bool { return !x.gone("both/ours") && x.gone("both/ours/moved") }},
	)
	x.comes(theirs{"megatools's removal of a folder", func() { x.tools("rm", "/Root/both/ours") }, func() bool { return x.gone("both/ours") }})
	x.listed("both")
}

// twins are files of one name, as megajs makes them, which replaces nothing; and files that another removes while they are open here.
func (x *crossing) twins() {
	x.m.sh("echo old >$M/both/twice.txt; head -c 300000 /dev/urandom >open; cp open $M/both/open")
	x.js.call("until", []any{[]any{"both/twice.txt", true, 4}, []any{"both/open", true, 300000}})
	f, err := os.Open(x.mnt("both/open"))
	if err != nil {
		x.Fatal(err)
	}
	defer f.Close()
	time.Sleep(time.Until(time.Now().Truncate(time.Second).Add(time.Second))) // nodes' ages are in seconds
	files := func(n int) func() bool {
		return func() bool { d, _ := filepath.Glob(x.mnt("both/twice*.txt")); return len(d) == n }
	}
	x.comes(
		theirs{"megajs's file of a name that is taken", func() { x.js.call("put", "both", "twice.txt", x.File("up", []byte("new content\n"))) }, files(2)},
		theirs{"the removal of a file that is open", func() { x.js.call("rm", "both/open") }, func() bool { return x.gone("both/open") }},
	)
	x.m.sh(fmt.Sprintf(`cd $M/both; test "$(cat twice.txt)" = old; test "$(cat twice\ *.txt)" = "new content"; cmp ~/open /proc/%d/fd/%d`, os.Getpid(), f.Fd()))
	x.comes(theirs{"that the older of the two goes", func() { x.js.call("rm", "both/twice.txt", true) }, files(1)})
	x.m.sh(`test "$(cat $M/both/twice.txt)" = "new content"`)
}

// metadata is what only the mount knows: others keep it when they keep attributes that they don't know, and else it is gone, without harm to the file.
func (x *crossing) metadata() {
	x.m.sh(`cd $M; mkdir meta; for f in kept renamed replaced; do echo "$f" >meta/$f; chmod 640 meta/$f; setfattr -n user.k -v v meta/$f; touch -d @1000000000.123456789 meta/$f; done; ln -s kept meta/link; mkfifo meta/pipe; chmod 700 meta`)
	x.m.want(0, "", "sync", x.m.mnt)
	x.js.call("until", []any{[]any{"meta/pipe", true, nil}})
	check := func(name, mode, mtime, xattr string) {
		x.Helper()
		got := x.m.sh(fmt.Sprintf(`stat -c '%%a %%.9Y' "$M/meta/%s"`, name))
		var b [16]byte
		n, err := unix.Getxattr(x.mnt("meta/"+name), "user.k", b[:])
		if err != nil {
			n = 0
		}
		if f := strings.Fields(got); f[0] != mode || mtime != "" && f[1] != mtime || string(b[:n]) != xattr {
			x.Fatalf("%s: %s, user.k is %q; want %s %s %q", name, got, b[:n], mode, mtime, xattr)
		}
	}
	const exact = "1000000000.123456789"
	x.comes(
		theirs{"a rename that keeps what it doesn't know", func() {
			x.js.call("favourite", "meta/kept")
			x.js.call("rename", "meta/kept", "kept too")
		}, func() bool { return !x.gone("meta/kept too") }},
		theirs{"a rename that loses it", func() { x.rclone("moveto", "m:meta/renamed", "m:meta/anew") }, func() bool { return !x.gone("meta/anew") }},
		theirs{"content in the place of some with metadata", func() {
			x.rclone("copyto", x.File("up", []byte("other content")), "m:meta/replaced")
		}, func() bool { return x.holds("meta/replaced", 13) }},
	)
	check("kept too", "640", exact, "v")
	check("anew", "644", "", "") // rclone writes attributes anew
	check("replaced", "644", "", "")
	x.m.sh(`cd $M/meta; test "$(cat anew)" = renamed; test "$(cat replaced)" = "other content"; test "$(readlink link)" = kept; test -p pipe
chmod 600 "kept too"; chmod 755 anew; setfattr -n user.k -v again anew`)
	x.m.want(0, "", "sync", x.m.mnt)
	x.comes(theirs{"one more file", func() { x.js.call("put", "meta", "after", x.File("up", []byte("x"))) }, func() bool { return x.holds("meta/after", 1) }})
	// After which megajs heard of all before.
	if at := x.js.call("attributes", "meta/kept too").(map[string]any); at["fav"] == nil || at["mfs"] == nil {
		x.Fatalf("the mount lost what megajs wrote: %v", at)
	}
	x.m.sh(`test "$(ls $M/meta | wc -l)" = 6`)
	// All of it is told to who comes anew.
	x.m.umount()
	x.m.wipe(".cache/megafs/*")
	x.m.mount()
	check("kept too", "600", exact, "v")
	check("anew", "755", "", "again")
	x.m.sh(`test "$(readlink $M/meta/link)" = kept; test -p $M/meta/pipe`)
}
