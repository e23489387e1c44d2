package volume

import (
	"maps"
	"testing"

	"megafs/remote"
)

// TestMegaAnotherType puts a symbolic link in the place of a file, and a file in that of a link, in one batch each: at the server that is a new version. Another machine shows what is there now.
func TestMegaAnotherType(t *testing.T) {
	a := newAccount(t)
	s := a.login()
	b, _ := a.mount(s, t.TempDir(), t.TempDir())
	link := func(name, target string) {
		t.Helper()
		if _, err := b.Make(ctx, remote.Root, name, remote.Symlink, 0o777, 0, target, Caller{}); err != nil {
			t.Fatal(err)
		}
	}
	b.write(b.mk(remote.Root, "file", remote.File), 0, pattern(100, 1))
	link("link", "file")
	link("changes", "file")
	b.drain()
	other, _ := a.mount(s, t.TempDir(), t.TempDir())
	link("t1", "elsewhere")
	b.write(b.mk(remote.Root, "t2", remote.File), 0, pattern(200, 2))
	link("t3", "link")
	for from, to := range map[string]string{"t1": "file", "t2": "link", "t3": "changes"} {
		if err := b.Rename(ctx, remote.Root, from, remote.Root, to, 0, Caller{}); err != nil {
			t.Fatal(err)
		}
	}
	b.drain()
	targets := func(x *bench) map[string]string {
		out := treeOf(x, remote.Root, "", nil)
		for name := range out {
			if st, err := x.Lookup(ctx, remote.Root, name[1:]); err == nil {
				out[name] += " -> " + st.Target
			}
		}
		return out
	}
	want := targets(b)
	until(t, "what the other machine made", func() bool { return maps.Equal(targets(other), want) })
}
