package volume

import (
	"bytes"
	"slices"
	"testing"

	"megafs/fs/acl"
	"megafs/remote"
)

var (
	minimal  = acl.List{{Tag: acl.UserObj, Perm: 6}, {Tag: acl.GroupObj, Perm: 4}, {Tag: acl.Other, Perm: 0}}
	extended = acl.List{{Tag: acl.UserObj, Perm: 7}, {Tag: acl.User, Perm: 7, ID: 1234}, {Tag: acl.GroupObj, Perm: 5}, {Tag: acl.Mask, Perm: 6}, {Tag: acl.Other, Perm: 1}}
)

func (b *bench) setACL(ino remote.Ino, name string, l acl.List) {
	b.t.Helper()
	if err := b.Setxattr(ctx, ino, name, l.Bytes(), 0); err != nil {
		b.t.Fatal(err)
	}
}

// acl returns a list, nil if there is none.
func (b *bench) acl(ino remote.Ino, name string) acl.List {
	b.t.Helper()
	v, err := b.Getxattr(ctx, ino, name)
	if remote.Is(err, remote.NoAttr) {
		return nil
	}
	if err != nil {
		b.t.Fatal(err)
	}
	l, err := acl.Parse(v)
	if err != nil {
		b.t.Fatal(err)
	}
	return l
}

func (b *bench) mode(ino remote.Ino) uint16 {
	b.t.Helper()
	s, err := b.Getattr(ctx, ino)
	if err != nil {
		b.t.Fatal(err)
	}
	return s.Mode
}

// TestAccessList: the mode follows a list and a list the mode, over remounts too; a list that says no more than a mode is none.
func TestAccessList(t *testing.T) {
	b := newBench(t)
	f := b.mk(remote.Root, "f", remote.File)
	check := func(what string, mode uint16, want acl.List) {
		t.Helper()
		for i, then := range []func(){func() {}, func() { b.remount() }, b.drain} {
			then()
			if got := b.acl(f, acl.Access); b.mode(f) != mode || !slices.Equal(got, want) {
				t.Errorf("after %s (%d): mode %o, %v; want %o, %v", what, i, b.mode(f), got, mode, want)
			}
		}
	}
	chmod := func(mode uint16) {
		t.Helper()
		before := b.stat(f).Ctime
		if _, err := b.Setattr(ctx, f, SetAttr{Mode: &mode}); err != nil {
			t.Fatal(err)
		}
		if b.stat(f).Ctime <= before {
			t.Error("ctime stays")
		}
	}
	chmod(0o2755)
	before := b.stat(f).Ctime
	b.setACL(f, acl.Access, extended)
	if b.stat(f).Ctime <= before {
		t.Error("ctime stays")
	}
	check("setting a list", 0o2761, extended)
	chmod(0o4705)
	check("a chmod", 0o4705, extended.WithMode(0o705))
	b.setACL(f, acl.Access, minimal)
	check("setting a minimal list", 0o4640, nil)
	b.setACL(f, acl.Access, minimal)
	check("setting it again", 0o4640, nil)
	b.setACL(f, acl.Access, extended)
	if err := b.Removexattr(ctx, f, acl.Access); err != nil {
		t.Fatal(err)
	}
	check("removing a list", 0o4761, nil)
	if err := b.Removexattr(ctx, f, acl.Access); err != nil {
		t.Errorf("removing none: %v", err)
	}
	chmod(0o2775)
	if err := b.Setxattr(ctx, f, acl.Access, extended.Bytes(), XattrKillSetgid); err != nil {
		t.Fatal(err)
	}
	check("a stranger to the group set one", 0o761, extended)
}

func (b *bench) stat(ino remote.Ino) Stat {
	b.t.Helper()
	s, err := b.Getattr(ctx, ino)
	if err != nil {
		b.t.Fatal(err)
	}
	return s
}

func TestAccessListRefused(t *testing.T) {
	b := newBench(t)
	f, l := b.mk(remote.Root, "f", remote.File), b.mk(remote.Root, "l", remote.Symlink)
	for _, x := range []struct {
		what  string
		ino   remote.Ino
		name  string
		value []byte
		kind  remote.Kind
	}{
		{"no list", f, acl.Access, []byte("no list"), remote.Invalid},
		{"an empty list", f, acl.Access, []byte{2, 0, 0, 0}, remote.Invalid},
		{"a long list", f, acl.Access, make([]byte, acl.MaxSize+1), remote.TooLarge},
		{"a file's default", f, acl.Default, extended.Bytes(), remote.Invalid},
		{"a link's", l, acl.Access, extended.Bytes(), remote.NotSupported},
	} {
		if err := b.Setxattr(ctx, x.ino, x.name, x.value, 0); !remote.Is(err, x.kind) {
			t.Errorf("%s: %v", x.what, err)
		}
	}
	if s := b.stat(f); s.Mode != 0o755 {
		t.Errorf("mode %o", s.Mode)
	}
}

// TestDefaultList: what is made in a directory with a default list gets its lists and mode from that; elsewhere the umask counts.
func TestDefaultList(t *testing.T) {
	b := newBench(t)
	with, without := b.mk(remote.Root, "with", remote.Dir), b.mk(remote.Root, "without", remote.Dir)
	b.setACL(with, acl.Default, extended)
	b.setACL(without, acl.Access, extended)
	if b.mode(with) != 0o755 {
		t.Errorf("a default list changed the mode to %o", b.mode(with))
	}
	c := Caller{Umask: 0o077}
	make := func(dir remote.Ino, typ remote.Type) remote.Ino {
		t.Helper()
		target := map[bool]string{true: "target"}[typ == remote.Symlink]
		s, err := b.Make(ctx, dir, string(rune('a'+typ)), typ, 0o775, 0, target, c)
		if err != nil {
			t.Fatal(err)
		}
		return s.Ino
	}
	tmp := func(dir remote.Ino) remote.Ino {
		t.Helper()
		s, err := b.Tmpfile(ctx, dir, 0o775, c)
		if err != nil {
			t.Fatal(err)
		}
		return s.Ino
	}
	check := func(what string, ino remote.Ino, mode uint16, access, def acl.List) {
		t.Helper()
		if m, a, d := b.mode(ino), b.acl(ino, acl.Access), b.acl(ino, acl.Default); m != mode || !slices.Equal(a, access) || !slices.Equal(d, def) {
			t.Errorf("%s: mode %o, %v, default %v; want %o, %v, default %v", what, m, a, d, mode, access, def)
		}
	}
	inherited := extended.WithMode(0o761)
	check("a file", make(with, remote.File), 0o761, inherited, nil)
	check("a fifo", make(with, remote.Fifo), 0o761, inherited, nil)
	check("a file without a name", tmp(with), 0o761, inherited, nil)
	check("a link", make(with, remote.Symlink), 0o777, nil, nil)
	sub := make(with, remote.Dir)
	check("a directory", sub, 0o761, inherited, extended)
	check("a file below", make(sub, remote.File), 0o761, inherited, nil)
	check("a file elsewhere", make(without, remote.File), 0o700, nil, nil)
	check("a directory elsewhere", make(without, remote.Dir), 0o700, nil, nil)
	check("a file without a name elsewhere", tmp(without), 0o700, nil, nil)
	check("a link elsewhere", make(without, remote.Symlink), 0o777, nil, nil)
	b.setACL(sub, acl.Default, minimal)
	check("below a default that is a mode", make(sub, remote.Fifo), 0o640, nil, nil)
	b.drain()
	b.remount()
	sub = b.ino(b.ino(remote.Root, "with"), string(rune('a'+remote.Dir)))
	check("a directory later", sub, 0o761, inherited, minimal)
	if v, err := b.Getxattr(ctx, sub, acl.Default); err != nil || !bytes.Equal(v, minimal.Bytes()) {
		t.Error(v, err)
	}
}

// TestWhiteoutInherits: what a rename leaves behind is a new inode of its directory, as any other.
func TestWhiteoutInherits(t *testing.T) {
	b := newBench(t)
	d := b.mk(remote.Root, "d", remote.Dir)
	b.mk(d, "f", remote.File)
	b.setACL(d, acl.Default, extended)
	if err := b.Rename(ctx, d, "f", d, "g", RenameWhiteout, Caller{}); err != nil {
		t.Fatal(err)
	}
	f := b.ino(d, "f")
	if got := b.acl(f, acl.Access); b.mode(f) != 0 || !slices.Equal(got, extended.WithMode(0)) {
		t.Errorf("mode %o, %v", b.mode(f), got)
	}
}
