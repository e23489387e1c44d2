package main

import (
	"bytes"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"megafs/crypto/megacrypt"
	"megafs/remote/blob"
	"megafs/remote/mega"
	"megafs/remote/megaserver"
	"megafs/remote/megaserver/megatest"
)

// filler makes nodes in an account, many in a request.
type filler struct {
	t *testing.T
	s *mega.Session
	n int
}

func (f *filler) post(url string, body []byte) []byte {
	f.t.Helper()
	resp, err := http.Post(url, "", bytes.NewReader(body))
	if err != nil {
		f.t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		f.t.Fatal(resp.Status, err)
	}
	return b
}

// do runs one command.
func (f *filler) do(cmd map[string]any, to any) {
	f.t.Helper()
	body, err := json.Marshal([]any{cmd})
	if err != nil {
		f.t.Fatal(err)
	}
	f.n++
	out := []json.RawMessage{}
	b := f.post(fmt.Sprintf("%s/cs?id=fill%d&sid=%s", f.s.URL, f.n, f.s.SID), body)
	if err := json.Unmarshal(b, &out); err != nil || len(out) != 1 || json.Unmarshal(out[0], to) != nil {
		f.t.Fatalf("%v: %.200s", cmd["a"], b)
	}
}

// fill makes folders of 1000 nodes each, until there are total: themselves, and files that share one byte of content.
func (f *filler) fill(total int) (folders int) {
	f.t.Helper()
	var tree struct {
		F []struct {
			H string
			T int
		}
	}
	f.do(map[string]any{"a": "f", "c": 1}, &tree)
	root := ""
	for _, n := range tree.F {
		if n.T == 2 {
			root = n.H
		}
	}
	node := func(h string, key []byte, at megacrypt.Key, name string) map[string]any {
		attrs := megacrypt.Attributes{"n": name}
		if len(key) == 32 {
			attrs["c"] = megacrypt.Fingerprint{Time: 1700000000, Sample: [16]byte{'x'}}.Encode()
		}
		a, err := attrs.Encode(at)
		if err != nil {
			f.t.Fatal(err)
		}
		return map[string]any{"h": h, "t": 1 - len(key)/32, "a": a, "k": megacrypt.Encode(f.s.Master.Wrap(key))}
	}
	file := func(h, name string) map[string]any {
		k := megacrypt.NewFileKey()
		return node(h, k.Pack(), k.Key, name)
	}
	var up struct{ P string }
	f.do(map[string]any{"a": "u", "s": 1, "v": 2}, &up)
	token := f.post(up.P+"/0", []byte("x"))
	var made struct{ F []struct{ H string } }
	f.do(map[string]any{"a": "p", "t": root, "n": []any{file(megacrypt.Encode(token), "first")}}, &made)
	for total--; total > 0; folders++ {
		n := min(total, 1000)
		k := megacrypt.NewKey()
		nodes := []any{node("dirdirdi", k[:], k, fmt.Sprintf("folder %04d", folders))}
		for i := 1; i < n; i++ {
			x := file(made.F[0].H, fmt.Sprintf("some file %04d.txt", i))
			x["p"] = "dirdirdi"
			nodes = append(nodes, x)
		}
		var out any
		f.do(map[string]any{"a": "p", "t": root, "n": nodes}, &out)
		total -= n
	}
	return folders
}

// TestMegaNodes says what an account with many nodes costs: it is mounted on a machine that never saw it, and mounted again; others' clients list it. MEGAFS_TEST_MEGA_NODES says
// how many nodes; without it nothing is done.
func TestMegaNodes(t *testing.T) {
	total, err := strconv.Atoi(os.Getenv("MEGAFS_TEST_MEGA_NODES"))
	if err != nil {
		t.Skip("MEGAFS_TEST_MEGA_NODES says how many nodes an account has")
	}
	megatest.InsideFor(t, 20*time.Minute, func(t *testing.T) {
		place := megatest.New(t)
		m := newMachine(t)
		s, err := megaserver.New(megaserver.Options{State: place.Path("state"), Blobs: blob.Mem()})
		if err != nil {
			t.Fatal(err)
		}
		h := httptest.NewServer(s)
		l, err := net.Listen("tcp", "127.0.0.1:443")
		if err != nil {
			t.Fatal(err)
		}
		secure := megaserver.HTTPServer(s, &tls.Config{Certificates: []tls.Certificate{place.Cert}})
		go secure.ServeTLS(l, "", "")
		t.Cleanup(func() {
			m.end()
			s.EndWaits()
			secure.Close()
			h.CloseClientConnections()
			h.Close()
			s.Close()
		})
		const email, password = "me@example.com", "a password"
		if err := s.AddAccount(megaserver.NewAccount{Email: email, Password: password}); err != nil {
			t.Fatal(err)
		}
		session, err := mega.Login(t.Context(), mega.Credentials{URL: h.URL, Email: email, Password: []byte(password)})
		if err != nil {
			t.Fatal(err)
		}
		begun := time.Now()
		folders := (&filler{t: t, s: session}).fill(total)
		t.Logf("%d nodes made in %v", total, time.Since(begun).Round(time.Millisecond))
		begun = time.Now()
		all := len((&filler{t: t, s: session, n: 1 << 20}).post(h.URL+"/cs?id=all&sid="+session.SID, []byte(`[{"a":"f","c":1,"r":1}]`)))
		t.Logf("the server alone tells it in %v, %d MiB", time.Since(begun).Round(time.Millisecond), all>>20)
		pass := place.File("pass", []byte(password+"\n"))
		m.want(0, "is logged in", "login", "--passphrase-file", pass, "mega+http://"+email+"@"+strings.TrimPrefix(h.URL, "http://"))
		m.url = "mega:"
		for _, how := range []string{"fresh mount", "mount of what is known", "mount without a cache"} {
			if strings.Contains(how, "without") {
				m.wipe(".cache/megafs/*")
			}
			begun := time.Now()
			m.mount("--memory", "256M")
			mounted := time.Since(begun)
			if l, err := os.ReadDir(m.mnt); err != nil || len(l) != folders+1 {
				t.Fatal(len(l), err)
			}
			took := time.Since(begun)
			pid := m.pid()
			rss := peak(t, pid)
			t.Logf("%s: %v, ls answers after %v, peak RSS %d MiB, %v of CPU", how, mounted.Round(time.Millisecond), took.Round(time.Millisecond), rss>>20, cpuTime(t, pid))
			if rss > 256<<20 {
				t.Errorf("%s: %d MiB of memory", how, rss>>20)
			}
			if l, err := os.ReadDir(filepath.Join(m.mnt, "folder 0000")); err != nil || len(l) != min(total-1, 1000)-1 {
				t.Error(len(l), err)
			}
			m.umount()
		}
		files := strconv.Itoa(total - folders)
		peer := func(name string, args ...string) {
			cmd := exec.Command(name, args...)
			cmd.Env = place.Environ()
			var out, errs bytes.Buffer
			cmd.Stdout, cmd.Stderr = &out, &errs
			begun := time.Now()
			err := cmd.Start()
			if err != nil {
				t.Fatal(err)
			}
			ended := make(chan error, 1)
			go func() { ended <- cmd.Wait() }()
			// What the kernel says at the end is not less than what this process had when it began that one.
			rss := int64(0)
			for going := true; going; {
				select {
				case err = <-ended:
					going = false
				case <-time.After(20 * time.Millisecond):
					b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", cmd.Process.Pid))
					if _, l, ok := strings.Cut(string(b), "VmHWM:"); ok {
						var kib int64
						fmt.Sscan(l, &kib)
						rss = max(rss, kib)
					}
				}
			}
			cpu := cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
			t.Logf("%s %s: %v, peak RSS %d MiB, %v of CPU, %d lines; %v %.300s", filepath.Base(name), args[0], time.Since(begun).Round(time.Millisecond), rss>>10, cpu.Round(10*time.Millisecond), bytes.Count(out.Bytes(), []byte("\n")), err, errs.Bytes())
		}
		t.Logf("%s files", files)
		t.Run("megatools", func(t *testing.T) {
			peer(megatest.Program(t, "megatools"), "ls", "--ignore-config-file", "-u", email, "-p", password, "--reload", "-R", "/Root")
		})
		t.Run("rclone", func(t *testing.T) {
			tool := megatest.Cached(t, "rclone")
			conf := place.File("rclone.conf", []byte("[m]\ntype = mega\nuser = "+email+"\npass = "+strings.TrimSpace(place.Run(tool, "obscure", password))+"\n"))
			peer(tool, "lsf", "--config", conf, "-R", "--files-only", "m:")
		})
	})
}
