package megaserver

import (
	"bytes"
	"os"
	"strings"
	"testing"
)

// TestRclone lets rclone's backend for MEGA do all it can do, and the others read what it wrote and it what they wrote.
func TestRclone(t *testing.T) {
	tool := cached(t, "rclone")
	program(t, "megatools")
	inside(t, func(t *testing.T) {
		f := newForeign(t)
		const email, password = "rc@example.com", "correct horse battery"
		must(t, f.s.AddAccount(NewAccount{Email: email, Password: password}))
		obscured := strings.TrimSpace(f.run(tool, "obscure", password))
		f.file("rclone.conf", []byte("[m]\ntype = mega\nuser = "+email+"\npass = "+obscured+"\n"))
		rclone := func(args ...string) string {
			return f.run(tool, append([]string{"--config", f.path("rclone.conf")}, args...)...)
		}
		rclone("mkdir", "m:d/e")
		files := map[string][]byte{"empty": nil, "small": []byte("hello mega\n"), "edge": pattern(131072), "big ü": pattern(5_000_000)}
		for name, data := range files {
			rclone("copyto", f.file("up", data), "m:d/e/"+name)
		}
		if got := rclone("lsf", "m:d/e"); got != "big ü\nedge\nempty\nsmall\n" {
			t.Fatalf("lsf: %q", got)
		}
		for name, data := range files {
			os.Remove(f.path("down"))
			rclone("copyto", "m:d/e/"+name, f.path("down"))
			f.same("down", data)
			if name == "empty" { // whose MAC rclone and megatools have different opinions on
				continue
			}
			os.Remove(f.path("down"))
			f.run("megatools", "get", "--ignore-config-file", "-u", email, "-p", password, "--reload", "--no-progress", "--path", f.path("down"), "/Root/d/e/"+name)
			f.same("down", data)
		}
		rclone("copyto", f.file("up", pattern(1000)), "m:d/e/small") // replaces it
		rclone("copyto", "m:d/e/small", f.path("down"))
		f.same("down", pattern(1000))
		rclone("moveto", "m:d/e/small", "m:d/moved")
		rclone("moveto", "m:d/e", "m:f")
		rclone("copyto", "m:d/moved", f.path("down"))
		f.same("down", pattern(1000))
		link := strings.TrimSpace(rclone("link", "m:d/moved"))
		os.Remove(f.path("down"))
		f.run("megatools", "dl", "--ignore-config-file", "--no-progress", "--path", f.path("down"), link)
		f.same("down", pattern(1000))
		if got := rclone("about", "m:"); !strings.Contains(got, "50 GiB") {
			t.Fatalf("about: %s", got)
		}
		rclone("deletefile", "m:d/moved")
		rclone("rmdir", "m:d")
		rclone("--mega-hard-delete", "purge", "m:f")
		if got := rclone("lsf", "-R", "m:"); got != "" {
			t.Fatalf("all was removed but %q", got)
		}
	})
}

// same compares a file with what it must hold.
func (f *foreign) same(name string, want []byte) {
	f.Helper()
	got, err := os.ReadFile(f.path(name))
	must(f.T, err)
	if !bytes.Equal(got, want) {
		f.Fatalf("%d bytes that differ from the %d there should be", len(got), len(want))
	}
}
