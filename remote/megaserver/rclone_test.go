package megaserver

import (
	"os"
	"strings"
	"testing"

	"megafs/remote/megaserver/megatest"
)

// TestRclone lets rclone's backend for MEGA do all it can do, and the others read what it wrote and it what they wrote.
func TestRclone(t *testing.T) {
	tool := megatest.Cached(t, "rclone")
	megatest.Program(t, "megatools")
	megatest.Inside(t, func(t *testing.T) {
		f := newForeign(t)
		const email, password = "rc@example.com", "correct horse battery"
		must(t, f.s.AddAccount(NewAccount{Email: email, Password: password}))
		obscured := strings.TrimSpace(f.Run(tool, "obscure", password))
		f.File("rclone.conf", []byte("[m]\ntype = mega\nuser = "+email+"\npass = "+obscured+"\n"))
		rclone := func(args ...string) string {
			return f.Run(tool, append([]string{"--config", f.Path("rclone.conf")}, args...)...)
		}
		rclone("mkdir", "m:d/e")
		files := map[string][]byte{"empty": nil, "small": []byte("hello mega\n"), "edge": pattern(131072), "big ü": pattern(5_000_000)}
		for name, data := range files {
			rclone("copyto", f.File("up", data), "m:d/e/"+name)
		}
		if got := rclone("lsf", "m:d/e"); got != "big ü\nedge\nempty\nsmall\n" {
			t.Fatalf("lsf: %q", got)
		}
		for name, data := range files {
			os.Remove(f.Path("down"))
			rclone("copyto", "m:d/e/"+name, f.Path("down"))
			f.same("down", data)
			if name == "empty" { // whose MAC rclone and megatools have different opinions on
				continue
			}
			os.Remove(f.Path("down"))
			f.Run("megatools", "get", "--ignore-config-file", "-u", email, "-p", password, "--reload", "--no-progress", "--path", f.Path("down"), "/Root/d/e/"+name)
			f.same("down", data)
		}
		rclone("copyto", f.File("up", pattern(1000)), "m:d/e/small") // replaces it
		rclone("copyto", "m:d/e/small", f.Path("down"))
		f.same("down", pattern(1000))
		rclone("moveto", "m:d/e/small", "m:d/moved")
		rclone("moveto", "m:d/e", "m:f")
		rclone("copyto", "m:d/moved", f.Path("down"))
		f.same("down", pattern(1000))
		link := strings.TrimSpace(rclone("link", "m:d/moved"))
		os.Remove(f.Path("down"))
		f.Run("megatools", "dl", "--ignore-config-file", "--no-progress", "--path", f.Path("down"), link)
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
