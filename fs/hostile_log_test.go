package fs

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"megafs/crypto"
	"megafs/fs/volume"
	"megafs/remote"
	"megafs/remote/vault"
	"megafs/remote/wire"
)

// nothing is a sink for who only wants to be at the head.
type nothing struct{}

func (nothing) Reset() error             { return nil }
func (nothing) Apply(remote.Batch) error { return nil }

// another is a machine that shares the vault, without a mount: it commits what no mount would.
type another struct {
	r   *rig
	va  *vault.Vault
	pos remote.Position
}

func (r *rig) another(t *testing.T, number uint32) *another {
	t.Helper()
	va, err := vault.Open(ctx, r.store, vault.Options{StateDir: t.TempDir(), Keyring: r.ring, TrustFirstUse: true, Log: quiet})
	must(t, err)
	t.Cleanup(func() { va.Close() })
	pos, err := va.Load(ctx, remote.Position{}, nothing{})
	must(t, err)
	pos, err = va.Register(ctx, pos, number)
	must(t, err)
	return &another{r, va, pos}
}

func (a *another) commit(t *testing.T, ops ...remote.Op) {
	t.Helper()
	pos, err := a.va.Load(ctx, a.pos, nothing{})
	must(t, err)
	a.pos, err = a.va.Commit(ctx, pos, ops)
	must(t, err)
}

// forge makes the next entry by hand, of Ops that nothing checked.
func (a *another) forge(t *testing.T, n uint16, ops []byte) {
	t.Helper()
	k := a.r.ring.Keys()
	vid, hash := k.Vault(), a.r.ring.Hash()
	b := append([]byte{0, 1}, vid[:]...)
	b = binary.BigEndian.AppendUint64(b, a.pos.Seq+1)
	b = append(b, a.pos.Hash[:]...)
	b = append(b, bytes.Repeat([]byte{9}, 16)...) // a device, and its first entry
	b = binary.BigEndian.AppendUint64(b, 1)
	b = append(b, make([]byte, 32+8)...)
	b = binary.BigEndian.AppendUint64(b, a.r.ring.Generation())
	b = append(b, hash[:]...)
	b = binary.BigEndian.AppendUint32(b, k.Epoch())
	b = append(b, make([]byte, 8+32)...)
	b = append(b, 0, 0, 0, 1, 0) // the only part of a batch
	b = binary.BigEndian.AppendUint16(b, n)
	b = append(b, ops...)
	b = append(b, make([]byte, max(0, 512-len(b)))...)
	sealed, _ := k.Seal(crypto.ClassLog, binary.BigEndian.AppendUint64(nil, a.pos.Seq+1), b)
	a.r.place.Poke(entryName(a.pos.Seq+1), sealed)
}

func entryName(seq uint64) string { return fmt.Sprintf("l/%016x", seq) }

func inode(i int) remote.Ino { return remote.Ino(77<<remote.InoBits + i) }

func makes(t remote.Type, i int, parent remote.Ino, name, target string) []remote.Op {
	return []remote.Op{
		{Kind: remote.OpNode, Ino: inode(i), Attr: remote.Attr{Type: t, Mode: 0o755, Target: target, Size: uint64(len(target))}},
		{Kind: remote.OpLink, Parent: parent, Ino: inode(i), Name: name},
	}
}

// allNames returns all names of a mount, in order.
func allNames(t *testing.T, root string) (all []string) {
	t.Helper()
	must(t, filepath.WalkDir(root, func(p string, _ fs.DirEntry, err error) error {
		n, _ := filepath.Rel(root, p)
		all = append(all, n)
		return err
	}))
	return all
}

// TestP4HostileMountLog lets another holder of the keys, or the store, put into the log what makes no sense. The mount goes on with all that it
// had, sees nothing of it, and sends nothing any more.
func TestP4HostileMountLog(t *testing.T) {
	for kind, on := range places {
		t.Run(kind, func(t *testing.T) {
			r := newRig(t, on(t))
			whole := r.place.Copy()
			named := func(name string) []byte {
				b := wire.AppendOps(nil, makes(remote.File, 1, remote.Root, strings.Repeat("n", len(name)), ""))[1:]
				return bytes.Replace(b, []byte(strings.Repeat("n", len(name))), []byte(name), 1)
			}
			tamper := func(b []byte) func(string, []byte) error {
				return func(name string, data []byte) error {
					data = bytes.Clone(data)
					copy(data[300:], b)
					return r.store.Store.Put(ctx, name, data)
				}
			}
			for _, x := range []struct {
				row string
				do  func(t *testing.T, a *another)
			}{
				{"V16 flipped", func(t *testing.T, a *another) {
					put := tamper([]byte("flipped"))
					r.store.put.Store(&put)
					defer r.store.put.Store(nil)
					a.commit(t, makes(remote.File, 1, remote.Root, "hostile", "")...)
				}},
				{"V17 moved", func(t *testing.T, a *another) { r.place.Poke(entryName(a.pos.Seq+1), r.bytesOf(entryName(a.pos.Seq))) }},
				{"V61 a path for a name", func(t *testing.T, a *another) { a.forge(t, 2, named("../hostile")) }},
				{"V61 a NUL", func(t *testing.T, a *another) { a.forge(t, 2, named("hostile\x00")) }},
				{"V61 dots", func(t *testing.T, a *another) { a.forge(t, 2, named("..")) }},
				{"V62 a folder in itself", func(t *testing.T, a *another) {
					a.commit(t, append(makes(remote.Dir, 1, inode(2), "hostile", ""), makes(remote.Dir, 2, inode(1), "hostile", "")...)...)
				}},
				{"V62 a second name for a folder", func(t *testing.T, a *another) {
					a.commit(t, append(makes(remote.Dir, 1, remote.Root, "hostile", ""), makes(remote.Dir, 1, remote.Root, "hostile2", "")...)...)
				}},
				{"V63 an offset that overflows", func(t *testing.T, a *another) {
					a.forge(t, 1, append([]byte{5, 0, 77, 1}, bytes.Repeat([]byte("\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"), 2)...))
				}},
			} {
				t.Run(x.row, func(t *testing.T) {
					r.place.Become(whole)
					m := r.mount(t, t.TempDir(), t.TempDir(), func(o *volume.Options) { o.Poll = 5 * time.Millisecond })
					a := r.another(t, 50)
					a.commit(t, makes(remote.File, 3, remote.Root, "news", "")...)
					eventually(t, "what another machine made is there", func() bool { _, err := os.Stat(m.path("news")); return err == nil })
					before := allNames(t, m.dir)
					x.do(t, a)
					eventually(t, "it is noticed", func() bool { return m.va.State() != nil })
					if after := allNames(t, m.dir); strings.Join(after, "\n") != strings.Join(before, "\n") {
						t.Errorf("names were %q and are %q", before, after)
					}
					r.stands(m)
					m.write("mine", "kept here")
					c, cancel := context.WithTimeout(ctx, 10*time.Second)
					defer cancel()
					if err := m.vol.Drain(c); !remote.Is(err, remote.ReadOnly) && !remote.Is(err, remote.Integrity) {
						t.Errorf("sent to a store that was caught: %v", err)
					}
					if got := m.read("mine"); got != "kept here" {
						t.Errorf("%q", got)
					}
				})
			}
		})
	}
}

// TestP4_V44HostileMountEmptied empties the store below a mount, and before one. No name goes: who has a tree keeps it, and who has none gets no mount.
func TestP4_V44HostileMountEmptied(t *testing.T) {
	for kind, on := range places {
		t.Run(kind, func(t *testing.T) {
			r := newRig(t, on(t))
			whole := r.place.Copy()
			state, cache := copyState(t, r.state), t.TempDir()
			m := r.mount(t, state, cache, nil)
			for _, n := range r.place.Names() {
				r.place.Poke(n, nil)
			}
			gone := []string{"d/big", "d/other", "d/one"}
			look := func(m *mounted) {
				t.Helper()
				r.stands(m, gone...)
				if b, err := os.ReadFile(m.path("d/one")); !errors.Is(err, syscall.EIO) {
					t.Errorf("%d bytes, %v", len(b), err)
				}
			}
			look(m)
			m.end()
			look(r.mount(t, state, cache, nil))
			for what, folder := range map[string]string{"no tree": copyState(t, r.state), "nothing": t.TempDir()} {
				if err := r.unmountable(t, folder, t.TempDir()); !remote.Is(err, remote.Integrity) && !errors.Is(err, vault.ErrVaultMissing) {
					t.Errorf("a machine that has %s: %v", what, err)
				}
			}
			r.place.Become(whole)
			r.stands(r.mount(t, t.TempDir(), t.TempDir(), nil))
		})
	}
}

// TestP4_V18HostileMountGap removes an entry that a machine knew. With its tree the machine goes on; without, it shows no older state instead.
func TestP4_V18HostileMountGap(t *testing.T) {
	for kind, on := range places {
		t.Run(kind, func(t *testing.T) {
			r := newRig(t, on(t))
			state, cache := copyState(t, r.state), t.TempDir()
			r.mount(t, state, cache, nil).end()
			name := "l/" + hex16(3)
			entry := r.bytesOf(name)
			r.place.Poke(name, nil)
			r.stands(r.mount(t, copyState(t, state), copyState(t, cache), nil))
			if err := r.unmountable(t, copyState(t, state), t.TempDir()); !errors.Is(err, vault.ErrGap) {
				t.Errorf("without a tree: %v", err)
			}
			r.place.Poke(name, entry)
			r.stands(r.mount(t, copyState(t, state), t.TempDir(), nil))
		})
	}
}

// TestP4_V62HostileMountRenames renames two folders into each other, on two machines at once. Either alone makes a tree, and both together none: the
// vault takes one, the machine that was later undoes its own, and all see the same tree with all files.
func TestP4_V62HostileMountRenames(t *testing.T) {
	for kind, on := range places {
		t.Run(kind, func(t *testing.T) {
			r := newRig(t, on(t))
			a, b := r.mount(t, t.TempDir(), t.TempDir(), nil), r.mount(t, t.TempDir(), t.TempDir(), func(o *volume.Options) { o.Poll = 5 * time.Millisecond })
			sh(t, a.dir, 0, "mkdir x y; echo x >x/in-x; echo y >y/in-y")
			a.drain()
			eventually(t, "both folders are there", func() bool { _, err := os.Stat(b.path("y/in-y")); return err == nil })
			var wg sync.WaitGroup
			wg.Go(func() { os.Rename(a.path("x"), a.path("y/x")) }) // seen below should it fail
			wg.Go(func() { os.Rename(b.path("y"), b.path("x/y")) })
			wg.Wait()
			for range 2 {
				for _, m := range []*mounted{a, b} {
					m.drain() // the second to commit has the first one's, and undoes its own
					if err := m.va.State(); err != nil {
						t.Error("taken for an attack:", err)
					}
				}
			}
			must(t, os.Mkdir(a.path("tell"), 0o755)) // a sees what b sent when it commits itself
			a.drain()
			eventually(t, "b sees what a did", func() bool { _, err := os.Stat(b.path("tell")); return err == nil })
			var seen []string
			for _, m := range []*mounted{a, b, r.mount(t, t.TempDir(), t.TempDir(), nil)} {
				r.stands(m)
				all := strings.Join(allNames(t, m.dir), "\n")
				if strings.Count(all, "in-x") != 1 || strings.Count(all, "in-y") != 1 {
					t.Errorf("lost or doubled:\n%s", all)
				}
				seen = append(seen, all)
			}
			if seen[0] != seen[1] || seen[0] != seen[2] {
				t.Errorf("the machines see\n%s\nand\n%s\nand, a new one,\n%s", seen[0], seen[1], seen[2])
			}
		})
	}
}
