package megaserver

import (
	"bytes"
	"os"
	"strings"
	"testing"

	"megafs/remote/megaserver/megatest"
)

// TestMegatools lets megatools, as Debian has it, do all it can do: make an account, and files in it.
func TestMegatools(t *testing.T) {
	megatest.Program(t, "megatools")
	megatest.Inside(t, func(t *testing.T) {
		f := newForeign(t)
		const email, password = "bob@example.com", "correct horse battery"
		out := f.Run("megatools", "reg", "--scripted", "--register", "-n", "Bob Brown", "-e", email, "-p", password)
		words := strings.Fields(out) // a command, with @LINK@ where the link goes
		state := words[len(words)-2]
		link := <-f.links
		f.Run("megatools", "reg", "--verify", state, link)
		tool := func(args ...string) string {
			return f.Run("megatools", append([]string{args[0], "--ignore-config-file", "-u", email, "-p", password}, args[1:]...)...)
		}
		if got := tool("ls", "--reload"); !strings.Contains(got, "/Root") || !strings.Contains(got, "/Trash") {
			t.Fatalf("an empty account: %s", got)
		}
		tool("mkdir", "/Root/a")
		tool("mkdir", "/Root/a/b")
		files := map[string][]byte{"small": []byte("hello mega\n"), "p131072": pattern(131072), "big ü": pattern(5_000_000)}
		for name, data := range files {
			tool("put", "--no-progress", "--path", "/Root/a/b/"+name, f.File("up", data))
		}
		got := tool("ls", "--reload", "-R", "/Root")
		for name := range files {
			if !strings.Contains(got, "/Root/a/b/"+name+"\n") {
				t.Fatalf("%s is not in %s", name, got)
			}
		}
		for name, data := range files {
			os.Remove(f.Path("down"))
			tool("get", "--no-progress", "--path", f.Path("down"), "/Root/a/b/"+name)
			back, err := os.ReadFile(f.Path("down"))
			must(t, err)
			if !bytes.Equal(back, data) {
				t.Fatalf("%s came back as %d bytes that differ", name, len(back))
			}
		}
		if got := tool("df", "--reload"); !strings.Contains(got, "53687091200") || !strings.Contains(got, "5131083") {
			t.Fatalf("df: %s", got)
		}
		public := strings.Fields(tool("export", "/Root/a/b/small"))
		os.Remove(f.Path("down"))
		f.Run("megatools", "dl", "--ignore-config-file", "--no-progress", "--path", f.Path("down"), public[len(public)-1])
		if back, err := os.ReadFile(f.Path("down")); err != nil || string(back) != "hello mega\n" {
			t.Fatalf("by its link: %q, %v", back, err)
		}
		tool("rm", "/Root/a/b/small")
		tool("rm", "/Root/a")
		if got := tool("ls", "--reload", "-R", "/Root"); strings.Contains(got, "/a") {
			t.Fatalf("removed and still there: %s", got)
		}
		if got := tool("df", "--reload"); strings.Contains(got, "5131083") {
			t.Fatalf("df after all was removed: %s", got)
		}
	})
}
