package main

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io/fs"
	"math"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// bin is megafs, built once for all tests.
var bin string

const binEnv = "MEGAFS_TEST_BIN"

func TestMain(m *testing.M) {
	flag.Parse()
	if dir := os.Getenv("MEGAFS_TEST_HAMMER_DIR"); dir != "" {
		os.Exit(hammer(dir)) // one of TestP6Hammer's processes
	}
	if flag.Lookup("test.fuzz").Value.String() != "" {
		os.Exit(m.Run()) // fuzzing processes need no program, and there are many of them
	}
	if bin = os.Getenv(binEnv); bin != "" {
		os.Exit(m.Run()) // a test in a namespace of its own
	}
	dir, err := os.MkdirTemp("", "megafs-bin")
	if err == nil {
		bin = filepath.Join(dir, "megafs")
		var out []byte
		build := []string{"build", "-o", bin, "."}
		if underRace() {
			build = slices.Insert(build, 1, "-race")
		}
		if out, err = exec.Command("go", build...).CombinedOutput(); err != nil {
			err = fmt.Errorf("%w\n%s", err, out)
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Setenv(binEnv, bin)
	code := m.Run()
	os.RemoveAll(dir)
	os.Exit(code)
}

// underRace reports whether this test has the race detector; then megafs has it too.
func underRace() bool {
	i, ok := debug.ReadBuildInfo()
	return ok && slices.Contains(i.Settings, debug.BuildSetting{Key: "-race", Value: "true"})
}

// machine is a home with a vault in it, and a mount point.
type machine struct {
	t         *testing.T
	home, mnt string
	url       string // of the vault; empty: the embedded default
	env       []string
}

func newMachine(t *testing.T) *machine {
	t.Helper()
	if f, err := os.OpenFile("/dev/fuse", os.O_RDWR, 0); err != nil {
		t.Skip("needs /dev/fuse: ", err)
	} else {
		f.Close()
	}
	m := &machine{t: t, home: t.TempDir()}
	m.mnt = filepath.Join(m.home, "mnt")
	if err := os.Mkdir(m.mnt, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.end)
	return m
}

// end takes the mount away, however the test went.
func (m *machine) end() {
	if pid := m.pid(); pid > 0 {
		defer exec.Command("kill", "-9", fmt.Sprint(pid)).Run()
	}
	exec.Command("umount", "-l", m.mnt).Run()
	if m.t.Failed() {
		logs, _ := filepath.Glob(filepath.Join(m.home, ".local/state/megafs/*/megafs.log"))
		for _, l := range logs {
			b, _ := os.ReadFile(l)
			m.t.Logf("%s:\n%s", l, b)
		}
	}
}

// command makes a command that runs in the machine's home.
func (m *machine) command(name string, args ...string) *exec.Cmd {
	c := exec.Command(name, args...)
	c.Env = append(os.Environ(), "HOME="+m.home, "XDG_RUNTIME_DIR="+m.home, "XDG_DATA_HOME=", "XDG_STATE_HOME=", "XDG_CACHE_HOME=", "XDG_CONFIG_HOME=")
	c.Env = append(c.Env, m.env...)
	return c
}

// megafs runs a command and returns its output and exit code.
func (m *machine) megafs(args ...string) (out string, code int) {
	m.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	c := m.command(bin, args...)
	var b bytes.Buffer
	c.Stdout, c.Stderr = &b, &b
	if err := c.Start(); err != nil {
		m.t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- c.Wait() }()
	select {
	case <-done:
	case <-ctx.Done():
		c.Process.Kill()
		m.t.Fatalf("megafs %s does not end", strings.Join(args, " "))
	}
	return b.String(), c.ProcessState.ExitCode()
}

// want runs a command that must end with a code, and say something.
func (m *machine) want(code int, says string, args ...string) string {
	m.t.Helper()
	out, got := m.megafs(args...)
	if got != code || !strings.Contains(out, says) {
		m.t.Fatalf("megafs %s: exit code %d, want %d with %q:\n%s", strings.Join(args, " "), got, code, says, out)
	}
	return out
}

// sh runs a shell command, with the mount point as $M.
func (m *machine) sh(script string) string {
	m.t.Helper()
	c := m.command("bash", "-euo", "pipefail", "-c", script)
	c.Dir = m.home
	c.Env = append(c.Env, "M="+m.mnt)
	out, err := c.CombinedOutput()
	if err != nil {
		m.t.Fatalf("%s: %v\n%s", script, err, out)
	}
	return string(out)
}

func (m *machine) mount(args ...string) {
	m.t.Helper()
	if m.url != "" {
		args = append(args, "--remote", m.url)
	}
	m.want(0, "is mounted on", append(append([]string{"mount"}, args...), m.mnt)...)
}

func (m *machine) umount() {
	m.t.Helper()
	m.want(0, "everything is sent", "umount", "--wait=2m", m.mnt)
}

// pid is the process that serves the mount, or 0.
func (m *machine) pid() int {
	out, err := m.command(bin, "status", "--json", m.mnt).Output()
	var s struct{ PID int }
	if err != nil || json.Unmarshal(out, &s) != nil {
		return 0
	}
	return s.PID
}

// kill9 ends the serving process without warning.
func (m *machine) kill9() {
	m.t.Helper()
	pid := m.pid()
	if pid == 0 {
		m.t.Fatal("nobody serves the mount")
	}
	exec.Command("kill", "-9", fmt.Sprint(pid)).Run()
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if _, err := os.Stat(fmt.Sprintf("/proc/%d", pid)); err != nil {
			return
		}
	}
	m.t.Fatal("it does not die")
}

// dirs returns the machine's folders below ~/.local and ~/.cache that bear a name.
func (m *machine) dirs(pattern string) []string {
	d, _ := filepath.Glob(filepath.Join(m.home, pattern))
	return d
}

// wipe removes folders.
func (m *machine) wipe(pattern string) {
	m.t.Helper()
	d := m.dirs(pattern)
	if len(d) == 0 {
		m.t.Fatal("no folder", pattern)
	}
	for _, p := range d {
		if err := os.RemoveAll(p); err != nil {
			m.t.Fatal(err)
		}
	}
}

// The ways in which a mount ends and begins anew: it is unmounted; its process is killed; all is sent and the cache is lost; the process is killed and the
// cache is lost, so that what was not sent is in the journal alone.
var waysToRemount = []string{"remount", "kill", "wipe", "lose"}

// remount ends a mount in one of these ways, and mounts anew.
func (m *machine) remount(how string, args ...string) {
	m.t.Helper()
	switch how {
	case "remount":
		m.want(0, "", "umount", m.mnt)
	case "kill", "lose":
		m.kill9()
	case "wipe":
		m.umount()
	}
	if how == "wipe" || how == "lose" {
		m.wipe(".cache/megafs/*")
	}
	m.mount(args...)
}

// quietLog fails the test if a process that served the mount had something to complain of.
func (m *machine) quietLog() {
	m.t.Helper()
	logs := m.dirs(".local/state/megafs/*/megafs.log")
	if len(logs) == 0 {
		m.t.Fatal("there is no log")
	}
	for _, log := range logs {
		b, err := os.ReadFile(log)
		if err != nil {
			m.t.Fatal(err)
		}
		for line := range strings.Lines(string(b)) {
			if !strings.Contains(line, "level=INFO") {
				m.t.Fatalf("the log has: %s", b)
			}
		}
	}
}

// randomSeed is MEGAFS_TEST_SEED or one that is new; it is printed.
func randomSeed(t *testing.T) uint64 {
	t.Helper()
	seed := rand.Uint64()
	if n, err := strconv.ParseUint(os.Getenv("MEGAFS_TEST_SEED"), 10, 64); err == nil {
		seed = n
	}
	t.Log("seed", seed)
	return seed
}

// lasts says how long a test goes on, and how much it does at most: for a while, unless an environment variable sets another time or how much is to be done.
func lasts(t *testing.T, variable string, usually time.Duration) (limit time.Duration, most int) {
	t.Helper()
	v := os.Getenv(variable)
	if v == "" {
		return usually, math.MaxInt
	}
	if n, err := strconv.Atoi(v); err == nil {
		return math.MaxInt64, n
	}
	limit, err := time.ParseDuration(v)
	if err != nil {
		t.Fatalf("%s: %v", variable, err)
	}
	return limit, math.MaxInt
}

// same compares a tree with its source, as rsync sees it.
func (m *machine) same(src, dst string) {
	m.t.Helper()
	if out := m.sh(fmt.Sprintf("rsync -aniHc --delete %s/ %s/", src, dst)); out != "" {
		lines := strings.SplitN(out, "\n", 11)
		m.t.Fatalf("differs from its source:\n%s", strings.Join(lines[:min(10, len(lines))], "\n"))
	}
}

// contains reports in which files below root some bytes are.
func contains(t *testing.T, root string, needles ...string) {
	t.Helper()
	filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return nil
		}
		b, err := os.ReadFile(p)
		if err != nil {
			return nil
		}
		for _, n := range needles {
			if bytes.Contains(b, []byte(n)) || strings.Contains(p, n) {
				t.Errorf("%q is in %s", n, p)
			}
		}
		return nil
	})
}
