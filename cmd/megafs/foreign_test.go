package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"megafs/crypto/megacrypt"
	"megafs/remote/megaserver/megatest"
)

// crossing is an account on megafs serve that is mounted, and that the clients that others wrote use at the same time.
type crossing struct {
	*megatest.Place
	m      *machine
	rclone func(args ...string) string
	tools  func(args ...string) string
	js     *megajs
	come   []time.Duration // from the end of what another client did until the mount shows it
	went   []time.Duration // from the end of what was done in the mount until megajs knows it
}

const crossEmail, crossPassword = "me@example.com", "correct horse battery"

// newCrossing is called inside.
func newCrossing(t *testing.T, rclone, js string) *crossing {
	x := &crossing{Place: megatest.New(t)}
	x.m = newMachine(t)
	x.m.env = []string{"http_proxy=", "https_proxy=", "HTTP_PROXY=", "HTTPS_PROXY="}
	state, pw := x.Path("server"), x.File("pw", []byte(crossPassword+"\n"))
	x.m.want(0, "", "serve", "account", "add", "--state", state, "--password-file", pw, crossEmail)
	x.m.serving("--state", state, "--listen", "127.0.0.1:443", "--tls-cert", x.CertFile, "--tls-key", x.KeyFile, "--rate", "0")
	t.Cleanup(x.m.end) // before the server goes
	x.m.url = "mega:"
	x.m.want(0, "is logged in", "login", "--passphrase-file", pw, crossEmail)
	x.m.mount()
	obscured := strings.TrimSpace(x.Run(rclone, "obscure", crossPassword))
	conf := x.File("rclone.conf", []byte("[m]\ntype = mega\nuser = "+crossEmail+"\npass = "+obscured+"\n"))
	x.rclone = func(args ...string) string {
		t.Helper()
		return x.Run(rclone, append([]string{"--config", conf}, args...)...)
	}
	x.tools = func(args ...string) string {
		t.Helper()
		return x.Run("megatools", append([]string{args[0], "--ignore-config-file", "-u", crossEmail, "-p", crossPassword, "--reload"}, args[1:]...)...)
	}
	x.js = x.startMegajs(js)
	return x
}

// megajs is a process that stays logged in and does what it is told.
type megajs struct {
	t   *testing.T
	in  io.Writer
	out *bufio.Scanner
}

func (x *crossing) startMegajs(where string) *megajs {
	x.Helper()
	return startMegajs(x.T, x.Environ(), "testdata/cross.mjs", where, crossEmail, crossPassword)
}

func startMegajs(t *testing.T, environ []string, args ...string) *megajs {
	t.Helper()
	c := exec.Command("node", args...)
	c.Env, c.Stderr = environ, os.Stderr
	in, err := c.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Process.Kill(); c.Wait() })
	j := &megajs{t, in, bufio.NewScanner(out)}
	j.out.Buffer(nil, 64<<20)
	j.answer("log in")
	return j
}

func (j *megajs) answer(what string) any {
	j.t.Helper()
	result, err := j.outcome(what)
	if err != nil {
		j.t.Fatalf("megajs, %s: %v", what, err)
	}
	return result
}

func (j *megajs) outcome(what string) (any, error) {
	j.t.Helper()
	var a struct {
		Result any
		Error  string
	}
	if !j.out.Scan() || json.Unmarshal(j.out.Bytes(), &a) != nil {
		j.t.Fatalf("megajs, %s: %q", what, j.out.Text())
	}
	if a.Error != "" {
		return nil, errors.New(a.Error)
	}
	return a.Result, nil
}

func (j *megajs) call(name string, args ...any) any {
	j.t.Helper()
	result, err := j.try(name, args...)
	if err != nil {
		j.t.Fatalf("megajs, %s %v: %v", name, args, err)
	}
	return result
}

// try is call for what may fail.
func (j *megajs) try(name string, args ...any) (any, error) {
	j.t.Helper()
	line, err := json.Marshal(append([]any{name}, args...))
	if err == nil {
		_, err = fmt.Fprintf(j.in, "%s\n", line)
	}
	if err != nil {
		j.t.Fatal(err)
	}
	return j.outcome(string(line))
}

// theirs is something that another client does, and how the mount shows it.
type theirs struct {
	what string
	do   func()
	seen func() bool
}

// comes lets others do things one after another, and waits until the mount shows each.
func (x *crossing) comes(all ...theirs) {
	x.Helper()
	took := make([]time.Duration, len(all))
	var g errgroup.Group
	for i, c := range all {
		c.do()
		start := time.Now()
		g.Go(func() error {
			for !c.seen() {
				if time.Since(start) > 20*time.Second {
					return fmt.Errorf("the mount never shows: %s", c.what)
				}
				time.Sleep(5 * time.Millisecond)
			}
			took[i] = time.Since(start)
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		x.Fatalf("%v\n%s", err, x.m.sh("ls -lR $M/both"))
	}
	for i, c := range all {
		x.Logf("%5d ms until the mount shows %s", took[i].Milliseconds(), c.what)
	}
	x.come = append(x.come, took...)
}

// ours is something that is done in the mount, and how megajs sees it.
type ours struct {
	what, script string
	path         string
	there        bool
	size         any // or nil
}

// goes does things in the mount, and waits until megajs sees all of them.
func (x *crossing) goes(all ...ours) {
	x.Helper()
	begun := make([]time.Time, len(all))
	var ask []any
	for i, c := range all {
		x.m.sh(c.script)
		begun[i] = time.Now()
		ask = append(ask, []any{c.path, c.there, c.size})
	}
	at := x.js.call("until", ask).([]any)
	for i, c := range all {
		took := max(0, time.UnixMilli(int64(at[i].(float64))).Sub(begun[i]))
		x.Logf("%5d ms until megajs sees %s", took.Milliseconds(), c.what)
		x.went = append(x.went, took)
	}
}

// summary says how long all took.
func (x *crossing) summary() {
	for _, all := range []struct {
		what string
		took []time.Duration
	}{{"from others to the mount", x.come}, {"from the mount to megajs", x.went}} {
		slices.Sort(all.took)
		n := len(all.took)
		x.Logf("%s: p50 %d ms, most %d ms, of %d", all.what, all.took[n/2].Milliseconds(), all.took[n-1].Milliseconds(), n)
	}
}

func (x *crossing) mnt(p string) string { return filepath.Join(x.m.mnt, p) }

// holds reports whether a file of the mount has a size, without asking for more than its attributes.
func (x *crossing) holds(p string, size int) bool {
	i, err := os.Stat(x.mnt(p))
	return err == nil && i.Size() == int64(size)
}

func (x *crossing) gone(p string) bool {
	_, err := os.Lstat(x.mnt(p))
	return os.IsNotExist(err)
}

// crossFiles are files that something may be wrong with: chunks of MEGA's end at 131072, 393216, ... bytes.
func crossFiles() map[string][]byte {
	files := map[string][]byte{}
	for i, n := range []int{0, 1, 15, 16, 131071, 131072, 131073, 393216, 393217, 3_000_000, 5_500_000} {
		b := megatest.Pattern(n + i)[i:]
		files[fmt.Sprintf("%07d.bin", n)] = b
	}
	for i, name := range []string{"grüße 日本語 😀.txt", " blanks  around ", "-dash", ".hidden", "a:b|c<d>e*f?g\"h", `back\slash`, "per%20cent %2F", "it's $HOME `x` #1", "#", strings.Repeat("long", 60)} {
		files[name] = megatest.Pattern(100 + i)
	}
	return files
}

// TestG2Foreign lets megatools, rclone and megajs work on an account that is mounted: all see the same files with the same bytes, whoever made or changed them.
func TestG2Foreign(t *testing.T) {
	megatest.Program(t, "megatools")
	megatest.Program(t, "node")
	rclone, js := megatest.Cached(t, "rclone"), megatest.Cached(t, "megajs")
	megatest.Inside(t, func(t *testing.T) {
		x := newCrossing(t, rclone, js)
		x.uploads()
		x.downloads()
		x.links()
		x.changes()
		x.theirChanges()
		x.twins()
		x.metadata()
		x.m.want(0, "everything is sent", "umount", "--wait=1m", x.m.mnt)
		x.m.quietLog()
		x.summary()
	})
}

// uploads are what each of the others sends, and the mount reads.
func (x *crossing) uploads() {
	files := crossFiles()
	if err := os.Mkdir(x.Path("files"), 0o755); err != nil {
		x.Fatal(err)
	}
	for name, data := range files {
		x.File("files/"+name, data)
	}
	begin := time.Now().Add(-2 * time.Second)
	for _, who := range []string{"megatools", "rclone", "megajs"} {
		x.comes(theirs{"what " + who + " uploads", func() {
			switch who {
			case "megatools": // which can't send an empty file
				x.tools("mkdir", "/Root/megatools")
				x.m.sh(fmt.Sprintf("cp -r %q some; rm some/0000000.bin", x.Path("files")))
				x.tools("copy", "--no-progress", "-l", filepath.Join(x.m.home, "some"), "-r", "/Root/megatools")
				x.m.sh("touch $M/megatools/0000000.bin")
			case "rclone":
				x.rclone("copyto", x.Path("files"), "m:rclone")
			case "megajs":
				x.js.call("mkdir", "/", "megajs")
				for name := range files {
					x.js.call("put", "megajs", name, x.Path("files/"+name))
				}
			}
		}, func() bool {
			d, err := os.ReadDir(x.mnt(who))
			return err == nil && len(d) == len(files)
		}})
		x.m.sh(fmt.Sprintf("diff -r %q $M/%s", x.Path("files"), who))
		for name := range files { // which they send without a time of its own
			i, err := os.Stat(x.mnt(who + "/" + name))
			if err != nil || i.ModTime().Before(begin) || i.ModTime().After(time.Now().Add(2*time.Second)) {
				x.Fatalf("%s has the time %v, %v", name, i.ModTime(), err)
			}
		}
	}
	// With a time, as MEGA's own clients do.
	sample, err := megacrypt.Sample(strings.NewReader("hello"), 5)
	if err != nil {
		x.Fatal(err)
	}
	print := megacrypt.Fingerprint{Sample: sample, Time: 1234567890}
	x.comes(theirs{"a file with a time", func() {
		x.js.call("put", "megajs", "dated", x.File("up", []byte("hello")), map[string]string{"c": print.Encode()})
	}, func() bool { return x.holds("megajs/dated", 5) }})
	if i, err := os.Stat(x.mnt("megajs/dated")); err != nil || !i.ModTime().Equal(time.Unix(1234567890, 0)) {
		x.Fatalf("the time is %v, %v", i.ModTime(), err)
	}
}

// downloads are what the mount sends, and each of the others reads.
func (x *crossing) downloads() {
	x.m.sh(fmt.Sprintf("cp -r %q $M/mount; find $M/mount -type f -exec touch -d @1111111111.123456789 {} +", x.Path("files")))
	x.m.want(0, "", "sync", x.m.mnt)
	x.rclone("copyto", "m:mount", x.Path("back-rclone"))
	x.m.sh(fmt.Sprintf("diff -r %q %q", x.Path("files"), x.Path("back-rclone")))
	if err := os.Mkdir(x.Path("back-megatools"), 0o755); err != nil {
		x.Fatal(err)
	}
	x.tools("copy", "--no-progress", "--download", "-l", x.Path("back-megatools"), "-r", "/Root/mount")
	x.m.sh(fmt.Sprintf("diff -r %q %q", x.Path("files"), x.Path("back-megatools")))
	x.js.call("until", []any{[]any{"mount/.hidden", true, nil}})
	os.Mkdir(x.Path("back-megajs"), 0o755)
	for name, data := range crossFiles() {
		switch len(data) {
		case 0, 131071, 131072, 393216: // where megajs counts one chunk more than there is, so it reads only its own
			x.File("back-megajs/"+name, data)
		default:
			x.js.call("get", "mount/"+name, x.Path("back-megajs/"+name))
		}
		at := x.js.call("attributes", "mount/"+name).(map[string]any)
		c, _ := at["c"].(string)
		p, err := megacrypt.DecodeFingerprint(c)
		if sample, _ := megacrypt.Sample(strings.NewReader(string(data)), int64(len(data))); err != nil || p.Time != 1111111111 || p.Sample != sample {
			x.Fatalf("%s has the fingerprint %q", name, c)
		}
	}
	x.m.sh(fmt.Sprintf("diff -r %q %q", x.Path("files"), x.Path("back-megajs")))
}

// links are those that each makes of a file; the mount of each has that file, and so has what megatools fetches by it.
func (x *crossing) links() {
	const name = "3000000.bin"
	made := map[string]string{}
	for who, said := range map[string]string{
		"megatools": x.tools("export", "/Root/megatools/"+name), "rclone": x.rclone("link", "m:rclone/"+name), "mount": x.m.sh(fmt.Sprintf("%q link $M/mount/%s", bin, name)),
	} {
		words := strings.Fields(said)
		made[who] = words[len(words)-1]
	}
	at := filepath.Join(x.m.home, "public")
	if err := os.Mkdir(at, 0o755); err != nil {
		x.Fatal(err)
	}
	for who, link := range made {
		x.m.want(0, "is mounted", "mount", link, at)
		x.m.sh(fmt.Sprintf("test \"$(ls %q)\" = %s; cmp %q %q", at, name, x.Path("files/"+name), filepath.Join(at, name)))
		x.m.want(0, "", "umount", "--wait=1m", at)
		down := x.Path("by-link-" + who)
		x.Run("megatools", "dl", "--ignore-config-file", "--no-progress", "--path", down, link)
		x.m.sh(fmt.Sprintf("cmp %q %q", x.Path("files/"+name), down))
	}
}
